//! Sessions and whose they are: lists, ends and limits by owner, on a clock that the test moves; and what the races between them
//! must not do. The interleavings are tried one by one in the loom models.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;
use tidewheel::{
    BuildError, EndCause, ManualClock, SessionError, SessionId, SessionManager, SessionManagerBuilder,
    WhenCrowded,
};

const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(5);
const SWEPT: Duration = Duration::from_secs(2);
const ADA: u32 = 1;
const BEN: u32 = 2;

#[derive(Clone, Default, Debug, PartialEq)]
struct Visit {
    user: Option<u32>,
    clicks: u32,
}

fn of(user: u32) -> Visit {
    Visit { user: Some(user), clicks: 0 }
}

fn on_clock() -> (ManualClock, SessionManagerBuilder<Visit, u32>) {
    let clock = ManualClock::new();
    let builder = SessionManager::builder().owner(|visit: &Visit| visit.user).clock(clock.clone());
    (clock, builder)
}

fn manager() -> (ManualClock, SessionManager<Visit, u32>) {
    let (clock, builder) = on_clock();
    (clock, builder.build().unwrap())
}

fn ids(sessions: &SessionManager<Visit, u32>, user: u32) -> Vec<SessionId> {
    sessions.sessions_of(&user).iter().map(|info| info.id()).collect()
}

#[track_caller]
fn not_found<T>(answer: Result<T, SessionError>) {
    assert!(matches!(answer, Err(SessionError::NotFound)), "{:?}", answer.err());
}

// ---- lists ----

#[test]
fn a_list_has_ids_ages_and_remaining_times_in_the_order_of_the_log_ins() {
    let (clock, sessions) = manager();
    let first = sessions.create(of(ADA)).unwrap();
    clock.advance(SECOND);
    let second = sessions.create(of(ADA)).unwrap();
    sessions.create(of(BEN)).unwrap();
    sessions.create(Visit::default()).unwrap();
    clock.advance(SECOND);
    sessions.touch(&second).unwrap();
    let list = sessions.sessions_of(&ADA);
    let seen: Vec<_> = list.iter().map(|info| (info.id(), info.age(), info.remaining())).collect();
    assert_eq!(seen, [(first, 2 * SECOND, 3 * SECOND), (second, SECOND, IDLE)]);
    let shown = format!("{list:?}");
    assert!(!shown.contains(&first.encode()) && shown.contains("SessionId(..)"), "{shown}");
    assert!(sessions.sessions_of(&3).is_empty());
    sessions.validate();
    clock.advance(IDLE + SWEPT);
    assert!(ids(&sessions, ADA).is_empty());
    sessions.validate();
}

#[test]
fn a_session_follows_its_data_from_owner_to_owner() {
    let (_clock, sessions) = manager();
    let id = sessions.create(Visit::default()).unwrap();
    assert!(ids(&sessions, ADA).is_empty());
    sessions.modify(&id, |visit| visit.user = Some(ADA)).unwrap();
    assert_eq!(ids(&sessions, ADA), [id]);
    sessions.replace(&id, of(BEN)).unwrap();
    assert_eq!((ids(&sessions, ADA), ids(&sessions, BEN)), (vec![], vec![id]));
    let (id, ()) = sessions.rotate_with(&id, |visit| visit.user = Some(ADA)).unwrap();
    assert_eq!((ids(&sessions, ADA), ids(&sessions, BEN)), (vec![id], vec![]));
    let id = sessions.rotate(&id).unwrap();
    assert_eq!(ids(&sessions, ADA), [id]);
    sessions.modify(&id, |visit| visit.clicks += 1).unwrap();
    assert_eq!(ids(&sessions, ADA), [id]);
    sessions.modify(&id, |visit| visit.user = None).unwrap();
    assert!(ids(&sessions, ADA).is_empty());
    sessions.validate();
    sessions.replace(&id, of(ADA)).unwrap();
    sessions.remove(&id).unwrap();
    assert!(ids(&sessions, ADA).is_empty());
    sessions.validate();
}

