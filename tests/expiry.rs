//! `expire_after`: who is asked what and when, how the answers combine with the other times, and that the
//! user's code runs under no lock and may panic. The clock is moved by hand, except where it says so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, CacheBuilder, Expiry, ManualClock, StrictClock, SystemClock, WeakCache};

type Left = Option<Duration>;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Create(u32),
    Read(u32, Left),
    Update(u32, Left),
}

/// Remembers what it was asked; answers what it was told to, or as the trait does.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    asked: Vec<Asked>,
    create: Left,
    read: Option<Left>,
    update: Option<Left>,
}

impl Scripted {
    fn with(self, set: impl FnOnce(&mut Script)) -> Self {
        set(&mut self.0.lock().unwrap());
        self
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

impl Expiry<&'static str, u32> for Scripted {
    fn expire_after_create(&self, _: &&'static str, value: &u32) -> Left {
        let mut script = self.0.lock().unwrap();
        script.asked.push(Asked::Create(*value));
        script.create
    }

    fn expire_after_read(&self, _: &&'static str, value: &u32, left: Left) -> Left {
        let mut script = self.0.lock().unwrap();
        script.asked.push(Asked::Read(*value, left));
        script.read.unwrap_or(left)
    }

    fn expire_after_update(&self, _: &&'static str, value: &u32, left: Left) -> Left {
        let mut script = self.0.lock().unwrap();
        script.asked.push(Asked::Update(*value, left));
        script.update.unwrap_or(left)
    }
}

type Scene = (ManualClock, Cache<&'static str, u32>, Scripted);

fn scene(
    set: impl FnOnce(&mut Script),
    adjust: impl FnOnce(CacheBuilder<&'static str, u32>) -> CacheBuilder<&'static str, u32>,
) -> Scene {
    let (clock, script) = (ManualClock::new(), Scripted::default().with(set));
    let builder = Cache::builder().clock(clock.clone()).shards(1).expire_after(script.clone());
    (clock, adjust(builder).build().unwrap(), script)
}

fn left(cache: &Cache<&'static str, u32>) -> Left {
    cache.validate();
    cache.remaining_ttl("k")
}

#[test]
fn each_call_asks_the_one_question_that_fits_it() {
    let (clock, cache, script) = scene(|script| script.create = Some(seconds(9)), |builder| builder);
    cache.insert("k", 1);
    assert_eq!(script.asked(), [Asked::Create(1)]);
    clock.advance(seconds(2));
    assert_eq!(cache.get("k"), Some(1));
    assert_eq!(cache.read("k", |value| *value), Some(1));
    assert_eq!(cache.read_guard().get("k"), Some(&1));
    assert_eq!(script.asked(), [Asked::Read(1, Some(seconds(7))); 3]);
    cache.insert("k", 2);
    assert!(cache.update("k", |value| value + 1));
    assert!(cache.replace("k", 4).is_ok());
    let update = |value| Asked::Update(value, Some(seconds(7)));
    assert_eq!(script.asked(), [update(2), update(3), update(4)]);
    assert_eq!(left(&cache), Some(seconds(7)));
    // Looks, and what is about the time to live alone.
    let _ = (cache.peek("k"), cache.contains_key("k"), cache.read_guard().entry("k").is_some());
    assert!(cache.touch("k") && cache.set_ttl("k", seconds(100)) && cache.rename("k", "k"));
    assert_eq!((script.asked(), left(&cache)), (vec![], Some(seconds(7))));
    // What brings a new value on its way to another key.
    assert_eq!(cache.rename_with("k", "k", |_| (5, ())), Some(()));
    assert_eq!((script.asked(), left(&cache)), (vec![update(5)], Some(seconds(7))));
    script.0.lock().unwrap().update = Some(Some(seconds(8)));
    assert_eq!(cache.rename_with("k", "k", |_| (4, ())), Some(()));
    assert_eq!((script.asked(), left(&cache)), (vec![update(4)], Some(seconds(8))));
    script.0.lock().unwrap().update = None;
    assert_eq!(cache.remove("k"), Some(4));
    assert_eq!(cache.get("k"), None);
    assert_eq!(script.asked(), []);
    assert!(cache.try_insert("k", 5).is_ok());
    assert_eq!((script.asked(), left(&cache)), (vec![Asked::Create(5)], Some(seconds(9))));
}

/// One that is chosen at run time, and one that is shared: every question gets through.
#[test]
fn a_pointer_to_one_is_asked_as_the_one_itself() {
    fn check(script: &Scripted, expiry: impl Expiry<&'static str, u32>) {
        let cache = Cache::builder().clock(ManualClock::new()).expire_after(expiry).build().unwrap();
        cache.insert("k", 1);
        assert_eq!((cache.get("k"), left(&cache)), (Some(1), Some(seconds(8))));
        cache.insert("k", 2);
        let asked = [Asked::Create(1), Asked::Read(1, Some(seconds(9))), Asked::Update(2, Some(seconds(8)))];
        assert_eq!((script.asked(), left(&cache)), (asked.to_vec(), Some(seconds(7))));
    }
    let script = Scripted::default().with(|script| {
        (script.create, script.read) = (Some(seconds(9)), Some(Some(seconds(8))));
        script.update = Some(Some(seconds(7)));
    });
    let boxed: Box<dyn Expiry<&'static str, u32>> = Box::new(script.clone());
    check(&script, boxed);
    let shared: Arc<dyn Expiry<&'static str, u32>> = Arc::new(script.clone());
    check(&script, shared);
}

#[test]
fn what_has_expired_is_created_anew() {
    let (clock, cache, script) = scene(|script| script.create = Some(seconds(1)), |builder| builder);
    cache.insert("k", 1);
    clock.advance_without_sweeping(seconds(1));
    cache.insert("k", 2);
    assert_eq!(script.asked(), [Asked::Create(1), Asked::Create(2)]);
    assert_eq!((cache.get("k"), left(&cache)), (Some(2), Some(seconds(1))));
}

#[test]
fn none_is_for_ever_and_zero_is_never() {
    let (_, cache, script) = scene(|script| script.create = Some(Duration::ZERO), |builder| builder);
    cache.insert("k", 1);
    assert_eq!(cache.get("k"), None);
    script.0.lock().unwrap().create = None;
    cache.insert("k", 2);
    assert_eq!(left(&cache), Some(Duration::MAX));
    script.0.lock().unwrap().read = Some(Some(Duration::ZERO));
    assert_eq!(cache.get("k"), Some(2));
    assert_eq!(cache.get("k"), None);
}

#[test]
fn a_read_may_lengthen_shorten_and_set_and_clear() {
    let (clock, cache, script) = scene(|script| script.create = Some(seconds(5)), |builder| builder);
    cache.insert("k", 1);
    for answer in [Some(seconds(100)), Some(seconds(2)), None, Some(seconds(3))] {
        script.0.lock().unwrap().read = Some(answer);
        assert_eq!(cache.get("k"), Some(1));
        assert_eq!(left(&cache), Some(answer.unwrap_or(Duration::MAX)));
    }
    clock.advance(seconds(3));
    assert_eq!((cache.get("k"), cache.entry_count()), (None, 0));
}

#[test]
fn the_earliest_end_counts() {
    let (clock, cache, script) = scene(
        |script| script.create = Some(seconds(20)),
        |builder| builder.time_to_live(seconds(10)).time_to_idle(seconds(4)).max_age(seconds(25)),
    );
    cache.insert("k", 1);
    assert_eq!(left(&cache), Some(seconds(4)));
    clock.advance(seconds(3));
    assert_eq!(cache.get("k"), Some(1));
    assert_eq!(left(&cache), Some(seconds(4)));
    clock.advance(seconds(3));
    // An update keeps what was ruled and starts the others again.
    assert!(cache.update("k", |value| value + 1));
    for second in 7..=12 {
        clock.advance(seconds(1));
        assert_eq!(cache.get("k"), Some(2), "second {second}");
    }
    // The time to live ends it at 16, before its ruling at 20, and that before its age at 25.
    assert!(left(&cache) <= Some(seconds(4) + Duration::from_nanos(1)));
    clock.advance(seconds(3));
    assert!(cache.update("k", |value| value + 1));
    clock.advance(seconds(3));
    assert!(cache.touch("k"));
    let least = left(&cache).unwrap();
    assert!(least >= seconds(2) && least < seconds(3), "{least:?}");
    script.0.lock().unwrap().update = Some(None);
    assert!(cache.update("k", |value| value + 1));
    clock.advance(seconds(3));
    assert!(cache.touch("k"));
    let least = left(&cache).unwrap();
    assert!(least >= seconds(4) && least < seconds(5), "its age is left, {least:?}");
}

#[test]
fn an_entrys_own_time_to_live_is_one_of_the_ends() {
    let (clock, cache, _) = scene(|script| script.create = Some(seconds(20)), |builder| builder);
    cache.insert_with_ttl("k", 1, seconds(5));
    assert_eq!(left(&cache), Some(seconds(5)));
    assert!(cache.persist("k"));
    assert_eq!(left(&cache), Some(seconds(20)));
    clock.advance(seconds(2));
    assert!(cache.set_ttl("k", seconds(60)));
    assert_eq!(left(&cache), Some(seconds(18)));
}

#[test]
fn it_may_use_the_cache() {
    struct Nosy(Arc<OnceLock<WeakCache<&'static str, u32>>>);
    impl Expiry<&'static str, u32> for Nosy {
        fn expire_after_create(&self, _: &&'static str, value: &u32) -> Left {
            let cache = self.0.get().unwrap().upgrade().unwrap();
            if *value < 100 {
                cache.insert("other", value + 100);
            }
            cache.invalidate_all();
            Some(seconds(7))
        }

        fn expire_after_update(&self, key: &&'static str, value: &u32, _: Left) -> Left {
            // The entry that it was asked about is gone then, and it is asked as if there had been none.
            self.expire_after_create(key, value)
        }
    }
    let own = Arc::new(OnceLock::new());
    let cache = Cache::builder().clock(ManualClock::new()).expire_after(Nosy(own.clone())).build().unwrap();
    own.set(cache.downgrade()).unwrap();
    cache.insert("k", 1);
    cache.insert("k", 2);
    assert_eq!((cache.get("k"), left(&cache)), (Some(2), Some(seconds(7))));
}

#[test]
fn a_panic_leaves_the_cache_as_it_was() {
    struct Panics;
    impl Expiry<&'static str, u32> for Panics {
        fn expire_after_create(&self, _: &&'static str, value: &u32) -> Left {
            assert!(*value < 10, "as planned");
            None
        }
        fn expire_after_read(&self, _: &&'static str, value: &u32, left: Left) -> Left {
            assert!(*value != 3, "as planned");
            left
        }
        fn expire_after_update(&self, _: &&'static str, value: &u32, left: Left) -> Left {
            assert!(*value < 5, "as planned");
            left
        }
    }
    let cache = Cache::builder().clock(ManualClock::new()).expire_after(Panics).build().unwrap();
    let fails = |run: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    fails(&|| cache.insert("k", 10));
    assert!(cache.try_insert("k", 1).is_ok());
    fails(&|| cache.insert("k", 5));
    fails(&|| {
        let _ = cache.update("k", |_| 6);
    });
    fails(&|| {
        let _ = cache.replace("k", 7);
    });
    assert_eq!((cache.get("k"), cache.entry_count()), (Some(1), 1));
    cache.insert("k", 3);
    fails(&|| {
        let _ = cache.get("k");
    });
    assert_eq!(cache.peek("k"), Some(3));
    cache.validate();
}

/// To a read: at least this long.
struct AtLeast(Duration);

impl Expiry<u32, u32> for AtLeast {
    fn expire_after_read(&self, _: &u32, _: &u32, left: Left) -> Left {
        left.map(|left| left.max(self.0))
    }
}

/// To a read: this long.
struct OnRead(Duration);

impl Expiry<u32, u32> for OnRead {
    fn expire_after_read(&self, _: &u32, _: &u32, _: Left) -> Left {
        Some(self.0)
    }
}

/// One shard, and each of the system's clocks, of which readers' may lag.
fn on_the_systems_clocks(build: impl Fn() -> CacheBuilder<u32, u32>, judge: impl Fn(&str, Cache<u32, u32>)) {
    judge("StrictClock", build().shards(1).clock(StrictClock).build().unwrap());
    judge("SystemClock", build().shards(1).clock(SystemClock).build().unwrap());
}

/// A read's answer asks for more time than the time to live leaves. It must not take any away, not even a
/// few milliseconds before the end. By the system's clocks; judged only while the end is ahead.
#[test]
fn an_answer_that_asks_for_more_ends_nothing_early() {
    let ttl = Duration::from_millis(50);
    let build = || Cache::builder().time_to_live(ttl).expire_after(AtLeast(seconds(30)));
    for _ in 0..10 {
        on_the_systems_clocks(build, |name, cache| {
            // Before the insert: it ends at `before + ttl` or later.
            let before = Instant::now();
            cache.insert(1, 1);
            thread::sleep(ttl - Duration::from_millis(5));
            while before.elapsed() < ttl - Duration::from_millis(3) {
                std::hint::spin_loop();
            }
            let found = (cache.get(&1).is_some(), cache.contains_key(&1));
            let at = before.elapsed();
            assert!(found == (true, true) || at >= ttl, "{name}: {found:?}, {:?} early", ttl - at);
        });
    }
}

/// By the system's clocks, of which the readers' may be five behind.
#[test]
fn an_answer_of_two_milliseconds_holds_for_two() {
    let two = Duration::from_millis(2);
    for _ in 0..50 {
        on_the_systems_clocks(
            || Cache::builder().expire_after(OnRead(two)),
            |name, cache| {
                cache.insert(1, 1);
                // So that the readers' clock may be behind.
                thread::sleep(Duration::from_micros(1500));
                let before = Instant::now();
                assert_eq!(cache.get(&1), Some(1));
                let found = cache.contains_key(&1);
                assert!(found || before.elapsed() >= two, "{name}: gone early");
            },
        );
    }
}

#[test]
fn an_answer_of_zero_ends_it_at_once_by_the_systems_clocks() {
    for idle in [None, Some(seconds(60))] {
        let build = || {
            let builder = Cache::builder().expire_after(OnRead(Duration::ZERO));
            if let Some(idle) = idle { builder.time_to_idle(idle) } else { builder }
        };
        on_the_systems_clocks(build, |name, cache| {
            cache.insert(1, 1);
            assert_eq!((cache.get(&1), cache.get(&1)), (Some(1), None), "{name}");
            assert!(!cache.contains_key(&1), "{name}");
            cache.validate();
        });
    }
}

/// To each read: half a minute. The first is kept waiting for its answer.
struct Slow(Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>);

impl Expiry<u32, u32> for Slow {
    fn expire_after_read(&self, _: &u32, _: &u32, _: Left) -> Left {
        let gate = self.0.lock().unwrap().take();
        if let Some((asked, go)) = gate {
            asked.send(()).unwrap();
            go.recv().unwrap();
        }
        Some(seconds(30))
    }
}

#[test]
fn a_late_answer_does_not_undo_a_newer_one() {
    let clock = ManualClock::new();
    let ((asked, was_asked), (release, go)) = (mpsc::channel(), mpsc::channel());
    let slow = Slow(Mutex::new(Some((asked, go))));
    let cache = Cache::builder().expire_after(slow).clock(clock.clone()).build().unwrap();
    cache.insert(1, 1);
    // At 0 s: until 30 s.
    let first = thread::spawn({
        let cache = cache.clone();
        move || cache.get(&1)
    });
    was_asked.recv().unwrap();
    clock.advance(seconds(20));
    // At 20 s: until 50 s.
    assert_eq!((cache.get(&1), cache.remaining_ttl(&1)), (Some(1), Some(seconds(30))));
    release.send(()).unwrap();
    assert_eq!(first.join().unwrap(), Some(1));
    assert_eq!(cache.remaining_ttl(&1), Some(seconds(30)), "of the read at 20 s");
    cache.validate();
}
