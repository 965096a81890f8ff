//! Get, or load once: keys that nobody has, which every thread asks for; and hits through the same call. The former in a
//! child process, as what is in `growth.rs`: loads allocate, and should not find an allocator as another candidate left it.
//!
//! A loader costs nothing, so what is measured is what the caches do around it. How often each key was loaded is counted: once
//! is what all of them promise.

use crate::candidates::{Loads, Reads};
use crate::entrants::Driven;
use crate::keys::Keys;
use crate::load::{rate, together};
use crate::steadiness::Measured;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Keys that are asked for.
pub(crate) const COLD: u64 = 200_000;

/// In which order the threads ask for the keys.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    /// All in the same, so that they meet at each key.
    Same,
    /// Each in one of its own, far from all the others'.
    Own,
}

impl Order {
    fn key(self, thread: usize, number: u64, keys: u64) -> u64 {
        match self {
            Self::Same => number,
            Self::Own => {
                // Odd, and no multiple of five: it has no divisor in common with the number of keys, which is `COLD`, or
                // another that only two and five divide.
                let stride = 61_803 + 20 * thread as u64;
                (number * stride + thread as u64 * (keys / 16)) % keys
            }
        }
    }
}

/// Nanoseconds per key, the time of all threads together over the number of keys; and how often a key was loaded, on
/// average.
fn cold<C: Loads>(threads: usize, keys: u64, order: Order) -> Measured {
    let candidate = C::empty(keys);
    let loads: Vec<AtomicU32> = (0..keys).map(|_| AtomicU32::new(0)).collect();
    let (ended, waited) = together(threads, |thread, start| {
        let start = start();
        for number in 0..keys {
            let key = order.key(thread, number, keys);
            let value = candidate.get_with(key, || {
                // ORDERING: Relaxed; looked at once the threads are joined.
                loads[key as usize].fetch_add(1, Ordering::Relaxed);
                key
            });
            assert_eq!(black_box(value), key, "{} has another key's value", C::NAME);
        }
        (start, Instant::now())
    });
    let start = ended.iter().map(|(start, _)| *start).min().expect("there is a thread");
    let end = ended.iter().map(|(_, end)| *end).max().expect("there is a thread");
    let loads: Vec<_> = loads.into_iter().map(AtomicU32::into_inner).collect();
    assert!(loads.iter().all(|loads| *loads > 0), "{} has lost a load", C::NAME);
    let average = loads.iter().map(|loads| f64::from(*loads)).sum::<f64>() / keys as f64;
    Measured { figures: vec![(end - start).as_nanos() as f64 / keys as f64, average], waited }
}

/// As [`cold`], twice in one process: the first time nothing is warm (the allocator, a clock that is calibrated once in the
/// first 20 ms), the second time all of it is. The first time, the second, and how often a key
/// was loaded; of that and of the waiting the worse of both.
pub(crate) fn cold_twice<C: Loads>(threads: usize, keys: u64, order: Order) -> Measured {
    let [first, second] = [(); 2].map(|()| cold::<C>(threads, keys, order));
    Measured {
        figures: vec![first.figures[0], second.figures[0], first.figures[1].max(second.figures[1])],
        waited: first.waited.max(second.waited),
    }
}

/// Hits through the call that would load.
pub(crate) fn hits<C: Loads>(entries: u64, keys: impl Keys + Sync + 'static) -> Driven {
    let candidate = C::filled(entries);
    Box::new(move |drive| {
        let candidate = &candidate;
        rate(drive, &keys, |_| move |key: u64| black_box(candidate.get_with(key, || u64::MAX)) != u64::MAX)
    })
}

/// The same hits through a plain read.
pub(crate) fn reads<C: Reads>(entries: u64, keys: impl Keys + Sync + 'static) -> Driven {
    let candidate = C::filled(entries);
    Box::new(move |drive| {
        let candidate = &candidate;
        rate(drive, &keys, |_| move |key: u64| black_box(candidate.get(key)).is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidates::{Moka, QuickCache, Tidewheel};

    #[test]
    fn each_thread_asks_for_each_key_once() {
        for thread in 0..16 {
            let mut asked = vec![false; COLD as usize];
            for number in 0..COLD {
                let key = Order::Own.key(thread, number, COLD) as usize;
                assert!(!std::mem::replace(&mut asked[key], true), "thread {thread}, key {key}");
            }
        }
    }

    fn loads_once<C: Loads>() {
        for order in [Order::Same, Order::Own] {
            assert_eq!(cold::<C>(4, COLD, order).figures[1], 1.0, "{}", C::NAME);
        }
    }

    #[test]
    fn each_key_is_loaded_once() {
        loads_once::<Tidewheel>();
        loads_once::<Moka>();
        loads_once::<QuickCache>();
    }
}