#[test]
fn a_session_that_has_expired_is_listed_no_more_before_it_is_swept() {
    let (clock, sessions) = manager();
    sessions.create(of(ADA)).unwrap();
    clock.advance_without_sweeping(IDLE);
    assert!(ids(&sessions, ADA).is_empty());
    assert_eq!(sessions.end_all(&ADA), 0, "it had ended");
    clock.advance(SWEPT);
    assert_eq!(sessions.len(), 0);
    sessions.validate();
}

#[test]
fn ten_thousand_sessions_of_one_owner() {
    let (clock, sessions) = manager();
    let created: Vec<_> = (0..10_000).map(|_| sessions.create(of(ADA)).unwrap()).collect();
    sessions.create(of(BEN)).unwrap();
    assert_eq!(ids(&sessions, ADA), created);
    sessions.validate_owner(ADA, 10_000);
    assert_eq!(sessions.end_others(&created[5_000]).unwrap(), 9_999);
    assert_eq!(ids(&sessions, ADA), [created[5_000]]);
    sessions.validate();
    (0..10_000).for_each(|_| assert!(sessions.create(of(ADA)).is_ok()));
    assert_eq!(sessions.end_all(&ADA), 10_001);
    assert_eq!(sessions.len(), 1);
    (0..10_000).for_each(|_| assert!(sessions.create(of(ADA)).is_ok()));
    clock.advance(IDLE + SWEPT);
    assert_eq!((sessions.len(), ids(&sessions, ADA).len()), (0, 0));
    sessions.validate();
}

trait Count {
    fn validate_owner(&self, owner: u32, sessions: usize);
}

impl Count for SessionManager<Visit, u32> {
    fn validate_owner(&self, owner: u32, sessions: usize) {
        let listed: HashSet<_> = ids(self, owner).into_iter().collect();
        assert_eq!(listed.len(), sessions);
        assert!(listed.iter().all(|id| self.get(id).unwrap().user == Some(owner)));
    }
}

// ---- ends ----

#[test]
fn end_all_ends_one_owners_sessions_and_no_others() {
    let (_clock, builder) = on_clock();
    let sessions = builder.max_sessions(4).build().unwrap();
    let ada: Vec<_> = (0..2).map(|_| sessions.create(of(ADA)).unwrap()).collect();
    let (ben, nobody) = (sessions.create(of(BEN)).unwrap(), sessions.create(Visit::default()).unwrap());
    assert_eq!(sessions.end_all(&ADA), 2);
    ada.iter().for_each(|id| not_found(sessions.get(id)));
    assert!(sessions.get(&ben).is_ok() && sessions.get(&nobody).is_ok());
    assert_eq!(sessions.end_all(&ADA), 0);
    sessions.validate();
    // There is room again, and what comes now lives.
    let again = sessions.create(of(ADA)).unwrap();
    assert_eq!(ids(&sessions, ADA), [again]);
}

#[test]
fn end_others_keeps_the_one_and_ends_nothing_for_an_id_that_is_dead() {
    let (_clock, sessions) = manager();
    let all: Vec<_> = (0..3).map(|_| sessions.create(of(ADA)).unwrap()).collect();
    let dead = sessions.create(of(ADA)).unwrap();
    sessions.remove(&dead).unwrap();
    not_found(sessions.end_others(&dead));
    not_found(sessions.end_others(&"AAECAwQFBgcICQoLDA0ODw".parse().unwrap()));
    assert_eq!(ids(&sessions, ADA), all);
    assert_eq!(sessions.end_others(&all[1]).unwrap(), 2);
    assert_eq!(ids(&sessions, ADA), [all[1]]);
    assert_eq!(sessions.end_others(&all[1]).unwrap(), 0);
    let nobody = sessions.create(Visit::default()).unwrap();
    assert_eq!(sessions.end_others(&nobody).unwrap(), 0, "nobody has no others");
    sessions.validate();
}

