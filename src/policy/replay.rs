//! What the policy decides, replayed: fixed sequences of keys, and how many of them were found.
//!
//! The figures are those of the policy that was measured (`src/docs/decisions.md`, "The eviction policy"). If you
//! change a decision on purpose, measure the hit ratios anew, and then set the new figures here.

use super::trial::row;
use super::{Account, Entries, EvictionPolicy, MOST_HITS, Policy, Target};
use crate::rows::RowId;
use crate::sync::Arc;
use std::collections::HashMap;

/// A cache of keys, each with the weight that the replay gives it.
struct Replay {
    policy: Policy,
    row_of: HashMap<u32, RowId>,
    kept: Kept,
    next: u32,
    vacant: Vec<RowId>,
}

#[derive(Default)]
struct Kept(HashMap<RowId, Entry>);

struct Entry {
    key: u32,
    hits: u8,
}

fn hash_of(key: u32) -> u32 {
    key.wrapping_mul(0x9E37_79B9)
}

impl Entries for Kept {
    fn hash(&self, row: RowId) -> u32 {
        hash_of(self.0[&row].key)
    }

    fn lower(&mut self, row: RowId, by: u8) -> u8 {
        let hits = &mut self.0.get_mut(&row).expect("asked of a row that is there").hits;
        let before = *hits;
        *hits = before.saturating_sub(by);
        before
    }
}

impl Replay {
    /// Where entries have weights, there is an account.
    fn new(kind: EvictionPolicy, capacity: u64, is_weighed: bool) -> Self {
        let account = is_weighed.then(|| Arc::new(Account::new(capacity)));
        let policy = Policy::new(kind, capacity, 1, Arc::new(Target::new()), account);
        Self { policy, row_of: HashMap::new(), kept: Kept::default(), next: 0, vacant: Vec::new() }
    }

    /// Asks for a key, and stores it if it is not there. Returns whether it was.
    fn ask(&mut self, key: u32, weight: u32) -> bool {
        if let Some(row) = self.row_of.get(&key) {
            let hits = &mut self.kept.0.get_mut(row).expect("it is there").hits;
            *hits = (*hits + 1).min(MOST_HITS);
            return true;
        }
        while !self.has_room(weight) {
            let victim = self.policy.victim(&mut self.kept).expect("something weighs");
            let Entry { key, .. } = self.kept.0.remove(&victim).expect("a victim is there");
            self.policy.leave(victim);
            self.row_of.remove(&key);
            self.vacant.push(victim);
        }
        let row = self.vacant.pop().unwrap_or_else(|| {
            self.next += 1;
            row(self.next)
        });
        let hits = self.policy.admit(row, hash_of(key), weight);
        self.kept.0.insert(row, Entry { key, hits });
        self.row_of.insert(key, row);
        self.policy.give_back();
        false
    }

    fn has_room(&mut self, weight: u32) -> bool {
        match self.policy.account() {
            Some(_) => self.policy.affords(weight.into()),
            None => !self.policy.is_too_much(weight),
        }
    }

    /// Asks for all of these. Returns how many were there.
    fn found(&mut self, keys: impl Iterator<Item = u32>, weight: impl Fn(u32) -> u32) -> usize {
        let found = keys.filter(|&key| self.ask(key, weight(key))).count();
        self.policy.check(self.kept.0.keys().copied());
        found
    }
}

/// Numbers below 2^32 that look random, always the same ones (xorshift, Marsaglia, 2003).
fn random(seed: u64) -> impl Iterator<Item = u32> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    })
}

/// Few keys are asked for often, and many seldom: the key is a product of fractions.
fn skewed(seed: u64, count: usize, keys: u64) -> impl Iterator<Item = u32> {
    let mut random = random(seed);
    let mut fraction = move || u64::from(random.next().expect("it goes on for ever"));
    (0..count).map(move |_| {
        let product = (fraction() * fraction()) >> 32;
        ((((product * fraction()) >> 32) * keys) >> 32) as u32
    })
}

/// Popular keys; the same with a scan in between; a loop that is larger than the cache; popular keys that change.
fn replays(kind: EvictionPolicy, weight: Option<fn(u32) -> u32>) -> [usize; 4] {
    let replay = || Replay::new(kind, 500, weight.is_some());
    let weight = weight.unwrap_or(|_| 1);
    let popular = replay().found(skewed(1, 40_000, 20_000), weight);
    let mut scanned = replay();
    let mut scans = 0;
    for part in 0..20 {
        scans += scanned.found(skewed(part + 2, 1500, 8000), weight);
        scans += scanned.found((0..1000).map(|key| 1_000_000 + part as u32 * 1000 + key), weight);
    }
    let looped = replay().found((0..30_000).map(|at| at % 700), weight);
    let changing =
        (0..10).flat_map(|part| skewed(50 + part, 3000, 5000).map(move |key| key + part as u32 * 3000));
    [popular, scans, looped, replay().found(changing, weight)]
}

#[test]
fn as_many_are_found_as_when_the_policy_was_measured() {
    assert_eq!(replays(EvictionPolicy::Adaptive, None), [8814, 12081, 20655, 10783]);
    assert_eq!(replays(EvictionPolicy::Clock, None), [5565, 7646, 0, 12027]);
    assert_eq!(replays(EvictionPolicy::Fifo, None), [4995, 7038, 0, 10735]);
}

#[test]
fn as_many_are_found_as_when_the_policy_was_measured_with_weights() {
    let weight: Option<fn(u32) -> u32> = Some(|key| [1, 1, 2, 3, 40][key as usize % 5]);
    assert_eq!(replays(EvictionPolicy::Adaptive, weight), [3296, 4442, 1890, 5715]);
    assert_eq!(replays(EvictionPolicy::Clock, weight), [689, 1165, 0, 1942]);
}
