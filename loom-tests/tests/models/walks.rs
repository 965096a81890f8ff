//! Models of walks through a table whose buckets move, and of what is decided on the way. W1 to W5 are the invariants
//! in `src/table/walk.rs`.
//!
//! In a table of two buckets, 1, 2 and 6 have one home, the second, and 3, 4, 5 and 8 the other; in one of four, 3, 4 and 5 are in the
//! third, 8 is in the first and 1 in the second. A walk goes one bucket at a time, and pins for each, unless it has a guard.

use crate::common::cache::{HALF, Heard, Model, TTL, spawn};
use crate::common::explore;
use tidewheel::RemovalCause::{Explicit, Replaced};

/// Those of `keys` are met once, and no other twice.
fn assert_once(met: &[u64], keys: &[u64]) {
    for key in 0..20 {
        let times = met.iter().filter(|&&other| other == key).count();
        assert!(times == 1 || times == 0 && !keys.contains(&key), "{key} was met {times} times: {met:?}");
    }
}

/// The keys that a walk meets under a guard.
fn met(model: &Model) -> Vec<u64> {
    model.cache.read_guard().iter().map(|(&key, _)| key).collect()
}

/// A table that goes from one bucket to four under a walk that holds nothing between its steps.
#[test]
fn what_stays_is_met_once_while_the_table_grows() {
    explore(|| {
        let model = Model::growing();
        model.insert(1, 1);
        model.insert(3, 3);
        let walker = spawn(&model, |model| model.cache.keys().collect::<Vec<_>>());
        model.insert(2, 2);
        model.insert(4, 4);
        model.insert(6, 6);
        assert_once(&walker.join().unwrap(), &[1, 3]);
        assert_once(&met(&model), &[1, 2, 3, 4, 6]);
        model.end();
    });
}

/// From four buckets to one.
#[test]
fn what_stays_is_met_once_while_the_table_shrinks() {
    explore(|| {
        let model = Model::left_with(&[1], 6);
        let walker = spawn(&model, |model| model.cache.keys().collect::<Vec<_>>());
        model.reap_after(2 * TTL);
        assert_once(&walker.join().unwrap(), &[1]);
        model.end();
    });
}

/// A table that moves from two buckets to four. The first has moved; 8 is at home there, and lies in the second,
/// which has not.
fn half_moved() -> Model {
    let model = Model::growing();
    for key in [3, 4, 8, 1, 5] {
        model.insert(key, key);
    }
    model
}

/// Whoever walks its home finds the mark there, the entry beyond, and then perhaps again in the next array.
#[test]
fn what_lies_beyond_its_home_is_met_once_while_it_moves() {
    explore(|| {
        let model = half_moved();
        let walker = spawn(&model, met);
        model.insert(6, 6);
        assert_once(&walker.join().unwrap(), &[1, 3, 4, 5, 8]);
        model.end();
    });
}

/// The same, and it is another node when it moves.
#[test]
fn what_is_replaced_and_moves_is_met_once() {
    explore(|| {
        let model = half_moved();
        let walker = spawn(&model, met);
        assert!(model.replace(8, 9));
        model.insert(6, 6);
        assert_once(&walker.join().unwrap(), &[1, 3, 4, 5, 8]);
        model.end();
    });
}

/// What moved and was replaced and dropped there is not met where it was.
#[test]
fn a_moved_bucket_is_not_walked() {
    explore(|| {
        let model = half_moved();
        let walker = spawn(&model, |model| {
            let guard = model.cache.read_guard();
            guard.iter().map(|(&key, value)| (key, value.number())).collect::<Vec<_>>()
        });
        assert!(model.replace(3, 30));
        model.reap_after(TTL);
        let met = walker.join().unwrap();
        assert!(met.contains(&(3, 3)) != met.contains(&(3, 30)), "{met:?}");
        model.end();
    });
}

/// A slot that is cleared and filled again under a walk.
#[test]
fn who_is_met_is_found_afterwards() {
    explore(|| {
        let model = Model::lasting();
        model.insert(1, 1);
        let walker = spawn(&model, |model| {
            let guard = model.cache.read_guard();
            let met = guard.iter().any(|(&key, _)| key == 2);
            assert!(!met || guard.get(&2).is_some(), "it was met too early");
        });
        assert!(model.cache.invalidate(&1));
        model.insert(2, 2);
        walker.join().unwrap();
        model.end();
    });
}

