//! The caches, and how a trace is replayed on them: a get, and on a miss an insert.

use crate::traces::Trace;
use ahash::RandomState;
use moka::policy::EvictionPolicy;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tidewheel::Cache;

/// Miss ratios in percent.
#[derive(Clone, Copy)]
pub(crate) struct Missed {
    pub(crate) objects: f64,
    /// By weight, where there are weights.
    pub(crate) weight: Option<f64>,
}

/// Who takes part. Ours is the first.
#[derive(Clone, Copy)]
pub(crate) enum Rival {
    Ours,
    Moka,
    QuickCache,
    /// The policy that everybody knows; it is moka's, under its other name.
    Lru,
}

/// As many accesses of one thread before the next thread's.
const BLOCK: usize = 64;

impl Rival {
    pub(crate) const ALL: [Self; 4] = [Self::Ours, Self::Moka, Self::QuickCache, Self::Lru];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "tidewheel",
            Self::Moka => "moka",
            Self::QuickCache => "quick_cache",
            Self::Lru => "LRU",
        }
    }

    pub(crate) fn replay(self, trace: &Trace, capacity: u64, weighed: bool) -> Missed {
        match self {
            Self::Ours => {
                let cache = ours(capacity, weighed);
                run(trace, weighed, |key, weight| {
                    cache.get(&key).is_some() || {
                        cache.insert(key, weight);
                        false
                    }
                })
            }
            Self::Moka => moka(trace, capacity, weighed, EvictionPolicy::tiny_lfu()),
            Self::Lru => moka(trace, capacity, weighed, EvictionPolicy::lru()),
            Self::QuickCache => quick_cache(trace, capacity, weighed),
        }
    }
}

fn ours(capacity: u64, weighed: bool) -> Cache<u64, u32, RandomState> {
    let builder = Cache::builder().max_capacity(capacity);
    let builder = if weighed { builder.weigher(|_, &weight| weight) } else { builder };
    builder.build_with_hasher(hasher()).expect("the capacity is allowed")
}

/// Ours, replayed by several threads, which take turns at blocks of the trace.
pub(crate) fn ours_with_threads(trace: &Trace, capacity: u64, weighed: bool, threads: usize) -> Missed {
    let cache = ours(capacity, weighed);
    let turn = AtomicUsize::new(0);
    let missed = [AtomicU64::new(0), AtomicU64::new(0)];
    let blocks: Vec<_> = trace.keys.chunks(BLOCK).collect();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (cache, turn, blocks, missed) = (&cache, &turn, &blocks, &missed);
            scope.spawn(move || {
                for number in (thread..blocks.len()).step_by(threads) {
                    // Side by side, but none runs ahead of the others by more than a block.
                    while turn.load(Ordering::Acquire) + threads <= number {
                        std::thread::yield_now();
                    }
                    for &key in blocks[number] {
                        let weight = weight_of(trace, key, weighed);
                        if cache.get(&u64::from(key)).is_none() {
                            cache.insert(u64::from(key), weight);
                            missed[0].fetch_add(1, Ordering::Relaxed);
                            missed[1].fetch_add(u64::from(weight), Ordering::Relaxed);
                        }
                    }
                    turn.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
    });
    ratios(trace, missed.map(AtomicU64::into_inner), weighed)
}

/// With its pending tasks run every 32 inserts, from 1,000 entries on, and with every insert below: else
/// its size and its policy lag behind by as much as a small cache holds.
fn moka(trace: &Trace, capacity: u64, weighed: bool, policy: EvictionPolicy) -> Missed {
    let builder = moka::sync::Cache::builder().max_capacity(capacity).eviction_policy(policy);
    let builder = if weighed { builder.weigher(|_, &weight: &u32| weight) } else { builder };
    let cache: moka::sync::Cache<u64, u32, RandomState> = builder.build_with_hasher(hasher());
    let every = if trace.unique >= 1_000 && capacity >= 1_000 { 32 } else { 1 };
    let mut inserts = 0u64;
    run(trace, weighed, |key, weight| {
        cache.get(&key).is_some() || {
            cache.insert(key, weight);
            inserts += 1;
            if inserts % every == 0 {
                cache.run_pending_tasks();
            }
            false
        }
    })
}

#[derive(Clone)]
struct ByValue;

impl quick_cache::Weighter<u64, u32> for ByValue {
    fn weight(&self, _: &u64, weight: &u32) -> u64 {
        u64::from(*weight)
    }
}

fn quick_cache(trace: &Trace, capacity: u64, weighed: bool) -> Missed {
    // The number of entries that it is told to expect; by weight, as many as fit by their mean.
    let items = if weighed { trace.unique as u64 * capacity / total(trace).max(1) } else { capacity };
    let options = quick_cache::OptionsBuilder::new()
        .estimated_items_capacity(items as usize)
        .weight_capacity(capacity)
        .build()
        .expect("all that is required is set");
    let lifecycle = quick_cache::sync::DefaultLifecycle::default();
    let cache = quick_cache::sync::Cache::with_options(options, ByValue, hasher(), lifecycle);
    run(trace, weighed, |key, weight| {
        cache.get(&key).is_some() || {
            cache.insert(key, weight);
            false
        }
    })
}

/// The same for all, so that only the policies differ.
fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

fn total(trace: &Trace) -> u64 {
    trace.weights.iter().flatten().map(|&weight| u64::from(weight)).sum()
}

fn weight_of(trace: &Trace, key: u32, weighed: bool) -> u32 {
    match &trace.weights {
        Some(weights) if weighed => weights[key as usize],
        _ => 1,
    }
}

/// One access after the other; `hits` says whether it was a hit.
fn run(trace: &Trace, weighed: bool, mut hits: impl FnMut(u64, u32) -> bool) -> Missed {
    let mut missed = [0; 2];
    for &key in &trace.keys {
        let weight = weight_of(trace, key, weighed);
        if !hits(u64::from(key), weight) {
            missed[0] += 1;
            missed[1] += u64::from(weight);
        }
    }
    ratios(trace, missed, weighed)
}

fn ratios(trace: &Trace, [objects, weight]: [u64; 2], weighed: bool) -> Missed {
    let percent = |missed: u64, all: u64| 100.0 * missed as f64 / all.max(1) as f64;
    let asked = || trace.keys.iter().map(|&key| u64::from(weight_of(trace, key, true))).sum();
    Missed {
        objects: percent(objects, trace.keys.len() as u64),
        weight: weighed.then(|| percent(weight, asked())),
    }
}
