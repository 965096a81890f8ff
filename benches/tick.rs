//! One tick of the wheels with nothing due, with a thousand and with a million entries due, their
//! values dropped; on the thread that moves a manual clock. Among them stay 1e5 entries that are not due.
#![allow(missing_docs, reason = "criterion's macro writes a public function")]

mod support;

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use support::short;
use tidewheel::{Cache, ManualClock};

/// Entries that are not due, however often the clock is moved.
const STAYING: u64 = 100_000;
const LONG: Duration = Duration::from_secs(10 * 365 * 86_400);

fn tick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick");
    group.sampling_mode(SamplingMode::Flat);
    for (title, due) in [("nothing due", 0), ("1e3 due", 1_000), ("1e6 due", 1_000_000)] {
        group.sample_size(if due > 1_000 { 10 } else { 20 });
        let clock = ManualClock::new();
        let cache = Cache::builder().clock(clock.clone()).build().expect("a manual clock needs no thread");
        for key in 0..STAYING {
            cache.insert_with_ttl(key, key, LONG);
        }
        group.bench_function(title, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut time = Duration::ZERO;
                for _ in 0..iterations {
                    for key in STAYING..STAYING + due {
                        cache.insert_with_ttl(key, key, Duration::from_secs(1));
                    }
                    clock.advance_without_sweeping(Duration::from_secs(2));
                    let start = Instant::now();
                    cache.run_pending_tasks();
                    time += start.elapsed();
                }
                time
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = short(); targets = tick }
criterion_main!(benches);
