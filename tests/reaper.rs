//! The reaper on the real clock: it works while everybody sleeps, nobody waits for it, and a listener
//! that blocks it delays memory only.

#[path = "common/counted.rs"]
mod counted;
#[path = "common/naps.rs"]
mod naps;
#[path = "common/watchdog.rs"]
mod watchdog;

use counted::{Count, Counted};
use naps::nap_until;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use tidewheel::{Cache, Reaper, RemovalCause};
use watchdog::Watchdog;

/// The longest that a value may outlive its deadline (promise P4), and what a busy machine may add.
const GONE: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(700);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn wait_until(what: &str, limit: Duration, done: impl Fn() -> bool) {
    assert!(nap_until(limit, done), "{what}: not within {limit:?}");
}

/// A gate in a listener or a destructor: tells when it is reached, then waits to be opened.
struct Gate {
    reached: Mutex<Sender<()>>,
    open: Mutex<Receiver<()>>,
    /// Who has made the gate, and has to open it.
    opener: ThreadId,
}

/// Opens the gate for good when it is dropped.
struct GateKeeper {
    reached: Receiver<()>,
    #[allow(dead_code)] // its drop is the message
    open: Sender<()>,
}

fn gate() -> (Gate, GateKeeper) {
    let (reached, wait_reached) = mpsc::channel();
    let (open, wait_open) = mpsc::channel();
    let opener = thread::current().id();
    let gate = Gate { reached: Mutex::new(reached), open: Mutex::new(wait_open), opener };
    (gate, GateKeeper { reached: wait_reached, open })
}

impl Gate {
    /// Blocks the first time, and not again once the keeper has opened or gone. Never blocks who has to open it: if the
    /// reaper is late, a writer does some of its work, and calls the listener.
    fn pass(&self) {
        if thread::current().id() == self.opener {
            return;
        }
        let _ = self.reached.lock().unwrap().send(());
        let _ = self.open.lock().unwrap().recv();
    }
}

/// Nobody calls the cache after the writes: each value is dropped on time all the same, whatever ended
/// it.
#[test]
fn values_are_dropped_though_every_thread_sleeps() {
    let _watchdog = Watchdog::over("values dropped while every thread sleeps", 20);
    let ttl = millis(300);
    let cache = Cache::<u64, Counted>::builder().time_to_live(ttl).build().unwrap();
    let kinds: Vec<Count> = (0..4).map(|_| Count::default()).collect();
    let (expired, removed, replaced, cleared) = (&kinds[0], &kinds[1], &kinds[2], &kinds[3]);
    let everyone = Barrier::new(5);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4u64)
            .map(|writer| {
                let (cache, everyone) = (&cache, &everyone);
                scope.spawn(move || {
                    for key in (0..100).map(|key| key * 4 + writer) {
                        cache.insert_with_ttl(1000 + key, cleared.value(key), Duration::MAX);
                    }
                    everyone.wait();
                    if writer == 0 {
                        cache.invalidate_all();
                    }
                    everyone.wait();
                    for key in (0..100).map(|key| key * 4 + writer) {
                        cache.insert(key, expired.value(key));
                        cache.insert_with_ttl(2000 + key, removed.value(key), Duration::MAX);
                        assert!(cache.invalidate(&(2000 + key)));
                        cache.insert_with_ttl(3000 + key, replaced.value(key), Duration::MAX);
                        assert!(cache.update(&(3000 + key), |_| Count::default().value(key)));
                    }
                    thread::park();
                })
            })
            .collect();
        everyone.wait();
        everyone.wait();
        // `expired` is made last, so all others have had at least as long.
        let limit = ttl + GONE + SLACK;
        let all = |count: &Count| count.made() == 400 && count.alive() == 0;
        wait_until("dropping", limit, || kinds.iter().all(all));
        for writer in writers {
            writer.thread().unpark();
        }
    });
    assert_eq!(cache.entry_count(), 400); // the updated ones, which live for ever
    cache.validate();
}

/// The reaper is stuck in a listener. Every entry is invisible at its deadline nevertheless, in that
/// cache and in others, and writers go on.
#[test]
fn a_listener_that_blocks_delays_memory_and_never_visibility() {
    let _watchdog = Watchdog::over("a blocking listener", 20);
    let reaper = Reaper::dedicated();
    let (gate, keeper) = gate();
    let blocked = Cache::<u64, u64>::builder()
        .reaper(reaper.clone())
        .eviction_listener(move |_, _, cause| {
            if cause == RemovalCause::Expired {
                gate.pass();
            }
        })
        .build()
        .unwrap();
    let other = Cache::<u64, u64>::builder().reaper(reaper.clone()).build().unwrap();
    blocked.insert_with_ttl(0, 0, millis(1));
    keeper.reached.recv().unwrap();

    for cache in [&blocked, &other] {
        let before = Instant::now();
        cache.insert_with_ttl(1, 1, millis(200));
        let inserted = Instant::now();
        cache.insert_with_ttl(2, 2, millis(2500));
        cache.insert(3, 3);
        // Visible up to the deadline, and gone 10 ms after it, but for the reads that a thread may make without a look at
        // the clock.
        let mut late = 0;
        loop {
            let asked = Instant::now();
            if !cache.contains_key(&1) {
                break;
            }
            late += u32::from(asked - inserted >= millis(210));
            assert!(late <= 64, "found {:?} after it was stored", asked - inserted);
            thread::yield_now();
        }
        let lived = before.elapsed();
        assert!(lived >= millis(200), "gone after {lived:?}");
        assert!(cache.update(&2, |old| old + 1));
        assert!(cache.invalidate(&3)); // its listener passes: it is called here, not on the reaper
    }
    // Long after they should have left memory they have not: the reaper is the only one who could. (The first may have left,
    // if this thread came so late to its last write that it did some of the reaper's work.)
    thread::sleep(millis(2500) + GONE);
    assert_eq!((blocked.get(&2), other.get(&2)), (None, None));
    assert!((1..=2).contains(&other.entry_count()), "{} entries", other.entry_count());

    drop(keeper);
    wait_until("the rest", GONE + SLACK, || blocked.entry_count() + other.entry_count() == 0);
    drop((blocked, other));
    reaper.join();
}

