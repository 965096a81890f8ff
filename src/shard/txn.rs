//! The held lock of a shard, and the transaction ([`Txn`]) through which a writer reads and changes
//! it.
//!
//! Every operation that takes the lock calls [`Shard::lock`], [`Shard::lock_at`] or
//! [`Shard::lock_and_read`], and works on the [`Txn`] of that lock: the table, the ledger, the
//! cache's configuration and the operation's time. [`Txn::settle`] (`settle.rs`) returns the work
//! that remains after the unlock as one [`Deferred`](super::Deferred).
//!
//! This file knows no operation. Its siblings add the methods of which operations consist: adding,
//! replacing and removing an entry (`change.rs`), eviction (`evict.rs`), and the end of an
//! operation (`settle.rs`).

use super::Shard;
use super::config::Config;
use super::ledger::Ledger;
use super::lookup::Lookup;
use crate::hash::HashBits;
use crate::table::{self, Frozen, Place, Writing, same_as};
use crate::time::Tick;
use equivalent::Equivalent;

/// A value that no clock reads.
const UNREAD: Tick = Tick::NEVER;

/// The lock of a shard. Dropping it unlocks the shard.
pub(super) struct Lock<'s, K, V> {
    shard: &'s Shard<K, V>,
    locked: table::Locked<'s, K, V, Ledger<K, V>>,
    now: Tick,
}

/// Everything that the lock guards, to read and to change.
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
    /// Takes the lock. Does not read the clock.
    #[inline(always)]
    pub(super) fn lock(&self) -> Lock<'_, K, V> {
        Lock { shard: self, locked: self.table.lock(), now: UNREAD }
    }

    /// Takes the lock, with a clock reading from within this call. See `Table::lock_at`.
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
    /// Returns the operation's time: a clock reading from within the call, perhaps from before the
    /// lock was taken.
    #[inline(always)]
    pub(super) fn now(&self) -> Tick {
        debug_assert!(self.now != UNREAD, "the clock was not read");
        self.now
    }

    /// Reads the clock. The rest of the operation uses this reading.
    #[inline(always)]
    pub(super) fn read_clock(&mut self) -> Tick {
        self.now = self.config.clock.now();
        self.now
    }

    /// Sets the operation's time to `now`. Returns the previous one.
    pub(super) fn go_by(&mut self, now: Tick) -> Tick {
        std::mem::replace(&mut self.now, now)
    }

    /// Finds the place of a key. Runs the user's `Eq`, and changes nothing.
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

    /// Ends the freeze of an entry that stays as it was, if there is one.
    pub(super) fn thaw(&self, over: Option<FrozenAt<K, V>>) {
        if let Some(FrozenAt { place, frozen }) = over {
            self.table.node(place).thaw(frozen);
        }
    }

    /// Returns whether there is no entry, or only an expired one, by a clock reading made now. An
    /// expired entry stays expired.
    #[inline]
    pub(super) fn is_over(&self, place: Option<Place<K, V>>) -> bool {
        place.is_none_or(|place| self.table.node(place).visible_until(self.config.clock.now()).is_none())
    }
}
