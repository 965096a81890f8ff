//! Loads whose user code panics, or calls back into the cache: keys, values, loaders, listeners, wakers. Whoever waits is
//! told or loads himself, nobody hears of a panic that is not his own, and nothing is leaked.

#[path = "../common/trouble.rs"]
#[allow(dead_code, reason = "for those who need all of it")]
mod plot;

use crate::bare::{self, Running};
use crate::watchdog::Watchdog;
use plot::{Deed, Place, Plot, TroubleCache, Value, is_planted};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tidewheel::{Cache, CompResult, Expiry, ManualClock, Op, RemovalCause, WeakCache};
use tokio::sync::oneshot;

fn small() -> (Arc<Plot>, TroubleCache, ManualClock) {
    let clock = ManualClock::new();
    let (plot, cache) = Plot::new(|builder| builder.clock(clock.clone()).max_capacity(2).shards(1));
    (plot, cache, clock)
}

/// A load of key 1, which waits until it is told to go on, and what tells it.
fn under_way(plot: &Arc<Plot>, cache: &TroubleCache) -> (Running<Value>, oneshot::Sender<()>) {
    let (go_on, gate) = oneshot::channel();
    let (plot, cache) = (Arc::clone(plot), cache.clone());
    let load = async move {
        let loader = async {
            gate.await.unwrap();
            plot.at(Place::Closure);
            plot.value(1)
        };
        cache.get_with_async(plot.key(1), loader).await
    };
    (Running::begun(load), go_on)
}

fn waiter(plot: &Arc<Plot>, cache: &TroubleCache) -> impl Future<Output = Value> + Send + 'static {
    let (plot, cache) = (Arc::clone(plot), cache.clone());
    async move { cache.get_with_async(plot.key(1), async { plot.value(1) }).await }
}

#[test]
fn whatever_the_users_code_does_nobody_waits_in_vain() {
    let watchdog = Watchdog::over("loads whose user code makes trouble", 300);
    let places = [
        Place::Hash,
        Place::Eq,
        Place::KeyDrop,
        Place::ValueClone,
        Place::ValueDrop,
        Place::Listener,
        Place::Closure,
    ];
    for place in places {
        let mut fired = 0;
        for deed in [Deed::Panic, Deed::PanicTwice, Deed::CallBack] {
            if deed == Deed::CallBack && matches!(place, Place::Hash | Place::Eq) {
                continue; // They must not.
            }
            for after in 0..8 {
                for write in [nothing, insert, invalidate] {
                    fired += make_trouble(place, deed, after, write);
                    watchdog.feed();
                }
            }
        }
        assert!(fired > 0, "{place:?} makes no trouble");
    }
}

fn nothing(_: &Arc<Plot>, _: &TroubleCache) {}

fn insert(plot: &Arc<Plot>, cache: &TroubleCache) {
    cache.insert(plot.key(1), plot.value(10));
}

fn invalidate(plot: &Arc<Plot>, cache: &TroubleCache) {
    cache.invalidate(&plot.lent(1));
}

/// Polls a call, which may panic as planted. Hands it back as long as it is pending.
fn step(mut call: Running<Value>) -> Option<Running<Value>> {
    let panic = match catch_unwind(AssertUnwindSafe(|| call.step().map(drop))) {
        Ok(Poll::Pending) => return Some(call),
        Ok(Poll::Ready(())) => None,
        Err(panic) => Some(panic),
    };
    let end = catch_unwind(AssertUnwindSafe(|| drop(call))).err();
    assert!(panic.into_iter().chain(end).all(is_planted));
    None
}

