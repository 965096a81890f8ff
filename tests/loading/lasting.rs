//! Loaders that say how long their value lives.

use crate::bare::{Running, block_on};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, ManualClock};
use tokio::sync::oneshot;

const SECOND: Duration = Duration::from_secs(1);

type Numbers = Cache<u32, u32>;

fn cache(more: impl FnOnce(CacheBuilder<u32, u32>) -> CacheBuilder<u32, u32>) -> (Numbers, ManualClock) {
    let clock = ManualClock::new();
    (more(Cache::builder().clock(clock.clone())).build().unwrap(), clock)
}

/// Every form, with a loader that brings this.
type Load = fn(&Numbers, u32, Duration) -> u32;

const LOADS: &[(&str, Load)] = &[
    ("get_with_ttl", |cache, value, ttl| cache.get_with_ttl(1, || (value, ttl))),
    ("try_get_with_ttl", |cache, value, ttl| {
        cache.try_get_with_ttl(1, || Ok::<_, ()>((value, ttl))).unwrap()
    }),
    ("optionally_get_with_ttl", |cache, value, ttl| {
        cache.optionally_get_with_ttl(1, || Some((value, ttl))).unwrap()
    }),
    ("get_with_ttl_async", |cache, value, ttl| block_on(cache.get_with_ttl_async(1, async { (value, ttl) }))),
    ("try_get_with_ttl_async", |cache, value, ttl| {
        block_on(cache.try_get_with_ttl_async(1, async { Ok::<_, ()>((value, ttl)) })).unwrap()
    }),
    ("optionally_get_with_ttl_async", |cache, value, ttl| {
        block_on(cache.optionally_get_with_ttl_async(1, async { Some((value, ttl)) })).unwrap()
    }),
];

#[test]
fn a_value_lives_as_long_as_its_loader_says() {
    for (name, load) in LOADS {
        for own in [None, Some(30 * SECOND)] {
            let (cache, clock) = cache(|builder| match own {
                Some(ttl) => builder.time_to_live(ttl),
                None => builder,
            });
            for ttl in [2 * SECOND, 3600 * SECOND] {
                assert_eq!(load(&cache, 1, ttl), 1);
                assert_eq!(cache.remaining_ttl(&1), Some(ttl), "{name}");
                clock.advance(ttl - Duration::from_nanos(1));
                assert_eq!(load(&cache, 2, SECOND), 1, "{name}: it is there");
                clock.advance(Duration::from_nanos(1));
                assert_eq!(load(&cache, 3, Duration::MAX), 3, "{name}: it is over");
                assert_eq!(cache.remaining_ttl(&1), Some(Duration::MAX));
                cache.invalidate(&1);
                // Told, and not kept.
                assert_eq!((load(&cache, 4, Duration::ZERO), cache.get(&1)), (4, None), "{name}");
                cache.validate();
            }
        }
    }
}

/// The least of all that may end it.
#[test]
fn an_age_limit_and_a_time_to_idle_still_count() {
    let (cache, clock) = cache(|builder| builder.max_age(10 * SECOND).time_to_idle(4 * SECOND));
    for (_, load) in LOADS {
        assert_eq!(load(&cache, 1, 60 * SECOND), 1);
        assert_eq!(cache.remaining_ttl(&1), Some(4 * SECOND));
        assert!(cache.set_ttl(&1, 60 * SECOND) && cache.touch(&1));
        clock.advance(4 * SECOND + Duration::from_millis(20));
        assert_eq!(cache.get(&1), None);
    }
    cache.validate();
}

/// Loaded anew, it has what is said then, and its age.
#[test]
fn a_reload_says_it_anew() {
    for (name, load) in LOADS {
        let (cache, clock) = cache(|builder| builder.max_age(100 * SECOND).refresh_after_write(10 * SECOND));
        assert_eq!(load(&cache, 1, 50 * SECOND), 1);
        clock.advance(11 * SECOND);
        assert_eq!(load(&cache, 2, 20 * SECOND), 2, "{name}");
        assert_eq!(cache.remaining_ttl(&1), Some(20 * SECOND), "{name}");
        clock.advance(11 * SECOND);
        assert_eq!(load(&cache, 3, 3600 * SECOND), 3);
        assert_eq!(cache.remaining_ttl(&1), Some(78 * SECOND), "{name}: 22 s old by now");
        // And one that says nothing leaves what was said before.
        clock.advance(11 * SECOND);
        assert_eq!(cache.get_with(1, || 4), 4);
        assert_eq!(cache.remaining_ttl(&1), Some(67 * SECOND));
        cache.validate();
    }
}

/// Who waits gets the value, whatever form it asked by; who is dropped, fails or panics, hands over.
#[test]
fn all_forms_share_their_loads() {
    let (cache, _clock) = cache(|builder| builder);
    let (end, ended) = oneshot::channel::<u32>();
    let leading = cache.clone();
    let leader = Running::begun(async move {
        leading.get_with_ttl_async(1, async { (ended.await.unwrap(), 5 * SECOND) }).await
    });
    let waiting = cache.clone();
    let waiter = Running::begun(async move { waiting.get_with_async(1, async { unreachable!() }).await });
    let asking = cache.clone();
    let other = Running::begun(async move {
        asking.optionally_get_with_ttl_async(1, async { unreachable!("it is loaded") }).await
    });
    end.send(7).unwrap();
    assert_eq!((leader.finish(), waiter.finish(), other.finish()), (7, 7, Some(7)));
    assert_eq!(cache.remaining_ttl(&1), Some(5 * SECOND));
    cache.invalidate(&1);

    assert_eq!(*cache.try_get_with_ttl(1, || Err("no")).unwrap_err(), "no");
    assert_eq!(cache.optionally_get_with_ttl(1, || None), None);
    let panic = catch_unwind(AssertUnwindSafe(|| cache.get_with_ttl(1, || panic!("on purpose"))));
    assert!(panic.is_err());
    let nested = || (cache.get_with_ttl(1, || (1, SECOND)), SECOND);
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get_with_ttl(1, nested))).is_err(), "for itself");
    let (dropped, waiting) = (cache.clone(), cache.clone());
    let dropped = Running::begun(async move { dropped.get_with_ttl_async(1, std::future::pending()).await });
    let next = Running::begun(async move { waiting.get_with_ttl_async(1, async { (8, SECOND) }).await });
    drop(dropped);
    assert_eq!((next.finish(), cache.remaining_ttl(&1)), (8, Some(SECOND)));
    cache.validate();
}
