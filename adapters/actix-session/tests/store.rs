//! What the store promises, case by case, and what it answers to bad input; with actix-session's middleware where that has a part in it.

use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, Key};
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, test, web};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tidewheel::ManualClock;
use tidewheel_actix_session::TidewheelStore;

const HOUR: Duration = Duration::hours(1);

fn state(user: &str) -> HashMap<String, String> {
    [("user".to_owned(), format!("{user:?}"))].into_iter().collect()
}

fn key(text: impl Into<String>) -> SessionKey {
    text.into().try_into().unwrap()
}

/// The same key again: keys cannot be cloned.
fn same(of: &SessionKey) -> SessionKey {
    key(of.as_ref())
}

#[actix_web::test]
async fn what_is_saved_is_loaded_updated_and_deleted() {
    let store = TidewheelStore::new();
    let id = store.save(state("Ada"), &HOUR).await.unwrap();
    assert_eq!(store.load(&id).await.unwrap(), Some(state("Ada")));
    assert_eq!(store.update(same(&id), state("Bob"), &HOUR).await.unwrap(), id);
    assert_eq!(store.load(&id).await.unwrap(), Some(state("Bob")));
    store.update_ttl(&id, &HOUR).await.unwrap();
    store.delete(&id).await.unwrap();
    assert_eq!(store.load(&id).await.unwrap(), None);
    store.delete(&id).await.unwrap();
    assert_eq!(store.late_updates(), 0);
}

#[actix_web::test]
async fn an_update_after_the_end_is_accepted_counted_and_makes_nothing() {
    let clock = ManualClock::new();
    let store = TidewheelStore::builder().clock(clock.clone()).build().unwrap();
    let deleted = store.save(state("Ada"), &HOUR).await.unwrap();
    let expired = store.save(state("Bob"), &HOUR).await.unwrap();
    store.delete(&deleted).await.unwrap();
    clock.advance_without_sweeping(HOUR.unsigned_abs());
    for id in [deleted, expired, key("A".repeat(22)), key("no id")] {
        let answered = store.update(same(&id), state("Eve"), &HOUR).await.unwrap();
        assert_eq!(answered, id);
        store.update_ttl(&id, &HOUR).await.unwrap();
        assert_eq!(store.load(&id).await.unwrap(), None);
    }
    assert_eq!(store.late_updates(), 8);
    store.run_pending_tasks();
    assert!(store.is_empty());
}

#[actix_web::test]
async fn times_to_live_are_kept_moved_and_may_be_nothing() {
    let clock = ManualClock::new();
    let store = TidewheelStore::builder().clock(clock.clone()).build().unwrap();
    let minute = Duration::minutes(1);
    let id = store.save(state("Ada"), &minute).await.unwrap();
    for _ in 0..2 {
        clock.advance(minute.unsigned_abs() / 2);
        store.update_ttl(&id, &minute).await.unwrap();
        clock.advance(minute.unsigned_abs() / 2);
        store.update(same(&id), state("Ada"), &minute).await.unwrap();
    }
    clock.advance(minute.unsigned_abs() - std::time::Duration::from_millis(1));
    assert!(store.load(&id).await.unwrap().is_some());
    clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(store.load(&id).await.unwrap(), None);
    for nothing in [Duration::ZERO, Duration::seconds(-1), Duration::MIN] {
        let id = store.save(state("Ada"), &nothing).await.unwrap();
        assert_eq!(store.load(&id).await.unwrap(), None);
        let id = store.save(state("Ada"), &minute).await.unwrap();
        store.update_ttl(&id, &nothing).await.unwrap();
        assert_eq!(store.load(&id).await.unwrap(), None);
    }
    let id = store.save(state("Ada"), &Duration::MAX).await.unwrap();
    clock.advance(Duration::weeks(5_000).unsigned_abs());
    assert!(store.load(&id).await.unwrap().is_some());
}

#[actix_web::test]
async fn a_session_ends_on_time_by_the_systems_clock() {
    let store = TidewheelStore::new();
    let ttl = std::time::Duration::from_millis(200);
    let began = Instant::now();
    let id = store.save(state("Ada"), &Duration::milliseconds(200)).await.unwrap();
    let saved = Instant::now();
    let mut seen = began;
    loop {
        let asked = Instant::now();
        if store.load(&id).await.unwrap().is_none() {
            break;
        }
        seen = asked;
    }
    assert!(began.elapsed() >= ttl, "gone {:?} after it began", began.elapsed());
    let late = seen.saturating_duration_since(saved + ttl);
    assert!(late < std::time::Duration::from_millis(10), "found {late:?} late");
}

