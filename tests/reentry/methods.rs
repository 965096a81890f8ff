//! The methods, a line each.

use super::world::{Id, TestCache, done, key, value};
use std::time::Duration;
use tidewheel::ManualClock;

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
    plain("read", |c, _, k| done(c.read(&Id(k), |value| value.number))),
    plain("contains_key", |c, _, k| done(c.contains_key(&Id(k)))),
    plain("remaining_ttl", |c, _, k| done(c.remaining_ttl(&Id(k)))),
    plain("read_guard", |c, _, k| {
        let mut guard = c.read_guard();
        let _ = guard.get(&Id(k)).map(|value| value.number);
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
    plain("touch", |c, _, k| done(c.touch(&Id(k)))),
    plain("set_ttl", |c, _, k| done(c.set_ttl(&Id(k), LONG))),
    plain("persist", |c, _, k| done(c.persist(&Id(k)))),
    plain("invalidate", |c, _, k| done(c.invalidate(&Id(k)))),
    plain("remove", |c, _, k| done(c.remove(&Id(k)))),
    plain("remove_if", |c, _, k| done(c.remove_if(&Id(k), |_| true))),
    plain("rename", |c, _, k| done(c.rename(&Id(k), key(k + 1)))),
    plain("rename, to it", |c, _, k| done(c.rename(&Id(2), key(k)))),
    plain("invalidate_all", |c, _, _| c.invalidate_all()),
    plain("run_pending_tasks", |c, _, _| c.run_pending_tasks()),
    plain("a sweep", |_, clock, _| clock.advance(Duration::from_millis(1))),
    plain("entry_count", |c, _, _| done((c.entry_count(), c.weighted_size(), c.name().map(str::len)))),
    plain("expiring_within", |c, _, _| done(c.expiring_within(LONG))),
    plain("policy", |c, _, _| done((c.policy(), c.stats()))),
    plain("set_max_capacity", |c, _, _| done(c.set_max_capacity(1_000))),
    plain("downgrade", |c, _, _| done(c.downgrade().upgrade())),
    plain("clone", |c, _, _| done(c.clone())),
    plain("validate", |c, _, _| c.validate()),
    in_turn("get_with", |c, _, k| done(c.get_with(key(k), || value(k)))),
    in_turn("get_with_by_ref", |c, _, k| done(c.get_with_by_ref(&Id(k), || value(k)))),
    in_turn("get_with_timeout", |c, _, k| done(c.get_with_timeout(key(k), LONG, || value(k)))),
    in_turn("try_get_with", |c, _, k| done(c.try_get_with(key(k), || Ok::<_, ()>(value(k))))),
    in_turn("try_get_with, in vain", |c, _, k| done(c.try_get_with(key(k), || Err(())))),
    in_turn("try_get_with_by_ref", |c, _, k| done(c.try_get_with_by_ref(&Id(k), || Err(())))),
    in_turn("try_get_with_timeout", |c, _, k| done(c.try_get_with_timeout(key(k), LONG, || Err(())))),
    in_turn("optionally_get_with", |c, _, k| done(c.optionally_get_with(key(k), || Some(value(k))))),
    in_turn("optionally_get_with, none", |c, _, k| done(c.optionally_get_with(key(k), || None))),
    in_turn("optionally_get_with_by_ref", |c, _, k| done(c.optionally_get_with_by_ref(&Id(k), || None))),
    in_turn("optionally_get_with_timeout", |c, _, k| {
        done(c.optionally_get_with_timeout(key(k), LONG, || None));
    }),
    #[cfg(feature = "async")]
    in_turn("get_with_async", |c, _, k| done(on(c.get_with_async(key(k), async { value(k) })))),
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