/// A load that three wait for, with trouble once, after so many opportunities, from when the last of the three comes. How
/// often there was any.
fn make_trouble(place: Place, deed: Deed, after: u64, write: fn(&Arc<Plot>, &TroubleCache)) -> u64 {
    let (plot, cache, clock) = small();
    for id in [2, 3] {
        cache.insert(plot.key(id), plot.value(id));
    }
    let (load, go_on) = under_way(&plot, &cache);
    let mut calls = vec![load];
    calls.extend((0..2).map(|_| Running::begun(waiter(&plot, &cache))));
    write(&plot, &cache);
    plot.arm_some((after, 1, 1), place, deed);
    calls.extend(step(Running::new(waiter(&plot, &cache))));
    go_on.send(()).unwrap();
    while !calls.is_empty() {
        let woken = calls.iter().position(Running::is_woken);
        let woken = woken.unwrap_or_else(|| panic!("{place:?}, {deed:?} after {after}: nobody is woken"));
        let call = calls.swap_remove(woken);
        calls.extend(step(call));
    }
    let fired = plot.fired();
    plot.disarm();
    cache.validate();
    let next = cache.timeout(Duration::ZERO).get_with(plot.key(1), || plot.value(1));
    assert!(next.is_ok(), "{place:?}, {deed:?} after {after}: somebody still loads");
    drop(next);
    cache.validate();
    assert_eq!(plot.faults(), [""; 0], "{place:?}, {deed:?} after {after}");
    cache.invalidate_all();
    for _ in 0..1_000_000 {
        clock.advance(Duration::from_secs(1));
        if plot.alive() == 0 {
            return fired;
        }
    }
    panic!("{place:?}, {deed:?} after {after}: {} values are leaked", plot.alive());
}

