//! What `tracing` is told: a span for each load, events for what should not be, and nothing of a hit.
//!
//! Every test has a cache of its own name, since what is told of all of them goes to one subscriber.

#[path = "common/bare.rs"]
#[allow(dead_code, reason = "for those who need all of it")]
mod bare;

use bare::{Running, block_on};
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, CacheBuilder, ManualClock, Op, Reaper};
use tokio::sync::oneshot;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// A span or an event: its name, or its message; its level; its fields.
#[derive(Clone, Default, Debug)]
struct Told {
    name: String,
    level: Option<Level>,
    fields: HashMap<&'static str, String>,
    /// Of a span: how often it was entered, and left, and whether it is over.
    entered: u32,
    left: u32,
    is_closed: bool,
}

impl Told {
    fn of(metadata: &Metadata<'_>) -> Self {
        Self { name: metadata.name().into(), level: Some(*metadata.level()), ..Self::default() }
    }

    fn is(&self, field: &str, value: &str) -> bool {
        self.fields.get(field).is_some_and(|found| found == value)
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.name = format!("{value:?}");
        } else {
            self.fields.insert(field.name(), format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.into());
    }
}

/// Remembers all that is told with the crate's target.
#[derive(Clone, Default)]
struct Remembers {
    spans: Arc<Mutex<Vec<Told>>>,
    events: Arc<Mutex<Vec<Told>>>,
}

impl Remembers {
    fn span(&self, id: &Id, change: impl FnOnce(&mut Told)) {
        change(&mut self.spans.lock().unwrap()[id.into_u64() as usize - 1]);
    }

    fn spans_of(&self, cache: &str) -> Vec<Told> {
        self.spans.lock().unwrap().iter().filter(|span| span.is("cache", cache)).cloned().collect()
    }

    fn events_of(&self, cache: &str) -> Vec<Told> {
        self.events.lock().unwrap().iter().filter(|event| event.is("cache", cache)).cloned().collect()
    }
}

impl Subscriber for Remembers {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "tidewheel"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut told = Told::of(attributes.metadata());
        attributes.record(&mut told);
        let mut spans = self.spans.lock().unwrap();
        spans.push(told);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.span(id, |told| values.record(told));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut told = Told::of(event.metadata());
        event.record(&mut told);
        self.events.lock().unwrap().push(told);
    }

    fn enter(&self, id: &Id) {
        self.span(id, |told| told.entered += 1);
    }

    fn exit(&self, id: &Id) {
        self.span(id, |told| told.left += 1);
    }

    fn try_close(&self, id: Id) -> bool {
        self.span(&id, |told| told.is_closed = true);
        true
    }
}

/// What all threads tell.
fn told() -> &'static Remembers {
    static TOLD: LazyLock<Remembers> = LazyLock::new(|| {
        let remembers = Remembers::default();
        tracing::subscriber::set_global_default(remembers.clone()).expect("there is none so far");
        remembers
    });
    &TOLD
}

type Numbers = Cache<u32, u32>;

fn named(name: &str) -> CacheBuilder<u32, u32> {
    told();
    Cache::builder().name(name).max_capacity(100)
}

fn panics<R>(call: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(|| drop(call()))).is_err(), "it was to panic");
}