#[actix_web::test]
async fn a_full_store_refuses_and_ends_nobody() {
    let clock = ManualClock::new();
    let store = TidewheelStore::builder().max_sessions(2).clock(clock.clone()).build().unwrap();
    let ids =
        [store.save(state("Ada"), &HOUR).await.unwrap(), store.save(state("Bob"), &HOUR).await.unwrap()];
    for _ in 0..100 {
        let error = store.save(state("Mallory"), &HOUR).await.unwrap_err();
        let SaveError::Other(error) = error else { panic!("{error:?}") };
        assert!(error.to_string().contains("2 are allowed"), "{error}");
    }
    for id in &ids {
        store.update(same(id), state("Ada"), &HOUR).await.unwrap();
        assert!(store.load(id).await.unwrap().is_some());
    }
    store.delete(&ids[0]).await.unwrap();
    store.save(state("Dan"), &HOUR).await.unwrap();
    assert!(store.save(state("Mallory"), &HOUR).await.is_err());
    clock.advance(HOUR.unsigned_abs());
    store.save(state("Fay"), &HOUR).await.unwrap();
    store.save(state("Guy"), &HOUR).await.unwrap();
    assert!(store.save(state("Mallory"), &HOUR).await.is_err());
}

#[actix_web::test]
async fn keys_that_are_no_ids_find_nothing() {
    let store = TidewheelStore::new();
    let id = store.save(state("Ada"), &HOUR).await.unwrap();
    let elsewhere = TidewheelStore::new().save(state("Ada"), &HOUR).await.unwrap();
    let mut texts = vec![elsewhere.as_ref().to_owned(), String::new(), "x".repeat(4064), "\u{0}".repeat(22)];
    // One character more, one less, and another one at each place.
    texts.push(format!("{}A", id.as_ref()));
    texts.push(id.as_ref()[1..].to_owned());
    for at in 0..22 {
        let mut text = id.as_ref().to_owned();
        let other = if &text[at..=at] == "g" { "w" } else { "g" };
        text.replace_range(at..=at, other);
        texts.push(text);
    }
    for text in texts {
        let key = key(text);
        assert_eq!(store.load(&key).await.unwrap(), None);
        store.delete(&key).await.unwrap();
    }
    assert_eq!(store.load(&id).await.unwrap(), Some(state("Ada")));
}

#[actix_web::test]
async fn a_state_of_four_mebibytes_comes_back_whole() {
    let store = TidewheelStore::new();
    let large: HashMap<_, _> = [("blob".to_owned(), "x".repeat(4 << 20))].into_iter().collect();
    let id = store.save(large.clone(), &HOUR).await.unwrap();
    store.update(same(&id), large.clone(), &HOUR).await.unwrap();
    assert_eq!(store.load(&id).await.unwrap(), Some(large));
}

#[actix_web::test]
async fn all_sessions_of_one_user_end_and_no_others() {
    let store = TidewheelStore::new();
    let mut ids = Vec::new();
    for user in ["Ada", "Bob", "Ada"] {
        ids.push(store.save(state(user), &HOUR).await.unwrap());
    }
    store.end_where(|state| state["user"] == "\"Ada\"");
    let mut found = Vec::new();
    for id in &ids {
        found.push(store.load(id).await.unwrap().is_some());
    }
    assert_eq!(found, [false, true, false]);
}

/// What no request ever waits for is ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a store in memory waits"),
    }
}

/// As a store whose update makes what is not there, if it was there a moment ago.
#[derive(Clone, Default)]
struct Upsert(Arc<Mutex<HashMap<String, HashMap<String, String>>>>);

impl SessionStore for Upsert {
    async fn load(&self, key: &SessionKey) -> Result<Option<HashMap<String, String>>, LoadError> {
        Ok(self.0.lock().unwrap().get(key.as_ref()).cloned())
    }

    async fn save(&self, state: HashMap<String, String>, _: &Duration) -> Result<SessionKey, SaveError> {
        let id = self.0.lock().unwrap().len().to_string();
        self.0.lock().unwrap().insert(id.clone(), state);
        Ok(key(id))
    }

    async fn update(
        &self,
        key: SessionKey,
        state: HashMap<String, String>,
        _: &Duration,
    ) -> Result<SessionKey, UpdateError> {
        if self.0.lock().unwrap().contains_key(key.as_ref()) {
            std::thread::yield_now();
            self.0.lock().unwrap().insert(key.as_ref().to_owned(), state);
        }
        Ok(key)
    }