#[test]
fn an_owner_is_found_by_what_is_equivalent() {
    let sessions = SessionManager::builder().owner(|user: &String| Some(user.clone())).build().unwrap();
    let id = sessions.create("ada".to_string()).unwrap();
    assert_eq!(sessions.sessions_of("ada")[0].id(), id);
    assert_eq!((sessions.end_all("ben"), sessions.end_all("ada")), (0, 1));
    assert!(sessions.sessions_of("ada").is_empty());
}

#[test]
fn a_manager_without_owners_says_that_it_knows_no_others() {
    let sessions = SessionManager::builder().clock(ManualClock::new()).build().unwrap();
    let (id, other) = (sessions.create(1).unwrap(), sessions.create(2).unwrap());
    let error = sessions.end_others(&id).unwrap_err();
    assert!(matches!(error, SessionError::Unsupported { .. }));
    assert!(error.to_string().contains("`owner`"), "{error}");
    assert!(sessions.get(&id).is_ok() && sessions.get(&other).is_ok());
}

// ---- limits ----

#[test]
fn a_limit_that_refuses_ends_nothing_and_changes_nothing() {
    let (clock, builder) = on_clock();
    let sessions = builder.max_per_owner(2, WhenCrowded::Refuse).build().unwrap();
    let full = |id: Option<&SessionId>| {
        let answers = [
            Some(sessions.create(of(ADA)).map(drop)),
            id.map(|id| sessions.replace(id, of(ADA))),
            id.map(|id| sessions.modify(id, |visit| visit.user = Some(ADA))),
            id.map(|id| sessions.rotate_with(id, |visit| visit.user = Some(ADA)).map(drop)),
        ];
        for answer in answers.into_iter().flatten() {
            assert!(matches!(answer, Err(SessionError::OwnerFull { max: 2, .. })), "{answer:?}");
            assert!(answer.unwrap_err().to_string().contains('2'));
        }
    };
    let nobody = sessions.create(Visit { user: None, clicks: 3 }).unwrap();
    let first = sessions.create(of(ADA)).unwrap();
    sessions.create(of(ADA)).unwrap();
    full(Some(&nobody));
    assert_eq!(sessions.get(&nobody).unwrap(), Visit { user: None, clicks: 3 });
    // What is his already needs no room.
    sessions.replace(&first, of(ADA)).unwrap();
    let first = sessions.rotate(&first).unwrap();
    full(None);
    sessions.remove(&first).unwrap();
    sessions.create(of(ADA)).unwrap();
    full(None);
    // An expired session makes room at once.
    clock.advance_without_sweeping(IDLE);
    sessions.create(of(ADA)).unwrap();
    clock.advance(SWEPT);
    sessions.validate();
}

#[test]
fn a_limit_that_ends_the_oldest_ends_it_in_the_order_of_the_log_ins() {
    let (_clock, builder) = on_clock();
    let sessions = builder.max_per_owner(2, WhenCrowded::EndOldest).build().unwrap();
    let first = sessions.create(of(ADA)).unwrap();
    let second = sessions.create(of(ADA)).unwrap();
    let first = sessions.rotate(&first).unwrap();
    sessions.touch(&first).unwrap();
    let third = sessions.create(of(ADA)).unwrap();
    assert_eq!(ids(&sessions, ADA), [second, third], "a rotation keeps its place");
    let nobody = sessions.create(Visit::default()).unwrap();
    let (fourth, ()) = sessions.rotate_with(&nobody, |visit| visit.user = Some(ADA)).unwrap();
    assert_eq!(ids(&sessions, ADA), [third, fourth]);
    let fifth = sessions.create(Visit::default()).unwrap();
    sessions.modify(&fifth, |visit| visit.user = Some(ADA)).unwrap();
    assert_eq!(ids(&sessions, ADA), [fourth, fifth]);
    sessions.validate();
}

