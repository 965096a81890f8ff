//! Destructors that use the cache, or panic, at the worst moment: when a call that has the turn of a key panics, is
//! cancelled or fails. The turn is given back before they run, so that they may ask for that key; and what a call has come to is not
//! lost by them.

use crate::bare::{Running, block_on};
use crate::panics::Bomb;
use crate::waiting::until_waiting;
use crate::watchdog::Watchdog;
use std::future::{Future, pending, ready};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, ManualClock, Op, Reaper, WeakCache};

/// What one cache's keys and values are told to do.
#[derive(Default)]
struct World {
    cache: OnceLock<WeakCache<Key, Value>>,
    /// The comparison that panics, counted from now; 0 for none.
    eq: AtomicI32,
    /// The next weighing panics.
    weigh: AtomicBool,
    /// The next value's destructor asks for key 1.
    ask: AtomicBool,
    /// The destructor of a key with this number asks for key 2.
    key_asks: AtomicU32,
    /// The destructor of a value with this number panics, and the next one asks for key 1.
    bomb: AtomicU32,
    /// So many have, and were answered.
    answered: AtomicU32,
}

/// Keys whose hashes are all the same: every look-up compares with every key.
#[derive(Clone)]
struct Key(u32, Arc<World>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(0);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        if self.1.eq.load(Ordering::Relaxed) > 0 && self.1.eq.fetch_sub(1, Ordering::Relaxed) == 1 {
            resume_unwind(Box::new("an Eq panics"));
        }
        self.0 == other.0
    }
}

impl Eq for Key {}

/// Once, if it is that number.
fn is_told(told: &AtomicU32, number: u32) -> bool {
    told.compare_exchange(number, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

impl Drop for Key {
    fn drop(&mut self) {
        if is_told(&self.1.key_asks, self.0) {
            ask(&self.1, 2);
        }
    }
}

#[derive(Clone)]
struct Value(u32, Arc<World>);

impl Drop for Value {
    fn drop(&mut self) {
        if self.1.ask.swap(false, Ordering::Relaxed) {
            ask(&self.1, 1);
        }
        if is_told(&self.1.bomb, self.0) {
            self.1.ask.store(true, Ordering::Relaxed);
            resume_unwind(Box::new("a destructor panics"));
        }
    }
}

/// An error whose destructor does the same.
#[derive(Debug)]
struct Failed(Arc<World>);

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl Drop for Failed {
    fn drop(&mut self) {
        ask(&self.0, 1);
    }
}

/// Takes a key's turn, and its value.
fn ask(world: &Arc<World>, number: u32) {
    let cache = world.cache.get().and_then(WeakCache::upgrade).expect("the cache is there");
    drop(cache.entry(world.key(number)).and_compute_with(|_| Op::Nop));
    drop(cache.get_with(world.key(number), || world.value(100)));
    world.answered.fetch_add(1, Ordering::Relaxed);
}

type Hostile = Cache<Key, Value>;

fn hostile(more: impl FnOnce(CacheBuilder<Key, Value>) -> CacheBuilder<Key, Value>) -> (Hostile, Arc<World>) {
    let world = Arc::new(World::default());
    let weigher = |_: &Key, value: &Value| {
        if value.1.weigh.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("a weigher panics"));
        }
        1
    };
    // Nobody else drops anything.
    let builder = Cache::builder().max_capacity(10).shards(1).weigher(weigher).reaper(Reaper::manual());
    let cache = more(builder).build().unwrap();
    world.cache.set(cache.downgrade()).unwrap();
    (cache, world)
}

impl World {
    fn key(self: &Arc<Self>, number: u32) -> Key {
        Key(number, self.clone())
    }

    fn value(self: &Arc<Self>, number: u32) -> Value {
        Value(number, self.clone())
    }

    /// The next value that is dropped asks; so many comparisons from now one panics.
    fn arm(&self, eq: i32) {
        self.eq.store(eq, Ordering::Relaxed);
        self.ask.store(true, Ordering::Relaxed);
    }

    /// One has asked since, and was answered.
    fn has_answered(&self) {
        assert_eq!((self.answered.load(Ordering::Relaxed), self.eq.load(Ordering::Relaxed)), (1, 0));
        assert!(!self.weigh.load(Ordering::Relaxed));
        let cache = self.cache.get().and_then(WeakCache::upgrade).unwrap();
        cache.validate();
    }
}

fn panics<R>(call: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
}

