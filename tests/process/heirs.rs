//! Forks, while other threads have something in hand that is counted: the child counts it no longer, and what the forking
//! thread has in hand itself it still does.

use crate::child;
use crate::forks::{Way, assert_ends_well, in_a_child};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tidewheel::{Cache, ManualClock, RemovalCause, SessionError, SessionManager};

/// In a process of its own: `body`.
fn alone(test: &str, body: impl FnOnce()) {
    if child::is_here() { body() } else { drop(child::passes(&format!("heirs::{test}"), 200, || {})) }
}

/// Where one thread of this process, and of no child, stops: once, until it is let go.
#[derive(Clone)]
struct Stop {
    process: u32,
    was_there: Arc<AtomicBool>,
    reached: Arc<Barrier>,
    go_on: Arc<Barrier>,
}

impl Stop {
    fn new() -> Self {
        let [reached, go_on] = [(); 2].map(|()| Arc::new(Barrier::new(2)));
        Self { process: std::process::id(), was_there: Arc::default(), reached, go_on }
    }

    fn here(&self) {
        if std::process::id() == self.process && !self.was_there.swap(true, Ordering::Relaxed) {
            self.reached.wait();
            self.go_on.wait();
        }
    }

    /// Runs `f` while the other thread has stopped.
    fn during(&self, f: impl FnOnce()) {
        self.reached.wait();
        f();
        self.go_on.wait();
    }
}

/// Forks where `point` is, on its thread. Parent and child both go on there. What comes after is `rest`, in the child as in
/// the parent; a panic of it fails the test.
struct Split(AtomicBool);

impl Split {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(false)))
    }

    /// Forks, the first time.
    fn here(&self) {
        if !self.0.swap(true, Ordering::Relaxed) {
            // SAFETY: the child ends in `end`, or in a panic of this test.
            CHILD.store(unsafe { libc::fork() }, Ordering::Relaxed);
        }
    }

    /// Ends the child; the parent looks how it ended.
    fn end(&self, rest: impl FnOnce()) {
        assert!(self.0.load(Ordering::Relaxed), "nobody forked");
        let child = CHILD.load(Ordering::Relaxed);
        if child != 0 {
            assert_ends_well("a split", child);
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(rest));
        if child == 0 {
            // SAFETY: it ends the process.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 77 }) };
        }
        done.unwrap();
    }
}

/// 0 in the child.
static CHILD: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);

/// `invalidate_all` counts that it has begun, and that it is done. One of another thread is never done in the child: there each
/// `rename` lost its entry.
#[test]
fn a_child_renames_though_another_thread_was_invalidating_everything() {
    alone("a_child_renames_though_another_thread_was_invalidating_everything", || {
        let stop = Stop::new();
        let stops = stop.clone();
        let told = move |_: &u64, _: &u64, cause| {
            if cause == RemovalCause::Explicit {
                stops.here();
            }
        };
        let cache = Cache::builder().shards(1).eviction_listener(told).build().unwrap();
        cache.insert(1, 1);
        let clears = {
            let cache = cache.clone();
            thread::spawn(move || cache.invalidate_all())
        };
        stop.during(|| {
            in_a_child("renaming", Way::Fork, || {
                cache.insert(5, 5);
                assert!(cache.rename(&5, 6));
                assert_eq!((cache.get(&5), cache.get(&6)), (None, Some(5)));
                cache.invalidate_all();
                cache.insert(5, 7);
                assert!(cache.rename(&5, 6));
                assert_eq!(cache.get(&6), Some(7));
            });
        });
        clears.join().unwrap();
    });
}

/// The same where the forking thread itself is at it: in the child it goes on, and is done.
#[test]
fn a_thread_that_invalidates_everything_and_forks_is_done_once_in_the_child() {
    alone("a_thread_that_invalidates_everything_and_forks_is_done_once_in_the_child", || {
        let split = Split::new();
        let splits = split.clone();
        let told = move |_: &u64, _: &u64, _| splits.here();
        let cache = Cache::builder().shards(1).eviction_listener(told).build().unwrap();
        (0..300).for_each(|key| cache.insert(key, key));
        cache.invalidate_all();
        split.end(|| {
            assert_eq!(cache.entry_count(), 0);
            cache.insert(5, 5);
            assert!(cache.rename(&5, 6));
            assert_eq!(cache.get(&6), Some(5));
        });
    });
}

