//! Models of `invalidate_all`: it goes from bucket to bucket, and holds the lock for one of them at a time. Whatever is done
//! to an entry before it comes there, the entry goes; and nothing that was made of it stays.

use crate::common::cache::{Heard, Model, TTL, spawn};
use crate::common::{explore, loads};
use tidewheel::RemovalCause::{Explicit, Replaced};

/// Entries that are only updated. Each update takes another number, which may be one that was vacant. The listener is told
/// of each value once.
#[test]
fn update_against_invalidate_all() {
    explore(|| {
        let heard = Heard::default();
        let listener = heard.listener();
        let model = Model::build(|builder| builder.initial_capacity(4).eviction_listener(listener));
        model.insert(3, 1);
        model.insert(1, 1);
        let writer = spawn(&model, |model| model.update(1) && model.update(1));
        model.cache.invalidate_all();
        assert_eq!([1, 3].map(|key| model.see(key)), [None; 2]);
        let twice = writer.join().unwrap();
        assert_eq!([1, 3].map(|key| model.see(key)), [None; 2]);
        let of_one: Vec<_> = heard.all().into_iter().filter(|&(key, ..)| key == 1).collect();
        match of_one[..] {
            [(_, 1, Explicit)] | [(_, 1, Replaced), (_, 2, Explicit)] => assert!(!twice),
            [(_, 1, Replaced), (_, 2, Replaced), (_, 3, Explicit)] => assert!(twice),
            _ => panic!("the listener was told {of_one:?}"),
        }
        assert_eq!(heard.all().last(), Some(&(3, 1, Explicit)));
        model.end();
    });
}

/// A table that moves from two buckets to four under it. Of one home entries lie in three buckets: in one that has not
/// moved and in its neighbour, and in the next array.
#[test]
fn invalidate_all_while_buckets_move() {
    explore(|| {
        let model = Model::growing();
        let keys = [3, 4, 8, 1, 5];
        keys.iter().for_each(|&key| model.insert(key, key));
        let writer = spawn(&model, |model| model.insert(6, 6));
        model.cache.invalidate_all();
        assert_eq!(keys.map(|key| model.see(key)), [None; 5]);
        writer.join().unwrap();
        assert_eq!(keys.map(|key| model.see(key)), [None; 5]);
        model.end();
    });
}

/// A table that moves from four buckets to one under it.
#[test]
fn invalidate_all_while_the_table_shrinks() {
    explore(|| {
        let model = Model::left_with(&[1], 6);
        let other = spawn(&model, |model| {
            model.cache.invalidate_all();
            assert_eq!(model.see(1), None);
        });
        model.reap_after(2 * TTL);
        other.join().unwrap();
        assert_eq!(model.see(1), None);
        model.end();
    });
}

/// An old value that is loaded anew: what is made of it does not come when the old one has gone.
#[test]
fn a_refresh_against_invalidate_all() {
    explore(|| {
        let model = loads::Loads::build(|builder| {
            builder.refresh_after_write(TTL).refresh_with(|_, old| Some(old + 1), |job| job())
        });
        model.cache.insert(1, 1);
        model.clock.advance_without_sweeping(2 * TTL);
        let other = loads::spawn(&model, |model| {
            model.cache.invalidate_all();
            assert_ne!(model.see(1), Some(2), "made of what had gone");
        });
        // The source says otherwise: it was gone already.
        model.set_source(7);
        let found = model.get_with(1);
        other.join().unwrap();
        assert!(
            matches!((found, model.see(1)), (1, None) | (7, None | Some(7))),
            "{found}, {:?}",
            model.see(1)
        );
        model.end();
    });
}

/// An entry that goes from a home that is cleared last to one that is cleared first.
#[test]
fn rename_against_invalidate_all() {
    explore(|| {
        let model = Model::lasting();
        model.insert(1, 1);
        let other = spawn(&model, |model| model.cache.rename(&1, 3));
        model.cache.invalidate_all();
        assert_eq!([1, 3].map(|key| model.see(key)), [None; 2]);
        other.join().unwrap();
        assert_eq!([1, 3].map(|key| model.see(key)), [None; 2]);
        model.end();
    });
}

/// What is inserted after everything was removed is not lost by a rename.
#[test]
fn rename_after_invalidate_all() {
    explore(|| {
        let model = Model::lasting();
        let other = spawn(&model, |model| model.cache.rename(&1, 3));
        model.cache.invalidate_all();
        model.insert(1, 1);
        let found = if other.join().unwrap() { [None, Some(1)] } else { [Some(1), None] };
        assert_eq!([1, 3].map(|key| model.see(key)), found);
        model.end();
    });
}