/// A call that waits for its turn, and has it by now: nothing is known of the key then, so it is looked up when it lands.
fn with_the_turn(
    cache: &Hostile,
    world: &Arc<World>,
    load: impl Future<Output = Value> + Send + 'static,
) -> Running<Value> {
    let call = |load: std::pin::Pin<Box<dyn Future<Output = Value> + Send>>| {
        let (cache, key) = (cache.clone(), world.key(1));
        Running::begun(async move { cache.get_with_async(key, load).await })
    };
    let first = call(Box::pin(pending()));
    let second = call(Box::pin(load));
    drop(first);
    assert!(second.is_woken());
    second
}

/// A key that is asked for while it is loaded is dropped outside the lock, if its `Eq` panics.
#[test]
fn an_eq_panics_while_it_is_looked_for_a_flight() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    let calls: [fn(&Hostile, Key); 3] = [
        |cache, key| drop(cache.get_with(key, || unreachable!("it is not loaded"))),
        |cache, key| drop(cache.entry(key).or_insert_with(|| unreachable!("it is not loaded"))),
        |cache, key| drop(cache.entry(key).and_compute_with(|_| Op::Nop)),
    ];
    for call in calls {
        let (cache, world) = hostile(|builder| builder);
        cache.get_with(world.key(1), || {
            world.eq.store(1, Ordering::Relaxed);
            world.key_asks.store(1, Ordering::Relaxed);
            panics(|| call(&cache, world.key(1)));
            world.value(1)
        });
        world.has_answered();
    }
}

#[test]
fn an_eq_panics_when_a_load_lands() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    // An old value is loaded anew: what it is to be put in the place of is looked up.
    let clock = ManualClock::new();
    let (cache, world) =
        hostile(|builder| builder.clock(clock.clone()).refresh_after_write(Duration::from_secs(1)));
    cache.insert(world.key(1), world.value(1));
    clock.advance(Duration::from_secs(2));
    panics(|| {
        cache.get_with(world.key(1), || {
            world.arm(1);
            world.value(1)
        })
    });
    world.has_answered();
}

#[test]
fn an_eq_panics_when_what_was_seen_in_turn_is_told() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    let (cache, world) = hostile(|builder| builder);
    let mut call = with_the_turn(&cache, &world, pending());
    cache.insert(world.key(1), world.value(1));
    // Not when it looks, but under the lock, with a clone of the value in hand.
    world.arm(2);
    panics(|| call.step());
    world.has_answered();
}

#[test]
fn an_eq_panics_when_a_computation_is_stored() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    // Twice before the shard's lock is taken (the second look goes the whole way), and once under it.
    for eq in 1..=3 {
        let (cache, world) = hostile(|builder| builder);
        cache.insert(world.key(2), world.value(2));
        panics(|| {
            cache.entry(world.key(1)).and_upsert_with(|_| {
                world.arm(eq);
                world.value(1)
            })
        });
        world.has_answered();
    }
}

#[test]
fn a_weigher_panics_when_a_computation_is_stored() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    let (cache, world) = hostile(|builder| builder);
    panics(|| {
        cache.entry(world.key(1)).and_upsert_with(|_| {
            world.arm(0);
            world.weigh.store(true, Ordering::Relaxed);
            world.value(1)
        })
    });
    world.has_answered();
    cache.invalidate(&world.key(1));
    world.answered.store(0, Ordering::Relaxed);
    panics(|| {
        cache.entry(world.key(1)).or_insert_with_if(
            || {
                world.arm(0);
                world.weigh.store(true, Ordering::Relaxed);
                world.value(1)
            },
            |_| true,
        )
    });
    world.has_answered();
}

fn refreshing() -> (Hostile, Arc<World>, ManualClock) {
    let clock = ManualClock::new();
    let (cache, world) =
        hostile(|builder| builder.clock(clock.clone()).refresh_after_write(Duration::from_secs(1)));
    cache.insert(world.key(1), world.value(1));
    clock.advance(Duration::from_secs(2));
    (cache, world, clock)
}

#[test]
fn a_refresh_is_cancelled_and_the_old_value_asks_for_the_key() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    let (cache, world, _clock) = refreshing();
    let call = {
        let (cache, key) = (cache.clone(), world.key(1));
        Running::begun(async move { cache.get_with_async(key, pending()).await })
    };
    cache.invalidate(&world.key(1));
    world.arm(0);
    drop(call);
    world.has_answered();
}

#[test]
fn a_refresh_fails_and_the_look_at_what_is_there_panics() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    let (cache, world, _clock) = refreshing();
    let old_value_asks = || {
        world.arm(1);
        Err("no")
    };
    panics(|| cache.try_get_with(world.key(1), old_value_asks));
    world.has_answered();
    let (cache, world, _clock) = refreshing();
    let error_asks = || {
        world.eq.store(1, Ordering::Relaxed);
        Err(Failed(world.clone()))
    };
    panics(|| cache.try_get_with(world.key(1), error_asks));
    world.has_answered();
}

