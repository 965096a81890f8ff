//! Forks: what was going on in threads that the child does not have.
//!
//! A fork copies the memory, and one thread. A lock that another thread held then is never opened
//! in the child, what that thread was about to write is half written, and a thread that was expected
//! does not come. So a part of the crate that leaves something of that kind to a child
//! registers as an [`Heir`]. Before the fork, on the thread that forks, all heirs' locks are taken (as
//! an allocator takes its own), so that nobody is in the middle of anything. After the fork the parent
//! opens them again. So does the child, after it has put in order what belonged to threads that it
//! does not have.
//!
//! None of this waits for ever. The fork waits a second at most, for all locks together. A lock that is
//! still held then is left as it is: somebody's `Eq` may sleep under it, or a writer may make
//! room for something very heavy. Where the C library was bypassed, the crate is not told of the fork, and all
//! locks are left. A thread that waits in a child for a lock that may have been lost in this way, or
//! for one of the small locks that have no heir, gives up after a while (`sync/mutex.rs`).
//!
//! Knows heirs, and nothing of what they inherit. The kept time is no heir, since it has no lock. A
//! child that learns of its fork at all learns that nobody keeps the time there (`time/keeper/`).
//!
//! # What has an heir
//!
//! The rule: what a thread raises, sets or takes, and lowers, clears or gives back later, outside of
//! one and the same critical section, needs an heir. In the child the part of the forking thread
//! stays, since that goes on; the part of all others goes. What has no lock is counted for each
//! thread (`process/hand.rs`).
//!
//! | what | its heir |
//! |---|---|
//! | a shard's lock; when its reaper is to come; grace periods that are to be started | `shard/fork.rs` |
//! | flights, which one call leads, and watches | `Flights::disown`; what waits aside: `Call::listen` |
//! | claims of old values | `RefreshTimes::disown` |
//! | the right to keep room, and room that is kept | `Account::hold`: while it is held, nobody keeps any |
//! | `Clearings::begun` and `done` | `Clearings::inherit` |
//! | callers that change the capacity | `Bound::hold` |
//! | permits for sessions | `session/heir.rs` |
//! | claims of places in an owner's group; holds of tracks, and their ends | `owners/index.rs`, `owners/tracks.rs`. The forking thread's own count as released, too. That shows only where its code in between has another thread look at that owner |
//! | the reaper's thread, its promises, and who joins it | `reaper/mod.rs` |
//! | pins and their slots; numbers of counters of reads | the errand of `cache/fork.rs` |
//! | the kept time | the errand of `time/keeper/`, which comes first |
//! | statics that are made once, lists of clocks | none: they are made, and changed, while nobody forks (`undisturbed`) |
//!
//! What needs none:
//!
//! - Counters that are only raised (statistics, epochs, numbers of flights). Nobody waits for them
//!   to come down. Statistics miss what other threads would still have counted.
//! - Grace periods that were begun: they have numbers, and end in their order, whoever begins the
//!   next one. (Without a barrier for the process there is crossbeam-epoch. There each is started anew,
//!   since the thread that was to start it may be missing. Its pins cannot be attributed: see the
//!   limitations.)
//! - Entries that another thread had taken out, and its garbage: nobody in the child looks for them.
//!   They stay in memory, and are told to nobody.
//! - A warning that another thread was about to give: its entry counts as warned of.
//! - Marks on a thread (what it leads, that it drops values, what it removes sessions for): the
//!   forking thread's own go on, and others' are not in the child.
//! - How many threads sleep for a mutex: a figure, by which a late reaper naps.
//! - An inbox's lock: it is held for some instructions. Where another thread was just telling the
//!   forking thread's own call, that call panics in the child.

use crate::sync::{Alarm, Arc, Mutex, MutexGuard, Weak};

/// Who has something to leave to a fork's child.
pub(crate) trait Heir: Send + Sync {
    /// Before the fork. Takes its locks, where it gets them in time.
    fn hold(self: Arc<Self>, patience: &Alarm) -> Vec<Box<dyn Held>>;
}

