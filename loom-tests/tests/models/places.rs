//! Models of where things are: a slot in the first or the second word of its bucket, a node at its number's place
//! in a chunk, both of them used again after they were somebody else's.
//!
//! Under loom a bucket has one slot in each word. Keys 1 and 2 share a bucket, so that the second of them is in the
//! second word. The first chunk has room for two nodes, the second for four.

use crate::common::cache::{Fixed, Model, TTL, spawn};
use crate::common::explore;
use loom::thread;
use tidewheel::{Cache, ManualClock};

/// An entry in the second word is replaced under a reader.
#[test]
fn replace_in_the_second_word_against_get() {
    explore(|| {
        let model = Model::lasting();
        model.insert(1, 1);
        model.insert(2, 2);
        let reader = spawn(&model, |model| model.see_both([2, 2]));
        assert!(model.replace(2, 3));
        model.reap_after(TTL);
        let (first, second) = reader.join().unwrap();
        assert!(first.is_some() && first <= second, "{first:?}, then {second:?}");
        model.end();
    });
}

/// A slot in the second word that is cleared and filled again: a reader who has seen the new entry does not miss
/// it afterwards.
#[test]
fn remove_and_insert_in_the_second_word_against_get() {
    explore(|| {
        let model = Model::lasting();
        model.insert(1, 1);
        model.insert(2, 2);
        let reader = spawn(&model, |model| (model.see(2), model.see(2)));
        assert!(model.cache.invalidate(&2));
        model.insert(2, 3);
        let (first, second) = reader.join().unwrap();
        assert!(first != Some(3) || second == Some(3), "{first:?}, then {second:?}");
        assert!(first.is_some() || second != Some(2), "{first:?}, then {second:?}");
        model.end();
    });
}

/// A slot that names a node which is gone, and gets a new entry: whoever sees its tag sees its number.
#[test]
fn a_tag_brings_its_number() {
    explore(|| fill_again([1, 2], 3));
}

/// The same in the second word.
#[test]
fn a_tag_in_the_second_word_brings_its_number() {
    explore(|| fill_again([1, 3], 2));
}

/// Inserts `key` into the slot where it was once, under a number that was another's.
fn fill_again(others: [u64; 2], key: u64) {
    let model = Model::lasting();
    for key in [others[0], others[1], key] {
        model.insert(key, 1);
    }
    assert!(model.cache.invalidate(&others[1]) && model.cache.invalidate(&key));
    model.reap_after(TTL);
    let reader = spawn(&model, move |model| (model.see(key), model.see(key)));
    model.insert(key, 2);
    let (first, second) = reader.join().unwrap();
    assert!(first.is_none() || second == Some(2), "{first:?}, then {second:?}");
    model.end();
}

/// The first node of a chunk: whoever finds its number finds the chunk.
#[test]
fn insert_into_a_new_chunk_against_get() {
    explore(|| {
        let model = Model::lasting();
        model.insert(1, 1);
        model.insert(3, 3);
        let reader = spawn(&model, |model| assert!(matches!(model.see(2), None | Some(2))));
        model.insert(2, 2);
        reader.join().unwrap();
        assert_eq!(model.see(2), Some(2));
        model.end();
    });
}

/// A node's place is used again after nobody looks at it any more.
#[test]
fn a_place_that_is_used_again_against_get() {
    explore(|| {
        let model = Model::lasting();
        model.insert(1, 1);
        let reader = spawn(&model, |model| (model.see(1).unwrap(), model.see(1).unwrap()));
        model.insert(1, 2);
        model.reap_after(TTL);
        model.insert(1, 3);
        let (first, second) = reader.join().unwrap();
        assert!(first <= second, "{first}, then {second}");
        model.end();
    });
}

/// The same where nodes need no destructor, so that their numbers are vacant under the lock.
#[test]
fn a_plain_place_that_is_used_again_against_get() {
    explore(|| {
        let clock = ManualClock::new();
        let cache: Cache<u64, u64, Fixed> = Cache::builder()
            .shards(1)
            .initial_capacity(4)
            .clock(clock.clone())
            .build_with_hasher(Fixed)
            .unwrap();
        // See `Model::build`.
        drop(cache.read_guard());
        cache.insert(1, 1);
        let reader = thread::spawn({
            let cache = cache.clone();
            move || (cache.get(&1).unwrap(), cache.get(&1).unwrap())
        });
        cache.insert(1, 2);
        clock.advance(TTL);
        cache.insert(1, 3);
        let (first, second) = reader.join().unwrap();
        assert!(first <= second, "{first}, then {second}");
        cache.validate();
    });
}

/// A chunk whose last entry is removed is given back, and made anew for another.
#[test]
fn a_chunk_that_is_given_back_against_get() {
    explore(|| {
        let model = Model::sparse();
        let reader = spawn(&model, |model| model.see(3));
        assert!(model.cache.invalidate(&3));
        model.reap_after(TTL);
        model.reap_after(TTL);
        model.insert(2, 2);
        model.insert(3, 4);
        assert!(matches!(reader.join().unwrap(), None | Some(3 | 4)));
        assert_eq!([1, 2, 3].map(|key| model.see(key)), [Some(1), Some(2), Some(4)]);
        model.end();
    });
}