/// A late write, or one with an id that never was, is of no session: nothing makes room for it.
#[test]
fn an_update_of_a_session_that_is_gone_ends_nothing_and_is_not_refused() {
    for when in [WhenCrowded::Refuse, WhenCrowded::EndOldest] {
        let (clock, builder) = on_clock();
        let sessions = builder.max_per_owner(1, when).build().unwrap();
        let (removed, expired) = (sessions.create(of(BEN)).unwrap(), sessions.create(of(9)).unwrap());
        sessions.remove(&removed).unwrap();
        clock.advance_without_sweeping(IDLE);
        let foreign = manager().1.create(of(ADA)).unwrap();
        let lives = sessions.create(of(ADA)).unwrap();
        for gone in [removed, expired, foreign] {
            not_found(sessions.replace(&gone, of(ADA)));
            not_found(sessions.modify(&gone, |visit| visit.user = Some(ADA)));
            not_found(sessions.rotate_with(&gone, |visit| visit.user = Some(ADA)));
        }
        assert_eq!(ids(&sessions, ADA), [lives], "{when:?}");
        clock.advance_without_sweeping(Duration::ZERO);
        sessions.run_pending_tasks();
        sessions.validate();
    }
}

/// A session that ends while a call changes it is as one that was gone before.
#[test]
fn a_change_of_a_session_that_ends_meanwhile_ends_no_other_and_is_not_refused() {
    type Sessions = SessionManager<Visit, u32>;
    type Call = fn(&Sessions, &SessionId, &dyn Fn(&mut Visit)) -> Result<(), SessionError>;
    let calls: [Call; 3] = [
        |sessions, id, change| sessions.modify(id, change),
        |sessions, id, change| sessions.rotate_with(id, change).map(drop),
        |sessions, id, change| {
            sessions.update(id, |visit| {
                let mut visit = visit.clone();
                change(&mut visit);
                visit
            })
        },
    ];
    for when in [WhenCrowded::EndOldest, WhenCrowded::Refuse] {
        for (number, call) in calls.into_iter().enumerate() {
            for (user, expires) in [(None, true), (None, false), (Some(BEN), true), (Some(BEN), false)] {
                let (clock, builder) = on_clock();
                let sessions = builder.max_per_owner(1, when).build().unwrap();
                let late = sessions.create(Visit { user, clicks: 0 }).unwrap();
                clock.advance_without_sweeping(3 * SECOND);
                let lives = sessions.create(of(ADA)).unwrap();
                not_found(call(&sessions, &late, &|visit| {
                    if expires {
                        clock.advance_without_sweeping(3 * SECOND);
                    } else {
                        sessions.remove(&late).unwrap();
                    }
                    visit.user = Some(ADA);
                }));
                let case = (when, number, user, expires);
                assert_eq!(ids(&sessions, ADA), [lives], "{case:?}");
                clock.advance(SWEPT);
                sessions.validate();
            }
        }
    }
}

/// What a session's data has been, its ids and its owners, does not matter to its end.
#[test]
fn a_session_that_went_through_owners_and_ids_is_one_session() {
    let (clock, builder) = on_clock();
    let sessions = builder.max_per_owner(2, WhenCrowded::EndOldest).build().unwrap();
    let mut id = sessions.create(Visit::default()).unwrap();
    for user in [Some(ADA), None, Some(BEN), Some(BEN), None, None, Some(ADA)] {
        sessions.modify(&id, |visit| visit.user = user).unwrap();
        sessions.validate();
        id = sessions.rotate(&id).unwrap();
        sessions.replace(&id, Visit { user, clicks: 1 }).unwrap();
        (id, ()) = sessions.rotate_with(&id, |visit| visit.clicks += 1).unwrap();
        sessions.validate();
        let lists = [ADA, BEN].map(|owner| ids(&sessions, owner));
        assert_eq!(lists, [ADA, BEN].map(|owner| if user == Some(owner) { vec![id] } else { vec![] }));
    }
    let other = sessions.create(of(ADA)).unwrap();
    assert_eq!(sessions.end_others(&id).unwrap(), 1);
    not_found(sessions.get(&other));
    assert_eq!(sessions.end_all(&ADA), 1);
    not_found(sessions.get(&id));
    clock.advance(IDLE + SWEPT);
    sessions.validate();
}

