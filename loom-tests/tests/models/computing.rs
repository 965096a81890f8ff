//! Models of computations and of values that are loaded anew: in turn, and never over what came between.
//!
//! Closures notice, as loaders do, if another one runs for their key (`Loads::load`).

use crate::common::cache::{HALF, TTL};
use crate::common::explore;
use crate::common::loads::{Loads, spawn};
use tidewheel::Op;

const KEY: u64 = 1;

/// Two who count: both are counted, one after the other.
#[test]
fn two_computations() {
    explore(|| {
        let model = Loads::lasting();
        let other = spawn(&model, |model| model.count(KEY));
        let mut counts = [model.count(KEY), other.join().unwrap()];
        counts.sort_unstable();
        assert_eq!((counts, model.see(KEY), model.runs()), ([10, 11], Some(11), 2));
        model.end();
    });
}

/// A plain update waits for no computation, and is not lost.
#[test]
fn a_computation_against_an_update() {
    explore(|| {
        let model = Loads::lasting();
        model.cache.insert(KEY, 1);
        let other = spawn(&model, |model| assert!(model.cache.update(&KEY, |old| old + 1)));
        let counted = model.count(KEY);
        other.join().unwrap();
        assert!(counted == 2 || counted == 3, "{counted}");
        assert_eq!(model.see(KEY), Some(3));
        model.end();
    });
}

/// A touch that succeeds while a computation stores what it has made is not undone by it, although time passes.
#[test]
fn a_computation_against_a_touch() {
    explore(|| {
        let model = Loads::expiring();
        model.cache.insert(KEY, 1);
        model.clock.advance_without_sweeping(HALF);
        let toucher = spawn(&model, |model| {
            model.clock.advance_without_sweeping(HALF / 2);
            model.cache.touch(&KEY)
        });
        model.count(KEY);
        assert!(toucher.join().unwrap());
        assert!(model.cache.remaining_ttl(&KEY) >= Some(TTL));
        model.end();
    });
}

/// Nor is an insert.
#[test]
fn a_computation_against_an_insert() {
    explore(|| {
        let model = Loads::lasting();
        model.cache.insert(KEY, 1);
        let other = spawn(&model, |model| model.invalidate(KEY, |cache| cache.insert(KEY, 5)));
        let counted = model.count(KEY);
        other.join().unwrap();
        assert_eq!(model.see(KEY), Some(if counted == 2 { 5 } else { 6 }));
        model.end();
    });
}

/// What was removed is not counted on.
#[test]
fn a_computation_against_a_removal() {
    explore(|| {
        let model = Loads::lasting();
        model.cache.insert(KEY, 1);
        let other = spawn(&model, |model| model.invalidate(KEY, |cache| cache.remove(&KEY)));
        let counted = model.count(KEY);
        match other.join().unwrap() {
            // Removed first.
            Some(1) => assert_eq!((counted, model.see(KEY)), (10, Some(10))),
            Some(2) => assert_eq!((counted, model.see(KEY)), (2, None)),
            removed => panic!("{removed:?} was removed"),
        }
        model.end();
    });
}

/// A load and a computation of one key: one after the other.
#[test]
fn a_computation_against_a_load() {
    explore(|| {
        let model = Loads::lasting();
        let other = spawn(&model, |model| model.get_with(KEY));
        let counted = model.count(KEY);
        let loaded = other.join().unwrap();
        assert!(matches!((loaded, counted), (1, 2) | (10, 10)), "{loaded}, {counted}");
        assert_eq!(model.see(KEY), Some(counted));
        model.end();
    });
}

/// A value that is ready, and a load: one of them is stored, and both get that.
#[test]
fn a_ready_value_against_a_load() {
    explore(|| {
        let model = Loads::lasting();
        let other = spawn(&model, |model| model.get_with(KEY));
        let entry = model.cache.entry(KEY).or_insert(7);
        let loaded = other.join().unwrap();
        let ready = (*entry.value(), entry.is_fresh());
        assert!(matches!((loaded, ready), (1, (1, false)) | (7, (7, true))), "{loaded}, {ready:?}");
        assert_eq!(model.see(KEY), Some(loaded));
        model.end();
    });
}

/// What somebody has seen expired does not come back counted.
#[test]
fn a_computation_against_reap() {
    explore(|| {
        let model = Loads::expiring();
        model.cache.insert(KEY, 1);
        model.clock.advance_without_sweeping(HALF);
        let other = spawn(&model, |model| {
            model.clock.advance(HALF);
            model.see(KEY)
        });
        let counted = model.count(KEY);
        let seen = other.join().unwrap();
        let left = model.see(KEY);
        match (counted, seen) {
            (2, None) => assert_eq!(left, None, "it has come back"),
            (2, Some(2)) | (10, _) => assert_eq!(left, Some(counted)),
            _ => panic!("{counted} counted, {seen:?} seen"),
        }
        model.end();
    });
}

