//! Models of loads: who leads, who waits, and what comes between.
//!
//! In each, a loader notices if another one runs for its key (`Loads::load`), every call returns (else loom finds that
//! all threads are asleep), and at the end there is no flight left and the ledger agrees (`Loads::end`).
//! A panic is the end of a model, so a loader that panics is played by one that is cancelled: the turn is dropped either way.

use crate::common::cache::{HALF, TTL};
use crate::common::explore;
use crate::common::loads::{Loads, spawn};
use std::time::Duration;
use tidewheel::Equivalent;
use tidewheel::RemovalCause::{Expired, Explicit, Size};

const KEY: u64 = 1;

/// Of two who ask at once one loads, and both get what it made.
#[test]
fn a_leader_against_a_waiter() {
    explore(|| {
        let model = Loads::lasting();
        let other = spawn(&model, |model| model.get_with(KEY));
        assert_eq!(model.get_with(KEY), 1);
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// The same where one waits as a thread and the other as a future.
#[test]
fn a_thread_against_a_future() {
    explore(|| {
        let model = Loads::lasting();
        let other = spawn(&model, |model| model.get_with(KEY));
        assert_eq!(model.call(KEY).finish(), 1);
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// Of three who ask at once one loads.
#[test]
fn three_callers() {
    explore(|| {
        let model = Loads::lasting();
        let others = [spawn(&model, |model| model.get_with(KEY)), spawn(&model, |model| model.get_with(KEY))];
        assert_eq!(model.get_with(KEY), 1);
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), 1));
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// The leader is cancelled while a thread comes to wait for it: that one loads.
#[test]
fn a_leader_is_cancelled_against_a_waiter() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let waiter = spawn(&model, |model| model.get_with(KEY));
        drop(leader);
        assert_eq!(waiter.join().unwrap(), 1);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// The same with two who wait: one of them loads, and the other one gets it.
#[test]
fn a_leader_is_cancelled_against_two_waiters() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let waiters =
            [spawn(&model, |model| model.get_with(KEY)), spawn(&model, |model| model.get_with(KEY))];
        drop(leader);
        waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), 1));
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// One who waits is cancelled just as it is given the turn: the one behind it has it then.
#[test]
fn a_waiter_is_cancelled_with_the_turn() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let next = model.call(KEY).must_wait();
        let last = model.call(KEY).must_wait();
        let canceller = spawn(&model, move |_| drop(next));
        drop(leader);
        canceller.join().unwrap();
        assert_eq!(last.finish_at_once(), 1);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// One who waits is cancelled just as it is told a value: nobody minds.
#[test]
fn a_waiter_is_cancelled_against_the_end() {
    explore(|| {
        let model = Loads::lasting();
        let leader = spawn(&model, |model| model.get_with(KEY));
        let mut waiter = model.call(KEY);
        let at_once = waiter.poll();
        drop(waiter);
        assert!(at_once.is_none_or(|value| value == 1));
        assert_eq!(leader.join().unwrap(), 1);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// One who waits is out of time just as the leader gives up: it loads, or it says that it is out of time, and then
/// the one behind it loads.
#[test]
fn out_of_time_against_the_turn() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let waiter = spawn(&model, |model| model.get_at_once(KEY));
        let mut last = model.call(KEY).must_wait();
        drop(leader);
        let loaded = waiter.join().unwrap();
        assert!(matches!(loaded, None | Some(1)), "{loaded:?}");
        assert_eq!(last.poll(), Some(1), "it has the turn, or was told");
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// One who waits is out of time just as the leader is done: it is told, or says that it is out of time.
#[test]
fn out_of_time_against_the_end() {
    explore(|| {
        let model = Loads::lasting();
        let leader = spawn(&model, |model| model.get_with(KEY));
        let loaded = model.get_at_once(KEY);
        assert!(matches!(loaded, None | Some(1)), "{loaded:?}");
        assert_eq!(leader.join().unwrap(), 1);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// An error goes to who waited for it and could have had it; another one loads.
#[test]
fn an_error_against_two_waiters() {
    explore(|| {
        let model = Loads::lasting();
        let fail = |model: &Loads| {
            let asked = model.ask(KEY);
            let failed = model.cache.try_get_with(KEY, || {
                model.load(KEY, asked);
                Err("no")
            });
            failed.map_err(|error| *error)
        };
        let failing = spawn(&model, fail);
        let other = spawn(&model, |model| model.get_with(KEY));
        let mine = fail(&model);
        let theirs = failing.join().unwrap();
        assert_eq!(other.join().unwrap(), 1);
        assert!([mine, theirs].iter().all(|failed| matches!(failed, Err("no") | Ok(1))));
        assert_eq!(model.see(KEY), Some(1));
        model.end();
    });
}

/// What is removed while it is loaded stays so, and whoever asks after the removal gets nothing older.
fn removal(remove: impl Fn(&Loads) + Send + Sync + 'static) {
    explore(move || {
        let model = Loads::lasting();
        let loader = spawn(&model, |model| model.get_with(KEY));
        model.set_source(2);
        model.invalidate(KEY, |_| remove(&model));
        assert_eq!(model.get_with(KEY), 2, "older than the removal");
        assert!(matches!(loader.join().unwrap(), 1 | 2));
        assert_eq!(model.see(KEY), Some(2), "older than the removal");
        assert!(matches!(model.told()[..], [] | [(KEY, 1 | 2, Explicit)]));
        model.end();
    });
}

#[test]
fn invalidate_against_a_load() {
    removal(|model| {
        model.cache.invalidate(&KEY);
    });
}

#[test]
fn remove_against_a_load() {
    removal(|model| {
        model.cache.remove(&KEY);
    });
}

/// A key of another type: then what is there is looked at before the lock is taken.
#[derive(Hash)]
struct Alike(u64);

impl Equivalent<u64> for Alike {
    fn equivalent(&self, key: &u64) -> bool {
        self.0 == *key
    }
}

#[test]
fn remove_by_another_type_of_key_against_a_load() {
    removal(|model| {
        model.cache.remove(&Alike(KEY));
    });
}

#[test]
fn invalidate_all_against_a_load() {
    removal(|model| model.cache.invalidate_all());
}

/// Removed while it is loaded, and somebody waits for the load already: he may be told what it makes, which is not
/// stored. Who asks after the removal is not.
#[test]
fn a_removal_between_two_waiters() {
    explore(|| {
        let model = Loads::lasting();
        let early = [spawn(&model, |model| model.get_with(KEY)), spawn(&model, |model| model.get_with(KEY))];
        model.set_source(2);
        model.invalidate(KEY, |cache| cache.invalidate(&KEY));
        assert_eq!(model.get_with(KEY), 2, "older than the removal");
        early.into_iter().for_each(|call| assert!(matches!(call.join().unwrap(), 1 | 2)));
        assert_eq!(model.see(KEY), Some(2), "older than the removal");
        model.end();
    });
}

/// A loader that hangs, one who waits for it, and a removal: who asks after that loads at once, and shares what it loads with him who
/// has the turn, or waits, when the loader goes.
#[test]
fn a_removal_against_the_end_of_a_loader_that_hangs() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let before = model.call(KEY).must_wait();
        let after = spawn(&model, |model| {
            model.invalidate(KEY, |cache| cache.invalidate(&KEY));
            model.get_with(KEY)
        });
        drop(leader);
        assert_eq!((before.finish(), after.join().unwrap()), (1, 1));
        assert!(matches!(model.runs(), 1 | 2));
        assert_eq!(model.see(KEY), Some(1));
        model.end();
    });
}

/// The turn is on its way to one who waits, after a removal: who asks then waits for him.
#[test]
fn the_turn_on_its_way_against_a_late_call() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let waiter = model.call(KEY).must_wait();
        model.invalidate(KEY, |cache| cache.invalidate(&KEY));
        drop(leader);
        let late = spawn(&model, |model| model.get_with(KEY));
        assert_eq!(waiter.finish_at_once(), 1);
        assert_eq!((late.join().unwrap(), model.runs(), model.see(KEY)), (1, 1, Some(1)));
        model.end();
    });
}

/// One who waited has the turn, and looks at a value while that goes: who asks once it is gone, is not told of it.
fn look(model: impl Fn() -> Loads + Send + Sync + 'static, go: impl Fn(&Loads) + Send + Sync + 'static) {
    explore(move || {
        let model = model();
        let leader = model.endless_call(KEY).must_wait();
        let waiter = model.call(KEY).must_wait();
        model.invalidate(KEY, |cache| cache.insert(KEY, 5));
        drop(leader);
        let looking = spawn(&model, move |_| waiter.finish_at_once());
        go(&model);
        assert_ne!(model.see(KEY), Some(5));
        assert_eq!(model.get_with(KEY), 1, "it was gone");
        assert!(matches!(looking.join().unwrap(), 1 | 5));
        model.cache.validate();
    });
}

#[test]
fn a_look_against_the_deadline() {
    look(Loads::expiring, |model| model.clock.advance_without_sweeping(TTL));
}

#[test]
fn a_look_against_eviction() {
    look(|| Loads::build(|builder| builder.max_capacity(1)), |model| model.cache.insert(2, 7));
}

#[test]
fn a_look_against_another_time_to_live() {
    look(Loads::lasting, |model| assert!(model.cache.set_ttl(&KEY, Duration::ZERO)));
}

/// The same where another value is put in its place: those who ask after that are told none that is older.
#[test]
fn a_look_against_what_is_put_in_its_place() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let waiter = model.call(KEY).must_wait();
        model.invalidate(KEY, |cache| cache.insert(KEY, 5));
        drop(leader);
        let looking = spawn(&model, move |_| waiter.finish_at_once());
        assert!(model.cache.set_ttl(&KEY, Duration::ZERO));
        let mut late = model.call(KEY);
        let at_once = late.poll();
        model.invalidate(KEY, |cache| cache.insert(KEY, 6));
        assert!(matches!(looking.join().unwrap(), 1 | 5 | 6));
        let late = at_once.unwrap_or_else(|| late.finish());
        assert!(matches!(late, 1 | 6), "it was told {late}");
        assert_eq!(model.see(KEY), Some(6));
        model.end();
    });
}

