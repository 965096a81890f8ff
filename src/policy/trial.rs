//! The queues and a map of what is in them, driven side by side. After every step the queues are
//! right, what is kept fits, and only what weighs goes.
//!
//! Knows neither who chooses the steps (a property test, a fuzzer) nor a shard.

use super::{Entries, EvictionPolicy, MOST_HITS, Policy, Target};
use crate::rows::RowId;
use crate::sync::Arc;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Entries as a test keeps them: how often hit, by row.
#[derive(Default)]
pub(super) struct Kept(pub(super) HashMap<RowId, u8>);

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
pub(super) fn row(dense: u32) -> RowId {
    let chunk = (dense / 64 + 1).ilog2();
    RowId::at(chunk as usize, (dense - 64 * ((1 << chunk) - 1)) as usize)
}

pub(super) fn policy(kind: EvictionPolicy, capacity: u64) -> Policy {
    Policy::new(kind, capacity, 1, Arc::new(Target::new()), None)
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Put(u32, u32),
    Hit(u32),
    Leave(u32),
    Replace(u32, u32),
    Resize(u64),
}

pub(super) fn run(kind: EvictionPolicy, steps: Vec<Step>) {
    let (mut policy, mut kept) = (policy(kind, 40), Kept::default());
    let mut weights = HashMap::new();
    let mut row_of: HashMap<u32, RowId> = HashMap::new();
    let mut next = 0;
    for step in steps {
        let mut make_room =
            |policy: &mut Policy, kept: &mut Kept, weights: &mut HashMap<RowId, u32>, more| {
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
        assert_eq!(policy.weight(), weights.values().map(|&weight| u64::from(weight)).sum::<u64>());
        policy.check(kept.0.keys().copied());
    }
}

/// What a fuzzer's bytes are taken for: one for the kind, then two to a step.
#[cfg(fuzzing)]
pub fn fuzz(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    let kinds = [EvictionPolicy::Adaptive, EvictionPolicy::Clock, EvictionPolicy::Fifo];
    let step = |bytes: &[u8]| {
        let (row, weight) = (u32::from(bytes[0] % 60), u32::from(bytes[1] >> 4));
        match bytes[1] % 16 {
            0..6 => Step::Put(row, weight),
            6..12 => Step::Hit(row),
            12 => Step::Leave(row),
            13 | 14 => Step::Replace(row, weight),
            _ => Step::Resize(u64::from(bytes[0] % 80)),
        }
    };
    run(kinds[usize::from(kind % 3)], rest.chunks_exact(2).take(1000).map(step).collect());
}
