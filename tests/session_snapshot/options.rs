//! Sessions that are restored into a manager that was built with other options.

use super::{SECOND, contains};
use std::time::Duration;
use tidewheel::{Lifetime, ManualClock, SessionManager};

const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

type Sessions = SessionManager<String>;

/// What a manager was built with.
#[derive(Clone, Copy, Debug)]
struct Options {
    idle: Duration,
    max_age: Option<Duration>,
    reads_count: bool,
    own_max_ages: bool,
}

impl Options {
    const fn idle(idle: Duration) -> Self {
        Self { idle, max_age: None, reads_count: false, own_max_ages: false }
    }

    /// All that there are with an idle time of some minutes. No session gets as old as the maximal age here.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for idle in [20, 30, 60].map(|minutes| minutes * MINUTE) {
            for max_age in [None, Some(300 * MINUTE)] {
                for (reads_count, own_max_ages) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    all.push(Self { idle, max_age, reads_count, own_max_ages });
                }
            }
        }
        all
    }

    fn build(self) -> (ManualClock, Sessions) {
        self.build_for(usize::MAX)
    }

    fn build_for(self, max_sessions: usize) -> (ManualClock, Sessions) {
        let clock = ManualClock::new();
        let mut builder = SessionManager::builder().idle(self.idle).clock(clock.clone());
        if let Some(max_age) = self.max_age {
            builder = builder.max_age(max_age);
        }
        if self.reads_count {
            builder = builder.reads_count();
        }
        if self.own_max_ages {
            builder = builder.own_max_ages();
        }
        if max_sessions < usize::MAX {
            builder = builder.max_sessions(max_sessions);
        }
        (clock, builder.build().unwrap())
    }
}

fn written(sessions: &Sessions) -> Vec<u8> {
    let mut bytes = Vec::new();
    sessions.snapshot(&mut bytes).unwrap();
    bytes
}

/// What may be done to a session.
#[derive(Clone, Copy, Debug)]
enum Use {
    Touch,
    Replace,
    Modify,
    Rotate,
    GetAndTouch,
    Get,
}

impl Use {
    const ALL: [Self; 6] =
        [Self::Touch, Self::Replace, Self::Modify, Self::Rotate, Self::GetAndTouch, Self::Get];

    fn restarts_the_idle_time(self, options: Options) -> bool {
        options.reads_count || !matches!(self, Self::Get)
    }
}

/// Uses a session; its id then.
fn used(sessions: &Sessions, id: tidewheel::SessionId, by: Use) -> tidewheel::SessionId {
    match by {
        Use::Touch => sessions.touch(&id).unwrap(),
        Use::Replace => sessions.replace(&id, "ben".to_string()).unwrap(),
        Use::Modify => sessions.modify(&id, |name| name.push('!')).unwrap(),
        Use::Rotate => return sessions.rotate(&id).unwrap(),
        Use::GetAndTouch => drop(sessions.get_and_touch(&id).unwrap()),
        Use::Get => drop(sessions.get(&id).unwrap()),
    }
    id
}

/// From each manager into each: what is left is what it had, or the idle time of the manager that it comes to if that is shorter. Each use
/// brings that manager's idle time, and a session that is silent for so long is over.
#[test]
fn the_idle_time_of_the_next_manager_holds_whatever_the_options() {
    for (from, to) in
        Options::all().into_iter().flat_map(|from| Options::all().into_iter().map(move |to| (from, to)))
    {
        let own_ends = if from.own_max_ages { &[None, Some(200 * MINUTE)][..] } else { &[None] };
        for (own_end, by) in own_ends.iter().flat_map(|end| Use::ALL.map(|by| (end, by))) {
            let what = format!("{from:?}\n to {to:?},\n {own_end:?}, {by:?}");
            let (clock, before) = from.build();
            let life = own_end.map_or(Lifetime::new(), |end| Lifetime::new().max_age(end));
            let id = before.create_with("ada".to_string(), life).unwrap();
            clock.advance(10 * MINUTE);

            let (clock, after) = to.build();
            assert_eq!(after.restore(&written(&before)[..], Duration::ZERO).unwrap(), 1);
            let left = (from.idle - 10 * MINUTE).min(to.idle);
            assert_eq!(after.remaining(&id).unwrap(), left, "restored, {what}");
            clock.advance(5 * MINUTE);
            let id = used(&after, id, by);
            clock.advance(MINUTE);
            let id = used(&after, id, by);
            let left = if by.restarts_the_idle_time(to) { to.idle } else { left - 6 * MINUTE };
            assert_eq!(after.remaining(&id).unwrap(), left, "used, {what}");
            clock.advance(left - SECOND);
            assert!(after.remaining(&id).is_ok(), "{what}");
            clock.advance(SECOND);
            assert!(after.remaining(&id).is_err(), "it was silent, {what}");
        }
    }
}