/// What is inserted while it is loaded stays.
#[test]
fn insert_against_a_load() {
    explore(|| {
        let model = Loads::lasting();
        let loader = spawn(&model, |model| model.get_with(KEY));
        model.invalidate(KEY, |cache| cache.insert(KEY, 5));
        assert_eq!(model.get_with(KEY), 5);
        assert!(matches!(loader.join().unwrap(), 1 | 5));
        assert_eq!(model.see(KEY), Some(5));
        model.end();
    });
}

/// The same with an insert of what is absent: one of the two values is stored, and it is the insert's if that said so.
#[test]
fn try_insert_against_a_load() {
    explore(|| {
        let model = Loads::lasting();
        let loader = spawn(&model, |model| model.get_with(KEY));
        let inserted = model.invalidate(KEY, |cache| cache.try_insert(KEY, 5)).is_ok();
        assert!(matches!(loader.join().unwrap(), 1 | 5));
        assert_eq!(model.see(KEY), Some(if inserted { 5 } else { 1 }));
        assert_eq!(model.told(), []);
        model.end();
    });
}

/// Who comes to have the turn after an insert finds what was inserted.
#[test]
fn insert_before_the_turn() {
    explore(|| {
        let model = Loads::lasting();
        let leader = model.endless_call(KEY).must_wait();
        let waiter = spawn(&model, |model| model.get_with(KEY));
        model.invalidate(KEY, |cache| cache.insert(KEY, 5));
        drop(leader);
        assert_eq!(waiter.join().unwrap(), 5);
        assert_eq!((model.runs(), model.see(KEY)), (0, Some(5)));
        model.end();
    });
}

