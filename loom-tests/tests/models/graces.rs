//! Models of pins and grace periods alone: something that can be found until it is unlinked, and is destroyed when
//! the grace that began after that is over.

use crate::common::explore;
use loom::cell::Cell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use std::sync::Arc;
use tidewheel::model::{Pinned, Waiting};

/// What readers find and writers destroy. Loom fails the model if a look and the destruction meet.
struct Thing {
    linked: AtomicBool,
    content: Cell<u32>,
}

// SAFETY: loom's threads are coroutines of one real thread, and its cell panics where two of them meet.
unsafe impl Send for Thing {}
// SAFETY: as above.
unsafe impl Sync for Thing {}

impl Thing {
    fn new() -> Arc<Self> {
        // Loom's statics begin with their first use, and whoever uses one later sees what came before that.
        // So they begin here, and not between the threads of a model.
        drop(Pinned::new());
        Waiting::advance();
        let _ = Waiting::begin().is_over();
        Arc::new(Self { linked: AtomicBool::new(true), content: Cell::new(1) })
    }

    /// Looks at it if it is linked. Without an ordering of its own: pins and grace periods have to do.
    fn look(&self) {
        if self.linked.load(Ordering::Relaxed) {
            assert_eq!(self.content.get(), 1);
        }
    }

    fn unlink(&self) {
        self.linked.store(false, Ordering::Relaxed);
    }

    fn destroy(&self) {
        self.content.set(0);
    }
}

fn spawn(thing: &Arc<Thing>, run: impl FnOnce(&Thing) + 'static) -> thread::JoinHandle<()> {
    let thing = Arc::clone(thing);
    thread::spawn(move || run(&thing))
}

#[test]
fn a_grace_waits_for_the_pins_before_it() {
    explore(|| {
        let thing = Thing::new();
        let reader = spawn(&thing, |thing| {
            let _pin = Pinned::new();
            thing.look();
        });
        thing.unlink();
        let grace = Waiting::begin();
        Waiting::advance();
        if grace.is_over() {
            thing.destroy();
        }
        reader.join().unwrap();
    });
}

/// The second pin is younger than the grace, so that the grace does not wait for it; it says that the first
/// is over.
#[test]
fn a_grace_may_end_under_a_later_pin() {
    explore(|| {
        let thing = Thing::new();
        let reader = spawn(&thing, |thing| {
            let pin = Pinned::new();
            thing.look();
            drop(pin);
            let _pin = Pinned::new();
            thing.look();
        });
        thing.unlink();
        let grace = Waiting::begin();
        Waiting::advance();
        if grace.is_over() {
            thing.destroy();
        }
        reader.join().unwrap();
    });
}

/// A pin that is renewed protects as one that is made anew: what it finds from then on, though it began before
/// that was unlinked.
#[test]
fn a_grace_waits_for_the_pins_that_were_renewed_before_it() {
    explore(|| {
        let thing = Thing::new();
        let reader = spawn(&thing, |thing| {
            let mut pin = Pinned::new();
            pin.renew();
            thing.look();
        });
        thing.unlink();
        let grace = Waiting::begin();
        Waiting::advance();
        if grace.is_over() {
            thing.destroy();
        }
        reader.join().unwrap();
    });
}

/// A pin within a pin protects nothing that the outer one does not, and leaves it alone when it goes; they may
/// go in any order.
#[test]
fn the_last_pin_of_a_thread_is_the_one_that_counts() {
    explore(|| {
        let thing = Thing::new();
        let reader = spawn(&thing, |thing| {
            let first = Pinned::new();
            let second = Pinned::new();
            drop(first);
            thing.look();
            drop(second);
        });
        thing.unlink();
        let grace = Waiting::begin();
        Waiting::advance();
        if grace.is_over() {
            thing.destroy();
        }
        reader.join().unwrap();
    });
}

/// One thread finds out that the grace is over, another acts on it.
#[test]
fn whoever_hears_that_a_grace_is_over_may_rely_on_it() {
    explore(|| {
        let thing = Thing::new();
        thing.unlink();
        thing.linked.store(true, Ordering::Relaxed);
        let reader = spawn(&thing, |thing| {
            let _pin = Pinned::new();
            thing.look();
        });
        let advancer = spawn(&thing, |_| Waiting::advance());
        thing.unlink();
        let grace = Waiting::begin();
        if grace.is_over() {
            thing.destroy();
        }
        reader.join().unwrap();
        advancer.join().unwrap();
    });
}

/// What begins while somebody looks at the slots is not over with that look.
#[test]
fn an_advance_is_no_answer_for_what_comes_during_it() {
    explore(|| {
        let thing = Thing::new();
        let reader = spawn(&thing, |thing| {
            let _pin = Pinned::new();
            thing.look();
        });
        let advancer = spawn(&thing, |thing| {
            thing.unlink();
            let grace = Waiting::begin();
            if grace.is_over() {
                thing.destroy();
            }
        });
        Waiting::advance();
        reader.join().unwrap();
        advancer.join().unwrap();
    });
}

/// Two threads pin for the first time at once: each has a slot of its own, and whoever advances finds both. Else the one
/// that is done would say that the other is.
#[test]
fn threads_that_come_at_once_have_a_slot_each() {
    explore(|| {
        let thing = Thing::new();
        let reader = spawn(&thing, |thing| {
            let _pin = Pinned::new();
            thing.look();
        });
        let other = spawn(&thing, |_| drop(Pinned::new()));
        thing.unlink();
        let grace = Waiting::begin();
        Waiting::advance();
        if grace.is_over() {
            thing.destroy();
        }
        reader.join().unwrap();
        other.join().unwrap();
    });
}
