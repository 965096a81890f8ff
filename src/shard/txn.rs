//! A shard's lock, held: what a writer sees and changes until it is released.
//!
//! Every operation that takes the lock does so by [`Shard::lock`] or [`Shard::lock_at`], and works on the [`Txn`] that comes of
//! it: the table, the ledger, the cache's configuration and the time that counts. What it leaves to be done after the
//! unlock is one [`Deferred`](super::Deferred), which [`Txn::settle`] returns (`settle.rs`).
//!
//! Knows no operation. The files beside this one add the methods that operations are made of: how an entry comes and goes
//! (`change.rs`), what has to go for it (`evict.rs`), and how it ends (`settle.rs`).

use super::Shard;
use super::config::Config;
use super::ledger::Ledger;
use super::lookup::Lookup;
use crate::hash::HashBits;
use crate::table::{self, Frozen, Place, Writing, same_as};
use crate::time::Tick;
use equivalent::Equivalent;

/// What no clock reads.
const UNREAD: Tick = Tick::NEVER;

/// The lock of a shard, until it is dropped.
pub(super) struct Lock<'s, K, V> {
    shard: &'s Shard<K, V>,
    locked: table::Locked<'s, K, V, Ledger<K, V>>,
    now: Tick,
}

/// What is under the lock, to be looked at and changed.
pub(super) struct Txn<'l, 's, K, V> {
    pub(super) shard: &'s Shard<K, V>,
    pub(super) config: &'s Config,
    pub(super) table: Writing<'l, 's, K, V, Ledger<K, V>>,
    pub(super) ledger: &'l mut Ledger<K, V>,
    now: Tick,
}

/// An entry whose deadline is frozen.
pub(super) struct FrozenAt<K, V> {
    pub(super) place: Place<K, V>,
    pub(super) frozen: Frozen,
}

impl<K, V> Shard<K, V> {
    /// Takes the lock. The clock is not read.
    #[inline(always)]
    pub(super) fn lock(&self) -> Lock<'_, K, V> {
        Lock { shard: self, locked: self.table.lock(), now: UNREAD }
    }

    /// Takes the lock, with a reading of the clock from within this call: see `Table::lock_at`.
    #[inline(always)]
    pub(super) fn lock_at(&self, hash: HashBits) -> Lock<'_, K, V> {
        let (locked, now) = self.table.lock_at(hash, &self.config.clock);
        Lock { shard: self, locked, now }
    }

    /// Takes the lock, and reads the clock under it.
    #[inline(always)]
    pub(super) fn lock_and_read(&self) -> Lock<'_, K, V> {
        let locked = self.table.lock();
        Lock { shard: self, locked, now: self.config.clock.now() }
    }
}

impl<'s, K, V> Lock<'s, K, V> {
    #[inline(always)]
    pub(super) fn txn(&mut self) -> Txn<'_, 's, K, V> {
        let Self { shard, now, .. } = *self;
        let (table, ledger) = self.locked.parts();
        Txn { shard, config: &shard.config, table, ledger, now }
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// The time that counts for this operation: a reading from within the call, perhaps from before the lock was taken.
    #[inline(always)]
    pub(super) fn now(&self) -> Tick {
        debug_assert!(self.now != UNREAD, "the clock was not read");
        self.now
    }

    /// Reads the clock. What comes later in the operation goes by that.
    #[inline(always)]
    pub(super) fn read_clock(&mut self) -> Tick {
        self.now = self.config.clock.now();
        self.now
    }

    /// Has the operation go by another time. Returns the one that it went by.
    pub(super) fn go_by(&mut self, now: Tick) -> Tick {
        std::mem::replace(&mut self.now, now)
    }

    /// Where a key is. Runs the user's `Eq`, and changes nothing.
    #[inline(always)]
    pub(super) fn find<Q>(&self, at: Lookup<'_, Q>) -> Option<Place<K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.table.find(at.hash, same_as(at.key))
    }

    /// Freezes the deadline of an entry, if there is one.
    #[inline(always)]
    pub(super) fn freeze(&self, place: Option<Place<K, V>>) -> Option<FrozenAt<K, V>> {
        place.map(|place| FrozenAt { place, frozen: self.table.node(place).freeze() })
    }

    /// Whether an entry is over, or there is none, by a reading of the clock from now. What is over stays over.
    #[inline]
    pub(super) fn is_over(&self, place: Option<Place<K, V>>) -> bool {
        place.is_none_or(|place| self.table.node(place).visible_until(self.config.clock.now()).is_none())
    }
}