/// Whoever is told an outcome may be gone before the one who tells has let go of him, and then it is the teller who ends
/// his key. A destructor that panicked there left all those without an answer who were not told yet, for ever, and was the
/// teller's panic.
#[test]
fn the_key_of_one_who_was_told_panics_for_nobody() {
    /// Drops its future as soon as it is woken.
    struct Hasty(Mutex<Option<Pin<Box<dyn Future<Output = Value> + Send>>>>);

    impl Wake for Hasty {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    let (plot, cache, _clock) = small();
    let (load, go_on) = under_way(&plot, &cache);
    let hasty = Arc::new(Hasty(Mutex::new(Some(Box::pin(waiter(&plot, &cache))))));
    {
        let waker = Waker::from(Arc::clone(&hasty));
        let mut future = hasty.0.lock().unwrap();
        let polled = future.as_mut().unwrap().as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    let after = Running::begun(waiter(&plot, &cache));
    go_on.send(()).unwrap();
    plot.arm(Place::KeyDrop, Deed::Panic);
    let mut load = load;
    let loaded = catch_unwind(AssertUnwindSafe(|| load.step().is_ready()));
    plot.disarm();
    assert!(loaded.is_ok_and(|is_ready| is_ready), "it is not the teller's panic");
    assert!(plot.fired() > 0 && hasty.0.lock().unwrap().is_none());
    assert_eq!(after.finish().id, 1);
    cache.validate();
}

/// The value was stored, and all were told, when the call's own clone of it panicked; but the listener was never told of
/// what had to make room, and that was leaked.
#[test]
fn what_made_room_is_told_of_though_the_loader_panics_afterwards() {
    let (plot, cache, clock) = small();
    for id in [2, 3] {
        cache.insert(plot.key(id), plot.value(id));
    }
    let (mut load, go_on) = under_way(&plot, &cache);
    let waiter = Running::begun(waiter(&plot, &cache));
    go_on.send(()).unwrap();
    // The first clone is the one that is stored.
    plot.arm_some((1, 1, 1), Place::ValueClone, Deed::Panic);
    let loaded = catch_unwind(AssertUnwindSafe(|| load.step().is_ready()));
    assert!(is_planted(loaded.unwrap_err()));
    plot.disarm();
    let reports = plot.reports();
    assert!(matches!(reports[..], [(2 | 3, _, RemovalCause::Size)]), "{reports:?}");
    assert_eq!(waiter.finish().id, 1);
    drop(load);
    cache.validate();
    assert_eq!(cache.entry_count(), 2);
    drop(cache);
    for _ in 0..1_000_000 {
        clock.advance(Duration::from_secs(1));
        if plot.alive() == 0 {
            return;
        }
    }
    panic!("{} values are leaked", plot.alive());
}

#[test]
fn a_waker_that_panics_is_no_trouble_for_others() {
    struct Grumpy(AtomicU32);

    impl Wake for Grumpy {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::panic::panic_any(plot::Planted);
        }
    }

    let (plot, cache, _clock) = small();
    let (load, go_on) = under_way(&plot, &cache);
    let grumpy = Arc::new(Grumpy(AtomicU32::new(0)));
    let mut future = Box::pin(waiter(&plot, &cache));
    let waker = Waker::from(Arc::clone(&grumpy));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let after = Running::begun(waiter(&plot, &cache));
    go_on.send(()).unwrap();
    assert_eq!(load.finish().id, 1);
    assert_eq!((grumpy.0.load(Ordering::Relaxed), after.finish().id), (1, 1));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    cache.validate();
}

/// The weigher, the `Expiry` and `Clone` are asked about what was loaded while its call still leads. One that loads the same
/// key waited for itself, for ever.
#[test]
fn what_is_asked_about_a_loaded_value_must_not_load_its_key() {
    type Numbers = Cache<u32, u32>;
    type Weak = Arc<OnceLock<WeakCache<u32, u32>>>;

    fn load_again(weak: &Weak) -> u32 {
        weak.get().and_then(WeakCache::upgrade).map_or(0, |cache| cache.get_with(1, || 2))
    }
    struct Again(Weak);
    impl Expiry<u32, u32> for Again {
        fn expire_after_create(&self, _: &u32, _: &u32) -> Option<Duration> {
            Some(Duration::from_secs(load_again(&self.0).into()))
        }
    }

    let _watchdog = Watchdog::over("a weigher that loads what it weighs", 60);
    let makes: [fn(Weak) -> Numbers; 2] = [
        |weak| Cache::builder().max_capacity(10).weigher(move |_, _| load_again(&weak)).build().unwrap(),
        |weak| Cache::builder().expire_after(Again(weak)).build().unwrap(),
    ];
    for make in makes {
        let weak = Weak::default();
        let cache = make(Arc::clone(&weak));
        weak.set(cache.downgrade()).unwrap();
        let loaded = catch_unwind(AssertUnwindSafe(|| cache.get_with(1, || 7)));
        let message = *loaded.unwrap_err().downcast::<&str>().unwrap();
        assert!(message.contains("would wait for itself"), "{message}");
        cache.validate();
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// What the third comparison of two keys `Late(0)` does, on the thread that sets this.
struct Trap {
    clock: ManualClock,
    comparisons: u32,
    panics: bool,
}

thread_local! {
    static TRAP: RefCell<Option<Trap>> = const { RefCell::new(None) };
}

/// A key whose deadline passes in the middle of a call, while the call compares it: where it looks what it has found, where it
/// has no right to keep room yet, where it has that and makes room, and then.
#[derive(Clone)]
struct Late(u32);

impl Hash for Late {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.0);
    }
}

impl Eq for Late {}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        if self.0 == 0 && other.0 == 0 {
            let mut panics = false;
            TRAP.with_borrow_mut(|trap| {
                if let Some(set) = trap {
                    set.comparisons += 1;
                    if set.comparisons == 4 {
                        set.clock.advance_without_sweeping(100 * SECOND);
                        panics = set.panics;
                        *trap = None;
                    }
                }
            });
            assert!(!panics, "on purpose");
        }
        self.0 == other.0
    }
}

struct AMinuteForTheFirst;

impl Expiry<Late, u32> for AMinuteForTheFirst {
    fn expire_after_create(&self, key: &Late, _: &u32) -> Option<Duration> {
        (key.0 == 0).then_some(60 * SECOND)
    }
}

