//! How many shards a cache has, and for how many entries each makes room.

use super::CacheBuilder;
use std::num::NonZero;
use std::thread::available_parallelism;

/// The most shards that a cache can have: as many as a hash has bits for.
pub(super) const MAX_SHARDS: usize = 1 << 16;

/// The most entries that a shard can have: as many as there are numbers for nodes (`rows/ids.rs`). The
/// chunks have 64, 128 and so on to 2^26.
pub(super) const MAX_IN_SHARD: usize = (1 << 27) - 64;

/// The most entries for which there can be room at first: with eight bytes for each, they fill half
/// of the addresses. It matters on machines of 32 bits alone, and is 2^28 - 1 there.
pub(super) const MAX_AT_FIRST: usize = isize::MAX as usize / 8;

/// Entries that a shard of a bounded cache has room for at least: with fewer, entries are evicted
/// from some shards while others have room, and the policy sees too little.
const LEAST_IN_SHARD: u64 = 64;

/// Entries that each of many shards has room for at least, where nobody has said how many there are
/// to be.
const WORTH_MORE: u64 = 512;

/// The most shards where entries have weights: writers meet at the account anyway, and of few
/// entries each shard has some.
const MAX_SHARDS_WEIGHED: usize = 8;

impl<K, V> CacheBuilder<K, V> {
    /// How many entries to make room for: no more than there can be.
    pub(super) fn initial_entries(&self) -> usize {
        let most = self.max_capacity.filter(|_| self.weigher.is_none()).unwrap_or(u64::MAX);
        self.initial_capacity.min(usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// How many shards there are: as many as asked for, as long as each has a part of the capacity
    /// that is worth while.
    pub(super) fn shard_count(&self) -> usize {
        let processors = || available_parallelism().map_or(1, NonZero::get);
        let shards = self.shards.unwrap_or_else(|| default_shards(processors(), self.max_capacity));
        worth_while(shards, self.weigher.is_some(), self.max_capacity)
    }
}

/// No more shards than are worth while.
fn worth_while(mut shards: usize, is_weighed: bool, max_capacity: Option<u64>) -> usize {
    if is_weighed {
        shards = shards.min(MAX_SHARDS_WEIGHED);
    }
    while shards > 1 && max_capacity.is_some_and(|most| most / (shards as u64) < LEAST_IN_SHARD) {
        shards /= 2;
    }
    shards
}

/// Sixteen shards for each processor: then, of as many writers as there are processors, two seldom
/// meet. Beyond 64 shards, four for each processor are enough: more would cost more than it costs
/// to meet. (`src/docs/decisions.md`, "How many shards".)
fn default_shards(processors: usize, max_capacity: Option<u64>) -> usize {
    let few = (4 * processors).next_power_of_two().min(MAX_SHARDS);
    let many = (16 * processors).next_power_of_two().min(64);
    let is_worth_it = processors > 1 && max_capacity.is_none_or(|most| most / (many as u64) >= WORTH_MORE);
    if is_worth_it { few.max(many) } else { few }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_processor_brings_sixteen_shards_up_to_64_and_four_beyond() {
        let shards = [1, 2, 3, 4, 8, 16, 17, 64, 1 << 14, 1 << 15, 1 << 20]
            .map(|processors| default_shards(processors, None));
        assert_eq!(shards, [4, 32, 64, 64, 64, 64, 128, 256, 65_536, 65_536, 65_536]);
    }

    #[test]
    fn sixteen_for_each_processor_need_room_for_512_entries_each() {
        let worth_it = 512 * 32;
        assert_eq!(default_shards(2, Some(worth_it)), 32);
        assert_eq!(default_shards(2, Some(worth_it - 1)), 8);
        assert_eq!(default_shards(1, Some(u64::MAX)), 4);
        assert_eq!(default_shards(64, Some(0)), 256, "what is not worth while is taken away later");
    }

    #[test]
    fn a_shard_has_room_for_64_entries_or_is_the_only_one() {
        assert_eq!(worth_while(16, false, None), 16);
        let shards = [0, 1, 64, 127, 128, 255, 256, 1023, 1024, u64::MAX]
            .map(|capacity| worth_while(16, false, Some(capacity)));
        assert_eq!(shards, [1, 1, 1, 1, 2, 2, 4, 8, 16, 16]);
        assert_eq!(worth_while(16, true, Some(u64::MAX)), 8);
        assert_eq!(worth_while(4, true, Some(128)), 2);
        assert_eq!(worth_while(MAX_SHARDS, false, None), 65_536);
    }
}
