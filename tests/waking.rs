//! A reaper that sleeps is woken by whatever makes something due earlier than it knew, and by garbage: every path that
//! writes, on the real clock, with nobody calling afterwards.
//!
//! Each path has a cache and a reaper of its own: one visit serves all caches of a reaper, so that among many
//! caches a call that forgets to wake it is not noticed. All paths wait side by side. A test program with a single test,
//! because a pin of another test's would keep values in memory.
#![cfg(all(feature = "async", feature = "serde"))]

#[path = "common/counted.rs"]
mod counted;
#[path = "common/naps.rs"]
mod naps;
#[path = "common/watchdog.rs"]
mod watchdog;

use counted::{Count, Counted};
use futures_lite::future::block_on;
use naps::nap_until;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, EvictionPolicy, Expiry, ManualClock, Op, Reaper, SessionManager};
use watchdog::Watchdog;

const SOON: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// A second until it is due, two until it is gone (promise P4), and what a busy machine may add.
const LATEST: Duration = Duration::from_millis(3_700);

type Values = Cache<u64, Counted>;
type Builder = CacheBuilder<u64, Counted>;

/// What has to go, and what stays.
struct Counts {
    goes: Count,
    stays: Count,
}

impl Counts {
    fn goes(&self) -> Counted {
        self.goes.value(0)
    }

    fn stays(&self) -> Counted {
        self.stays.value(1)
    }
}

/// How to build the cache, what is in it while the reaper falls asleep, and the call that should wake it.
struct Path {
    name: &'static str,
    build: fn(Builder) -> Builder,
    before: fn(&Values, &Counts),
    call: fn(&Values, &Counts),
}

const fn path(
    name: &'static str,
    build: fn(Builder) -> Builder,
    before: fn(&Values, &Counts),
    call: fn(&Values, &Counts),
) -> Path {
    Path { name, build, before, call }
}

/// What an `Expiry` says; nothing: an hour, and as before.
#[derive(Clone, Copy, Default)]
struct Rules {
    create: Option<Duration>,
    update: Option<Duration>,
    read: Option<Duration>,
}

impl Expiry<u64, Counted> for Rules {
    fn expire_after_create(&self, _: &u64, _: &Counted) -> Option<Duration> {
        Some(self.create.unwrap_or(HOUR))
    }

    fn expire_after_update(&self, _: &u64, _: &Counted, left: Option<Duration>) -> Option<Duration> {
        self.update.or(left)
    }

    fn expire_after_read(&self, _: &u64, _: &Counted, left: Option<Duration>) -> Option<Duration> {
        self.read.or(left)
    }
}

fn plain(builder: Builder) -> Builder {
    builder
}

/// Whatever is stored without more ado is due soon.
fn short(builder: Builder) -> Builder {
    builder.time_to_live(SOON)
}

fn short_when_created(builder: Builder) -> Builder {
    builder.expire_after(Rules { create: Some(SOON), ..Rules::default() })
}

fn short_when_updated(builder: Builder) -> Builder {
    builder.expire_after(Rules { update: Some(SOON), ..Rules::default() })
}

fn short_when_read(builder: Builder) -> Builder {
    builder.expire_after(Rules { read: Some(SOON), ..Rules::default() })
}

/// The oldest goes first.
fn for_two(builder: Builder) -> Builder {
    builder.max_capacity(2).shards(1).eviction_policy(EvictionPolicy::Fifo)
}

/// For two of those that go, or three of those that stay. The oldest goes first.
fn weighed(builder: Builder) -> Builder {
    let builder = builder.max_capacity(6).shards(1).eviction_policy(EvictionPolicy::Fifo);
    builder.weigher(|_, value| [3, 2, 100][value.id as usize])
}

/// One that weighs 1,000 is all that there is room for.
fn weighed_in_all(builder: Builder) -> Builder {
    let builder = builder.max_capacity(1_000).eviction_policy(EvictionPolicy::Fifo);
    builder.weigher(|_, value| [3, 2, 1_000][value.id as usize])
}

