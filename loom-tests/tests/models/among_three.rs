//! Models with three threads: a writer, the reaper, and a reader who watches them.

use crate::common::cache::{HALF, Model, spawn};
use crate::common::explore;

const KEY: u64 = 1;

/// What a reader sees of an entry that is updated and expires goes one way: old, new, gone.
#[test]
fn update_and_reap_and_get() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let updater = spawn(&model, |model| model.update(KEY));
        let reader = spawn(&model, |model| model.see_both([KEY, KEY]));
        model.reap_after(HALF);
        let updated = updater.join().unwrap();
        match reader.join().unwrap() {
            (None, second) => assert_eq!(second, None, "it came back"),
            (Some(first), Some(second)) => assert!(first <= second, "{first}, then {second}"),
            (Some(first), None) => assert!(first == 1 && !updated, "an update was undone"),
        }
        assert_eq!(model.see(KEY), updated.then_some(2));
        model.end();
    });
}

/// An insert over an entry that expires under it: the reaper takes the old one and leaves the new one, and
/// a reader who has seen the new one keeps seeing it.
#[test]
fn insert_and_reap_and_get() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        model.pass(HALF);
        let inserter = spawn(&model, |model| model.insert(KEY, 2));
        let reader = spawn(&model, |model| model.see_both([KEY, KEY]));
        model.reap_after(HALF);
        inserter.join().unwrap();
        let (first, second) = reader.join().unwrap();
        assert!(first != Some(2) || second == Some(2), "{first:?}, then {second:?}");
        assert_eq!(model.see(KEY), Some(2));
        model.end();
    });
}

/// A touch, a replacement and a clock that moves between them: whichever comes last, the entry lives a whole
/// time to live from the last of the two.
#[test]
fn touch_and_replace_and_time() {
    explore(|| {
        let model = Model::expiring();
        model.insert(KEY, 1);
        let toucher = spawn(&model, |model| {
            model.pass(HALF / 2);
            assert!(model.cache.touch(&KEY));
        });
        let clock = spawn(&model, |model| model.pass(HALF / 2));
        assert!(model.replace(KEY, 2));
        toucher.join().unwrap();
        clock.join().unwrap();
        // The touch came when at least a quarter had passed, and half has passed now.
        assert!(model.cache.remaining_ttl(&KEY) >= Some(HALF + HALF / 2));
        model.end();
    });
}
