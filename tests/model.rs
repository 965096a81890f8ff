//! The cache against a plain map with deadlines, step by step, on clocks that are moved by hand.
//!
//! Few keys, so that operations meet; tables that start tiny, so that buckets move while they do.

#[path = "common/counted.rs"]
mod counted;
#[path = "common/hashers.rs"]
mod hashers;
#[path = "common/model.rs"]
mod model;

use hashers::{Colliding, Identity};
use model::{Key, Op, Setup, Twin};
use proptest::prelude::{Just, Strategy, any};
use proptest::test_runner::Config;
use proptest::{collection, option, prop_oneof, proptest, sample};
use std::hash::BuildHasher;
use std::time::Duration;
use tidewheel::RandomState;

const KEYS: Key = 12;
/// Sweeps until other tests' guards have let go of a value.
const PATIENCE: u32 = 100_000;

const DAY: u64 = 86_400;
const YEAR: u64 = 365 * DAY;

/// The lengths at which something changes: nothing, one tick, the borders of seconds and of the
/// usual sizes of a wheel, and the ends of time.
const LENGTHS: [Duration; 24] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(500),
    Duration::from_nanos(999_999_999),
    Duration::from_secs(1),
    Duration::from_nanos(1_000_000_001),
    Duration::from_millis(1500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(63),
    Duration::from_secs(64),
    Duration::from_secs(65),
    Duration::from_secs(1024),
    Duration::from_secs(4095),
    Duration::from_secs(4097),
    Duration::from_secs(DAY),
    Duration::from_secs(14 * DAY),
    Duration::from_secs(YEAR),
    Duration::from_secs(37 * YEAR),
    Duration::from_secs(100 * YEAR),
    Duration::from_secs(292 * YEAR),
    Duration::MAX,
];

/// Times to live: those at the borders, and any up to ten seconds.
fn length() -> impl Strategy<Value = Duration> {
    prop_oneof![sample::select(LENGTHS.to_vec()), (0u64..10_000).prop_map(Duration::from_millis)]
}

/// Movements of the clock: mostly short ones, or nothing would live long enough to be worth a test.
fn step() -> impl Strategy<Value = Duration> {
    prop_oneof![
        6 => (0u64..3000).prop_map(Duration::from_millis),
        2 => Just(Duration::from_secs(1)),
        2 => sample::select(LENGTHS[..18].to_vec()),
        1 => sample::select(LENGTHS[..21].to_vec()),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    prop_oneof![
        6 => key().prop_map(Op::Insert),
        4 => (key(), length()).prop_map(|(key, ttl)| Op::InsertWithTtl(key, ttl)),
        3 => key().prop_map(Op::TryInsert),
        3 => key().prop_map(Op::Replace),
        3 => key().prop_map(Op::Update),
        4 => key().prop_map(Op::Touch),
        3 => (key(), length()).prop_map(|(key, ttl)| Op::SetTtl(key, ttl)),
        1 => key().prop_map(Op::Persist),
        4 => key().prop_map(Op::Get),
        2 => key().prop_map(Op::Read),
        2 => key().prop_map(Op::GuardGet),
        2 => key().prop_map(Op::Invalidate),
        2 => key().prop_map(Op::Remove),
        2 => (key(), any::<bool>()).prop_map(|(key, answer)| Op::RemoveIf(key, answer)),
        3 => (key(), key()).prop_map(|(from, to)| Op::Rename(from, to)),
        3 => key().prop_map(Op::OrInsert),
        3 => (key(), any::<bool>()).prop_map(|(key, answer)| Op::OrInsertIf(key, answer)),
        4 => key().prop_map(Op::Upsert),
        3 => (key(), any::<bool>()).prop_map(|(key, removes)| Op::Compute(key, removes)),
        1 => Just(Op::InvalidateAll),
        1 => Just(Op::RunPendingTasks),
        6 => step().prop_map(Op::Advance),
        2 => step().prop_map(Op::AdvanceWithoutSweeping),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        sample::select(vec![1, 2, 8]),
        sample::select(vec![0, 1, 5, 100]),
        option::of(length()),
        option::weighted(0.3, length()),
        option::weighted(0.4, length()),
        option::weighted(0.2, sample::select(vec![0.0, 1e-9, 0.1, 0.5, 1.0])),
        any::<bool>(),
    )
        .prop_map(|(shards, initial_capacity, time_to_live, max_age, time_to_idle, jitter, listener)| {
            Setup {
                shards,
                initial_capacity,
                time_to_live,
                max_age,
                time_to_idle,
                jitter: jitter.filter(|_| time_to_idle.is_none()),
                listener,
            }
        })
}

/// Every step is compared on every key.
fn run(setup: Setup, hasher: impl BuildHasher + Send + Sync + 'static, ops: &[Op]) {
    let mut twin = Twin::new(setup, hasher);
    for op in ops {
        twin.apply(*op);
        twin.check_whole();
        for key in 0..KEYS {
            twin.check_key(key);
        }
    }
    twin.settle(PATIENCE);
}

fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn like_a_map_with_the_default_hasher(setup in setup(), ops in collection::vec(op(), 1..120)) {
        run(setup, RandomState::new().unwrap(), &ops);
    }

    #[test]
    fn like_a_map_when_every_key_hashes_to_itself(setup in setup(), ops in collection::vec(op(), 1..120)) {
        run(setup, Identity, &ops);
    }

    #[test]
    fn like_a_map_when_all_keys_collide(setup in setup(), ops in collection::vec(op(), 1..120)) {
        run(setup, Colliding, &ops);
    }
}

