//! Turns that come to a call for many keys while it waits: it uses each, or another call has it.
//!
//! The bugs that these pin: such a call slept with nobody to wake it; and it was given a turn while
//! code of the user's ran for it, which then waited for that turn, for ever.

use crate::bare::Running;
use crate::threads::{UnderWay, under_way};
use crate::waiting::until_waiting;
use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, ManualClock, RemovalCause, WeakCache};
use tokio::sync::oneshot;

type Numbers = Cache<u32, u32>;

/// What a closure comes to on a thread of its own. It hangs if that takes a minute.
fn soon<R: Send + 'static>(what: &str, run: impl FnOnce() -> R + Send + 'static) -> thread::Result<R> {
    let (done, is_done) = channel();
    thread::spawn(move || done.send(catch_unwind(AssertUnwindSafe(run))));
    is_done.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what} hangs"))
}

/// The message of a call that would wait for itself.
fn would_wait_for_itself<R>(result: thread::Result<R>) -> bool {
    let panic = result.err().expect("it would wait for itself");
    panic.downcast::<&str>().is_ok_and(|message| message.contains("would wait for itself"))
}

/// A load on a thread of its own, which is in its loader when this returns. It loads what it is
/// sent, or fails.
fn begun<K, V>(cache: &Cache<K, V>, key: K) -> (Sender<V>, thread::JoinHandle<V>)
where
    K: tidewheel::Key,
    V: tidewheel::Value + Clone,
{
    let ((begun, has_begun), (go_on, gate)) = (channel(), channel());
    let cache = cache.clone();
    let load = move || {
        begun.send(()).unwrap();
        gate.recv().expect("told to fail")
    };
    let thread = thread::spawn(move || cache.get_with(key, load));
    has_begun.recv().unwrap();
    (go_on, thread)
}

/// The next key that is hashed waits for a word, and says so.
static ARMED: AtomicBool = AtomicBool::new(false);
static STOP: Mutex<Option<(Sender<()>, Receiver<()>)>> = Mutex::new(None);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Slow(u32);

impl Hash for Slow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if ARMED.swap(false, Ordering::SeqCst) {
            let (here, go_on) = STOP.lock().unwrap().take().unwrap();
            here.send(()).unwrap();
            go_on.recv().unwrap();
        }
        self.0.hash(state);
    }
}

/// It has the turn, and looks; its flight is left behind, and it waits for another call.
#[test]
fn one_that_has_to_wait_once_more_is_woken() {
    let cache: Cache<Slow, u32> = Cache::new(100);
    let (fail, first) = begun(&cache, Slow(1));
    let (done, is_done) = channel();
    let many = cache.clone();
    thread::spawn(move || done.send(many.get_many_with([Slow(1)], |_| [(Slow(1), 1)])));
    until_waiting(&cache, 1);
    let ((here, is_here), (go, go_on)) = (channel(), channel());
    *STOP.lock().unwrap() = Some((here, go_on));
    ARMED.store(true, Ordering::SeqCst);
    drop(fail);
    assert!(first.join().is_err());
    is_here.recv().expect("it looks: the next hash is its own");
    cache.invalidate(&Slow(1));
    let (end, second) = begun(&cache, Slow(1));
    go.send(()).unwrap();
    until_waiting(&cache, 1);
    end.send(7).unwrap();
    assert_eq!(second.join().unwrap(), 7);
    let values = is_done.recv_timeout(Duration::from_secs(60)).expect("somebody wakes it");
    assert_eq!(values, [Some(7)]);
    cache.validate();
}

/// The closure may load a key that its call waits for, also after another call failed to load it.
#[test]
fn a_closure_may_load_what_its_call_waits_for() {
    let cache = Numbers::new(100);
    let UnderWay { go_on, thread } = under_way(&cache);
    let many = cache.clone();
    let mut other = Some((go_on, thread));
    let values = soon("a call for many", move || {
        many.get_many_with([1, 2], |missing| {
            assert_eq!(missing, [&2]);
            let (go_on, thread) = other.take().expect("it runs once");
            drop(go_on);
            assert!(thread.join().is_err(), "the loader of key 1 is told to fail");
            [(2, many.get_with(1, || 10) * 2)]
        })
    });
    assert_eq!(values.unwrap(), [Some(10), Some(20)]);
    cache.validate();
}

/// A closure of one call for many waits for that of another, which has to have a turn for that.
#[test]
fn a_turn_goes_to_who_can_use_it() {
    let cache = Numbers::new(100);
    let UnderWay { go_on, thread } = under_way(&cache);
    let (first, second) = (cache.clone(), cache.clone());
    let ((loads, is_loading), (loaded, is_loaded)) = (channel(), channel());
    let first = thread::spawn(move || {
        soon("the first", move || {
            first.get_many_with([1, 2], |missing| {
                assert_eq!(missing, [&2]);
                loads.send(()).unwrap();
                [(2, is_loaded.recv().unwrap())]
            })
        })
    });
    is_loading.recv().unwrap();
    let second = thread::spawn(move || {
        soon("the second", move || {
            second.get_many_with([1], |missing| {
                loaded.send(20).unwrap();
                missing.iter().map(|key| (**key, 10)).collect::<Vec<_>>()
            })
        })
    });
    until_waiting(&cache, 2);
    drop(go_on);
    assert!(thread.join().is_err());
    assert_eq!(first.join().unwrap().unwrap(), [Some(10), Some(20)]);
    assert_eq!(second.join().unwrap().unwrap(), [Some(10)]);
    cache.validate();
}