/// What `iter` yields is there, once, and no older than what was yielded before.
#[test]
fn what_is_replaced_is_yielded_once() {
    explore(|| {
        let model = Model::lasting();
        model.insert(1, 1);
        model.insert(3, 3);
        let walker = spawn(&model, |model| {
            let pairs: Vec<_> = model.cache.iter().map(|(key, value)| (key, value.number())).collect();
            assert_eq!(pairs.iter().filter(|(key, _)| *key == 1).count(), 1, "{pairs:?}");
            let yielded = pairs.iter().find(|(key, _)| *key == 1).unwrap().1;
            assert!(model.see(1).unwrap() >= yielded);
        });
        assert!(model.replace(1, 2));
        assert!(model.replace(1, 4));
        walker.join().unwrap();
        model.end();
    });
}

/// Under a guard, and without: who has seen it gone is not shown it.
#[test]
fn what_was_seen_expired_is_not_yielded() {
    explore(|| {
        let model = Model::expiring();
        model.insert(1, 1);
        let walker = spawn(&model, |model| {
            let gone = model.see(1).is_none();
            assert!(!(gone && met(model).contains(&1)), "it is yielded");
            assert!(!(gone && model.cache.keys().next().is_some()), "it is yielded");
        });
        model.pass(TTL);
        walker.join().unwrap();
        model.end();
    });
}

/// Under a guard, an entry whose node was met before another thread replaced it: what is yielded is no older than what
/// was seen in between.
#[test]
fn what_was_replaced_since_it_was_met_is_not_yielded() {
    explore(|| {
        let model = Model::lasting();
        model.insert(1, 1);
        model.insert(2, 1);
        let walker = spawn(&model, |model| {
            let guard = model.cache.read_guard();
            let mut all = guard.iter();
            let other = 3 - *all.next().unwrap().0;
            let seen = guard.get(&other).unwrap().number();
            let (&key, value) = all.next().unwrap();
            assert!(key == other && value.number() >= seen, "{key}: {} after {seen}", value.number());
        });
        assert!(model.replace(1, 2) && model.replace(2, 2));
        walker.join().unwrap();
        model.end();
    });
}

/// It never ended, but the node that the walk has met did.
#[test]
fn what_was_replaced_is_yielded_after_its_first_deadline() {
    explore(|| {
        let model = Model::expiring();
        model.insert(1, 1);
        let walker = spawn(&model, |model| assert_once(&met(model), &[1]));
        model.pass(HALF);
        // Not an update, which has the old node live on as long as the new one.
        model.insert(1, 2);
        model.pass(HALF);
        walker.join().unwrap();
        model.end();
    });
}

/// A closure that wants one value gone, and a write that puts another in its place: that one stays.
#[test]
fn retain_removes_what_it_decided_about() {
    explore(|| {
        let heard = Heard::default();
        let model = Model::build(|builder| builder.initial_capacity(4).eviction_listener(heard.listener()));
        model.insert(1, 1);
        let keeper = spawn(&model, |model| model.cache.retain(|_, value| value.number() != 1));
        let replaced = model.replace(1, 2);
        keeper.join().unwrap();
        assert_eq!(model.see(1), replaced.then_some(2));
        let cause = if replaced { Replaced } else { Explicit };
        assert_eq!(heard.all(), [(1, 1, cause)]);
        model.end();
    });
}

/// A closure that wants all gone: a write that comes between does not save an entry.
#[test]
fn retain_asks_again_about_what_changed() {
    explore(|| {
        let heard = Heard::default();
        let model = Model::build(|builder| builder.initial_capacity(4).eviction_listener(heard.listener()));
        model.insert(1, 1);
        let keeper = spawn(&model, |model| model.cache.retain(|_, _| false));
        let updated = model.update(1);
        keeper.join().unwrap();
        assert_eq!(model.see(1), None);
        let told = [(1, 1, if updated { Replaced } else { Explicit }), (1, 2, Explicit)];
        assert_eq!(heard.all(), told[..=usize::from(updated)]);
        model.end();
    });
}

/// Two who drain the same cache.
#[test]
fn each_value_goes_to_one_drainer() {
    explore(|| {
        let model = Model::lasting();
        model.insert(1, 1);
        model.insert(3, 3);
        let drain = |model: &Model| model.cache.drain().map(|(key, _)| key).collect::<Vec<_>>();
        let other = spawn(&model, drain);
        let mut drained = drain(&model);
        drained.extend(other.join().unwrap());
        drained.sort_unstable();
        assert_eq!(drained, [1, 3]);
        assert_eq!(model.cache.entry_count(), 0);
        model.end();
    });
}