#[test]
fn each_load_has_a_span_that_says_what_it_came_to() {
    let cache = named("loads").clock(ManualClock::new()).build().unwrap();
    let told = told();
    let in_its_span = || {
        let spans = told.spans_of("loads");
        let span = spans.last().unwrap();
        assert_eq!((span.entered, span.left), (1, 0), "the closure runs in its span: {span:?}");
        assert!(!span.fields.contains_key("result"));
    };
    cache.get_with(1, || (in_its_span(), 7).1);
    cache.optionally_get_with(2, || (in_its_span(), None).1);
    assert!(cache.try_get_with(2, || (in_its_span(), Err::<u32, _>("no")).1).is_err());
    panics(|| {
        cache.get_with(2, || {
            in_its_span();
            panic!("on purpose")
        })
    });
    cache.get_with(2, || (in_its_span(), cache.insert(2, 1), 2).2);
    cache.entry(3).or_insert_with(|| (in_its_span(), 3).1);
    cache.entry(3).or_insert_with_if(|| (in_its_span(), 4).1, |_| true);
    let entered = || told.spans_of("loads").iter().map(|span| span.entered - span.left).collect::<Vec<_>>();
    let many = cache.get_many_with([1, 5, 6], |_| {
        assert_eq!(entered()[7..], [1, 0], "in that of the first key");
        [(5, 5)]
    });
    assert_eq!(many, [Some(7), Some(5), None]);
    let results = ["success", "absent", "failure", "panic", "invalidated", "success", "success"];
    let results = results.into_iter().chain(["success", "absent"]);
    let spans = told.spans_of("loads");
    assert_eq!(spans.len(), 9);
    for (span, result) in spans.iter().zip(results) {
        assert!(span.is("result", result), "{result}: {span:?}");
    }
    for span in spans {
        assert_eq!((span.name.as_str(), span.level), ("load", Some(Level::DEBUG)));
        assert!(span.is_closed && span.entered == span.left, "{span:?}");
    }
}

#[test]
fn a_future_is_in_its_span_whenever_it_is_polled_and_no_longer() {
    let cache = named("futures").clock(ManualClock::new()).build().unwrap();
    let (end, ended) = oneshot::channel::<u32>();
    let leading = cache.clone();
    let leader =
        Running::begun(async move { leading.get_with_async(1, async { ended.await.unwrap() }).await });
    let span = || told().spans_of("futures").last().unwrap().clone();
    assert_eq!((span().entered, span().left, span().is_closed), (1, 1, false));
    let waiting = cache.clone();
    let waiter = Running::begun(async move { waiting.get_with_async(1, async { unreachable!() }).await });
    end.send(7).unwrap();
    assert_eq!((leader.finish(), waiter.finish()), (7, 7));
    assert_eq!(told().spans_of("futures").len(), 1, "who waits has none");
    assert_eq!((span().entered, span().left, span().is_closed), (2, 2, true));
    assert!(span().is("result", "success"));
    let pending = cache.clone();
    drop(Running::begun(async move { pending.get_with_async(2, std::future::pending()).await }));
    assert!(span().is("result", "cancelled") && span().is_closed);
    let run = |task| block_on(task);
    block_on(cache.get_with_detached_async(3, async { 3 }, run));
    assert!(span().is("result", "success") && span().is_closed && span().entered > 0);
}

/// A turn that brings a value that was ready is no load, nor is one that was not used.
#[test]
fn what_is_no_load_has_no_span_or_says_so() {
    let cache = named("ready").clock(ManualClock::new()).record_stats().build().unwrap();
    let computing = cache.clone();
    let computing = Running::begun(async move {
        computing.entry(1).and_compute_with_async(|_| std::future::pending::<Op<u32>>()).await
    });
    let waiting = cache.clone();
    let waiter = Running::begun(async move { waiting.entry(1).or_insert_async(6).await.into_value() });
    drop(computing);
    assert_eq!(waiter.finish(), 6);
    assert_eq!(told().spans_of("ready").len(), 0);

    // A call for many has the turn of one key when it is told that the other one's load has failed.
    let (panic, panicked) = oneshot::channel::<u32>();
    let (fail, failed) = oneshot::channel::<&str>();
    let (panicking, failing, many) = (cache.clone(), cache.clone(), cache.clone());
    let mut panicking =
        Running::begun(async move { panicking.get_with_async(2, async { panicked.await.unwrap() }).await });
    let failing = Running::begun(async move {
        failing.try_get_with_async(3, async { Err(failed.await.unwrap()) }).await.is_err()
    });
    let many = Running::begun(async move {
        let load = async |_| -> Result<Vec<_>, &str> { unreachable!("its turn is given back") };
        many.try_get_many_with_async([2, 3], load).await.is_err()
    });
    drop(panic);
    panics(|| panicking.step());
    fail.send("no").unwrap();
    assert!(failing.finish() && many.finish());
    let results: Vec<_> = told().spans_of("ready").iter().map(|span| span.fields["result"].clone()).collect();
    assert_eq!(results, ["panic", "failure", "unused"]);
    assert!(told().spans_of("ready").iter().all(|span| span.is_closed));
    assert_eq!(cache.stats().loads.count(), 2, "what is unused is not counted");
}