/// A future that is not polled keeps nobody from a key that it waits for.
#[test]
fn a_future_that_loads_other_keys_takes_no_turn() {
    for is_dropped in [false, true] {
        let cache = Numbers::new(100);
        let leading = cache.clone();
        let leader = Running::begun(async move { leading.get_with_async(1, std::future::pending()).await });
        let (end, ended) = oneshot::channel();
        let (many, mut ended) = (cache.clone(), Some(ended));
        let many = Running::begun(async move {
            let load = |keys: Vec<u32>| {
                let ended = ended.take().expect("it runs once");
                async move { [(keys[0], ended.await.unwrap())] }
            };
            many.get_many_with_async([1, 2], load).await
        });
        drop(leader);
        let other = cache.clone();
        let mut other = Running::new(async move { other.get_with_async(1, async { 10 }).await });
        assert!(other.step().is_ready(), "it loads");
        if is_dropped {
            drop(many);
        } else {
            end.send(20).unwrap();
            assert_eq!(many.finish(), [Some(10), Some(20)]);
        }
        assert_eq!(cache.waiting(), 0);
        cache.validate();
    }
}

/// Nobody loads any more what it waits for, once its closure has run: it does that itself.
#[test]
fn a_turn_that_nobody_could_use_is_not_lost() {
    let cache = Numbers::new(100);
    let leading = cache.clone();
    let leader = Running::begun(async move { leading.get_with_async(1, std::future::pending()).await });
    let (end, ended) = oneshot::channel();
    let (many, mut ended) = (cache.clone(), Some(ended));
    let many = Running::begun(async move {
        let load = |keys: Vec<u32>| {
            let ended = ended.take();
            async move {
                if let Some(ended) = ended {
                    ended.await.unwrap();
                }
                keys.into_iter().map(|key| (key, key * 10)).collect::<Vec<_>>()
            }
        };
        many.get_many_with_async([1, 2], load).await
    });
    drop(leader);
    assert_eq!(cache.waiting(), 0);
    end.send(()).unwrap();
    assert_eq!(many.finish(), [Some(10), Some(20)]);
    cache.validate();
}

/// A listener is told of what has expired while the call has turns already.
#[test]
fn a_listener_that_loads_a_key_of_the_call_is_told_so() {
    let clock = ManualClock::new();
    let slot: Arc<OnceLock<WeakCache<u32, u32>>> = Arc::default();
    let (tell, told) = channel();
    let inside = Arc::clone(&slot);
    let cache = Numbers::builder().clock(clock.clone()).eviction_listener(move |_, _, cause| {
        if cause == RemovalCause::Expired {
            let cache = inside.get().and_then(WeakCache::upgrade).unwrap();
            tell.send(catch_unwind(AssertUnwindSafe(|| cache.get_with(1, || 1)))).unwrap();
        }
    });
    let cache = cache.build().unwrap();
    slot.set(cache.downgrade()).unwrap();
    cache.insert_with_ttl(2, 2, Duration::from_secs(1));
    clock.advance_without_sweeping(Duration::from_secs(2));
    let many = cache.clone();
    let values = soon("a call for many", move || {
        many.get_many_with([1, 2], |missing| missing.iter().map(|key| (**key, 7)).collect::<Vec<_>>())
    });
    assert_eq!(values.unwrap(), [Some(7), Some(7)]);
    assert!(would_wait_for_itself(told.recv().unwrap()));
    cache.validate();
}

thread_local! {
    /// What the next clone on this thread asks.
    static ASKS: RefCell<Option<Cache<u32, Asking>>> = const { RefCell::new(None) };
}

/// A value whose clones ask for key 1, on threads that say so.
#[derive(Debug, PartialEq, Eq)]
struct Asking(u32);

impl Clone for Asking {
    fn clone(&self) -> Self {
        if let Some(cache) = ASKS.take() {
            cache.get_with(1, || Self(1));
        }
        Self(self.0)
    }
}

/// It has the turn of one key, and clones what it was told of another.
#[test]
fn a_clone_that_asks_for_a_key_of_the_call_is_told_so() {
    let cache: Cache<u32, Asking> = Cache::new(100);
    for keys in [[1, 2], [2, 1]] {
        let (fail, first) = begun(&cache, 1);
        let (end, second) = begun(&cache, 2);
        let many = cache.clone();
        let (polled, go_on) = (channel(), channel());
        let (asks, is_done) = (polled.0, go_on.1);
        let call = thread::spawn(move || {
            soon("a call for many", move || {
                let inside = many.clone();
                let mut call = Running::begun(async move {
                    inside.get_many_with_async(keys, async |_| -> Vec<_> { unreachable!("no turn") }).await
                });
                asks.send(()).unwrap();
                is_done.recv().unwrap();
                ASKS.set(Some(many));
                call.step().is_ready()
            })
        });
        polled.1.recv().unwrap();
        drop(fail);
        assert!(first.join().is_err());
        end.send(Asking(2)).unwrap();
        assert_eq!(second.join().unwrap(), Asking(2));
        go_on.0.send(()).unwrap();
        assert!(would_wait_for_itself(call.join().unwrap()));
        assert_eq!(cache.timeout(Duration::ZERO).get_with(1, || Asking(10)), Ok(Asking(10)));
        cache.validate();
        cache.invalidate_all();
    }
}
