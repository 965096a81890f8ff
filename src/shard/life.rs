//! How long an entry lives whose value is written: one function answers, whoever asks.
//!
//! Every path that stores a value says what it means by a [`Lasting`] and a [`Ruling`], and [`Ledger::ends_of_write`] makes times
//! and ends of that and of what it finds. No path reckons by itself.
//!
//! | path | over a live entry | else |
//! |---|---|---|
//! | `Shard::insert` (`insert`, `insert_with_ttl`) | `New`; with [`Life::Keep`](crate::Life) `Kept` | `New` |
//! | `Shard::insert_if` (`rename`'s and `rename_with`'s second half) | `Moved` | `Moved` |
//! | `Shard::insert_if` (`insert`, `insert_with_ttl` with an `Expiry`; `swap`) | `New`; with `Life::Keep` `Kept` | `New` |
//! | `Shard::insert_some` (`insert_many`, `extend`) | `New` | `New` |
//! | `Shard::try_insert` | stores nothing | `New` |
//! | `Shard::replace` (`replace`, `update`) | `Restarted`; with a `Life` `Kept` or `Given` | stores nothing |
//! | `Shard::act` (`and_upsert_...`, `and_compute_...`, `or_insert_with_if`) | the same | the same, which is `New` there |
//! | `Shard::land` (loads; reloads by `refresh_after_write`, `refresh_with`) | the same | the same, which is `New` there |
//! | `Shard::land_as`, where the loader says how long (`get_with_ttl` and its like) | `Given` | `Given`, which is `New` there |
//! | `Shard::bring_back` (`restore`) | stores nothing | what was recorded (`Record::ends`) |
//!
//! What moves a deadline and stores no value (`touch`, `set_ttl`, `persist`, a read with a time to idle, an `Expiry`'s ruling
//! about a read) asks `Terms::ends` at once, or `Terms::idle_deadline` where that is all there is.

use super::bounds::Ends;
use super::{Ledger, Ruling, Terms, Times, unpack};
use crate::rows::RowId;
use crate::table::Seal;
use crate::time::{Birth, Span, Tick};

/// What a write does about time to live and age.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lasting {
    /// This time to live, and a new age.
    New(Span),
    /// The times of an entry that was under another key, its time to live from now on; and when its `Expiry` ended it.
    Moved(Times, Tick),
    /// Over a live entry: its own time to live from now on, and its age. Else: the cache's time to live, and a new age.
    Restarted,
    /// Over a live entry: all that would have ended it, but idleness, ends it when it would have. Else as `Restarted`.
    Kept,
    /// Over a live entry: this time to live from now on, and its age. Else: this time to live, and a new age.
    Given(Span),
}

/// The times and the ends of an entry whose value is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) ttl: Span,
    /// `None`: as it was.
    pub(super) born: Option<Birth>,
    pub(super) ends: Ends,
}

impl Written {
    /// The times of an entry that is new at `now`.
    #[inline]
    pub(super) fn times(&self, now: Tick) -> Times {
        Times { ttl: self.ttl, born: self.born.unwrap_or(Birth::at(now)) }
    }
}

impl<K, V> Ledger<K, V> {
    /// As `ends_of_write`, over what is sealed, alive or not. `now` is a reading from within the call, and perhaps from before the seal and the
    /// lock. Who moved the deadline by a later reading, with the lock or without, shows in the deadline: that is later, then, than the one
    /// that would come. If so, what counts is a reading from after the seal, which is returned too.
    #[inline(always)]
    pub(super) fn ends_over(
        &self,
        terms: &Terms,
        (now, home): (Tick, u32),
        sealed: Option<(RowId, &Seal)>,
        life: (Lasting, Ruling),
    ) -> (Tick, Written) {
        let alive = sealed.filter(|(_, seal)| seal.was_alive(now));
        let over = alive.map(|(row, seal)| (row, seal.tick()));
        let written = self.ends_of_write(terms, (now, home), over, life);
        match alive {
            Some(sealed) if written.ends.deadline.tick() < sealed.1.tick() => {
                self.ends_after_all(terms, home, sealed, life)
            }
            _ => (now, written),
        }
    }

    #[cold]
    #[inline(never)]
    fn ends_after_all(
        &self,
        terms: &Terms,
        home: u32,
        (row, seal): (RowId, &Seal),
        life: (Lasting, Ruling),
    ) -> (Tick, Written) {
        let now = terms.clock.now();
        let over = seal.was_alive(now).then(|| (row, seal.tick()));
        (now, self.ends_of_write(terms, (now, home), over, life))
    }

    /// The times, and the ends, of an entry whose value is written at `now` under a key with this home: over a live one,
    /// given by its row and its deadline before, or where there is none.
    #[inline(always)]
    pub(super) fn ends_of_write(
        &self,
        terms: &Terms,
        (now, home): (Tick, u32),
        over: Option<(RowId, Tick)>,
        (lasting, ruling): (Lasting, Ruling),
    ) -> Written {
        let new = Some(Birth::at(now));
        let (ttl, born) = match (lasting, over) {
            (Lasting::New(ttl), _) | (Lasting::Given(ttl), None) => (ttl, new),
            (Lasting::Moved(times, _), _) => (times.ttl, Some(times.born)),
            (Lasting::Restarted | Lasting::Kept, Some((row, _))) => (self.ttls.get(row), None),
            (Lasting::Restarted | Lasting::Kept, None) => (terms.ttl, new),
            (Lasting::Given(ttl), Some(_)) => (ttl, None),
        };
        if !matches!((lasting, over), (Lasting::Restarted | Lasting::Kept, Some(_))) {
            // Before anybody can find it. (Of what is there it was noted.)
            terms.note(ttl);
        }
        let limit = match (lasting, over) {
            (Lasting::Kept, Some((_, before))) if !terms.reads_count => before,
            (Lasting::Kept, Some((row, _))) => self.limit(terms, row),
            _ => {
                let lasting = terms.jitter.shorten(ttl, home, now);
                // Where age ends nothing, the row is not looked at for it: that is a miss.
                let row_born = || over.map_or(Birth::at(now), |(row, _)| unpack(self.rows[row].born));
                let aged = terms.ages().map_or(Tick::NEVER, |age| born.unwrap_or_else(row_born).after(age));
                now.after(lasting).min(aged)
            }
        };
        let expiry = match (ruling, lasting, over) {
            (Ruling::After(span), ..) => now.after(span),
            (Ruling::At(tick), ..) => tick,
            (Ruling::Keep, Lasting::Moved(_, expires), _) => expires,
            (Ruling::Keep, _, Some((row, _))) => self.expiry(row),
            // Does not come: what was said of a live entry counts for that one alone. There is nothing to keep: it is over.
            (Ruling::Keep, _, None) => now,
        };
        Written { ttl, born, ends: terms.ends(now, limit, expiry) }
    }
}
