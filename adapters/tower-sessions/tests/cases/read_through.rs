//! The cache in front of a store that is slower, which is played by one that counts, fails, and stops where a test wants it to.

use super::core::session::{Id, Record};
use super::core::session_store::{Error, Result};
use super::core::{CachingSessionStore, SessionStore};
use super::records::{is_of, record};
use super::stores::{ReadThroughStore, TidewheelStore};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tidewheel::ManualClock;
use tokio::sync::{Mutex, Semaphore};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// More answers than any test needs.
const MANY: usize = 1_000;

async fn hold(answers: &Semaphore) {
    let all = answers.available_permits().try_into().unwrap();
    answers.acquire_many(all).await.unwrap().forget();
}

/// A database.
#[derive(Clone, Debug)]
struct Slow(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    rows: Mutex<std::collections::HashMap<Id, Record>>,
    loads: AtomicUsize,
    is_down: AtomicBool,
    /// Whether writes do their work, and fail then.
    loses_answers: AtomicBool,
    /// Each load takes one before it answers, and after it did its work.
    load_answers: Semaphore,
    /// As does every other call of these.
    answers: Semaphore,
}

impl Slow {
    fn new() -> Self {
        Self(Arc::new(Inside {
            rows: Mutex::default(),
            loads: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            loses_answers: AtomicBool::new(false),
            load_answers: Semaphore::new(MANY),
            answers: Semaphore::new(MANY),
        }))
    }

    /// From now on loads do their work, and answer when they are let to.
    async fn hold_loads(&self) {
        hold(&self.0.load_answers).await;
    }

    /// As do all other calls.
    async fn hold_all(&self) {
        self.hold_loads().await;
        hold(&self.0.answers).await;
    }

    fn let_answer(&self) {
        self.0.load_answers.add_permits(MANY);
        self.0.answers.add_permits(MANY);
    }

    async fn answer_write(&self) -> Result<()> {
        self.answer(&self.0.answers).await?;
        if self.0.loses_answers.load(Ordering::Relaxed) {
            return Err(Error::Backend("the connection is lost".into()));
        }
        Ok(())
    }

    async fn answer(&self, answers: &Semaphore) -> Result<()> {
        answers.acquire().await.unwrap().forget();
        if self.0.is_down.load(Ordering::Relaxed) {
            Err(Error::Backend("the database is down".into()))
        } else {
            Ok(())
        }
    }

    fn loads(&self) -> usize {
        self.0.loads.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl SessionStore for Slow {
    async fn create(&self, record: &mut Record) -> Result<()> {
        self.save(record).await
    }

    async fn save(&self, record: &Record) -> Result<()> {
        self.0.rows.lock().await.insert(record.id, record.clone());
        self.answer_write().await
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        self.0.loads.fetch_add(1, Ordering::Relaxed);
        let found = self.0.rows.lock().await.get(id).cloned();
        self.answer(&self.0.load_answers).await?;
        Ok(found)
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.0.rows.lock().await.remove(id);
        self.answer_write().await
    }
}

/// A session that is in the database and not cached.
async fn uncached(behind: &Slow) -> Record {
    let mut record = record("Ada", HOUR);
    behind.create(&mut record).await.unwrap();
    record
}

/// Waits until the database was asked for so many loads.
async fn until_loads(behind: &Slow, loads: usize) {
    while behind.loads() < loads {
        tokio::task::yield_now().await;
    }
}

/// What a load that begins before a delete, and that the database answers after it, leaves to be found.
async fn after_a_load_that_raced_a_delete<S: SessionStore + Clone>(store: S, behind: Slow) -> Option<Record> {
    let record = uncached(&behind).await;
    behind.hold_loads().await;
    let (id, loader, deleter) = (record.id, store.clone(), store.clone());
    let load = tokio::spawn(async move { loader.load(&id).await });
    until_loads(&behind, 1).await;
    let delete = tokio::spawn(async move { deleter.delete(&id).await });
    // Time for all of the delete, unless it waits for the load.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    behind.let_answer();
    load.await.unwrap().unwrap();
    delete.await.unwrap().unwrap();
    store.load(&id).await.unwrap()
}

#[tokio::test]
async fn a_load_that_races_a_delete_revives_nothing() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    assert_eq!(after_a_load_that_raced_a_delete(store, behind).await, None);
}

#[tokio::test]
async fn and_that_check_finds_what_a_cache_does_that_fills_by_saving() {
    #[derive(Clone, Debug)]
    struct Filled(Arc<CachingSessionStore<super::races::Upsert, Slow>>);
    #[async_trait]
    impl SessionStore for Filled {
        async fn save(&self, record: &Record) -> Result<()> {
            self.0.save(record).await
        }
        async fn load(&self, id: &Id) -> Result<Option<Record>> {
            self.0.load(id).await
        }
        async fn delete(&self, id: &Id) -> Result<()> {
            self.0.delete(id).await
        }
    }
    let behind = Slow::new();
    let store = Filled(Arc::new(CachingSessionStore::new(super::races::Upsert::default(), behind.clone())));
    assert!(after_a_load_that_raced_a_delete(store, behind).await.is_some());
}

#[tokio::test]
async fn a_session_is_loaded_once_for_all_who_want_it_and_served_from_memory_then() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    let record = uncached(&behind).await;
    behind.hold_all().await;
    let loads: Vec<_> = (0..8)
        .map(|_| {
            let (store, id) = (store.clone(), record.id);
            tokio::spawn(async move { store.load(&id).await })
        })
        .collect();
    until_loads(&behind, 1).await;
    behind.let_answer();
    for load in loads {
        assert_eq!(load.await.unwrap().unwrap().as_ref(), Some(&record));
    }
    assert_eq!(store.load(&record.id).await.unwrap(), Some(record));
    assert_eq!(behind.loads(), 1);
}

