//! Operations chosen by the fuzzer, on a cache with a capacity, weights, pins and a listener, and on a map that knows what was evicted
//! (`tests/common/bounded.rs`); every answer, report, sum and statistic is compared.
//!
//! The input: four bytes of set-up, then four to an operation.
#![no_main]

#[path = "../../tests/common/bounded.rs"]
mod bounded;
#[path = "../../tests/common/hashers.rs"]
mod hashers;

use bounded::{Key, Op, Pair, Setup};
use hashers::{Colliding, Identity};
use libfuzzer_sys::fuzz_target;
use std::hash::BuildHasher;
use std::time::Duration;
use tidewheel::EvictionPolicy;

/// More operations tell no more, and slow the fuzzer down.
const MOST: usize = 600;

/// From nothing to four minutes, in steps that are no whole seconds.
fn length(byte: u8) -> Duration {
    Duration::from_millis(u64::from(byte) * u64::from(byte) * 4)
}

/// Some light, some as heavy as all there is room for, one more than that, and the heaviest there can be.
fn weight(byte: u8, capacity: u64) -> u32 {
    let most = u32::try_from(capacity).unwrap_or(u32::MAX);
    match byte {
        255 => u32::MAX,
        254 => most.saturating_add(1),
        253 => most,
        240..253 => most / u32::from(byte - 238),
        _ => u32::from(byte % 8),
    }
}

fn run(setup: Setup, hasher: impl BuildHasher + Send + Sync + 'static, keys: Key, ops: &[&[u8]]) {
    let mut pair = Pair::new(setup, hasher);
    let (shards, mut capacity) = (pair.shards(), setup.capacity);
    for bytes in ops.iter().take(MOST) {
        let &[code, first, second, third] = *bytes else { unreachable!("four bytes to an operation") };
        let (key, heavy) = (Key::from(first) % keys, weight(second, capacity));
        let op = match code % 32 {
            0..6 => Op::Insert(key, heavy),
            6..8 => Op::InsertWithTtl(key, heavy, length(third)),
            8 => Op::TryInsert(key, heavy),
            9 | 10 => Op::Replace(key, heavy),
            11 | 12 => Op::Update(key, heavy),
            13 => Op::Rename(key, Key::from(third) % keys),
            14 => Op::Touch(key),
            15 => Op::SetTtl(key, length(third)),
            16..22 => Op::Get(key),
            22 | 23 => Op::Remove(key),
            24 if third & 3 == 0 => Op::InvalidateAll,
            25 => {
                // Such that the shards' parts are equal, as the map has it.
                let most = u64::from(second) * u64::from(third & 7);
                let most = most - most % shards;
                capacity = most;
                Op::SetCapacity(most)
            }
            26 | 27 => Op::RunPendingTasks,
            28 => Op::AdvanceWithoutSweeping(length(second)),
            _ => Op::Advance(length(second)),
        };
        pair.apply(op);
        pair.check_bound();
        pair.validate();
        pair.check_key(key);
        if code >= 224 {
            pair.check_whole(keys);
        }
    }
    pair.check_whole(keys);
}

fuzz_target!(|input: &[u8]| {
    let Some((&[layout, room, kind, ttl], rest)) = input.split_first_chunk::<4>() else { return };
    let ops: Vec<&[u8]> = rest.chunks_exact(4).collect();
    let shards = 1 << (layout & 3);
    let policies = [EvictionPolicy::Adaptive, EvictionPolicy::Clock, EvictionPolicy::Fifo];
    let setup = Setup {
        // A room of 0 is for the operation that makes it so.
        capacity: (shards as u64 * (1 + u64::from(room))) << (layout >> 2 & 7),
        shards,
        policy: policies[usize::from(kind % 3)],
        time_to_live: (ttl != 255).then(|| length(ttl)),
    };
    let keys = 2 + Key::from(kind / 3);
    match layout >> 5 & 1 {
        0 => run(setup, Identity, keys, &ops),
        _ => run(setup, Colliding, keys, &ops),
    }
});