#[test]
fn a_refresh_fails_and_its_error_asks_for_the_key() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    let (cache, world, _clock) = refreshing();
    let served = cache.try_get_with(world.key(1), || {
        cache.invalidate(&world.key(1));
        Err(Failed(world.clone()))
    });
    // There is no old value any more that could be served.
    let Err(failed) = served else { panic!("what was removed is not served") };
    drop(failed);
    world.has_answered();
}

/// What a computation would have stored is invalidated, and its clone panics when it goes.
#[test]
fn what_was_computed_in_vain_asks_for_the_key() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    let (cache, world) = hostile(|builder| builder);
    cache.insert(world.key(1), world.value(1));
    panics(|| {
        cache.entry(world.key(1)).and_upsert_with(|_| {
            cache.insert(world.key(1), world.value(2));
            world.bomb.store(5, Ordering::Relaxed);
            world.value(5)
        })
    });
    world.has_answered();
}

#[test]
fn a_value_that_was_judged_asks_for_the_key() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    let (cache, world) = hostile(|builder| builder);
    cache.insert(world.key(1), world.value(1));
    let mut judged = 0;
    panics(|| {
        cache.entry(world.key(1)).or_insert_with_if(
            || unreachable!("it is not judged"),
            |_| {
                judged += 1;
                if judged == 2 {
                    cache.invalidate(&world.key(1));
                    world.arm(0);
                    resume_unwind(Box::new("a judge panics"));
                }
                true
            },
        )
    });
    world.has_answered();
}

/// One of several keys is passed on because an `Eq` panics, and a value that was brought for nobody asks for it then.
#[test]
fn a_key_of_many_is_passed_on_and_a_value_asks_for_it() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    // Once where the pairs are taken, and once where they are looked up.
    for eq in [1, 2] {
        let (cache, world) = hostile(|builder| builder);
        let mut waiter = None;
        panics(|| {
            cache.get_many_with([world.key(1)], |_| {
                let (cache, key, value) = (cache.clone(), world.key(1), world.value(7));
                let (joined, has_joined) = channel();
                waiter = Some(thread::spawn(move || {
                    let mut call =
                        Running::begun(async move { cache.get_with_async(key, async { value }).await.0 });
                    joined.send(()).unwrap();
                    loop {
                        if let (true, Poll::Ready(value)) = (call.is_woken(), call.step()) {
                            return value;
                        }
                        thread::park();
                    }
                }));
                has_joined.recv().unwrap();
                world.arm(eq);
                [(world.key(2), world.value(2)), (world.key(3), world.value(3))]
            })
        });
        assert_eq!(waiter.unwrap().join().unwrap(), 7);
        world.has_answered();
    }
}

#[test]
fn a_key_of_many_asks_for_another_of_them() {
    let _watchdog = Watchdog::over("a destructor that asks", 20);
    let (cache, world) = hostile(|builder| builder);
    panics(|| {
        cache.get_many_with([world.key(1), world.key(2)], |_| -> [(Key, Value); 0] {
            world.key_asks.store(1, Ordering::Relaxed);
            resume_unwind(Box::new("a loader panics"))
        })
    });
    world.has_answered();
}

/// What a call came to is not lost because its key, which is stored nowhere, panics when it goes.
#[test]
fn a_key_that_is_not_stored_panics_for_nobody() {
    for is_weighed in [false, true] {
        let mut builder = Cache::<Bomb, u32>::builder().max_capacity(10);
        if is_weighed {
            builder = builder.weigher(|_, _| 1);
        }
        let cache = builder.build().unwrap();
        let armed = Arc::new(AtomicBool::new(true));
        let key = || Bomb(1, Some(armed.clone()));
        assert_eq!(cache.optionally_get_with(key(), || None), None);
        assert_eq!(*cache.try_get_with(key(), || Err::<u32, _>("no")).unwrap_err(), "no");
        let invalidated = cache.get_with(key(), || {
            cache.insert(Bomb(1, None), 5);
            cache.invalidate(&Bomb(1, None));
            7
        });
        assert_eq!((invalidated, cache.entry_count()), (7, 0));
        cache.validate();
    }
}

