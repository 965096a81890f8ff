//! The load of a measurement: threads that start together, the timed loop. It never knows what
//! runs under it.

use crate::candidates::Operation;
use crate::keys::Keys;
use crate::steadiness::{Measured, kept_waiting};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Operations between two looks at the clock, so that the looks cost nothing.
const BATCH: u32 = 1024;

/// How long and by how many a measurement is driven.
#[derive(Clone, Copy)]
pub(crate) struct Drive {
    pub(crate) threads: usize,
    pub(crate) span: Duration,
    /// Another one for each measurement, so that none finds what the keys of the one before brought near.
    pub(crate) seed: usize,
    /// Operations, of all threads together, before the clock starts: the candidate before has had the processor's caches
    /// for itself, and what is slow would be measured while it gets its memory back. [`LEAD_IN_SPANS`] at most.
    pub(crate) lead_in: u64,
}

/// The longest lead-in, in spans.
const LEAD_IN_SPANS: u32 = 5;

impl Drive {
    /// Runs batches until the lead-in is over.
    fn lead_in(self, mut batch: impl FnMut()) {
        let (mut left, start) = (self.lead_in / self.threads as u64, Instant::now());
        while left > 0 && start.elapsed() < self.span * LEAD_IN_SPANS {
            batch();
            left = left.saturating_sub(u64::from(BATCH));
        }
    }
}

/// Has each thread begin an operation, by its number, and run it for the span; measures million
/// operations per second, all threads together. One that did not succeed makes the figure worthless, so
/// that is a panic.
pub(crate) fn rate<O: Operation>(
    drive: Drive,
    keys: &(impl Keys + Sync),
    begin: impl Fn(usize) -> O + Sync,
) -> Measured {
    let (rates, waited) = together(drive.threads, |thread, start| {
        let mut next = keys.seeded(drive.seed, thread);
        let (mut done, mut succeeded) = (0u64, 0u64);
        let mut operation = begin(thread);
        let mut batch = || {
            let succeeded = (0..BATCH).map(|_| u64::from(operation.run(next()))).sum::<u64>();
            operation.pause();
            succeeded
        };
        drive.lead_in(|| assert_eq!(batch(), u64::from(BATCH), "an operation missed its key"));
        let start = start();
        loop {
            succeeded += batch();
            done += u64::from(BATCH);
            let elapsed = start.elapsed();
            if elapsed >= drive.span {
                assert_eq!(done, succeeded, "an operation missed its key");
                return done as f64 / elapsed.as_secs_f64();
            }
        }
    });
    Measured { figures: vec![rates.into_iter().sum::<f64>() / 1e6], waited }
}

/// As [`rate`], of operations that say whether they found what they read, or `None` if they only wrote; measures
/// also how many of a hundred reads did.
pub(crate) fn rate_and_hits<O: FnMut(u64) -> Option<bool>>(
    drive: Drive,
    keys: &(impl Keys + Sync),
    begin: impl Fn(usize) -> O + Sync,
) -> Measured {
    let (counted, waited) = together(drive.threads, |thread, start| {
        let mut next = keys.seeded(drive.seed, thread);
        let (mut done, mut reads, mut hits) = (0u64, 0u64, 0u64);
        let mut operation = begin(thread);
        let mut batch = || {
            let (mut reads, mut hits) = (0u64, 0u64);
            for _ in 0..BATCH {
                let found = operation(next());
                reads += u64::from(found.is_some());
                hits += u64::from(found == Some(true));
            }
            (reads, hits)
        };
        drive.lead_in(|| {
            batch();
        });
        let start = start();
        loop {
            let (batch_reads, batch_hits) = batch();
            reads += batch_reads;
            hits += batch_hits;
            done += u64::from(BATCH);
            let elapsed = start.elapsed();
            if elapsed >= drive.span {
                return (done as f64 / elapsed.as_secs_f64(), reads, hits);
            }
        }
    });
    let rate = counted.iter().map(|(rate, ..)| rate).sum::<f64>() / 1e6;
    let reads: u64 = counted.iter().map(|(_, reads, _)| reads).sum();
    let hits: u64 = counted.iter().map(|(.., hits)| hits).sum();
    Measured { figures: vec![rate, 100.0 * hits as f64 / reads as f64], waited }
}

/// Has each thread walk through all of a candidate again and again for the span; measures million entries per
/// second, all threads together.
pub(crate) fn walks(drive: Drive, entries: u64, walk: impl Fn() -> (u64, u64) + Sync) -> Measured {
    let (rates, waited) = together(drive.threads, |_, start| {
        let mut done = 0;
        let start = start();
        loop {
            let (count, _) = walk();
            assert_eq!(count, entries, "a walk missed some");
            done += count;
            let elapsed = start.elapsed();
            if elapsed >= drive.span {
                return done as f64 / elapsed.as_secs_f64();
            }
        }
    });
    Measured { figures: vec![rates.into_iter().sum::<f64>() / 1e6], waited }
}

/// What came of sharing out some work.
pub(crate) struct Shared<R> {
    /// From the first start to the last end.
    pub(crate) time: Duration,
    /// What the threads returned.
    pub(crate) results: Vec<R>,
    pub(crate) waited: f64,
}

/// Splits `0..total` over the threads, and hands each its share at once.
pub(crate) fn share_out<R: Send>(
    threads: usize,
    total: u64,
    work: impl Fn(Range<u64>) -> R + Sync,
) -> Shared<R> {
    let bound = |thread: usize| total * thread as u64 / threads as u64;
    let (ended, waited) = together(threads, |thread, start| {
        let start = start();
        let result = work(bound(thread)..bound(thread + 1));
        (start, Instant::now(), result)
    });
    let start = ended.iter().map(|(start, ..)| *start).min().expect("there is a thread");
    let end = ended.iter().map(|(_, end, _)| *end).max().expect("there is a thread");
    Shared { time: end - start, results: ended.into_iter().map(|(.., result)| result).collect(), waited }
}

/// Runs `work` on so many threads. Each is given its number and a function that waits until all are
/// there, then says when it began. Returns what they return, and the share of the time in which they
/// had no core.
pub(crate) fn together<R: Send>(
    threads: usize,
    work: impl Fn(usize, &dyn Fn() -> Instant) -> R + Sync,
) -> (Vec<R>, f64) {
    let barrier = Barrier::new(threads);
    let worker = |thread: usize| {
        let (began, waited) = (Cell::new(Instant::now()), Cell::new(Duration::ZERO));
        let result = work(thread, &|| {
            barrier.wait();
            waited.set(kept_waiting());
            began.set(Instant::now());
            began.get()
        });
        (result, began.get().elapsed(), kept_waiting().saturating_sub(waited.get()))
    };
    let worker = &worker;
    let ended: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || worker(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a worker panicked")).collect()
    });
    let total = |part: fn(&(R, Duration, Duration)) -> Duration| ended.iter().map(part).sum::<Duration>();
    let waited = total(|(.., waited)| *waited).as_secs_f64() / total(|(_, ran, _)| *ran).as_secs_f64();
    (ended.into_iter().map(|(result, ..)| result).collect(), waited)
}
