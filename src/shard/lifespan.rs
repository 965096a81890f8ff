//! How long an entry lives after its value is written.
//!
//! Every path that stores a value states its intention as a [`Lifespan`]. [`Txn::written`] computes
//! times and ends from the lifespan and from the entry that is overwritten. No path computes them
//! by itself, except `restore`, which goes by its record.
//!
//! | path | over a live entry | otherwise |
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
//! Operations that move a deadline and store no value (`touch`, `set_ttl`, `persist`, a read with a
//! time to idle, an `Expiry`'s ruling about a read) call `Config::ends` directly, or
//! `Config::idle_deadline` if only idleness counts. `Shard::set_end` is no use of the entry, and
//! passes what is left of its idleness to `Config::ends_if_idle_for`.

use super::config::Config;
use super::deadline::{Ends, Times};
use super::rule::Ruling;
use super::txn::{FrozenAt, Txn};
use crate::rows::RowId;
use crate::time::{Birth, Span, Tick};

/// The times of a removed entry, for a call that stores it under another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Departed {
    /// The entry's own time to live; `ENDLESS` if it has none.
    pub(crate) ttl: Span,
    /// When the entry was created.
    pub(crate) born: Birth,
    /// When the `Expiry` ends the entry.
    pub(crate) expires: Tick,
}

/// What a write does about time to live and age.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lasting {
    /// Sets this time to live, and a new age.
    New(Span),
    /// Keeps the times of an entry that was under another key. Its time to live starts now.
    Moved(Departed),
    /// Over a live entry: restarts the entry's own time to live and keeps its age. Otherwise: sets
    /// the cache's time to live and a new age.
    Restarted,
    /// Over a live entry: every end except idleness stays when it was. Otherwise: as `Restarted`.
    Kept,
    /// Over a live entry: sets this time to live from now on and keeps the age. Otherwise: sets
    /// this time to live and a new age.
    Given(Span),
}

/// How long a written entry lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lifespan {
    /// What time to live and age do.
    pub(crate) lasting: Lasting,
    /// What the cache's `Expiry` does.
    pub(crate) ruling: Ruling,
}

impl Lifespan {
    /// Returns the lifespan of an entry in a cache without an `Expiry`.
    #[inline]
    pub(crate) const fn of(lasting: Lasting) -> Self {
        Self { lasting, ruling: Ruling::NONE }
    }

    /// Returns whether what is written with this lifespan is certain to be over from the start, as far
    /// as is known without the times of the key's entry. `is_over_live` returns whether the key has a
    /// live one. An entry that it finds expired must be dead from then on.
    #[inline(always)]
    pub(super) fn ends_at_once(self, config: &Config, is_over_live: impl FnOnce() -> bool) -> bool {
        let ttl = match self.lasting {
            Lasting::New(ttl) | Lasting::Given(ttl) => ttl,
            Lasting::Restarted | Lasting::Kept => {
                let restarts_own = config.ttl != Span::NONE || is_over_live();
                if restarts_own { Span::ENDLESS } else { Span::NONE }
            }
            Lasting::Moved(_) => Span::ENDLESS,
        };
        ttl == Span::NONE || self.ruling == Ruling::After(Span::NONE)
    }
}

/// The times and the ends of an entry whose value is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) ttl: Span,
    /// Whether the entry that is overwritten has this time to live already.
    keeps_ttl: bool,
    /// The time of birth; `None` if it stays unchanged.
    pub(super) born: Option<Birth>,
    pub(super) ends: Ends,
}

impl Written {
    /// Returns the times of an entry that is new at `now`.
    #[inline]
    pub(super) fn times(&self, now: Tick) -> Times {
        Times { ttl: self.ttl, born: self.born.unwrap_or(Birth::at(now)) }
    }

    /// Notes the time to live of an entry that is about to be stored. This comes before any thread
    /// can find the entry.
    #[inline]
    pub(super) fn note_ttl(&self, config: &Config) {
        if !self.keeps_ttl {
            config.note(self.ttl);
        }
    }
}

/// The entry that is overwritten. It is alive, or nothing is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) row: RowId,
    /// The deadline before the write: 0 if the entry is dead.
    pub(super) deadline: Tick,
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Computes times and ends like `written`, for a write over a frozen entry, alive or not. The
    /// operation's time is a reading from within the call, perhaps from before the freeze and the
    /// lock. If another thread moved the deadline by a later reading, with the lock or without, the
    /// frozen deadline is later than the new one would be. In that case this function reads the
    /// clock again, after the freeze.
    #[inline(always)]
    pub(super) fn written_over(&mut self, home: u32, frozen: &FrozenAt<K, V>, lifespan: Lifespan) -> Written {
        let over = frozen.frozen.was_alive(self.now()).then(|| self.over(frozen));
        let written = self.written(home, over, lifespan);
        if over.is_some_and(|over| written.ends.deadline.tick() < over.deadline) {
            self.written_after_all(home, frozen, lifespan)
        } else {
            written
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

    /// Returns the times and the ends of an entry whose value is written now, under a key with this
    /// home: over a live entry, or where there is none.
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
        let limit = match (lasting, over) {
            (Lasting::Kept, Some(over)) if !config.effects.moves_deadline => {
                // The deadline is `DEAD` if a reader has just found the entry expired. Then nothing
                // is stored.
                over.deadline.max(Tick::LONG_AGO)
            }
            (Lasting::Kept, Some(over)) => ledger.limit(config, over.row),
            _ => {
                let lasting = config.jitter.shorten(ttl, home, now);
                // If no maximum age is set, the row is not accessed: the access would be a cache
                // miss.
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
            // This case does not occur: a ruling about a live entry counts for that entry alone. If it
            // did, there would be nothing to keep, so the entry is expired.
            (Ruling::Keep, _, None) => now,
        };
        let keeps_ttl = matches!((lasting, over), (Lasting::Restarted | Lasting::Kept, Some(_)));
        Written { ttl, keeps_ttl, born, ends: config.ends(now, limit, expiry) }
    }
}
