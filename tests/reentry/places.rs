//! The places, a line each: what is done so that the cache runs the user's code there.

use super::world::{Captured, Code, Id, Kind, World, at, done, has_called, key, value};
use std::time::Duration;
use tidewheel::Op;

pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) code: Code,
    pub(crate) kind: Kind,
    /// Whether the call that runs the code may have the turn of key 1.
    pub(crate) has_turn: bool,
    /// Whether a task has the turn of key 1 that goes on once this place is left: to wait for it there is to wait for ever.
    pub(crate) holds_up: bool,
    pub(crate) set_off: fn(&World),
}

const fn plain(name: &'static str, code: Code, set_off: fn(&World)) -> Place {
    Place { name, code, kind: Kind::Plain, has_turn: false, holds_up: false, set_off }
}

const fn ruled(name: &'static str, code: Code, set_off: fn(&World)) -> Place {
    Place { name, code, kind: Kind::Ruled, has_turn: false, holds_up: false, set_off }
}

const fn of_kind(kind: Kind, place: Place) -> Place {
    Place { kind, ..place }
}

/// While the call has its key's turn.
const fn turn(place: Place) -> Place {
    Place { has_turn: true, ..place }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(1);

pub(crate) const PLACES: &[Place] = &[
    // Closures.
    plain("read", Code::Closure, |w| {
        w.cache.read(&Id(2), |_| at(Code::Closure));
    }),
    plain("read, of what it is about", Code::Closure, |w| {
        w.cache.insert(key(1), value(1));
        w.cache.read(&Id(1), |_| at(Code::Closure));
    }),
    plain("update", Code::Closure, |w| {
        w.cache.insert(key(1), value(1));
        w.cache.update(&Id(1), |_| {
            at(Code::Closure);
            value(6)
        });
    }),
    plain("remove_if, yes", Code::Closure, |w| {
        w.cache.insert(key(1), value(1));
        w.cache.remove_if(&Id(1), |_| {
            at(Code::Closure);
            true
        });
    }),
    plain("remove_if, no", Code::Closure, |w| {
        w.cache.insert(key(1), value(1));
        w.cache.remove_if(&Id(1), |_| {
            at(Code::Closure);
            false
        });
    }),
    plain("a guard that is held", Code::Closure, |w| {
        w.cache.insert(key(1), value(1));
        let guard = w.cache.read_guard();
        let entry = guard.entry(&Id(1));
        at(Code::Closure);
        done(entry.map(|entry| entry.value().number));
    }),
    turn(plain("get_with", Code::Closure, |w| done(w.cache.get_with(key(1), load)))),
    turn(plain("get_with_by_ref", Code::Closure, |w| done(w.cache.get_with_by_ref(&Id(1), load)))),
    turn(plain("timeout, get_with", Code::Closure, |w| done(w.cache.timeout(LONG).get_with(key(1), load)))),
    turn(plain("try_get_with", Code::Closure, |w| {
        done(w.cache.try_get_with(key(1), || Ok::<_, ()>(load())));
    })),
    turn(plain("try_get_with, in vain", Code::Closure, |w| {
        done(w.cache.try_get_with_by_ref(&Id(1), || {
            at(Code::Closure);
            Err(())
        }));
    })),
    turn(plain("timeout, try_get_with", Code::Closure, |w| {
        done(w.cache.timeout(LONG).try_get_with(key(1), || Ok::<_, ()>(load())));
    })),
    turn(plain("optionally_get_with", Code::Closure, |w| {
        done(w.cache.optionally_get_with(key(1), || Some(load())));
    })),
    turn(plain("optionally_get_with, none", Code::Closure, |w| {
        done(w.cache.optionally_get_with_by_ref(&Id(1), || {
            at(Code::Closure);
            None
        }));
    })),
    turn(plain("timeout, optionally_get_with", Code::Closure, |w| {
        done(w.cache.timeout(LONG).optionally_get_with(key(1), || Some(load())));
    })),
    turn(plain("get_with, over what has expired", Code::Closure, |w| {
        w.cache.insert_with_ttl(key(1), value(1), SHORT);
        w.clock.advance_without_sweeping(LONG);
        done(w.cache.get_with(key(1), load));
    })),
    turn(plain("get_with, what its loader captured", Code::Closure, |w| {
        let captured = Captured;
        done(w.cache.get_with(key(1), move || {
            let _captured = captured;
            value(1)
        }));
    })),
    plain("get_with, what a loader captured that does not run", Code::Closure, |w| {
        w.cache.insert(key(1), value(1));
        let captured = Captured;
        done(w.cache.get_with(key(1), move || {
            let _captured = captured;
            value(1)
        }));
    }),
    turn(plain("get_many_with", Code::Closure, |w| {
        done(w.cache.get_many_with([key(1)], |_| [(key(1), load())]));
    })),
    turn(plain("entry, or_insert_with", Code::Closure, |w| done(w.cache.entry(key(1)).or_insert_with(load)))),
    turn(plain("entry, or_insert_with_if, the question", Code::Closure, |w| {
        w.cache.insert(key(1), value(1));
        done(w.cache.entry(key(1)).or_insert_with_if(|| value(1), |_| load().number == 1));
    })),
    turn(plain("entry, and_upsert_with", Code::Closure, |w| {
        w.cache.insert(key(1), value(1));
        done(w.cache.entry(key(1)).and_upsert_with(|_| load()));
    })),
    turn(plain("entry, and_compute_with, put", Code::Closure, |w| {
        done(w.cache.entry(key(1)).and_compute_with(|_| Op::Put(load())));
    })),
    turn(plain("entry, and_compute_with, remove", Code::Closure, |w| {
        w.cache.insert(key(1), value(1));
        done(w.cache.entry(key(1)).and_compute_with(|_| {
            at(Code::Closure);
            Op::Remove
        }));
    })),
    turn(plain("entry, and_try_compute_with", Code::Closure, |w| {
        done(w.cache.entry(key(1)).and_try_compute_with(|_| {
            at(Code::Closure);
            Err(())
        }));
    })),
    plain("retain, yes", Code::Closure, |w| w.cache.retain(|_, _| load().number == 1)),
    plain("retain, no", Code::Closure, |w| w.cache.retain(|_, _| load().number != 1)),
    plain("the iterator of insert_many", Code::Closure, |w| {
        w.cache.insert_many([1, 5].into_iter().map(|k| (key(k), load())));
    }),
    plain("between two steps of iter", Code::Closure, |w| w.cache.iter().for_each(|_| at(Code::Closure))),
    plain("between two steps of drain", Code::Closure, |w| w.cache.drain().for_each(|_| at(Code::Closure))),
    turn(of_kind(
        Kind::Stale,
        plain("get_with, of what is old", Code::Closure, |w| {
            w.cache.insert(key(1), value(1));
            w.clock.advance_without_sweeping(LONG / 4);
            done(w.cache.get_with(key(1), load));
        }),
    )),
    // What is told, and asked for, without a caller.
    of_kind(Kind::Told, plain("a warning", Code::Warning, |w| w.clock.advance(LONG - LONG / 20))),
    of_kind(Kind::Told, plain("a batch of what expired", Code::Batch, |w| w.clock.advance(2 * LONG))),
    of_kind(
        Kind::Told,
        plain("the executor", Code::Executor, |w| {
            w.clock.advance_without_sweeping(LONG / 4);
            done(w.cache.get_with(key(2), || value(1)));
        }),
    ),
    turn(of_kind(
        Kind::Told,
        plain("a reload", Code::Reload, |w| {
            w.cache.insert(key(1), value(1));
            w.clock.advance_without_sweeping(LONG / 4);
            done(w.cache.get_with(key(1), || value(1)));
        }),
    )),
    // What is asked about values.
    plain("the weigher, of insert", Code::Weigher, |w| w.cache.insert(key(1), value(1))),
    plain("the weigher, of update", Code::Weigher, |w| {
        w.cache.update(&Id(2), |_| value(1));
    }),
    plain("the weigher, of rename", Code::Weigher, |w| done(w.cache.rename(&Id(2), key(1)))),
    plain("the weigher, of rename_with", Code::Weigher, |w| {
        done(w.cache.rename_with(&Id(2), key(1), |_| (value(1), ())));
    }),
    turn(plain("the weigher, of get_with", Code::Weigher, |w| done(w.cache.get_with(key(1), || value(1))))),
    plain("pin_if, of insert", Code::Pin, |w| w.cache.insert(key(1), value(1))),
    plain("pin_if, of update", Code::Pin, |w| {
        w.cache.update(&Id(2), |_| value(1));
    }),
    plain("pin_if, of rename", Code::Pin, |w| done(w.cache.rename(&Id(2), key(1)))),
    turn(plain("pin_if, of get_with", Code::Pin, |w| done(w.cache.get_with(key(1), || value(1))))),
    turn(plain("pin_if, of and_upsert_with", Code::Pin, |w| {
        done(w.cache.entry(key(1)).and_upsert_with(|_| value(1)));
    })),
    ruled("the Expiry, of insert", Code::OnCreate, |w| w.cache.insert(key(1), value(1))),
    ruled("the Expiry, of try_insert", Code::OnCreate, |w| done(w.cache.try_insert(key(1), value(1)))),
    ruled("the Expiry, of an insert over another", Code::OnUpdate, |w| w.cache.insert(key(2), value(1))),
    ruled("the Expiry, of replace", Code::OnUpdate, |w| done(w.cache.replace(&Id(2), value(1)))),
    ruled("the Expiry, of update", Code::OnUpdate, |w| done(w.cache.update(&Id(2), |_| value(1)))),
    ruled("the Expiry, of rename_with", Code::OnUpdate, |w| {
        done(w.cache.rename_with(&Id(2), key(1), |_| (value(1), ())));
    }),
    ruled("the Expiry, of get", Code::OnRead, |w| done(w.cache.get(&Id(2)))),
    turn(ruled("the Expiry, of get_with", Code::OnCreate, |w| {
        done(w.cache.get_with(key(1), || value(1)));
    })),
    turn(ruled("the weigher, of get_with, beside an Expiry", Code::Weigher, |w| {
        done(w.cache.get_with(key(1), || value(1)));
    })),
    turn(plain("the weigher, of and_upsert_with", Code::Weigher, |w| {
        done(w.cache.entry(key(1)).and_upsert_with(|_| value(1)));
    })),
    turn(ruled("the Expiry, of and_upsert_with", Code::OnUpdate, |w| {
        w.cache.insert(key(1), value(1));
        done(w.cache.entry(key(1)).and_upsert_with(|_| value(1)));
    })),
    // The listener.
    plain("the listener, of drain", Code::Listener, |w| done(w.cache.drain().count())),
    plain("the listener, of retain", Code::Listener, |w| w.cache.retain(|_, _| false)),
    plain("the listener, of insert_many", Code::Listener, |w| w.cache.insert_many([(key(2), value(1))])),
    plain("the listener, of a computation", Code::Listener, |w| {
        w.cache.insert(key(1), value(1));
        done(w.cache.entry(key(1)).and_compute_with(|_| Op::Remove));
    }),
    plain("the listener, of invalidate", Code::Listener, |w| {
        w.cache.insert(key(1), value(1));
        w.cache.invalidate(&Id(1));
    }),
    plain("the listener, of remove", Code::Listener, |w| {
        w.cache.insert(key(1), value(1));
        done(w.cache.remove(&Id(1)));
    }),
    plain("the listener, of insert", Code::Listener, |w| w.cache.insert(key(2), value(1))),
    plain("the listener, of update", Code::Listener, |w| done(w.cache.update(&Id(2), |_| value(1)))),
    plain("the listener, of invalidate_all", Code::Listener, |w| w.cache.invalidate_all()),
    plain("the listener, of set_max_capacity", Code::Listener, |w| {
        w.cache.insert(key(1), value(1));
        w.cache.set_max_capacity(1).unwrap();
        w.cache.set_max_capacity(1_000).unwrap();
    }),
    plain("the listener, of an insert that evicts", Code::Listener, |w| {
        w.cache.set_max_capacity(2).unwrap();
        w.cache.insert(key(5), value(5));
        w.cache.insert(key(1), value(1));
    }),
    plain("the listener, of a load that evicts", Code::Listener, |w| {
        w.cache.set_max_capacity(2).unwrap();
        w.cache.insert(key(5), value(5));
        done(w.cache.get_with(key(1), || value(1)));
    }),
    plain("the listener, of an insert over what has expired", Code::Listener, |w| {
        over(w, 1);
        w.cache.insert(key(1), value(2));
    }),
    plain("the listener, of an insert_many over what has expired", Code::Listener, |w| {
        over(w, 1);
        w.cache.insert_many([(key(1), value(2))]);
    }),
    plain("the listener, of a load where something has expired", Code::Listener, |w| {
        over(w, 1);
        done(w.cache.get_with(key(1), || value(2)));
    }),
    plain("the listener, of a computation where something has expired", Code::Listener, |w| {
        over(w, 1);
        done(w.cache.entry(key(1)).and_upsert_with(|_| value(2)));
    }),
    plain("the listener, of an invalidate_all of what has expired", Code::Listener, |w| {
        over(w, 1);
        w.cache.invalidate_all();
    }),
    plain("the listener, of a sweep", Code::Listener, |w| w.clock.advance(2 * LONG)),
    plain("the listener, of run_pending_tasks", Code::Listener, |w| {
        w.clock.advance_without_sweeping(2 * LONG);
        w.cache.run_pending_tasks();
    }),
    // Clones.
    plain("a value's clone, of get", Code::ValueClone, |w| done(w.cache.get(&Id(2)))),
    plain("a value's clone, of remove", Code::ValueClone, |w| done(w.cache.remove(&Id(2)))),
    plain("a value's clone, of rename", Code::ValueClone, |w| done(w.cache.rename(&Id(2), key(1)))),
    turn(plain("a value's clone, of get_with", Code::ValueClone, |w| {
        done(w.cache.get_with(key(1), || value(1)));
    })),
    turn(plain("a value's clone, of and_upsert_with", Code::ValueClone, |w| {
        w.cache.insert(key(1), value(1));
        done(w.cache.entry(key(1)).and_upsert_with(|_| value(1)));
    })),
    plain("a value's clone, of iter", Code::ValueClone, |w| done(w.cache.iter().count())),
    plain("a value's clone, of get_many", Code::ValueClone, |w| done(w.cache.get_many(&[Id(2)]))),
    plain("a key's clone, of replace", Code::KeyClone, |w| done(w.cache.replace(&Id(2), value(1)))),
    plain("a key's clone, of update", Code::KeyClone, |w| done(w.cache.update(&Id(2), |_| value(1)))),
    // Destructors.
    plain("a value's destructor, of run_pending_tasks", Code::ValueDrop, |w| {
        w.cache.invalidate(&Id(2));
        w.cache.run_pending_tasks();
    }),
    plain("a key's destructor, of run_pending_tasks", Code::KeyDrop, |w| {
        w.cache.invalidate(&Id(2));
        w.cache.run_pending_tasks();
    }),
    plain("a value's destructor, of a sweep", Code::ValueDrop, |w| w.clock.advance(2 * LONG)),
    plain("a value's destructor, of writers", Code::ValueDrop, write_a_lot),
    plain("a key's destructor, of writers", Code::KeyDrop, write_a_lot),
    Place {
        kind: Kind::Quiet,
        ..plain(
            "a value's destructor, of loads over what has expired",
            Code::ValueDrop,
            load_what_has_expired,
        )
    },
    plain("a key's destructor, of try_insert", Code::KeyDrop, |w| {
        w.cache.insert(key(1), value(1));
        done(w.cache.try_insert(key(1), value(1)));
    }),
    plain("a key's destructor, of a hit", Code::KeyDrop, |w| done(w.cache.get_with(key(2), || value(1)))),
    plain("a key's destructor, of a load that fails", Code::KeyDrop, |w| {
        done(w.cache.try_get_with(key(1), || Err(())));
    }),
    plain("a key's destructor, of a load that is invalidated", Code::KeyDrop, |w| {
        done(w.cache.get_with(key(1), || {
            w.cache.invalidate(&Id(1));
            value(1)
        }));
    }),
    plain("a value's destructor, of a load that is invalidated", Code::ValueDrop, |w| {
        std::mem::forget(w.cache.get_with(key(1), || {
            w.cache.invalidate(&Id(1));
            value(1)
        }));
    }),
    plain("a key's destructor, of a loader that panics", Code::KeyDrop, |w| {
        let load = || w.cache.get_with(key(1), || std::panic::resume_unwind(Box::new(())));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(load)).is_err());
    }),
    plain("a value's destructor, of too heavy a value", Code::ValueDrop, |w| {
        w.cache.set_max_capacity(0).unwrap();
        w.cache.insert(key(1), value(1));
        w.cache.set_max_capacity(1_000).unwrap();
        // Evicted ones, if they have not gone yet.
        w.cache.run_pending_tasks();
    }),
    // Futures.
    #[cfg(feature = "async")]
    turn(plain("get_with_async", Code::Closure, |w| {
        done(super::methods::on(w.cache.get_with_async(key(1), async { load() })));
    })),
    #[cfg(feature = "async")]
    turn(plain("get_with_by_ref_async", Code::Closure, |w| {
        done(super::methods::on(w.cache.get_with_by_ref_async(&Id(1), async { load() })));
    })),
    #[cfg(feature = "async")]
    turn(plain("try_get_with_async", Code::Closure, |w| {
        done(super::methods::on(w.cache.try_get_with_async(key(1), async { Ok::<_, ()>(load()) })));
    })),
    #[cfg(feature = "async")]
    turn(plain("optionally_get_with_async", Code::Closure, |w| {
        done(super::methods::on(w.cache.optionally_get_with_async(key(1), async { Some(load()) })));
    })),
    #[cfg(feature = "async")]
    plain("get_with_async, what a future captured that is cancelled", Code::Closure, |w| {
        let captured = Captured;
        let mut future = Box::pin(w.cache.get_with_async(key(1), async move {
            let _captured = captured;
            std::future::pending().await
        }));
        assert!(poll(&mut future, std::task::Waker::noop()).is_none());
        done(future);
    }),
    #[cfg(feature = "async")]
    plain("the waker of one who is told", Code::Waker, |w| {
        let cache = w.cache.clone();
        let waker = std::task::Waker::from(std::sync::Arc::new(Calling));
        let mut waiter = Box::pin(async move { cache.get_with_async(key(1), async { value(6) }).await });
        done(w.cache.get_with(key(1), || {
            // (Not a load from inside a loader: it does not wait on this thread.)
            std::thread::scope(|scope| {
                scope.spawn(|| assert!(poll(&mut waiter, &waker).is_none()));
            });
            value(1)
        }));
        assert!(poll(&mut waiter, &waker).is_some());
    }),
    #[cfg(feature = "async")]
    Place {
        holds_up: true,
        ..plain("the waker of one who has the turn", Code::Waker, |w| {
            let waker = std::task::Waker::from(std::sync::Arc::new(Calling));
            let mut leader = Box::pin(w.cache.get_with_async(key(1), std::future::pending()));
            assert!(poll(&mut leader, std::task::Waker::noop()).is_none());
            let mut waiter = Box::pin(w.cache.get_with_async(key(1), async { value(6) }));
            assert!(poll(&mut waiter, &waker).is_none());
            w.cache.insert(key(1), value(1));
            done(leader);
            assert!(poll(&mut waiter, &waker).is_some());
        })
    },
];