#[test]
fn a_limit_for_owners_without_owners_is_an_error_of_the_builder() {
    let builder = SessionManager::<u32>::builder().max_per_owner(1, WhenCrowded::Refuse);
    let error = builder.build().unwrap_err();
    assert!(matches!(error, BuildError::LimitWithoutOwner));
    assert!(error.to_string().contains("no owner"));
}

#[test]
fn an_owner_who_may_have_none_gets_none() {
    for when in [WhenCrowded::Refuse, WhenCrowded::EndOldest] {
        let (_clock, builder) = on_clock();
        let sessions = builder.max_per_owner(0, when).build().unwrap();
        assert!(matches!(sessions.create(of(ADA)), Err(SessionError::OwnerFull { max: 0, .. })));
        sessions.create(Visit::default()).unwrap();
        sessions.validate();
    }
}

#[test]
fn threads_never_open_more_sessions_for_an_owner_than_he_may_have() {
    for when in [WhenCrowded::Refuse, WhenCrowded::EndOldest] {
        let (clock, builder) = on_clock();
        let sessions = builder.max_per_owner(3, when).build().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    let sessions = &sessions;
                    scope.spawn(move || {
                        for step in 0..2_000 {
                            let Ok(id) = sessions.create(of(ADA)) else { continue };
                            if step % 3 == 0 {
                                let _ = sessions.rotate(&id);
                            }
                            if (step + thread) % 2 == 0 {
                                let _ = sessions.remove(&id);
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(sessions.sessions_of(&ADA).len() <= 3);
                }
            });
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        assert!(sessions.len() <= 3, "{when:?}: {}", sessions.len());
        sessions.validate();
        clock.advance(IDLE + SWEPT);
        sessions.validate();
    }
}

// ---- what is heard ----

/// Each session ends once, for one cause, whatever goes on.
#[test]
fn every_session_ends_once_and_for_its_cause() {
    let ends: Arc<Mutex<Vec<(u32, EndCause)>>> = Arc::default();
    let heard = Arc::clone(&ends);
    let (clock, builder) = on_clock();
    let sessions = builder
        .max_per_owner(2, WhenCrowded::EndOldest)
        .end_listener(move |_, visit, cause| heard.lock().unwrap().push((visit.clicks, cause)))
        .record_stats()
        .build()
        .unwrap();
    let visit = |user, clicks| Visit { user: Some(user), clicks };
    let expires = sessions.create(visit(BEN, 1)).unwrap();
    let removed = sessions.create(visit(ADA, 2)).unwrap();
    let removed = sessions.rotate(&removed).unwrap();
    sessions.modify(&removed, |visit| visit.user = Some(BEN)).unwrap();
    sessions.remove(&removed).unwrap();
    for clicks in 3..6 {
        sessions.create(visit(ADA, clicks)).unwrap();
    }
    assert_eq!(sessions.end_all(&ADA), 2);
    sessions.create(visit(9, 6)).unwrap();
    sessions.retain(|_, visit| visit.clicks != 6);
    clock.advance(IDLE + SWEPT);
    not_found(sessions.get(&expires));
    let mut ends = ends.lock().unwrap().clone();
    ends.sort_by_key(|(clicks, _)| *clicks);
    use EndCause::{AllEnded, Displaced, Ended, Expired};
    let expected = [(1, Expired), (2, Ended), (3, Displaced), (4, AllEnded), (5, AllEnded), (6, Ended)];
    assert_eq!(ends, expected);
    let stats = sessions.stats();
    let counted =
        (stats.created, stats.rotated, stats.expired, stats.ended, stats.all_ended, stats.displaced);
    assert_eq!(counted, (6, 1, 1, 2, 2, 1));
    assert_eq!((stats.found, stats.not_found, stats.refused), (0, 1, 0));
    sessions.validate();
}

#[test]
fn a_panic_in_a_listener_or_in_what_says_the_owner_leaves_all_whole() {
    let panics = Arc::new(AtomicBool::new(false));
    let heard = Arc::new(AtomicUsize::new(0));
    let (asked, counted) = (Arc::clone(&panics), Arc::clone(&heard));
    let sessions = SessionManager::builder()
        .owner(move |visit: &Visit| {
            assert!(!asked.load(Ordering::Relaxed), "whose?");
            visit.user
        })
        .end_listener(move |_, _, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("while hearing");
        })
        .max_sessions(3)
        .clock(ManualClock::new())
        .build()
        .unwrap();
    let (one, other) = (sessions.create(of(ADA)).unwrap(), sessions.create(of(ADA)).unwrap());
    panics.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| sessions.create(of(ADA)))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| sessions.modify(&one, |visit| visit.user = None))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| sessions.rotate(&one))).is_err());
    panics.store(false, Ordering::Relaxed);
    assert_eq!(ids(&sessions, ADA), [one, other]);
    sessions.validate();
    assert_eq!((sessions.end_all(&ADA), heard.load(Ordering::Relaxed)), (2, 2));
    sessions.validate();
}

