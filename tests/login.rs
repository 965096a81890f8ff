//! Logging in: a session's data and its id change in one step, so that who knows the old id never has the new data.
//!
//! The race that `rotate_with` is there for (session fixation): an attacker creates a session, plants its id in somebody
//! else's browser, and reads with it for as long as it takes. With `modify` and then `rotate`, the planted id has the user
//! in between; the race below finds that within a few rounds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidewheel::{ManualClock, SessionError, SessionId, SessionManager};

const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default, PartialEq)]
struct Visit {
    user: Option<u32>,
    clicks: u32,
}

fn sessions() -> (ManualClock, SessionManager<Visit>) {
    let clock = ManualClock::new();
    let sessions = SessionManager::builder().clock(clock.clone()).max_sessions(1).build().unwrap();
    (clock, sessions)
}

fn is_gone(sessions: &SessionManager<Visit>, id: &SessionId) -> bool {
    matches!(sessions.get(id), Err(SessionError::NotFound))
}

/// The bug: whoever planted the id reads with it from two threads while its victim logs in, and sees the user.
#[test]
fn who_planted_an_id_never_sees_the_user_who_logs_in_with_it() {
    let (_clock, sessions) = sessions();
    for round in 0..3_000 {
        let planted = sessions.create(Visit::default()).unwrap();
        let start = Barrier::new(3);
        let new = std::thread::scope(|scope| {
            for by_clone in [false, true] {
                let (sessions, start) = (&sessions, &start);
                scope.spawn(move || {
                    let look = || match by_clone {
                        true => sessions.get(&planted).map(|visit| visit.user),
                        false => sessions.read(&planted, |visit| visit.user),
                    };
                    start.wait();
                    while let Ok(user) = look() {
                        assert_eq!(user, None, "round {round}: the planted id is logged in");
                    }
                });
            }
            start.wait();
            let (new, ()) = sessions.rotate_with(&planted, |visit| visit.user = Some(round)).unwrap();
            new
        });
        assert_eq!(sessions.remove(&new).unwrap().user, Some(round));
    }
    sessions.validate();
}

#[test]
fn a_login_changes_data_and_id_and_answers_what_the_closure_returned() {
    let (clock, sessions) = sessions();
    let planted = sessions.create(Visit { user: None, clicks: 7 }).unwrap();
    let (id, clicks) = sessions
        .rotate_with(&planted, |visit| {
            visit.user = Some(1);
            visit.clicks
        })
        .unwrap();
    assert_ne!(planted, id);
    assert_eq!(clicks, 7);
    assert!(is_gone(&sessions, &planted));
    assert_eq!(sessions.get(&id).unwrap(), Visit { user: Some(1), clicks: 7 });
    assert!(matches!(sessions.rotate_with(&planted, |_| ()), Err(SessionError::NotFound)));
    clock.advance(SECOND);
    assert_eq!(sessions.len(), 1, "in a manager that has room for one");
    sessions.validate();
}

#[test]
fn a_login_restarts_the_idle_time_and_keeps_the_age() {
    let clock = ManualClock::new();
    let sessions = SessionManager::builder().clock(clock.clone()).max_age(12 * SECOND).build().unwrap();
    let id = sessions.create(Visit::default()).unwrap();
    clock.advance(4 * SECOND);
    let (id, ()) = sessions.rotate_with(&id, |visit| visit.user = Some(1)).unwrap();
    clock.advance(4 * SECOND);
    assert!(sessions.get(&id).is_ok(), "the idle time began anew");
    let (id, ()) = sessions.rotate_with(&id, |visit| visit.clicks += 1).unwrap();
    clock.advance(4 * SECOND - Duration::from_nanos(1));
    assert!(sessions.get(&id).is_ok());
    clock.advance(Duration::from_nanos(1));
    assert!(is_gone(&sessions, &id), "twelve seconds old");

    let id = sessions.create(Visit::default()).unwrap();
    let (id, ()) = sessions.rotate_with(&id, |_| ()).unwrap();
    clock.advance(IDLE);
    assert!(is_gone(&sessions, &id));
    assert!(matches!(sessions.rotate_with(&id, |_| ()), Err(SessionError::NotFound)));
}

/// The change is made from what is taken out: what comes between is neither lost nor overwritten.
#[test]
fn a_change_that_comes_between_goes_along() {
    let (_clock, sessions) = sessions();
    let id = sessions.create(Visit { user: None, clicks: 1 }).unwrap();
    let mut runs = 0;
    let (id, clicks) = sessions
        .rotate_with(&id, |visit| {
            runs += 1;
            if runs == 1 {
                // Somebody else is faster.
                sessions.replace(&id, Visit { user: None, clicks: 10 }).unwrap();
            }
            visit.user = Some(1);
            visit.clicks += 1;
            visit.clicks
        })
        .unwrap();
    assert_eq!((runs, clicks), (2, 11));
    assert_eq!(sessions.get(&id).unwrap(), Visit { user: Some(1), clicks: 11 });
    sessions.validate();
}

