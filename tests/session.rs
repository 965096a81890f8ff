//! The session manager, call by call, on a clock that the test moves.
//!
//! The real clock is in `window.rs`; what a failing random source does is tested beside the manager,
//! where one can be put in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tidewheel::{
    BuildError, EndCause, ManualClock, ParseSessionIdError, Reaper, SessionError, SessionId, SessionManager,
    SessionManagerBuilder,
};

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MILLI: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_secs(5);
/// From a deadline until the session is out of memory.
const SWEPT: Duration = Duration::from_secs(2);

fn on_clock<D: Send + Sync + 'static>() -> (ManualClock, SessionManagerBuilder<D>) {
    let clock = ManualClock::new();
    let builder = SessionManager::builder().clock(clock.clone());
    (clock, builder)
}

fn manager<D: Send + Sync + 'static>() -> (ManualClock, SessionManager<D>) {
    let (clock, builder) = on_clock();
    (clock, builder.build().unwrap())
}

#[track_caller]
fn not_found<T>(answer: Result<T, SessionError>) {
    assert!(matches!(answer, Err(SessionError::NotFound)), "{:?}", answer.err());
}

/// Every call that takes an id, on one that no session has.
#[track_caller]
fn gone<D: Clone + Default + Send + Sync + 'static>(sessions: &SessionManager<D>, id: &SessionId) {
    not_found(sessions.get(id));
    not_found(sessions.read(id, |_| panic!("nothing to look at")));
    not_found(sessions.replace(id, D::default()));
    not_found(sessions.update(id, |_| panic!("nothing to compute from")));
    not_found(sessions.modify(id, |_| panic!("nothing to change")));
    not_found(sessions.touch(id));
    not_found(sessions.rotate(id));
    not_found(sessions.remove(id));
    not_found(sessions.get(id));
}

/// Returns once data has so many owners. The clock alone does not see to that: while a test beside this one has its
/// thread pinned, for a moment, nothing is dropped.
#[track_caller]
fn until_shared_by<T, D>(owners: usize, data: &Arc<T>, sessions: &SessionManager<D>)
where
    D: Send + Sync + 'static,
{
    let start = Instant::now();
    while Arc::strong_count(data) != owners {
        assert!(start.elapsed() < 60 * SECOND, "{} owners, not {owners}", Arc::strong_count(data));
        sessions.run_pending_tasks();
        std::thread::yield_now();
    }
}

// ---- the times ----

#[test]
fn a_session_left_alone_is_there_for_its_idle_time_and_gone_after_it() {
    let (clock, sessions) = manager();
    let data = Arc::new("data");
    let id = sessions.create(Arc::clone(&data)).unwrap();
    clock.advance(IDLE - Duration::from_nanos(1));
    assert_eq!(*sessions.get(&id).unwrap(), "data");
    clock.advance_without_sweeping(Duration::from_nanos(1));
    not_found(sessions.get(&id));
    assert_eq!((sessions.len(), Arc::strong_count(&data)), (1, 2), "refused, but not yet swept");
    clock.advance(SWEPT);
    assert_eq!(sessions.len(), 0, "out of memory");
    until_shared_by(1, &data, &sessions);
    gone(&sessions, &id);
    sessions.validate();
}

#[test]
fn reading_does_not_keep_a_session_alive() {
    let (clock, sessions) = manager();
    let id = sessions.create(1).unwrap();
    for _ in 0..49 {
        clock.advance(100 * MILLI);
        assert_eq!(sessions.get(&id).unwrap(), 1);
        assert_eq!(sessions.read(&id, |data| data + 1).unwrap(), 2);
    }
    clock.advance(100 * MILLI);
    not_found(sessions.get(&id));
}