/// A full cache whose first key has an old value, its clock, and what the listener is answered that asks for that key at the
/// first eviction.
fn full() -> (Cache<Late, u32>, ManualClock, Receiver<bool>) {
    let clock = ManualClock::new();
    let weak = Arc::new(OnceLock::<WeakCache<Late, u32>>::new());
    let (answer, answers) = channel();
    let asks = Arc::clone(&weak);
    let answer = Mutex::new(Some(answer));
    let listener = move |_: &Late, _: &u32, cause| {
        let first = (cause == RemovalCause::Size).then(|| answer.lock().unwrap().take()).flatten();
        if let Some(answer) = first {
            let cache = asks.get().and_then(WeakCache::upgrade).unwrap();
            answer.send(cache.timeout(SECOND).get_with(Late(0), || 1).is_ok()).unwrap();
        }
    };
    let builder = Cache::builder().shards(1).clock(clock.clone()).refresh_after_write(10 * SECOND);
    let builder = builder.max_capacity(1000).weigher(|_, value| *value).expire_after(AMinuteForTheFirst);
    let cache = builder.eviction_listener(listener).build().unwrap();
    assert!(weak.set(cache.downgrade()).is_ok());
    (0..1000).for_each(|id| cache.insert(Late(id), 1));
    clock.advance(11 * SECOND);
    (cache, clock, answers)
}

/// A call makes room, starts over, and then finds that its entry has expired, or panics. The evictions were told while the
/// call had the turn and no mark: a listener that asked for the key waited for its own caller.
#[test]
fn what_made_room_is_told_of_once_the_turn_is_over() {
    let _watchdog = Watchdog::over("listeners that ask for the key that makes room", 60);
    let set = |clock: &ManualClock, panics| {
        TRAP.set(Some(Trap { clock: clock.clone(), comparisons: 0, panics }));
        500
    };
    for panics in [false, true] {
        let (cache, clock, answers) = full();
        let load = || cache.get_with(Late(0), || set(&clock, panics));
        let loaded = catch_unwind(AssertUnwindSafe(load));
        assert_eq!(loaded.ok(), (!panics).then_some(500));
        assert!(TRAP.take().is_none(), "the comparisons were four");
        assert_eq!(answers.try_recv(), Ok(true), "the listener was told before the call returned");
        cache.validate();
    }
    let (cache, clock, answers) = full();
    let compute = || cache.entry(Late(0)).or_insert_with_if(|| set(&clock, true), |_| true).into_value();
    assert!(catch_unwind(AssertUnwindSafe(compute)).is_err());
    assert_eq!(answers.try_recv(), Ok(true), "a computation");
    cache.validate();
}

thread_local! {
    /// How often this thread has compared two keys `Brittle(0)`, and the comparison that panics; 0 for none.
    static COMPARED: Cell<u32> = const { Cell::new(0) };
    static BREAKS: Cell<u32> = const { Cell::new(0) };
}

/// A key whose comparison panics, if it is told to.
#[derive(Clone)]
struct Brittle(u32);

impl Hash for Brittle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.0);
    }
}

impl Eq for Brittle {}

impl PartialEq for Brittle {
    fn eq(&self, other: &Self) -> bool {
        if self.0 == 0 && other.0 == 0 {
            COMPARED.set(COMPARED.get() + 1);
            assert!(COMPARED.get() != BREAKS.get(), "on purpose");
        }
        self.0 == other.0
    }
}

