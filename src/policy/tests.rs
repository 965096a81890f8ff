//! Tests of the policy's queues, with entries that the tests keep. They know no shard.

use super::trial::{Kept, Step, policy, row, run};
use super::*;
use proptest::prelude::*;

/// Adds rows, and evicts as a shard does. Returns the evicted rows.
fn put(policy: &mut Policy, kept: &mut Kept, rows: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut gone = Vec::new();
    for index in rows {
        while policy.is_too_much(1) {
            let victim = policy.victim(kept).expect("something weighs");
            kept.0.remove(&victim);
            gone.push(victim.dense() as u32);
        }
        let hits = policy.admit(row(index), kept.hash(row(index)), 1);
        kept.0.insert(row(index), hits);
    }
    policy.check(kept.0.keys().copied());
    gone
}

#[test]
fn fifo_evicts_the_oldest_hit_or_not() {
    let (mut policy, mut kept) = (policy(EvictionPolicy::Fifo, 4), Kept::default());
    assert!(put(&mut policy, &mut kept, 0..4).is_empty());
    kept.0.insert(row(0), 3);
    assert_eq!(put(&mut policy, &mut kept, 4..7), [0, 1, 2]);
}

#[test]
fn clock_passes_over_what_was_hit_once_for_however_many_hits() {
    let (mut policy, mut kept) = (policy(EvictionPolicy::Clock, 4), Kept::default());
    put(&mut policy, &mut kept, 0..4);
    kept.0.insert(row(0), 3);
    kept.0.insert(row(2), 1);
    assert_eq!(put(&mut policy, &mut kept, 4..8), [1, 3, 0, 4]);
}

#[test]
fn a_scan_goes_through_small_and_leaves_main_alone() {
    let (mut policy, mut kept) = (policy(EvictionPolicy::Adaptive, 1000), Kept::default());
    put(&mut policy, &mut kept, 0..1000);
    // The shard is full: nearly all rows are in main, and hit now and then.
    kept.0.extend((0..900).map(|index| (row(index), 2)));
    let gone = put(&mut policy, &mut kept, 10_000..60_000);
    assert_eq!(gone.len(), 50_000);
    let lost = gone.iter().filter(|&&index| index < 900).count();
    assert_eq!(lost, 0, "of 900 entries in use");
}

#[test]
fn what_comes_again_soon_enough_is_proven() {
    let (mut policy, mut kept) = (policy(EvictionPolicy::Adaptive, 100), Kept::default());
    put(&mut policy, &mut kept, 0..2000);
    let gone = put(&mut policy, &mut kept, 2000..2010);
    let last = *gone.last().expect("it was full");
    put(&mut policy, &mut kept, [last]);
    assert_eq!(policy.len[MAIN] + policy.len[SMALL], 100);
    let since = policy.rows[row(last)].since;
    assert_eq!(queue_of(since), MAIN, "away for ten misses, main idle for 1,900");
    assert_eq!(kept.0[&row(last)], 1);
    let long_gone = gone[0];
    assert!(!kept.0.contains_key(&row(long_gone)));
    let never_seen = 5000;
    put(&mut policy, &mut kept, [never_seen]);
    assert_eq!(queue_of(policy.rows[row(never_seen)].since), SMALL);
}

#[test]
fn a_victim_is_found_in_bounded_time_though_all_were_hit() {
    for kind in [EvictionPolicy::Adaptive, EvictionPolicy::Clock] {
        let (mut policy, mut kept) = (policy(kind, 10_000), Kept::default());
        put(&mut policy, &mut kept, 0..10_000);
        kept.0.values_mut().for_each(|hits| *hits = MOST_HITS);
        let mut asked = Asked(&mut kept, 0);
        policy.victim(&mut asked).expect("one must go");
        assert!(asked.1 <= MOST_PASSED_OVER + 1, "{kind:?} asked {} times", asked.1);
    }
}

struct Asked<'a>(&'a mut Kept, u32);

impl Entries for Asked<'_> {
    fn hash(&self, row: RowId) -> u32 {
        self.0.hash(row)
    }

    fn lower(&mut self, row: RowId, by: u8) -> u8 {
        self.1 += 1;
        self.0.lower(row, by)
    }
}