/// What restarts the idle time, each through two idle times' worth of steps.
#[test]
fn update_modify_touch_and_rotate_restart_the_idle_time() {
    type Act = fn(&SessionManager<u32>, SessionId) -> SessionId;
    let acts: [(&str, Act); 4] = [
        ("update", |sessions, id| {
            sessions.replace(&id, 2).unwrap();
            id
        }),
        ("modify", |sessions, id| {
            sessions.modify(&id, |data| *data += 1).unwrap();
            id
        }),
        ("touch", |sessions, id| {
            sessions.touch(&id).unwrap();
            id
        }),
        ("rotate", |sessions, id| sessions.rotate(&id).unwrap()),
    ];
    for (name, act) in acts {
        let (clock, sessions) = manager();
        let mut id = sessions.create(1).unwrap();
        for step in 0..4 {
            clock.advance(IDLE - MILLI);
            id = act(&sessions, id);
            assert!(sessions.get(&id).is_ok(), "{name}, step {step}");
            sessions.validate();
        }
        clock.advance(IDLE - MILLI);
        assert!(sessions.get(&id).is_ok(), "{name}: early");
        clock.advance(MILLI);
        not_found(sessions.get(&id));
        clock.advance(SWEPT);
        assert_eq!(sessions.len(), 0, "{name}");
    }
}

#[test]
fn the_maximum_age_is_fixed_through_update_modify_touch_and_rotate() {
    let (clock, builder) = on_clock();
    let sessions = builder.max_age(12 * SECOND).build().unwrap();
    let data = Arc::new(());
    let mut id = sessions.create(Arc::clone(&data)).unwrap();
    for second in 1..12 {
        clock.advance(SECOND);
        match second % 4 {
            0 => sessions.replace(&id, Arc::clone(&data)).unwrap(),
            1 => sessions.modify(&id, |_| ()).unwrap(),
            2 => sessions.touch(&id).unwrap(),
            _ => id = sessions.rotate(&id).unwrap(),
        }
    }
    clock.advance(SECOND - MILLI);
    assert!(sessions.get(&id).is_ok(), "1 ms before its twelfth second is over");
    clock.advance(MILLI);
    gone(&sessions, &id);
    clock.advance(SWEPT);
    assert_eq!(sessions.len(), 0);
    until_shared_by(1, &data, &sessions);
}

#[test]
fn a_maximum_age_shorter_than_the_idle_time_rules() {
    let (clock, builder) = on_clock();
    let sessions = builder.idle(SECOND * 60).max_age(SECOND * 2).build().unwrap();
    let id = sessions.create(1).unwrap();
    clock.advance(SECOND * 2 - MILLI);
    sessions.replace(&id, 2).unwrap();
    clock.advance(MILLI);
    not_found(sessions.get(&id));
}

#[test]
fn an_idle_time_of_zero_makes_sessions_that_are_never_found() {
    let (clock, builder) = on_clock();
    let sessions = builder.idle(Duration::ZERO).max_sessions(1).build().unwrap();
    let id = sessions.create(Arc::new(1)).unwrap();
    not_found(sessions.get(&id));
    assert_eq!(sessions.len(), 1);
    gone(&sessions, &id);
    assert!(sessions.create(Arc::new(1)).is_err());
    clock.advance(SWEPT);
    assert_eq!(sessions.len(), 0);
    sessions.create(Arc::new(2)).unwrap();
    sessions.validate();
}

#[test]
fn an_endless_idle_time_keeps_sessions_for_more_than_a_century() {
    let (clock, builder) = on_clock();
    let sessions = builder.idle(Duration::MAX).build().unwrap();
    let id = sessions.create(1).unwrap();
    clock.advance(100 * YEAR);
    sessions.modify(&id, |data| *data += 1).unwrap();
    let id = sessions.rotate(&id).unwrap();
    clock.advance(40 * YEAR);
    assert_eq!(sessions.get(&id).unwrap(), 2);
    sessions.validate();
}

#[test]
fn an_endless_idle_time_still_obeys_the_maximum_age() {
    let (clock, builder) = on_clock();
    let sessions = builder.idle(Duration::MAX).max_age(IDLE).build().unwrap();
    let id = sessions.create(1).unwrap();
    clock.advance(IDLE - MILLI);
    sessions.touch(&id).unwrap();
    clock.advance(MILLI);
    gone(&sessions, &id);
}

