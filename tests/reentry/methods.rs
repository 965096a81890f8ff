//! The methods, a line each.

use super::world::{Id, Key, TestCache, done, key, value};
use std::time::Duration;
use tidewheel::{Life, ManualClock, Op};

pub(crate) struct Method {
    pub(crate) name: &'static str,
    /// Whether it may wait for the key's turn.
    pub(crate) takes_turn: bool,
    pub(crate) call: fn(&TestCache, &ManualClock, u64),
}

const fn plain(name: &'static str, call: fn(&TestCache, &ManualClock, u64)) -> Method {
    Method { name, takes_turn: false, call }
}

const fn in_turn(name: &'static str, call: fn(&TestCache, &ManualClock, u64)) -> Method {
    Method { name, takes_turn: true, call }
}

const LONG: Duration = Duration::from_secs(60);

pub(crate) const METHODS: &[Method] = &[
    plain("get", |c, _, k| done(c.get(&Id(k)))),
    plain("peek", |c, _, k| done(c.peek(&Id(k)))),
    plain("peek_with", |c, _, k| done(c.peek_with(&Id(k), |value| value.number))),
    plain("read", |c, _, k| done(c.read(&Id(k), |value| value.number))),
    plain("contains_key", |c, _, k| done(c.contains_key(&Id(k)))),
    plain("remaining_ttl", |c, _, k| done(c.remaining_ttl(&Id(k)))),
    plain("read_guard", |c, _, k| {
        let mut guard = c.read_guard();
        let _ = guard.get(&Id(k)).map(|value| value.number);
        let _ = guard.get_many(&[Id(k), Id(2)]).len();
        let _ = guard.entry(&Id(k)).map(|entry| (entry.key().number(), entry.age(), entry.remaining_ttl()));
        guard.refresh();
    }),
    plain("insert", |c, _, k| c.insert(key(k), value(k))),
    plain("insert, and it is taken back", |c, _, k| {
        c.insert(key(k), value(k));
        c.invalidate(&Id(k));
    }),
    plain("insert_with_ttl", |c, _, k| c.insert_with_ttl(key(k), value(k), Duration::ZERO)),
    plain("try_insert", |c, _, k| done(c.try_insert(key(k), value(k)))),
    plain("replace", |c, _, k| done(c.replace(&Id(k), value(k)))),
    plain("update", |c, _, k| done(c.update(&Id(k), |old| value(old.number)))),
    plain("update_with", |c, _, k| done(c.update_with(&Id(k), |old| (value(old.number), ())))),
    plain("optionally_update_with", |c, _, k| {
        done(c.optionally_update_with(&Id(k), |old| Some((value(old.number), ()))));
    }),
    plain("optionally_update_with, in vain", |c, _, k| {
        done(c.optionally_update_with(&Id(k), |_| None::<(_, ())>));
    }),
    plain("modify", |c, _, k| done(c.modify(&Id(k), |old| old.number))),
    plain("swap", |c, _, k| done(c.swap(key(k), value(k)))),
    plain("with_life, insert", |c, _, k| c.with_life(Life::Keep).insert(key(k), value(k))),
    plain("with_life, swap", |c, _, k| done(c.with_life(Life::Endless).swap(key(k), value(k)))),
    plain("with_life, replace", |c, _, k| done(c.with_life(Life::Ttl(LONG)).replace(&Id(k), value(k)))),
    plain("touch", |c, _, k| done(c.touch(&Id(k)))),
    plain("set_ttl", |c, _, k| done(c.set_ttl(&Id(k), LONG))),
    plain("persist", |c, _, k| done(c.persist(&Id(k)))),
    plain("invalidate", |c, _, k| done(c.invalidate(&Id(k)))),
    plain("remove", |c, _, k| done(c.remove(&Id(k)))),
    plain("remove_if", |c, _, k| done(c.remove_if(&Id(k), |_| true))),
    plain("rename", |c, _, k| done(c.rename(&Id(k), key(k + 1)))),
    plain("rename, to it", |c, _, k| done(c.rename(&Id(2), key(k)))),
    plain("rename_with", |c, _, k| done(c.rename_with(&Id(k), key(k + 1), |old| (value(old.number), ())))),
    plain("optionally_rename_with", |c, _, k| {
        done(c.optionally_rename_with(&Id(k), key(k + 1), |old| Some((value(old.number), ()))));
    }),
    plain("invalidate_all", |c, _, _| c.invalidate_all()),
    plain("refresh", |c, _, k| done(c.refresh(&Id(k)))),
    plain("get_many", |c, _, k| done(c.get_many(&[Id(k), Id(2)]))),
    plain("insert_many", |c, _, k| c.insert_many([(key(k), value(k)), (key(2), value(k))])),
    plain("iter", |c, _, _| done(c.iter().count())),
    plain("keys", |c, _, _| done(c.keys().count())),
    plain("read_guard, iter", |c, _, _| done(c.read_guard().iter().count())),
    plain("retain", |c, _, k| c.retain(|other, _| other.number() != k)),
    plain("drain", |c, _, _| done(c.drain().count())),
    plain("run_pending_tasks", |c, _, _| c.run_pending_tasks()),
    plain("a sweep", |_, clock, _| clock.advance(Duration::from_millis(1))),
    plain("entry_count", |c, _, _| done((c.entry_count(), c.weighted_size(), c.name().map(str::len)))),
    plain("expiring_within", |c, _, _| done(c.expiring_within(LONG))),
    #[cfg(feature = "serde")]
    plain("snapshot", |c, _, _| done(c.snapshot(&mut Vec::new()))),
    #[cfg(feature = "serde")]
    plain("restore", |c, _, _| {
        let mut bytes = Vec::new();
        c.snapshot(&mut bytes).unwrap();
        done(c.restore(&bytes[..], Duration::ZERO));
    }),
    plain("waiting", |c, _, _| done(c.waiting())),
    plain("policy", |c, _, _| done((c.policy(), c.stats()))),
    plain("set_max_capacity", |c, _, _| done(c.set_max_capacity(1_000))),
    plain("downgrade", |c, _, _| done(c.downgrade().upgrade())),
    plain("clone", |c, _, _| done(c.clone())),
    plain("validate", |c, _, _| c.validate()),
    in_turn("get_many_with", |c, _, k| {
        let bring =
            |keys: &[&Key]| keys.iter().map(|other| (key(other.number()), value(k))).collect::<Vec<_>>();
        done(c.get_many_with([key(k), key(5)], bring));
    }),
    in_turn("try_get_many_with", |c, _, k| {
        done(c.try_get_many_with([key(k), key(5)], |_| Err::<Vec<_>, _>(())));
    }),
    #[cfg(feature = "async")]
    in_turn("get_many_with_async", |c, _, k| {
        let bring = |keys: Vec<Key>| async move {
            keys.into_iter().map(|other| (other, value(k))).collect::<Vec<_>>()
        };
        done(on(c.get_many_with_async([key(k), key(5)], bring)));
    }),
    #[cfg(feature = "async")]
    in_turn("try_get_many_with_async", |c, _, k| {
        done(on(c.try_get_many_with_async([key(k), key(5)], |_| async { Err::<Vec<_>, _>(()) })));
    }),
    in_turn("entry, or_insert", |c, _, k| done(c.entry(key(k)).or_insert(value(k)))),
    in_turn("entry, or_default", |c, _, k| done(c.entry(key(k)).or_default())),
    in_turn("entry, or_insert_with", |c, _, k| done(c.entry(key(k)).or_insert_with(|| value(k)))),
    in_turn("entry, or_insert_with_if", |c, _, k| {
        done(c.entry(key(k)).or_insert_with_if(|| value(k), |_| true));
    }),
    in_turn("entry, or_optionally_insert_with", |c, _, k| {
        done(c.entry(key(k)).or_optionally_insert_with(|| None));
    }),
    in_turn("entry, or_try_insert_with", |c, _, k| done(c.entry(key(k)).or_try_insert_with(|| Err(())))),
    in_turn("entry, and_upsert_with", |c, _, k| done(c.entry(key(k)).and_upsert_with(|_| value(k)))),
    in_turn("entry_by_ref, and_upsert_with", |c, _, k| {
        done(c.entry_by_ref(&Id(k)).and_upsert_with(|_| value(k)));
    }),
    in_turn("entry, and_compute_with, put", |c, _, k| {
        done(c.entry(key(k)).and_compute_with(|_| Op::Put(value(k))));
    }),
    in_turn("entry, and_compute_with, remove", |c, _, k| {
        done(c.entry(key(k)).and_compute_with(|_| Op::Remove));
    }),
    in_turn("entry, and_compute_with, nothing", |c, _, k| {
        done(c.entry(key(k)).and_compute_with(|_| Op::Nop));
    }),
    in_turn("entry, and_try_compute_with", |c, _, k| {
        done(c.entry(key(k)).and_try_compute_with(|_| Err(())));
    }),
    in_turn("entry, timeout, or_insert_with", |c, _, k| {
        done(c.entry(key(k)).timeout(LONG).or_insert_with(|| value(k)));
    }),
    in_turn("entry, timeout, or_insert_with_if", |c, _, k| {
        done(c.entry(key(k)).timeout(LONG).or_insert_with_if(|| value(k), |_| true));
    }),
    in_turn("entry, timeout, and_compute_with", |c, _, k| {
        done(c.entry(key(k)).timeout(LONG).and_compute_with(|_| Op::Nop));
    }),
    #[cfg(feature = "async")]
    in_turn("entry, or_insert_with_async", |c, _, k| {
        done(on(c.entry(key(k)).or_insert_with_async(async { value(k) })));
    }),
    #[cfg(feature = "async")]
    in_turn("entry, and_compute_with_async", |c, _, k| {
        done(on(c.entry(key(k)).and_compute_with_async(|_| async { Op::Put(value(k)) })));
    }),
    #[cfg(feature = "async")]
    in_turn("entry, or_insert_async", |c, _, k| done(on(c.entry(key(k)).or_insert_async(value(k))))),
    #[cfg(feature = "async")]
    in_turn("entry, or_default_async", |c, _, k| done(on(c.entry(key(k)).or_default_async()))),
    #[cfg(feature = "async")]
    in_turn("entry, or_insert_with_if_async", |c, _, k| {
        done(on(c.entry(key(k)).or_insert_with_if_async(async { value(k) }, |_| true)));
    }),
    #[cfg(feature = "async")]
    in_turn("entry, or_optionally_insert_with_async", |c, _, k| {
        done(on(c.entry(key(k)).or_optionally_insert_with_async(async { None })));
    }),
    #[cfg(feature = "async")]
    in_turn("entry, or_try_insert_with_async", |c, _, k| {
        done(on(c.entry(key(k)).or_try_insert_with_async(async { Err(()) })));
    }),
    #[cfg(feature = "async")]
    in_turn("entry, and_upsert_with_async", |c, _, k| {
        done(on(c.entry(key(k)).and_upsert_with_async(|_| async { value(k) })));
    }),
    #[cfg(feature = "async")]
    in_turn("entry, and_try_compute_with_async", |c, _, k| {
        done(on(c.entry(key(k)).and_try_compute_with_async(|_| async { Err(()) })));
    }),
    in_turn("get_with", |c, _, k| done(c.get_with(key(k), || value(k)))),
    in_turn("get_with_by_ref", |c, _, k| done(c.get_with_by_ref(&Id(k), || value(k)))),
    in_turn("timeout, get_with", |c, _, k| done(c.timeout(LONG).get_with(key(k), || value(k)))),
    in_turn("try_get_with", |c, _, k| done(c.try_get_with(key(k), || Ok::<_, ()>(value(k))))),
    in_turn("try_get_with, in vain", |c, _, k| done(c.try_get_with(key(k), || Err(())))),
    in_turn("try_get_with_by_ref", |c, _, k| done(c.try_get_with_by_ref(&Id(k), || Err(())))),
    in_turn("timeout, try_get_with", |c, _, k| done(c.timeout(LONG).try_get_with(key(k), || Err(())))),
    in_turn("optionally_get_with", |c, _, k| done(c.optionally_get_with(key(k), || Some(value(k))))),
    in_turn("optionally_get_with, none", |c, _, k| done(c.optionally_get_with(key(k), || None))),
    in_turn("optionally_get_with_by_ref", |c, _, k| done(c.optionally_get_with_by_ref(&Id(k), || None))),
    in_turn("get_with_detached", |c, _, k| {
        done(c.get_with_detached(key(k), LONG, move || value(k), |job| job()));
    }),
    in_turn("try_get_with_detached", |c, _, k| {
        done(c.try_get_with_detached(key(k), LONG, || Err(()), |job| job()));
    }),
    in_turn("optionally_get_with_detached", |c, _, k| {
        done(c.optionally_get_with_detached(key(k), LONG, || None, |job| job()));
    }),
    #[cfg(feature = "async")]
    in_turn("get_with_detached_async", |c, _, k| {
        done(on(c.get_with_detached_async(key(k), async move { value(k) }, on)));
    }),
    #[cfg(feature = "async")]
    in_turn("try_get_with_detached_async", |c, _, k| {
        done(on(c.try_get_with_detached_async(key(k), async { Err(()) }, on)));
    }),
    #[cfg(feature = "async")]
    in_turn("optionally_get_with_detached_async", |c, _, k| {
        done(on(c.optionally_get_with_detached_async(key(k), async { None }, on)));
    }),
    in_turn("get_with_ttl", |c, _, k| done(c.get_with_ttl(key(k), || (value(k), LONG)))),
    in_turn("try_get_with_ttl", |c, _, k| done(c.try_get_with_ttl(key(k), || Err(())))),
    in_turn("optionally_get_with_ttl", |c, _, k| {
        done(c.optionally_get_with_ttl(key(k), || Some((value(k), LONG))));
    }),
    in_turn("timeout, optionally_get_with", |c, _, k| {
        done(c.timeout(LONG).optionally_get_with(key(k), || None));
    }),
    #[cfg(feature = "async")]
    in_turn("get_with_async", |c, _, k| done(on(c.get_with_async(key(k), async { value(k) })))),
    #[cfg(feature = "async")]
    in_turn("get_with_ttl_async", |c, _, k| {
        done(on(c.get_with_ttl_async(key(k), async { (value(k), LONG) })));
    }),
    #[cfg(feature = "async")]
    in_turn("try_get_with_ttl_async", |c, _, k| {
        done(on(c.try_get_with_ttl_async(key(k), async { Err(()) })));
    }),
    #[cfg(feature = "async")]
    in_turn("optionally_get_with_ttl_async", |c, _, k| {
        done(on(c.optionally_get_with_ttl_async(key(k), async { None })));
    }),
    #[cfg(feature = "async")]
    in_turn("get_with_by_ref_async", |c, _, k| {
        done(on(c.get_with_by_ref_async(&Id(k), async { value(k) })));
    }),
    #[cfg(feature = "async")]
    in_turn("try_get_with_async", |c, _, k| done(on(c.try_get_with_async(key(k), async { Err(()) })))),
    #[cfg(feature = "async")]
    in_turn("try_get_with_by_ref_async", |c, _, k| {
        done(on(c.try_get_with_by_ref_async(&Id(k), async { Err(()) })));
    }),
    #[cfg(feature = "async")]
    in_turn("optionally_get_with_async", |c, _, k| {
        done(on(c.optionally_get_with_async(key(k), async { None })));
    }),
    #[cfg(feature = "async")]
    in_turn("optionally_get_with_by_ref_async", |c, _, k| {
        done(on(c.optionally_get_with_by_ref_async(&Id(k), async { None })));
    }),
];

/// Polls a future until it is done; for ever if it never is.
#[cfg(feature = "async")]
pub(crate) fn on<R>(future: impl Future<Output = R>) -> R {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}
