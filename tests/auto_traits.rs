//! Which types may go to other threads, and which may be used after a panic: the compiler judges, nothing runs.
//!
//! A guard that became `Send` by mistake would unpin the wrong thread, and nothing else would fail. So what must not be is
//! asked as well as what must.

use std::cell::{Cell, RefCell};
use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use tidewheel::{
    BuildError, Cache, CacheBuilder, Drain, EntryRef, GuardIter, Iter, Keys, LoadError, ManualClock,
    ReadGuard, SessionError, SessionId, SessionManager, SessionManagerBuilder, WeakCache,
};

/// Compiles only if the type has the traits.
macro_rules! is {
    ($type:ty: $($trait:path),+) => {{
        fn is<T: ?Sized $(+ $trait)+>() {}
        is::<$type>();
    }};
}

/// Compiles only if the type does not have the trait: otherwise two implementations could be meant, and which one is not
/// said. (The idea is that of the crate static_assertions.)
macro_rules! is_not {
    ($type:ty: $trait:path) => {{
        trait Meant<Which> {
            fn one() {}
        }
        struct IfItHasIt;
        impl<T: ?Sized> Meant<()> for T {}
        impl<T: ?Sized + $trait> Meant<IfItHasIt> for T {}
        let _: fn() = <$type as Meant<_>>::one;
    }};
}

#[test]
fn what_is_shared_goes_to_other_threads() {
    is!(Cache<String, String>: Send, Sync, Unpin);
    is!(WeakCache<String, String>: Send, Sync, Unpin);
    is!(CacheBuilder<String, String>: Send, Unpin);
    is!(Iter<'static, String, String>: Send, Sync, Unpin);
    is!(Keys<'static, String, String>: Send, Sync, Unpin);
    is!(Drain<'static, String, String>: Send, Sync, Unpin);
    is!(EntryRef<'static, String, String>: Send, Sync, Unpin);
    is!(SessionManager<String>: Send, Sync, Unpin);
    is!(SessionManager<String, u64>: Send, Sync, Unpin);
    is!(SessionManagerBuilder<String>: Send, Unpin);
    is!(SessionId: Send, Sync, Unpin);
    is!(ManualClock: Send, Sync, Unpin);
    is!(BuildError: std::error::Error, Send, Sync);
    is!(LoadError<String>: Send, Sync);
    is!(SessionError: std::error::Error, Send, Sync);
}

#[test]
fn a_guard_stays_on_its_thread() {
    is_not!(ReadGuard<'static, u64, u64>: Send);
    is_not!(ReadGuard<'static, u64, u64>: Sync);
    is_not!(GuardIter<'static, u64, u64>: Send);
    is_not!(GuardIter<'static, u64, u64>: Sync);
}

#[test]
fn what_threads_must_not_share_makes_no_shared_cache() {
    is_not!(Cache<u64, Cell<u64>>: Send);
    is_not!(Cache<u64, Cell<u64>>: Sync);
    is_not!(Cache<Rc<u64>, u64>: Send);
    is_not!(Cache<Rc<u64>, u64>: Sync);
    is_not!(Cache<u64, std::sync::MutexGuard<'static, u64>>: Send);
    is_not!(Cache<u64, u64, Rc<std::hash::RandomState>>: Send);
    is_not!(WeakCache<u64, Rc<u64>>: Send);
    is_not!(Iter<'static, u64, Rc<u64>>: Send);
    is_not!(EntryRef<'static, u64, Cell<u64>>: Send);
    is_not!(SessionManager<Rc<u64>>: Send);
}

/// A panic leaves a cache whole. So whoever catches one may go on with it, and asserts nothing.
#[test]
fn a_cache_may_be_used_after_a_panic() {
    is!(Cache<String, String>: UnwindSafe, RefUnwindSafe);
    is!(WeakCache<String, String>: UnwindSafe, RefUnwindSafe);
    is!(SessionManager<String>: UnwindSafe, RefUnwindSafe);
    is!(ReadGuard<'static, String, String>: UnwindSafe, RefUnwindSafe);
    // Of the user's own keys and values the cache knows nothing.
    is_not!(Cache<u64, RefCell<u64>>: UnwindSafe);
    is_not!(SessionManager<Cell<u64>>: UnwindSafe);

    let cache: Cache<u64, u64> = Cache::new(10);
    assert!(catch_unwind(|| cache.get_with(1, || panic!("on purpose"))).is_err());
    assert_eq!(cache.get_with(1, || 2), 2);
}

/// What spawns futures asks whether they are `Send`. Code that knows neither the selector's key nor how it is had may spawn
/// its futures all the same.
#[test]
#[cfg(feature = "async")]
fn futures_of_a_selector_of_any_kind_go_to_other_threads() {
    use std::future::ready;
    use std::hash::BuildHasher;
    use tidewheel::{EntryKey, EntrySelector, Key, Op, Value};

    fn is_send(_: impl Future + Send) {}

    fn all<'c, K, V, S, G>(select: impl Fn() -> EntrySelector<'c, K, V, S, G>)
    where
        K: Key + Clone,
        V: Value + Clone + Default,
        S: BuildHasher + Send + Sync + 'static,
        G: EntryKey<K>,
    {
        is_send(select().or_insert_async(V::default()));
        is_send(select().or_default_async());
        is_send(select().or_insert_with_async(ready(V::default())));
        is_send(select().or_insert_with_if_async(ready(V::default()), |_| true));
        is_send(select().or_optionally_insert_with_async(ready(None)));
        is_send(select().or_try_insert_with_async(ready(Err(0))));
        is_send(select().and_upsert_with_async(|_| ready(V::default())));
        is_send(select().and_compute_with_async(|_| ready(Op::Nop)));
        is_send(select().and_try_compute_with_async(|_| ready(Err(0))));
    }

    let cache: Cache<String, u64> = Cache::new(10);
    all(|| cache.entry("k".to_string()));
    all(|| cache.entry_by_ref("k"));
}