/// The same where an old value is served, because a refresh failed, or another call has the turn.
#[test]
fn a_key_panics_for_nobody_where_an_old_value_is_served() {
    let clock = ManualClock::new();
    let builder = Cache::<Bomb, u32>::builder().clock(clock.clone());
    let cache = builder.refresh_after_write(Duration::from_secs(1)).build().unwrap();
    let armed = Arc::new(AtomicBool::new(true));
    let key = || Bomb(1, Some(armed.clone()));
    cache.insert(Bomb(1, None), 1);
    clock.advance(Duration::from_secs(2));
    let turn = {
        let cache = cache.clone();
        Running::begun(async move { cache.entry(Bomb(1, None)).and_upsert_with_async(|_| pending()).await })
    };
    assert_eq!(cache.get_with(key(), || unreachable!("another call has the turn")), 1);
    drop(turn);
    clock.advance(Duration::from_secs(2));
    assert_eq!(cache.optionally_get_with(key(), || None), Some(1));
    cache.validate();
}

/// What a call returns is not leaked by an argument, of no use to it, that panics when it goes.
#[test]
fn what_is_returned_is_not_leaked_by_the_arguments_of_a_call() {
    let clock = ManualClock::new();
    let builder = Cache::<u32, Arc<()>>::builder().clock(clock.clone());
    let cache = builder.refresh_after_write(Duration::from_secs(1)).build().unwrap();
    let value = Arc::new(());
    let armed = Arc::new(AtomicBool::new(true));
    let bomb = || Bomb(1, Some(armed.clone()));
    // Told by another call. (One that comes late has a hit, and that does as well.)
    let (waits, has_begun) = channel();
    let told = thread::scope(|scope| {
        let (cache, bomb) = (&cache, bomb());
        let waiter = scope.spawn(move || {
            has_begun.recv().unwrap();
            panics(|| {
                cache.get_with(1, move || {
                    let _ = &bomb;
                    unreachable!("it is loaded")
                })
            });
        });
        let told = cache.get_with(1, || {
            waits.send(()).unwrap();
            until_waiting(cache, 1);
            value.clone()
        });
        waiter.join().unwrap();
        told
    });
    // A hit, computations, an entry that is good.
    let argument = bomb();
    panics(|| cache.get_with(1, move || unreachable!("{}", argument.1.is_some())));
    let argument = bomb();
    panics(|| {
        cache.entry(1).and_compute_with(move |_| {
            let _ = &argument;
            Op::Nop
        })
    });
    let argument = bomb();
    panics(|| {
        block_on(cache.entry(1).and_compute_with_async(move |_| {
            let _ = &argument;
            ready(Op::Nop)
        }))
    });
    let argument = bomb();
    panics(|| cache.entry(1).or_insert_with_if(|| unreachable!("it is good"), move |_| argument.1.is_none()));
    // An error of a refresh.
    clock.advance(Duration::from_secs(2));
    panics(|| cache.try_get_with(1, || Err(bomb())));
    armed.store(false, Ordering::Relaxed);
    drop(told);
    assert_eq!(Arc::strong_count(&value), 2, "here and in the cache");
    // An error, and the key.
    let (cache, error) = (Cache::<Bomb, u32>::new(10), Arc::new(()));
    armed.store(true, Ordering::Relaxed);
    panics(|| cache.entry(bomb()).or_try_insert_with(|| Err(error.clone())));
    assert_eq!(Arc::strong_count(&error), 1);
}

/// A waker whose clones panic when they are dropped.
fn nasty() -> Waker {
    const NASTY: RawWakerVTable = RawWakerVTable::new(
        |_| RawWaker::new(std::ptr::without_provenance(1), &NASTY),
        |_| {},
        |_| {},
        |data| {
            if !data.is_null() && !thread::panicking() {
                resume_unwind(Box::new("a waker panics"));
            }
        },
    );
    // SAFETY: the functions read no memory: what they are given is a mark, and no address.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &NASTY)) }
}

/// One is told that it has the turn, and is asked with a waker that panics when it goes: it has the turn all the same.
#[test]
fn a_waker_that_panics_takes_no_turn_along() {
    let cache: Cache<u32, u32> = Cache::new(10);
    let first = {
        let cache = cache.clone();
        Running::begun(async move { cache.get_with_async(1, pending()).await })
    };
    {
        let mut second = pin!(cache.get_with_async(1, async { 2 }));
        let waker = nasty();
        let mut context = Context::from_waker(&waker);
        for _ in 0..2 {
            assert!(second.as_mut().poll(&mut context).is_pending());
        }
        drop(first);
        assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(2));
    }
    assert_eq!(cache.timeout(Duration::ZERO).get_with(1, || 3), Ok(2));
}
