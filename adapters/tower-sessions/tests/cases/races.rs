//! A log-out against requests in flight, in the ways that requests of tower-sessions take. Each check runs on a store that is known to
//! revive as well, and is seen to find it.

use super::ROUNDS;
use super::core::session::{Id, Record};
use super::core::session_store::Result;
use super::core::{Session, SessionStore};
use super::records::record;
use super::stores::{ReadThroughStore, TidewheelStore};
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// As tower-sessions' own memory store and the stores on databases: a save makes what is not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upsert(Arc<Mutex<HashMap<Id, Record>>>);

#[async_trait]
impl SessionStore for Upsert {
    async fn create(&self, record: &mut Record) -> Result<()> {
        self.save(record).await
    }

    async fn save(&self, record: &Record) -> Result<()> {
        // What a request to a database is, as far as others are concerned: time that passes.
        tokio::task::yield_now().await;
        self.0.lock().unwrap().insert(record.id, record.clone());
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        tokio::task::yield_now().await;
        let found = self.0.lock().unwrap().get(id).cloned();
        tokio::task::yield_now().await;
        Ok(found)
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        tokio::task::yield_now().await;
        self.0.lock().unwrap().remove(id);
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// How many of so many sessions are there after their log-out, which a request that writes raced.
async fn revived<S: SessionStore>(store: S, rounds: u32) -> u32 {
    let store = Arc::new(store);
    let mut revived = 0;
    for round in 0..rounds {
        let mut record = record("Ada", HOUR);
        store.create(&mut record).await.unwrap();
        let request = Session::new(Some(record.id), Arc::clone(&store), None);
        let writes = tokio::spawn(async move {
            request.insert("visits", round).await.unwrap();
            // It has found its session, or not: then it would open a new one, with nobody logged in.
            if request.id().is_some() {
                request.save().await.unwrap();
            }
        });
        let request = Session::new(Some(record.id), Arc::clone(&store), None);
        let logs_out = tokio::spawn(async move { request.flush().await.unwrap() });
        writes.await.unwrap();
        logs_out.await.unwrap();
        revived += u32::from(store.load(&record.id).await.unwrap().is_some());
    }
    revived
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_out_is_never_undone_by_a_request_in_flight() {
    assert_eq!(revived(TidewheelStore::new(), ROUNDS).await, 0);
    assert!(revived(Upsert::default(), ROUNDS).await > 0, "the check finds nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_one_in_the_store_behind() {
    let behind = Upsert::default();
    assert_eq!(revived(ReadThroughStore::new(behind.clone()), ROUNDS).await, 0);
    assert!(behind.0.lock().unwrap().is_empty());
    // Where nothing stays cached, and what is gone is told from what was never cached by the store behind alone.
    let forgetful = ReadThroughStore::builder(behind.clone()).cached_for(Duration::ZERO).build().unwrap();
    assert_eq!(revived(forgetful, ROUNDS / 5).await, 0);
    assert!(behind.0.lock().unwrap().is_empty());
}

/// What stands under an id after a request logged out and opened another session, and after another one, which had loaded the old session,
/// saved it: as the store has it, and as the two requests know it.
async fn after_a_log_out_that_goes_on<S: SessionStore + Clone>(
    store: &S,
    looks_first: bool,
) -> Option<Record> {
    let mut ada = record("Ada", HOUR);
    store.create(&mut ada).await.unwrap();
    let request = || Session::new(Some(ada.id), Arc::new(store.clone()), None);
    let (late, logs_out) = (request(), request());
    late.insert("visits", 1).await.unwrap();
    if looks_first {
        assert_eq!(logs_out.get::<String>("user").await.unwrap().as_deref(), Some("Ada"));
    }
    logs_out.flush().await.unwrap();
    logs_out.insert("flash", "See you").await.unwrap();
    logs_out.save().await.unwrap();
    let opened = logs_out.id().unwrap();
    assert_ne!(opened, ada.id, "the session that was opened has the id of the one that was ended");
    late.save().await.unwrap();
    let found = store.load(&opened).await.unwrap().unwrap();
    assert_eq!((found.id, found.data.len(), &found.data["flash"]), (opened, 1, &"See you".into()));
    store.load(&ada.id).await.unwrap()
}

#[tokio::test]
async fn a_request_that_logs_out_and_goes_on_leaves_nobody_the_id_that_it_had() {
    for looks_first in [true, false] {
        let store = TidewheelStore::new();
        assert_eq!(after_a_log_out_that_goes_on(&store, looks_first).await, None);
        assert_eq!(store.late_saves(), 1);
        let store = ReadThroughStore::new(Upsert::default());
        assert_eq!(after_a_log_out_that_goes_on(&store, looks_first).await, None);
        assert_eq!(store.late_saves(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ending_all_of_a_user_leaves_none_of_his_requests_in_flight_a_session() {
    let store = Arc::new(TidewheelStore::new());
    for round in 0..1_000 {
        let mut ids = Vec::new();
        for _ in 0..4 {
            let mut record = record("Ada", HOUR);
            store.create(&mut record).await.unwrap();
            ids.push(record.id);
        }
        let requests: Vec<_> = ids
            .iter()
            .map(|id| {
                let request = Session::new(Some(*id), Arc::clone(&store), None);
                tokio::spawn(async move {
                    request.insert("visits", round).await.unwrap();
                    if request.id().is_some() {
                        request.save().await.unwrap();
                    }
                })
            })
            .collect();
        store.end_where(|record| record.data.get("user").is_some_and(|user| user == "Ada"));
        for request in requests {
            request.await.unwrap();
        }
        for id in ids {
            assert_eq!(store.load(&id).await.unwrap(), None, "round {round}");
        }
    }
    assert!(store.is_empty());
}
