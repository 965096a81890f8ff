//! A bounded cache against a map that knows deadlines and weights, step by step, on clocks that are moved by hand.
//!
//! Few keys and small capacities, recounted after each step; and large caches, recounted now and then. For a soak, the
//! number of steps comes from the environment: `TIDEWHEEL_STEPS` of the first kind, `TIDEWHEEL_LARGE_STEPS` of the
//! second, `TIDEWHEEL_SEED` to go another way.

#[path = "common/bounded.rs"]
mod bounded;
#[path = "common/hashers.rs"]
mod hashers;

use bounded::{Key, Op, Pair, Setup};
use hashers::{Colliding, Identity};
use std::hash::BuildHasher;
use std::time::Duration;
use tidewheel::{EvictionPolicy, RandomState};

/// Numbers that look random (the multiplier is Knuth's).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Mostly light, sometimes nothing, sometimes as much as there is room for, or more.
    fn weight(&mut self, capacity: u64, shards: u64) -> u32 {
        let part = capacity / shards;
        let weight = match self.below(16) {
            0 => 0,
            1 => part,
            2 => capacity + self.below(2),
            3 => capacity / 8,
            4 => self.below(part + 1),
            5 => self.below(capacity + 1),
            6..=9 => 1,
            _ => 1 + self.below(part / 16 + 1),
        };
        weight.try_into().unwrap()
    }

    fn length(&mut self) -> Duration {
        match self.below(8) {
            0 => Duration::ZERO,
            1 => Duration::from_secs(1 + self.below(3)),
            2 => Duration::from_secs(100_000),
            _ => Duration::from_millis(self.below(8000)),
        }
    }

    fn op(&mut self, keys: Key, (capacity, shards): (u64, u64), rest: u64) -> Op {
        let key = self.below(keys);
        match self.below(64) {
            0..16 => Op::Insert(key, self.weight(capacity, shards)),
            16..20 => Op::InsertWithTtl(key, self.weight(capacity, shards), self.length()),
            20..24 => Op::TryInsert(key, self.weight(capacity, shards)),
            24..28 => Op::Replace(key, self.weight(capacity, shards)),
            28..32 => Op::Update(key, self.weight(capacity, shards)),
            32..34 => Op::Rename(key, self.below(keys)),
            34 => Op::Touch(key),
            35..37 => Op::SetTtl(key, self.length()),
            37..54 => Op::Get(key),
            54..57 => Op::Remove(key),
            // What concerns all entries comes as seldom as there are many of them.
            _ if self.below(rest) != 0 => Op::Get(key),
            57 if self.below(16) == 0 => Op::InvalidateAll,
            57 => Op::SetCapacity(if self.below(4) == 0 { self.below(shards + 2) } else { capacity }),
            58 => Op::RunPendingTasks,
            59..62 => Op::Advance(Duration::from_millis(self.below(2500))),
            _ => Op::AdvanceWithoutSweeping(Duration::from_millis(self.below(1500))),
        }
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

fn numbers() -> Numbers {
    Numbers(from_environment("TIDEWHEEL_SEED", 7))
}

/// Another capacity now and then, such that the shards' parts are equal.
fn resized(numbers: &mut Numbers, shards: u64, most: u64) -> u64 {
    match numbers.below(12) {
        0 => 0,
        1 => shards,
        _ => shards * (1 + numbers.below(most / shards)),
    }
}

/// A run on a small cache, recounted after every step.
fn small_run(numbers: &mut Numbers, hasher: impl BuildHasher + Send + Sync + 'static, steps: u64) -> u64 {
    let setup = Setup {
        capacity: numbers.one_of(&[1, 2, 3, 8, 10, 20, 64, 128, 512, 1024, 1 << 20]),
        shards: numbers.one_of(&[1, 2, 8, 64]),
        policy: numbers.one_of(&[EvictionPolicy::Adaptive, EvictionPolicy::Clock, EvictionPolicy::Fifo]),
        time_to_live: numbers.one_of(&[None, Some(Duration::from_secs(5)), Some(Duration::from_millis(700))]),
    };
    let mut pair = Pair::new(setup, hasher);
    let (shards, mut capacity) = (pair.shards(), setup.capacity);
    let keys = 4 + numbers.below(90);
    for step in 0..steps {
        let mut op = numbers.op(keys, (capacity, shards), 1);
        if let Op::SetCapacity(most) = &mut op {
            if *most == capacity {
                *most = resized(numbers, shards, 2 * setup.capacity);
            }
            if *most == 0 || *most >= shards {
                *most -= *most % shards;
                capacity = *most;
            }
        }
        pair.apply(op);
        pair.check_bound();
        pair.validate();
        pair.check_key(numbers.below(keys));
        if step % 64 == 0 {
            pair.check_whole(keys);
        }
    }
    pair.check_whole(keys);
    pair.evicted()
}

#[test]
fn a_small_cache_is_like_a_map_that_knows_what_was_evicted() {
    const RUN: u64 = 2000;
    let steps = from_environment("TIDEWHEEL_STEPS", 240_000);
    let mut numbers = numbers();
    let mut evicted = 0;
    for run in 0..steps.div_ceil(RUN) {
        evicted += match run % 4 {
            0 => small_run(&mut numbers, Identity, RUN),
            1 => small_run(&mut numbers, Colliding, RUN),
            _ => small_run(&mut numbers, RandomState::new().unwrap(), RUN),
        };
    }
    println!("{steps} steps, {evicted} evicted");
    assert!(evicted > steps / 50, "{evicted} evicted: too few to say anything");
}

#[test]
fn a_large_cache_is_like_a_map_that_knows_what_was_evicted() {
    const SAMPLED: u64 = 100_000;
    let steps = from_environment("TIDEWHEEL_LARGE_STEPS", 500_000);
    let mut numbers = numbers();
    let mut done = 0;
    for policy in [EvictionPolicy::Adaptive, EvictionPolicy::Clock, EvictionPolicy::Fifo] {
        let capacity = 1 << 16;
        let setup = Setup { capacity, shards: 8, policy, time_to_live: Some(Duration::from_secs(3600)) };
        let mut pair = Pair::new(setup, RandomState::new().unwrap());
        let (shards, keys) = (pair.shards(), 3 * capacity);
        assert_eq!(shards, 8);
        // Lighter than what the small caches get, so that there are many.
        for step in 0..steps / 3 {
            let mut op = numbers.op(keys, (capacity / 1024, shards), 256);
            if let Op::SetCapacity(most) = &mut op {
                *most = capacity - shards * numbers.below(capacity / shards / 4);
            }
            if let Op::InvalidateAll = op {
                op = Op::RunPendingTasks;
            }
            pair.apply(op);
            pair.check_bound();
            if step % SAMPLED == SAMPLED - 1 {
                pair.check_whole(keys);
            }
            done += 1;
        }
        pair.check_whole(keys);
        assert!(pair.evicted() > 0);
    }
    println!("{done} steps");
}