#[tokio::test]
async fn what_is_created_and_saved_is_served_without_asking() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    let mut record = record("Ada", HOUR);
    store.create(&mut record).await.unwrap();
    record.data.insert("visits".into(), 7.into());
    assert_eq!(store.load(&record.id).await.unwrap().map(|found| found.data.len()), Some(1));
    assert_eq!(behind.loads(), 0);
    // The save asks, since another process may have deleted it.
    store.save(&record).await.unwrap();
    assert_eq!(behind.loads(), 1);
    assert_eq!(store.load(&record.id).await.unwrap(), Some(record.clone()));
    assert_eq!(behind.loads(), 1);
    assert_eq!(behind.load(&record.id).await.unwrap(), Some(record));
}

#[tokio::test]
async fn a_save_of_what_is_gone_behind_is_accepted_counted_and_makes_no_row() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    let gone = record("Ada", HOUR);
    store.save(&gone).await.unwrap();
    assert_eq!((store.late_saves(), behind.load(&gone.id).await.unwrap()), (1, None));
    let mut deleted = record("Bob", HOUR);
    store.create(&mut deleted).await.unwrap();
    store.delete(&deleted.id).await.unwrap();
    store.save(&deleted).await.unwrap();
    assert_eq!((store.late_saves(), behind.load(&deleted.id).await.unwrap()), (2, None));
    assert_eq!(store.load(&deleted.id).await.unwrap(), None);
    // What is merely not cached is saved.
    let record = uncached(&behind).await;
    store.save(&record).await.unwrap();
    assert_eq!(store.late_saves(), 2);
}

