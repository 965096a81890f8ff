//! Forks, while other threads are at it: what the child has is whole, works, and waits for nobody who is not there.

use crate::child;
use crate::filter::refuse;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, EndCause, ManualClock, Reaper, SessionManager, WhenCrowded};

/// How a process came to be.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Fork,
    /// Past the C library.
    Clone,
}

/// So many naps of a millisecond are taken while a child runs. They are counted, and not the time: a machine that stops costs one
/// of them, and one that is busy lets the parent oversleep as it does the child.
const NAPS: u32 = 60_000;

/// Runs `f` in a forked child, of one thread, and waits for its end, which has to come and be a good one.
pub(crate) fn in_a_child(what: &str, way: Way, f: impl FnOnce()) {
    in_a_child_beside(what, way, f, || {});
}

/// The same. The parent runs `beside` once the child is there.
pub(crate) fn in_a_child_beside(what: &str, way: Way, f: impl FnOnce(), beside: impl FnOnce()) {
    // SAFETY: the child does not come back from here.
    let number = unsafe {
        match way {
            Way::Fork => libc::fork(),
            Way::Clone => i32::try_from(libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0)).unwrap(),
        }
    };
    assert!(number >= 0, "no fork");
    if number == 0 {
        let done = catch_unwind(AssertUnwindSafe(f));
        // SAFETY: it ends the process.
        unsafe { libc::_exit(if done.is_ok() { 0 } else { 77 }) };
    }
    beside();
    assert_ends_well(what, number);
}

/// Waits for the end of a child.
pub(crate) fn assert_ends_well(what: &str, child: libc::pid_t) {
    let (mut status, mut naps) = (0, 0);
    // SAFETY: a status is stored.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if naps == NAPS {
            // SAFETY: a child of ours, that nobody has waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("{what}: the child hangs");
        }
        naps += 1;
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(status, 0, "{what}: the child ended with {status:#x}");
}