// ---- the calls ----

#[test]
fn update_overwrites_and_modify_computes() {
    let (_clock, sessions) = manager();
    let id = sessions.create(String::from("a")).unwrap();
    sessions.replace(&id, String::from("b")).unwrap();
    let length = sessions.modify(&id, |data| {
        data.push('c');
        data.len()
    });
    assert_eq!(length.unwrap(), 2);
    assert_eq!(sessions.get(&id).unwrap(), "bc");
    assert_eq!(sessions.clone().read(&id, String::len).unwrap(), 2, "clones share sessions");
}

#[test]
fn modify_loses_no_change_between_threads() {
    let (_clock, sessions) = manager();
    let id = sessions.create(0u32).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    sessions.modify(&id, |count| *count += 1).unwrap();
                }
            });
        }
    });
    assert_eq!(sessions.get(&id).unwrap(), 8_000);
    sessions.validate();
}

#[test]
fn modify_hands_out_the_result_of_the_run_that_counted() {
    let (_clock, sessions) = manager();
    let id = sessions.create(10).unwrap();
    let mut runs = 0;
    let seen = sessions.modify(&id, |data| {
        runs += 1;
        if runs == 1 {
            sessions.replace(&id, 20).unwrap(); // somebody else is faster
        }
        *data += 1;
        *data
    });
    assert_eq!((seen.unwrap(), runs), (21, 2));
    assert_eq!(sessions.get(&id).unwrap(), 21);
}

#[test]
fn modify_of_a_session_that_ends_meanwhile_does_not_bring_it_back() {
    let (clock, sessions) = manager();
    let id = sessions.create(1).unwrap();
    not_found(sessions.modify(&id, |data| {
        *data += 1;
        let _ = sessions.remove(&id);
    }));
    assert_eq!(sessions.len(), 0);

    let id = sessions.create(1).unwrap();
    not_found(sessions.modify(&id, |_| clock.advance_without_sweeping(IDLE)));
    not_found(sessions.get(&id));
    sessions.validate();
}

#[test]
fn a_panic_in_a_closure_leaves_the_session_as_it_was() {
    let (_clock, builder) = on_clock();
    let sessions = builder.max_sessions(1).build().unwrap();
    let id = sessions.create(vec![1]).unwrap();
    let modify = || {
        sessions.modify(&id, |data| {
            data.push(2);
            panic!("while changing");
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(modify)).is_err());
    let read = || sessions.read(&id, |_| panic!("while reading"));
    assert!(catch_unwind(AssertUnwindSafe(read)).is_err());
    assert_eq!(sessions.get(&id).unwrap(), [1]);
    sessions.validate();
}

/// Panics when it is cloned for the second time.
struct Fragile(AtomicUsize);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) == 0, "cloned again");
        Self(AtomicUsize::new(0))
    }
}

#[test]
fn a_panic_in_clone_takes_no_seat_and_no_session() {
    let (_clock, builder) = on_clock();
    let sessions = builder.max_sessions(1).build().unwrap();
    let id = sessions.create(Fragile(AtomicUsize::new(1))).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| sessions.rotate(&id))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| sessions.get(&id))).is_err());
    sessions.touch(&id).unwrap();
    sessions.validate();
}

#[test]
fn remove_returns_the_data_once_and_drops_the_stored_copy() {
    let (clock, sessions) = manager();
    let data = Arc::new(7);
    let id = sessions.create(Arc::clone(&data)).unwrap();
    assert_eq!(*sessions.remove(&id).unwrap(), 7);
    gone(&sessions, &id);
    clock.advance(SWEPT);
    until_shared_by(1, &data, &sessions);
    sessions.validate();
}

