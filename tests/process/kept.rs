//! The kept time and the process it is kept in: which is stopped, forks, may start no thread, and mostly reads little.

use crate::child;
use crate::filter::refuse;
use crate::forks::{Way, in_a_child_beside};
use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, Clock, Reaper, SessionManager, StrictClock, SystemClock};

/// In a process of its own: `body`. One after the other, so that each has the processors.
fn alone(test: &str, body: impl FnOnce()) {
    static TURN: Mutex<()> = Mutex::new(());
    if child::is_here() {
        return body();
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    child::passes(&format!("kept::{test}"), 600, || {});
}

/// Makes the compiler believe that a result is used.
fn see<T>(result: T) {
    black_box(result);
}

/// The timekeeper's directory below `/proc/self/task`, if there is one.
fn timekeeper() -> Option<String> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let paths = threads.map(|thread| thread.unwrap().path().display().to_string());
    paths.into_iter().find(|path| {
        fs::read_to_string(format!("{path}/comm")).is_ok_and(|name| name.starts_with("tidewheel-time"))
    })
}

/// Has this thread, and those that it starts, share one processor.
fn on_one_processor() {
    // SAFETY: a set of that size, of zeros and the processor that this runs on.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::try_from(libc::sched_getcpu()).unwrap(), &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &raw const set), 0);
    }
}

/// Lets a thread run when nobody else wants to, or as everybody.
fn schedule(thread: &str, policy: libc::c_int) {
    let number = thread.rsplit('/').next().unwrap().parse().unwrap();
    // SAFETY: it looks at what it is given.
    let done = unsafe { libc::sched_setscheduler(number, policy, &std::mem::zeroed()) };
    assert_eq!(done, 0);
}

/// How often it went to sleep, once it does so no more.
fn sleeps_until_it_parks(timekeeper: &str) -> u64 {
    // Awake, it goes to sleep several times in one of these naps.
    const NAP: Duration = Duration::from_millis(10);
    let (mut before, mut quiet) = (sleeps(timekeeper), 0);
    for _ in 0..10_000 {
        thread::sleep(NAP);
        let now = sleeps(timekeeper);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        if quiet == 50 {
            return now;
        }
    }
    panic!("it does not park");
}

