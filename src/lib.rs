//! A sharded concurrent in-process cache with **lock-free reads** and **expiry that happens on time, by
//! itself**; and a session manager on top of it.
//!
//! ```
//! use std::time::Duration;
//! use tidewheel::Cache;
//!
//! let cache = Cache::builder().time_to_live(Duration::from_secs(300)).build()?;
//! cache.insert("answer".to_string(), 42);
//! assert_eq!(cache.get("answer"), Some(42));
//! assert!(cache.update("answer", |n| n + 1));      // atomic: no update is lost
//! assert_eq!(cache.remaining_ttl("answer").is_some(), true);
//! # Ok::<(), tidewheel::BuildError>(())
//! ```
//!
//! Nobody has to call anything for an entry to go: it is invisible from its deadline on (10 ms late at
//! most), and out of memory, its value dropped, within two seconds after it, traffic or none. One thread
//! does that for all caches of a process, and sleeps while there is nothing to do.
//!
//! # What is promised
//!
//! | | |
//! |---|---|
//! | **Reads scale** | A read takes no lock, counts no reference, and writes to no memory that other threads read, but for its own thread's epoch slot. In a bounded cache it raises its entry's counter of hits, until that is three. A time to idle adds a compare-and-swap for each entry and clock step; where something else can end the entry too, the lock of its shard, as rarely. |
//! | **Never early** | An entry whose last successful write or touch was less than its time to live ago is visible, unless it was removed, replaced or evicted. (With a time to idle: whose last use was less than that ago. With a jitter: the time to live that was drawn.) |
//! | **Never late** | From its deadline on it is invisible, 10 ms at most behind, whether or not the reaper runs. While a process reads much, a thread keeps the time for all readers; should the system not let that run, each reading thread finds out by its 64th read and tells the others. A [`StrictClock`] checks every read, and [`SessionManager`] uses it. |
//! | **Gone on time** | At most two seconds after its deadline, its removal or its replacement a value is dropped, without a call from anyone. A read guard that is held delays that; so do user code on the reaper that does not return, and a system that does not let the reaper run, where nobody writes: a shard that is half a second late is cleared by its writers, 64 entries with each write. |
//! | **A success is never undone** | An update or touch that returned success does not lose to the reaper or to a replacement under way. |
//! | **Nothing comes back** | What was removed, or was seen expired by anybody, is never revived by a late update. Only an insert makes an entry. |
//! | **Exactly once** | An [iteration](Cache::iter) yields every key that is there all the time exactly once, while the table grows and shrinks; never an expired entry. |
//! | **No deadlock** | No user code but `Hash` and `Eq` (which must not call the cache) runs under a lock. |
//! | **Panic-safe** | A panic in user code leaves the cache whole and the reaper alive, and never surfaces in somebody else's call. |
//! | **Bounded means bounded** | At no instant does anyone see a cache with a [`max_capacity`](CacheBuilder::max_capacity) hold more. What is evicted and not yet dropped is bounded too, while no guard is held; while readers hold it up, [writers slow down](Cache#memory). |
//! | **One loader per key** | Of all who want a key that is not there, one runs its loader at a time; one that panics or is dropped hands over to the next. What is written or removed meanwhile wins over what it brings. |
//! | **No lost update** | Computations of one key ([`Cache::entry`]) take turns; plain writes wait for nobody, and are not overwritten. |
//! | **One thread** | Any number of caches share one reaper. It ends by itself after the last cache. Dropping a cache waits for nobody. A second thread, the timekeeper, runs only while a process reads so much that it pays, from half a million reads a second on, and is parked otherwise. |
//! | **Proven** | The concurrent core is checked by loom, on this very source, and each check is known to fail on a planted bug. |
//!
//! # What is not
//!
//! - A [`ReadGuard`] that is held for ever, or a closure that looks at a stored value and does not return
//!   ([`read`](Cache::read), [`update`](Cache::update), [`remove_if`](Cache::remove_if), [`retain`](Cache::retain), or a value's `clone`), keeps
//!   what is removed meanwhile in memory, in every cache of the process. Writers slow down then, to a millisecond each at worst: see [`Cache`](Cache#memory).
//! - In a forked child caches are whole and work. It has no reaper until something of its own becomes due; then one starts there, for all that it
//!   has inherited. What other threads had in hand stays in memory. See the [decisions](docs::decisions) for the rest.
//! - Time that the machine is suspended does not count.
//! - Loaders that wait for each other's keys, across threads, wait for ever; forms with a timeout are the way out.
//! - A listener that captures its own cache keeps it alive; [`Cache::downgrade`] is the way out.
//! - A listener hears of values, not of keys, and between threads in no order: see [how to keep an index](CacheBuilder::eviction_listener).
//! - A cache without a [`max_capacity`](CacheBuilder::max_capacity) grows with what is put in.
//! - Values must be `Send + Sync`, and `'static`.
//!
//! # Where to look
//!
//! [`Cache`] has the operations and [`CacheBuilder`] what can be chosen, capacity, times to live and to idle among it; [`Expiry`]
//! decides them entry by entry. [`Cache::get_with`] loads what is missing, [`Cache::entry`] computes. [`ReadGuard`] is for many reads at
//! once, [`Cache::get_many`] and [`Cache::insert_many`] for many keys, [`Cache::iter`] for all, and `Cache::snapshot` and `restore`
//! (feature `serde`) for a restart. [`ManualClock`] makes time a toy for tests, [`StrictClock`] is for whom no read may be late whatever stalls. [`SessionManager`] keeps sessions, and says what to choose for a log-in.
//! [`Cache::stats`] has what was counted. With the feature `tracing`, target `tidewheel`, each load is a span `load` at the level DEBUG, with the fields `cache` (the name) and
//! `result` (as the fields of [`Loads`]); a WARN is a reaper that comes a second late or more (`lag_seconds`), and values that could not be dropped for two seconds, as a read guard is held
//! (`cache`, `seconds`; once, until some are dropped again); an ERROR is a listener that panicked (`cache`, `told`: `removed`, `expired` or `expiring`). Hits and plain writes tell nothing. The [`docs`] tell how
//! it works inside, which memory orderings there are, and what was decided, with the figures.
#![deny(unsafe_code)]