#[test]
fn a_session_whose_reads_counted_ends_by_idleness_where_sessions_have_ages_of_their_own() {
    let from = Options { reads_count: true, ..Options::idle(30 * MINUTE) };
    let to = Options { own_max_ages: true, ..Options::idle(30 * MINUTE) };
    let (_clock, before) = from.build();
    let id = before.create("ada".to_string()).unwrap();
    let (clock, after) = to.build();
    after.restore(&written(&before)[..], Duration::ZERO).unwrap();
    after.get_and_touch(&id).unwrap();
    assert_eq!(after.remaining(&id).unwrap(), 30 * MINUTE);
    clock.advance(YEAR);
    assert!(after.get(&id).is_err(), "it was silent for a year");
}

#[test]
fn a_shorter_idle_time_of_the_next_manager_ends_what_is_restored() {
    let (clock, before) = Options::idle(480 * MINUTE).build();
    let usual = before.create("usual".to_string()).unwrap();
    let used = before.create("used".to_string()).unwrap();
    let own = before.create_with("own".to_string(), Lifetime::new().idle(240 * MINUTE)).unwrap();
    clock.advance(60 * MINUTE);
    let (clock, after) = Options::idle(5 * MINUTE).build();
    assert_eq!(after.restore(&written(&before)[..], Duration::ZERO).unwrap(), 3);
    after.get_and_touch(&used).unwrap();
    let left = [usual, used, own].map(|id| after.remaining(&id).unwrap());
    assert_eq!(left, [5 * MINUTE, 5 * MINUTE, 180 * MINUTE], "it keeps an idle time of its own");
    clock.advance(5 * MINUTE);
    assert_eq!([usual, used, own].map(|id| after.remaining(&id).is_ok()), [false, false, true]);
}

/// Nobody can tell it from the manager's: the snapshot does not say which it was.
#[test]
fn an_idle_time_that_is_as_the_managers_is_not_kept() {
    let (_clock, before) = Options::idle(30 * MINUTE).build();
    let id = before.create_with("ada".to_string(), Lifetime::new().idle(30 * MINUTE)).unwrap();
    let bytes = written(&before);
    assert!(contains(&bytes, b"ada"));
    let (_clock, after) = Options::idle(60 * MINUTE).build();
    after.restore(&bytes[..], Duration::ZERO).unwrap();
    assert_eq!(after.remaining(&id).unwrap(), 30 * MINUTE);
    after.touch(&id).unwrap();
    assert_eq!(after.remaining(&id).unwrap(), 60 * MINUTE);
}

#[test]
fn what_is_over_by_the_next_managers_maximal_age_takes_no_room() {
    for own_max_ages in [false, true] {
        let (clock, before) = Options::idle(30 * MINUTE).build();
        let old = before.create("old".to_string()).unwrap();
        for _ in 0..36 {
            clock.advance(15 * MINUTE);
            before.touch(&old).unwrap();
        }
        let young = before.create("young".to_string()).unwrap();
        let to = Options { max_age: Some(480 * MINUTE), own_max_ages, ..Options::idle(30 * MINUTE) };
        let (_clock, after) = to.build_for(1);
        assert_eq!(after.restore(&written(&before)[..], Duration::ZERO).unwrap(), 1);
        assert_eq!([old, young].map(|id| after.remaining(&id).is_ok()), [false, true]);
        after.validate();
        after.remove(&young).unwrap();
        after.create("next".to_string()).unwrap();
    }
}
