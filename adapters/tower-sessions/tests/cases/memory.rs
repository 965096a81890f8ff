//! What the store in memory promises, case by case.

use super::core::session::Id;
use super::core::session_store::Error;
use super::core::{Session, SessionStore};
use super::records::{is_of, record};
use super::stores::TidewheelStore;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidewheel::ManualClock;
use time::OffsetDateTime;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn what_is_created_is_loaded_saved_and_deleted() {
    let store = TidewheelStore::new();
    let mut record = record("Ada", HOUR);
    store.create(&mut record).await.unwrap();
    assert_eq!(store.load(&record.id).await.unwrap(), Some(record.clone()));
    record.data.insert("visits".into(), 7.into());
    store.save(&record).await.unwrap();
    assert_eq!(store.load(&record.id).await.unwrap(), Some(record.clone()));
    store.delete(&record.id).await.unwrap();
    assert_eq!(store.load(&record.id).await.unwrap(), None);
    store.delete(&record.id).await.unwrap();
    assert_eq!(store.late_saves(), 0);
}

#[tokio::test]
async fn a_create_under_a_live_sessions_id_gets_another_id_and_touches_nobody() {
    let store = TidewheelStore::new();
    let mut ada = record("Ada", HOUR);
    store.create(&mut ada).await.unwrap();
    // In the past, too: who is told this id writes to it afterwards.
    for lasts in [HOUR, Duration::ZERO] {
        let mut eve = record("Eve", lasts);
        eve.id = ada.id;
        store.create(&mut eve).await.unwrap();
        assert_ne!(eve.id, ada.id);
    }
    assert!(is_of(&store.load(&ada.id).await.unwrap().unwrap(), "Ada"));
}

