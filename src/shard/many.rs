//! Several inserts while the lock is held once. Each is what an insert by itself is; the lock, the clock and the
//! way to memory are had once for all of them.
//!
//! An entry's times go by a clock reading from the moment when the lock was taken: at most a hold ago, and after
//! the caller asked for it (see `Ledger::ends_over` for one that takes another's place).

use super::credit::{Around, Credit};
use super::{Chores, Lasting, Ruling, Shard};
use crate::hash::HashBits;
use crate::table::same_as;

/// Entries that are stored while the lock is held once, at most.
const HOLD: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };

/// An entry that waits for its shard.
pub(crate) struct Waiting<K, V> {
    pub(crate) hash: HashBits,
    pub(crate) entry: (K, V),
    pub(crate) weight: u32,
}

impl<K: Eq, V> Shard<K, V> {
    /// Stores some of the entries that wait, from the end of the list on, and takes them off it. If an `Eq` panics,
    /// those before it are stored, and it is still on the list. `are_near` says that their buckets were fetched before.
    pub(crate) fn insert_some(
        &self,
        around: &impl Around<K, V>,
        waiting: &mut Vec<Waiting<K, V>>,
        chores: &mut Vec<Chores<K, V>>,
        are_near: bool,
    ) {
        let (terms, mut credit) = (around.terms(), Credit::none(around));
        let mut locked = self.table.lock();
        let (mut table, mut ledger) = locked.parts();
        if !are_near {
            waiting.iter().for_each(|next| table.fetch(next.hash.home()));
        }
        let mut now = terms.clock.now();
        for _ in 0..HOLD {
            let Some(next) = waiting.last() else { return };
            let place = table.find(next.hash, same_as(&next.entry.0));
            ledger.overtake(&table, next.hash, place, same_as(&next.entry.0));
            if let Err(short) = self.pay((&mut table, ledger), (place, next.weight), &mut credit) {
                drop(locked);
                credit.raise(self, *short);
                locked = self.table.lock();
                (table, ledger) = locked.parts();
                now = terms.clock.now();
                continue;
            }
            let seal = place.map(|place| table.node(place).seal());
            let Some(Waiting { hash, entry, weight }) = waiting.pop() else { return };
            let mut entry = Some(entry);
            let known = (place.zip(seal), now, (Lasting::New(terms.ttl), Ruling::NONE));
            let left = self.put(terms, (&mut table, ledger), hash, (&mut entry, weight), known);
            // What comes seldom should not wait for the rest.
            let is_done = left.seldom.is_some();
            if is_done || left.removed.is_some() {
                chores.push(left);
            }
            if is_done {
                return;
            }
        }
    }
}
