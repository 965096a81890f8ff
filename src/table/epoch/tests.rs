//! Pins that cannot be counted, and slots that threads leave to each other.

use super::*;
use std::cell::RefCell;

/// The state of a 32-bit program that forgets guards for long enough.
#[test]
fn pins_that_cannot_be_counted_are_refused_and_the_others_stay() {
    let run = || {
        let first = Pin::new();
        LOCAL.with(|local| local.pins.set(usize::MAX));
        assert!(std::panic::catch_unwind(Pin::new).is_err());
        LOCAL.with(|local| assert_eq!(local.pins.replace(1), usize::MAX));
        assert!(Pin::is_held());
        drop(first);
        assert!(!Pin::is_held());
    };
    std::thread::spawn(run).join().unwrap();
}

fn slots() -> usize {
    std::iter::successors(SLOTS.get(), |slot| slot.next.get()).count()
}

/// Successive threads take the same slot, even if a thread ends with a pin that its
/// thread-local destructors drop after the slot's own.
#[test]
fn a_thread_that_ends_leaves_its_slot_to_the_next() {
    const THREADS: usize = 400;
    thread_local! {
        static LAST: RefCell<Option<Pin>> = const { RefCell::new(None) };
    }
    for is_last in [false, true] {
        let before = slots();
        for _ in 0..THREADS {
            let run = move || {
                // The destructor of `LAST` is registered before the thread's first pin.
                LAST.with_borrow_mut(|last| *last = None);
                let pin = Pin::new();
                if is_last {
                    LAST.set(Some(pin));
                }
            };
            std::thread::spawn(run).join().unwrap();
        }
        // Other tests have threads, too.
        assert!(slots() - before < THREADS / 2, "{} slots more", slots() - before);
    }
}