#[tokio::test]
async fn a_save_after_the_end_is_accepted_counted_and_revives_nothing() {
    let clock = ManualClock::new();
    let store = TidewheelStore::builder().clock(clock.clone()).build().unwrap();
    let [mut deleted, mut expired, never] = ["Ada", "Bob", "Eve"].map(|user| record(user, HOUR));
    store.create(&mut deleted).await.unwrap();
    store.create(&mut expired).await.unwrap();
    store.delete(&deleted.id).await.unwrap();
    clock.advance_without_sweeping(HOUR);
    for record in [&deleted, &expired, &never] {
        store.save(record).await.unwrap();
        assert_eq!(store.load(&record.id).await.unwrap(), None);
    }
    assert_eq!(store.late_saves(), 3);
    store.run_pending_tasks();
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_session_ends_when_its_record_says_and_a_save_moves_that() {
    // Again, where the machine stood still until the session was over, or its date was set.
    for _ in 0..50 {
        if ends_when_its_record_says().await {
            return;
        }
    }
    panic!("no try was quick enough");
}

/// Moves the end of a session twice, and waits for it. Returns false if that shows nothing, since a save came too late for it or the calendar moved.
async fn ends_when_its_record_says() -> bool {
    let (store, begun) = (TidewheelStore::new(), Instant::now());
    let calendar = ahead(begun);
    let mut record = record("Ada", Duration::from_millis(400));
    store.create(&mut record).await.unwrap();
    // Between these two it ends: the moments before and after its date was made of the calendar.
    let mut window = (begun + Duration::from_millis(400), Instant::now());
    let mut is_in_time = true;
    for lasts in [400, 300] {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (lasts, before) = (Duration::from_millis(lasts), window.0);
        window.0 = Instant::now() + lasts;
        record.expiry_date = OffsetDateTime::now_utc() + lasts;
        window.1 = Instant::now() + lasts;
        store.save(&record).await.unwrap();
        is_in_time &= Instant::now() + EARLY < before;
    }
    let late_saves = store.late_saves();
    // The last moment at which it was there.
    let mut seen = Instant::now();
    loop {
        let asked = Instant::now();
        if store.load(&record.id).await.unwrap().is_none() {
            break;
        }
        seen = asked;
    }
    let early = window.0.saturating_duration_since(Instant::now());
    if !is_in_time || has_moved(calendar, ahead(begun)) {
        return false;
    }
    assert_eq!(late_saves, 0);
    assert!(early < EARLY, "gone {early:?} early");
    let late = seen.saturating_duration_since(window.1);
    assert!(late < Duration::from_millis(10), "found {late:?} late");
    true
}

/// So much earlier a session may end than its record says.
const EARLY: Duration = Duration::from_millis(2);

/// How many nanoseconds the calendar is ahead of the time since then: at least, and at most.
fn ahead(begun: Instant) -> (i128, i128) {
    let since = || i128::try_from(begun.elapsed().as_nanos()).unwrap();
    let before = since();
    let calendar = OffsetDateTime::now_utc().unix_timestamp_nanos();
    (calendar - since(), calendar - before)
}

/// Whether the calendar and the clock have certainly parted by a millisecond.
fn has_moved(first: (i128, i128), last: (i128, i128)) -> bool {
    const MILLI: i128 = 1_000_000;
    last.0 - first.1 > MILLI || first.0 - last.1 > MILLI
}

#[tokio::test]
async fn what_the_calendar_says_is_over_is_refused_and_given_back_while_the_clock_stands_still() {
    // The manual clock stands still, as the system's does while the machine is suspended.
    let store = TidewheelStore::builder().clock(ManualClock::new()).max_sessions(1).build().unwrap();
    let mut asleep = record("Ada", Duration::from_millis(50));
    store.create(&mut asleep).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let later =
        super::core::session::Record { expiry_date: OffsetDateTime::now_utc() + HOUR, ..asleep.clone() };
    store.save(&later).await.unwrap();
    assert_eq!(store.late_saves(), 1);
    assert_eq!(store.load(&asleep.id).await.unwrap(), None);
    // And its permit is free.
    store.create(&mut record("Bob", HOUR)).await.unwrap();
}

/// A machine that slept for hours wakes with a store full of sessions that nobody comes back for.
#[tokio::test]
async fn a_full_store_has_room_again_once_the_calendar_says_that_sessions_are_over() {
    let store = TidewheelStore::builder().clock(ManualClock::new()).max_sessions(3).build().unwrap();
    for user in ["Ada", "Bob"] {
        store.create(&mut record(user, Duration::from_millis(20))).await.unwrap();
    }
    let mut eve = record("Eve", HOUR);
    store.create(&mut eve).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    // Nobody asks for the two that are over.
    for user in ["Dan", "Fay"] {
        store.create(&mut record(user, HOUR)).await.unwrap();
    }
    assert!(store.create(&mut record("Mallory", HOUR)).await.is_err());
    assert_eq!((store.len(), store.load(&eve.id).await.unwrap()), (3, Some(eve)));
}

#[tokio::test]
async fn a_record_that_is_over_when_it_comes_is_accepted_and_never_found() {
    let store = TidewheelStore::new();
    let mut over = record("Ada", Duration::ZERO);
    over.expiry_date -= HOUR;
    store.create(&mut over).await.unwrap();
    assert_eq!(store.load(&over.id).await.unwrap(), None);
    // A save that says so ends a session.
    let mut live = record("Bob", HOUR);
    store.create(&mut live).await.unwrap();
    live.expiry_date = OffsetDateTime::now_utc();
    store.save(&live).await.unwrap();
    assert_eq!(store.load(&live.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_full_store_refuses_and_ends_nobody() {
    let clock = ManualClock::new();
    let store = TidewheelStore::builder().max_sessions(3).clock(clock.clone()).build().unwrap();
    let mut records = ["Ada", "Bob", "Eve"].map(|user| record(user, HOUR));
    for record in &mut records {
        store.create(record).await.unwrap();
    }
    for _ in 0..100 {
        let error = store.create(&mut record("Mallory", HOUR)).await.unwrap_err();
        let Error::Backend(text) = error else { panic!("{error:?}") };
        assert!(text.contains("3 are allowed"), "{text}");
    }
    for record in &records {
        store.save(record).await.unwrap();
        assert_eq!(store.load(&record.id).await.unwrap().as_ref(), Some(record));
    }
    // A delete makes room for one, an end by the clock for the rest.
    store.delete(&records[0].id).await.unwrap();
    store.create(&mut record("Dan", HOUR)).await.unwrap();
    assert!(store.create(&mut record("Mallory", HOUR)).await.is_err());
    clock.advance(HOUR);
    for _ in 0..3 {
        store.create(&mut record("Fay", HOUR)).await.unwrap();
    }
    assert!(store.create(&mut record("Mallory", HOUR)).await.is_err());
    store.end_where(|_| true);
    store.create(&mut record("Guy", HOUR)).await.unwrap();
}

/// What the README says of it: to tower-sessions a new id is a delete, which frees a place, and a create, which takes one.
#[tokio::test]
async fn in_a_full_store_a_change_of_the_id_may_lose_its_place_until_it_is_saved() {
    let store = TidewheelStore::builder().max_sessions(1).build().unwrap();
    let mut ada = record("Ada", HOUR);
    store.create(&mut ada).await.unwrap();
    let request = |id| Session::new(Some(id), Arc::new(store.clone()), None);
    // Nobody comes between.
    let quick = request(ada.id);
    quick.cycle_id().await.unwrap();
    quick.save().await.unwrap();
    let id = quick.id().unwrap();
    // Somebody does.
    let slow = request(id);
    slow.cycle_id().await.unwrap();
    store.create(&mut record("Eve", HOUR)).await.unwrap();
    assert!(slow.save().await.is_err());
    assert_eq!((store.load(&id).await.unwrap(), store.len()), (None, 1));
}

#[tokio::test]
async fn a_full_store_of_many_threads_has_as_many_sessions_as_it_may() {
    let store = TidewheelStore::builder().max_sessions(500).build().unwrap();
    let creators = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut created = 0;
            for _ in 0..400 {
                created += usize::from(store.create(&mut record("Ada", HOUR)).await.is_ok());
            }
            created
        })
    });
    let mut created = 0;
    for creator in creators.collect::<Vec<_>>() {
        created += creator.await.unwrap();
    }
    assert_eq!((created, store.len()), (500, 500));
}

