//! Records: the times and hits of an entry, and how an entry is restored from a record.
//!
//! A record stores remaining times and an age, so that it means the same on another clock's
//! timeline.

use super::Shard;
use super::config::Config;
use super::credit::{Around, Credit};
use super::deadline::{Ends, Times};
use super::deferred::Deferred;
use super::lifespan::{Lasting, Lifespan};
use super::lookup::Lookup;
use super::new_entry::NewEntry;
use super::txn::Txn;
use crate::hash::HashBits;
use crate::table::{Met, Node, Pin, Place};
use crate::time::{Birth, Span, Tick};

/// The largest number of entries that are restored in one critical section.
const RESTORES: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };

/// An entry's times and hits at one moment. An end that never comes is `ENDLESS` away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// How long the entry lives on if nobody uses it.
    pub(crate) left: Span,
    /// How long until its time to live or its age ends it, however often it is read.
    pub(crate) limit: Span,
    /// How long until its `Expiry` ends it.
    pub(crate) expiry: Span,
    pub(crate) age: Span,
    /// Its own time to live, where that differs from the cache's.
    pub(crate) ttl: Option<Span>,
    /// Its number of hits, as far as the policy counts them.
    pub(crate) hits: u8,
}

/// An entry that waits for its shard's lock, to be restored.
pub(crate) struct PendingRestore<K, V> {
    pub(crate) hash: HashBits,
    pub(crate) entry: (K, V),
    pub(crate) weight: u32,
    pub(crate) record: Record,
}

/// The result of restoring some of the waiting entries.
pub(crate) struct Returned<K, V> {
    pub(crate) count: u64,
    /// Entries that were not stored. The caller drops them outside the lock.
    pub(crate) unwanted: Vec<(K, V)>,
}

/// Returns the time from `now` to `end`.
fn until(end: Tick, now: Tick) -> Span {
    if end == Tick::NEVER { Span::ENDLESS } else { end.since(now) }
}

impl Record {
    /// Returns when an entry ends that is restored at `now` under this configuration, or `None` if
    /// it is expired.
    fn ends(&self, config: &Config, now: Tick, born: Birth) -> Option<Ends> {
        let limit = now.after(self.limit).min(born.after(config.max_age));
        let expiry = now.after(self.expiry);
        // A cache without an `Expiry` never reads that column when it writes an entry: there the
        // end is a part of the time to live, which reads do not move either.
        let (limit, expiry) = if config.ruled { (limit, expiry) } else { (limit.min(expiry), Tick::NEVER) };
        // Without columns for these bounds, the deadline has to contain all of them. And an end by
        // idleness has to be in the column where this cache has no time to idle: a touch restarts
        // the time to live that the entry has instead, and keeps a limit that is later.
        let was_idle = self.left < self.limit.min(self.expiry);
        let is_whole = config.effects.restarts_idle || config.ruled && !was_idle;
        let limit = if is_whole { limit } else { limit.min(now.after(self.left)) };
        let ends = config.ends_if_idle_for(self.left.min(config.tti), now, limit, expiry);
        (ends.deadline.tick() > now).then_some(ends)
    }
}

impl Config {
    /// Notes that an entry gets an end other than its idleness. Requires the lock, and comes before
    /// the entry gets it.
    fn note_limit(&self, ttl: Span, limit: Tick) {
        self.note(ttl);
        if self.effects.restarts_idle && limit != Tick::NEVER {
            self.note_bound();
        }
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Returns the record of the entry at a place. The entry ends at `end`.
    fn record(&self, place: Place<K, V>, end: Tick) -> Record {
        let (config, row, now) = (self.config, self.table.row(place), self.now());
        let Times { ttl, born } = self.ledger.times(row);
        let limit = if config.effects.moves_deadline { self.ledger.limit(config, row) } else { end };
        Record {
            left: until(end, now),
            limit: until(limit, now),
            expiry: until(self.ledger.expiry(row), now),
            age: born.age(now),
            ttl: (ttl != config.ttl).then_some(ttl),
            hits: if config.effects.counts_hit { self.table.lower_hits(place, 0) } else { 0 },
        }
    }
}

impl<K: Eq, V> Shard<K, V> {
    /// Returns the entries that are alive at the places of some visited nodes, with their records.
    pub(crate) fn records<'g>(
        &'g self,
        met: &[Met<'g, K, V>],
        pin: &'g Pin,
    ) -> Vec<(&'g Node<K, V>, Record)> {
        let mut records = Vec::with_capacity(met.len());
        let mut lock = self.lock_and_read();
        let txn = lock.txn();
        for &(hash, node) in met {
            let Some(place) = txn.find(Lookup::new(hash, node.key())) else { continue };
            let node = txn.table.lend(place, pin);
            let Some(end) = node.visible_until(txn.now()) else { continue };
            records.push((node, txn.record(place, end)));
        }
        records
    }

    /// Stores some of the waiting entries, from the end of the list, and removes them from it. Does
    /// not store entries that have expired by now, or whose key has a live entry. A panic of an
    /// `Eq` has the effect described at `insert_some`.
    pub(crate) fn bring_back(
        &self,
        around: &impl Around<K, V>,
        waiting: &mut Vec<PendingRestore<K, V>>,
        deferred: &mut Vec<Deferred<K, V>>,
        returned: &mut Returned<K, V>,
    ) {
        let (config, mut credit) = (&*self.config, Credit::none(around));
        let mut lock = self.lock();
        let mut txn = lock.txn();
        // Counts entries and not rounds, as in `insert_some`.
        let mut handled = 0;
        while handled < RESTORES {
            let Some(next) = waiting.last() else { return };
            let at = Lookup::new(next.hash, &next.entry.0);
            let place = txn.find(at);
            let now = txn.read_clock();
            let is_free = place.is_none_or(|place| txn.table.node(place).reap(now).is_ok());
            let born = Birth::before(now, next.record.age);
            let ends = next.record.ends(config, now, born).filter(|_| is_free);
            if ends.is_some() {
                txn.invalidate(at, place);
                if let Err(short) = txn.pay(place, next.weight, &mut credit) {
                    drop(lock);
                    credit.raise(self, *short);
                    lock = self.lock();
                    txn = lock.txn();
                    continue;
                }
            }
            let Some(PendingRestore { hash, entry, weight, record }) = waiting.pop() else { return };
            handled += 1;
            let Some(ends) = ends else {
                returned.unwanted.push(entry);
                continue;
            };
            if let Some(place) = place {
                txn.bury_expired(place);
            }
            let entry = &mut Some(entry);
            let left = if txn.ledger.is_too_heavy(weight) {
                txn.decline(entry, weight, None)
            } else {
                let times = Times { ttl: record.ttl.unwrap_or(config.ttl), born };
                config.note_limit(times.ttl, ends.limit);
                let lifespan = Lifespan::of(Lasting::New(times.ttl));
                let need = txn.add(NewEntry { hash, entry, weight, lifespan }, ends, times, record.hits);
                returned.count += 1;
                txn.settle(need, None)
            };
            let is_done = left.seldom.is_some();
            deferred.extend((is_done || left.removed.is_some()).then_some(left));
            if is_done {
                return;
            }
        }
    }
}