/// A thread that makes room in other shards has a lock besides those of the shards.
#[test]
fn a_child_stores_heavy_values_though_others_were_making_room_at_the_fork() {
    alone("a_child_stores_heavy_values_though_others_were_making_room_at_the_fork", || {
        let weigher = |_: &u64, value: &u32| *value;
        let cache = Cache::builder().shards(8).max_capacity(1000).weigher(weigher).build().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let writers: Vec<JoinHandle<()>> = (0..2u64)
            .map(|first| {
                let (cache, over) = (cache.clone(), over.clone());
                thread::spawn(move || {
                    let mut round = first;
                    while !over.load(Ordering::Relaxed) {
                        cache.insert(round % 5000, 50 + (round * 7 % 200) as u32);
                        round += 2;
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        for _ in 0..12 {
            in_a_child("heavy values", Way::Fork, || {
                (0..20).for_each(|key| cache.insert(key, 200));
                cache.validate();
            });
        }
        over.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        cache.validate();
    });
}

/// A key whose `Eq` takes four seconds, for one of them.
#[derive(Clone)]
struct Slow(u64, bool);

impl PartialEq for Slow {
    fn eq(&self, other: &Self) -> bool {
        if self.1 || other.1 {
            thread::sleep(Duration::from_secs(4));
        }
        self.0 == other.0
    }
}

impl Eq for Slow {}

impl Hash for Slow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        7u64.hash(state);
    }
}

/// A lock that a thread of the child holds is one that somebody is going to open, however long that takes: of a cache that
/// was inherited, and of one that was not.
#[test]
fn a_child_waits_for_locks_that_its_own_threads_hold() {
    alone("a_child_waits_for_locks_that_its_own_threads_hold", || {
        let build = || {
            let cache = Cache::builder().shards(1).build().unwrap();
            cache.insert(Slow(1, false), 1);
            cache
        };
        let inherited = build();
        in_a_child("a slow comparison", Way::Fork, || {
            let both = [inherited.clone(), build()].map(|cache| {
                thread::spawn(move || {
                    let slow = {
                        let cache = cache.clone();
                        thread::spawn(move || cache.insert(Slow(1, true), 2))
                    };
                    thread::sleep(Duration::from_millis(200));
                    cache.insert(Slow(2, false), 2);
                    slow.join().unwrap();
                    assert_eq!(cache.entry_count(), 2);
                })
            });
            both.into_iter().for_each(|thread| thread.join().unwrap());
        });
    });
}

/// A call for many keys loads those whose turn it has, and waits for the others afterwards. If its closure forks, nobody loads
/// those in the child.
#[test]
fn a_call_for_many_keys_that_forks_does_not_wait_for_threads_that_the_child_does_not_have() {
    alone("a_call_for_many_keys_that_forks_does_not_wait_for_threads_that_the_child_does_not_have", || {
        let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
        let (stop, split) = (Stop::new(), Split::new());
        let loads = {
            let (cache, stop) = (cache.clone(), stop.clone());
            thread::spawn(move || {
                cache.get_with(2, || {
                    stop.here();
                    20
                })
            })
        };
        stop.reached.wait();
        let values = cache.get_many_with([1, 2], |keys| {
            split.here();
            if CHILD.load(Ordering::Relaxed) > 0 && keys == [&1] {
                stop.go_on.wait();
            }
            keys.iter().map(|key| (**key, **key)).collect::<Vec<_>>()
        });
        split.end(|| {
            let two = if CHILD.load(Ordering::Relaxed) == 0 { 2 } else { 20 };
            assert_eq!(values, [Some(1), Some(two)]);
            assert_eq!(cache.get_many(&[1, 2]), values);
            cache.validate();
        });
        assert_eq!(loads.join().unwrap(), 20);
    });
}

/// The permits of expired sessions are given back one after the other, as they are told of. Those that another thread had in
/// hand were taken for ever in the child: it was full.
#[test]
fn a_child_has_the_permits_of_sessions_that_another_thread_was_ending() {
    alone("a_child_has_the_permits_of_sessions_that_another_thread_was_ending", || {
        let (stop, clock) = (Stop::new(), ManualClock::new());
        let stops = stop.clone();
        let sessions = eight(&clock, move || stops.here());
        let ends = {
            let sessions = sessions.clone();
            thread::spawn(move || sessions.run_pending_tasks())
        };
        stop.during(|| {
            in_a_child("permits", Way::Fork, || {
                assert!(sessions.is_empty());
                fill(&sessions, 8);
                sessions.validate();
            });
        });
        ends.join().unwrap();
        fill(&sessions, 8);
        sessions.validate();
    });
}

/// Eight expired sessions, of eight that there may be, and nobody has come by yet. Whoever ends one runs `ends`.
fn eight(clock: &ManualClock, ends: impl Fn() + Send + Sync + 'static) -> SessionManager<u64> {
    let sessions: SessionManager<u64> = SessionManager::builder()
        .clock(clock.clone())
        .shards(1)
        .max_sessions(8)
        .end_listener(move |_, _, _| ends())
        .build()
        .unwrap();
    fill(&sessions, 8);
    clock.advance_without_sweeping(Duration::from_secs(10));
    sessions
}

/// Fills it up: as many as there may be, and no more.
fn fill<O>(sessions: &SessionManager<u64, O>, max: usize)
where
    O: Hash + Eq + Clone + Send + Sync + 'static,
{
    while sessions.create(7).is_ok() {
        assert!(sessions.len() <= max, "{} of {max}", sessions.len());
    }
    assert!(matches!(sessions.create(7), Err(SessionError::Full { .. })));
    assert_eq!(sessions.len(), max);
}

/// What the forking thread was ending itself, it goes on ending in the child.
#[test]
fn a_thread_that_ends_sessions_and_forks_gives_each_permit_back_once() {
    alone("a_thread_that_ends_sessions_and_forks_gives_each_permit_back_once", || {
        let (split, clock) = (Split::new(), ManualClock::new());
        let splits = split.clone();
        let sessions = eight(&clock, move || splits.here());
        sessions.run_pending_tasks();
        split.end(|| {
            sessions.validate();
            fill(&sessions, 8);
            sessions.validate();
        });
    });
}

/// A session that the forking thread is opening, or moving, takes its permit in the child; one that another thread is opening
/// does not come there.
#[test]
fn permits_in_hand_at_a_fork_are_those_of_the_forking_thread() {
    alone("permits_in_hand_at_a_fork_are_those_of_the_forking_thread", || {
        [false, true].into_iter().for_each(permits_in_hand);
    });
}

fn permits_in_hand(moves: bool) {
    const STOPS: u64 = 1;
    const FORKS: u64 = 2;
    let (stop, split) = (Stop::new(), Split::new());
    let (stops, splits) = (stop.clone(), split.clone());
    let whose = move |user: &u64| {
        match *user {
            STOPS => stops.here(),
            FORKS => splits.here(),
            _ => {}
        }
        Some(*user)
    };
    let sessions: SessionManager<u64, u64> = SessionManager::builder()
        .idle(Duration::from_secs(600))
        .max_sessions(8)
        .owner(whose)
        .build()
        .unwrap();
    let first = sessions.create(7).unwrap();
    let opens = {
        let sessions = sessions.clone();
        thread::spawn(move || sessions.create(STOPS).unwrap())
    };
    stop.reached.wait();
    if moves {
        sessions.rotate_with(&first, |user| *user = FORKS).unwrap();
    } else {
        sessions.create(FORKS).unwrap();
    }
    split.end(|| {
        if CHILD.load(Ordering::Relaxed) == 0 {
            assert_eq!(sessions.len(), 2 - usize::from(moves));
            fill(&sessions, 8);
        }
    });
    stop.go_on.wait();
    opens.join().unwrap();
    fill(&sessions, 8);
    sessions.validate();
}

/// What a cache may hold counts for the policy when all have done with it who change it.
#[test]
fn a_child_changes_the_capacity_though_another_thread_was_changing_it() {
    alone("a_child_changes_the_capacity_though_another_thread_was_changing_it", || {
        for weighed in [false, true] {
            let stop = Stop::new();
            let stops = stop.clone();
            let cache = Cache::builder().shards(4).max_capacity(400).eviction_listener(
                move |_: &u64, _: &u64, cause| {
                    if cause == RemovalCause::Size {
                        stops.here();
                    }
                },
            );
            let cache = if weighed { cache.weigher(|_, _| 1) } else { cache };
            let cache = cache.build().unwrap();
            (0..300).for_each(|key| cache.insert(key, key));
            let changes = {
                let cache = cache.clone();
                thread::spawn(move || cache.set_max_capacity(40).unwrap())
            };
            stop.during(|| {
                in_a_child("another capacity", Way::Fork, || {
                    for capacity in [20, 60] {
                        cache.set_max_capacity(capacity).unwrap();
                        assert_eq!(cache.policy().max_capacity, Some(capacity));
                        assert!(cache.entry_count() as u64 <= capacity);
                        (0..300).for_each(|key| cache.insert(key, key));
                        assert!(cache.entry_count() as u64 <= capacity);
                    }
                    cache.validate();
                });
            });
            changes.join().unwrap();
            assert_eq!(cache.policy().max_capacity, Some(40));
        }
    });
}

/// The same where the forking thread itself is at it.
#[test]
fn a_thread_that_changes_the_capacity_and_forks_is_done_once_in_the_child() {
    alone("a_thread_that_changes_the_capacity_and_forks_is_done_once_in_the_child", || {
        let split = Split::new();
        let splits = split.clone();
        let told = move |_: &u64, _: &u64, _| splits.here();
        let cache = Cache::builder().shards(4).max_capacity(400).eviction_listener(told).build().unwrap();
        (0..300).for_each(|key| cache.insert(key, key));
        cache.set_max_capacity(40).unwrap();
        split.end(|| {
            assert_eq!(cache.policy().max_capacity, Some(40));
            cache.set_max_capacity(20).unwrap();
            assert_eq!(cache.policy().max_capacity, Some(20));
            cache.validate();
        });
    });
}
