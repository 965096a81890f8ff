//! Models of a table that grows: entries move, bucket by bucket, and nobody misses one.
//!
//! Under loom a bucket has two slots; a table of one bucket has room for two entries, one of two buckets for
//! four. So the third entry makes the table move, and the fifth again. The keys are chosen: in a table
//! of two buckets, 1, 2 and 6 have one home, 3, 4 and 8 the other.

use crate::common::cache::{Model, TTL, spawn};
use crate::common::explore;

/// Readers of an entry that stays find it at every moment of several moves.
#[test]
fn insert_against_get_while_buckets_move() {
    explore(|| {
        let model = Model::growing();
        model.insert(1, 1);
        model.insert(3, 3);
        let reader = spawn(&model, |model| {
            assert_eq!(model.see(1), Some(1));
            assert_eq!(model.see(1), Some(1));
        });
        model.insert(2, 2);
        model.insert(4, 4);
        // Its home is not the bucket whose turn it is to move.
        model.insert(6, 6);
        reader.join().unwrap();
        assert_eq!([1, 2, 3, 4, 6].map(|key| model.see(key)), [1, 2, 3, 4, 6].map(Some));
        model.end();
    });
}

/// A new entry, once seen, is not missed again; nor is it missed by anybody after its insert.
#[test]
fn a_new_entry_stays_while_buckets_move() {
    explore(|| {
        let model = Model::growing();
        model.insert(1, 1);
        model.insert(3, 3);
        let reader = spawn(&model, |model| {
            let first = model.see(2);
            let second = model.see(2);
            assert!(first.is_none() || second == Some(2));
        });
        model.insert(2, 2);
        assert_eq!(model.see(2), Some(2));
        model.insert(4, 4);
        model.insert(6, 6);
        assert_eq!(model.see(2), Some(2));
        reader.join().unwrap();
        model.end();
    });
}

/// An entry that was replaced after it moved, while the rest has not: the old bucket still names the old
/// node, and nobody who comes later may follow it there.
#[test]
fn replace_against_get_while_buckets_move() {
    explore(|| {
        let model = half_moved();
        let reader = spawn(&model, |model| {
            let (first, second) = model.see_both([3, 3]);
            assert!(first.is_some() && first <= second, "{first:?}, then {second:?}");
        });
        assert!(model.replace(3, 4));
        model.reap_after(TTL);
        reader.join().unwrap();
        assert_eq!(model.see(3), Some(4));
        model.end();
    });
}

/// An entry that was removed after it moved is not found in the bucket that it left.
#[test]
fn remove_against_get_while_buckets_move() {
    explore(|| {
        let model = half_moved();
        let reader = spawn(&model, |model| {
            let (first, second) = model.see_both([3, 3]);
            assert!(second.is_none() || first.is_some(), "it came back");
        });
        assert!(model.cache.invalidate(&3));
        model.reap_after(TTL);
        reader.join().unwrap();
        assert_eq!(model.see(3), None);
        model.end();
    });
}

/// A table that moves from two buckets to four; that of 3 and 4 has moved, that of 1 and 2 has not.
fn half_moved() -> Model {
    let model = Model::growing();
    for key in [1, 2, 3, 4, 8] {
        model.insert(key, key);
    }
    model
}

/// Two writers grow the table together; the last entry finds its bucket full and goes behind it.
#[test]
fn insert_against_insert_while_buckets_move() {
    explore(|| {
        let model = Model::growing();
        model.insert(1, 1);
        model.insert(3, 3);
        let other = spawn(&model, |model| {
            model.insert(2, 2);
            assert_eq!(model.see(2), Some(2));
        });
        model.insert(6, 6);
        assert_eq!(model.see(6), Some(6));
        other.join().unwrap();
        assert_eq!([1, 2, 3, 6].map(|key| model.see(key)), [1, 2, 3, 6].map(Some));
        model.end();
    });
}
