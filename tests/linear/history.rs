//! What threads see of a few keys, written down with the times at which their calls began and ended.

use super::calls::{Call, Subject};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// A call, from when it began until when it ended: in nanoseconds after the run's beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) call: Call,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What threads do.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) threads: u64,
    /// Calls of each thread.
    pub(crate) calls: usize,
    pub(crate) keys: u64,
    /// Every fourth call, a thread waits for up to two milliseconds.
    pub(crate) pauses: bool,
    /// So many other keys each thread puts in, and takes out again; 0 for none.
    pub(crate) others: u64,
}

impl Load {
    pub(crate) const USUAL: Self = Self { threads: 4, calls: 0, keys: 6, pauses: false, others: 3000 };
}

/// Numbers that look random (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}

/// All that was seen of each key, in the order in which the calls began.
pub(crate) fn record(subject: &impl Subject, load: Load) -> Vec<Vec<Event>> {
    let (start, barrier) = (Instant::now(), Barrier::new(load.threads as usize));
    let seen: Vec<Vec<(u64, Event)>> = std::thread::scope(|scope| {
        let work = |thread| {
            let barrier = &barrier;
            move || {
                barrier.wait();
                work(subject, load, thread, start)
            }
        };
        let threads: Vec<_> = (0..load.threads).map(|thread| scope.spawn(work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut keys = vec![Vec::new(); load.keys as usize];
    for (key, event) in seen.into_iter().flatten() {
        keys[key as usize].push(event);
    }
    for events in &mut keys {
        events.sort_unstable_by_key(|event| (event.from, event.to));
    }
    keys
}

fn work(subject: &impl Subject, load: Load, thread: u64, start: Instant) -> Vec<(u64, Event)> {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ (thread + 1) << 20 | 1);
    let now = || u64::try_from(start.elapsed().as_nanos()).unwrap();
    let mut seen = Vec::with_capacity(load.calls);
    let other = |step: usize| load.keys + thread * load.others + step as u64 % load.others;
    for step in 0..load.calls {
        let (key, value) = (numbers.next() % load.keys, (step as u64) << 8 | thread);
        let from = now();
        let call = subject.call(numbers.next(), key, value);
        seen.push((key, Event { call, from, to: now() }));
        // The table grows by these, and shrinks again.
        if let Some(round) = (step as u64).checked_div(load.others) {
            if round % 2 == 0 {
                subject.insert(other(step), value);
            } else {
                subject.invalidate(other(step));
            }
        }
        if load.pauses && step % 4 == 0 {
            std::thread::sleep(Duration::from_micros(numbers.next() % 2000));
        }
    }
    seen
}
