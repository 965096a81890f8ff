//! Counters of reads, striped over threads.
//!
//! Every read of every thread counts. So each thread has a counter of its own, as long as there are
//! not too many threads: a thread has a number of its own until it ends, and only that thread
//! writes the counters of this number, with a load and a store. This file knows no entries.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{CachePadded, lasting, thread_local};
use std::cell::Cell;
use std::fmt;

/// The number of threads that have counters of their own. All others share one pair.
const OWN: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };

lasting! {
    /// A bit for each number that a thread has.
    static TAKEN: AtomicU64 = AtomicU64::new(0);
}

thread_local! {
    /// This thread's number plus one; 0 before it has asked for one. It has no destructor, so that
    /// an access needs no registration.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}
thread_local! {
    static LEAVE: Leave = const { Leave };
}

/// Returns the number when the thread ends.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let number = NUMBER.try_with(|number| number.replace(OWN + 1)).unwrap_or(OWN + 1);
        let bit = bit_of(number);
        // The main thread of a model may end when there is no `TAKEN` any more.
        if bit != 0 {
            // ORDERING: Release; pairs with Acquire in `number`: the next thread with this number
            // continues from this thread's counts.
            TAKEN.fetch_and(!bit, Ordering::Release);
        }
    }
}

/// Returns a number for this thread: one of its own if there is one left.
#[cold]
fn number() -> usize {
    // A thread that is ending needs no number of its own.
    if LEAVE.try_with(|_| ()).is_err() {
        return OWN + 1;
    }
    // ORDERING: Relaxed; the exchange decides.
    let mut taken = TAKEN.load(Ordering::Relaxed);
    let number = loop {
        let free = taken.trailing_ones() as usize;
        if free >= OWN {
            break OWN + 1;
        }
        // ORDERING: Acquire; pairs with Release in `Leave::drop`. Relaxed on failure; as the load.
        match TAKEN.compare_exchange(taken, taken | 1 << free, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => break free + 1,
            Err(actual) => taken = actual,
        }
    };
    let _ = NUMBER.try_with(|own| own.set(number));
    number
}

/// Returns this thread's number. It distinguishes threads, except that those without a number of
/// their own share one.
pub(super) fn number_of_thread() -> usize {
    match NUMBER.try_with(Cell::get) {
        Ok(0) => number(),
        Ok(number) => number,
        Err(_) => OWN + 1,
    }
}

/// Frees the numbers of threads that do not exist in the child of a fork.
pub(crate) fn inherit() {
    let own = NUMBER.try_with(Cell::get).unwrap_or(OWN + 1);
    // ORDERING: Relaxed; this process has one thread.
    TAKEN.store(bit_of(own), Ordering::Relaxed);
}

/// Returns the bit of a thread's number; none, if that is shared or there is none yet.
fn bit_of(number: usize) -> u64 {
    if (1..=OWN).contains(&number) { 1 << (number - 1) } else { 0 }
}

/// Counters of reads: a pair for each thread that has a number, and one that the others share.
pub(crate) struct Reads(Box<[CachePadded<[AtomicU64; 2]>; OWN + 1]>);

impl Reads {
    pub(crate) fn new() -> Self {
        let none = |_| CachePadded::new([AtomicU64::new(0), AtomicU64::new(0)]);
        Self(Box::new(std::array::from_fn(none)))
    }

