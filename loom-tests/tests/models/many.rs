//! Models of calls for many keys: they wait for several turns at once, and load other keys
//! meanwhile.
//!
//! As in `loading.rs`, a loader notices if another one runs for its key, and every call returns.

use crate::common::explore;
use crate::common::loads::{Loads, spawn};

const KEY: u64 = 1;
const OTHER: u64 = 2;

/// The leader of a key is cancelled while a call for many waits for it. That call runs a closure
/// for another key meanwhile, which loads this one.
#[test]
fn a_leader_is_cancelled_against_a_closure_for_many_that_needs_its_key() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let many = spawn(&model, |model| {
            let loads_other = std::cell::Cell::new(false);
            model.get_many_with(&[KEY, OTHER], |model| {
                // Where the leader was gone before, both keys are this call's.
                if model.cache.waiting() == 1 && !loads_other.replace(true) {
                    assert_eq!(model.get_with(KEY), 1);
                }
            })
        });
        drop(leader);
        assert_eq!(many.join().unwrap(), [Some(1), Some(1)]);
        assert_eq!((model.see(KEY), model.see(OTHER)), (Some(1), Some(1)));
        model.end();
    });
}

/// A call for many has the turn of a key that is removed, and loaded by another call: it waits once
/// more, and is woken.
#[test]
fn a_turn_that_many_have_against_a_load_after_a_removal() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let many = spawn(&model, |model| model.get_many_with(&[KEY], |_| ()));
        drop(leader);
        model.invalidate(KEY, |cache| cache.invalidate(&KEY));
        assert_eq!(model.get_with(KEY), 1);
        assert_eq!(many.join().unwrap(), [Some(1)]);
        model.end();
    });
}

/// Two calls for many ask for the same keys in different orders: each key is loaded once.
#[test]
fn two_calls_for_many_against_each_other() {
    explore(|| {
        let model = Loads::lasting();
        let other = spawn(&model, |model| model.get_many_with(&[OTHER, KEY], |_| ()));
        assert_eq!(model.get_many_with(&[KEY, OTHER], |_| ()), [Some(1), Some(1)]);
        assert_eq!(other.join().unwrap(), [Some(1), Some(1)]);
        assert_eq!(model.runs(), 2);
        model.end();
    });
}