/// Old at once, but not gone.
fn refreshed(builder: Builder) -> Builder {
    builder.time_to_live(HOUR).refresh_after_write(Duration::from_millis(1))
}

fn nothing(_: &Values, _: &Counts) {}

/// One that has to go, but does not expire.
fn one(cache: &Values, counts: &Counts) {
    cache.insert_with_ttl(1, counts.goes(), Duration::MAX);
}

/// One that would live for an hour.
fn for_an_hour(cache: &Values, counts: &Counts) {
    cache.insert_with_ttl(1, counts.goes(), HOUR);
}

/// As its rules or its cache say.
fn usual(cache: &Values, counts: &Counts) {
    cache.insert(1, counts.goes());
}

fn many(cache: &Values, counts: &Counts) {
    (0..300).for_each(|key| cache.insert(key, counts.goes()));
}

/// Runs something that panics, in silence.
fn broken_off(run: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
}

fn panics() -> ! {
    resume_unwind(Box::new("planted"))
}

/// What is written, loaded or computed, and due soon.
const DUE: &[Path] = &[
    path("insert", short, nothing, |cache, counts| cache.insert(1, counts.goes())),
    path("insert over", short, for_an_hour, |cache, counts| cache.insert(1, counts.goes())),
    path("insert, by idleness", |builder| builder.time_to_idle(SOON), nothing, usual),
    path("insert, by age", |builder| builder.max_age(SOON), nothing, usual),
    path("insert, as ruled", short_when_created, nothing, usual),
    path("insert over, as ruled", short_when_updated, usual, usual),
    path("insert_with_ttl", plain, nothing, |cache, counts| cache.insert_with_ttl(1, counts.goes(), SOON)),
    path("insert_with_ttl over", plain, one, |cache, counts| cache.insert_with_ttl(1, counts.goes(), SOON)),
    path("insert_with_ttl of nothing", plain, nothing, |cache, counts| {
        cache.insert_with_ttl(1, counts.goes(), Duration::ZERO);
    }),
    path("insert_many", short, nothing, |cache, counts| {
        cache.insert_many((0..300).map(|key| (key, counts.goes())));
    }),
    path("insert_many over", short, for_an_hour, |cache, counts| cache.insert_many([(1, counts.goes())])),
    path("insert_many, broken off", short, nothing, |cache, counts| {
        broken_off(|| {
            cache.insert_many((0..300).map(|key| (key, if key < 200 { counts.goes() } else { panics() })));
        });
    }),
    path("try_insert", short, nothing, |cache, counts| assert!(cache.try_insert(1, counts.goes()).is_ok())),
    path("try_insert, as ruled", short_when_created, nothing, |cache, counts| {
        assert!(cache.try_insert(1, counts.goes()).is_ok());
    }),
    path("replace, as ruled", short_when_updated, usual, |cache, counts| {
        assert!(cache.replace(&1, counts.goes()).is_ok());
    }),
    path("update, as ruled", short_when_updated, usual, |cache, counts| {
        assert!(cache.update(&1, |_| counts.goes()));
    }),
    path("set_ttl of what was for ever", plain, one, |cache, _| assert!(cache.set_ttl(&1, SOON))),
    path("set_ttl of what had an hour", plain, for_an_hour, |cache, _| assert!(cache.set_ttl(&1, SOON))),
    path("set_ttl to nothing", plain, for_an_hour, |cache, _| assert!(cache.set_ttl(&1, Duration::ZERO))),
    path("get, as ruled", short_when_read, usual, |cache, _| assert!(cache.get(&1).is_some())),
    path("read, as ruled", short_when_read, usual, |cache, _| assert!(cache.read(&1, |_| ()).is_some())),
    path("get_many, as ruled", short_when_read, usual, |cache, _| assert!(cache.get_many(&[1])[0].is_some())),
    path("get by a guard, as ruled", short_when_read, usual, |cache, _| {
        assert!(cache.read_guard().get(&1).is_some());
    }),
    path("get_with that hits, as ruled", short_when_read, usual, |cache, _| {
        cache.get_with(1, || unreachable!("it is there"));
    }),
    path("get_with", short, nothing, |cache, counts| drop(cache.get_with(1, || counts.goes()))),
    path("get_with, as ruled", short_when_created, nothing, |cache, counts| {
        cache.get_with(1, || counts.goes());
    }),
    path("get_with_by_ref", short, nothing, |cache, counts| {
        cache.get_with_by_ref(&1, || counts.goes());
    }),
    path("timeout, get_with", short, nothing, |cache, counts| {
        assert!(cache.timeout(HOUR).get_with(1, || counts.goes()).is_ok());
    }),
    path("try_get_with", short, nothing, |cache, counts| {
        assert!(cache.try_get_with(1, || Ok::<_, ()>(counts.goes())).is_ok());
    }),
    path("optionally_get_with", short, nothing, |cache, counts| {
        assert!(cache.optionally_get_with(1, || Some(counts.goes())).is_some());
    }),
    path("get_many_with", short, nothing, |cache, counts| {
        cache.get_many_with([1, 2], |keys| keys.iter().map(|key| (**key, counts.goes())).collect::<Vec<_>>());
    }),
    path("try_get_many_with", short, nothing, |cache, counts| {
        let load =
            |keys: &[&u64]| Ok::<_, ()>(keys.iter().map(|key| (**key, counts.goes())).collect::<Vec<_>>());
        assert!(cache.try_get_many_with([1, 2], load).is_ok());
    }),
    path("get_many_with_async", short, nothing, |cache, counts| {
        let load =
            |keys: Vec<u64>| async { keys.into_iter().map(|key| (key, counts.goes())).collect::<Vec<_>>() };
        block_on(cache.get_many_with_async([1, 2], load));
    }),
    path("get_with_ttl", plain, nothing, |cache, counts| {
        cache.get_with_ttl(1, || (counts.goes(), SOON));
    }),
    path("try_get_with_ttl", plain, nothing, |cache, counts| {
        assert!(cache.try_get_with_ttl(1, || Ok::<_, ()>((counts.goes(), SOON))).is_ok());
    }),
    path("get_with_ttl_async", plain, nothing, |cache, counts| {
        block_on(cache.get_with_ttl_async(1, async { (counts.goes(), SOON) }));
    }),
    path("get_with_detached", short, nothing, |cache, counts| {
        let value = counts.goes();
        assert!(cache.get_with_detached(1, HOUR, move || value, |job| job()).is_ok());
    }),
    path("get_with_async", short, nothing, |cache, counts| {
        block_on(cache.get_with_async(1, async { counts.goes() }));
    }),
    path("try_get_with_async", short, nothing, |cache, counts| {
        assert!(block_on(cache.try_get_with_async(1, async { Ok::<_, ()>(counts.goes()) })).is_ok());
    }),
    path("optionally_get_with_async", short, nothing, |cache, counts| {
        assert!(block_on(cache.optionally_get_with_async(1, async { Some(counts.goes()) })).is_some());
    }),
    path("or_insert", short, nothing, |cache, counts| drop(cache.entry(1).or_insert(counts.goes()))),
    path("or_insert_with", short, nothing, |cache, counts| {
        cache.entry(1).or_insert_with(|| counts.goes());
    }),
    path("or_insert_with_async", short, nothing, |cache, counts| {
        block_on(cache.entry(1).or_insert_with_async(async { counts.goes() }));
    }),
    path("or_try_insert_with", short, nothing, |cache, counts| {
        assert!(cache.entry(1).or_try_insert_with(|| Ok::<_, ()>(counts.goes())).is_ok());
    }),
    path("or_insert_with_if, as ruled", short_when_updated, usual, |cache, counts| {
        cache.entry(1).or_insert_with_if(|| counts.goes(), |_| true);
    }),
    path("and_upsert_with", short, nothing, |cache, counts| {
        cache.entry(1).and_upsert_with(|_| counts.goes());
    }),
    path("and_upsert_with over, as ruled", short_when_updated, usual, |cache, counts| {
        cache.entry(1).and_upsert_with(|_| counts.goes());
    }),
    path("and_upsert_with_async", short, nothing, |cache, counts| {
        block_on(cache.entry(1).and_upsert_with_async(|_| async { counts.goes() }));
    }),
    path("and_compute_with", short, nothing, |cache, counts| {
        cache.entry(1).and_compute_with(|_| Op::Put(counts.goes()));
    }),
    path("and_try_compute_with", short, nothing, |cache, counts| {
        assert!(cache.entry(1).and_try_compute_with(|_| Ok::<_, ()>(Op::Put(counts.goes()))).is_ok());
    }),
    path("and_compute_with_async", short, nothing, |cache, counts| {
        block_on(cache.entry(1).and_compute_with_async(|_| async { Op::Put(counts.goes()) }));
    }),
];

