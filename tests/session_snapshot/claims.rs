//! Two threads restore one snapshot, and each claims what the other has yet to store.

use super::{IDLE, SECOND, manager, written};
use std::sync::{Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tidewheel::{ManualClock, SessionManager, SessionManagerBuilder};

/// For what another thread does.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who asks for an owner, and where to say whether it is told one.
type Question = (ThreadId, mpsc::Sender<bool>);

/// The answer to the one question of a thread.
fn of(who: ThreadId, asks: &mut Vec<Question>) -> mpsc::Sender<bool> {
    let at = asks.iter().position(|(thread, _)| *thread == who).unwrap();
    asks.swap_remove(at).1
}

/// Each question of an owner waits until the test says what becomes of it.
fn that_asks() -> (SessionManagerBuilder<String, char>, mpsc::Receiver<Question>) {
    let (asked, questions) = mpsc::channel();
    let asked = Mutex::new(asked);
    let owner = move |name: &String| {
        let (answer, answers) = mpsc::channel::<bool>();
        asked.lock().unwrap().send((thread::current().id(), answer)).unwrap();
        assert!(answers.recv_timeout(PATIENCE).unwrap(), "no owner");
        name.chars().next()
    };
    (SessionManager::builder().idle(IDLE).clock(ManualClock::new()).owner(owner), questions)
}

/// Two threads restore one snapshot. The one whose `owner` panics has claimed what the other has yet to store.
#[test]
fn a_restore_that_panics_leaves_what_another_is_about_to_store() {
    let (clock, before) = manager();
    let ada = before.create("ada".to_string()).unwrap();
    clock.advance(SECOND);
    before.create("ben".to_string()).unwrap();
    let bytes = written(&before);
    let (builder, questions) = that_asks();
    let after = builder.build().unwrap();
    let restore = || {
        let (after, bytes) = (after.clone(), bytes.clone());
        thread::spawn(move || after.restore(&bytes[..], Duration::ZERO).unwrap())
    };
    let ask = || questions.recv_timeout(PATIENCE).unwrap();
    // Both are asked about Ada before either has claimed her session.
    let [panics, stores] = [restore(), restore()];
    let mut asks = vec![ask(), ask()];
    let (one, other) = (panics.thread().id(), stores.thread().id());
    of(one, &mut asks).send(true).unwrap();
    of(other, &mut asks).send(true).unwrap();
    // Both have claimed it, since they are asked about Ben.
    asks.extend([ask(), ask()]);
    of(one, &mut asks).send(false).unwrap();
    assert!(panics.join().is_err());
    of(other, &mut asks).send(true).unwrap();
    assert_eq!(stores.join().unwrap(), 2);
    assert!(after.get(&ada).is_ok());
    assert_eq!(after.sessions_of(&'a').iter().map(|info| info.id()).collect::<Vec<_>>(), [ada]);
    after.validate();
    assert_eq!((after.end_all(&'a'), after.end_all(&'b')), (1, 1));
    assert!(after.is_empty());
    after.validate();
}

/// Two threads restore one snapshot, and Ada's session is ended when one of them has claimed it. The other may not store it then.
#[test]
fn a_session_that_is_being_ended_takes_no_room_in_a_restore() {
    let (clock, before) = manager();
    for name in ["ada", "ben", "cleo"] {
        before.create(name.to_string()).unwrap();
        clock.advance(SECOND);
    }
    let bytes = written(&before);
    let (builder, questions) = that_asks();
    let after = builder.max_sessions(4).build().unwrap();
    let restore = || {
        let (after, bytes) = (after.clone(), bytes.clone());
        thread::spawn(move || after.restore(&bytes[..], Duration::ZERO).unwrap())
    };
    let ask = || questions.recv_timeout(PATIENCE).unwrap();
    let [claims, comes_late] = [restore(), restore()];
    let (one, other) = (claims.thread().id(), comes_late.thread().id());
    // Both are asked about Ada before either has claimed her session.
    let mut asks = vec![ask(), ask()];
    of(one, &mut asks).send(true).unwrap();
    asks.push(ask());
    // One has claimed it, and is asked about Ben.
    after.end_all(&'a');
    // There is room for four, of which that one takes two until it is done. The other has room for Ben and Cleo.
    for _ in ["ben", "cleo"] {
        of(other, &mut asks).send(true).unwrap();
        asks.push(ask());
    }
    of(other, &mut asks).send(true).unwrap();
    assert_eq!(comes_late.join().unwrap(), 2);
    // No room is left for Cleo here, about whom nobody asks then.
    of(one, &mut asks).send(true).unwrap();
    assert_eq!(claims.join().unwrap(), 1);
    after.validate();
    assert_eq!(["a", "b", "c"].map(|name| after.end_all(&name.chars().next().unwrap())), [0, 1, 1]);
    assert!(after.is_empty());
    after.validate();
}
