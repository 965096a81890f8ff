//! Models of the index of sessions by owners, beside creation, change, rotation, expiry, and the end of all of an owner's sessions.
//!
//! In the end the index says what the cache says: `validate` counts places and sessions, and looks each session up in its owner's list.

use crate::common::explore;
use loom::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidewheel::{ManualClock, SessionId, SessionManager, SessionManagerBuilder, WhenCrowded};

const IDLE: Duration = Duration::from_secs(5);
const NOBODY: u8 = 0;
const ADA: u8 = 1;
const BEN: u8 = 2;

type Sessions = SessionManager<u8, u8>;

#[derive(Clone)]
struct Model {
    sessions: Sessions,
    clock: ManualClock,
    /// How many sessions ended. Not in loom's sight.
    ends: Arc<AtomicUsize>,
}

impl Model {
    fn new() -> Self {
        Self::build(|builder| builder)
    }

    fn build(choose: impl FnOnce(SessionManagerBuilder<u8, u8>) -> SessionManagerBuilder<u8, u8>) -> Self {
        let (clock, ends) = (ManualClock::new(), Arc::new(AtomicUsize::new(0)));
        let heard = Arc::clone(&ends);
        let builder = SessionManager::builder()
            .owner(|&user: &u8| (user != NOBODY).then_some(user))
            .idle(IDLE)
            .initial_capacity(4)
            .clock(clock.clone())
            .on_end(move |_, _, _| {
                heard.fetch_add(1, Ordering::Relaxed);
            });
        Self { sessions: choose(builder).build_for_models(), clock, ends }
    }

    fn list(&self, user: u8) -> Vec<SessionId> {
        self.sessions.sessions_of(&user).iter().map(|info| info.id()).collect()
    }

    /// So many sessions are left, and so many have ended; the books agree.
    #[track_caller]
    fn end(self, left: usize, ended: usize) {
        self.sessions.run_pending_tasks();
        self.sessions.validate();
        assert_eq!((self.sessions.len(), self.ends.load(Ordering::Relaxed)), (left, ended));
    }
}

fn spawn<R: 'static>(model: &Model, work: impl FnOnce(Model) -> R + 'static) -> thread::JoinHandle<R> {
    let model = model.clone();
    thread::spawn(move || work(model))
}

/// A session that is opened while all of its owner's are ended lives or has ended. One that was there before is gone, and nobody who has
/// its end behind him finds it in the list.
#[test]
fn create_against_end_all() {
    explore(|| {
        let model = Model::new();
        let before = model.sessions.create(ADA).unwrap();
        let creator = spawn(&model, |model| model.sessions.create(ADA).unwrap());
        model.sessions.end_all(&ADA);
        assert!(model.sessions.get(&before).is_err());
        assert!(!model.list(ADA).contains(&before));
        let id = creator.join().unwrap();
        let lives = model.sessions.get(&id).is_ok();
        assert_eq!(model.list(ADA), if lives { vec![id] } else { vec![] });
        model.end(usize::from(lives), 2 - usize::from(lives));
    });
}

/// Two who end all of one owner's sessions: whoever is done finds none, whichever of the two has ended it.
#[test]
fn end_all_against_end_all() {
    explore(|| {
        let model = Model::new();
        let id = model.sessions.create(ADA).unwrap();
        let other = spawn(&model, move |model| {
            model.sessions.end_all(&ADA);
            assert!(model.sessions.get(&id).is_err(), "done, and it is there");
        });
        model.sessions.end_all(&ADA);
        assert!(model.sessions.get(&id).is_err(), "done, and it is there");
        other.join().unwrap();
        model.end(0, 1);
    });
}

/// A rotation does not escape from the end of all: whatever the session's id is by then, it is gone.
#[test]
fn rotate_against_end_all() {
    explore(|| {
        let model = Model::new();
        let id = model.sessions.create(ADA).unwrap();
        let rotator = spawn(&model, move |model| model.sessions.rotate(&id).unwrap_or(id));
        model.sessions.end_all(&ADA);
        assert!(model.list(ADA).is_empty() && model.sessions.get(&id).is_err());
        let new = rotator.join().unwrap();
        assert!(model.sessions.get(&new).is_err(), "the rotation escaped");
        model.end(0, 1);
    });
}