/// An owner whose `Hash`, `Eq` or `Clone` panics when it is told to.
#[derive(Debug)]
struct Fragile(u32);

static FRAGILE: AtomicUsize = AtomicUsize::new(usize::MAX);

fn may_break() {
    let left = FRAGILE.load(Ordering::Relaxed);
    if left != usize::MAX {
        FRAGILE.store(left.wrapping_sub(1), Ordering::Relaxed);
        assert!(left > 0, "broken");
    }
}

impl std::hash::Hash for Fragile {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        may_break();
        self.0.hash(state);
    }
}

impl PartialEq for Fragile {
    fn eq(&self, other: &Self) -> bool {
        may_break();
        self.0 == other.0
    }
}

impl Eq for Fragile {}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        may_break();
        Self(self.0)
    }
}

/// Whichever of the calls on an owner panics: the index says what the cache says, each end is heard, and nothing is locked for ever.
#[test]
fn an_owner_that_panics_leaves_all_whole() {
    for steps in 0.. {
        let heard = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&heard);
        let clock = ManualClock::new();
        let sessions = SessionManager::builder()
            .owner(|user: &u32| (*user != 0).then_some(Fragile(*user)))
            .max_per_owner(2, WhenCrowded::EndOldest)
            .end_listener(move |_, _, _| _ = counted.fetch_add(1, Ordering::Relaxed))
            .clock(clock.clone())
            .build()
            .unwrap();
        let first = sessions.create(ADA).unwrap();
        let second = sessions.create(BEN).unwrap();
        let nobody = sessions.create(0).unwrap();
        FRAGILE.store(steps, Ordering::Relaxed);
        let broke = catch_unwind(AssertUnwindSafe(|| {
            sessions.create(ADA).unwrap();
            sessions.replace(&first, BEN).unwrap();
            sessions.modify(&nobody, |user| *user = ADA).unwrap();
            let moved = sessions.rotate_with(&second, |user| *user = ADA).unwrap().0;
            sessions.end_others(&moved).unwrap();
            sessions.remove(&moved).unwrap();
            sessions.end_all(&Fragile(BEN));
        }));
        FRAGILE.store(usize::MAX, Ordering::Relaxed);
        sessions.validate();
        let left = sessions.len();
        let ended = heard.load(Ordering::Relaxed);
        assert!([3, 4].contains(&(left + ended)), "{left} left, {ended} ended");
        clock.advance(IDLE + SWEPT);
        assert_eq!(heard.load(Ordering::Relaxed), left + ended);
        sessions.validate();
        if broke.is_ok() {
            assert!(steps > 10, "only {steps} calls on the owner");
            return;
        }
    }
}

