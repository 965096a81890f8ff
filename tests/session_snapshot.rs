//! Sessions written out and read back: with ids, owners and times; and what is in the bytes.

#[path = "session_snapshot/claims.rs"]
mod claims;
#[path = "session_snapshot/options.rs"]
mod options;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;
use tidewheel::{
    Lifetime, ManualClock, RestoreError, SessionError, SessionId, SessionManager, SessionManagerBuilder,
    SnapshotPart, WhenCrowded,
};

const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(60);
/// How often threads meet.
const ROUNDS: usize = 300;

fn on_clock() -> (ManualClock, SessionManagerBuilder<String, char>) {
    let clock = ManualClock::new();
    let owner = |name: &String| name.chars().next();
    let builder = SessionManager::builder().idle(IDLE).clock(clock.clone()).owner(owner);
    (clock, builder)
}

fn manager() -> (ManualClock, SessionManager<String, char>) {
    let (clock, builder) = on_clock();
    (clock, builder.max_age(10 * IDLE).build().unwrap())
}

fn written(sessions: &SessionManager<String, char>) -> Vec<u8> {
    let mut bytes = Vec::new();
    sessions.snapshot(&mut bytes).unwrap();
    bytes
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn sessions_come_back_with_ids_ages_owners_and_what_is_left() {
    let (clock, before) = manager();
    let ada = before.create("ada".to_string()).unwrap();
    clock.advance(10 * SECOND);
    let second = before.create("anna".to_string()).unwrap();
    let nobody = before.create(String::new()).unwrap();
    let remembered = before.create_with("ben".to_string(), Lifetime::new().idle(5 * IDLE)).unwrap();
    clock.advance(10 * SECOND);
    let bytes = written(&before);

    let (later, after) = manager();
    assert_eq!(after.restore(&bytes[..], 15 * SECOND).unwrap(), 4);
    after.validate();
    assert_eq!(after.get(&ada).unwrap(), "ada");
    assert_eq!(after.get(&nobody).unwrap(), "");
    let list: Vec<_> =
        after.sessions_of(&'a').iter().map(|info| (info.id(), info.age(), info.remaining())).collect();
    assert_eq!(
        list,
        [(ada, 35 * SECOND, 25 * SECOND), (second, 25 * SECOND, 35 * SECOND)],
        "the oldest first"
    );
    assert_eq!(after.remaining(&remembered).unwrap(), 5 * IDLE - 25 * SECOND);
    after.touch(&remembered).unwrap();
    assert_eq!(after.remaining(&remembered).unwrap(), 5 * IDLE);
    assert_eq!(after.end_all(&'a'), 2);
    later.advance(10 * IDLE);
    assert_eq!(after.len(), 0);
    after.validate();
}

#[test]
fn what_was_over_while_the_process_was_away_does_not_come_back() {
    let (clock, before) = manager();
    let old = before.create("old".to_string()).unwrap();
    clock.advance(30 * SECOND);
    let young = before.create("young".to_string()).unwrap();
    let bytes = written(&before);
    // The clock stands still, and time has gone on all the same.
    let (_clock, after) = manager();
    assert_eq!(after.restore(&bytes[..], 30 * SECOND).unwrap(), 1);
    assert!(matches!(after.get(&old), Err(SessionError::NotFound)));
    assert_eq!(after.remaining(&young).unwrap(), 30 * SECOND);
    after.validate();
    let (_clock, after) = manager();
    assert_eq!(after.restore(&bytes[..], Duration::MAX).unwrap(), 0);
    let (_clock, after) = manager();
    assert_eq!(after.restore(&bytes[..], Duration::ZERO).unwrap(), 2, "as if no time had passed");
}

/// Into the manager that wrote it, a snapshot is not for. What it can know of a session that has moved on, it keeps.
#[test]
fn a_session_that_was_rotated_since_does_not_come_back_under_its_first_id() {
    let (_clock, sessions) = manager();
    let first = sessions.create("ada".to_string()).unwrap();
    let bytes = written(&sessions);
    let second = sessions.rotate(&first).unwrap();
    let third = sessions.rotate(&second).unwrap();
    assert_eq!(sessions.restore(&bytes[..], Duration::ZERO).unwrap(), 0);
    assert!(sessions.get(&first).is_err() && sessions.get(&third).is_ok());
    sessions.validate();
}

fn ids_of(sessions: &SessionManager<String, char>, owner: char) -> Vec<SessionId> {
    sessions.sessions_of(&owner).iter().map(|info| info.id()).collect()
}

/// The snapshot does not say under which id a session first had an owner. So what is restored under an id is told apart from what was
/// there before, also where that has expired and nobody has taken it out.
#[test]
fn a_session_that_expired_under_its_second_id_comes_back_as_one_session() {
    let (clock, builder) = on_clock();
    let sessions = builder.max_per_owner(2, WhenCrowded::EndOldest).build().unwrap();
    let first = sessions.create("ada".to_string()).unwrap();
    let second = sessions.rotate(&first).unwrap();
    let bytes = written(&sessions);
    clock.advance_without_sweeping(IDLE);
    assert!(sessions.get(&second).is_err());
    assert_eq!(sessions.restore(&bytes[..], Duration::ZERO).unwrap(), 1);
    assert_eq!(ids_of(&sessions, 'a'), [second]);
    sessions.validate();
    // Ada may have two, and has one.
    let other = sessions.create("anna".to_string()).unwrap();
    assert!(sessions.get(&second).is_ok(), "displaced though there is room");
    assert_eq!(ids_of(&sessions, 'a'), [second, other]);
    // The one that stays is not taken for another.
    assert_eq!(sessions.end_others(&second).unwrap(), 1);
    assert_eq!(ids_of(&sessions, 'a'), [second]);
    assert_eq!(sessions.end_all(&'a'), 1);
    assert!(sessions.is_empty());
    sessions.validate();
}

/// Whether the reaper has been there makes no difference.
#[test]
fn a_session_that_has_expired_comes_back_before_it_is_swept_and_after() {
    for (is_swept, is_rotated) in [(false, false), (false, true), (true, false), (true, true)] {
        let (clock, builder) = on_clock();
        let sessions = builder.max_sessions(2).build().unwrap();
        let mut id = sessions.create("ada".to_string()).unwrap();
        if is_rotated {
            id = sessions.rotate(&id).unwrap();
        }
        let bytes = written(&sessions);
        clock.advance_without_sweeping(IDLE);
        if is_swept {
            sessions.run_pending_tasks();
        }
        assert_eq!(sessions.restore(&bytes[..], Duration::ZERO).unwrap(), 1, "{is_swept}, {is_rotated}");
        assert_eq!(ids_of(&sessions, 'a'), [id]);
        sessions.validate();
        let moved = sessions.rotate(&id).unwrap();
        assert_eq!(sessions.restore(&bytes[..], Duration::ZERO).unwrap(), 0, "it has moved on");
        assert_eq!(ids_of(&sessions, 'a'), [moved]);
        assert_eq!(sessions.end_all(&'a'), 1);
        sessions.validate();
    }
}

/// Sessions that were swept at once are told of one after the other. Who hears of the first restores them all, and then the index hears of the others.
#[test]
fn what_is_restored_while_it_is_told_that_it_expired_is_one_session() {
    let (clock, builder) = on_clock();
    let (bytes, restored) = (Arc::new(OnceLock::<Vec<u8>>::new()), Arc::new(AtomicU64::new(0)));
    let place = Arc::new(OnceLock::<SessionManager<String, char>>::new());
    let (bytes_there, restored_there, manager) = (bytes.clone(), restored.clone(), place.clone());
    let sessions = builder
        .end_listener(move |_, _, _| {
            if restored_there.load(Ordering::Relaxed) == 0 {
                let count = manager.get().unwrap().restore(&bytes_there.get().unwrap()[..], Duration::ZERO);
                restored_there.fetch_add(count.unwrap(), Ordering::Relaxed);
            }
        })
        .build()
        .unwrap();
    place.set(sessions.clone()).unwrap();
    let mut back: Vec<_> = (0..8)
        .map(|n| {
            let first = sessions.create(format!("ada {n}")).unwrap();
            sessions.rotate(&first).unwrap()
        })
        .collect();
    bytes.set(written(&sessions)).unwrap();
    clock.advance_without_sweeping(IDLE);
    sessions.run_pending_tasks();
    assert_eq!(restored.load(Ordering::Relaxed), 8);
    let mut listed = ids_of(&sessions, 'a');
    listed.sort_by_key(SessionId::encode);
    back.sort_by_key(SessionId::encode);
    assert_eq!(listed, back);
    sessions.validate();
    assert_eq!(sessions.end_all(&'a'), 8);
    sessions.validate();
}

/// A session that is restored under an id from which it is moving is another session from then on. Each of the two is listed.
#[test]
fn a_restore_beside_a_rotation_leaves_two_sessions_or_one() {
    for _ in 0..ROUNDS {
        let (_clock, sessions) = manager();
        let first = sessions.create("ada".to_string()).unwrap();
        let second = sessions.rotate(&first).unwrap();
        let bytes = written(&sessions);
        let start = Barrier::new(2);
        let third = thread::scope(|scope| {
            let rotator = scope.spawn(|| {
                start.wait();
                sessions.rotate(&second).unwrap()
            });
            start.wait();
            // Until it is back, and before the rotation if that comes too late.
            for _ in 0..100 {
                sessions.restore(&bytes[..], Duration::ZERO).unwrap();
                if sessions.get(&second).is_ok() && rotator.is_finished() {
                    break;
                }
            }
            rotator.join().unwrap()
        });
        let listed = ids_of(&sessions, 'a');
        assert!(listed.contains(&third), "it is there, and in no list");
        assert_eq!(listed.contains(&second), sessions.get(&second).is_ok());
        sessions.validate();
        assert_eq!(sessions.end_all(&'a'), listed.len());
        sessions.validate();
    }
}

#[test]
fn a_maximal_age_counts_on_across_processes() {
    for own in [false, true] {
        let build = || {
            let (clock, builder) = on_clock();
            let builder = builder.idle(Duration::MAX).max_age(10 * SECOND);
            (clock, if own { builder.own_max_ages() } else { builder }.build().unwrap())
        };
        let (clock, before) = build();
        let id = before.create("ada".to_string()).unwrap();
        clock.advance(4 * SECOND);
        let (clock, after) = build();
        assert_eq!(after.restore(&written(&before)[..], 3 * SECOND).unwrap(), 1);
        assert_eq!(after.remaining(&id).unwrap(), 3 * SECOND);
        clock.advance(3 * SECOND);
        assert!(after.get(&id).is_err());
    }
}

/// Whichever of the two managers lets sessions have ages of their own, and whichever has its reads count.
#[test]
fn the_managers_maximal_age_holds_for_what_is_restored() {
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    let build = |(own, reads_count): (bool, bool)| {
        let (clock, builder) = on_clock();
        let builder = builder.max_age(100 * SECOND);
        let builder = if own { builder.own_max_ages() } else { builder };
        (clock, if reads_count { builder.reads_count() } else { builder }.build().unwrap())
    };
    for (from, to) in kinds.into_iter().flat_map(|from| kinds.map(|to| (from, to))) {
        let (clock, before) = build(from);
        let id = before.create("ada".to_string()).unwrap();
        clock.advance(20 * SECOND);
        let (clock, after) = build(to);
        assert_eq!(after.restore(&written(&before)[..], 10 * SECOND).unwrap(), 1);
        clock.advance(20 * SECOND);
        after.touch(&id).unwrap();
        after.modify(&id, |name| name.push('!')).unwrap();
        assert_eq!(after.remaining(&id).unwrap(), 50 * SECOND, "{from:?} to {to:?}");
        let id = after.rotate(&id).unwrap();
        clock.advance(49 * SECOND);
        after.touch(&id).unwrap();
        clock.advance(SECOND);
        assert!(after.get(&id).is_err(), "it is 100 s old, {from:?} to {to:?}");
        // Too old where it comes to.
        let (_clock, after) = build(to);
        assert_eq!(after.restore(&written(&before)[..], 80 * SECOND).unwrap(), 0);
        after.validate();
    }
}

#[test]
fn a_maximal_age_of_its_own_is_kept_where_it_may_have_one() {
    let build = |max_age: Duration| {
        let (clock, builder) = on_clock();
        (clock, builder.idle(Duration::MAX).max_age(max_age).own_max_ages().build().unwrap())
    };
    let (clock, before) = build(100 * SECOND);
    let ages = [30 * SECOND, 1000 * SECOND, Duration::MAX].map(|age| Lifetime::new().max_age(age));
    let [short, long, endless] = ages.map(|life| before.create_with("ada".to_string(), life).unwrap());
    let usual = before.create("ada".to_string()).unwrap();
    clock.advance(10 * SECOND);
    let bytes = written(&before);
    for max_age in [5 * SECOND, 100 * SECOND, 500 * SECOND] {
        let (clock, after) = build(max_age);
        assert_eq!(after.restore(&bytes[..], 10 * SECOND).unwrap(), 4);
        let ids = [short, long, endless, usual];
        ids.iter().for_each(|id| after.touch(id).unwrap());
        let left = [short, long, usual].map(|id| after.remaining(&id).unwrap());
        assert_eq!(left, [10 * SECOND, 980 * SECOND, 80 * SECOND]);
        clock.advance(980 * SECOND);
        assert_eq!(ids.map(|id| after.get(&id).is_ok()), [false, false, true, false]);
        after.set_max_age(&endless, Duration::MAX).unwrap();
        let bytes = written(&after);
        let (_clock, after) = build(max_age);
        assert_eq!(after.restore(&bytes[..], SECOND).unwrap(), 1, "nor does it end the next time");
    }
    // Where it may have none, the manager's holds from the next use on.
    let (clock, builder) = on_clock();
    let after = builder.max_age(100 * SECOND).build().unwrap();
    assert_eq!(after.restore(&bytes[..], 10 * SECOND).unwrap(), 4);
    assert_eq!(after.remaining(&short).unwrap(), 10 * SECOND);
    [short, long, endless].iter().for_each(|id| after.touch(id).unwrap());
    clock.advance(50 * SECOND);
    [short, long, endless].iter().for_each(|id| after.touch(id).unwrap());
    clock.advance(30 * SECOND);
    assert_eq!([short, long, endless].map(|id| after.get(&id).is_ok()), [false; 3]);
}

/// In a manager whose reads count, all sessions have the manager's idle time, and a read restarts it.
#[test]
fn reads_count_for_what_is_restored() {
    for max_age in [None, Some(1000 * SECOND)] {
        let build = |reads_count: bool| {
            let (clock, builder) = on_clock();
            let builder = if let Some(max_age) = max_age { builder.max_age(max_age) } else { builder };
            (clock, if reads_count { builder.reads_count() } else { builder }.build().unwrap())
        };
        let (clock, before) = build(false);
        let usual = before.create("ada".to_string()).unwrap();
        let lives = [IDLE / 2, 10 * IDLE].map(|idle| Lifetime::new().idle(idle));
        let [short, long] = lives.map(|life| before.create_with("ben".to_string(), life).unwrap());
        clock.advance(10 * SECOND);
        let (clock, after) = build(true);
        assert_eq!(after.restore(&written(&before)[..], 5 * SECOND).unwrap(), 3);
        let ids = [usual, short, long];
        let left = ids.map(|id| after.remaining(&id).unwrap());
        assert_eq!(left, [45 * SECOND, 15 * SECOND, IDLE], "it goes on where it was");
        for _ in 0..5 {
            clock.advance(14 * SECOND);
            ids.iter().for_each(|id| _ = after.get(id).unwrap());
        }
        assert_eq!(ids.map(|id| after.remaining(&id).unwrap()), [IDLE; 3]);
        clock.advance(IDLE);
        assert_eq!(ids.map(|id| after.get(&id).is_ok()), [false; 3]);
        after.validate();
    }
}

/// A call by which a session gets another end, and the id that it has then.
type Use = fn(&SessionManager<String, char>, SessionId) -> SessionId;

/// Where sessions have no ages of their own, one that was given elsewhere holds for reads. A touch or a write puts the manager's in its place.
#[test]
fn an_age_from_elsewhere_ends_a_session_that_is_only_read() {
    let (clock, builder) = on_clock();
    let before = builder.own_max_ages().build().unwrap();
    let id = before.create_with("ada".to_string(), Lifetime::new().max_age(2 * IDLE)).unwrap();
    let bytes = written(&before);
    drop((before, clock));
    let restored = |reads_count: bool, max_age: Option<Duration>| {
        let (clock, builder) = on_clock();
        let builder = if let Some(max_age) = max_age { builder.max_age(max_age) } else { builder };
        let after = if reads_count { builder.reads_count() } else { builder }.build().unwrap();
        assert_eq!(after.restore(&bytes[..], Duration::ZERO).unwrap(), 1);
        (clock, after)
    };
    // Reads restart its idle time, and it ends all the same.
    for max_age in [None, Some(10 * IDLE)] {
        let (clock, after) = restored(true, max_age);
        for _ in 0..3 {
            clock.advance(IDLE / 2);
            after.get(&id).unwrap();
            after.get_and_touch(&id).unwrap();
        }
        assert_eq!(after.remaining(&id).unwrap(), IDLE / 2);
        clock.advance(IDLE / 2);
        assert!(after.get(&id).is_err(), "it outlived the age that it was given");
        after.validate();
    }
    let uses: [(&str, Use); 5] = [
        ("touch", |sessions, id| sessions.touch(&id).map(|()| id).unwrap()),
        ("replace", |sessions, id| sessions.replace(&id, "anna".to_string()).map(|()| id).unwrap()),
        ("update", |sessions, id| sessions.update(&id, String::clone).map(|()| id).unwrap()),
        ("modify", |sessions, id| sessions.modify(&id, |name| name.push('!')).map(|()| id).unwrap()),
        ("rotate", |sessions, id| sessions.rotate(&id).unwrap()),
    ];
    for (name, call) in uses {
        for (reads_count, max_age) in
            [(false, None), (true, None), (false, Some(IDLE)), (true, Some(4 * IDLE))]
        {
            let (clock, after) = restored(reads_count, max_age);
            clock.advance(IDLE / 2);
            let id = call(&after, id);
            // Further uses, for longer than twice its own age.
            let lives = (0..10).take_while(|_| {
                clock.advance(IDLE / 2);
                if reads_count { after.get(&id).is_ok() } else { after.touch(&id).is_ok() }
            });
            let lived = (lives.count() as u32 + 1) * IDLE / 2;
            let expected = max_age.map_or(11 * IDLE / 2, |max_age| max_age - IDLE / 2);
            assert_eq!(lived, expected, "{name}, reads count: {reads_count}, {max_age:?}");
            after.validate();
        }
    }
}

#[test]
fn in_the_bytes_is_what_has_to_be_and_nothing_of_sessions_that_are_over() {
    let (clock, sessions) = manager();
    let over = sessions.create("over and gone".to_string()).unwrap();
    let removed = sessions.create("removed".to_string()).unwrap();
    sessions.remove(&removed).unwrap();
    clock.advance_without_sweeping(IDLE);
    let id = sessions.create("here".to_string()).unwrap();
    let rotated = sessions.rotate(&id).unwrap();
    let bytes = written(&sessions);
    assert!(contains(&bytes, b"here"));
    for text in ["over and gone", "removed"] {
        assert!(!contains(&bytes, text.as_bytes()), "{text}");
    }
    assert!(contains(&bytes, &bytes_of(&rotated)));
    for id in [over, removed, id] {
        assert!(!contains(&bytes, &bytes_of(&id)));
    }
    // An id of 16 bytes and its head; the data; the entry's head; header, chunk and trailer.
    assert_eq!(bytes.len(), 18 + 5 + 50 + 16 + 12 + 4 + 16);
}

/// The 16 bytes of an id, through its text: base64url.
fn bytes_of(id: &SessionId) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    let digits: Vec<_> = id.encode().bytes().map(digit).collect();
    for group in digits.chunks(4) {
        let word =
            group.iter().fold(0_u32, |word, digit| word << 6 | u32::from(*digit)) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&word.to_be_bytes()[1..group.len()]);
    }
    bytes
}

