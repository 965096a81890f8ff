//! A stand-in for crossbeam-epoch in loom models: the few calls that tidewheel uses, and a deferred
//! closure that runs at the earliest moment at which the contract allows it, which is when the last
//! guard is gone that was there at the `defer`. Real epochs run it later, so that a small model hardly
//! ever sees a node freed under a reader. It knows nothing of tidewheel.
//!
//! Its book-keeping lives in std state, which loom does not see. What loom does see is one
//! read-modify-write on each pin, unpin and defer, without which it would skip the very interleavings
//! that matter; and as much ordering as real epochs give, not more:
//!
//! - pin and defer each have a SeqCst fence, so that a guard which a `defer` does not wait for sees
//!   everything that was unlinked before that `defer`;
//! - what a guard did before it was dropped happens before the closures that waited for it.
//!
//! A collector keeps nothing once its guards are gone, so nothing piles up between two runs of a model.
#![forbid(unsafe_code)]

use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::mem;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps guards and deferred closures.
#[derive(Clone)]
pub struct Collector(Arc<Shared>);

struct Shared {
    /// Touched by everything that happens here; its value means nothing.
    visible: AtomicUsize,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    last_pin: u64,
    pinned: BTreeSet<u64>,
    deferred: Vec<Deferred>,
}

struct Deferred {
    /// The pins that it waits for.
    waits_for: BTreeSet<u64>,
    run: Box<dyn FnOnce() + Send>,
}

impl Collector {
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared { visible: AtomicUsize::new(0), books: Mutex::default() }))
    }

    #[must_use]
    pub fn register(&self) -> LocalHandle {
        LocalHandle(Rc::new(Local { shared: Arc::clone(&self.0), guards: Cell::new(0), pin: Cell::new(0) }))
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector { .. }")
    }
}

impl Shared {
    /// Never held across anything that loom sees: its threads are coroutines of one real thread.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pin(&self) -> u64 {
        // First on the books, then the fence; `defer` does it the other way round. Either the defer
        // finds this pin, or its fence comes first and this guard sees what was unlinked before it.
        self.visible.fetch_add(1, Ordering::Relaxed);
        let pin = {
            let mut books = self.books();
            books.last_pin += 1;
            let pin = books.last_pin;
            books.pinned.insert(pin);
            pin
        };
        fence(Ordering::SeqCst);
        pin
    }

    fn unpin(&self, pin: u64) {
        // While a model fails, loom's state is no longer there to be touched.
        if std::thread::panicking() {
            self.books().pinned.remove(&pin);
            return;
        }
        self.visible.fetch_add(1, Ordering::Release);
        let ripe = self.books().unpin(pin);
        if !ripe.is_empty() {
            // With the Release above, in every unpin: read through the read-modify-writes in between.
            fence(Ordering::Acquire);
            for run in ripe {
                run();
            }
        }
    }

    fn defer(&self, run: Box<dyn FnOnce() + Send>) {
        fence(Ordering::SeqCst);
        self.visible.fetch_add(1, Ordering::Relaxed);
        let mut books = self.books();
        let waits_for = books.pinned.clone();
        books.deferred.push(Deferred { waits_for, run });
    }
}

impl Books {
    /// Returns the closures that waited for nothing but this pin.
    fn unpin(&mut self, pin: u64) -> Vec<Box<dyn FnOnce() + Send>> {
        self.pinned.remove(&pin);
        for deferred in &mut self.deferred {
            deferred.waits_for.remove(&pin);
        }
        let (ripe, waiting) =
            mem::take(&mut self.deferred).into_iter().partition(|deferred| deferred.waits_for.is_empty());
        self.deferred = waiting;
        let ripe: Vec<Deferred> = ripe;
        ripe.into_iter().map(|deferred| deferred.run).collect()
    }
}

struct Local {
    shared: Arc<Shared>,
    guards: Cell<usize>,
    /// The pin of the outermost guard.
    pin: Cell<u64>,
}

/// A participant. Stays on its thread.
pub struct LocalHandle(Rc<Local>);

impl LocalHandle {
    #[must_use]
    pub fn pin(&self) -> Guard {
        let local = Rc::clone(&self.0);
        if local.guards.get() == 0 {
            local.pin.set(local.shared.pin());
        }
        local.guards.set(local.guards.get() + 1);
        Guard(local)
    }

    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.0.guards.get() > 0
    }
}

impl fmt::Debug for LocalHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalHandle { .. }")
    }
}

/// Keeps what was reachable at its pin from being reclaimed.
pub struct Guard(Rc<Local>);

impl Guard {
    /// Runs `run` once no guard is left that is there now, this one included.
    pub fn defer<F, R>(&self, run: F)
    where
        F: FnOnce() -> R + Send + 'static,
    {
        self.0.shared.defer(Box::new(move || drop(run())));
    }

    /// Nothing to push on: no closure ever waits longer than it must.
    pub fn flush(&self) {}

    /// Unpins and pins anew, if this is the only guard of its handle.
    pub fn repin(&mut self) {
        if self.0.guards.get() == 1 {
            self.0.guards.set(0);
            self.0.shared.unpin(self.0.pin.get());
            self.0.pin.set(self.0.shared.pin());
            self.0.guards.set(1);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let guards = self.0.guards.get() - 1;
        self.0.guards.set(guards);
        if guards == 0 {
            self.0.shared.unpin(self.0.pin.get());
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard { .. }")
    }
}