/// The same between threads: every change that was answered with success is there afterwards.
#[test]
fn a_login_loses_no_change_that_came_first() {
    let (_clock, sessions) = sessions();
    for round in 0..500 {
        let id = sessions.create(Visit::default()).unwrap();
        let start = Barrier::new(2);
        let (changed, new) = std::thread::scope(|scope| {
            let change = scope.spawn(|| {
                start.wait();
                (0..20).filter(|_| sessions.modify(&id, |visit| visit.clicks += 1).is_ok()).count()
            });
            start.wait();
            let (new, ()) = sessions.rotate_with(&id, |visit| visit.user = Some(round)).unwrap();
            (change.join().unwrap(), new)
        });
        let visit = sessions.remove(&new).unwrap();
        assert_eq!((visit.user, visit.clicks as usize), (Some(round), changed), "round {round}");
    }
    sessions.validate();
}

#[test]
fn of_two_logins_at_once_one_wins_and_there_is_one_session() {
    let (_clock, sessions) = sessions();
    for round in 0..500 {
        let id = sessions.create(Visit::default()).unwrap();
        let start = Barrier::new(2);
        let log_in = |user| {
            start.wait();
            sessions.rotate_with(&id, |visit| visit.user = Some(user))
        };
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| log_in(1));
            (log_in(2), one.join().unwrap())
        });
        let (new, user) = match (one, other) {
            (Ok((new, ())), Err(SessionError::NotFound)) => (new, 2),
            (Err(SessionError::NotFound), Ok((new, ()))) => (new, 1),
            both => panic!("round {round}: {both:?}"),
        };
        assert!(is_gone(&sessions, &id));
        assert_eq!((sessions.len(), sessions.remove(&new).unwrap().user), (1, Some(user)));
        sessions.validate();
    }
}

#[test]
fn a_session_that_ends_while_it_is_changed_stays_ended() {
    let (clock, sessions) = sessions();
    let id = sessions.create(Visit::default()).unwrap();
    let answer = sessions.rotate_with(&id, |_| {
        let _ = sessions.remove(&id);
    });
    assert!(matches!(answer, Err(SessionError::NotFound)));
    assert_eq!(sessions.len(), 0);

    let id = sessions.create(Visit::default()).unwrap();
    let answer = sessions.rotate_with(&id, |_| clock.advance_without_sweeping(IDLE));
    assert!(matches!(answer, Err(SessionError::NotFound)));
    clock.advance(2 * SECOND);
    assert_eq!(sessions.len(), 0);
    sessions.validate();
}

#[test]
fn a_panic_while_logging_in_leaves_the_session_and_its_seat_as_they_were() {
    let (_clock, sessions) = sessions();
    let id = sessions.create(Visit::default()).unwrap();
    let log_in = || {
        sessions.rotate_with(&id, |visit| {
            visit.user = Some(1);
            panic!("while logging in");
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(log_in)).is_err());
    assert_eq!(sessions.get(&id).unwrap(), Visit::default());
    sessions.validate();
    sessions.rotate_with(&id, |_| ()).unwrap();
}

/// Panics when it is cloned.
struct Fragile;

impl Clone for Fragile {
    fn clone(&self) -> Self {
        panic!("while cloning")
    }
}

#[test]
fn a_panic_in_clone_while_logging_in_does_so_too() {
    let sessions = SessionManager::builder().clock(ManualClock::new()).max_sessions(1).build().unwrap();
    let id = sessions.create(Fragile).unwrap();
    let log_in = || sessions.rotate_with(&id, |_| unreachable!("there is no copy"));
    assert!(catch_unwind(AssertUnwindSafe(log_in)).is_err());
    sessions.touch(&id).unwrap();
    sessions.validate();
}

/// What the docs say: a copy of a reference is no copy of the data.
#[test]
fn data_that_is_shared_is_changed_for_whoever_has_it() {
    let sessions = SessionManager::builder().clock(ManualClock::new()).build().unwrap();
    let id = sessions.create(Arc::new(AtomicBool::new(false))).unwrap();
    let had = sessions.get(&id).unwrap();
    let (_, ()) = sessions.rotate_with(&id, |logged_in| logged_in.store(true, Ordering::Relaxed)).unwrap();
    assert!(had.load(Ordering::Relaxed));
}