#[test]
fn a_hit_tells_nothing() {
    let cache = named("hits").time_to_idle(Duration::from_secs(60)).record_stats().build().unwrap();
    cache.insert(1, 1);
    for _ in 0..100 {
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
        assert_eq!(cache.get_with(1, || unreachable!("it is there")), 1);
        cache.read_guard().get(&1);
        cache.update(&1, |old| *old);
        cache.entry(1).and_upsert_with(|found| found.map_or(1, |found| found.into_value()));
    }
    assert_eq!(told().spans_of("hits").len(), 0);
    assert_eq!(told().events_of("hits").len(), 0);
}

#[test]
fn a_listener_that_panics_is_told_of_each_time() {
    let clock = ManualClock::new();
    let cache = named("listeners")
        .clock(clock.clone())
        .eviction_listener(|_, _, _| panic!("on purpose"))
        .expiration_listener(|_| panic!("on purpose"))
        .expiration_warning_listener(Duration::from_secs(1), |_, _| panic!("on purpose"))
        .build()
        .unwrap();
    cache.insert(1, 1);
    cache.invalidate(&1);
    cache.insert_with_ttl(2, 2, Duration::from_secs(5));
    (0..8).for_each(|_| clock.advance(Duration::from_secs(1)));
    assert_eq!(cache.entry_count(), 0);
    let events = told().events_of("listeners");
    let kinds: Vec<_> = events.iter().map(|event| event.fields["told"].as_str()).collect();
    assert_eq!(kinds, ["removed", "expiring", "removed", "expired"]);
    for event in events {
        assert_eq!((event.name.as_str(), event.level), ("a listener has panicked", Some(Level::ERROR)));
    }
}

/// Waits for an event, which comes by itself. Returns the longest time between two looks.
fn until(what: &str, is_there: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    let (mut last, mut longest) = (began, Duration::ZERO);
    while !is_there() {
        assert!(began.elapsed() < Duration::from_secs(30), "no event: {what}");
        thread::sleep(Duration::from_millis(20));
        let now = Instant::now();
        longest = longest.max(now - last);
        last = now;
    }
    longest
}

/// Inserts, and does it again once all is gone where the machine stood still meanwhile: then the reaper need not lag. Returns the count of events
/// before the insert that was quick enough.
fn once_in_time(insert: impl Fn(), is_empty: impl Fn() -> bool, count: impl Fn() -> usize) -> usize {
    for _ in 0..10 {
        let (before, began) = (count(), Instant::now());
        insert();
        if began.elapsed() < Duration::from_millis(500) {
            return before;
        }
        until("all has expired", &is_empty);
        // What the reaper tells of that, it tells soon.
        thread::sleep(Duration::from_secs(1));
    }
    panic!("this machine stands still time and again");
}