/// A lock that is held while the process forks.
pub(crate) trait Held {
    /// In the child, before the lock is opened: puts in order what belonged to other threads. Runs no user code.
    fn inherit(&mut self);
}

/// A lock that is held, and whoever it belongs to.
pub(crate) struct Kept<A: ?Sized, T: 'static> {
    /// In this order: the lock is opened before its owner is let go of.
    guard: MutexGuard<'static, T>,
    _owner: Arc<A>,
}

impl<A: ?Sized, T: 'static> Kept<A, T> {
    /// Takes a lock that lies in `owner`, if it can be had in time.
    pub(crate) fn new(owner: &Arc<A>, find: impl FnOnce(&A) -> &Mutex<T>, patience: &Alarm) -> Option<Self> {
        let owner = Arc::clone(owner);
        let guard = find(&owner).lock_within(patience)?;
        // SAFETY: P2.
        let guard = unsafe { std::mem::transmute::<MutexGuard<'_, T>, MutexGuard<'static, T>>(guard) };
        Some(Self { guard, _owner: owner })
    }

    pub(crate) fn content(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(all(unix, not(any(miri, tidewheel_loom, tidewheel_shuttle))))]
mod imp {
    use super::{Alarm, Arc, Heir, Held, Mutex, MutexGuard, Weak};
    use crate::roster::Roster;
    use crate::sync::atomic::{AtomicU32, Ordering};
    use crate::sync::{Forks, OnceLock, catch, thread_local};
    use std::cell::RefCell;
    use std::ffi::c_int;
    use std::time::Duration;

    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<extern "C" fn()>,
            parent: Option<extern "C" fn()>,
            child: Option<extern "C" fn()>,
        ) -> c_int;
    }

    /// How long a fork waits for all locks together.
    const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

    struct Registry {
        /// Whether the C library knows what to call at a fork.
        is_known: bool,
        /// First the heirs with locks that may be held while others' are taken, then the others.
        heirs: [Roster<Weak<dyn Heir>>; 2],
        /// What else is to be done in a child.
        errands: Vec<fn()>,
    }

    static REGISTRY: Mutex<Registry> =
        Mutex::new(Registry { is_known: false, heirs: [Roster::new(), Roster::new()], errands: Vec::new() });
    /// What a child does before everything else, without a lock. (There is one such thing in the crate.)
    static FIRST: OnceLock<fn()> = OnceLock::new();
    /// The number of this process, as far as it was told; 0 before there is anything to inherit, or where the system does not tell.
    static NUMBER: AtomicU32 = AtomicU32::new(0);

    /// What is held while the process forks. Opened in this order; an owner that nobody else has any more goes last.
    struct Standstill {
        held: Vec<Box<dyn Held>>,
        registry: MutexGuard<'static, Registry>,
        owners: Vec<Arc<dyn Heir>>,
    }

    thread_local! {
        /// From before the fork until after it, on the thread that forks.
        static STANDSTILL: RefCell<Option<Standstill>> = const { RefCell::new(None) };
    }

    /// An heir's place in the list of them.
    #[derive(Debug)]
    pub(crate) struct Registered {
        rank: usize,
        number: usize,
    }

    impl Drop for Registered {
        fn drop(&mut self) {
            let heir = REGISTRY.lock().heirs[self.rank].remove(self.number);
            // May free the heir's memory: not under the lock.
            drop(heir);
        }
    }

    pub(crate) fn register(rank: usize, heir: Weak<dyn Heir>, errand: fn()) -> Registered {
        let mut registry = REGISTRY.lock();
        registry.know();
        if !registry.errands.contains(&errand) {
            registry.errands.push(errand);
        }
        Registered { rank, number: registry.heirs[rank].add(heir) }
    }

    pub(crate) fn undisturbed<R>(f: impl FnOnce() -> R) -> R {
        let mut registry = REGISTRY.lock();
        registry.know();
        f()
    }

    pub(crate) fn if_undisturbed<R>(f: impl FnOnce() -> R) -> Option<R> {
        let mut registry = REGISTRY.try_lock()?;
        registry.know();
        Some(f())
    }

    pub(crate) fn come_first(first: fn()) {
        let _ = FIRST.set(first);
    }

    /// Whether this process has come out of a fork of which the crate was not told.
    fn is_untold() -> bool {
        // ORDERING: Relaxed; it changes in a process that has one thread.
        let number = NUMBER.load(Ordering::Relaxed);
        number != 0 && ![number, 0].contains(&own_number())
    }

    /// The number of this process; 0 if the system does not tell. (A refusal comes back as a negative number.)
    fn own_number() -> u32 {
        let number = std::process::id();
        if i32::try_from(number).is_ok() { number } else { 0 }
    }

    impl Registry {
        fn know(&mut self) {
            if !self.is_known {
                self.is_known = true;
                Forks::ask(is_untold);
                // ORDERING: Relaxed; as in `is_untold`: whoever misses it asks before there is a fork.
                NUMBER.store(own_number(), Ordering::Relaxed);
                // SAFETY: P1. If there is no memory for it, it is as if the C library did not know of forks.
                let _ = unsafe { pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
            }
        }
    }

    extern "C" fn prepare() {
        catch(|| {
            let patience = Alarm::after(LOCK_TIMEOUT);
            let Some(registry) = REGISTRY.lock_within(&patience) else { return };
            let owners: Vec<_> =
                registry.heirs.iter().flat_map(Roster::iter).filter_map(Weak::upgrade).collect();
            let held = owners.iter().flat_map(|owner| Arc::clone(owner).hold(&patience)).collect();
            let standstill = Standstill { held, registry, owners };
            // A thread that is about to end has no place for it: then it is let go of here.
            let _ = STANDSTILL.try_with(|place| place.replace(Some(standstill)));
        });
    }

    fn take() -> Option<Standstill> {
        STANDSTILL.try_with(RefCell::take).ok().flatten()
    }

    /// Opens all locks, and only then lets go of their owners: the last handle of a cache takes locks when it goes.
    fn go_on(standstill: Option<Standstill>) {
        let Some(Standstill { held, registry, owners }) = standstill else { return };
        drop(held);
        drop(registry);
        for owner in owners {
            catch(|| drop(owner));
        }
    }

    extern "C" fn in_parent() {
        go_on(take());
    }

    extern "C" fn in_child() {
        Forks::count();
        // ORDERING: Relaxed; this process has one thread.
        NUMBER.store(own_number(), Ordering::Relaxed);

        if let Some(errand) = FIRST.get() {
            errand();
        }
        let mut standstill = take();
        if let Some(standstill) = &mut standstill {
            standstill.registry.errands.iter().for_each(|errand| errand());
            standstill.held.iter_mut().for_each(|held| held.inherit());
        }
        go_on(standstill);
    }
}

