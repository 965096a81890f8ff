//! Models of writers that do the reaper's work where that is late: against the reaper, readers and touches.

use crate::common::cache::{Model, TTL, Told, Value, spawn};
use crate::common::explore;
use std::time::Duration;
use tidewheel::RemovalCause;

const KEY: u64 = 1;
const OTHER: u64 = 2;
/// Entries that end at a second are due then, and half a second later overdue.
const OVERDUE: Duration = Duration::from_millis(1600);
const BEFORE_THE_END: Duration = Duration::from_millis(900);

fn model() -> Model {
    Model::build(|builder| builder.time_to_live(TTL).initial_capacity(4).helped_by_writers())
}

/// What is told, and whether it was as expired.
fn listened() -> (Model, Told) {
    let told = Told::default();
    let teller = told.clone();
    let model = Model::build(|builder| {
        let builder = builder.time_to_live(TTL).initial_capacity(4).helped_by_writers();
        builder.eviction_listener(move |&key, value: &Value, cause| {
            assert_eq!((key, value.number(), cause), (KEY, 1, RemovalCause::Expired));
            teller.note();
        })
    });
    (model, told)
}

/// A writer and the reaper come for the same entry: one of them takes it out and tells of it, once, and it is dropped once.
#[test]
fn help_against_the_reaper() {
    explore(|| {
        let (model, told) = listened();
        model.insert(KEY, 1);
        model.pass(OVERDUE);
        let writer = spawn(&model, |model| model.insert(OTHER, 1));
        model.cache.run_pending_tasks();
        writer.join().unwrap();
        assert_eq!(told.count(), 1);
        assert_eq!(model.cache.entry_count(), 1);
        assert_eq!(model.see(OTHER), Some(1));
        model.end();
    });
}

/// Two writers, none of whom the other waits for.
#[test]
fn help_against_help() {
    explore(|| {
        let (model, told) = listened();
        model.insert(KEY, 1);
        model.pass(OVERDUE);
        let writer = spawn(&model, |model| model.insert(OTHER, 1));
        model.insert(OTHER + 1, 1);
        writer.join().unwrap();
        assert_eq!((told.count(), model.cache.entry_count()), (1, 2));
        model.end();
    });
}

/// What a reader has found before it ended stays while it is looked at, though a writer takes it out.
#[test]
fn help_under_a_reader() {
    explore(|| {
        let model = model();
        model.insert(KEY, 1);
        let reader = spawn(&model, |model| {
            let guard = model.cache.read_guard();
            guard.get(&KEY).map(|value| (value.number(), value.number()))
        });
        model.pass(OVERDUE);
        model.insert(OTHER, 1);
        model.insert(OTHER, 2);
        model.cache.run_pending_tasks();
        assert!(matches!(reader.join().unwrap(), None | Some((1, 1))));
        assert_eq!(model.see(KEY), None);
        model.end();
    });
}

/// A touch that succeeds keeps the entry, whatever the writer was about to do; one that fails finds it gone.
#[test]
fn help_against_a_touch() {
    explore(|| {
        let model = model();
        model.insert(KEY, 1);
        model.pass(BEFORE_THE_END);
        let toucher = spawn(&model, |model| model.cache.touch(&KEY));
        model.pass(OVERDUE - BEFORE_THE_END);
        model.insert(OTHER, 1);
        let touched = toucher.join().unwrap();
        assert_eq!(model.see(KEY).is_some(), touched);
        assert_eq!(model.cache.entry_count(), 1 + usize::from(touched));
        model.end();
    });
}