/// What is removed, replaced or evicted, and waits to be dropped.
const DEBRIS: &[Path] = &[
    path("insert over", plain, one, |cache, counts| cache.insert(1, counts.stays())),
    path("insert_many over", plain, many, |cache, counts| {
        cache.insert_many((0..300).map(|key| (key, counts.stays())));
    }),
    path("insert over, too heavy", weighed, one, |cache, counts| cache.insert(1, counts.goes.value(2))),
    path("insert that evicts", for_two, one, |cache, counts| {
        (2..4).for_each(|key| cache.insert(key, counts.stays()));
    }),
    path("insert that evicts by weight", weighed, one, |cache, counts| {
        (2..5).for_each(|key| cache.insert(key, counts.stays()));
    }),
    path("get_with that evicts by weight", weighed, one, |cache, counts| {
        (2..5).for_each(|key| drop(cache.get_with(key, || counts.stays())));
    }),
    path("and_upsert_with that evicts by weight", weighed, one, |cache, counts| {
        (2..5).for_each(|key| drop(cache.entry(key).and_upsert_with(|_| counts.stays())));
    }),
    path("set_max_capacity", for_two, usual, |cache, _| cache.set_max_capacity(0).unwrap()),
    path("set_max_capacity, by weight", weighed_in_all, many, |cache, _| cache.set_max_capacity(0).unwrap()),
    // One that is heavier than any shard's part: there is room for nothing else.
    path("insert of what fills the cache", weighed_in_all, many, |cache, counts| {
        cache.insert(1, counts.stays.value(2));
    }),
    path("replace", plain, one, |cache, counts| assert!(cache.replace(&1, counts.stays()).is_ok())),
    path("update", plain, one, |cache, counts| assert!(cache.update(&1, |_| counts.stays()))),
    path("invalidate", plain, one, |cache, _| assert!(cache.invalidate(&1))),
    path("remove", plain, one, |cache, _| assert!(cache.remove(&1).is_some())),
    path("remove_if", plain, one, |cache, _| assert!(cache.remove_if(&1, |_| true).is_some())),
    path("rename", plain, one, |cache, _| {
        assert!(cache.rename(&1, 2));
        // The value is a clone.
        assert!(cache.update(&2, |old| old.clone()) && cache.invalidate(&2));
    }),
    path("rename_with", plain, one, |cache, counts| {
        assert_eq!(cache.rename_with(&1, 2, |_| (counts.stays(), 7)), Some(7));
    }),
    path(
        "rename over",
        plain,
        |cache, counts| {
            cache.insert(1, counts.stays());
            cache.insert(2, counts.goes());
        },
        |cache, _| assert!(cache.rename(&1, 2)),
    ),
    path("retain", plain, many, |cache, _| cache.retain(|_, _| false)),
    path("invalidate_all", plain, many, |cache, _| cache.invalidate_all()),
    path("drain", plain, many, |cache, _| assert!(cache.drain().count() >= 300)),
    path("and_upsert_with", plain, one, |cache, counts| {
        cache.entry(1).and_upsert_with(|_| counts.stays());
    }),
    path("and_compute_with that puts", plain, one, |cache, counts| {
        cache.entry(1).and_compute_with(|_| Op::Put(counts.stays()));
    }),
    path("and_compute_with that removes", plain, one, |cache, _| {
        cache.entry(1).and_compute_with(|_| Op::Remove);
    }),
    path("and_compute_with_async that removes", plain, one, |cache, _| {
        block_on(cache.entry(1).and_compute_with_async(|_| async { Op::Remove }));
    }),
    path("or_insert_with_if", plain, one, |cache, counts| {
        cache.entry(1).or_insert_with_if(|| counts.stays(), |_| true);
    }),
    path("get_with that reloads", refreshed, usual, |cache, counts| {
        cache.get_with(1, || counts.stays());
    }),
    path("get_with_async that reloads", refreshed, usual, |cache, counts| {
        block_on(cache.get_with_async(1, async { counts.stays() }));
    }),
];