    async fn update_ttl(&self, _: &SessionKey, _: &Duration) -> Result<(), anyhow::Error> {
        Ok(())
    }

    async fn delete(&self, key: &SessionKey) -> Result<(), anyhow::Error> {
        self.0.lock().unwrap().remove(key.as_ref());
        Ok(())
    }
}

/// How many of so many sessions are there after their log-out, which an update by another thread raced.
fn revived(store: impl SessionStore + Sync, sessions: usize) -> usize {
    let ids: Vec<_> = (0..sessions).map(|_| ready(store.save(state("Ada"), &HOUR)).unwrap()).collect();
    // Both threads go over the same sessions, and meet often enough to be about at the same one.
    let meeting = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for ids in ids.chunks(50) {
                meeting.wait();
                for id in ids {
                    ready(store.update(same(id), state("Ada"), &HOUR)).unwrap();
                    ready(store.update_ttl(id, &HOUR)).unwrap();
                }
            }
        });
        for ids in ids.chunks(50) {
            meeting.wait();
            for id in ids {
                ready(store.delete(id)).unwrap();
            }
        }
    });
    ids.iter().filter(|id| ready(store.load(id)).unwrap().is_some()).count()
}

#[actix_web::test]
async fn a_log_out_is_never_undone_by_an_update_in_flight() {
    let store = TidewheelStore::new();
    assert_eq!(revived(store.clone(), 10_000), 0);
    assert!(store.late_updates() > 0, "no update came late");
    assert!(revived(Upsert::default(), 10_000) > 0, "the check finds nothing");
}

async fn visit(session: Session) -> String {
    let visits = session.get::<u32>("visits").unwrap().unwrap_or(0) + 1;
    session.insert("visits", visits).unwrap();
    visits.to_string()
}

async fn leave(session: Session) -> HttpResponse {
    session.purge();
    HttpResponse::Ok().finish()
}

fn cookie_of(response: &ServiceResponse) -> Option<Cookie<'static>> {
    response.response().cookies().next().map(Cookie::into_owned)
}

/// An app on a store, as a macro since its type cannot be named.
macro_rules! app {
    ($store:expr, $key:expr) => {
        test::init_service(
            App::new()
                .wrap(SessionMiddleware::new($store, $key))
                .route("/visit", web::get().to(visit))
                .route("/leave", web::get().to(leave)),
        )
        .await
    };
}

#[actix_web::test]
async fn malformed_and_foreign_cookies_begin_anew() {
    let store = TidewheelStore::new();
    let key = Key::generate();
    let ours = app!(store.clone(), key.clone());
    // Another process with the same key, so that the signature is right; one with another key.
    let restarted = app!(TidewheelStore::new(), key);
    let foreign = app!(TidewheelStore::new(), Key::generate());
    let mut cookies =
        vec![Cookie::new("id", "malformed"), Cookie::new("id", ""), Cookie::new("id", "A".repeat(22))];
    let call = || test::TestRequest::with_uri("/visit");
    cookies.push(cookie_of(&test::call_service(&restarted, call().to_request()).await).unwrap());
    cookies.push(cookie_of(&test::call_service(&foreign, call().to_request()).await).unwrap());
    for cookie in cookies {
        let response = test::call_service(&ours, call().cookie(cookie.clone()).to_request()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let fresh = cookie_of(&response).unwrap();
        assert_ne!(fresh.value(), cookie.value());
        assert_eq!(test::read_body(response).await, "1");
        let body = test::call_and_read_body(&ours, call().cookie(fresh).to_request()).await;
        assert_eq!(body, "2");
    }
}

#[actix_web::test]
async fn a_full_store_is_a_500_and_who_has_a_session_keeps_it() {
    let ours = app!(TidewheelStore::builder().max_sessions(1).build().unwrap(), Key::generate());
    let call = |uri| test::TestRequest::with_uri(uri);
    let ada = cookie_of(&test::call_service(&ours, call("/visit").to_request()).await).unwrap();
    let refused = test::try_call_service(&ours, call("/visit").to_request()).await;
    assert_eq!(refused.unwrap_err().error_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = test::call_and_read_body(&ours, call("/visit").cookie(ada.clone()).to_request()).await;
    assert_eq!(body, "2");
    test::call_service(&ours, call("/leave").cookie(ada).to_request()).await;
    let response = test::call_service(&ours, call("/visit").to_request()).await;
    assert_eq!(response.status(), StatusCode::OK);
}
