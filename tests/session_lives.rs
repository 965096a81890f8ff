//! How long single sessions live, and which calls restart their idle times, on a clock that the test moves.

use std::time::Duration;
use tidewheel::{Lifetime, ManualClock, SessionError, SessionId, SessionManager, SessionManagerBuilder};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(5);
const SWEPT: Duration = Duration::from_secs(2);

type Sessions = SessionManager<u32>;

fn on_clock() -> (ManualClock, SessionManagerBuilder<u32>) {
    let clock = ManualClock::new();
    let builder = SessionManager::builder().clock(clock.clone());
    (clock, builder)
}

#[track_caller]
fn not_found<T>(answer: Result<T, SessionError>) {
    assert!(matches!(answer, Err(SessionError::NotFound)), "{:?}", answer.err());
}

#[test]
fn an_idle_time_of_its_own_holds_through_every_call() {
    type Act = fn(&Sessions, SessionId) -> SessionId;
    let acts: [(&str, Act); 6] = [
        ("replace", |sessions, id| sessions.replace(&id, 2).map(|()| id).unwrap()),
        ("update", |sessions, id| sessions.update(&id, |data| data + 1).map(|()| id).unwrap()),
        ("modify", |sessions, id| sessions.modify(&id, |data| *data += 1).map(|()| id).unwrap()),
        ("touch", |sessions, id| sessions.touch(&id).map(|()| id).unwrap()),
        ("rotate", |sessions, id| sessions.rotate(&id).unwrap()),
        ("get_and_touch", |sessions, id| sessions.get_and_touch(&id).map(|_| id).unwrap()),
    ];
    for (name, act) in acts {
        for by_set in [false, true] {
            let (clock, builder) = on_clock();
            let sessions = builder.build().unwrap();
            let mut id = if by_set {
                let id = sessions.create(1).unwrap();
                sessions.set_idle(&id, MINUTE).unwrap();
                id
            } else {
                sessions.create_with(1, Lifetime::new().idle(MINUTE)).unwrap()
            };
            let plain = sessions.create(1).unwrap();
            for _ in 0..3 {
                clock.advance(MINUTE - MILLI);
                id = act(&sessions, id);
                assert_eq!(sessions.remaining(&id).unwrap(), MINUTE, "{name}");
            }
            not_found(sessions.get(&plain));
            clock.advance(MINUTE);
            not_found(sessions.get(&id));
            clock.advance(SWEPT);
            assert_eq!(sessions.len(), 0);
            sessions.validate();
        }
    }
}

#[test]
fn an_idle_time_may_become_shorter() {
    let (clock, builder) = on_clock();
    let sessions = builder.build().unwrap();
    let id = sessions.create(1).unwrap();
    sessions.set_idle(&id, SECOND).unwrap();
    clock.advance(SECOND);
    not_found(sessions.get(&id));
    not_found(sessions.set_idle(&id, MINUTE));
    clock.advance(SWEPT);
    assert_eq!(sessions.len(), 0);
}

#[test]
fn a_maximal_age_of_its_own_is_moved_by_nothing_and_goes_along() {
    let (clock, builder) = on_clock();
    let sessions = builder.max_age(8 * SECOND).own_max_ages().build().unwrap();
    let plain = sessions.create(1).unwrap();
    let mut short = sessions.create_with(1, Lifetime::new().max_age(6 * SECOND)).unwrap();
    let mut long = sessions.create_with(1, Lifetime::new().max_age(20 * SECOND)).unwrap();
    for second in 1..20 {
        clock.advance(SECOND - MILLI);
        if second == 6 {
            sessions.get(&short).unwrap();
        }
        clock.advance(MILLI);
        for (id, end) in [(&mut short, 6), (&mut long, 20)] {
            if second >= end {
                not_found(sessions.get(id));
                continue;
            }
            match second % 4 {
                0 => sessions.replace(id, second).unwrap(),
                1 => sessions.modify(id, |data| *data += 1).unwrap(),
                2 => sessions.touch(id).unwrap(),
                _ => *id = sessions.rotate(id).unwrap(),
            }
        }
        match second {
            ..8 => sessions.touch(&plain).unwrap(),
            _ => not_found(sessions.touch(&plain)),
        }
        sessions.validate();
    }
    assert_eq!(sessions.remaining(&long).unwrap(), SECOND);
    clock.advance(SECOND);
    not_found(sessions.get(&long));
    clock.advance(SWEPT);
    assert_eq!(sessions.len(), 0);
}

