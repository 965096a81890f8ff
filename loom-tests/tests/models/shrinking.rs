//! Models of a table that shrinks: the reaper moves its buckets to a smaller array, one each time it holds the
//! lock, and the old array is given back.
//!
//! The table has four buckets and one entry, of key 1; the smaller array has one bucket.

use crate::common::cache::{Model, TTL, spawn};
use crate::common::explore;

/// Readers of an entry that stays find it at every moment, and none is in an array that was given back.
#[test]
fn get_while_the_table_shrinks() {
    explore(|| {
        let model = Model::left_with(&[1], 6);
        let reader = spawn(&model, |model| {
            assert_eq!(model.see(1), Some(1));
            assert_eq!(model.see(1), Some(1));
        });
        model.reap_after(2 * TTL);
        reader.join().unwrap();
        assert_eq!(model.see(1), Some(1));
        model.end();
    });
}

/// A new key goes to the smaller array, and is found from the moment on when its insert is done. (Of eight buckets
/// there are to be two, with room for more than there is, or the insert would move all that are left. Its home is
/// the last bucket.)
#[test]
fn insert_while_the_table_shrinks() {
    explore(|| {
        let model = Model::left_with(&[1, 3, 9], 12);
        let writer = spawn(&model, |model| {
            assert!(model.cache.invalidate(&3));
            model.insert(17, 2);
            assert_eq!(model.see(17), Some(2));
        });
        model.reap_after(2 * TTL);
        writer.join().unwrap();
        assert_eq!([1, 3, 9, 17].map(|key| model.see(key)), [Some(1), None, Some(9), Some(2)]);
        model.end();
    });
}

/// Inserts that come while buckets move take the last room of the smaller array, and more. (Of eight buckets there is to
/// be one, with room for one entry more: the first insert moves what is left, and the second makes the table grow.)
#[test]
fn inserts_while_the_table_shrinks() {
    explore(|| {
        let model = Model::left_with(&[1], 12);
        let writer = spawn(&model, |model| {
            model.insert(17, 2);
            model.insert(25, 3);
            assert_eq!([1, 17, 25].map(|key| model.see(key)), [Some(1), Some(2), Some(3)]);
        });
        model.reap_after(2 * TTL);
        writer.join().unwrap();
        assert_eq!([1, 17, 25].map(|key| model.see(key)), [Some(1), Some(2), Some(3)]);
        model.end();
    });
}

/// An entry is replaced and removed where it is at that moment.
#[test]
fn replace_and_remove_while_the_table_shrinks() {
    explore(|| {
        let model = Model::left_with(&[1], 6);
        let writer = spawn(&model, |model| {
            assert!(model.replace(1, 2));
            assert_eq!(model.see(1), Some(2));
            assert!(model.cache.invalidate(&1));
            assert_eq!(model.see(1), None);
        });
        model.reap_after(2 * TTL);
        writer.join().unwrap();
        assert_eq!(model.see(1), None);
        assert_eq!(model.cache.entry_count(), 0);
        model.end();
    });
}