/// Who comes to have the turn after an insert that is over by then puts its value in the place of that one.
#[test]
fn insert_that_is_over_before_the_turn() {
    explore(|| {
        let model = Loads::expiring();
        let leader = model.endless_call(KEY).must_wait();
        let waiter = spawn(&model, |model| model.get_with(KEY));
        model.invalidate(KEY, |cache| cache.insert(KEY, 5));
        model.clock.advance_without_sweeping(TTL);
        drop(leader);
        // 5, if it came while that was alive.
        let value = waiter.join().unwrap();
        assert_eq!(value, if model.runs() == 1 { 1 } else { 5 });
        assert_eq!(model.see(KEY), (value == 1).then_some(1));
        model.cache.validate();
        model.clock.advance(TTL);
        assert_eq!(model.told().iter().filter(|told| **told == (KEY, 5, Expired)).count(), 1);
        model.end();
    });
}

/// An entry that is over is loaded anew while the reaper comes for it: it goes once, and is told of once.
#[test]
fn a_load_over_what_has_expired_against_reap() {
    explore(|| {
        let model = Loads::expiring();
        model.cache.insert(KEY, 9);
        model.clock.advance_without_sweeping(HALF);
        let loader = spawn(&model, |model| {
            model.clock.advance_without_sweeping(HALF);
            model.get_with(KEY)
        });
        model.clock.advance(HALF);
        assert_eq!(loader.join().unwrap(), 1);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        // The clock has moved for a time to live and a half at most since.
        model.clock.advance(4 * TTL);
        assert_eq!(model.told(), [(KEY, 1, Expired), (KEY, 9, Expired)]);
        model.end();
    });
}