/// Numbers that look random and are the same in every run (the multiplier is Knuth's).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Grows to 200,000 entries and shrinks back to none, with all calls mixed in all the way.
fn long_run(hasher: impl BuildHasher + Send + Sync + 'static, setup: Setup) {
    const MANY: u64 = 200_000;
    let mut twin = Twin::new(setup, hasher);
    let mut numbers = Numbers(7);
    let mut compared = 0u64;
    let mut sides = |twin: &mut Twin<_>, op: Op, key: Key| {
        twin.apply(op);
        twin.check_key(key);
        compared += 1;
        if compared % 60_000 == 0 {
            twin.check_whole();
        }
    };
    for fresh in 0..MANY {
        sides(&mut twin, Op::Insert(fresh), fresh);
        let key = numbers.below(fresh + 1);
        let op = match numbers.below(60) {
            0 => Op::Update(key),
            1 => Op::Touch(key),
            2 => Op::Replace(key),
            3 => Op::SetTtl(key, Duration::from_secs(3600 + numbers.below(1_000_000))),
            4 => Op::Remove(key),
            5 => Op::Insert(key),
            6 => Op::Rename(key, MANY + fresh),
            7 => Op::TryInsert(key),
            8 => Op::Persist(key),
            9 => Op::InsertWithTtl(key, Duration::from_millis(numbers.below(3000))),
            10 if fresh % 16 == 0 => Op::Advance(Duration::from_millis(numbers.below(6000))),
            _ => continue,
        };
        sides(&mut twin, op, key);
    }
    let grown = twin.settle(PATIENCE);
    assert!(grown as u64 > MANY * 8 / 10, "{grown} entries");
    for gone in 0..MANY {
        let key = numbers.below(MANY);
        let op = match numbers.below(20) {
            0 => Op::Update(key),
            1 => Op::SetTtl(key, Duration::from_millis(numbers.below(2_000_000))),
            2 => Op::Touch(key),
            3 if gone % 64 == 0 => Op::Advance(Duration::from_millis(numbers.below(60_000))),
            4 => Op::Invalidate(gone),
            _ => Op::Remove(gone),
        };
        sides(&mut twin, op, key);
    }
    twin.check_whole();
    twin.apply(Op::InvalidateAll);
    twin.check_whole();
    assert_eq!(twin.settle(PATIENCE), 0);
}

#[test]
fn growing_to_many_and_back_with_the_default_hasher() {
    let setup = Setup { shards: 4, time_to_live: Some(Duration::from_secs(3600)), ..Setup::default() };
    long_run(RandomState::new().unwrap(), setup);
}

#[test]
fn growing_to_many_and_back_when_every_key_hashes_to_itself() {
    let setup = Setup { shards: 1, listener: true, ..Setup::default() };
    long_run(Identity, setup);
}