/// Where nothing forks, or nobody is told.
#[cfg(not(all(unix, not(any(miri, tidewheel_loom, tidewheel_shuttle)))))]
mod imp {
    use super::{Heir, Held, Weak};

    #[derive(Debug)]
    pub(crate) struct Registered;

    pub(crate) fn register(_rank: usize, _heir: Weak<dyn Heir>, _errand: fn()) -> Registered {
        // So that nothing of it is unused.
        let _ = (<dyn Heir>::hold, <dyn Held>::inherit);
        Registered
    }

    pub(crate) fn undisturbed<R>(f: impl FnOnce() -> R) -> R {
        f()
    }

    pub(crate) fn if_undisturbed<R>(f: impl FnOnce() -> R) -> Option<R> {
        Some(f())
    }

    pub(crate) fn come_first(_first: fn()) {}
}

/// Registers an heir, until what is returned is dropped. `errand` is done in the child once, however often it was registered. Those of rank 0 are held
/// before those of rank 1.
pub(crate) use imp::{Registered, register};

/// Runs `f`, during which the process does not fork: for what is made once, and must not be found half made.
pub(crate) use imp::undisturbed;

/// As [`undisturbed`], for callers that must not wait: `f` does not run if another thread is at it, or the process is about to fork.
pub(crate) use imp::if_undisturbed;

/// Says what a child does before everything else.
pub(crate) use imp::come_first;