/// The same where it was evicted.
#[test]
fn a_computation_against_eviction() {
    explore(|| {
        let model = Loads::build(|builder| builder.max_capacity(1));
        model.cache.insert(KEY, 1);
        let other = spawn(&model, |model| {
            model.cache.insert(2, 7);
            model.see(KEY)
        });
        let counted = model.count(KEY);
        let seen = other.join().unwrap();
        let left = [KEY, 2].map(|key| model.see(key));
        match (counted, seen) {
            (2, None) => assert_eq!(left, [None, Some(7)], "it has come back"),
            (10, None | Some(10)) => assert_eq!(left, [Some(10), None]),
            _ => panic!("{counted} counted, {seen:?} seen"),
        }
        model.end();
    });
}

fn with_an_old_value() -> Loads {
    let model = Loads::build(|builder| builder.refresh_after_write(TTL));
    model.cache.insert(KEY, 1);
    model.clock.advance_without_sweeping(2 * TTL);
    model.set_source(2);
    model
}

/// Of two who find a value old, one loads it anew; the other is served, and waits for nothing.
#[test]
fn two_who_find_it_old() {
    explore(|| {
        let model = with_an_old_value();
        let other = spawn(&model, |model| model.get_with(KEY));
        let mut seen = [model.get_with(KEY), other.join().unwrap()];
        seen.sort_unstable();
        assert!(seen == [1, 2] || seen == [2, 2], "{seen:?}");
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(2)));
        model.end();
    });
}

/// A removal while it is loaded anew: nothing is left that was loaded before it.
#[test]
fn a_refresh_against_a_removal() {
    explore(|| {
        let model = with_an_old_value();
        let other = spawn(&model, |model| {
            model.set_source(3);
            model.invalidate(KEY, |cache| cache.invalidate(&KEY));
        });
        model.get_with(KEY);
        other.join().unwrap();
        assert!(matches!(model.see(KEY), None | Some(3)), "{:?}", model.see(KEY));
        model.end();
    });
}

/// The same where the removal looks at what it removes before it takes the lock.
#[test]
fn a_refresh_against_a_conditional_removal() {
    explore(|| {
        let model = with_an_old_value();
        let other = spawn(&model, |model| {
            model.set_source(3);
            model.invalidate(KEY, |cache| cache.remove_if(&KEY, |_| true));
        });
        model.get_with(KEY);
        other.join().unwrap();
        assert!(matches!(model.see(KEY), None | Some(3)), "{:?}", model.see(KEY));
        model.end();
    });
}

/// A write while it is loaded anew stays, unless what is loaded was asked for after it.
#[test]
fn a_refresh_against_an_insert() {
    explore(|| {
        let model = with_an_old_value();
        let other = spawn(&model, |model| {
            model.set_source(3);
            model.invalidate(KEY, |cache| cache.insert(KEY, 5));
        });
        model.get_with(KEY);
        other.join().unwrap();
        assert!(matches!(model.see(KEY), Some(3 | 5)), "{:?}", model.see(KEY));
        model.end();
    });
}

/// One that is being loaded anew when its time is over: who asks after that waits for it, and gets the new one.
#[test]
fn a_refresh_against_the_deadline() {
    explore(|| {
        let model = Loads::build(|builder| builder.time_to_live(TTL).refresh_after_write(HALF));
        model.cache.insert(KEY, 1);
        model.clock.advance_without_sweeping(HALF);
        model.set_source(2);
        let other = spawn(&model, |model| {
            model.clock.advance(HALF);
            model.get_with(KEY)
        });
        let first = model.get_with(KEY);
        // Served the old one, it asked in time.
        assert!(first == 1 || first == 2, "{first}");
        assert_eq!((other.join().unwrap(), model.see(KEY)), (2, Some(2)));
        model.end();
    });
}

/// One that is loaded anew behind its readers when its time is over. Nobody has asked for it, so it does not come back. (It
/// would not have the time to live that the old one had of its own, and stay for ever.)
#[test]
fn a_reload_against_the_deadline() {
    explore(|| {
        let model = Loads::build(|builder| {
            builder.refresh_after_write(HALF).refresh_with(|_, old| Some(old + 1), |job| job())
        });
        model.cache.insert_with_ttl(KEY, 1, TTL);
        model.clock.advance_without_sweeping(HALF);
        model.set_source(7);
        let other = spawn(&model, |model| {
            model.clock.advance_without_sweeping(HALF);
            // Who finds that it is over tells others.
            model.see(KEY)
        });
        model.get_with(KEY);
        other.join().unwrap();
        model.clock.advance(TTL);
        assert!(matches!(model.see(KEY), None | Some(7)), "{:?}", model.see(KEY));
        model.end();
    });
}

/// A computation was shown that there is nothing any more: a touch that read its clock before does not bring it back.
#[test]
fn an_end_that_a_computation_was_shown_against_touch() {
    explore(|| {
        let model = Loads::expiring();
        model.cache.insert(KEY, 1);
        model.clock.advance_without_sweeping(HALF);
        let toucher = spawn(&model, |model| model.cache.touch(&KEY));
        model.clock.advance_without_sweeping(HALF);
        let mut shown = Vec::new();
        model.cache.entry(KEY).and_compute_with(|old| {
            shown.push(old.is_some());
            Op::Nop
        });
        assert_eq!(shown, [toucher.join().unwrap()]);
        model.end();
    });
}