/// The reaper is held in the middle of sweeping a cache of a million entries. Dropping the last handle
/// comes back at once, and the entries go when the reaper does.
#[test]
fn dropping_a_cache_waits_for_no_sweep() {
    const MANY: u64 = 1_000_000;
    let _watchdog = Watchdog::over("dropping a cache while it is swept", 300);
    let reaper = Reaper::dedicated();
    let (gate, keeper) = gate();
    let count = Count::default();
    let cache = Cache::<u64, Counted>::builder()
        .reaper(reaper.clone())
        .time_to_live(millis(1))
        .eviction_listener(move |_, _, _| gate.pass())
        .build()
        .unwrap();
    for key in 0..MANY {
        cache.insert(key, count.value(key));
    }
    keeper.reached.recv().unwrap();
    let weak = cache.downgrade();
    drop(cache);
    // Still in the listener: had the drop waited, nobody would have opened the gate.
    drop(keeper);
    reaper.join();
    assert!(weak.upgrade().is_none());
    wait_until("a million values", Duration::from_secs(10), || {
        // Other tests' guards may hold back the last of them; any reaper drops what they let go.
        count.alive() == 0
    });
}

/// A big cache that nobody sweeps, dropped from many threads at once by its handles.
#[test]
fn the_last_of_many_handles_ends_it() {
    let _watchdog = Watchdog::over("handles", 20);
    let reaper = Reaper::dedicated();
    let count = Count::default();
    let cache = Cache::<u64, Counted>::builder().reaper(reaper.clone()).build().unwrap();
    for key in 0..10_000 {
        cache.insert(key, count.value(key));
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            let handles: Vec<_> = (0..100).map(|_| cache.clone()).collect();
            scope.spawn(move || {
                for (handle, key) in handles.into_iter().zip(0..) {
                    assert!(handle.contains_key(&key));
                }
            });
        }
        drop(cache);
    });
    reaper.join();
    wait_until("every value", GONE + SLACK, || count.alive() == 0);
}

#[test]
fn a_weak_handle_keeps_nothing_alive() {
    let count = Count::default();
    let cache = Cache::<u64, Counted>::builder().reaper(Reaper::manual()).build().unwrap();
    let weak = cache.downgrade();
    cache.insert(1, count.value(1));
    let again = weak.upgrade().unwrap();
    drop(cache);
    assert_eq!(again.get(&1).map(|value| value.id), Some(1));
    let both = (weak.clone(), again.downgrade());
    drop(again);
    assert!(weak.upgrade().is_none() && both.0.upgrade().is_none() && both.1.upgrade().is_none());
    wait_until("the value", GONE + SLACK, || count.alive() == 0);
}