/// An owner whose destructor panics where a test arms it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Loud(u32);

static ARMED: AtomicBool = AtomicBool::new(false);

impl Drop for Loud {
    fn drop(&mut self) {
        let panics = self.0 == ADA && ARMED.load(Ordering::Relaxed) && !std::thread::panicking();
        assert!(!panics, "an owner goes");
    }
}

/// Runs a call while Ada's destructors panic. A panic of one that is the call's own may come out of it.
fn while_armed(call: impl FnOnce()) {
    ARMED.store(true, Ordering::Relaxed);
    let _ = catch_unwind(AssertUnwindSafe(call));
    ARMED.store(false, Ordering::Relaxed);
}

#[test]
fn an_owner_whose_destructor_panics_leaves_all_whole() {
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    let clock = ManualClock::new();
    let sessions = SessionManager::builder()
        .owner(|user: &u32| Some(Loud(*user)))
        .max_per_owner(2, WhenCrowded::Refuse)
        .end_listener(move |_, _, _| _ = counted.fetch_add(1, Ordering::Relaxed))
        .record_stats()
        .clock(clock.clone())
        .build()
        .unwrap();
    // Each end is heard, and counted, once.
    let id = sessions.create(ADA).unwrap();
    while_armed(|| _ = sessions.remove(&id));
    assert_eq!((heard.load(Ordering::Relaxed), sessions.stats().ended), (1, 1));
    sessions.validate();
    let expiring = sessions.create(ADA).unwrap();
    while_armed(|| clock.advance(IDLE + SWEPT));
    assert!(sessions.get(&expiring).is_err());
    assert_eq!((heard.load(Ordering::Relaxed), sessions.stats().expired), (2, 1));
    sessions.validate();
    // No claim is left behind by a session that changes its owner, nor by one that finds its owner there.
    let [first, second] = [ADA, ADA].map(|user| sessions.create(user).unwrap());
    while_armed(|| _ = sessions.rotate_with(&first, |user| *user = BEN));
    while_armed(|| _ = sessions.rotate_with(&second, |user| *user = BEN));
    sessions.validate();
    while_armed(|| _ = sessions.create(ADA));
    while_armed(|| _ = sessions.create(ADA));
    while_armed(|| _ = sessions.create(ADA));
    sessions.validate();
    for user in [ADA, BEN] {
        let listed = sessions.sessions_of(&Loud(user));
        assert_eq!(listed.len(), sessions.iter().filter(|(_, data)| *data == user).count());
        assert_eq!(sessions.end_all(&Loud(user)), listed.len());
        let both = [(); 2].map(|()| sessions.create(user).expect("nobody's claims are left"));
        both.iter().for_each(|id| _ = sessions.remove(id).unwrap());
    }
    assert!(sessions.is_empty());
    sessions.validate();
}

/// What hears of an end finds the session gone, and may use the manager.
#[test]
fn a_listener_may_use_the_manager() {
    let place: Arc<Mutex<Option<SessionManager<Visit, u32>>>> = Arc::default();
    let found = Arc::new(AtomicUsize::new(usize::MAX));
    let (inside, seen) = (Arc::clone(&place), Arc::clone(&found));
    let (_clock, builder) = on_clock();
    let sessions = builder
        .end_listener(move |id, visit, _| {
            let Some(sessions) = inside.lock().unwrap().clone() else { return };
            assert!(sessions.get(id).is_err());
            seen.store(sessions.sessions_of(&visit.user.unwrap()).len(), Ordering::Relaxed);
            if visit.clicks == 0 {
                sessions.create(Visit { clicks: 1, ..visit.clone() }).unwrap();
            }
        })
        .build()
        .unwrap();
    *place.lock().unwrap() = Some(sessions.clone());
    let id = sessions.create(of(ADA)).unwrap();
    sessions.remove(&id).unwrap();
    assert_eq!(found.load(Ordering::Relaxed), 0);
    assert_eq!(ids(&sessions, ADA).len(), 1);
    sessions.end_all(&ADA);
    sessions.validate();
    // Or it would never go away.
    place.lock().unwrap().take();
}