#[test]
fn limits_hold_when_sessions_come_back() {
    let (_clock, before) = manager();
    let ids: Vec<_> = (0..5).map(|n| before.create(format!("a{n}")).unwrap()).collect();
    let bytes = written(&before);
    let (clock, builder) = on_clock();
    let after = builder.max_sessions(3).max_per_owner(2, WhenCrowded::Refuse).build().unwrap();
    assert_eq!(after.restore(&bytes[..], SECOND).unwrap(), 3);
    after.validate();
    assert_eq!(after.restore(&bytes[..], SECOND).unwrap(), 0, "what is there stays");
    after.validate();
    let back = ids.iter().filter(|id| after.get(id).is_ok()).count();
    assert_eq!(back, 3);
    assert!(matches!(after.create("b".to_string()), Err(SessionError::Full { max: 3, .. })));
    let one = after.sessions_of(&'a')[0].id();
    after.remove(&one).unwrap();
    assert!(matches!(after.create("a".to_string()), Err(SessionError::OwnerFull { max: 2, .. })));
    after.create("b".to_string()).unwrap();
    clock.advance(2 * IDLE);
    after.validate();
    assert!(after.is_empty());
}

#[test]
fn a_snapshot_that_is_damaged_changes_nothing() {
    let (_clock, before) = manager();
    (0..100).for_each(|n| assert!(before.create(format!("user {n}")).is_ok()));
    let bytes = written(&before);
    let (_clock, builder) = on_clock();
    let after = builder.max_sessions(200).build().unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(after.restore(&damaged[..], SECOND).is_err(), "byte {at}");
        assert!(after.restore(&bytes[..at], SECOND).is_err(), "cut at {at}");
    }
    assert!(matches!(after.restore(&b""[..], SECOND), Err(RestoreError::Truncated { at: 0, .. })));
    assert!(after.is_empty());
    after.validate();
}