#[test]
fn a_maximal_age_that_is_set_later_counts_from_then() {
    let (clock, builder) = on_clock();
    let sessions = builder.idle(MINUTE).max_age(10 * SECOND).own_max_ages().build().unwrap();
    let id = sessions.create(1).unwrap();
    clock.advance(9 * SECOND);
    sessions.set_max_age(&id, 30 * SECOND).unwrap();
    assert_eq!(sessions.remaining(&id).unwrap(), 30 * SECOND);
    clock.advance(29 * SECOND);
    sessions.touch(&id).unwrap();
    sessions.set_max_age(&id, Duration::MAX).unwrap();
    assert_eq!(sessions.remaining(&id).unwrap(), MINUTE, "its idle time is left");
}

#[test]
fn another_maximal_age_restarts_no_idle_time() {
    for reads_count in [false, true] {
        let (clock, builder) = on_clock();
        let builder = builder.idle(IDLE).own_max_ages();
        let sessions = if reads_count { builder.reads_count() } else { builder }.build().unwrap();
        let id = sessions.create(1).unwrap();
        clock.advance(3 * SECOND);
        for max_age in [MINUTE, 4 * SECOND, Duration::MAX] {
            sessions.set_max_age(&id, max_age).unwrap();
            assert_eq!(sessions.remaining(&id).unwrap(), 2 * SECOND);
        }
        clock.advance(SECOND);
        sessions.touch(&id).unwrap();
        assert_eq!(sessions.remaining(&id).unwrap(), IDLE, "and a touch restarts it");
        sessions.set_max_age(&id, SECOND).unwrap();
        assert_eq!(sessions.remaining(&id).unwrap(), SECOND);
        clock.advance(SECOND);
        not_found(sessions.get(&id));
        sessions.validate();
    }
}

/// When the idle time would be over is not known then: the session's end was earlier than that.
#[test]
fn where_reads_count_a_maximal_age_that_came_first_may_be_put_off() {
    let (clock, builder) = on_clock();
    let sessions = builder.idle(IDLE).max_age(2 * SECOND).own_max_ages().reads_count().build().unwrap();
    let id = sessions.create(1).unwrap();
    clock.advance(SECOND);
    sessions.set_max_age(&id, MINUTE).unwrap();
    assert_eq!(sessions.remaining(&id).unwrap(), IDLE);
    clock.advance(IDLE - SECOND);
    assert_eq!(sessions.get(&id).unwrap(), 1);
    assert_eq!(sessions.remaining(&id).unwrap(), IDLE);
}

#[test]
fn what_a_manager_was_not_built_for_it_says() {
    let (_clock, builder) = on_clock();
    let sessions = builder.build().unwrap();
    let id = sessions.create(1).unwrap();
    let answers = [
        sessions.set_max_age(&id, SECOND),
        sessions.create_with(1, Lifetime::new().max_age(SECOND)).map(drop),
    ];
    for answer in answers {
        let said = answer.unwrap_err();
        assert!(matches!(said, SessionError::Unsupported { .. }));
        assert!(said.to_string().contains("own_max_ages"), "{said}");
    }
    assert_eq!(sessions.len(), 1);
    let (_clock, builder) = on_clock();
    let sessions = builder.reads_count().build().unwrap();
    let id = sessions.create(1).unwrap();
    let said = sessions.set_idle(&id, SECOND).unwrap_err();
    assert!(said.to_string().contains("reads_count"), "{said}");
}

