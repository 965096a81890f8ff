//! Watches: who overwrites what a closure was shown, while it runs.
//!
//! An update, and whatever else runs its closure again when its key was written meanwhile, would never come to an end if
//! the closure itself writes the key each time. From the second run on it has a watch set: then the ledger tell whether the
//! entry that it was shown was written over, or removed, by this very thread, from within the closure. The first run, which
//! nearly always is the only one, sets none, and pays nothing.

use super::{Leading, Ticket};
use crate::hash::HashBits;
use crate::rows::RowId;

/// The watches of a shard.
pub(super) struct Watches(Vec<Watch>);

struct Watch {
    ticket: Ticket,
    /// The row of the entry that the closure was shown; `None` if there was none, or that has gone.
    shown: Option<RowId>,
    /// `None` as long as nobody has written.
    by_own: Option<bool>,
}

/// While it is there, a closure runs on this thread for which a watch is set.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) ticket: Ticket,
    /// `None` once it has run.
    on_this_thread: Option<Leading>,
}

impl Watching {
    /// It has run: what this thread writes from now on is not the closure's.
    pub(crate) fn has_run(&mut self) {
        self.on_this_thread = None;
    }
}

impl Watch {
    /// Who comes first counts.
    fn note(&mut self) {
        let ticket = self.ticket;
        self.by_own.get_or_insert_with(|| ticket.leads_here());
    }
}

impl Watches {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn set(&mut self, ticket: Ticket, shown: Option<RowId>) -> Watching {
        self.0.push(Watch { ticket, shown, by_own: None });
        Watching { ticket, on_this_thread: Some(Leading::enter(ticket)) }
    }

    /// Ends a watch: whether the closure itself was the first to write over what it was shown. `None` if it is over already.
    pub(super) fn end(&mut self, ticket: Ticket) -> Option<bool> {
        let place = self.0.iter().position(|watch| watch.ticket == ticket)?;
        Some(self.0.swap_remove(place).by_own.unwrap_or(false))
    }

    /// A key of this hash is being written or removed; `over` is the row of its entry, if it has one. Rows tell keys of one
    /// hash from each other. Where there is no entry, it may be a key whose entry was shown, and has gone since.
    pub(super) fn note(&mut self, hash: u64, over: Option<RowId>) {
        let those = self.0.iter_mut().filter(|watch| watch.ticket.hash == hash && watch.shown == over);
        those.for_each(Watch::note);
    }

    /// The entry of a row is gone, and the row may be another's next.
    pub(super) fn forget(&mut self, row: RowId) {
        for watch in self.0.iter_mut().filter(|watch| watch.shown == Some(row)) {
            watch.shown = None;
        }
    }

    /// Every key whose home is one of those is being removed.
    pub(super) fn note_all(&mut self, is_one: impl Fn(u32) -> bool) {
        let those = self.0.iter_mut().filter(|watch| is_one(HashBits::again(watch.ticket.hash).home()));
        those.for_each(Watch::note);
    }
}
