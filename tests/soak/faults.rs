//! What is thrown in, one fault after the other. Knows the stage, and that whoever watches it does not know.

use crate::Length;
use crate::stage::{Key, Stage, Value, check_that_none_is_broken};
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, ManualClock};

#[derive(Default)]
pub(crate) struct Faults {
    rounds: u64,
    threads: u64,
    caches: u64,
    stops: u64,
    forks: u64,
    guards: u64,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, threads, caches, stops, forks, guards } = self;
        write!(
            f,
            "{rounds} rounds of faults: {threads} threads, {caches} caches, {stops} stops, {forks} forks, {guards} guards held"
        )
    }
}

impl Faults {
    /// Each was there at least once.
    pub(crate) fn check(&self) {
        let Self { rounds, threads, caches, stops, forks, guards } = *self;
        assert!([rounds, threads, caches, stops, forks, guards].iter().all(|count| *count > 0), "{self}");
    }

    /// All of them.
    pub(crate) fn round(&mut self, stage: &Stage, length: Length) {
        let is_full = length.is_full;
        self.timed("threads come and go", |faults| {
            faults.threads_come_and_go(stage, if is_full { 10_000 } else { 200 });
        });
        self.timed("threads die", |faults| faults.threads_die_pinned(stage));
        self.timed("caches come and go", |faults| faults.caches_come_and_go(if is_full { 2000 } else { 50 }));
        self.timed("a fork", |faults| faults.a_fork(stage));
        self.timed("a stop", |faults| faults.the_process_is_stopped(if is_full { 10.0 } else { 0.2 }));
        // The shortest soak that is full has room for one.
        let held = Duration::from_millis(if is_full { 60_000 } else { 200 });
        self.timed("a guard", |faults| faults.a_guard_is_held(stage, held));
        self.timed("nothing", |faults| faults.values_leave_by_themselves());
        self.rounds += 1;
    }

    fn timed(&mut self, what: &str, fault: impl FnOnce(&mut Self)) {
        let begun = Instant::now();
        fault(self);
        println!("soak: round {}, {what}: {:.1?}", self.rounds, begun.elapsed());
    }

    fn threads_come_and_go(&mut self, stage: &Stage, count: u64) {
        for wave in 0..count / 50 {
            thread::scope(|scope| {
                for number in 0..50 {
                    let key = (1 << 40) + wave * 50 + number;
                    let work = move || {
                        stage.usual.insert_with_ttl(key, Value::calm(key), Duration::from_millis(100));
                        assert!(
                            stage
                                .usual
                                .read(&(key ^ 1), |value| value.number)
                                .is_none_or(|found| found == key ^ 1)
                        );
                        drop(stage.strict.get(&key));
                    };
                    let builder = thread::Builder::new().stack_size(64 << 10);
                    builder.spawn_scoped(scope, work).expect("a thread starts");
                }
            });
        }
        self.threads += count;
    }

    /// By a panic, with a guard held; and with a look from the last destructor that runs on it. (A guard that is forgotten is held for ever, and nothing
    /// is dropped any more: that is a stated limit.)
    fn threads_die_pinned(&mut self, stage: &Stage) {
        /// Looks when its thread ends.
        struct Last(RefCell<Option<Cache<u64, Value>>>);
        impl Drop for Last {
            fn drop(&mut self) {
                if let Some(cache) = self.0.take() {
                    assert!(cache.read_guard().get(&u64::MAX).is_none());
                }
            }
        }
        thread_local! {
            static LAST: Last = const { Last(RefCell::new(None)) };
        }
        thread::scope(|scope| {
            for number in 0..10 {
                scope.spawn(move || {
                    if number % 2 == 0 {
                        LAST.with(|last| last.0.replace(Some(stage.usual.clone())));
                    }
                    let guard = stage.usual.read_guard();
                    assert!(guard.get(&u64::MAX).is_none());
                    let _ = catch_unwind(AssertUnwindSafe(|| {
                        let _guard = guard;
                        panic_any(crate::stage::Planned);
                    }));
                });
            }
        });
        self.threads += 10;
    }

    fn caches_come_and_go(&mut self, count: u64) {
        for number in 0..count {
            let builder = Cache::builder().shards(1 << (number % 4));
            let builder = if number % 3 == 0 { builder.max_capacity(10) } else { builder };
            let builder = if number % 5 == 0 { builder.clock(ManualClock::new()) } else { builder };
            let cache =
                builder.time_to_live(Duration::from_millis(number % 50)).build().expect("it can be built");
            (0..number % 40).for_each(|key| cache.insert(key, Value::calm(key)));
            if number % 7 == 0 {
                thread::spawn(move || drop(cache)).join().expect("it is dropped");
            }
        }
        self.caches += count;
    }

    /// The child uses what it has inherited, and ends.
    fn a_fork(&mut self, stage: &Stage) {
        // SAFETY: the child does not come back from here.
        let number = unsafe { libc::fork() };
        assert!(number >= 0, "no fork");
        if number == 0 {
            let done = catch_unwind(AssertUnwindSafe(|| {
                stage.usual.insert(u64::MAX, Value::calm(1));
                assert_eq!(stage.usual.get(&u64::MAX).map(|value| value.number), Some(1));
                let _ = catch_unwind(AssertUnwindSafe(|| stage.troubled.insert(Key(1), Value::trouble(1))));
                stage.sessions.create(1).expect("there is randomness");
                check_that_none_is_broken();
            }));
            // SAFETY: it ends the process.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 77 }) };
        }
        let (begun, mut status) = (Instant::now(), 0);
        // SAFETY: a status is stored.
        while unsafe { libc::waitpid(number, &raw mut status, libc::WNOHANG) } == 0 {
            if begun.elapsed() > Duration::from_secs(60) {
                // SAFETY: a child of ours, that nobody has waited for.
                unsafe { libc::kill(number, libc::SIGKILL) };
                panic!("a fork's child hangs");
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(status, 0, "a fork's child ended with {status:#x}");
        self.forks += 1;
    }

    /// All threads at once, as a debugger or a laptop's lid would.
    fn the_process_is_stopped(&mut self, seconds: f64) {
        let own = std::process::id();
        let script = format!("kill -STOP {own}; sleep {seconds}; kill -CONT {own}");
        let status = Command::new("sh").args(["-c", &script]).status().expect("there is a shell");
        assert!(status.success());
        self.stops += 1;
    }

    /// What is removed meanwhile stays in memory, writers wait for moments, and nothing worse happens.
    fn a_guard_is_held(&mut self, stage: &Stage, span: Duration) {
        let key = u64::MAX - 1;
        stage.usual.insert(key, Value::calm(77));
        let guard = stage.usual.read_guard();
        let value = guard.get(&key).expect("it was just stored");
        stage.usual.invalidate(&key);
        assert!(stage.usual.get(&key).is_none());
        thread::sleep(span);
        value.check();
        assert_eq!(value.number, 77);
        self.guards += 1;
    }

    /// With nothing in the way: out of memory two seconds after their end, with what a busy machine may add.
    fn values_leave_by_themselves(&self) {
        let cache = Cache::builder().build().expect("it can be built");
        let one = std::sync::Arc::new(());
        (0..100u64).for_each(|key| cache.insert_with_ttl(key, one.clone(), Duration::from_millis(key)));
        let begun = Instant::now();
        while std::sync::Arc::strong_count(&one) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(20), "values stay in memory");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