#[test]
fn the_ghost_takes_memory_when_something_goes_and_no_sooner() {
    let (mut policy, mut kept) = (policy(EvictionPolicy::Adaptive, 1000), Kept::default());
    put(&mut policy, &mut kept, 0..1000);
    assert_eq!(policy.ghost.entries(), 0);
    put(&mut policy, &mut kept, 1000..1001);
    assert_eq!(policy.ghost.entries(), 1000, "two for each entry that there is room for, as all are alike");
    for index in 2..1001 {
        policy.leave(row(index));
    }
    policy.trim();
    assert_eq!(policy.ghost.entries(), 0);
}

/// A shard of several has as many entries as it happens to get, where they share one room. The ghost
/// leaves room for more of them, so that it seldom has to forget everything, whatever they weigh.
#[test]
fn the_ghost_of_a_shard_that_drifts_seldom_forgets_everything() {
    for weight in [1, 3] {
        let account = Arc::new(Account::new(3000));
        let mut policy =
            Policy::new(EvictionPolicy::Adaptive, 100, 8, Arc::new(Target::new()), Some(account));
        let (mut kept, mut sizes) = (Kept::default(), Vec::new());
        for index in 0..500 {
            assert!(policy.affords(u64::from(weight)));
            let hits = policy.admit(row(index), kept.hash(row(index)), weight);
            kept.0.insert(row(index), hits);
            // Of each two that come beyond a hundred, one makes another go.
            if index > 100 && index % 2 == 0 {
                let victim = policy.victim(&mut kept).expect("something weighs");
                policy.leave(victim);
                policy.give_back();
                kept.0.remove(&victim);
                sizes.push(policy.ghost.entries());
            }
        }
        assert_eq!(kept.0.len(), 301);
        policy.check(kept.0.keys().copied());
        sizes.dedup();
        assert!(sizes.len() <= 6, "weight {weight}: everything was forgotten for each of {sizes:?}");
        assert!(sizes.last().is_some_and(|most| (300..=400).contains(most)), "{sizes:?}");
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..60u32, prop_oneof![Just(0u32), Just(1), 1..9u32]).prop_map(|(row, weight)| Step::Put(row, weight)),
        8 => (0..60u32).prop_map(Step::Hit),
        1 => (0..60u32).prop_map(Step::Leave),
        2 => (0..60u32, 0..9u32).prop_map(|(row, weight)| Step::Replace(row, weight)),
        1 => (0..80u64).prop_map(Step::Resize),
    ]
}

proptest! {
    /// Whatever happens, the queues are right, the entries fit, and only rows with a weight are
    /// evicted.
    #[test]
    fn the_policy_is_right_after_every_step(
        kind in prop_oneof![Just(EvictionPolicy::Adaptive), Just(EvictionPolicy::Clock), Just(EvictionPolicy::Fifo)],
        steps in prop::collection::vec(step(), 1..400),
    ) {
        run(kind, steps);
    }
}

/// A lower capacity that all entries fit into makes small too large for its part. One arrival moved
/// all that was too much, under the lock.
#[test]
fn one_arrival_moves_few_rows_after_the_capacity_was_lowered() {
    let (mut policy, mut kept) = (policy(EvictionPolicy::Adaptive, u64::MAX), Kept::default());
    put(&mut policy, &mut kept, 0..10_000);
    policy.set_capacity(20_000);
    let is_too_much = |policy: &Policy| policy.weight[SMALL] > policy.target.part_of(policy.room());
    let mut arrivals = 0;
    while is_too_much(&policy) {
        let before = policy.len[MAIN];
        put(&mut policy, &mut kept, [10_000 + arrivals]);
        arrivals += 1;
        let moved = policy.len[MAIN] - before;
        assert!(moved <= u64::from(MOST_MOVED), "{moved} rows for one that came");
    }
    assert!((1_000..2_000).contains(&arrivals), "{arrivals}");
}

/// A shard that has much room again fills, as one does that was never full: what small has too much goes to main, and nothing goes
/// before it must.
#[test]
fn a_shard_fills_after_its_capacity_was_raised() {
    let (mut policy, mut kept) = (policy(EvictionPolicy::Adaptive, 100), Kept::default());
    assert_eq!(put(&mut policy, &mut kept, 0..200).len(), 100);
    policy.set_capacity(1000);
    assert!(put(&mut policy, &mut kept, 1000..1900).is_empty());
    assert_eq!(policy.len(), 1000);
    assert!(policy.weight[SMALL] <= policy.target.part_of(policy.room()), "{:?}", policy.weight);
}
