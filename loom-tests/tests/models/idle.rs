//! Models of reads that restart a time to idle, against the reaper and against writers.

use crate::common::cache::{HALF, Model, TTL, spawn};
use crate::common::explore;

const KEY: u64 = 1;

/// A read that found the entry keeps it, whatever the reaper was about to do; where the reaper came first, the
/// read says so, and nothing comes back.
#[test]
fn read_against_reap() {
    explore(|| {
        let model = Model::idling();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| model.see(KEY).is_some());
        model.reap_after(HALF);
        let found = reader.join().unwrap();
        assert_eq!(model.cache.contains_key(&KEY), found);
        assert_eq!(model.cache.entry_count(), usize::from(found));
        model.end();
    });
}

/// The same where there is a time to live too, so that the read takes the lock.
#[test]
fn bounded_read_against_reap() {
    explore(|| {
        let model = Model::bounded();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| model.see(KEY).is_some());
        model.reap_after(HALF);
        let found = reader.join().unwrap();
        assert_eq!(model.cache.contains_key(&KEY), found);
        assert_eq!(model.cache.entry_count(), usize::from(found));
        model.end();
    });
}

/// The same with nobody sweeping: the time runs out while the read waits for the lock.
#[test]
fn bounded_read_against_time() {
    explore(|| {
        let model = Model::bounded();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| model.see(KEY).is_some());
        model.pass(HALF);
        let found = reader.join().unwrap();
        assert_eq!(model.cache.contains_key(&KEY), found);
        model.end();
    });
}

/// A read that found the entry, old or new, while a replacement was under way is not lost to it, although
/// time passes between the replacement's clock reading and its publication.
#[test]
fn read_against_replace() {
    explore(|| {
        let model = Model::idling();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| {
            model.pass(HALF / 2);
            model.see(KEY)
        });
        assert!(model.replace(KEY, 2));
        assert!(matches!(reader.join().unwrap(), Some(1 | 2)));
        assert!(model.cache.remaining_ttl(&KEY) >= Some(TTL));
        model.end();
    });
}

/// The same with an insert over the entry.
#[test]
fn read_against_insert() {
    explore(|| {
        let model = Model::idling();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| {
            model.pass(HALF / 2);
            model.see(KEY)
        });
        model.insert(KEY, 2);
        assert!(matches!(reader.join().unwrap(), Some(1 | 2)));
        assert!(model.cache.remaining_ttl(&KEY) >= Some(TTL));
        model.end();
    });
}

/// A read does not move the deadline beyond the time to live that the entry gets meanwhile, as the first
/// one in its cache.
#[test]
fn read_against_set_ttl() {
    explore(|| {
        let model = Model::idling();
        model.insert(KEY, 1);
        let reader = spawn(&model, |model| model.see(KEY));
        assert!(model.cache.set_ttl(&KEY, HALF));
        assert_eq!(reader.join().unwrap(), Some(1));
        assert_eq!(model.cache.remaining_ttl(&KEY), Some(HALF));
        model.end();
    });
}

/// The same where the time to live happens to give the deadline that was there before, so that a comparison
/// cannot tell.
#[test]
fn read_against_set_ttl_to_the_same_deadline() {
    explore(|| {
        let model = Model::idling();
        model.insert(KEY, 1);
        model.pass(HALF);
        let reader = spawn(&model, |model| model.see(KEY));
        assert!(model.cache.set_ttl(&KEY, HALF));
        assert_eq!(reader.join().unwrap(), Some(1));
        let left = model.cache.remaining_ttl(&KEY).unwrap();
        assert!(left - HALF <= std::time::Duration::from_nanos(1), "{left:?}");
        model.end();
    });
}