#[test]
fn a_reaper_that_lags_is_told_of() {
    const LATE: &str = "the reaper is late";
    let late = || {
        told().events.lock().unwrap().iter().filter(|event| event.name == LATE).cloned().collect::<Vec<_>>()
    };
    let reaper = Reaper::dedicated();
    let cache = named("late")
        .reaper(reaper.clone())
        .eviction_listener(|key, _, _| thread::sleep(Duration::from_secs(if *key == 1 { 4 } else { 0 })))
        .build()
        .unwrap();
    // What is due each second is served in time, and nothing is told of it. Once more where this thread was late, too.
    let is_quiet = |_| {
        let before = late().len();
        for key in 10..13 {
            cache.insert_with_ttl(key, 0, Duration::from_secs(u64::from(key) - 9));
        }
        let longest = until("the three expire", || cache.entry_count() == 0);
        let told = late().len() - before;
        assert!(told == 0 || longest > Duration::from_millis(200), "told of what was on time");
        told == 0
    };
    assert!((0..10).any(is_quiet), "this machine stands still time and again");
    // The second waits for the first one's listener.
    let insert = || {
        cache.insert_with_ttl(1, 0, Duration::from_millis(10));
        cache.insert_with_ttl(2, 0, Duration::from_millis(1_500));
    };
    let before = once_in_time(insert, || cache.entry_count() == 0, || late().len());
    until(LATE, || late().len() > before);
    let event = late().pop().unwrap();
    let lag: f64 = event.fields["lag_seconds"].parse().unwrap();
    assert!((1.0..10.0).contains(&lag), "{event:?}");
    assert_eq!(event.level, Some(Level::WARN));
    // Another cache's entry is due in the same round, waits behind the listener, and there is no round after that.
    drop(cache);
    let reaper = Reaper::dedicated();
    let blocks = || thread::sleep(Duration::from_millis(2_500));
    let slow =
        named("slow").reaper(reaper.clone()).eviction_listener(move |_, _, _| blocks()).build().unwrap();
    let waits = named("waits").reaper(reaper).build().unwrap();
    let caches = [&slow, &waits];
    let insert = || caches.iter().for_each(|cache| cache.insert_with_ttl(1, 0, Duration::from_millis(10)));
    let before =
        once_in_time(insert, || caches.iter().all(|cache| cache.entry_count() == 0), || late().len());
    until(LATE, || late().len() > before);
    let lag: f64 = late().pop().unwrap().fields["lag_seconds"].parse().unwrap();
    assert!((1.0..10.0).contains(&lag), "{lag}");
}

#[test]
fn garbage_that_a_guard_holds_up_is_told_of_once() {
    let cache = named("held").build().unwrap();
    cache.insert(1, 1);
    let guard = cache.read_guard();
    cache.insert(1, 2);
    until("held up", || !told().events_of("held").is_empty());
    thread::sleep(Duration::from_secs(3));
    let events = told().events_of("held");
    assert_eq!(events.len(), 1, "once: {events:?}");
    assert_eq!(events[0].level, Some(Level::WARN));
    assert!(events[0].fields["seconds"].parse::<f64>().unwrap() >= 2.0, "{events:?}");
    drop(guard);
}

/// Where spans and events go is code of somebody else's: it may panic, and use the cache that it is told of.
struct Meddles {
    cache: Mutex<Option<Numbers>>,
    panics: bool,
    calls: AtomicU64,
}

impl Meddles {
    fn meddle(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let cache = self.cache.lock().unwrap().clone();
        if let Some(cache) = cache {
            cache.insert(1_000, 1);
            cache.get(&1_000);
            let _ = cache.stats();
        }
        assert!(!self.panics, "a subscriber panics on purpose");
    }
}

impl Subscriber for Meddles {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        self.meddle();
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.meddle();
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn try_close(&self, _: Id) -> bool {
        self.meddle();
        true
    }
}

#[test]
fn a_subscriber_may_use_the_cache_and_its_panics_are_its_own() {
    for panics in [false, true] {
        let clock = ManualClock::new();
        let cache = named("meddled")
            .shards(1)
            .record_stats()
            .clock(clock.clone())
            .eviction_listener(|_, _, _| panic!("on purpose"))
            .build()
            .unwrap();
        let meddles =
            Arc::new(Meddles { cache: Mutex::new(Some(cache.clone())), panics, calls: AtomicU64::new(0) });
        tracing::subscriber::with_default(Arc::clone(&meddles), || {
            let (end, ended) = oneshot::channel::<u32>();
            let leading = cache.clone();
            let leader =
                Running::begun(
                    async move { leading.get_with_async(1, async { ended.await.unwrap() }).await },
                );
            let waiting = cache.clone();
            let waiter =
                Running::begun(async move { waiting.get_with_async(1, async { unreachable!() }).await });
            end.send(7).unwrap();
            assert_eq!((leader.finish(), waiter.finish()), (7, 7));
            assert_eq!(cache.get_with(2, || 2), 2);
            assert_eq!(cache.optionally_get_with(3, || None), None);
            let pending = cache.clone();
            drop(Running::begun(async move { pending.get_with_async(3, std::future::pending()).await }));
            cache.invalidate(&2);
            cache.insert_with_ttl(4, 4, Duration::from_secs(1));
            clock.advance(Duration::from_secs(3));
        });
        assert!(meddles.calls.load(Ordering::Relaxed) >= 4 + 4 + 2);
        meddles.cache.lock().unwrap().take();
        assert_eq!((cache.get(&1), cache.get(&4)), (Some(7), None));
        let loads = cache.stats().loads;
        assert_eq!((loads.success, loads.absent, loads.cancelled, loads.joined), (2, 1, 1, 1));
        cache.validate();
    }
}

