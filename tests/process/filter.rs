//! System calls that are taken away after a cache was built, as by a program that shuts itself in.

use crate::child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, ManualClock, Reaper};

/// From now on the kernel answers EPERM to these calls, in all threads.
pub(crate) fn refuse(calls: &[libc::c_long]) {
    refuse_with(calls, libc::EPERM, libc::SECCOMP_FILTER_FLAG_TSYNC);
}

/// From now on the kernel answers with this error to these calls, in this thread.
pub(crate) fn refuse_here(calls: &[libc::c_long], error: i32) {
    refuse_with(calls, error, 0);
}

fn refuse_with(calls: &[libc::c_long], error: i32, flags: libc::c_ulong) {
    let op = |code: u32, jump: usize, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: u8::try_from(jump).unwrap(),
        jf: 0,
        k,
    };
    // The number of the call; for each that is refused a jump to the end; allowed; refused.
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (index, call) in calls.iter().enumerate() {
        let number = u32::try_from(*call).unwrap();
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, calls.len() - index, number));
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    let refused = libc::SECCOMP_RET_ERRNO | u32::try_from(error).unwrap();
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, refused));
    let length = u16::try_from(program.len()).unwrap();
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: a program of that length.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter);
        assert_eq!(set, 0, "no filter here: {}", std::io::Error::last_os_error());
    }
}

static LIVING: AtomicUsize = AtomicUsize::new(0);

/// Says what it is, and is nothing once it is dropped.
struct Value {
    number: u64,
    negated: u64,
}

impl Value {
    fn new(number: u64) -> Self {
        LIVING.fetch_add(1, Ordering::Relaxed);
        Self { number, negated: !number }
    }