#[tokio::test]
async fn all_sessions_of_one_user_end_and_no_others() {
    let store = TidewheelStore::new();
    let mut ids = Vec::new();
    for user in ["Ada", "Bob", "Ada"] {
        let mut record = record(user, HOUR);
        store.create(&mut record).await.unwrap();
        ids.push(record.id);
    }
    store.end_where(|record| is_of(record, "Ada"));
    let mut found = Vec::new();
    for id in &ids {
        found.push(store.load(id).await.unwrap().is_some());
    }
    assert_eq!(found, [false, true, false]);
}

#[tokio::test]
async fn an_id_of_nobody_or_of_another_process_finds_nothing() {
    let store = TidewheelStore::new();
    let elsewhere = TidewheelStore::new();
    let mut record = record("Ada", HOUR);
    elsewhere.create(&mut record).await.unwrap();
    for id in [record.id, Id(0), Id(-1), Id(i128::MAX), Id(i128::MIN)] {
        assert_eq!(store.load(&id).await.unwrap(), None);
        store.delete(&id).await.unwrap();
    }
}

#[tokio::test]
async fn a_record_of_four_mebibytes_comes_back_whole() {
    let store = TidewheelStore::new();
    let mut large = record("Ada", HOUR);
    large.data.insert("blob".into(), "x".repeat(4 << 20).into());
    store.create(&mut large).await.unwrap();
    store.save(&large).await.unwrap();
    assert_eq!(store.load(&large.id).await.unwrap(), Some(large));
}

#[test]
fn nothing_of_a_session_is_printed() {
    let store = TidewheelStore::builder().name("logins").max_sessions(7).build().unwrap();
    assert_eq!(
        format!("{store:?}"),
        r#"TidewheelStore { name: Some("logins"), len: 0, max_sessions: Some(7) }"#
    );
}