/// A listener with a weak handle to its own cache: the cache ends all the same, and its thread too.
#[test]
fn a_listener_with_a_weak_handle_does_not_keep_its_cache_alive() {
    let _watchdog = Watchdog::over("a listener with a weak handle", 20);
    let reaper = Reaper::dedicated();
    let own = Arc::new(std::sync::OnceLock::<tidewheel::WeakCache<u64, u64>>::new());
    let reports = Arc::new(AtomicU64::new(0));
    let cache = Cache::<u64, u64>::builder()
        .reaper(reaper.clone())
        .eviction_listener({
            let (own, reports) = (Arc::clone(&own), Arc::clone(&reports));
            move |key, value, cause| {
                // Whatever expires comes back under another key, for as long as the cache lives.
                if let (RemovalCause::Expired, Some(cache)) = (cause, own.get().and_then(|own| own.upgrade()))
                {
                    cache.insert_with_ttl(key + 1, *value, millis(1));
                    reports.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .build()
        .unwrap();
    own.set(cache.downgrade()).unwrap();
    cache.insert_with_ttl(0, 7, millis(1));
    wait_until("the second report", GONE * 2 + SLACK, || reports.load(Ordering::Relaxed) >= 2);
    assert_eq!((cache.peek(&0), cache.peek(&1)), (None, None));
    drop(cache);
    reaper.join();
    assert!(own.get().unwrap().upgrade().is_none());
}

/// The reaper goes to sleep when there is nothing to do, and is woken by the first entry that expires:
/// an idle cache first, then one whose next deadline moved closer.
#[test]
fn a_sleeping_reaper_wakes_for_what_comes_sooner() {
    let cache = Cache::<u64, u64>::builder().reaper(Reaper::dedicated()).build().unwrap();
    thread::sleep(millis(1100));
    cache.insert_with_ttl(1, 1, millis(50));
    wait_until("the first entry", millis(50) + GONE + SLACK, || cache.entry_count() == 0);
    // It now knows of nothing before an hour.
    cache.insert_with_ttl(2, 2, Duration::from_secs(3600));
    cache.insert_with_ttl(3, 3, Duration::from_secs(3600));
    thread::sleep(millis(1100));
    cache.insert_with_ttl(4, 4, millis(50));
    assert!(cache.set_ttl(&3, millis(50)));
    wait_until("what came sooner", millis(50) + GONE + SLACK, || cache.entry_count() == 1);
    assert!(cache.contains_key(&2));
    // Removed after a long silence, and nobody there to drop it but the reaper.
    let count = Count::default();
    let counted = Cache::<u64, Counted>::builder().reaper(Reaper::dedicated()).build().unwrap();
    counted.insert(1, count.value(1));
    thread::sleep(millis(1100));
    assert!(counted.invalidate(&1));
    wait_until("a removed value", GONE + SLACK, || count.alive() == 0);
    counted.validate();
}

const TTL: Duration = Duration::from_millis(1500);

/// An entry that is touched all the time does not expire, though its slot comes due again and again.
#[test]
fn touched_in_time_it_stays() {
    let cache = Cache::<u64, u64>::builder().time_to_live(TTL).build().unwrap();
    // Once more where the machine stood still.
    assert!((0..10).any(|_| stays_while_touched(&cache)), "this machine stands still time and again");
    wait_until("its end", TTL + GONE + SLACK, || cache.entry_count() == 0);
}

/// Touches an entry for four seconds. Returns false if this thread was stopped for so long that the entry may have expired.
fn stays_while_touched(cache: &Cache<u64, u64>) -> bool {
    let start = Instant::now();
    cache.insert(1, 1);
    // Before it was written or touched last.
    let mut last = start;
    while start.elapsed() < millis(4000) {
        let before = Instant::now();
        let is_there = cache.touch(&1);
        if last.elapsed() >= TTL {
            return false;
        }
        assert!(is_there, "lost after {:?}", start.elapsed());
        last = before;
        thread::sleep(millis(50));
    }
    let found = cache.get(&1);
    if last.elapsed() >= TTL {
        return false;
    }
    assert_eq!(found, Some(1));
    true
}

/// The thread cannot wait for its own end, so `join` returns at once there.
#[test]
fn a_listener_may_join() {
    let _watchdog = Watchdog::over("a listener that joins", 20);
    let reaper = Reaper::dedicated();
    let (told, heard) = mpsc::channel();
    let told = Mutex::new(told);
    let cache = Cache::<u64, u64>::builder()
        .reaper(reaper.clone())
        .eviction_listener({
            let reaper = reaper.clone();
            move |key, _, _| {
                reaper.join();
                told.lock().unwrap().send(*key).unwrap();
            }
        })
        .build()
        .unwrap();
    cache.insert_with_ttl(1, 1, millis(1));
    assert_eq!(heard.recv().unwrap(), 1);
    drop(cache);
    reaper.join();
}

/// Both ask for the thread's end; it comes when the cache's does, and both return.
#[test]
fn many_may_join() {
    let _watchdog = Watchdog::over("join", 20);
    let reaper = Reaper::dedicated();
    reaper.join(); // there is nothing to wait for
    let cache = Cache::<u64, u64>::builder().reaper(reaper.clone()).build().unwrap();
    cache.insert_with_ttl(1, 1, millis(1));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| reaper.join());
        }
        thread::sleep(millis(20));
        drop(cache);
    });
    reaper.join();
    Reaper::manual().join();
}

/// A sweep that a caller asks for finds when something is due next, as the reaper's own sweeps do. The reaper does not hear
/// of that. So it must not count as the reaper's appointment: a write that relied on it would wake nobody. An entry of one
/// second that was written next then stayed for up to 64 s, and longer beside entries that live for longer.
#[test]
fn a_sweep_that_is_asked_for_makes_no_appointment_for_the_reaper() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    // From the slots of a second to those of days, so that one of them begins long before the deadlines in it.
    let lives = [1, 2, 65, 81, 130, 4000, 5000, 300_000, 400_000];
    for _ in 0..200 {
        let cache = Cache::builder().shards(1).reaper(Reaper::dedicated()).build().unwrap();
        for _ in 0..12 {
            let key = below(8);
            match below(6) {
                0..=2 => {
                    let life = lives[usize::try_from(below(9)).unwrap()];
                    cache.insert_with_ttl(key, key, Duration::from_secs(life));
                }
                3 => drop(cache.remove(&key)),
                _ => cache.run_pending_tasks(),
            }
            cache.validate();
        }
    }
}
