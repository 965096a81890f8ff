//! How long an entry lives whose value is written: one function answers, whoever asks.
//!
//! Every path that stores a value says what it means by a [`Lifespan`], and [`Txn::written`] makes times
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
//! | `Shard::complete` (loads; reloads by `refresh_after_write`, `refresh_with`) | the same | the same, which is `New` there |
//! | `Shard::complete_as`, where the loader says how long (`get_with_ttl` and its like) | `Given` | `Given`, which is `New` there |
//! | `Shard::bring_back` (`restore`) | stores nothing | what was recorded (`Record::ends`) |
//!
//! What moves a deadline and stores no value (`touch`, `set_ttl`, `persist`, a read with a time to idle, an `Expiry`'s ruling
//! about a read) asks `Config::ends` at once, or `Config::idle_deadline` where that is all there is.

use super::deadline::{Ends, Times};
use super::rule::Ruling;
use super::txn::{FrozenAt, Txn};
use crate::rows::RowId;
use crate::time::{Birth, Span, Tick};

/// What is kept of an entry that was removed, for who stores it under another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Departed {
    /// Its own time to live; `ENDLESS` for none.
    pub(crate) ttl: Span,
    /// When it was created.
    pub(crate) born: Birth,
    /// When its `Expiry` ends it.
    pub(crate) expires: Tick,
}

/// What a write does about time to live and age.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lasting {
    /// This time to live, and a new age.
    New(Span),
    /// The times of an entry that was under another key, its time to live from now on.
    Moved(Departed),
    /// Over a live entry: its own time to live from now on, and its age. Else: the cache's time to live, and a new age.
    Restarted,
    /// Over a live entry: all that would have ended it, but idleness, ends it when it would have. Else as `Restarted`.
    Kept,
    /// Over a live entry: this time to live from now on, and its age. Else: this time to live, and a new age.
    Given(Span),
}

/// How long a written entry lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lifespan {
    /// By its time to live and its age.
    pub(crate) lasting: Lasting,
    /// By the cache's `Expiry`.
    pub(crate) ruling: Ruling,
}

impl Lifespan {
    /// Of an entry in a cache without an `Expiry`.
    #[inline]
    pub(crate) const fn of(lasting: Lasting) -> Self {
        Self { lasting, ruling: Ruling::NONE }
    }
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

/// The live entry that is written over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) row: RowId,
    /// Its deadline before.
    pub(super) deadline: Tick,
}

impl<K, V> Txn<'_, '_, K, V> {
    /// As `written`, over what is frozen, alive or not. The time that counts is a reading from within the call, and perhaps from before the freeze and the
    /// lock. Who moved the deadline by a later reading, with the lock or without, shows in the deadline: that is later, then, than the one
    /// that would come. If so, what counts is a reading from after the freeze.
    #[inline(always)]
    pub(super) fn written_over(
        &mut self,
        home: u32,
        frozen: Option<&FrozenAt<K, V>>,
        lifespan: Lifespan,
    ) -> Written {
        let alive = frozen.filter(|frozen| frozen.frozen.was_alive(self.now()));
        let over = alive.map(|frozen| self.over(frozen));
        let written = self.written(home, over, lifespan);
        match alive {
            Some(frozen) if written.ends.deadline.tick() < frozen.frozen.tick() => {
                self.written_after_all(home, frozen, lifespan)
            }
            _ => written,
        }
    }

    #[cold]
    #[inline(never)]
    fn written_after_all(&mut self, home: u32, frozen: &FrozenAt<K, V>, lifespan: Lifespan) -> Written {
        let now = self.read_clock();
        let over = frozen.frozen.was_alive(now).then(|| self.over(frozen));
        self.written(home, over, lifespan)
    }

    #[inline(always)]
    fn over(&self, frozen: &FrozenAt<K, V>) -> Over {
        Over { row: self.table.row(frozen.place), deadline: frozen.frozen.tick() }
    }

    /// The times, and the ends, of an entry whose value is written now under a key with this home: over a live one, or where there
    /// is none.
    #[inline(always)]
    pub(super) fn written(&self, home: u32, over: Option<Over>, lifespan: Lifespan) -> Written {
        let Lifespan { lasting, ruling } = lifespan;
        let (config, ledger, now) = (self.config, &*self.ledger, self.now());
        let new = Some(Birth::at(now));
        let (ttl, born) = match (lasting, over) {
            (Lasting::New(ttl), _) | (Lasting::Given(ttl), None) => (ttl, new),
            (Lasting::Moved(departed), _) => (departed.ttl, Some(departed.born)),
            (Lasting::Restarted | Lasting::Kept, Some(over)) => (ledger.ttls.get(over.row), None),
            (Lasting::Restarted | Lasting::Kept, None) => (config.ttl, new),
            (Lasting::Given(ttl), Some(_)) => (ttl, None),
        };
        if !matches!((lasting, over), (Lasting::Restarted | Lasting::Kept, Some(_))) {
            // Before anybody can find it. (Of what is there it was noted.)
            config.note(ttl);
        }
        let limit = match (lasting, over) {
            (Lasting::Kept, Some(over)) if !config.effects.moves_deadline => over.deadline,
            (Lasting::Kept, Some(over)) => ledger.limit(config, over.row),
            _ => {
                let lasting = config.jitter.shorten(ttl, home, now);
                // Where age ends nothing, the row is not looked at for it: that is a miss.
                let row_born = || over.map_or(Birth::at(now), |over| ledger.born(over.row));
                let aged = config.ages().map_or(Tick::NEVER, |age| born.unwrap_or_else(row_born).after(age));
                now.after(lasting).min(aged)
            }
        };
        let expiry = match (ruling, lasting, over) {
            (Ruling::After(span), ..) => now.after(span),
            (Ruling::At(tick), ..) => tick,
            (Ruling::Keep, Lasting::Moved(departed), _) => departed.expires,
            (Ruling::Keep, _, Some(over)) => ledger.expiry(over.row),
            // Does not come: what was said of a live entry counts for that one alone. There is nothing to keep: it is over.
            (Ruling::Keep, _, None) => now,
        };
        Written { ttl, born, ends: config.ends(now, limit, expiry) }
    }
}
