//! Finding a key: without the lock for readers, and under the lock where they need the ledger.
//!
//! A read that counts as use restarts a time to idle. A touch restarts a time to live. Both change
//! the node's deadline by compare-and-swap. They take the lock only if the new deadline depends on
//! the ledger, or if a writer has frozen the deadline.

use super::Shard;
use super::deadline::Times;
use crate::hash::HashBits;
use crate::table::{Cursor, Met, Node, Pin, Touch, same_as};
use crate::time::{Deadline, Tick};
use equivalent::Equivalent;

/// A key to find, with its hash.
#[derive(Debug)]
pub(crate) struct Lookup<'q, Q: ?Sized> {
    pub(crate) hash: HashBits,
    pub(crate) key: &'q Q,
}

impl<Q: ?Sized> Copy for Lookup<'_, Q> {}

impl<Q: ?Sized> Clone for Lookup<'_, Q> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<'q, Q: ?Sized> Lookup<'q, Q> {
    #[inline(always)]
    pub(crate) const fn new(hash: HashBits, key: &'q Q) -> Self {
        Self { hash, key }
    }
}

/// A live entry, with its times from the ledger.
pub(crate) struct Looked<'g, K, V> {
    pub(crate) node: &'g Node<K, V>,
    /// When the entry was looked up.
    pub(crate) now: Tick,
    /// When the entry ends.
    pub(crate) until: Tick,
    pub(crate) times: Times,
}

