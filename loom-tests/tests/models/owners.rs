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
            .end_listener(move |_, _, _| {
                heard.fetch_add(1, Ordering::Relaxed);
            });
        Self { sessions: choose(builder).build_for_models(), clock, ends }
    }

    fn list(&self, user: u8) -> Vec<SessionId> {
        self.sessions.sessions_of(&user).iter().map(|info| info.id()).collect()
    }

    /// So many sessions are left, and so many have ended; the ledger agrees.
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
        let other = spawn(&model, move |model| model.sessions.replace(&id, BEN).unwrap());
        model.sessions.replace(&id, ADA).unwrap();
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
        let writer = spawn(&model, move |model| model.sessions.replace(&id, ADA).is_ok());
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

/// Two sessions for an owner who may have one, and has it: whoever has opened his finds that one ended, whichever of the two ended it.
#[test]
fn create_against_create_where_one_is_there() {
    explore(|| {
        let model = Model::build(|builder| builder.max_per_owner(1, WhenCrowded::EndOldest));
        let before = model.sessions.create(ADA).unwrap();
        let other = spawn(&model, |model| model.sessions.create(ADA).unwrap());
        model.sessions.create(ADA).unwrap();
        assert!(model.sessions.get(&before).is_err(), "one too many can be found");
        other.join().unwrap();
        model.end(1, 2);
    });
}

/// Two sessions for an owner who may have one, and is refused others: one is opened, and it stays.
#[test]
fn create_against_create_where_others_are_refused() {
    explore(|| {
        let model = Model::build(|builder| builder.max_per_owner(1, WhenCrowded::Refuse));
        let other = spawn(&model, |model| model.sessions.create(ADA).is_ok());
        let mine = model.sessions.create(ADA).is_ok();
        assert!(mine != other.join().unwrap(), "one of two is opened");
        model.end(1, 0);
    });
}

/// A session is rotated while another is asked for, for an owner who may have one and is refused others: wherever it is, it is there.
#[test]
fn rotate_and_create_where_others_are_refused() {
    explore(|| {
        let model = Model::build(|builder| builder.max_per_owner(1, WhenCrowded::Refuse));
        let id = model.sessions.create(ADA).unwrap();
        let rotator = spawn(&model, move |model| model.sessions.rotate(&id).unwrap());
        assert!(model.sessions.create(ADA).is_err(), "one too many");
        let new = rotator.join().unwrap();
        assert_eq!(model.list(ADA), [new]);
        model.end(1, 0);
    });
}

/// Two log-ins with one session, for an owner who may have one: they are one session, so one comes through, and is not displaced by the other.
#[test]
fn login_against_login_where_one_is_allowed() {
    explore(|| {
        let model = Model::build(|builder| builder.max_per_owner(1, WhenCrowded::EndOldest));
        let id = model.sessions.create(NOBODY).unwrap();
        let login = move |model: &Model| model.sessions.rotate_with(&id, |user| *user = ADA).is_ok();
        let other = spawn(&model, move |model| login(&model));
        let mine = login(&model);
        assert!(mine != other.join().unwrap());
        assert_eq!(model.list(ADA).len(), 1);
        model.end(1, 0);
    });
}

/// A log-in that moves the session, beside one that does not: the session is its user's once, and the end of all ends it, wherever it is.
#[test]
fn login_against_login_and_end_all() {
    explore(|| {
        let model = Model::new();
        let id = model.sessions.create(NOBODY).unwrap();
        let other = spawn(&model, move |model| model.sessions.rotate_with(&id, |user| *user = ADA).ok());
        let mine = model.sessions.modify(&id, |user| *user = ADA).is_ok();
        model.sessions.end_all(&ADA);
        assert!(model.sessions.get(&id).is_err_and(|_| mine) || !mine);
        let new = other.join().unwrap().map(|(new, ())| new);
        let lives = new.is_some_and(|new| model.sessions.get(&new).is_ok());
        assert!(!(mine && lives), "it was hers, and lives on");
        assert_eq!(model.list(ADA).len(), usize::from(lives));
        model.end(usize::from(lives), usize::from(!lives));
    });
}

/// A session is rotated twice at once, and another is opened: what moves counts once.
#[test]
fn rotate_and_rotate_against_the_limit() {
    explore(|| {
        let model = Model::build(|builder| builder.max_per_owner(2, WhenCrowded::EndOldest));
        let id = model.sessions.create(ADA).unwrap();
        let rotate = move |model: Model| model.sessions.rotate(&id).is_ok();
        let (first, second) = (spawn(&model, rotate), spawn(&model, rotate));
        model.sessions.create(ADA).unwrap();
        assert!(first.join().unwrap() != second.join().unwrap());
        assert_eq!(model.list(ADA).len(), 2);
        model.end(2, 0);
    });
}

/// All of Ada's sessions are being ended, of which the first is gone. The other becomes somebody's, and gets another id: it ends all the same.
fn a_session_that_is_being_ended(user_after: u8) {
    explore(move || {
        let model = Model::new();
        let first = model.sessions.create(ADA).unwrap();
        let second = model.sessions.create(ADA).unwrap();
        let other = spawn(&model, move |model| {
            let has_begun = model.sessions.get(&first).is_err();
            let _ = model.sessions.modify(&second, |user| *user = user_after);
            let new = model.sessions.rotate(&second).ok()?;
            let lives = model.sessions.get(&new).is_ok();
            assert!(!(has_begun && lives), "it was hers when the end began, and lives on");
            lives.then_some(new)
        });
        model.sessions.end_all(&ADA);
        let lives = other.join().unwrap();
        let found = lives.is_some_and(|new| model.sessions.get(&new).is_ok());
        assert_eq!(lives.is_some(), found, "an end came late");
        model.end(usize::from(found), 2 - usize::from(found));
    });
}

#[test]
fn a_session_that_is_being_ended_becomes_another_owners_and_moves() {
    a_session_that_is_being_ended(BEN);
}

#[test]
fn a_session_that_is_being_ended_becomes_nobodys_and_moves() {
    a_session_that_is_being_ended(NOBODY);
}

/// Who ends all others while the session that stays is rotated twice, and written: it stays.
#[test]
fn rotations_and_an_update_against_end_others() {
    explore(|| {
        let model = Model::new();
        let kept = model.sessions.create(ADA).unwrap();
        let mover = spawn(&model, move |model| {
            let second = model.sessions.rotate(&kept).unwrap();
            model.sessions.replace(&second, ADA).unwrap();
            model.sessions.rotate(&second).unwrap()
        });
        let ended = model.sessions.end_others(&kept).unwrap_or(0);
        let new = mover.join().unwrap();
        assert!(model.sessions.get(&new).is_ok(), "the one that is to stay has ended");
        assert_eq!((ended, model.list(ADA)), (0, vec![new]));
        model.end(1, 0);
    });
}

/// Two who each end all others: one of the two stays.
#[test]
fn end_others_against_end_others() {
    explore(|| {
        let model = Model::new();
        let (first, second) = (model.sessions.create(ADA).unwrap(), model.sessions.create(ADA).unwrap());
        let other = spawn(&model, move |model| model.sessions.end_others(&second).is_ok());
        let mine = model.sessions.end_others(&first).is_ok();
        assert!(mine != other.join().unwrap());
        let stays = if mine { first } else { second };
        assert_eq!(model.list(ADA), [stays]);
        model.end(1, 1);
    });
}