#[test]
fn reads_restart_the_idle_time_where_they_count_and_what_only_looks_does_not() {
    for max_age in [None, Some(MINUTE)] {
        let (clock, builder) = on_clock();
        let builder = builder.reads_count().owner(|user: &u32| Some(*user));
        let builder = if let Some(max_age) = max_age { builder.max_age(max_age) } else { builder };
        let sessions = builder.build().unwrap();
        let id = sessions.create(1).unwrap();
        for _ in 0..3 {
            clock.advance(IDLE - MILLI);
            assert_eq!(sessions.get(&id).unwrap(), 1);
            clock.advance(IDLE - MILLI);
            assert_eq!(sessions.read(&id, |data| *data).unwrap(), 1);
        }
        clock.advance(IDLE - MILLI);
        assert_eq!(sessions.remaining(&id).unwrap(), MILLI);
        assert_eq!(sessions.iter().count(), 1);
        assert_eq!(sessions.sessions_of(&1)[0].remaining(), MILLI);
        assert_eq!(sessions.end_others(&id).unwrap(), 0);
        sessions.retain(|_, _| true);
        clock.advance(MILLI);
        not_found(sessions.get(&id));
        clock.advance(SWEPT);
        assert_eq!(sessions.len(), 0);
        sessions.validate();
    }
}

#[test]
fn where_reads_count_the_maximal_age_still_ends_a_session() {
    let (clock, builder) = on_clock();
    let sessions = builder.reads_count().max_age(8 * SECOND).build().unwrap();
    let id = sessions.create(1).unwrap();
    for _ in 0..7 {
        clock.advance(SECOND);
        sessions.get(&id).unwrap();
        sessions.get_and_touch(&id).unwrap();
    }
    clock.advance(SECOND);
    not_found(sessions.get(&id));
}

#[test]
fn what_suits_a_log_in() {
    let (clock, builder) = on_clock();
    let sessions = builder.for_logins().build().unwrap();
    let id = sessions.create(1).unwrap();
    for _ in 0..16 {
        clock.advance(30 * MINUTE - MILLI);
        sessions.touch(&id).unwrap();
    }
    clock.advance(16 * MILLI);
    not_found(sessions.get(&id));
    // The seed's manager stays what it was.
    let sessions = SessionManager::builder().clock(clock).build().unwrap();
    let id = sessions.create(1).unwrap();
    assert_eq!(sessions.remaining(&id).unwrap(), IDLE);
}

#[test]
fn iter_and_retain_see_every_live_session_once() {
    let (clock, builder) = on_clock();
    let sessions = builder.build().unwrap();
    let over = sessions.create(1_000).unwrap();
    clock.advance_without_sweeping(IDLE);
    let mut ids: Vec<_> = (0..1_000).map(|data| (sessions.create(data).unwrap(), data)).collect();
    let mut all: Vec<_> = sessions.iter().collect();
    ids.sort_by_key(|(_, data)| *data);
    all.sort_by_key(|(_, data)| *data);
    assert_eq!(all, ids);
    sessions.retain(|id, data| {
        assert_ne!(*id, over);
        data % 10 == 0
    });
    assert_eq!(sessions.iter().count(), 100);
    assert!(ids.iter().all(|(id, data)| sessions.get(id).is_ok() == (data % 10 == 0)));
    sessions.validate();
}

#[test]
fn each_read_is_counted_once_whether_it_restarts_the_idle_time_or_not() {
    for reads_count in [false, true] {
        let (_clock, builder) = on_clock();
        let builder = builder.record_stats();
        let sessions = if reads_count { builder.reads_count() } else { builder }.build().unwrap();
        let id = sessions.create(1).unwrap();
        assert!(sessions.get(&id).is_ok() && sessions.get_and_touch(&id).is_ok());
        assert!(sessions.read_and_touch(&id, |_| ()).is_ok());
        sessions.remove(&id).unwrap();
        not_found(sessions.get(&id));
        not_found(sessions.get_and_touch(&id));
        not_found(sessions.read_and_touch(&id, |_| panic!("nothing to look at")));
        let stats = sessions.stats();
        assert_eq!((stats.found, stats.not_found), (3, 3), "reads count as use: {reads_count}");
    }
}
