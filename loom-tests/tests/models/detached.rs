//! Models of loads that go on without the calls that began them, on executors that lose them.
//!
//! As in `loading.rs`, every call returns.

use crate::common::explore;
use crate::common::loads::{Loads, Task, spawn};
use std::sync::{Arc, Mutex};

const KEY: u64 = 1;
/// What somebody inserts before the load is lost. So the call has a value to return, whenever it
/// hears of that.
const INSERTED: u64 = 7;

/// A task is lost on another thread: before its call listens, or while it waits.
#[test]
fn a_task_that_is_lost_against_its_call() {
    explore(|| {
        let model = Loads::lasting();
        let loser = Arc::new(Mutex::new(None));
        let (asking, started) = (model.clone(), Arc::clone(&loser));
        let call = Task::new(async move {
            let executor = |task| {
                *started.lock().unwrap() = Some(spawn(&asking, move |model| {
                    model.cache.insert(KEY, INSERTED);
                    drop(task);
                    model.get_with(KEY)
                }));
            };
            asking.cache.get_with_detached_async(KEY, std::future::pending(), executor).await
        });
        assert_eq!(call.finish(), INSERTED);
        let loser = loser.lock().unwrap().take().expect("the executor was called");
        assert_eq!(loser.join().unwrap(), INSERTED);
        model.end();
    });
}
