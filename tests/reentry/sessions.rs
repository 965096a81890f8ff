//! The same for sessions: every method of a manager, called from every function that it is given.

use super::watchdog::Watchdog;
use super::world::{Code, arm, at, disarm, done, serially};
use std::time::Duration;
use tidewheel::{EndCause, Lifetime, ManualClock, SessionId, SessionManager, WhenCrowded};

type Sessions = SessionManager<u64, u64>;
type Method = fn(&Sessions, &SessionId);

/// Whose the sessions are.
const ADA: u64 = 7;
const LONG: Duration = Duration::from_secs(60);

const METHODS: &[(&str, Method)] = &[
    ("create", |s, _| done(s.create(ADA))),
    ("create_with", |s, _| done(s.create_with(8, Lifetime::new().idle(LONG)))),
    ("read", |s, id| done(s.read(id, |data| *data))),
    ("get", |s, id| done(s.get(id))),
    ("get_and_touch", |s, id| done(s.get_and_touch(id))),
    ("read_and_touch", |s, id| done(s.read_and_touch(id, |data| *data))),
    ("replace", |s, id| done(s.replace(id, 8))),
    ("update", |s, id| done(s.update(id, |data| data + 1))),
    ("modify", |s, id| done(s.modify(id, |data| *data += 1))),
    ("touch", |s, id| done(s.touch(id))),
    ("remaining", |s, id| done(s.remaining(id))),
    ("set_idle", |s, id| done(s.set_idle(id, LONG))),
    ("set_max_age", |s, id| done(s.set_max_age(id, LONG))),
    ("rotate", |s, id| done(s.rotate(id))),
    ("rotate_with", |s, id| done(s.rotate_with(id, |data| *data += 1))),
    ("remove", |s, id| done(s.remove(id))),
    ("end", |s, id| done(s.end(id))),
    ("retain", |s, _| s.retain(|_, _| false)),
    ("sessions_of", |s, _| done(s.sessions_of(&ADA))),
    ("end_all", |s, _| done(s.end_all(&ADA))),
    ("end_others", |s, id| done(s.end_others(id))),
    ("iter", |s, _| done(s.iter().count())),
    ("len", |s, _| done((s.len(), s.is_empty(), s.name().map(str::len), s.stats()))),
    ("run_pending_tasks", |s, _| s.run_pending_tasks()),
    #[cfg(feature = "serde")]
    ("snapshot and restore", |s, _| {
        let mut bytes = Vec::new();
        s.snapshot(&mut bytes).unwrap();
        done(s.restore(&bytes[..], Duration::ZERO));
    }),
];

type SetOff = fn(&Sessions, &ManualClock, &SessionId);

const PLACES: &[(&str, Code, SetOff)] = &[
    ("the owner, of create", Code::Owner, |s, _, _| done(s.create(ADA))),
    ("the owner, of replace", Code::Owner, |s, _, id| done(s.replace(id, 8))),
    ("the owner, of update", Code::Owner, |s, _, id| done(s.update(id, |_| 8))),
    ("the owner, of modify", Code::Owner, |s, _, id| done(s.modify(id, |data| *data = 8))),
    ("the owner, of rotate_with", Code::Owner, |s, _, id| done(s.rotate_with(id, |data| *data = 8))),
    ("a look", Code::Closure, |s, _, id| done(s.read(id, |_| at(Code::Closure)))),
    ("an update", Code::Closure, |s, _, id| {
        done(s.update(id, |data| {
            at(Code::Closure);
            *data
        }));
    }),
    ("a change", Code::Closure, |s, _, id| done(s.modify(id, |_| at(Code::Closure)))),
    ("a log-in", Code::Closure, |s, _, id| done(s.rotate_with(id, |_| at(Code::Closure)))),
    ("the end, of remove", Code::Ended(EndCause::Ended), |s, _, id| done(s.remove(id))),
    ("the end, of end", Code::Ended(EndCause::Ended), |s, _, id| done(s.end(id))),
    ("the end, of retain", Code::Ended(EndCause::Ended), |s, _, _| s.retain(|_, _| false)),
    ("the end, of end_all", Code::Ended(EndCause::AllEnded), |s, _, _| done(s.end_all(&ADA))),
    ("the end, of end_others", Code::Ended(EndCause::AllEnded), |s, _, id| done(s.end_others(id))),
    ("the end, of who is displaced", Code::Ended(EndCause::Displaced), |s, _, _| {
        (0..3).for_each(|_| done(s.create(ADA)));
    }),
    ("the end, of a sweep", Code::Ended(EndCause::Expired), |_, clock, _| clock.advance(LONG)),
    ("the end, of run_pending_tasks", Code::Ended(EndCause::Expired), |s, clock, _| {
        clock.advance_without_sweeping(LONG);
        s.run_pending_tasks();
    }),
];

#[test]
fn every_method_of_sessions_in_every_place() {
    let _serial = serially();
    for (place, code, set_off) in PLACES {
        for (method, call) in METHODS {
            for at_hand in 0..3 {
                let what = format!("{method} in {place}, session {at_hand}");
                let _watchdog = Watchdog::over(what.clone(), super::PATIENCE);
                let clock = ManualClock::new();
                let builder = SessionManager::builder().name("world").clock(clock.clone());
                let builder = builder.owner(|data: &u64| {
                    at(Code::Owner);
                    Some(*data)
                });
                let builder = builder.max_per_owner(3, WhenCrowded::EndOldest).own_max_ages();
                let sessions: Sessions =
                    builder.end_listener(|_, _, cause| at(Code::Ended(cause))).build().unwrap();
                // One that has expired and is still in memory; two that are there.
                let over = sessions.create(9).unwrap();
                clock.advance_without_sweeping(Duration::from_secs(5));
                let ids = [sessions.create(ADA).unwrap(), sessions.create(ADA).unwrap(), over];
                let (others, id) = (sessions.clone(), ids[at_hand]);
                arm(*code, move || call(&others, &id));
                set_off(&sessions, &clock, &ids[0]);
                let panicked = disarm().unwrap_or_else(|| panic!("{what}: it was never called"));
                assert_eq!(panicked, None, "{what}");
                sessions.run_pending_tasks();
                sessions.validate();
            }
        }
    }
}
