//! How long an entry lives whose value is written: one function answers, whoever asks.
//!
//! Every path that stores a value says what it means by a [`Life`] and a [`Ruling`], and [`Ledger::ends_of_write`] makes times
//! and ends of that and of what it finds. No path reckons by itself.
//!
//! | path | over a live entry | else |
//! |---|---|---|
//! | `Shard::insert` (`insert`, `insert_with_ttl`) | `New` | `New` |
//! | `Shard::insert_if` (`rename`'s and `rename_with`'s second half) | `Moved` | `Moved` |
//! | `Shard::insert_if` (`insert`, `insert_with_ttl` with an `Expiry`) | `New` | `New` |
//! | `Shard::insert_some` (`insert_many`, `extend`) | `New` | `New` |
//! | `Shard::try_insert` | stores nothing | `New` |
//! | `Shard::replace` (`replace`, `update`) | `Restarted` | stores nothing |
//! | `Shard::act` (`and_upsert_...`, `and_compute_...`, `or_insert_with_if`) | `Restarted` | `Restarted`, which is `New` there |
//! | `Shard::land` (loads; reloads by `refresh_after`, `refresh_with`) | `Restarted` | `Restarted`, which is `New` there |
//! | `Shard::land`, where the loader says how long (`get_with_ttl` and its like) | `Lasting` | `Lasting`, which is `New` there |
//! | `Shard::bring_back` (`restore`) | stores nothing | what was recorded (`Record::ends`) |
//!
//! What moves a deadline and stores no value (`touch`, `set_ttl`, `persist`, a read with a time to idle, an `Expiry`'s ruling
//! about a read) asks `Terms::ends` at once, or `Terms::idle_deadline` where that is all there is.

use super::bounds::Ends;
use super::{Ledger, Ruling, Terms, Times};
use crate::rows::RowId;
use crate::time::{Birth, Span, Tick};

/// What a write does about time to live and age.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    /// This time to live, and a new age.
    New(Span),
    /// The times of an entry that was under another key, its time to live from now on; and when its `Expiry` ended it.
    Moved(Times, Tick),
    /// Over a live entry: its own time to live from now on, and its age. Else: the cache's time to live, and a new age.
    Restarted,
    /// This time to live. Over a live entry: its age; else a new one.
    Lasting(Span),
}

impl<K, V> Ledger<K, V> {
    /// The times, and the ends, of an entry whose value is written at `now` under a key with this home: over a live one,
    /// given by its row and its deadline before, or where there is none.
    #[inline(always)]
    pub(super) fn ends_of_write(
        &self,
        terms: &Terms,
        (now, home): (Tick, u32),
        over: Option<(RowId, Tick)>,
        (life, ruling): (Life, Ruling),
    ) -> (Times, Ends) {
        let new = |ttl| Times { ttl, born: Birth::at(now) };
        let times = match (life, over) {
            (Life::New(ttl), _) => new(ttl),
            (Life::Moved(times, _), _) => times,
            (Life::Restarted, Some((row, _))) => self.times(row),
            (Life::Lasting(ttl), Some((row, _))) => Times { ttl, ..self.times(row) },
            (Life::Lasting(ttl), None) => new(ttl),
            (Life::Restarted, None) => new(terms.ttl),
        };
        let expiry = match (ruling, life, over) {
            (Ruling::After(span), ..) => now.after(span),
            (Ruling::At(tick), ..) => tick,
            (Ruling::Keep, Life::Moved(_, expires), _) => expires,
            (Ruling::Keep, _, Some((row, _))) => self.expiry(row),
            // Does not come: what was said of a live entry counts for that one alone. There is nothing to keep: it is over.
            (Ruling::Keep, _, None) => now,
        };
        (times, terms.ends(now, times.limit_of_value(now, terms, home), expiry))
    }
}