/// A load that makes room, starts over and panics then left its key's old entry frozen, for good if that has no end: each touch of it took
/// the lock from then on, and an iteration looked it up a second time.
#[test]
fn a_load_that_fails_when_it_starts_over_leaves_the_old_entry_as_it_was() {
    let clock = ManualClock::new();
    let builder = Cache::builder().shards(1).clock(clock.clone()).refresh_after_write(10 * SECOND);
    let cache = builder.max_capacity(200).weigher(|_, value: &u32| *value).build().unwrap();
    (0..200).for_each(|id| cache.insert(Brittle(id), 1));
    clock.advance(11 * SECOND);
    let load = || {
        COMPARED.set(0);
        BREAKS.set(3);
        200
    };
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get_with(Brittle(0), load))).is_err());
    assert!(cache.entry_count() < 200, "it made room before");
    BREAKS.set(0);
    COMPARED.set(0);
    assert_eq!(cache.read_guard().iter().filter(|(key, _)| key.0 == 0).count(), 1);
    assert_eq!(COMPARED.get(), 0, "comparisons of an iteration over what no writer has frozen");
    cache.validate();
}

/// The same where the computation begins anew: it was told while the call had the turn, and a listener that asked for the key
/// panicked, since its thread was marked.
#[test]
fn a_computation_that_begins_anew_tells_of_what_made_room_once_its_turn_is_over() {
    type Answers = Receiver<bool>;
    type Compute = fn(&Cache<Late, u32>, &ManualClock, &Answers);
    /// The first time, it is late, and begins anew.
    fn make(round: u32, clock: &ManualClock, answers: &Answers) -> Op<u32> {
        if round == 1 {
            TRAP.set(Some(Trap { clock: clock.clone(), comparisons: 0, panics: false }));
        }
        assert_eq!(answers.try_recv(), Err(TryRecvError::Empty), "in round {round}");
        Op::Put(500)
    }
    let calls: [Compute; 5] = [
        |cache, clock, answers| {
            let mut rounds = 0;
            let init = || {
                rounds += 1;
                make(rounds, clock, answers);
                500
            };
            assert_eq!(cache.entry(Late(0)).or_insert_with_if(init, |_| true).into_value(), 500);
            assert_eq!(rounds, 1, "a value that was made is stored");
        },
        |cache, clock, answers| {
            let init = async {
                make(1, clock, answers);
                500
            };
            let entry = bare::block_on(cache.entry(Late(0)).or_insert_with_if_async(init, |_| true));
            assert_eq!(entry.into_value(), 500);
        },
        |cache, clock, answers| {
            let mut rounds = 0;
            let result = cache.entry(Late(0)).and_compute_with(|_| {
                rounds += 1;
                make(rounds, clock, answers)
            });
            assert!(matches!(result, CompResult::Inserted(_)));
            assert_eq!(rounds, 2);
        },
        |cache, clock, answers| {
            let rounds = Cell::new(0);
            let call = cache.entry(Late(0)).and_compute_with_async(|_| {
                rounds.set(rounds.get() + 1);
                std::future::ready(make(rounds.get(), clock, answers))
            });
            assert!(matches!(bare::block_on(call), CompResult::Inserted(_)));
            assert_eq!(rounds.get(), 2);
        },
        // Dropped in its second round.
        |cache, clock, answers| {
            let rounds = Cell::new(0);
            let mut call = Box::pin(cache.entry(Late(0)).and_compute_with_async(async |_| {
                rounds.set(rounds.get() + 1);
                let op = make(rounds.get(), clock, answers);
                bare::pending(rounds.get() - 1).await;
                op
            }));
            assert!(bare::poll(call.as_mut(), &bare::Bell::new()).is_pending());
            assert_eq!((rounds.get(), answers.try_recv()), (2, Err(TryRecvError::Empty)));
        },
    ];
    let _watchdog = Watchdog::over("listeners that ask for the key that is computed", 60);
    for (number, call) in calls.into_iter().enumerate() {
        let (cache, clock, answers) = full();
        call(&cache, &clock, &answers);
        assert!(TRAP.take().is_none(), "call {number}: the comparisons were four");
        assert_eq!(answers.try_recv(), Ok(true), "call {number}");
        cache.validate();
    }
}
