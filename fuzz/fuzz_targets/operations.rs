//! Operations chosen by the fuzzer, on a cache and on a plain map with deadlines; every answer is
//! compared (`tests/common/model.rs`).
//!
//! The input is bytes, three to an operation after four of set-up, with no length or checksum in it, so
//! that a mutated input is an input as good as any.
#![no_main]

#[path = "../../tests/common/counted.rs"]
mod counted;
#[path = "../../tests/common/hashers.rs"]
mod hashers;
#[path = "../../tests/common/model.rs"]
mod model;

use hashers::{Colliding, Identity};
use libfuzzer_sys::fuzz_target;
use model::{Key, Op, Setup, Twin};
use std::hash::BuildHasher;
use std::time::Duration;

/// Few keys, so that operations meet.
const KEYS: u8 = 16;
/// More operations tell no more, and slow the fuzzer down.
const MOST: usize = 1000;
/// After operations with a code from here on everything is compared. It takes most of the time, so the
/// fuzzer chooses where.
const WHOLE: u8 = 220;

/// A length of time in one byte: the upper half says on which scale, the lower how many of it.
fn length(byte: u8) -> Duration {
    let (scale, count) = (byte >> 4, u64::from(byte & 15));
    let nanos = match scale {
        0 => return Duration::from_nanos(count),
        1 => 1_000_000,
        2 => 10_000_000,
        3 => 100_000_000,
        4 => 250_000_000,
        5 => 999_999_999,
        6 => 1_000_000_000,
        7 => 1_000_000_001,
        8 => 7_500_000_000,
        9 => 63_000_000_000,
        10 => 64_000_000_000,
        11 => 65_000_000_001,
        12 => 4_096_000_000_000,
        13 => 86_400_000_000_000,
        14 => 365 * 86_400_000_000_000,
        _ => return if count == 15 { Duration::MAX } else { Duration::from_secs(count * 20 * 365 * 86_400) },
    };
    Duration::from_nanos(nanos * count)
}

fn op(bytes: &[u8]) -> Op {
    let &[code, first, second] = bytes else { unreachable!("three bytes to an operation") };
    let (key, other) = (Key::from(first % KEYS), Key::from(second % KEYS));
    match code % 22 {
        0 | 1 => Op::Insert(key),
        2 | 3 => Op::InsertWithTtl(key, length(second)),
        4 => Op::TryInsert(key),
        5 => Op::Replace(key),
        6 => Op::Update(key),
        7 => Op::Touch(key),
        8 => Op::SetTtl(key, length(second)),
        9 => Op::Persist(key),
        10 => Op::Invalidate(key),
        11 => Op::Remove(key),
        12 => Op::RemoveIf(key, second % 2 == 0),
        13 => Op::Rename(key, other),
        14 => Op::InvalidateAll,
        15 => Op::RunPendingTasks,
        16 => Op::AdvanceWithoutSweeping(length(second)),
        // Many keys, for once, so that buckets move.
        17 => Op::Insert(Key::from(first) << 8 | Key::from(second)),
        18 => Op::Touch(Key::from(first) << 8 | Key::from(second)),
        19 => Op::Remove(Key::from(first) << 8 | Key::from(second)),
        20 if second % 16 == 9 => Op::OrInsert(key),
        20 if second % 16 == 10 => Op::OrInsertIf(key, second >= 128),
        20 if second % 16 == 11 => Op::Upsert(key),
        20 if second % 16 == 12 => Op::Compute(key, second >= 128),
        20 if second % 16 == 13 => Op::Read(key),
        20 if second % 16 == 14 => Op::GuardGet(key),
        20 if second % 16 == 15 => Op::Get(key),
        _ => Op::Advance(length(second)),
    }
}

fn run(setup: Setup, hasher: impl BuildHasher + Send + Sync + 'static, ops: &[&[u8]]) {
    let mut twin = Twin::new(setup, hasher);
    for bytes in ops.iter().take(MOST) {
        twin.apply(op(bytes));
        twin.check_key(Key::from(bytes[1] % KEYS));
        if bytes[0] >= WHOLE {
            twin.check_whole();
        }
    }
    twin.check_whole();
    for key in 0..Key::from(KEYS) {
        twin.check_key(key);
    }
    // Nobody else holds a guard in this process, so a few sweeps drop all there is to drop.
    twin.settle(10);
}

fuzz_target!(|input: &[u8]| {
    let Some((&[layout, ttl, age, idle], rest)) = input.split_first_chunk::<4>() else { return };
    let ops: Vec<&[u8]> = rest.chunks_exact(3).collect();
    // 255 stands for none at all. The time to idle also chooses the hasher; 0 and 1 stand for none.
    let optional = |byte: u8| (byte != 255).then(|| length(byte));
    let setup = Setup {
        shards: 1 << (layout & 3),
        initial_capacity: usize::from(layout >> 3),
        time_to_live: optional(ttl),
        max_age: optional(age),
        time_to_idle: (idle > 1).then(|| length(idle)),
        jitter: None,
        listener: layout & 4 != 0,
    };
    match idle % 2 {
        0 => run(setup, Identity, &ops),
        _ => run(setup, Colliding, &ops),
    }
});