#[tokio::test]
async fn a_call_that_fails_is_told_and_leaves_nothing_cached() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    let mut ada = record("Ada", HOUR);
    store.create(&mut ada).await.unwrap();
    behind.0.is_down.store(true, Ordering::Relaxed);
    // Cached, and so served all the same.
    assert!(store.load(&ada.id).await.unwrap().is_some());
    let mut eve = record("Eve", HOUR);
    assert!(store.create(&mut eve).await.is_err());
    let mut changed = ada.clone();
    changed.data.insert("user".into(), "Bob".into());
    assert_eq!(store.save(&changed).await.unwrap_err().to_string(), "the database is down");
    assert!(matches!(store.load(&ada.id).await, Err(Error::Backend(_))));
    behind.0.is_down.store(false, Ordering::Relaxed);
    assert!(is_of(&store.load(&ada.id).await.unwrap().unwrap(), "Ada"));
    behind.0.loses_answers.store(true, Ordering::Relaxed);
    assert_eq!(store.save(&changed).await.unwrap_err().to_string(), "the connection is lost");
    behind.0.is_down.store(true, Ordering::Relaxed);
    // Nobody knows what the database made of it: the next load asks.
    assert!(matches!(store.load(&ada.id).await, Err(Error::Backend(_))));
    behind.0.is_down.store(false, Ordering::Relaxed);
    behind.0.loses_answers.store(false, Ordering::Relaxed);
    assert!(is_of(&store.load(&ada.id).await.unwrap().unwrap(), "Bob"));
    behind.0.is_down.store(true, Ordering::Relaxed);
    assert!(store.delete(&ada.id).await.is_err());
    behind.0.is_down.store(false, Ordering::Relaxed);
    assert_eq!(store.load(&ada.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_call_that_is_cancelled_leaves_nothing_cached() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    let mut ada = record("Ada", HOUR);
    store.create(&mut ada).await.unwrap();
    // The save looks, and waits for the answer to its write.
    hold(&behind.0.answers).await;
    let mut changed = ada.clone();
    changed.data.insert("user".into(), "Bob".into());
    let soon = Duration::from_millis(20);
    assert!(tokio::time::timeout(soon, store.save(&changed)).await.is_err());
    behind.let_answer();
    assert!(is_of(&store.load(&ada.id).await.unwrap().unwrap(), "Bob"));
    behind.hold_all().await;
    assert!(tokio::time::timeout(soon, store.delete(&ada.id)).await.is_err());
    behind.let_answer();
    assert_eq!(store.load(&ada.id).await.unwrap(), None);
    // And one that only loads keeps nobody else waiting.
    let record = uncached(&behind).await;
    behind.hold_all().await;
    assert!(tokio::time::timeout(soon, store.load(&record.id)).await.is_err());
    behind.let_answer();
    assert!(store.load(&record.id).await.unwrap().is_some());
}

#[tokio::test]
async fn what_another_process_does_is_seen_when_the_time_is_over() {
    let clock = ManualClock::new();
    let behind = Slow::new();
    let store =
        ReadThroughStore::builder(behind.clone()).cached_for(MINUTE).clock(clock.clone()).build().unwrap();
    let mut record = record("Ada", HOUR);
    store.create(&mut record).await.unwrap();
    behind.delete(&record.id).await.unwrap();
    assert!(store.load(&record.id).await.unwrap().is_some());
    clock.advance(MINUTE);
    assert_eq!(store.load(&record.id).await.unwrap(), None);
}

/// A cache for a minute by a clock that stands still, and how long the database takes for an answer.
fn cached_for_a_minute(behind: &Slow) -> (ReadThroughStore<Slow>, ManualClock, Duration) {
    let clock = ManualClock::new();
    let store = ReadThroughStore::builder(behind.clone()).cached_for(MINUTE).clock(clock.clone());
    (store.build().unwrap(), clock, Duration::from_millis(50))
}

#[tokio::test]
async fn what_took_long_to_load_is_cached_no_longer_for_that() {
    let behind = Slow::new();
    let (store, clock, delay) = cached_for_a_minute(&behind);
    let ada = uncached(&behind).await;
    behind.hold_loads().await;
    let (loader, id) = (store.clone(), ada.id);
    let load = tokio::spawn(async move { loader.load(&id).await });
    until_loads(&behind, 1).await;
    // It has read the row, and another process deletes that before the answer is here.
    behind.0.rows.lock().await.remove(&ada.id);
    tokio::time::sleep(delay).await;
    behind.let_answer();
    load.await.unwrap().unwrap();
    assert!(store.load(&ada.id).await.unwrap().is_some());
    clock.advance(MINUTE - delay);
    assert_eq!(store.load(&ada.id).await.unwrap(), None);
}

#[tokio::test]
async fn what_took_long_to_create_or_save_is_cached_no_longer_for_that() {
    for is_new in [true, false] {
        let behind = Slow::new();
        let (store, clock, delay) = cached_for_a_minute(&behind);
        let mut ada = record("Ada", HOUR);
        if !is_new {
            store.create(&mut ada).await.unwrap();
        }
        behind.0.rows.lock().await.clear();
        hold(&behind.0.answers).await;
        if !is_new {
            behind.0.rows.lock().await.insert(ada.id, record("Bob", HOUR));
        }
        let writer = store.clone();
        let write = tokio::spawn(async move {
            let done = if is_new { writer.create(&mut ada).await } else { writer.save(&ada).await };
            done.map(|()| ada)
        });
        while !behind.0.rows.lock().await.values().any(|row| is_of(row, "Ada")) {
            tokio::task::yield_now().await;
        }
        // It is in the database, and another process deletes it before the answer is here.
        behind.0.rows.lock().await.clear();
        tokio::time::sleep(delay).await;
        behind.let_answer();
        let ada = write.await.unwrap().unwrap();
        assert!(store.load(&ada.id).await.unwrap().is_some(), "new: {is_new}");
        clock.advance(MINUTE - delay);
        assert_eq!(store.load(&ada.id).await.unwrap(), None, "new: {is_new}");
    }
}

#[tokio::test]
async fn a_save_here_revives_nothing_that_another_process_deleted() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    let mut ada = record("Ada", HOUR);
    store.create(&mut ada).await.unwrap();
    behind.delete(&ada.id).await.unwrap();
    // It is still cached.
    assert!(store.load(&ada.id).await.unwrap().is_some());
    store.save(&ada).await.unwrap();
    assert_eq!((store.late_saves(), behind.load(&ada.id).await.unwrap()), (1, None));
    assert_eq!(store.load(&ada.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_save_revives_nothing_that_the_store_behind_has_and_the_calendar_says_is_over() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    let mut over = record("Ada", Duration::ZERO);
    behind.create(&mut over).await.unwrap();
    let later = Record { expiry_date: over.expiry_date + HOUR, ..over.clone() };
    store.save(&later).await.unwrap();
    assert_eq!((store.late_saves(), store.load(&over.id).await.unwrap()), (1, None));
    assert_eq!(behind.load(&over.id).await.unwrap(), Some(over));
}

/// A save that is asked for and given up, while another one has the session's turn.
async fn give_a_save_up(store: &ReadThroughStore<Slow>, record: &Record) {
    let soon = Duration::from_millis(20);
    assert!(tokio::time::timeout(soon, store.save(record)).await.is_err());
}

#[tokio::test]
async fn a_late_save_that_others_come_between_is_counted_once() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    let gone = record("Ada", HOUR);
    behind.hold_loads().await;
    let (saver, saved) = (store.clone(), gone.clone());
    let save = tokio::spawn(async move { saver.save(&saved).await });
    until_loads(&behind, 1).await;
    give_a_save_up(&store, &gone).await;
    behind.let_answer();
    save.await.unwrap().unwrap();
    assert_eq!(store.late_saves(), 1);
}

#[tokio::test]
async fn a_save_that_was_made_is_not_late_whatever_comes_then() {
    let behind = Slow::new();
    let store = ReadThroughStore::new(behind.clone());
    let ada = uncached(&behind).await;
    hold(&behind.0.answers).await;
    let mut changed = ada.clone();
    changed.data.insert("user".into(), "Bob".into());
    let (saver, saved) = (store.clone(), changed.clone());
    let save = tokio::spawn(async move { saver.save(&saved).await });
    while behind.0.rows.lock().await[&ada.id] != changed {
        tokio::task::yield_now().await;
    }
    // It is in the database, which has not answered yet.
    give_a_save_up(&store, &changed).await;
    behind.0.rows.lock().await.remove(&ada.id);
    behind.let_answer();
    save.await.unwrap().unwrap();
    assert_eq!((store.late_saves(), store.load(&ada.id).await.unwrap()), (0, None));
    assert!(behind.0.rows.lock().await.is_empty());
}

#[tokio::test]
async fn the_calendar_ends_what_is_cached_and_the_store_behind_may_know_better() {
    let behind = Slow::new();
    // The clock stands still, as it does while the machine is suspended.
    let store = ReadThroughStore::builder(behind.clone()).clock(ManualClock::new()).build().unwrap();
    let short = Duration::from_millis(30);
    let [mut over, mut longer] = ["Ada", "Bob"].map(|user| record(user, short));
    store.create(&mut over).await.unwrap();
    store.create(&mut longer).await.unwrap();
    let extended = Record { expiry_date: longer.expiry_date + HOUR, ..longer.clone() };
    behind.save(&extended).await.unwrap();
    tokio::time::sleep(short * 2).await;
    assert_eq!(store.load(&over.id).await.unwrap(), None);
    assert_eq!(store.load(&longer.id).await.unwrap(), Some(extended));
}

#[tokio::test]
async fn what_does_not_fit_is_loaded_again() {
    let behind = TidewheelStore::new();
    let store = ReadThroughStore::builder(behind.clone()).max_capacity(100).build().unwrap();
    let mut ids = Vec::new();
    for _ in 0..1_000 {
        let mut record = record("Ada", HOUR);
        store.create(&mut record).await.unwrap();
        ids.push(record.id);
    }
    for id in &ids {
        assert!(store.load(id).await.unwrap().is_some());
    }
    assert_eq!(behind.len(), 1_000);
    assert!(format!("{store:?}").contains("cached: "), "{store:?}");
}

/// The store behind may be one that prints all that it has.
#[tokio::test]
async fn debug_shows_no_session() {
    let behind = Slow::new();
    let store = ReadThroughStore::builder(behind.clone()).name("logins").build().unwrap();
    let mut record = record("Ada", HOUR);
    store.create(&mut record).await.unwrap();
    let id = record.id.0.to_string();
    let behind_shown = format!("{behind:?}");
    assert!(behind_shown.contains(&id) && behind_shown.contains("Ada"), "{behind_shown}");
    for shown in [format!("{store:?}"), format!("{:?}", ReadThroughStore::builder(behind))] {
        assert!(!shown.contains(&id) && !shown.contains("Ada"), "{shown}");
    }
    assert!(format!("{store:?}").contains("logins"));
}