impl<K, V> Shard<K, V> {
    /// Returns the node of a key. The node itself decides whether it is visible.
    #[inline]
    pub(crate) fn find<'g, const COUNT: bool, Q>(
        &'g self,
        at: Lookup<'_, Q>,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.table.route().find(at.hash, same_as(at.key), COUNT, pin)
    }

    /// Returns the node of a live entry and the result of `ask`, or `None` if `ask` says that the
    /// node has expired.
    #[inline(always)]
    pub(crate) fn alive<'g, const COUNT: bool, Q, R>(
        &'g self,
        at: Lookup<'_, Q>,
        pin: &'g Pin,
        ask: impl Fn(&Node<K, V>) -> Option<R>,
    ) -> Option<(&'g Node<K, V>, R)>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let node = self.find::<COUNT, Q>(at, pin)?;
        match ask(node) {
            Some(answer) => Some((node, answer)),
            None => self.alive_after(node, at, pin, ask),
        }
    }

    /// Looks the key up again after a node that has expired.
    #[cold]
    fn alive_after<'g, Q, R>(
        &'g self,
        mut node: &'g Node<K, V>,
        at: Lookup<'_, Q>,
        pin: &'g Pin,
        ask: impl Fn(&Node<K, V>) -> Option<R>,
    ) -> Option<(&'g Node<K, V>, R)>
    where
        Q: ?Sized + Equivalent<K>,
    {
        loop {
            // The node has expired. A writer may have replaced it before it expired, and this read
            // was too slow to see that. (An expired node that is still in the table stays expired.)
            let again = self.find::<false, Q>(at, pin)?;
            if std::ptr::eq(again, node) {
                return None;
            }
            if let Some(answer) = ask(again) {
                return Some((again, answer));
            }
            node = again;
        }
    }

    /// Returns the node of a live entry, for readers. With `COUNT`, counts a hit.
    #[inline(always)]
    pub(crate) fn visible<'g, const COUNT: bool, Q>(
        &'g self,
        at: Lookup<'_, Q>,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.alive::<COUNT, Q, _>(at, pin, |node| {
            node.is_visible(|| self.config.clock.recent()).then_some(())
        })
        .map(|(node, ())| node)
    }

    /// Visits the nodes of the next few buckets, alive or not. See `table/walk.rs`.
    pub(crate) fn walk<'g>(
        &'g self,
        cursor: &mut Cursor,
        hash_of: &impl Fn(&K) -> HashBits,
        met: &mut Vec<Met<'g, K, V>>,
        pin: &'g Pin,
    ) where
        K: Eq,
    {
        self.table.walk(cursor, hash_of, met, pin);
    }

    /// Returns the node of a live entry, for readers that count as use, in a cache with a time to
    /// idle. Takes the lock only to ask the ledger how long the entry may live. That happens at
    /// most once for each entry and step of the readers' clock: the deadline that it sets suffices
    /// until the next step.
    pub(crate) fn used<'g, Q>(
        &'g self,
        at: Lookup<'_, Q>,
        is_counted: bool,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let config = &*self.config;
        let restart = |node: &Node<K, V>| {
            // `is_uniform` is asked after the deadline was loaded.
            let restarted =
                node.restart(&config.clock, |now| config.idle_deadline(now), || config.is_uniform());
            (restarted != Touch::Gone).then_some(restarted)
        };
        let found = if is_counted {
            self.alive::<true, Q, _>(at, pin, restart)?
        } else {
            self.alive::<false, Q, _>(at, pin, restart)?
        };
        match found {
            (node, Touch::Done) => Some(node),
            _ => self.used_locked(at, pin),
        }
    }

    #[cold]
    fn used_locked<'g, Q>(&'g self, at: Lookup<'_, Q>, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut lock = self.lock();
        let txn = lock.txn();
        let place = txn.find(at)?;
        let bound = txn.ledger.bound(txn.table.row(place));
        let node = txn.table.lend(place, pin);
        // The deadline is later by the lag, although this clock is precise. So the next read has
        // nothing to do until the readers' clock has passed this moment.
        let until = |now: Tick, before: Deadline| match self.config.idle_deadline(now) {
            // Only a freeze made this read take the lock. The entry already has the deadline that
            // this read would set.
            idle if idle <= before.tick() => before,
            idle if idle < bound => Deadline::at(idle),
            _ => Deadline::fixed_at(bound.max(before.tick())),
        };
        node.touch_locked(&self.config.clock, until).then_some(node)
    }

    /// Restarts the time to live of a live entry, without the lock if possible. Returns whether the
    /// entry was alive.
    pub(crate) fn touch<Q>(&self, at: Lookup<'_, Q>, pin: &Pin) -> bool
    where
        Q: ?Sized + Equivalent<K>,
    {
        let config = &*self.config;
        let touch = |node: &Node<K, V>| match node.touch(&config.clock, |now| config.uniform_deadline(now)) {
            Touch::Gone => None,
            touched => Some(touched),
        };
        match self.alive::<false, Q, _>(at, pin, touch) {
            None => return false,
            Some((_, Touch::Done)) => return true,
            Some(_) => {}
        }
        let mut lock = self.lock();
        let txn = lock.txn();
        let Some(place) = txn.find(at) else {
            return false;
        };
        let row = txn.table.row(place);
        let (times, old_limit) = (txn.ledger.times(row), txn.ledger.limit(config, row));
        let mut ends = None;
        let alive = txn.table.node(place).touch_locked(&config.clock, |now, before| {
            let limit = times.limit(now, config).max(old_limit);
            ends.insert(config.ends(now, limit, txn.ledger.expiry(row))).not_before(before, config)
        });
        if let Some(ends) = ends.filter(|_| alive) {
            txn.ledger.bind(config, row, ends);
        }
        alive
    }

    /// Returns a live entry with its times from the ledger.
    pub(crate) fn look<'g, Q>(&'g self, at: Lookup<'_, Q>, pin: &'g Pin) -> Option<Looked<'g, K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut lock = self.lock();
        let mut txn = lock.txn();
        let place = txn.find(at)?;
        let now = txn.read_clock();
        let node = txn.table.lend(place, pin);
        let times = txn.ledger.times(txn.table.row(place));
        Some(Looked { node, now, until: node.visible_until(now)?, times })
    }
}