/// Data that cannot be cloned, of a session with an owner: one of two that end it succeeds, and its end is told once.
#[test]
fn end_needs_no_copy_and_succeeds_once() {
    struct NoClone(u32);
    let ends = Arc::<Mutex<Vec<(u32, EndCause)>>>::default();
    let told = Arc::clone(&ends);
    let sessions = SessionManager::builder()
        .owner(|data: &NoClone| Some(data.0))
        .end_listener(move |_: &SessionId, data: &NoClone, cause| told.lock().unwrap().push((data.0, cause)))
        .clock(ManualClock::new())
        .build()
        .unwrap();
    let (id, other) = (sessions.create(NoClone(7)).unwrap(), sessions.create(NoClone(7)).unwrap());
    sessions.end(&id).unwrap();
    assert!(matches!(sessions.end(&id), Err(SessionError::NotFound)));
    assert!(matches!(sessions.touch(&id), Err(SessionError::NotFound)));
    assert_eq!(*ends.lock().unwrap(), [(7, EndCause::Ended)]);
    assert_eq!(sessions.sessions_of(&7).len(), 1);
    assert_eq!(sessions.read(&other, |data| data.0).unwrap(), 7);
    sessions.validate();
}

#[test]
fn replaced_data_is_dropped_within_two_seconds() {
    let (clock, sessions) = manager();
    let (first, second) = (Arc::new(1), Arc::new(2));
    let id = sessions.create(Arc::clone(&first)).unwrap();
    sessions.replace(&id, Arc::clone(&second)).unwrap();
    clock.advance(SWEPT);
    until_shared_by(1, &first, &sessions);
    assert_eq!(Arc::strong_count(&second), 2);
    sessions.modify(&id, |data| *data = Arc::clone(&first)).unwrap();
    clock.advance(SWEPT);
    until_shared_by(1, &second, &sessions);
    assert_eq!(Arc::strong_count(&first), 2);
}

#[test]
fn rotate_moves_data_to_a_fresh_id_and_ends_the_old_one() {
    let (clock, sessions) = manager();
    let data = Arc::new(7);
    let old = sessions.create(Arc::clone(&data)).unwrap();
    let new = sessions.rotate(&old).unwrap();
    assert_ne!(old, new);
    assert_ne!(old.encode(), new.encode());
    gone(&sessions, &old);
    assert_eq!(*sessions.get(&new).unwrap(), 7);
    clock.advance(SWEPT);
    assert_eq!(sessions.len(), 1);
    until_shared_by(2, &data, &sessions); // one stored copy
    sessions.validate();
}

#[test]
fn of_two_rotations_at_once_one_wins() {
    let (clock, builder) = on_clock();
    let sessions = builder.max_sessions(1).build().unwrap();
    for round in 0..500 {
        let id = sessions.create(round).unwrap();
        let start = std::sync::Barrier::new(2);
        let rotate = || {
            start.wait();
            sessions.rotate(&id)
        };
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(rotate);
            (rotate(), one.join().unwrap())
        });
        let new = match (one, other) {
            (Ok(new), Err(SessionError::NotFound)) | (Err(SessionError::NotFound), Ok(new)) => new,
            both => panic!("round {round}: {both:?}"),
        };
        gone(&sessions, &id);
        assert_eq!((sessions.len(), sessions.remove(&new).unwrap()), (1, round));
        sessions.validate();
    }
    clock.advance(SWEPT);
}

/// A session that is rotated and changed at once keeps every change that was answered with success.
#[test]
fn a_rotation_loses_no_change_that_came_first() {
    let (_clock, sessions) = manager();
    for round in 0..500 {
        let id = sessions.create(0u32).unwrap();
        let start = std::sync::Barrier::new(2);
        let (changed, new) = std::thread::scope(|scope| {
            let change = scope.spawn(|| {
                start.wait();
                (0..20).filter(|_| sessions.modify(&id, |count| *count += 1).is_ok()).count()
            });
            start.wait();
            let new = sessions.rotate(&id).unwrap();
            (change.join().unwrap(), new)
        });
        assert_eq!(sessions.remove(&new).unwrap() as usize, changed, "round {round}");
    }
    sessions.validate();
}