/// Nor does a rotation that gives the session to another owner at the same time, unless it had done so before: when the end of all is over, the
/// session is there or does not come any more.
#[test]
fn a_change_of_owner_against_end_all() {
    explore(|| {
        let model = Model::new();
        let id = model.sessions.create(ADA).unwrap();
        let changer = spawn(&model, move |model| {
            model.sessions.rotate_with(&id, |user| *user = BEN).map_or(id, |(new, ())| new)
        });
        model.sessions.end_all(&ADA);
        assert!(model.sessions.get(&id).is_err());
        // Ids come in a row.
        let second = "AgICAgICAgICAgICAgICAg".parse().unwrap();
        let was_there = model.sessions.get(&second).is_ok();
        let new = changer.join().unwrap();
        let lives = model.sessions.get(&new).is_ok();
        assert!(was_there || !lives, "the rotation escaped");
        assert!(!lives || model.list(BEN) == [new]);
        model.end(usize::from(lives), usize::from(!lives));
    });
}

/// Who ends all others while the session that stays is rotated: it stays.
#[test]
fn rotate_against_end_others() {
    explore(|| {
        let model = Model::new();
        let kept = model.sessions.create(ADA).unwrap();
        model.sessions.create(ADA).unwrap();
        let rotator = spawn(&model, move |model| model.sessions.rotate(&kept).unwrap());
        let others = model.sessions.end_others(&kept).ok();
        let new = rotator.join().unwrap();
        assert!(model.sessions.get(&new).is_ok());
        match others {
            Some(others) => assert_eq!((others, model.list(ADA)), (1, vec![new])),
            // It had gone on already, and so nothing was ended.
            None => assert_eq!(model.list(ADA).len(), 2),
        }
        let left = if others.is_some() { 1 } else { 2 };
        model.end(left, 2 - left);
    });
}

/// A log-in: from when anybody can find the session with its user, it is in the user's list.
#[test]
fn a_login_and_the_list() {
    explore(|| {
        let model = Model::new();
        let id = model.sessions.create(NOBODY).unwrap();
        let user = spawn(&model, move |model| model.sessions.modify(&id, |user| *user = ADA).unwrap());
        let seen = model.sessions.get(&id).unwrap();
        let list = model.list(ADA);
        assert!(seen == NOBODY || list == [id], "found with a user who does not have it");
        user.join().unwrap();
        assert_eq!(model.list(ADA), [id]);
        model.end(1, 0);
    });
}

/// Two changes of one session's owner: it is in one list, that of the owner that it has.
#[test]
fn a_change_of_owner_against_another() {
    explore(|| {
        let model = Model::new();
        let id = model.sessions.create(ADA).unwrap();
        let other = spawn(&model, move |model| model.sessions.update(&id, BEN).unwrap());
        model.sessions.update(&id, ADA).unwrap();
        other.join().unwrap();
        let user = model.sessions.get(&id).unwrap();
        assert_eq!(model.list(user), [id]);
        model.end(1, 0);
    });
}

/// A session expires while it is written: if it was in time, it is still in the list; if not, it is in none, and nothing of it
/// is left in the index.
#[test]
fn update_against_expiry() {
    explore(|| {
        let model = Model::new();
        let id = model.sessions.create(ADA).unwrap();
        let writer = spawn(&model, move |model| model.sessions.update(&id, ADA).is_ok());
        model.clock.advance(IDLE);
        model.clock.advance(Duration::from_secs(2));
        let in_time = writer.join().unwrap();
        let lives = model.sessions.get(&id).is_ok();
        assert!(!lives || in_time);
        assert_eq!(model.list(ADA).len(), usize::from(lives));
        model.clock.advance(2 * IDLE);
        model.end(0, 1);
    });
}

/// The reaper takes a session out while another is opened for the same owner.
#[test]
fn create_against_expiry() {
    explore(|| {
        let model = Model::new();
        model.sessions.create(ADA).unwrap();
        model.clock.advance_without_sweeping(IDLE);
        let creator = spawn(&model, |model| model.sessions.create(ADA).unwrap());
        model.clock.advance(Duration::from_secs(2));
        let id = creator.join().unwrap();
        assert_eq!(model.list(ADA), [id]);
        model.end(1, 1);
    });
}

/// Two sessions for an owner who may have one: there is one, and no more than one at any time for those who list.
#[test]
fn create_against_create_where_one_is_allowed() {
    explore(|| {
        let model = Model::build(|builder| builder.max_per_owner(1, WhenCrowded::EndOldest));
        let other = spawn(&model, |model| model.sessions.create(ADA).unwrap());
        model.sessions.create(ADA).unwrap();
        assert!(model.list(ADA).len() <= 1);
        other.join().unwrap();
        model.end(1, 1);
    });
}