mod builder;
mod cache;
mod column;
mod computed;
mod entry;
mod error;
mod expiry;
mod flight;
mod hash;
mod iter;
mod life;
mod listener;
#[cfg(tidewheel_loom)]
#[doc(hidden)]
pub mod model;
mod policy;
mod process;
mod reaper;
mod roster;
mod rows;
mod select;
mod session;
mod shard;
#[cfg(feature = "serde")]
mod snapshot;
mod stats;
mod sync;
mod table;
mod time;
mod trace;
mod wheel;

pub mod docs;

pub use builder::CacheBuilder;
pub use cache::{Cache, LoadJob, Policy, RefreshJob, WeakCache, WithLife};
#[cfg(feature = "async")]
pub use cache::{LoadTask, RefreshTask};
pub use computed::{CompResult, Entry, Op};
pub use entry::{EntryRef, ReadGuard};
/// What a key is looked up by, where that is of another type: crate `equivalent`, as `hashbrown` and `indexmap` have it. Whatever a
/// key [borrows](std::borrow::Borrow) as has it already; others say what is equal, and hash as the key does.
#[doc(no_inline)]
pub use equivalent::Equivalent;
pub use error::{BuildError, CapacityError, LoadError, NoRandomness, TimedOut};
pub use expiry::Expiry;
pub use hash::{DefaultHasher, RandomState};
pub use iter::{Drain, GuardIter, Iter, Keys};
pub use life::Life;
pub use listener::RemovalCause;
pub use policy::EvictionPolicy;
pub use reaper::Reaper;
pub use select::EntrySelector;
pub use session::{
    EndCause, Lifetime, NoOwner, ParseSessionIdError, SessionError, SessionId, SessionInfo, SessionManager,
    SessionManagerBuilder, SessionOwner, SessionStats, Sessions, WhenCrowded,
};
#[cfg(feature = "serde")]
pub use snapshot::{RestoreError, SnapshotError};
pub use stats::{Lateness, LoadTimes, Loads, Stats};
pub use time::{Clock, ManualClock, StrictClock, SystemClock};

/// The code of the README, kept compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
