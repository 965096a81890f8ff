//! Tests of the policy's queues, with entries that the tests keep. They know no shard.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Entries as a test keeps them: the number of hits by row.
#[derive(Default)]
struct Kept(HashMap<RowId, u8>);

impl Entries for Kept {
    fn hash(&self, row: RowId) -> u32 {
        (row.dense() as u32).wrapping_mul(0x9E37_79B9)
    }

    fn lower(&mut self, row: RowId, by: u8) -> u8 {
        let hits = self.0.get_mut(&row).expect("asked of a row that is there");
        let before = *hits;
        *hits = before.saturating_sub(by);
        before
    }
}

/// Returns the row that has this many rows before it.
fn row(dense: u32) -> RowId {
    let chunk = (dense / 64 + 1).ilog2();
    RowId::at(chunk as usize, (dense - 64 * ((1 << chunk) - 1)) as usize)
}

fn policy(kind: EvictionPolicy, capacity: u64) -> Policy {
    Policy::new(kind, capacity, 1, (Arc::new(Target::new()), None))
}

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

#[derive(Clone, Copy, Debug)]
enum Step {
    Put(u32, u32),
    Hit(u32),
    Leave(u32),
    Replace(u32, u32),
    Resize(u64),
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
    fn the_books_are_right_after_every_step(
        kind in prop_oneof![Just(EvictionPolicy::Adaptive), Just(EvictionPolicy::Clock), Just(EvictionPolicy::Fifo)],
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let (mut policy, mut kept) = (policy(kind, 40), Kept::default());
        let mut weights = HashMap::new();
        let mut row_of: HashMap<u32, RowId> = HashMap::new();
        let mut next = 0;
        for step in steps {
            let mut make_room = |policy: &mut Policy, kept: &mut Kept, weights: &mut HashMap<RowId, u32>, more| {
                while policy.is_too_much(more) {
                    let Some(victim) = policy.victim(kept) else { break };
                    assert!(weights.remove(&victim).expect("a victim is there") > 0, "a pinned one went");
                    kept.0.remove(&victim);
                    row_of.retain(|_, row| *row != victim);
                }
            };
            match step {
                Step::Put(key, weight) if u64::from(weight) <= policy.capacity() => {
                    make_room(&mut policy, &mut kept, &mut weights, weight);
                    if let Entry::Vacant(vacant) = row_of.entry(key) {
                        next += 1;
                        let row = *vacant.insert(row(next));
                        let hits = policy.admit(row, key, weight);
                        kept.0.insert(row, hits);
                        weights.insert(row, weight);
                    }
                }
                Step::Put(..) => {}
                Step::Hit(key) => {
                    if let Some(row) = row_of.get(&key) {
                        let hits = kept.0.get_mut(row).expect("it is there");
                        *hits = (*hits + 1).min(MOST_HITS);
                    }
                }
                Step::Leave(key) => {
                    if let Some(row) = row_of.remove(&key) {
                        policy.leave(row);
                        kept.0.remove(&row);
                        weights.remove(&row);
                    }
                }
                Step::Replace(key, weight) => {
                    if let Some(&row) = row_of.get(&key) {
                        if weight <= weights[&row] {
                            policy.reweigh(row, weight);
                            weights.insert(row, weight);
                        }
                    }
                }
                Step::Resize(capacity) => {
                    policy.set_capacity(capacity);
                    make_room(&mut policy, &mut kept, &mut weights, 0);
                }
            }
            prop_assert_eq!(policy.weight(), weights.values().map(|&weight| u64::from(weight)).sum::<u64>());
            policy.check(kept.0.keys().copied());
        }
    }
}