/// How often it went to sleep.
pub(crate) fn sleeps(thread: &str) -> u64 {
    let status = fs::read_to_string(format!("{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

/// A cache that nobody sweeps, with entries under the keys below 10,000.
fn filled(clock: impl Clock, live_for: Duration) -> Cache<u64, u64> {
    let cache =
        Cache::builder().time_to_live(live_for).clock(clock).reaper(Reaper::manual()).build().unwrap();
    (0..10_000).for_each(|key| cache.insert(key, key));
    cache
}

/// Reads much, on several threads, so as to get its share of a busy machine, until that has had its effect.
fn read_until(what: &str, done: impl Fn() -> bool) {
    Busy::reading().until(what, done);
}

fn read_until_it_is_kept() {
    read_until("no timekeeper", || timekeeper().is_some());
}

/// Readers on other threads, until this is dropped.
struct Busy {
    over: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Busy {
    fn reading() -> Self {
        let (over, reads) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let cache = filled(SystemClock, Duration::from_secs(3600));
        let start = || {
            let (over, reads, cache) = (over.clone(), reads.clone(), cache.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    (0..1000).for_each(|key| see(cache.get(&key)));
                    reads.fetch_add(1000, Ordering::Relaxed);
                }
            })
        };
        let threads = vec![start(), start(), start(), start()];
        Self { over, reads, threads }
    }

    /// Waits until the reads have had their effect. It is late only if many reads were made besides the time that passed: a busy
    /// machine makes few.
    fn until(&self, what: &str, done: impl Fn() -> bool) {
        /// Hundreds of times what it takes to have a timekeeper.
        const MANY: u64 = 100_000_000;
        let begun = Instant::now();
        while !done() {
            let is_late =
                begun.elapsed() > Duration::from_secs(100) && self.reads.load(Ordering::Relaxed) > MANY;
            assert!(!is_late, "{what}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// All entries are over by their clock's precise time at this moment, and for as long as promised.
struct Over(Instant);

impl Over {
    /// Of entries that were written before this call, to live so long.
    fn after(live_for: Duration) -> Self {
        Self(Instant::now() + live_for + Duration::from_millis(10))
    }

    fn is_now(&self) -> bool {
        Instant::now() > self.0
    }
}

const STOP: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_secs(4);

/// Reads one key after the other until the process has been stopped, and for a while after that: how many reads saw what was over.
fn late_reads(over: &Over, pause: Duration, sees: impl Fn(u64) -> bool) -> usize {
    let (mut late, mut key, mut last, mut end) = (0, 0, Instant::now(), None);
    while end.is_none_or(|end| last < end) {
        let is_over = over.is_now();
        if sees(key % 10_000) && is_over {
            late += 1;
        }
        key += 1;
        thread::sleep(pause);
        let now = Instant::now();
        if now - last > STOP / 2 {
            end = Some(now + Duration::from_millis(300));
        }
        last = now;
    }
    late
}

/// A process is stopped for ten seconds, in which entries end, and the timekeeper does not come to it soon after that. Each thread sees such ones 64 times at most when it goes on, and with a strict clock never.
#[test]
fn after_a_stop_a_thread_reads_late_64_times_at_most_and_by_a_strict_clock_never() {
    alone("after_a_stop_a_thread_reads_late_64_times_at_most_and_by_a_strict_clock_never", || {
        on_one_processor();
        read_until_it_is_kept();
        let keeper = timekeeper().unwrap();
        let busy = Busy::reading();
        let cache = filled(SystemClock, TTL);
        let strict = filled(StrictClock, TTL);
        let manager = SessionManager::builder().idle(TTL).reaper(Reaper::manual()).build().unwrap();
        let sessions: Vec<_> = (0..10_000).map(|number| manager.create(number).unwrap()).collect();
        let over = Over::after(TTL);
        schedule(&keeper, libc::SCHED_IDLE);
        let script = format!("sleep 0.2; kill -STOP {0}; sleep 10; kill -CONT {0}", std::process::id());
        let mut stopped = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let at_once = Duration::ZERO;
        let late = thread::scope(|scope| {
            let by_kept_time = [at_once, at_once, Duration::from_micros(200)].map(|pause| {
                scope.spawn({
                    let (cache, over) = (&cache, &over);
                    move || late_reads(over, pause, |key| cache.get(&key).is_some())
                })
            });
            let strictly = scope.spawn(|| late_reads(&over, at_once, |key| strict.get(&key).is_some()));
            let session = scope.spawn(|| {
                late_reads(&over, at_once, |key| {
                    manager.get(&sessions[usize::try_from(key).unwrap()]).is_ok()
                })
            });
            let late = by_kept_time.map(|thread| thread.join().unwrap());
            assert_eq!(
                [strictly, session].map(|thread| thread.join().unwrap()),
                [0, 0],
                "late by a strict clock"
            );
            late
        });
        println!("late reads after a stop: {late:?}");
        assert!(late.iter().all(|late| *late <= 64), "{late:?} late reads");
        assert!(stopped.wait().unwrap().success());
        // It is back.
        schedule(&keeper, libc::SCHED_OTHER);
        let before = sleeps(&keeper);
        // It shares the processor with four readers, and may have given up for ten seconds because of them.
        let is_back = (0..3000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            sleeps(&keeper) > before + 5
        });
        assert!(is_back, "no timekeeper after a stop");
        drop(busy);
    });
}

/// In a fork's child there is no timekeeper, and the time that it wrote last is nobody's; until the child has one of its own.
#[test]
fn a_forks_child_does_not_trust_a_time_that_nobody_keeps() {
    alone("a_forks_child_does_not_trust_a_time_that_nobody_keeps", || {
        const LIFE: Duration = Duration::from_millis(200);
        read_until_it_is_kept();
        let keeper = timekeeper().unwrap();
        for (way, most) in [(Way::Fork, 0), (Way::Clone, 64)].repeat(3) {
            // The time is kept at the fork.
            let (busy, before) = (Busy::reading(), sleeps(&keeper));
            busy.until("the time is not kept", || sleeps(&keeper) > before + 10);
            let (cache, over) = loop {
                let (cache, over) = (filled(SystemClock, LIFE), Over::after(LIFE));
                // It has just checked, and would trust what it finds. On a busy machine all is over by then, even what was
                // written last: once more.
                if (9_800..10_000).any(|key| cache.get(&key).is_some()) {
                    break (cache, over);
                }
            };
            let read = || {
                assert_eq!(timekeeper(), None);
                while !over.is_now() {
                    thread::sleep(Duration::from_millis(1));
                }
                let late = (0..10_000).filter(|key| cache.get(key).is_some()).count();
                assert!(late <= most, "{late} late reads");
                if matches!(way, Way::Fork) {
                    read_until_it_is_kept();
                    let cache = filled(SystemClock, LIFE);
                    let over = Over::after(LIFE);
                    while !over.is_now() {
                        black_box(cache.get(&1));
                    }
                    let late = (0..10_000).filter(|key| cache.get(key).is_some()).count();
                    assert!(late <= 64, "{late} late reads");
                }
            };
            // The child has the processors, for it must read half a million times a second to have a timekeeper.
            in_a_child_beside("reading", way, read, || drop(busy));
        }
    });
}

/// A filter that refuses threads came after the cache: there is no timekeeper, and nothing is late.
#[test]
fn without_a_timekeeper_all_goes_on() {
    alone("without_a_timekeeper_all_goes_on", || {
        const LIFE: Duration = Duration::from_millis(500);
        drop(filled(SystemClock, LIFE));
        refuse(&[libc::SYS_clone, libc::SYS_clone3]);
        let cache = filled(SystemClock, LIFE);
        let over = Over::after(LIFE);
        let (mut reads, mut late) = (0u64, 0);
        // A busy machine may make few reads meanwhile.
        while reads % 1000 != 0 || late == 0 && (Instant::now() < over.0 + LIFE || reads < 100_000) {
            let is_over = over.is_now();
            if cache.get(&(reads % 10_000)).is_some() && is_over {
                late += 1;
            }
            reads += 1;
        }
        assert_eq!((late, timekeeper()), (0, None), "of {reads} reads");
    });
}

/// Nothing wakes up in a process that reads little, and nothing in one that has read much.
#[test]
fn a_process_that_reads_little_has_no_timekeeper_that_is_awake() {
    alone("a_process_that_reads_little_has_no_timekeeper_that_is_awake", || {
        let caches: BTreeMap<_, _> =
            (0..10).map(|n| (n, filled(SystemClock, Duration::from_secs(3600)))).collect();
        let some_hundreds_a_second = || {
            for round in 0..600 {
                black_box(caches[&(round % 10)].get(&round));
                thread::sleep(Duration::from_micros(2500));
            }
        };
        some_hundreds_a_second();
        assert_eq!(timekeeper(), None);
        read_until_it_is_kept();
        let keeper = timekeeper().unwrap();
        let before = sleeps_until_it_parks(&keeper);
        some_hundreds_a_second();
        thread::sleep(Duration::from_millis(500));
        assert_eq!(sleeps(&keeper), before, "it has not parked");
        // It comes back when it pays.
        read_until("it does not come back", || sleeps(&keeper) >= before + 10);
    });
}

/// How long a thread has been ready to run, and was kept from it. Not at all, where the kernel does not count that.
fn waited(thread: &str) -> Duration {
    let times = fs::read_to_string(format!("{thread}/schedstat")).unwrap_or_default();
    let waited = times.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

/// An entry from its insert until it is not found: whether a read that began more than 10 ms after its end still found it. Not if
/// the system did not let the timekeeper run meanwhile: that is a stated limit.
fn is_found_late(cache: &Cache<u64, u64>, key: u64, live_for: Duration, keeper: &str) -> bool {
    cache.insert(key, key);
    let over = Over::after(live_for);
    let (mut is_late, mut before) = (false, waited(keeper));
    loop {
        let is_over = over.is_now();
        if cache.get(&key).is_none() {
            return is_late;
        }
        if is_over {
            is_late |= waited(keeper) - before < Duration::from_millis(1);
        } else if Instant::now() + Duration::from_millis(10) < over.0 {
            before = waited(keeper);
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// While the time is kept, which is when it may be late: it is written every other millisecond, and 10 ms after its end an entry is not found.
#[test]
fn by_the_kept_time_a_read_is_10_ms_late_at_most() {
    alone("by_the_kept_time_a_read_is_10_ms_late_at_most", || {
        const LIFE: Duration = Duration::from_millis(40);
        read_until_it_is_kept();
        let keeper = timekeeper().unwrap();
        // Where others have the processors, there are moments at least in which it has its share.
        read_until("it is written too seldom", || {
            let before = sleeps(&keeper);
            thread::sleep(Duration::from_millis(100));
            sleeps(&keeper) > before + 20
        });
        let _busy = Busy::reading();
        let cache = filled(SystemClock, LIFE);
        let late = (0..200).filter(|key| is_found_late(&cache, *key, LIFE, &keeper)).count();
        println!("late: {late} of 200");
        assert!(late <= 20, "{late} of 200 entries were found more than 10 ms after their end");
    });
}