/// A path on its way.
struct Run {
    name: String,
    call: Box<dyn FnOnce()>,
    /// What is there that should not be, or is not.
    wrong: Box<dyn Fn() -> Option<String>>,
}

fn run(path: &'static Path, is_listened: bool, is_anchored: bool) -> Run {
    // With room for all: a table that grows would leave garbage, and wake the reaper for that.
    let builder = Cache::builder().shards(4).initial_capacity(4_000).reaper(Reaper::dedicated());
    let builder = (path.build)(builder);
    let builder = if is_listened { builder.eviction_listener(|_, _, _| {}) } else { builder };
    let cache = builder.build().unwrap();
    let counts = Arc::new(Counts { goes: Count::default(), stays: Count::default() });
    if is_anchored {
        cache.insert_with_ttl(999, counts.stays(), HOUR);
    }
    (path.before)(&cache, &counts);
    let call = {
        let (cache, counts) = (cache.clone(), Arc::clone(&counts));
        move || (path.call)(&cache, &counts)
    };
    let wrong = move || {
        let (goes, stays, entries) = (counts.goes.alive(), counts.stays.alive(), cache.entry_count());
        assert!(counts.goes.made() > 0);
        (goes != 0 || stays != entries as u64)
            .then(|| format!("{goes} are alive that should not be, {stays} that should, {entries} entries"))
    };
    let listened = if is_listened { ", with a listener" } else { "" };
    Run { name: format!("{}{listened}", path.name), call: Box::new(call), wrong: Box::new(wrong) }
}

