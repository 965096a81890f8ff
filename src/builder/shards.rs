//! How many shards a cache has, and for how many entries each makes room.

use super::CacheBuilder;
use std::num::NonZero;
use std::thread::available_parallelism;

/// The most shards that a cache can have: as many as a hash has bits for.
pub(super) const MAX_SHARDS: usize = 1 << 16;

/// The most entries that a shard can have.
pub(super) const MAX_IN_SHARD: usize = 1 << 27;

/// Entries that a shard of a bounded cache has room for at least: with fewer, entries are evicted from some
/// shards while others have room, and the policy sees too little.
const LEAST_IN_SHARD: u64 = 64;

/// Entries that each of many shards has room for at least, where nobody has said how many there are to be.
const WORTH_MORE: u64 = 512;

/// The most shards where entries have weights: writers meet at the account anyway, and of few entries each
/// shard has some.
const MAX_SHARDS_WEIGHED: usize = 8;

impl<K, V> CacheBuilder<K, V> {
    /// How many entries to make room for: no more than there can be.
    pub(super) fn initial_entries(&self) -> usize {
        let most = self.max_capacity.filter(|_| self.weigher.is_none()).unwrap_or(u64::MAX);
        self.initial_capacity.min(usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// How many shards there are: as many as asked for, as long as each has a part of the capacity that is
    /// worth while.
    pub(super) fn shard_count(&self) -> usize {
        let mut shards = self.shards.unwrap_or_else(|| default_shards(self.max_capacity));
        if self.weigher.is_some() {
            shards = shards.min(MAX_SHARDS_WEIGHED);
        }
        while shards > 1 && self.max_capacity.is_some_and(|most| most / (shards as u64) < LEAST_IN_SHARD) {
            shards /= 2;
        }
        shards
    }
}

/// Sixteen shards for each processor: with that, two of as many writers as there are processors seldom meet.
/// Beyond 64, four do: more are dearer than meeting is. (`src/docs/decisions.md`, "How many shards".)
fn default_shards(max_capacity: Option<u64>) -> usize {
    let processors = available_parallelism().map_or(1, NonZero::get);
    let few = (4 * processors).next_power_of_two().min(MAX_SHARDS);
    let many = (16 * processors).next_power_of_two().min(64);
    let is_worth_it = processors > 1 && max_capacity.is_none_or(|most| most / (many as u64) >= WORTH_MORE);
    if is_worth_it { few.max(many) } else { few }
}
