//! Iteration, and many keys in one call beside one by one. Times are per entry.
#![allow(missing_docs, reason = "criterion's macro writes a public function")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Instant;
use support::keys::{Keys, Uniform};
use support::{empty, filled, short};

/// Keys that are looked up in one call.
const MANY: u64 = 64;
/// Entries that are inserted into an empty cache, and iterated over.
const ENTRIES: u64 = 1_000_000;

fn iteration(criterion: &mut Criterion) {
    let cache = filled(ENTRIES);
    let mut group = criterion.benchmark_group("iteration, 1e6 entries");
    // Whole walks, as many as it takes.
    let walks = |iterations: u64, walk: &dyn Fn() -> u64| {
        let start = Instant::now();
        let mut done = 0;
        while done < iterations {
            done += walk();
        }
        start.elapsed().mul_f64(iterations as f64 / done as f64)
    };
    group.bench_function("iter", |bencher| {
        bencher.iter_custom(|iterations| {
            walks(iterations, &|| cache.iter().map(black_box).fold(0, |count, _| count + 1))
        });
    });
    group.bench_function("guard", |bencher| {
        bencher.iter_custom(|iterations| {
            walks(iterations, &|| cache.read_guard().iter().map(black_box).fold(0, |count, _| count + 1))
        });
    });
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let cache = filled(5_000_000);
    let mut group = criterion.benchmark_group("read hit, 5e6 keys, 64 in a row");
    let mut next = Uniform(5_000_000).seeded(0, 0);
    let mut reads = |iterations: u64, read: &dyn Fn(&[u64])| {
        let calls = iterations.div_ceil(MANY);
        let start = Instant::now();
        for _ in 0..calls {
            let keys: [u64; MANY as usize] = std::array::from_fn(|_| next());
            read(&keys);
        }
        start.elapsed().mul_f64(iterations as f64 / (calls * MANY) as f64)
    };
    group.bench_function("get", |bencher| {
        bencher.iter_custom(|iterations| {
            reads(iterations, &|keys| {
                for key in keys {
                    black_box(cache.get(key));
                }
            })
        });
    });
    group.bench_function("get_many", |bencher| {
        bencher.iter_custom(|iterations| reads(iterations, &|keys| drop(black_box(cache.get_many(keys)))));
    });
    group.finish();
}

fn inserts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inserts into an empty cache, up to 1e6 entries");
    let fills = |iterations: u64, fill: &dyn Fn(&support::Numbers, std::ops::Range<u64>)| {
        let mut time = std::time::Duration::ZERO;
        let mut left = iterations;
        while left > 0 {
            let some = left.min(ENTRIES);
            let cache = empty();
            let start = Instant::now();
            fill(&cache, 0..some);
            time += start.elapsed();
            left -= some;
        }
        time
    };
    group.bench_function("insert", |bencher| {
        bencher.iter_custom(|iterations| {
            fills(iterations, &|cache, keys| keys.for_each(|key| cache.insert(key, key)))
        });
    });
    group.bench_function("insert_many", |bencher| {
        bencher.iter_custom(|iterations| {
            fills(iterations, &|cache, keys| cache.insert_many(keys.map(|key| (key, key))))
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = short(); targets = iteration, reads, inserts }
criterion_main!(benches);
