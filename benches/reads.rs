//! Reads that hit: one hot key, 1e5 and 5e6 keys; a pin per `get` and per `read`, and under a guard
//! that is held; on one thread and on two. Times are per operation of one thread.
#![allow(missing_docs, reason = "criterion's macro writes a public function")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use support::keys::{Keys, OneKey, Uniform};
use support::{Numbers, THREADS, filled, short, threads_title, together};

fn hot(criterion: &mut Criterion) {
    reads(criterion, "read hit, one hot key", &filled(1_000), &OneKey(500));
}

fn uniform_1e5(criterion: &mut Criterion) {
    reads(criterion, "read hit, 1e5 keys", &filled(100_000), &Uniform(100_000));
}

fn uniform_5e6(criterion: &mut Criterion) {
    reads(criterion, "read hit, 5e6 keys", &filled(5_000_000), &Uniform(5_000_000));
}

fn reads(criterion: &mut Criterion, title: &str, cache: &Numbers, keys: &(impl Keys + Sync)) {
    let mut group = criterion.benchmark_group(title);
    for threads in THREADS {
        let title = |how: &str| format!("{how}, {}", threads_title(threads));
        group.bench_function(title("get"), |bencher| {
            bencher.iter_custom(|iterations| {
                together(threads, iterations, |thread, iterations| {
                    let mut next = keys.seeded(0, thread);
                    for _ in 0..iterations {
                        black_box(cache.get(&next()));
                    }
                })
            });
        });
        group.bench_function(title("read"), |bencher| {
            bencher.iter_custom(|iterations| {
                together(threads, iterations, |thread, iterations| {
                    let mut next = keys.seeded(0, thread);
                    for _ in 0..iterations {
                        black_box(cache.read(&next(), |value| *value));
                    }
                })
            });
        });
        group.bench_function(title("guard held"), |bencher| {
            bencher.iter_custom(|iterations| {
                together(threads, iterations, |thread, iterations| {
                    let mut next = keys.seeded(0, thread);
                    let guard = cache.read_guard();
                    for _ in 0..iterations {
                        black_box(guard.get(&next()).copied());
                    }
                })
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = short(); targets = hot, uniform_1e5, uniform_5e6 }
criterion_main!(benches);