/// A loader.
/// A key that has expired and is still in memory.
fn over(w: &World, number: u64) {
    w.cache.insert(key(number), value(number));
    assert!(w.cache.set_ttl(&Id(number), Duration::ZERO));
}

fn load() -> super::world::Value {
    at(Code::Closure);
    value(1)
}

/// Writers drop what is reclaimable when they seal a batch.
fn write_a_lot(w: &World) {
    for number in 0..2_000 {
        w.cache.insert(key(100), value(number));
        if has_called() {
            break;
        }
    }
}

/// Loads of key 1 that find an expired entry: that is all there is of garbage, so a batch is full just when a load has
/// taken out what it is about to load anew.
fn load_what_has_expired(w: &World) {
    for _ in 0..2_000 {
        w.cache.insert_with_ttl(key(1), value(1), SHORT);
        w.clock.advance_without_sweeping(2 * SHORT);
        done(w.cache.optionally_get_with(key(1), || None));
        if has_called() {
            break;
        }
    }
}

#[cfg(feature = "async")]
struct Calling;

#[cfg(feature = "async")]
impl std::task::Wake for Calling {
    fn wake(self: std::sync::Arc<Self>) {
        at(Code::Waker);
    }
}

#[cfg(feature = "async")]
fn poll<F: Future + ?Sized>(
    future: &mut std::pin::Pin<Box<F>>,
    waker: &std::task::Waker,
) -> Option<F::Output> {
    match future.as_mut().poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