/// Data of another type than what was written.
#[derive(serde::Deserialize)]
struct Account {
    #[expect(dead_code, reason = "no account is read")]
    name: String,
}

/// An error may be logged: what is wrong with a session is told without what is in it.
#[test]
fn an_error_says_nothing_of_a_sessions_data() {
    const SECRET: &str = "hunter2";
    let (_clock, before) = manager();
    before.create(format!("{SECRET} and more")).unwrap();
    let after = SessionManager::<Account>::builder().idle(IDLE).clock(ManualClock::new()).build().unwrap();
    let error = after.restore(&written(&before)[..], SECOND).unwrap_err();
    assert!(matches!(error, RestoreError::Deserialize { part: SnapshotPart::Value, .. }), "{error:?}");
    let mut said = format!("{error} {error:?}");
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        said += &format!(" {cause} {cause:?}");
        source = cause.source();
    }
    assert!(!said.contains(SECRET) && said.contains("Deserialize"), "{said}");
    assert!(after.is_empty());
}

#[test]
fn an_id_is_its_text_where_people_read_and_its_bytes_elsewhere_and_prints_nothing() {
    use serde::Deserialize;
    use serde::de::IntoDeserializer;
    use serde::de::value::{BytesDeserializer, Error, StrDeserializer};
    let sessions = SessionManager::builder().clock(ManualClock::new()).build().unwrap();
    let id = sessions.create(()).unwrap();
    let text = id.encode();
    let from: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
    assert_eq!(SessionId::deserialize(from).unwrap(), id);
    let from: StrDeserializer<'_, Error> = "no id".into_deserializer();
    let said = SessionId::deserialize(from).unwrap_err().to_string();
    assert!(said.contains("22") && !said.contains("no id"), "{said}");
    let raw = bytes_of(&id);
    let from: BytesDeserializer<'_, Error> = raw.as_slice().into_deserializer();
    assert_eq!(SessionId::deserialize(Compact(from)).unwrap(), id);
    let from: BytesDeserializer<'_, Error> = raw[1..].into_deserializer();
    assert!(SessionId::deserialize(Compact(from)).is_err());
    assert_eq!(format!("{id:?}"), "SessionId(..)");
}

/// A format that people do not read, which has a text or bytes where the other is asked for, as MessagePack may.
struct Compact<D>(D);

impl<'de, D: serde::Deserializer<'de>> serde::Deserializer<'de> for Compact<D> {
    type Error = D::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// An id has one form in each format, and an error shows nothing of the other one.
#[test]
fn an_id_is_not_read_from_the_form_that_it_has_in_other_formats() {
    use serde::Deserialize;
    use serde::de::IntoDeserializer;
    use serde::de::value::{BytesDeserializer, Error, StrDeserializer};
    let sessions = SessionManager::builder().clock(ManualClock::new()).build().unwrap();
    let id = sessions.create(()).unwrap();
    let (text, raw) = (id.encode(), bytes_of(&id));
    let from: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
    let said = SessionId::deserialize(Compact(from)).unwrap_err().to_string();
    assert!(said.contains("16 bytes") && !said.contains(&text), "{said}");
    let from: BytesDeserializer<'_, Error> = raw.as_slice().into_deserializer();
    let said = SessionId::deserialize(from).unwrap_err().to_string();
    assert!(said.contains("22 characters"), "{said}");
}