/// Paths of warnings: whoever is to be warned an hour ahead, less a second, is.
fn warnings() -> Vec<Run> {
    let warned = |name: &str, builder: Builder, before: fn(&Values, &Count), call: fn(&Values, &Count)| {
        let (told, count) = (Arc::new(AtomicUsize::new(0)), Count::default());
        let cache = builder
            .reaper(Reaper::dedicated())
            .expiration_warning_listener(HOUR - SOON, {
                let told = Arc::clone(&told);
                move |_, _| {
                    told.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build()
            .unwrap();
        before(&cache, &count);
        let handle = cache.clone();
        let wrong = move || {
            assert_eq!(handle.entry_count(), 1);
            (told.load(Ordering::Relaxed) != 1).then(|| "nobody was warned".to_string())
        };
        Run {
            name: format!("warning after {name}"),
            call: Box::new(move || call(&cache, &count)),
            wrong: Box::new(wrong),
        }
    };
    let for_a_day = |cache: &Values, count: &Count| cache.insert_with_ttl(1, count.value(1), 24 * HOUR);
    let rules = Rules { create: Some(24 * HOUR), update: Some(HOUR), read: Some(HOUR) };
    let usual = |cache: &Values, count: &Count| cache.insert(1, count.value(1));
    vec![
        warned("insert", Cache::builder().time_to_live(HOUR), |_, _| {}, usual),
        warned("set_ttl", Cache::builder(), for_a_day, |cache, _| assert!(cache.set_ttl(&1, HOUR))),
        warned("get", Cache::builder().expire_after(rules), usual, |cache, _| {
            assert!(cache.get(&1).is_some());
        }),
        warned("update", Cache::builder().expire_after(rules), usual, |cache, count| {
            assert!(cache.update(&1, |_| count.value(1)));
        }),
    ]
}

/// Paths that need a cache of another kind, or more than one.
fn others() -> Vec<Run> {
    let mut all = Vec::new();
    let mut add = |name: &str, call: Box<dyn FnOnce()>, wrong: Box<dyn Fn() -> Option<String>>| {
        all.push(Run { name: name.to_string(), call, wrong });
    };

    // On a clock that stands still: the entry is alive when the snapshot is written, however slow this machine is.
    let before = Cache::<u64, u64>::builder().clock(ManualClock::new()).build().unwrap();
    before.insert_with_ttl(1, 1, SOON);
    let mut bytes = Vec::new();
    assert_eq!(before.snapshot(&mut bytes).unwrap(), 1);
    let cache = Cache::<u64, u64>::builder().reaper(Reaper::dedicated()).build().unwrap();
    add(
        "restore",
        Box::new({
            let cache = cache.clone();
            move || assert_eq!(cache.restore(&bytes[..], Duration::ZERO).unwrap(), 1)
        }),
        Box::new(move || (cache.entry_count() != 0).then(|| "what came back is still there".to_string())),
    );

    // What was reloaded by a job is garbage, and lives on as its rules say.
    let goes = Count::default();
    let jobs = Arc::new(Mutex::new(Vec::new()));
    let cache = Cache::builder()
        .reaper(Reaper::dedicated())
        .expire_after(Rules { update: Some(SOON), ..Rules::default() })
        .refresh_after_write(Duration::from_millis(1))
        .refresh_with(|_, old: &Counted| Some(old.clone()), {
            let jobs = Arc::clone(&jobs);
            move |job| jobs.lock().unwrap().push(job)
        })
        .build()
        .unwrap();
    cache.insert(1, goes.value(1));
    let handle = cache.clone();
    add(
        "a job that reloads",
        Box::new(move || {
            cache.get_with(1, || unreachable!("it is there"));
            let job = jobs.lock().unwrap().pop().expect("it is old");
            job();
        }),
        // A handle of its own: the end of a cache drops all its values.
        Box::new(move || {
            (handle.entry_count() as u64 + goes.alive() != 0).then(|| format!("{} are alive", goes.alive()))
        }),
    );

    // The same on demand.
    let goes = Count::default();
    let cache = Cache::builder()
        .reaper(Reaper::dedicated())
        .expire_after(Rules { update: Some(SOON), ..Rules::default() })
        .refresh_after_write(HOUR)
        .refresh_with(|_, old: &Counted| Some(old.clone()), |job| job())
        .build()
        .unwrap();
    cache.insert(1, goes.value(1));
    let handle = cache.clone();
    add(
        "refresh",
        Box::new(move || assert!(cache.refresh(&1))),
        Box::new(move || {
            let left = handle.entry_count() as u64 + goes.alive();
            (left != 0).then(|| format!("{} are alive", goes.alive()))
        }),
    );

    let mut broken = |name: &str, call: fn(&Values)| {
        let count = Count::default();
        let cache = Values::builder().initial_capacity(4_000).reaper(Reaper::dedicated()).build().unwrap();
        (0..300).for_each(|key| cache.insert(key, count.value(key)));
        let handle = cache.clone();
        let wrong = move || {
            let (alive, entries) = (count.alive(), cache.entry_count());
            assert!((1..300).contains(&entries));
            (alive != entries as u64).then(|| format!("{alive} are alive, of {entries} entries"))
        };
        add(name, Box::new(move || call(&handle)), Box::new(wrong));
    };
    broken("retain, broken off", |cache| {
        let mut seen = 0;
        broken_off(|| {
            cache.retain(|_, _| {
                seen += 1;
                if seen > 100 { panics() } else { false }
            });
        });
    });
    broken("drain, broken off", |cache| assert_eq!(cache.drain().take(100).count(), 100));

    type Sessions = SessionManager<Counted>;
    let mut session = |name: &str, idle: Duration, call: fn(&Sessions, &Count, &Count)| {
        let (goes, stays) = (Count::default(), Count::default());
        let sessions = SessionManager::builder().idle(idle).reaper(Reaper::dedicated()).build().unwrap();
        let (handle, old, new) = (sessions.clone(), goes.clone(), stays.clone());
        add(
            name,
            Box::new(move || call(&handle, &old, &new)),
            Box::new(move || {
                let (goes, stays, all) = (goes.alive(), stays.alive(), sessions.len());
                (goes != 0 || stays != all as u64)
                    .then(|| format!("{goes} and {stays} are alive, of {all} sessions"))
            }),
        );
    };
    session("a session's end", SOON, |sessions, goes, _| {
        sessions.create(goes.value(0)).unwrap();
    });
    session("a session's update", HOUR, |sessions, goes, stays| {
        let id = sessions.create(goes.value(0)).unwrap();
        sessions.replace(&id, stays.value(1)).unwrap();
    });
    session("a session's change", HOUR, |sessions, goes, stays| {
        let id = sessions.create(goes.value(0)).unwrap();
        sessions.modify(&id, |data| *data = stays.value(1)).unwrap();
    });
    session("a session's removal", HOUR, |sessions, goes, _| {
        let id = sessions.create(goes.value(0)).unwrap();
        sessions.remove(&id).unwrap();
    });
    session("a session's login", HOUR, |sessions, goes, stays| {
        let id = sessions.create(goes.value(0)).unwrap();
        sessions.rotate_with(&id, |data| *data = stays.value(1)).unwrap();
    });
    session("a session's rotation", HOUR, |sessions, goes, _| {
        let id = sessions.create(goes.value(0)).unwrap();
        let id = sessions.rotate(&id).unwrap();
        sessions.remove(&id).unwrap();
    });
    all
}

#[test]
fn whatever_makes_something_due_wakes_a_reaper_that_sleeps() {
    let _watchdog = Watchdog::over("waking the reaper", 60);
    // Bare, and with nothing due; with a listener, who is told first, and something due in an hour.
    let both = |path| [run(path, false, false), run(path, true, true)];
    let mut runs: Vec<Run> = DUE.iter().chain(DEBRIS).flat_map(both).collect();
    runs.extend(warnings());
    runs.extend(others());
    // Every reaper is asleep by now, or has something to do in an hour. (And what is old after a millisecond is old.)
    thread::sleep(Duration::from_millis(100));

    let checks: Vec<_> = runs
        .into_iter()
        .map(|Run { name, call, wrong }| {
            call();
            (name, wrong)
        })
        .collect();
    let wrong = |(name, wrong): &(String, Box<dyn Fn() -> Option<String>>)| Some((name.clone(), wrong()?));
    let left = || checks.iter().filter_map(wrong).collect::<Vec<_>>();
    let all_is_gone = nap_until(LATEST, || left().is_empty());
    assert!(all_is_gone, "nobody woke the reaper for: {:#?}", left());
}
