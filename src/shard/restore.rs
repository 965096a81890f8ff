//! Records: what there is to know of an entry beside its key and value, and how an entry comes back that was recorded.
//!
//! Times are told as what is left, and as an age, so that they mean the same on another clock's timeline.

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

/// Entries that come back while the lock is held once, at most.
const RESTORES: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };

/// An entry's times and hits at one moment. What never comes is `ENDLESS` away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// How long it lives on if nobody uses it.
    pub(crate) left: Span,
    /// How long until its time to live or its age ends it, however often it is read.
    pub(crate) limit: Span,
    /// How long until its `Expiry` ends it.
    pub(crate) expiry: Span,
    pub(crate) age: Span,
    /// Its own time to live, where that is not the cache's.
    pub(crate) ttl: Option<Span>,
    /// How often it was hit, as far as the policy counts that.
    pub(crate) hits: u8,
}

/// An entry that waits for its shard, to come back.
pub(crate) struct PendingRestore<K, V> {
    pub(crate) hash: HashBits,
    pub(crate) entry: (K, V),
    pub(crate) weight: u32,
    pub(crate) record: Record,
}

/// What became of some entries that waited.
pub(crate) struct Returned<K, V> {
    pub(crate) count: u64,
    /// Not stored; to be dropped outside the lock.
    pub(crate) unwanted: Vec<(K, V)>,
}

/// The time from `now` to `end`.
fn until(end: Tick, now: Tick) -> Span {
    if end == Tick::NEVER { Span::ENDLESS } else { end.since(now) }
}

impl Record {
    /// When it ends an entry that comes back at `now`, under these config; `None` if it is over.
    fn ends(&self, config: &Config, now: Tick, born: Birth) -> Option<Ends> {
        let limit = now.after(self.limit).min(born.after(config.max_age));
        let expiry = now.after(self.expiry);
        // Without columns for these, the deadline has to say all of it.
        let limit =
            if config.effects.moves_deadline { limit } else { limit.min(expiry).min(now.after(self.left)) };
        let ends = config.ends_if_idle_for(self.left.min(config.tti), now, limit, expiry);
        (ends.deadline.tick() > now).then_some(ends)
    }
}

impl Config {
    /// Under the lock, before an entry is bound by something else than its idleness.
    fn note_limit(&self, ttl: Span, limit: Tick) {
        self.note(ttl);
        if self.effects.restarts_idle && limit != Tick::NEVER {
            self.note_bound();
        }
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// What there is to know of the entry at a place, which ends at `end`.
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
    /// What stands where some nodes were met, if it is alive, and what there is to know of it.
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

    /// Stores some of the entries that wait, from the end of the list on, and takes them off it; not those that are
    /// over by now, nor those whose key has a live entry. If an `Eq` panics, as `insert_some`.
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
        for _ in 0..RESTORES {
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
            let Some(ends) = ends else {
                returned.unwanted.push(entry);
                continue;
            };
            if let Some(place) = place {
                txn.bury_expired(place);
            }
            let entry = &mut Some(entry);
            let left = if txn.ledger.is_too_heavy(weight) {
                txn.refuse(entry, None)
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
