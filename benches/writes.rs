//! Writes: insert of a new key and over an old one, replace, update, touch; on one thread and on two.
//! Times are per operation of one thread.
#![allow(missing_docs, reason = "criterion's macro writes a public function")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use support::keys::{Keys, Uniform};
use support::{Numbers, THREADS, empty, filled, short, threads_title, together};

/// Entries in the cache while they are overwritten.
const ENTRIES: u64 = 100_000;

fn insert_new(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("insert, new keys up to {ENTRIES}"));
    for threads in THREADS {
        group.bench_function(threads_title(threads), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut left = iterations;
                let mut time = Duration::ZERO;
                // One cache after the other, so that it is always the same growth that is measured.
                while left > 0 {
                    let now = left.min(ENTRIES / threads as u64);
                    let cache = empty();
                    time += together(threads, now, |thread, iterations| {
                        let first = thread as u64 * iterations;
                        for key in first..first + iterations {
                            cache.insert(key, key);
                        }
                    });
                    left -= now;
                }
                time
            });
        });
    }
    group.finish();
}

fn overwrite(criterion: &mut Criterion) {
    let cache = filled(ENTRIES);
    writes(criterion, "insert, over an entry", &cache, |cache, key, value| cache.insert(key, value));
    writes(criterion, "replace", &cache, |cache, key, value| {
        black_box(cache.replace(&key, value)).expect("the key is there");
    });
    writes(criterion, "update", &cache, |cache, key, value| {
        black_box(cache.update(&key, |old| old ^ value));
    });
    writes(criterion, "touch", &cache, |cache, key, _| {
        black_box(cache.touch(&key));
    });
}

fn writes(criterion: &mut Criterion, title: &str, cache: &Numbers, write: fn(&Numbers, u64, u64)) {
    let mut group = criterion.benchmark_group(format!("{title}, {ENTRIES} keys"));
    for threads in THREADS {
        group.bench_function(threads_title(threads), |bencher| {
            bencher.iter_custom(|iterations| {
                together(threads, iterations, |thread, iterations| {
                    let mut next = Uniform(ENTRIES).seeded(0, thread);
                    for value in 0..iterations {
                        write(cache, next(), black_box(value));
                    }
                })
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = short(); targets = insert_new, overwrite }
criterion_main!(benches);