    /// Counts a read.
    #[inline]
    pub(crate) fn count(&self, hit: bool) {
        let own = NUMBER.try_with(Cell::get).unwrap_or(OWN + 1);
        // One comparison covers all cases: 0 has no number before it.
        let Some(counters) = self.0[..OWN].get(own.wrapping_sub(1)) else {
            return self.count_shared(own, hit);
        };
        let counter = &counters[usize::from(hit)];
        // ORDERING: Relaxed, both; a figure. A counter of a thread's own is written by that thread
        // alone.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Counts a read of a thread that has no number of its own, or none yet.
    #[cold]
    #[inline(never)]
    fn count_shared(&self, own: usize, hit: bool) {
        if own == 0 && number() <= OWN {
            return self.count(hit);
        }
        // ORDERING: Relaxed; a figure.
        self.0[OWN][usize::from(hit)].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns misses and hits.
    pub(crate) fn sum(&self) -> [u64; 2] {
        // ORDERING: Relaxed; figures.
        [0, 1].map(|kind| self.0.iter().map(|counters| counters[kind].load(Ordering::Relaxed)).sum())
    }
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reads").field(&self.sum()).finish()
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

    #[test]
    fn counts_of_more_threads_than_have_their_own_are_all_there() {
        let reads = Reads::new();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..OWN + 20 {
                    scope.spawn(|| (0..1000).for_each(|read| reads.count(read % 4 != 0)));
                }
            });
        }
        let threads = 3 * (OWN as u64 + 20);
        assert_eq!(reads.sum(), [250 * threads, 750 * threads]);
    }

    #[test]
    fn each_number_has_a_bit_and_a_shared_one_has_none() {
        let bits: Vec<u64> = (1..=OWN).map(bit_of).collect();
        assert!((0..64).map(|at| 1 << at).eq(bits));
        assert_eq!([0, OWN + 1].map(bit_of), [0, 0]);
    }

    /// For tests that want most numbers, or need that most are left.
    static NUMBERS: Mutex<()> = Mutex::new(());

    fn with_all_numbers() -> MutexGuard<'static, ()> {
        NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn where_no_number_is_left_threads_share_one() {
        let _alone = with_all_numbers();
        let (all_there, numbers) = (Barrier::new(OWN + 1), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..=OWN {
                scope.spawn(|| {
                    numbers.lock().unwrap().push(number_of_thread());
                    all_there.wait();
                });
            }
        });
        let mut numbers = numbers.into_inner().unwrap();
        numbers.sort_unstable();
        assert_eq!(numbers.last(), Some(&(OWN + 1)));
        numbers.retain(|&number| number <= OWN);
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "two threads have one number: {numbers:?}");
    }

    /// Threads come, and others go that have come before and after those that stay.
    #[test]
    fn threads_that_run_at_once_have_a_number_each() {
        use std::sync::mpsc::channel;
        let _alone = with_all_numbers();
        const AT_ONCE: usize = 8;
        const ALL: usize = 4 * OWN;
        let (reads, mut own) = (Reads::new(), 0);
        std::thread::scope(|scope| {
            let (reads, mut there) = (&reads, Vec::<(usize, _, _)>::new());
            for turn in 0..ALL {
                let ((tell, told), (leave, may_leave)) = (channel(), channel::<()>());
                let thread = scope.spawn(move || {
                    // Some count first, and some ask first.
                    if turn % 2 == 0 {
                        reads.count(true);
                    }
                    let number = number_of_thread();
                    reads.count(true);
                    assert_eq!(number_of_thread(), number);
                    tell.send(number).expect("it is waited for");
                    let _ = may_leave.recv();
                });
                let number = told.recv().expect("the thread does not panic");
                assert!((1..=OWN + 1).contains(&number), "{number}");
                // Other tests of this process have numbers: some may be left with the shared one.
                if number <= OWN {
                    own += 1;
                    assert!(there.iter().all(|(other, ..)| *other != number), "two threads have {number}");
                }
                there.push((number, leave, thread));
                if there.len() > AT_ONCE {
                    let (_, leave, thread) = there.swap_remove(turn * 5 % AT_ONCE);
                    drop(leave);
                    thread.join().expect("it does not panic");
                }
            }
        });
        assert_eq!(reads.sum(), [0, (ALL + ALL / 2) as u64]);
        assert!(own > ALL / 2, "{own} of {ALL} threads had a number of their own");
    }

    /// As in a destructor that runs late.
    #[test]
    fn a_thread_that_has_given_its_number_back_counts_with_others() {
        let reads = Reads::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                number_of_thread();
                drop(Leave);
                assert_eq!(number_of_thread(), OWN + 1);
                reads.count(true);
            });
        });
        assert_eq!(reads.0[OWN][1].load(Ordering::Relaxed), 1);
    }

    #[test]
    fn numbers_come_back_when_threads_end() {
        let _alone = with_all_numbers();
        let reads = Reads::new();
        for _ in 0..10 * OWN {
            std::thread::scope(|scope| {
                scope.spawn(|| reads.count(true));
            });
        }
        // Other tests of this process have numbers. If none were returned, none would be left.
        let own: u64 = reads.0[..OWN].iter().map(|counters| counters[1].load(Ordering::Relaxed)).sum();
        assert!(
            own > 5 * OWN as u64,
            "{own} of {} were counted by threads with a number of their own",
            10 * OWN
        );
    }
}
