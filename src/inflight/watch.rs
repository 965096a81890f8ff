//! Watches: which thread overwrites what a closure was shown, while the closure runs.
//!
//! An update runs its closure again if its key was written meanwhile. So do some other operations.
//! If the closure itself writes the key each time, such an operation would never end. From the
//! second run on, the operation sets a watch. The ledger then tells whether the entry that the
//! closure was shown was written over or removed by this thread, from within the closure. The first
//! run is nearly always the only one. It sets no watch and costs nothing.

use super::leader::{Leading, Ticket};
use crate::hash::HashBits;
use crate::rows::RowId;

/// The watches of a shard.
pub(super) struct Watches(Vec<Watch>);

struct Watch {
    ticket: Ticket,
    /// The row of the entry that the closure was shown; `None` if there was none, or if that entry
    /// is gone.
    shown: Option<RowId>,
    /// Whether the closure itself wrote first; `None` as long as no thread has written.
    by_own: Option<bool>,
}

/// Marks, until it is dropped, that a watched closure runs on this thread.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) ticket: Ticket,
    /// The mark on the thread; `None` once the closure has run.
    on_this_thread: Option<Leading>,
}

impl Watching {
    /// Notes that the closure has run: what this thread writes from now on is not the closure's.
    pub(crate) fn has_run(&mut self) {
        self.on_this_thread = None;
    }
}

impl Watch {
    /// Notes a write. Only the first one counts.
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

    /// Ends a watch. Returns whether the closure itself was the first to write over what it was
    /// shown, or `None` if there is no such watch.
    pub(super) fn end(&mut self, ticket: Ticket) -> Option<bool> {
        let place = self.0.iter().position(|watch| watch.ticket == ticket)?;
        Some(self.0.swap_remove(place).by_own.unwrap_or(false))
    }

    /// Ends the watches of other threads, in the child of a fork. Returns how many there were.
    pub(super) fn disown(&mut self) -> usize {
        let before = self.0.len();
        self.0.retain(|watch| watch.ticket.leads_here());
        before - self.0.len()
    }

    /// Notes that a key of this hash is being written or removed. `over` is the row of its entry,
    /// if it has one. Rows distinguish keys of one hash. Where there is no entry, the key may be
    /// one whose entry was shown and is gone since.
    pub(super) fn note(&mut self, hash: u64, over: Option<RowId>) {
        let those = self.0.iter_mut().filter(|watch| watch.ticket.hash == hash && watch.shown == over);
        those.for_each(Watch::note);
    }

    /// Notes that the entry of a row is gone. The row may belong to another entry next.
    pub(super) fn forget(&mut self, row: RowId) {
        for watch in self.0.iter_mut().filter(|watch| watch.shown == Some(row)) {
            watch.shown = None;
        }
    }

    /// Notes that every key is being removed whose home `is_one` accepts.
    pub(super) fn note_all(&mut self, is_one: impl Fn(u32) -> bool) {
        let those = self.0.iter_mut().filter(|watch| is_one(HashBits::again(watch.ticket.hash).home()));
        those.for_each(Watch::note);
    }
}
