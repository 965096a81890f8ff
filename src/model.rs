//! What the loom models may touch of the inside. Exists under loom only, and knows nothing that the
//! crate itself would need.

use crate::reaper::{self, Reaper, Sweep};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc, Weak};
use crate::table::{self, GracePeriod};
use crate::time::{Deadline, Keeper, Span, Tick, Trust};

/// When a toy cache wants to be visited next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is due already.
    Now,
    /// In a century: not in this model, in which time stands still, but other than never.
    Late,
    /// Never.
    Never,
}

impl Next {
    fn tick(self) -> Tick {
        match self {
            Self::Now => Tick::from_nanos(0),
            Self::Late => Tick::from_nanos(100 * 365 * 86_400 * 1_000_000_000),
            Self::Never => Tick::NEVER,
        }
    }
}

/// A toy cache, for models of the reaper alone.
pub trait Toy: Send + Sync + 'static {
    /// Does what is due.
    fn sweep(&self) -> Next;

    /// True while garbage waits.
    fn reclaim(&self) -> bool;
}

/// A toy in a reaper's care. Dropping it drops the toy, then the registration.
#[derive(Debug)]
pub struct Registered<T: Toy>(Arc<Cared<T>>);

struct Cared<T> {
    /// Loom does not see std's reference counts. This it does: touched by the sweep and by `let_go`.
    handles: AtomicUsize,
    toy: T,
    registration: std::sync::OnceLock<reaper::Registration>,
}

impl<T: Toy> Registered<T> {
    /// Puts `toy` in the care of `reaper`.
    #[must_use]
    pub fn new(reaper: &Reaper, toy: T) -> Self {
        let cared =
            Arc::new(Cared { handles: AtomicUsize::new(1), toy, registration: std::sync::OnceLock::new() });
        let weak: Weak<Cared<T>> = Arc::downgrade(&cared);
        let registration = reaper.register(weak).expect("loom's threads start");
        assert!(cared.registration.set(registration).is_ok());
        Self(cared)
    }

    /// There is something to do at `at`.
    pub fn wake(&self, at: Next) {
        assert!(self.0.registration.get().expect("set in `new`").wake(at.tick()));
    }

    /// Drops the handle, after steps that loom sees: models of just this drop need a sweep before,
    /// around and after it to be tried. (Others need not, and would have many more runs.)
    pub fn let_go(self) {
        self.0.registration.get().expect("set in `new`").touch();
        self.0.handles.fetch_sub(1, Ordering::Relaxed);
    }

    /// The toy.
    #[must_use]
    pub fn toy(&self) -> &T {
        &self.0.toy
    }
}

impl<T> std::fmt::Debug for Cared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cared { .. }")
    }
}

impl<T: Toy> Sweep for Cared<T> {
    fn sweep(&self, _: Tick) -> (Tick, Span) {
        self.handles.load(Ordering::Relaxed);
        (self.toy.sweep().tick(), Span::NONE)
    }

    fn reclaim(&self) -> bool {
        self.toy.reclaim()
    }
}

/// A pinned thread, for models of pins and grace periods alone.
#[derive(Debug)]
pub struct Pinned(table::Pin);

impl Pinned {
    /// Pins this thread.
    #[must_use]
    pub fn new() -> Self {
        Self(table::Pin::new())
    }

    /// Unpins and pins anew.
    pub fn renew(&mut self) {
        self.0.renew();
    }
}

impl Default for Pinned {
    fn default() -> Self {
        Self::new()
    }
}

/// A wait for the pins that are there.
#[derive(Debug)]
pub struct Waiting(GracePeriod);

impl Waiting {
    /// Begins and starts one.
    #[must_use]
    pub fn begin() -> Self {
        let grace = GracePeriod::begin();
        grace.start();
        Self(grace)
    }

    /// Looks whether grace periods are over.
    pub fn advance() {
        table::advance();
    }

    /// Whether this one is known to be over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

/// The kept time, for models of the timekeeper and its readers alone. Times are nanoseconds.
#[derive(Debug)]
pub struct KeptTime(Keeper);

/// A reader's thread.
#[derive(Debug)]
pub struct Reader(Trust);

impl KeptTime {
    /// Nobody keeps it, and there is no timekeeper.
    #[must_use]
    pub fn new() -> Self {
        Self(Keeper::new())
    }

    /// The timekeeper writes what it has read.
    pub fn write(&self, now: u64) {
        self.0.kept().write(Tick::from_nanos(now));
    }

    /// The timekeeper leaves.
    pub fn leave(&self) {
        self.0.kept().leave();
    }

    /// The timekeeper parks until it is called.
    pub fn rest(&self) {
        self.0.rest();
    }

    /// Whether it is parked, or about to be, and nobody has called it.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.0.rests()
    }

    /// A reader calls the timekeeper, which `start` starts.
    pub fn call(&self, start: impl FnOnce() -> std::io::Result<loom::thread::Thread>) {
        self.0.call_by(Tick::from_nanos(1), start);
    }

    /// Whether a reader, at the time `now`, sees an entry that ends at `end`.
    #[must_use]
    pub fn sees(&self, reader: &Reader, end: u64, now: u64) -> bool {
        let (deadline, now) = (Deadline::at(Tick::from_nanos(end)), Tick::from_nanos(now));
        self.0.kept().shows(deadline, &reader.0) || !deadline.is_over(self.0.check_by(&reader.0, now))
    }

    /// The same, for what a look tells.
    #[must_use]
    pub fn shows(&self, reader: &Reader, end: u64) -> bool {
        self.0.kept().shows(Deadline::at(Tick::from_nanos(end)), &reader.0)
    }
}

impl Default for KeptTime {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// One that has not read yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Trust::new())
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}