/// Two who load what has expired: one of them does.
#[test]
fn two_loads_over_what_has_expired() {
    explore(|| {
        let model = Loads::expiring();
        model.cache.insert(KEY, 9);
        model.clock.advance_without_sweeping(TTL);
        let loader = spawn(&model, |model| model.get_with(KEY));
        assert_eq!(model.get_with(KEY), 1);
        assert_eq!(loader.join().unwrap(), 1);
        assert_eq!((model.runs(), model.see(KEY)), (1, Some(1)));
        model.end();
    });
}

/// What is loaded is over at once: everybody gets it, and nobody waits for ever.
#[test]
fn a_load_of_what_expires_at_once() {
    explore(|| {
        let model = Loads::build(|builder| builder.time_to_live(Duration::ZERO));
        let loader = spawn(&model, |model| model.get_with(KEY));
        assert_eq!(model.get_with(KEY), 1);
        assert_eq!(loader.join().unwrap(), 1);
        assert!(matches!(model.runs(), 1 | 2));
        assert_eq!(model.see(KEY), None);
        model.clock.advance(TTL);
        assert_eq!(model.told().len() as u64, model.runs());
        model.end();
    });
}

/// What is loaded makes room, and is made to make room: there is never more than that, and each is told of.
#[test]
fn a_load_against_eviction() {
    explore(|| {
        let model = Loads::build(|builder| builder.max_capacity(1));
        let loader = spawn(&model, |model| {
            let value = model.get_with(KEY);
            assert!(model.cache.weighted_size() <= 1);
            value
        });
        assert_eq!(model.get_with(2), 1);
        assert!(model.cache.weighted_size() <= 1);
        assert_eq!(loader.join().unwrap(), 1);
        let seen = [KEY, 2].map(|key| model.see(key).is_some());
        assert!(seen[0] != seen[1], "{seen:?}");
        assert_eq!(model.told(), [(if seen[0] { 2 } else { KEY }, 1, Size)]);
        model.end();
    });
}