#[test]
fn a_manager_shows_neither_ids_nor_data() {
    let (_clock, builder) = on_clock();
    let builder = builder.name("logins").max_sessions(9);
    assert!(format!("{builder:?}").contains("logins"));
    let sessions = builder.build().unwrap();
    let id = sessions.create("secret").unwrap();
    let shown = format!("{sessions:?} {id:?} {:?}", sessions.get(&SessionId::clone(&id)).err());
    assert!(shown.contains("logins") && shown.contains('9'), "{shown}");
    assert!(!shown.contains("secret") && !shown.contains(&id.encode()), "{shown}");
    assert_eq!(format!("{id:?}"), "SessionId(..)");
    assert_eq!((sessions.name(), sessions.is_empty()), (Some("logins"), false));
}

#[test]
fn handles_errors_and_ids_can_go_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<SessionManager<String>>();
    anywhere::<SessionManagerBuilder<String>>();
    anywhere::<SessionId>();
    anywhere::<SessionError>();
    anywhere::<ParseSessionIdError>();
}

#[test]
fn dropping_the_last_handle_drops_the_sessions() {
    let (clock, sessions) = manager();
    let data = Arc::new(());
    sessions.create(Arc::clone(&data)).unwrap();
    let other = sessions.clone();
    drop(sessions);
    clock.advance(SECOND);
    assert_eq!(Arc::strong_count(&data), 2);
    drop(other);
    assert_eq!(Arc::strong_count(&data), 1);
}

// ---- bad input ----

#[test]
fn malformed_ids_are_refused_with_what_is_wrong() {
    let good = "AAECAwQFBgcICQoLDA0ODw";
    assert_eq!(good.parse::<SessionId>().unwrap().encode(), good);
    let long = "A".repeat(1 << 20);
    let cases = [
        ("", ParseSessionIdError::Length { given: 0 }),
        ("A", ParseSessionIdError::Length { given: 1 }),
        ("AAECAwQFBgcICQoLDA0OD", ParseSessionIdError::Length { given: 21 }),
        ("AAECAwQFBgcICQoLDA0ODwA", ParseSessionIdError::Length { given: 23 }),
        ("AAECAwQFBgcICQoLDA0ODw==", ParseSessionIdError::Length { given: 24 }),
        (" AAECAwQFBgcICQoLDA0ODw", ParseSessionIdError::Length { given: 23 }),
        ("AAECAwQFBgcICQoLDA0ODw\n", ParseSessionIdError::Length { given: 23 }),
        (&long, ParseSessionIdError::Length { given: 1 << 20 }),
        ("+AECAwQFBgcICQoLDA0ODw", ParseSessionIdError::Alphabet { at: 0 }),
        ("AAECAwQFBg/ICQoLDA0ODw", ParseSessionIdError::Alphabet { at: 10 }),
        ("AAECAwQFBgcICQoLDA0OD=", ParseSessionIdError::Alphabet { at: 21 }),
        ("AAECAwQFBgcI QoLDA0ODw", ParseSessionIdError::Alphabet { at: 12 }),
        ("AAECAwQFBgc\0CQoLDA0ODw", ParseSessionIdError::Alphabet { at: 11 }),
        ("AAECAwQFBgcICQoLDA0Oé", ParseSessionIdError::Alphabet { at: 20 }),
        ("AAECAwQFBgcICQoLDA0ODx", ParseSessionIdError::NotCanonical),
        ("AAECAwQFBgcICQoLDA0OD_", ParseSessionIdError::NotCanonical),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<SessionId>().unwrap_err(), expected, "{text:.30}");
    }
    // 22 characters, but more bytes:
    let wide = "ä".repeat(22);
    assert_eq!(wide.parse::<SessionId>().unwrap_err(), ParseSessionIdError::Length { given: 44 });
}