// ---- races ----

/// "Log out everywhere" beside rotations: no session that was there when it began is there when it returned, under whatever id.
#[test]
fn no_rotation_escapes_from_end_all() {
    let (_clock, sessions) = manager();
    let mut escaped_the_first_look = 0;
    for round in 0..3_000 {
        let id = sessions.create(of(ADA)).unwrap();
        let start = Barrier::new(2);
        let last = std::thread::scope(|scope| {
            let rotator = scope.spawn(|| {
                start.wait();
                let mut id = id;
                while let Ok(next) = sessions.rotate(&id) {
                    id = next;
                }
                id
            });
            start.wait();
            for _ in 0..round % 64 {
                std::hint::spin_loop();
            }
            escaped_the_first_look += usize::from(sessions.end_all(&ADA) == 0);
            assert!(ids(&sessions, ADA).is_empty(), "round {round}");
            rotator.join().unwrap()
        });
        not_found(sessions.get(&last));
        assert_eq!(sessions.len(), 0, "round {round}");
        if round % 100 == 0 {
            sessions.validate();
        }
    }
    sessions.validate();
    // Ended by the rotation itself, which found that its place was doomed.
    println!("{escaped_the_first_look} of 3000 were on their way");
}

/// Many threads open, move, change, end; in the end the index says what the cache says, and every session ended once.
#[test]
fn the_index_agrees_with_the_cache_after_a_storm() {
    let ends: Arc<Mutex<HashMap<u32, usize>>> = Arc::default();
    let heard = Arc::clone(&ends);
    let (clock, builder) = on_clock();
    let sessions = builder
        .max_per_owner(8, WhenCrowded::EndOldest)
        .end_listener(move |_, visit, _| *heard.lock().unwrap().entry(visit.clicks).or_default() += 1)
        .build()
        .unwrap();
    let serial = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (sessions, clock, serial) = (&sessions, &clock, &serial);
            scope.spawn(move || {
                let mut own: Vec<SessionId> = Vec::new();
                for step in 0..4_000_u32 {
                    let clicks = serial.fetch_add(1, Ordering::Relaxed) as u32;
                    let user = (step.wrapping_mul(2_654_435_761) >> 16) % 4;
                    match step % 11 {
                        0..=3 => own.extend(sessions.create(Visit { user: Some(user), clicks })),
                        4 => own.extend(sessions.create(Visit { user: None, clicks })),
                        5 => drop(own.pop().map(|id| sessions.modify(&id, |visit| visit.user = Some(user)))),
                        6 => {
                            if let Some(Ok((id, ()))) =
                                own.pop().map(|id| sessions.rotate_with(&id, |visit| visit.user = Some(user)))
                            {
                                own.push(id);
                            }
                        }
                        7 => drop(own.last().map(|id| sessions.modify(id, |visit| visit.user = None))),
                        8 => drop(own.pop().map(|id| sessions.remove(&id))),
                        9 if step % 5 == 0 => drop(sessions.end_all(&user)),
                        9 => drop(own.last().map(|id| sessions.end_others(id))),
                        _ if thread == 0 => clock.advance(SECOND / 10),
                        _ => drop(sessions.sessions_of(&user)),
                    }
                }
            });
        }
    });
    sessions.validate();
    clock.advance(IDLE + SWEPT);
    assert_eq!(sessions.len(), 0);
    sessions.validate();
    let ends = ends.lock().unwrap();
    assert!(ends.values().all(|&times| times == 1), "heard of more than once");
}