/// Asked whether it wants a span, it panics once; told what a load came to, it asks for a key.
#[derive(Default)]
struct Hostile {
    panics: AtomicBool,
    asks: Mutex<Option<(Numbers, u32)>>,
    answer: Mutex<Option<String>>,
}

impl Subscriber for Hostile {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "a subscriber panics on purpose");
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        let Some((cache, key)) = self.asks.lock().unwrap().take() else { return };
        let asked = catch_unwind(AssertUnwindSafe(|| cache.timeout(LONG).get_with(key, || 8)));
        let answer = asked.map(|value| format!("{value:?}")).unwrap_or_else(|panic| {
            panic.downcast_ref::<&str>().map_or_else(String::new, |message| (*message).to_owned())
        });
        *self.answer.lock().unwrap() = Some(answer);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_subscriber_that_panics_when_it_is_asked_leaves_the_key_free() {
    let cache = named("asked").build().unwrap();
    let hostile = Arc::new(Hostile::default());
    tracing::subscriber::with_default(Arc::clone(&hostile), || {
        hostile.panics.store(true, Ordering::Relaxed);
        assert_eq!(cache.get_with(1, || 7), 7);
        assert!(!hostile.panics.load(Ordering::Relaxed), "it was asked");
        assert_eq!(cache.timeout(LONG).get_with(1, || 8), Ok(7));
    });
}

#[test]
fn a_subscriber_that_loads_the_key_of_the_load_is_told_that_it_would_wait_for_itself() {
    let cache = named("nested").build().unwrap();
    let hostile = Arc::new(Hostile::default());
    tracing::subscriber::with_default(Arc::clone(&hostile), || {
        *hostile.asks.lock().unwrap() = Some((cache.clone(), 1));
        assert_eq!(cache.optionally_get_with(1, || None), None);
    });
    let answer = hostile.answer.lock().unwrap().take().expect("it was told");
    assert!(answer.contains("would wait for itself"), "{answer}");
    cache.validate();
}

/// A call for many keys has the turns of two when a third one's load fails, and gives them back.
#[test]
fn a_subscriber_that_loads_another_key_of_the_call_is_told_that_it_would_wait_for_itself() {
    for asked in [2, 4] {
        let cache = named("nested among many").build().unwrap();
        let hostile = Arc::new(Hostile::default());
        tracing::subscriber::with_default(Arc::clone(&hostile), || {
            let (fail, failed) = oneshot::channel::<&str>();
            let leaders = [2, 4].map(|key| {
                let leading = cache.clone();
                Running::begun(async move { leading.get_with_async(key, std::future::pending()).await })
            });
            let (failing, many) = (cache.clone(), cache.clone());
            let failing = Running::begun(async move {
                failing.try_get_with_async(3, async { Err(failed.await.unwrap()) }).await.is_err()
            });
            let many = Running::begun(async move {
                let load = async |_| -> Result<Vec<_>, &str> { unreachable!("its turns are given back") };
                many.try_get_many_with_async([2, 4, 3], load).await.is_err()
            });
            drop(leaders);
            fail.send("no").unwrap();
            assert!(failing.finish());
            *hostile.asks.lock().unwrap() = Some((cache.clone(), asked));
            assert!(many.finish());
        });
        let answer = hostile.answer.lock().unwrap().take().expect("it was told");
        assert!(answer.contains("would wait for itself"), "{asked}: {answer}");
        cache.validate();
    }
}