#[test]
fn every_error_says_what_was_wrong_and_what_is_allowed() {
    let full = SessionManager::builder().max_sessions(0).build().unwrap().create(1).unwrap_err();
    let said = [
        ParseSessionIdError::Length { given: 3 }.to_string(),
        ParseSessionIdError::Alphabet { at: 4 }.to_string(),
        ParseSessionIdError::NotCanonical.to_string(),
        full.to_string(),
        SessionError::NotFound.to_string(),
    ];
    for (said, parts) in said.iter().zip([
        ["3", "22"],
        ["4", "A to Z"],
        ["last", "A, Q, g and w"],
        ["0 are", "allowed"],
        ["no such", "expired"],
    ]) {
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn a_well_formed_id_that_no_session_has_is_not_found() {
    let (_clock, sessions) = manager::<u32>();
    sessions.create(1).unwrap();
    gone(&sessions, &"AAECAwQFBgcICQoLDA0ODw".parse().unwrap());
    gone(&sessions, &"AAAAAAAAAAAAAAAAAAAAAA".parse().unwrap());
    assert_eq!(sessions.len(), 1);
}

#[test]
fn ids_are_all_different_and_come_back_from_their_text() {
    let (_clock, sessions) = manager();
    let ids: std::collections::HashSet<_> = (0..10_000).map(|n| sessions.create(n).unwrap()).collect();
    assert_eq!(ids.len(), 10_000);
    for id in &ids {
        assert_eq!(id.encode().parse::<SessionId>().unwrap(), *id);
    }
}

#[test]
fn the_builder_passes_the_caches_errors_on() {
    let error = SessionManager::<u32>::builder().shards(0).build().unwrap_err();
    assert!(matches!(error, BuildError::Shards { given: 0, .. }));
    let error = SessionManager::<u32>::builder().shards(12).max_sessions(1).build().unwrap_err();
    assert!(matches!(error, BuildError::Shards { given: 12, .. }));
    let error = SessionManager::<u32>::builder().initial_capacity(usize::MAX).build().unwrap_err();
    assert!(matches!(error, BuildError::InitialCapacity { given: usize::MAX, .. }));
    // With a limit there is room for no more than that.
    let limited = SessionManager::<u32>::builder().initial_capacity(usize::MAX).max_sessions(1);
    assert!(limited.build().is_ok());
    let (_clock, builder) = on_clock::<u32>();
    let error = builder.reaper(Reaper::dedicated()).build().unwrap_err();
    assert!(matches!(error, BuildError::ManualClockWithThread));
}

// ---- full ----

#[test]
fn a_full_manager_refuses_and_ends_no_live_session() {
    let (clock, builder) = on_clock();
    let sessions = builder.max_sessions(3).build().unwrap();
    let ids: Vec<_> = (0..3).map(|n| sessions.create(Arc::new(n)).unwrap()).collect();
    let refused = Arc::new(9);
    for _ in 0..10 {
        let answer = sessions.create(Arc::clone(&refused));
        assert!(matches!(answer, Err(SessionError::Full { max: 3, .. })));
    }
    assert_eq!(Arc::strong_count(&refused), 1, "what was refused is dropped at once");
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(*sessions.get(id).unwrap(), n);
    }

    // Neither changes nor rotations need room.
    sessions.replace(&ids[0], Arc::new(10)).unwrap();
    sessions.modify(&ids[0], |data| *data = Arc::new(11)).unwrap();
    let rotated = sessions.rotate(&ids[0]).unwrap();
    not_found(sessions.rotate(&ids[0]));
    sessions.validate();
    assert!(sessions.create(Arc::clone(&refused)).is_err());

    // A log-out makes room at once.
    sessions.remove(&rotated).unwrap();
    sessions.create(Arc::clone(&refused)).unwrap();
    assert!(sessions.create(Arc::clone(&refused)).is_err());

    // An expired session makes room when it is out of memory.
    clock.advance_without_sweeping(IDLE);
    assert!(sessions.create(Arc::clone(&refused)).is_err());
    clock.advance(SWEPT);
    sessions.create(Arc::clone(&refused)).unwrap();
    sessions.validate();
}

#[test]
fn a_manager_for_no_session_at_all_is_always_full() {
    let (_clock, builder) = on_clock();
    let sessions = builder.max_sessions(0).build().unwrap();
    assert!(matches!(sessions.create(1), Err(SessionError::Full { max: 0, .. })));
    assert!(sessions.is_empty());
}

#[test]
fn threads_never_create_more_sessions_than_allowed() {
    let (clock, builder) = on_clock();
    let sessions = builder.max_sessions(50).build().unwrap();
    let live = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (sessions, live) = (&sessions, &live);
            scope.spawn(move || {
                let mut own = Vec::new();
                for step in 0..5_000 {
                    if (step / 40 + thread) % 2 == 0 {
                        // Counted after it is made and uncounted before it is ended: `live` is
                        // never more than there are.
                        if let Ok(id) = sessions.create(step) {
                            assert!(live.fetch_add(1, Ordering::SeqCst) < 50);
                            own.push(id);
                        }
                    } else if let Some(id) = own.pop() {
                        let id = if step % 3 == 0 { sessions.rotate(&id).unwrap() } else { id };
                        live.fetch_sub(1, Ordering::SeqCst);
                        sessions.remove(&id).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(sessions.len(), live.into_inner());
    sessions.validate();
    clock.advance(IDLE + SWEPT);
    assert_eq!(sessions.len(), 0);
    sessions.validate();
}

// ---- mistakes that a session manager must not make, each by its name ----

#[test]
fn an_update_changes_the_stored_session_not_a_copy() {
    let (_clock, sessions) = manager();
    let id = sessions.create(vec!["old"]).unwrap();
    let handle = sessions.clone();
    handle.replace(&id, vec!["new"]).unwrap();
    assert_eq!(sessions.get(&id).unwrap(), ["new"]);
    handle.modify(&id, |data| data.push("newer")).unwrap();
    assert_eq!(sessions.get(&id).unwrap(), ["new", "newer"]);
    sessions.read(&id, |data| assert_eq!(data, &["new", "newer"])).unwrap();
}

#[test]
fn a_read_does_not_hand_out_the_stored_data() {
    let (_clock, sessions) = manager();
    let id = sessions.create(vec![1, 2, 3]).unwrap();
    let stored_at = sessions.read(&id, |data| data.as_ptr() as usize).unwrap();
    let mut copy = sessions.get(&id).unwrap();
    assert_ne!(copy.as_ptr() as usize, stored_at);
    copy.clear();
    assert_eq!(sessions.get(&id).unwrap(), [1, 2, 3]);

    // Nor does the copy follow what happens to the session.
    let copy = sessions.get(&id).unwrap();
    sessions.replace(&id, vec![4]).unwrap();
    assert_eq!(copy, [1, 2, 3]);
    sessions.remove(&id).unwrap();
    assert_eq!(copy, [1, 2, 3]);
}

/// One thread updates at the last moment, another moves the clock across the deadline and cleans. If
/// the update says that it was in time, the session is there, with the new data, for a full idle time.
#[test]
fn the_reaper_never_removes_a_session_updated_just_before() {
    type Renew = fn(&SessionManager<u32>, &SessionId, u32) -> Result<(), SessionError>;
    let ways: [Renew; 4] = [
        |sessions, id, new| sessions.replace(id, new),
        |sessions, id, new| sessions.update(id, |_| new),
        |sessions, id, new| sessions.modify(id, |data| *data = new),
        |sessions, id, _| sessions.touch(id),
    ];
    let mut in_time = 0;
    const ROUNDS: u32 = 3_000;
    for round in 0..ROUNDS {
        let way = (round % 4) as usize;
        let (clock, builder) = on_clock();
        let sessions = builder.shards(1).build().unwrap();
        let id = sessions.create(0).unwrap();
        clock.advance(IDLE - MILLI);
        let start = std::sync::Barrier::new(2);
        let answer = std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                wait_a_little(round);
                clock.advance(MILLI + SWEPT);
            });
            start.wait();
            wait_a_little(ROUNDS - round);
            ways[way](&sessions, &id, round + 1)
        });
        match answer {
            Ok(()) => {
                in_time += 1;
                // 2 s of the new idle time may have passed, and the millisecond before.
                clock.advance(IDLE - SWEPT - 2 * MILLI);
                let expected = if way == 3 { 0 } else { round + 1 };
                assert_eq!(sessions.get(&id).unwrap(), expected, "round {round}");
                clock.advance(2 * SWEPT);
                assert_eq!(sessions.len(), 0, "round {round}");
            }
            Err(error) => {
                not_found::<()>(Err(error));
                gone(&sessions, &id);
                assert_eq!(sessions.len(), 0, "round {round}");
            }
        }
        sessions.validate();
    }
    assert!(in_time > 0 && in_time < ROUNDS, "the two never met: {in_time} of {ROUNDS} were in time");
}

/// A delay that differs from round to round, so that two threads meet at many points.
fn wait_a_little(round: u32) {
    for _ in 0..round / 4 {
        std::hint::spin_loop();
    }
}

/// A log-out takes what an update left, or the update says that it came too late. There is no third.
#[test]
fn an_update_never_answers_success_for_a_session_just_removed() {
    type Renew = fn(&SessionManager<u32>, &SessionId) -> Result<(), SessionError>;
    let ways: [Renew; 3] = [
        |sessions, id| sessions.replace(id, 1),
        |sessions, id| sessions.update(id, |_| 1),
        |sessions, id| sessions.modify(id, |data| *data = 1),
    ];
    let (_clock, sessions) = manager();
    let mut in_time = 0;
    const ROUNDS: u32 = 3_000;
    for round in 0..ROUNDS {
        let id = sessions.create(0).unwrap();
        let start = std::sync::Barrier::new(2);
        let (updated, removed) = std::thread::scope(|scope| {
            let remover = scope.spawn(|| {
                start.wait();
                wait_a_little(round);
                sessions.remove(&id)
            });
            start.wait();
            wait_a_little(ROUNDS - round);
            let updated = ways[(round % 3) as usize](&sessions, &id);
            (updated, remover.join().unwrap())
        });
        // Only the remover ends the session, so it always finds it, updated or not.
        let removed = removed.unwrap();
        match updated {
            Ok(()) => {
                in_time += 1;
                assert_eq!(removed, 1, "round {round}: a success that the log-out never saw");
            }
            Err(error) => {
                not_found::<()>(Err(error));
                assert_eq!(removed, 0, "round {round}: a refused update that happened");
            }
        }
        gone(&sessions, &id);
    }
    assert!(in_time > 0 && in_time < ROUNDS, "the two never met: {in_time} of {ROUNDS} were in time");
    assert_eq!(sessions.len(), 0);
    sessions.validate();
}

/// Counted in a process of its own, where no other test starts threads.
#[test]
#[cfg(target_os = "linux")]
fn there_is_no_timer_or_thread_per_session() {
    const ALONE: &str = "TIDEWHEEL_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "there_is_no_timer_or_thread_per_session", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("1 passed"), "the test did not run alone: {said}");
        return;
    }
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();

    let sessions = SessionManager::builder().idle(SECOND * 60).build().unwrap();
    sessions.create(0).unwrap();
    let before = (threads(), files());
    let ids: Vec<_> = (0..10_000).map(|n| sessions.create(n).unwrap()).collect();
    for id in &ids {
        sessions.touch(id).unwrap();
    }
    let other = SessionManager::<u32>::new(); // nor one per manager
    assert_eq!((threads(), files()), before, "threads and open files (a timer may be either)");
    assert_eq!(sessions.len(), 10_001);
    assert!(other.is_empty());
}