/// Runs `work` on some threads over and over, until it is dropped.
struct Busy {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Busy {
    fn with(threads: u64, work: impl Fn(u64) + Send + Sync + 'static) -> Self {
        let (over, work) = (Arc::new(AtomicBool::new(false)), Arc::new(work));
        let start = |thread| {
            let (over, work) = (over.clone(), work.clone());
            thread::spawn(move || {
                let mut round = thread;
                while !over.load(Ordering::Relaxed) {
                    work(round);
                    round += threads;
                }
            })
        };
        let threads = (0..threads).map(start).collect();
        thread::sleep(Duration::from_millis(20));
        Self { over, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

static LIVING: AtomicUsize = AtomicUsize::new(0);

struct Value;

impl Value {
    fn new() -> Self {
        LIVING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks again and again. Looks are counted, and not the time, as `NAPS` are.
fn until(what: &str, done: impl Fn() -> bool) {
    const LOOKS: u32 = 8_000;
    let mut looks = 0;
    while !done() {
        looks += 1;
        assert!(looks < LOOKS, "{what}: {} values live", LIVING.load(Ordering::Relaxed));
        thread::sleep(Duration::from_millis(5));
    }
}

/// In a process of its own: `body`.
fn alone(test: &str, body: impl FnOnce()) {
    if child::is_here() { body() } else { drop(child::passes(&format!("forks::{test}"), 400, || {})) }
}

/// The child's first insert waited for a lock that a thread of the parent had held, and that nobody was going to open: in
/// eight of eight tries where one thread only writes.
#[test]
fn a_child_writes_to_caches_that_were_written_to_at_the_fork() {
    alone("a_child_writes_to_caches_that_were_written_to_at_the_fork", || {
        let caches: Vec<_> =
            [1, 4].map(|shards| Cache::builder().max_capacity(10_000).shards(shards).build().unwrap()).into();
        let writers = {
            let caches = caches.clone();
            Busy::with(2, move |round| {
                caches.iter().for_each(|cache| cache.insert(round % 20_000, round.to_string()));
                caches[0].remove(&(round % 1000));
            })
        };
        for _ in 0..8 {
            in_a_child("writing", Way::Fork, || {
                for cache in &caches {
                    cache.validate();
                    for key in 0..5000 {
                        cache.insert(key, key.to_string());
                        assert!(cache.get(&key).is_none_or(|value| value == key.to_string()));
                    }
                    assert!(cache.entry_count() > 1000);
                    cache.retain(|key, _| key % 2 == 0);
                    cache.validate();
                }
                // And a child of its own.
                in_a_child("a grandchild", Way::Fork, || {
                    caches.iter().for_each(|cache| cache.insert(1, "a".into()));
                });
            });
            // The parent goes on as it did.
            caches.iter().for_each(|cache| cache.insert(1, "one".into()));
        }
        drop(writers);
        caches.iter().for_each(Cache::validate);
    });
}

/// The index of sessions by owners has locks too.
#[test]
fn a_child_has_the_index_of_owners_that_was_written_to_at_the_fork() {
    alone("a_child_has_the_index_of_owners_that_was_written_to_at_the_fork", || {
        // None expires while they are counted.
        let idle = Duration::from_secs(600);
        let sessions = SessionManager::builder().idle(idle).owner(|user: &u64| Some(*user)).build().unwrap();
        let writers = {
            let sessions = sessions.clone();
            Busy::with(2, move |round| {
                let id = sessions.create(round % 4).unwrap();
                if round % 3 == 0 {
                    let _ = sessions.rotate(&id);
                }
                if round % 64 < 4 {
                    sessions.end_all(&(round % 4));
                }
            })
        };
        for _ in 0..16 {
            in_a_child("opening and ending sessions", Way::Fork, || {
                for user in 0..100 {
                    let id = sessions.create(user).unwrap();
                    assert!(sessions.sessions_of(&user).iter().any(|info| info.id() == id));
                    sessions.end_all(&user);
                    assert!(sessions.get(&id).is_err());
                    assert!(sessions.sessions_of(&user).is_empty());
                }
            });
        }
        drop(writers);
        sessions.validate();
    });
}

/// A thread is opening a session at the fork, and another is ended for it: in the child nobody is. So the owner has the sessions that
/// can be found there, and no others are counted.
#[test]
fn a_child_does_not_count_the_session_that_was_being_opened_at_the_fork() {
    alone("a_child_does_not_count_the_session_that_was_being_opened_at_the_fork", || {
        let (in_the_middle, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (reached, waits) = (Arc::clone(&in_the_middle), Arc::clone(&go_on));
        let parent = std::process::id();
        let sessions = SessionManager::builder()
            .idle(Duration::from_secs(600))
            .owner(|user: &u64| Some(*user))
            .max_per_owner(2, WhenCrowded::EndOldest)
            .end_listener(move |_, _, cause| {
                if cause == EndCause::Displaced && std::process::id() == parent {
                    reached.wait();
                    waits.wait();
                }
            })
            .build()
            .unwrap();
        sessions.create(1).unwrap();
        let second = sessions.create(1).unwrap();
        let opener = {
            let sessions = sessions.clone();
            std::thread::spawn(move || sessions.create(1).unwrap())
        };
        in_the_middle.wait();
        in_a_child("opening sessions", Way::Fork, || {
            let ids = |sessions: &SessionManager<u64, u64>| {
                sessions.sessions_of(&1).iter().map(|info| info.id()).collect::<Vec<_>>()
            };
            assert_eq!(ids(&sessions), [second]);
            let third = sessions.create(1).unwrap();
            assert_eq!(ids(&sessions), [second, third], "one was displaced for a session that does not come");
            let fourth = sessions.create(1).unwrap();
            assert_eq!(ids(&sessions), [third, fourth]);
            sessions.validate();
        });
        go_on.wait();
        opener.join().unwrap();
        sessions.validate();
    });
}

/// Threads that read at the fork left their pins to the child, which dropped nothing from then on: a cache of 1,000 grew to
/// 430 MiB.
#[test]
fn a_child_drops_what_it_replaces_whoever_was_reading_at_the_fork() {
    alone("a_child_drops_what_it_replaces_whoever_was_reading_at_the_fork", || {
        let cache = Cache::builder().max_capacity(1000).build().unwrap();
        (0..1000u64).for_each(|key| cache.insert(key, Value::new()));
        let readers = {
            let cache = cache.clone();
            Busy::with(3, move |_| {
                let guard = cache.read_guard();
                assert!((0..1000u64).any(|key| guard.get(&key).is_some()));
            })
        };
        // Unoptimized, each takes many seconds.
        let children = if cfg!(debug_assertions) { 2 } else { 4 };
        for _ in 0..children {
            in_a_child("memory", Way::Fork, || {
                let mut most = 0;
                for key in 0..200_000 {
                    cache.insert(key, Value::new());
                    most = most.max(LIVING.load(Ordering::Relaxed));
                }
                assert!(most < 50_000, "{most} values lived at the same time");
                until("what was replaced is dropped", || LIVING.load(Ordering::Relaxed) < 2000);
            });
        }
        drop(readers);
    });
}

/// The guard that the forking thread itself holds goes on protecting what it looks at.
#[test]
fn a_guard_that_is_held_over_a_fork_protects_in_the_child() {
    alone("a_guard_that_is_held_over_a_fork_protects_in_the_child", || {
        let cache = Cache::builder().build().unwrap();
        cache.insert(1, "what is looked at".to_string());
        let guard = cache.read_guard();
        let value = guard.get(&1).unwrap();
        in_a_child("a guard", Way::Fork, || {
            cache.remove(&1);
            (0..10_000).for_each(|key| cache.insert(key, "other".to_string()));
            thread::sleep(Duration::from_millis(1500));
            assert_eq!(value, "what is looked at");
        });
    });
}

/// The reaper's thread is not in the child. One starts there when there is something to do, and finds what came before.
#[test]
fn a_child_has_reapers_once_it_needs_them() {
    /// The busy cache's keys, which are written round after round. A tenth of them is looked at.
    const KEYS: u64 = 100_000;
    alone("a_child_has_reapers_once_it_needs_them", || {
        let life = Duration::from_secs(1);
        for reaper in [Reaper::shared(), Reaper::dedicated()] {
            let build = || Cache::builder().reaper(reaper.clone()).time_to_live(life).build().unwrap();
            let busy = Cache::builder().reaper(reaper.clone()).time_to_live(life).build().unwrap();
            let quiet = build();
            // Only that another thread is at it, so that the reaper has promised much.
            let writers = {
                let busy = busy.clone();
                Busy::with(1, move |round| busy.insert(round % KEYS, Arc::new(())))
            };
            for _ in 0..3 {
                // No thread of the parent has a counted value in hand at a fork: the old ones are dropped before, and none
                // of the new ones has expired.
                until("the parent drops what has expired", || LIVING.load(Ordering::Relaxed) == 0);
                let written = || (0..KEYS / 10).filter_map(|key| busy.get(&key));
                // The writer may not have had a processor for a while.
                until("the writer writes", || written().count() > 1000);
                let seen: Vec<_> = written().map(|value| Arc::downgrade(&value)).collect();
                (2000..2100).for_each(|key| quiet.insert(key, Value::new()));
                in_a_child("an inherited cache", Way::Fork, || {
                    let left = || seen.iter().filter(|value| value.strong_count() > 0).count();
                    let inherited = left();
                    quiet.insert(1, Value::new());
                    busy.insert(1, Arc::new(()));
                    until("inherited entries expire", || busy.entry_count() + quiet.entry_count() == 0);
                    until("and are dropped", || LIVING.load(Ordering::Relaxed) == 0);
                    // Threads that are not in the child drop nothing there. The writer may have had two batches of 64 in
                    // hand at the fork, and the reaper the garbage of one of the shards.
                    until("those of the busy cache, too", || left() <= inherited / 2);
                    drop((busy.clone(), quiet.clone()));
                });
                in_a_child("a new cache", Way::Fork, || {
                    let new = build();
                    new.insert(1, Value::new());
                    until("new and inherited entries expire", || {
                        new.entry_count() + busy.entry_count() + quiet.entry_count() == 0
                    });
                    let own = Reaper::dedicated();
                    let last = Cache::builder().reaper(own.clone()).build().unwrap();
                    last.insert(1, Value::new());
                    drop(last);
                    own.join();
                });
            }
            drop(writers);
        }
    });
}

/// A load that a thread of the parent was at is led anew in the child; what the forking thread itself loads goes on.
#[test]
fn a_child_does_not_wait_for_loads_of_threads_that_it_does_not_have() {
    alone("a_child_does_not_wait_for_loads_of_threads_that_it_does_not_have", || {
        let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
        let go_on = Arc::new(AtomicBool::new(false));
        let started = Arc::new(AtomicUsize::new(0));
        let loading: Vec<_> = (0..4u64)
            .map(|thread| {
                let (cache, go_on, started) = (cache.clone(), go_on.clone(), started.clone());
                thread::spawn(move || {
                    // Two keys, each with one that leads and one that waits.
                    started.fetch_add(1, Ordering::Relaxed);
                    cache.get_with(thread / 2, || {
                        until("go on", || go_on.load(Ordering::Relaxed));
                        7
                    })
                })
            })
            .collect();
        until("loads", || started.load(Ordering::Relaxed) == 4);
        thread::sleep(Duration::from_millis(50));
        in_a_child("loads", Way::Fork, || {
            assert_eq!(cache.get_with(0, || 8), 8);
            assert_eq!(*cache.entry(1).and_upsert_with(|_| 9).value(), 9);
            assert_eq!((cache.get(&0), cache.get(&1)), (Some(8), Some(9)));
            cache.validate();
        });
        let three = cache.get_with(3, || {
            in_a_child("a loader forks", Way::Fork, || assert_eq!(cache.get_with(4, || 4), 4));
            3
        });
        assert_eq!(three, 3);
        go_on.store(true, Ordering::Relaxed);
        assert!(loading.into_iter().all(|thread| thread.join().unwrap() == 7));

        // What the forking thread leads, it lands in the child as well.
        in_a_child("both", Way::Fork, || {
            let mut grandchild = false;
            let five = cache.get_with(5, || {
                // SAFETY: the child ends below.
                grandchild = unsafe { libc::fork() } == 0;
                5
            });
            assert_eq!((five, cache.get(&5)), (5, Some(5)));
            if grandchild {
                // SAFETY: it ends the process.
                unsafe { libc::_exit(0) };
            }
            let mut status = 0;
            // SAFETY: a status is stored.
            unsafe { libc::waitpid(-1, &raw mut status, 0) };
            assert_eq!(status, 0);
        });
    });
}

/// Locks and lists that are there beside those of the caches.
#[test]
fn a_child_builds_and_drops_caches_though_others_did_so_at_the_fork() {
    alone("a_child_builds_and_drops_caches_though_others_did_so_at_the_fork", || {
        let clock = ManualClock::new();
        let kept: Cache<u64, u64> = Cache::builder().record_stats().max_capacity(100).build().unwrap();
        let build = {
            let (clock, kept) = (clock.clone(), kept.clone());
            move |round: u64| {
                let cache = Cache::builder().shards(1).build().unwrap();
                cache.insert(round, round);
                let clocked = Cache::builder().shards(1).clock(clock.clone()).build().unwrap();
                clocked.insert(round, round);
                clock.advance(Duration::from_millis(1));
                kept.get(&round);
                kept.set_max_capacity(100 + round % 7).unwrap();
                drop(Cache::<u64, u64>::builder().shards(1).reaper(Reaper::dedicated()).build().unwrap());
            }
        };
        let builders = Busy::with(3, build.clone());
        for _ in 0..20 {
            in_a_child("building", Way::Fork, || (0..20).for_each(&build));
        }
        drop(builders);
    });
}

/// Whether comparisons of keys take their time, and whether one does so.
#[derive(Default)]
struct Pace {
    is_slow: AtomicBool,
    has_begun: AtomicBool,
}

/// A key whose `Eq` takes its time, under the lock, while it is told to.
#[derive(Clone)]
struct Slow(u64, Arc<Pace>);

impl PartialEq for Slow {
    fn eq(&self, other: &Self) -> bool {
        while self.1.is_slow.load(Ordering::Relaxed) {
            self.1.has_begun.store(true, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(1));
        }
        self.0 == other.0
    }
}

impl Eq for Slow {}

impl Hash for Slow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// A cache with one entry, whose one lock a writer holds as long as the comparison of its keys is slow.
struct Held {
    cache: Cache<Slow, i32>,
    pace: Arc<Pace>,
    writer: thread::JoinHandle<()>,
}

impl Held {
    fn new() -> Self {
        let cache = Cache::builder().shards(1).build().unwrap();
        let pace = Arc::<Pace>::default();
        cache.insert(Slow(1, pace.clone()), 1);
        pace.is_slow.store(true, Ordering::Relaxed);
        let writer = {
            let (cache, pace) = (cache.clone(), pace.clone());
            thread::spawn(move || cache.insert(Slow(1, pace), 2))
        };
        until("the writer compares keys", || pace.has_begun.load(Ordering::Relaxed));
        Self { cache, pace, writer }
    }
}

/// Where a lock cannot be had before the fork, or nobody was told of it, the child says so and does not wait for ever.
#[test]
fn a_lock_that_nobody_is_going_to_open_is_a_panic_and_no_hang() {
    alone("a_lock_that_nobody_is_going_to_open_is_a_panic_and_no_hang", || {
        let Held { cache, pace, writer } = Held::new();
        for way in [Way::Fork, Way::Clone] {
            // The child takes 10,000 naps until it says so, which are shorter than those of its parent.
            in_a_child("a lost lock", way, || {
                let other = Slow(2, Arc::default());
                let panic = catch_unwind(AssertUnwindSafe(|| cache.insert(other, 3))).unwrap_err();
                let said = panic.downcast_ref::<&str>().copied().unwrap_or_default();
                assert!(said.contains("fork"), "{said}");
            });
        }
        pace.is_slow.store(false, Ordering::Relaxed);
        writer.join().unwrap();
        assert_eq!(cache.entry_count(), 1);
    });
}

/// A process that is not told its own number took itself for the child of a fork: a lock that was held for seconds counted as
/// lost.
#[test]
fn without_a_number_a_process_that_never_forked_waits_for_its_own_locks() {
    alone("without_a_number_a_process_that_never_forked_waits_for_its_own_locks", || {
        let Held { cache, pace, writer } = Held::new();
        refuse(&[libc::SYS_getpid]);
        let (said, hears) = mpsc::channel();
        let (here, is_here) = mpsc::channel();
        let waiter = {
            let cache = cache.clone();
            thread::spawn(move || {
                here.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
                let other = Slow(2, Arc::default());
                let _ = said.send(catch_unwind(AssertUnwindSafe(|| cache.insert(other, 3))).is_ok());
            })
        };
        let waiting = format!("/proc/{}", is_here.recv().unwrap().display());
        // Who takes the lock for lost naps 10,000 times, and then gives up. Who waits for it sleeps until it is open: for a
        // second nothing wakes it.
        let (mut before, mut quiet) = (0, 0);
        while quiet < 100 {
            assert!(hears.try_recv().is_err(), "it did not wait for the lock");
            thread::sleep(Duration::from_millis(10));
            let sleeps = crate::kept::sleeps(&waiting);
            quiet = if sleeps == before { quiet + 1 } else { 0 };
            before = sleeps;
        }
        pace.is_slow.store(false, Ordering::Relaxed);
        assert_eq!(hears.recv_timeout(Duration::from_secs(60)), Ok(true));
        writer.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(cache.entry_count(), 2);
    });
}