    fn is_whole(&self) -> bool {
        self.number == !self.negated
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.negated = self.number;
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long it takes until so few values live: the time of all naps meanwhile, without that for which the machine stood still.
fn until_there_are(living: usize) -> Duration {
    let (nap, mut waited) = (Duration::from_millis(5), Duration::ZERO);
    while LIVING.load(Ordering::Relaxed) > living {
        assert!(waited < Duration::from_secs(20), "{} values live", LIVING.load(Ordering::Relaxed));
        thread::sleep(nap);
        waited += nap;
    }
    waited
}

/// A filter that refuses `membarrier` came after the first cache: nothing was ever dropped again, and nobody told.
#[test]
fn without_its_barrier_a_cache_drops_what_is_removed_and_says_so_once() {
    if !child::is_here() {
        let name = "filter::without_its_barrier_a_cache_drops_what_is_removed_and_says_so_once";
        let said = child::passes(name, 120, || {});
        let lines = said.lines().filter(|line| line.contains("membarrier")).count();
        assert_eq!(lines, 1, "{said}");
        return;
    }
    let cache = Cache::builder().build().unwrap();
    (0..100_000u64).for_each(|key| cache.insert(key, Value::new(key)));
    cache.insert(1, Value::new(1));
    until_there_are(100_000);

    refuse(&[libc::SYS_membarrier]);
    (0..100_000).for_each(|key| assert!(cache.invalidate(&key)));
    let waited = until_there_are(0);
    assert!(waited < Duration::from_millis(3500), "{waited:?}");

    // Built afterwards, on the same kind of pins; expired, and removed by the cache's end.
    let later = Cache::builder().time_to_live(Duration::from_millis(100)).build().unwrap();
    (0..1000).for_each(|key| later.insert(key, Value::new(key)));
    let waited = until_there_are(0);
    assert!(waited < Duration::from_millis(4500), "{waited:?}");
    later.insert(1, Value::new(1));
    drop(later);
    until_there_are(0);
}

/// Nobody sees a value that was dropped, while readers have no barrier of their own and nobody else has one.
#[test]
fn without_its_barrier_a_cache_drops_nothing_that_is_looked_at() {
    if !child::is_here() {
        let name = "filter::without_its_barrier_a_cache_drops_nothing_that_is_looked_at";
        child::passes(name, 120, || {});
        return;
    }
    let cache = Cache::builder().shards(2).build().unwrap();
    (0..100u64).for_each(|key| cache.insert(key, Arc::new(Value::new(key))));
    refuse(&[libc::SYS_membarrier]);
    let over = AtomicBool::new(false);
    let (mut replaced, mut most) = (0u64, 0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut reads = 0u64;
                while !over.load(Ordering::Relaxed) {
                    let key = reads % 100;
                    let whole = cache.read(&key, |value| value.is_whole() && value.number % 100 == key);
                    assert_eq!(whole, Some(true));
                    reads += 1;
                }
                assert!(reads > 1000);
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            for key in 0..100 {
                cache.insert(key, Arc::new(Value::new(replaced * 100 + key)));
            }
            replaced += 1;
            most = most.max(LIVING.load(Ordering::Relaxed));
            if replaced % 64 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let all = usize::try_from(replaced * 100).unwrap();
    assert!(
        most < all / 2,
        "{most} of {all} values lived at the same time: nothing is dropped while it goes on"
    );
    until_there_are(100);
}

/// What else a filter may refuse: without memory to be given back and a file to be looked at, all goes on.
#[test]
fn without_advice_and_files_a_cache_does_what_it_did() {
    if !child::is_here() {
        let name = "filter::without_advice_and_files_a_cache_does_what_it_did";
        child::passes(name, 120, || {});
        return;
    }
    drop(Cache::<u64, u64>::builder().build().unwrap());
    let calls = [libc::SYS_madvise, libc::SYS_openat, libc::SYS_sched_yield];
    refuse(&[&calls[..], &[libc::SYS_membarrier]].concat());
    let cache = Cache::builder().time_to_live(Duration::from_millis(300)).build().unwrap();
    (0..300_000u64).for_each(|key| cache.insert_with_ttl(key, Value::new(key), Duration::from_millis(700)));
    until_there_are(0);
    assert_eq!(cache.entry_count(), 0);
    // Long enough for the memory that nothing is in to be given back, or not.
    thread::sleep(Duration::from_secs(3));
    cache.insert(1, Value::new(1));
    assert_eq!(cache.read(&1, Value::is_whole), Some(true));
}

/// A cache counts the processors when it is built. (So does AddressSanitizer in each new thread, and it must not be refused: `.ci/sanitize.sh`.)
#[test]
fn without_processors_to_be_counted_a_cache_is_built() {
    if !child::is_here() {
        child::passes("filter::without_processors_to_be_counted_a_cache_is_built", 120, || {});
        return;
    }
    refuse(&[libc::SYS_sched_getaffinity, libc::SYS_openat]);
    let cache = Cache::builder().time_to_live(Duration::from_millis(300)).build().unwrap();
    (0..1000u64).for_each(|key| cache.insert(key, Value::new(key)));
    assert_eq!(cache.read(&1, Value::is_whole), Some(true));
    until_there_are(0);
}

/// A writer that waits a moment for readers, and a sweep that does, panicked where the system refused to let them sleep.
#[test]
fn without_naps_writes_and_sweeps_go_on() {
    if !child::is_here() {
        child::passes("filter::without_naps_writes_and_sweeps_go_on", 120, || {});
        return;
    }
    let clock = ManualClock::new();
    let cache = Cache::builder().shards(1).reaper(Reaper::manual()).clock(clock.clone()).build().unwrap();
    cache.insert(1u64, Value::new(1));
    let (held, is_held) = mpsc::channel();
    let (over, is_over) = mpsc::channel::<()>();
    let reader = {
        let cache = cache.clone();
        thread::spawn(move || {
            let guard = cache.read_guard();
            held.send(()).unwrap();
            let _ = is_over.recv();
            drop(guard);
        })
    };
    is_held.recv().unwrap();
    refuse(&[libc::SYS_clock_nanosleep, libc::SYS_nanosleep]);
    // Many more than may wait for a reader before a writer does.
    (0..1000).for_each(|number| cache.insert(1, Value::new(number)));
    cache.run_pending_tasks();
    clock.advance(Duration::from_secs(1));
    over.send(()).unwrap();
    reader.join().unwrap();
    cache.run_pending_tasks();
    assert_eq!(LIVING.load(Ordering::Relaxed), 1);
}
