//! Models of how a key's turn goes from one computation to the next: offered, taken by another, given up, handed over.
//!
//! As in `loading.rs`, a closure notices if another one runs for its key, and every call returns. A call that was passed
//! over once is out of patience here, so that both ways to have the turn are tried: it takes it, or gets it in its hand.

use crate::common::explore;
use crate::common::loads::{Loads, spawn};

const KEY: u64 = 1;

/// One that counts twice takes the turn again before the one that waits is awake; that one comes to count all the same.
#[test]
fn one_that_counts_on_against_one_that_waits() {
    explore(|| {
        let model = Loads::lasting();
        let other = spawn(&model, |model| model.count(KEY));
        let mut counts = [model.count(KEY), model.count(KEY), other.join().unwrap()];
        assert!(counts[0] < counts[1], "{counts:?}");
        counts.sort_unstable();
        assert_eq!((counts, model.see(KEY), model.runs()), ([10, 11, 12], Some(12), 3));
        model.end();
    });
}

/// The same where the one that waits is a future.
#[test]
fn one_that_counts_on_against_a_future() {
    explore(|| {
        let model = Loads::lasting();
        let other = spawn(&model, |model| [model.count(KEY), model.count(KEY)]);
        let counted = model.count_call(KEY).finish();
        let [first, second] = other.join().unwrap();
        let mut counts = [counted, first, second];
        counts.sort_unstable();
        assert_eq!((counts, model.see(KEY), model.runs()), ([10, 11, 12], Some(12), 3));
        model.end();
    });
}

/// The turn is offered to one who leaves just then: it is for the one behind it.
#[test]
fn one_that_was_offered_the_turn_leaves() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_count(KEY).must_wait();
        let next = model.count_call(KEY).must_wait();
        let last = model.count_call(KEY).must_wait();
        let canceller = spawn(&model, move |_| drop(next));
        drop(leader);
        canceller.join().unwrap();
        assert_eq!(last.finish_at_once(), 10);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(10)));
        model.end();
    });
}

/// The same while another one comes and takes the turn.
#[test]
fn one_that_was_offered_the_turn_is_cancelled_against_one_that_comes() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_count(KEY).must_wait();
        let next = model.count_call(KEY).must_wait();
        let last = model.count_call(KEY).must_wait();
        drop(leader);
        let comer = spawn(&model, |model| model.count(KEY));
        drop(next);
        let mut counts = [last.finish(), comer.join().unwrap()];
        counts.sort_unstable();
        assert_eq!((counts, model.runs(), model.see(KEY)), ([10, 11], 2, Some(11)));
        model.end();
    });
}

/// The turn is offered to one who computes, while a load of the key comes, which waits for it.
#[test]
fn one_that_was_offered_the_turn_against_a_load() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_count(KEY).must_wait();
        let next = model.count_call(KEY).must_wait();
        let loader = spawn(&model, |model| model.get_with(KEY));
        drop(leader);
        assert_eq!(next.finish(), 10);
        assert_eq!(loader.join().unwrap(), 10);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(10)));
        model.end();
    });
}

/// Three who count, each in its turn.
#[test]
fn three_who_count() {
    explore(|| {
        let model = Loads::lasting();
        let others = [spawn(&model, |model| model.count(KEY)), spawn(&model, |model| model.count(KEY))];
        let mut counts = vec![model.count(KEY)];
        counts.extend(others.map(|other| other.join().unwrap()));
        counts.sort_unstable();
        assert_eq!((counts, model.see(KEY), model.runs()), (vec![10, 11, 12], Some(12), 3));
        model.end();
    });
}
