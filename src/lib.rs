//! A concurrent in-process cache whose reads take no lock and whose entries expire on time, and a session manager on top of it.
//!
//! - An expired entry is invisible from its deadline on, 10 ms late at most. Within two more seconds it is out of memory and its value is
//!   dropped, without a call from anyone. One thread, the reaper, does that for all caches of a process.
//! - A read takes no lock, with [few exceptions](Cache#reads-and-locks), and counts no reference. A write takes the mutex of one shard.
//! - An update that returned success does not lose to the reaper, and nothing that was removed comes back.
//!
//! ```
//! use std::time::Duration;
//! use tidewheel::Cache;
//!
//! let cache = Cache::builder()
//!     .max_capacity(10_000)
//!     .time_to_live(Duration::from_secs(300))
//!     .build()?;
//! cache.insert("answer".to_string(), 42);
//! assert_eq!(cache.get("answer"), Some(42));
//! assert!(cache.update("answer", |n| n + 1));      // atomic; restarts the five minutes
//! assert_eq!(cache.get_with("question".to_string(), || 6 * 9), 54);
//! # Ok::<(), tidewheel::BuildError>(())
//! ```
//!
//! More to read: [examples by task](docs::guide), [whole programs](docs::examples), [coming from moka or quick_cache](docs::migration),
//! [guarantees](docs::guarantees) and [limitations](docs::limitations) in full, [how it works inside](docs::architecture).
//!
//! # I want to ...
//!
//! | Task | Where |
//! |---|---|
//! | **make a cache** | |
//! | of at most so many entries | [`Cache::new`] |
//! | with everything else that can be chosen | [`Cache::builder`], [`CacheBuilder`] |
//! | hand it to another thread | clone it: a [`Cache`] is a handle |
//! | refer to it from its own listener or values | [`downgrade`](Cache::downgrade) |
//! | **read** | |
//! | get a clone of a value | [`get`](Cache::get), [`get_many`](Cache::get_many) |
//! | look at a value without a clone | [`read`](Cache::read), [`read_guard`](Cache::read_guard) |
//! | look without counting as a use | [`peek`](Cache::peek), [`peek_with`](Cache::peek_with), [`contains_key`](Cache::contains_key) |
//! | know how long an entry has left, or how old it is | [`remaining_ttl`](Cache::remaining_ttl), [`ReadGuard::entry`] |
//! | look a key up by another type | [`Equivalent`](https://docs.rs/equivalent/1/equivalent/trait.Equivalent.html) |
//! | **write** | |
//! | store, whatever is there | [`insert`](Cache::insert), [`insert_many`](Cache::insert_many), [`swap`](Cache::swap) |
//! | store only if there is nothing | [`try_insert`](Cache::try_insert) |
//! | store only if there is something | [`replace`](Cache::replace) |
//! | change a value | [`update`](Cache::update), [`update_with`](Cache::update_with), [`optionally_update_with`](Cache::optionally_update_with), [`modify`](Cache::modify) |
//! | change a key | [`rename`](Cache::rename), [`rename_with`](Cache::rename_with) |
//! | remove | [`remove`](Cache::remove), [`remove_if`](Cache::remove_if), [`invalidate`](Cache::invalidate) |
//! | remove all | [`invalidate_all`](Cache::invalidate_all) |
//! | **load what is missing** | |
//! | run one loader, however many ask | [`get_with`](Cache::get_with), [`try_get_with`](Cache::try_get_with), [`optionally_get_with`](Cache::optionally_get_with) |
//! | load many keys with one call | [`get_many_with`](Cache::get_many_with), [`try_get_many_with`](Cache::try_get_many_with) |
//! | let the loader say how long its value lives | [`get_with_ttl`](Cache::get_with_ttl) |
//! | wait no longer than so long | [`timeout`](Cache::timeout), [`EntrySelector::timeout`] |
//! | have the load go on if I give up | [`get_with_detached`](Cache::get_with_detached) |
//! | load in a future | the same names with `_async` (feature `async`) |
//! | serve the old value while a new one is loaded | [`refresh_after_write`](CacheBuilder::refresh_after_write), [`refresh_with`](CacheBuilder::refresh_with), [`refresh`](Cache::refresh) |
//! | **compute** | |
//! | insert or change, in turn with others | [`entry`](Cache::entry), [`and_upsert_with`](EntrySelector::and_upsert_with) |
//! | insert, change, remove or leave | [`and_compute_with`](EntrySelector::and_compute_with) with [`Op`] |
//! | **iterate** | |
//! | over all entries, while others write | [`iter`](Cache::iter), [`keys`](Cache::keys), [`ReadGuard::iter`] |
//! | keep some, or take all out | [`retain`](Cache::retain), [`drain`](Cache::drain) |
//! | write all to a file and read them back | `snapshot`, `restore` (feature `serde`) |
//! | **expire** | |
//! | all entries after the same time | [`time_to_live`](CacheBuilder::time_to_live), [`time_to_idle`](CacheBuilder::time_to_idle), [`max_age`](CacheBuilder::max_age) |
//! | each entry at a time of its own | [`insert_with_ttl`](Cache::insert_with_ttl), [`set_ttl`](Cache::set_ttl), [`expire_after`](CacheBuilder::expire_after) with [`Expiry`] |
//! | not all at once | [`ttl_jitter`](CacheBuilder::ttl_jitter) |
//! | extend a life, or end its limit | [`touch`](Cache::touch), [`persist`](Cache::persist) |
//! | write without restarting the time to live | [`with_life`](Cache::with_life) with [`Life`] |
//! | know what will expire | [`expiring_within`](Cache::expiring_within), [`expiration_warning_listener`](CacheBuilder::expiration_warning_listener) |
//! | hear of what has left | [`eviction_listener`](CacheBuilder::eviction_listener), [`expiration_listener`](CacheBuilder::expiration_listener) |
//! | have no read late, whatever stalls | [`StrictClock`] |
//! | **bound the memory** | |
//! | by entries, or by weight | [`max_capacity`](CacheBuilder::max_capacity), [`weigher`](CacheBuilder::weigher), [`set_max_capacity`](Cache::set_max_capacity) |
//! | choose who is evicted | [`eviction_policy`](CacheBuilder::eviction_policy), [`pin_if`](CacheBuilder::pin_if) |
//! | see what is in | [`entry_count`](Cache::entry_count), [`weighted_size`](Cache::weighted_size), [`policy`](Cache::policy) |
//! | **run and watch it** | |
//! | count hits, misses, loads and lateness | [`record_stats`](CacheBuilder::record_stats), [`stats`](Cache::stats) |
//! | trace loads and what goes wrong | feature `tracing`, [described here](docs::guide#watch-a-cache) |
//! | have no thread, or one for a cache alone | [`Reaper::manual`] with [`run_pending_tasks`](Cache::run_pending_tasks), [`Reaper::dedicated`] |
//! | move the time by hand in a test | [`ManualClock`] |
//! | **keep sessions** | |
//! | for a log-in on the web | [`SessionManager`], [`for_logins`](SessionManagerBuilder::for_logins) |
//! | log a user in, or out everywhere | [`rotate_with`](SessionManager::rotate_with), [`end_all`](SessionManager::end_all) |
//!
//! # Features
//!
//! None is on by default.
//!
//! - `async`: the `_async` forms of loads and of an entry's methods, for any executor.
//! - `serde`: `snapshot` and `restore` of caches and session managers. The [`docs`] have the format.
//! - `tracing`: a [span for each load, and events](docs::guide#watch-a-cache) for what should not be.
//!
//! # Guarantees
//!
//! In short. [Each one exactly](docs::guarantees), with its exceptions and with the checks that fail if it is broken.
//!
//! - **Reads take no lock**, with [few exceptions](Cache#reads-and-locks): where a read restarts a time to idle that is not the entry's
//!   only end, where an [`Expiry`] changes the time at a read, where a read finds a value due for a refresh, and [`ReadGuard::entry`].
//! - **Never early**: an entry is visible while its time to live is not over, unless it was removed, replaced or evicted.
//! - **Never late**: it is invisible 10 ms after its deadline at most, whether or not the reaper runs. Should the system stop the thread that keeps the time for busy readers, each of
//!   them finds out by its 64th read. With a [`StrictClock`] every read looks; [`SessionManager`] uses it.
//! - **Gone on time**: a value is dropped at most two seconds after its deadline, its removal or its replacement.
//! - **A success is never undone**: an update or touch that returned success does not lose to the reaper or to a replacement under way.
//! - **Nothing comes back**: what was removed, or was seen expired by anybody, is never revived. Only an insert makes an entry.
//! - **Exactly once**: an [iteration](Cache::iter) yields every key that is there all the time exactly once, and never an expired entry.
//! - **One loader per key**: one that panics or is dropped hands over to the next who waits. What is written or removed meanwhile wins.
//! - **No lost update**: computations of one key ([`Cache::entry`]) take turns; plain writes wait for nobody, and are not overwritten.
//! - **Bounded means bounded**: at no instant does anyone see a cache with a [`max_capacity`](CacheBuilder::max_capacity) hold more.
//! - **No deadlock**: no user code but `Hash` and `Eq`, which must not call the cache, runs under a lock.
//! - **Panic-safe**: a panic in user code leaves the cache whole and the reaper alive, and never surfaces in somebody else's call.
//! - **One thread**: any number of caches share one reaper. A second thread, the timekeeper, runs while a process reads half a million times a second or more.
//! - **Model-checked**: the concurrent core is checked by loom on this source, up to a number of preemptions and runs, and each check is known to fail on a planted bug.
//!
//! # Limitations
//!
//! The most important ones; [here are all](docs::limitations).
//!
//! - A [`ReadGuard`] that is held for ever, or a closure that looks at a stored value and does not return
//!   ([`read`](Cache::read), [`update`](Cache::update), [`remove_if`](Cache::remove_if), [`retain`](Cache::retain), or a value's `clone`), keeps
//!   what is removed meanwhile in memory, in every cache of the process. Writers slow down then, to a millisecond each at worst: see [`Cache`](Cache#memory).
//! - A cache without a [`max_capacity`](CacheBuilder::max_capacity) grows with what is put in.
//! - Keys and values must be `Send + Sync + 'static`: see [`Key`] and [`Value`].
//! - Loaders that wait for each other's keys, across threads, wait for ever; [`Cache::timeout`] and [`EntrySelector::timeout`] are the way out.
//! - A listener that captures its own cache keeps it alive; [`Cache::downgrade`] is the way out.
//! - A listener hears of values, not of keys, and between threads in no order: see [how to keep an index](CacheBuilder::eviction_listener).
//! - Time that the machine is suspended does not count. (On Windows it does.)
//! - In a forked child, caches are whole and work. It has no reaper until something of its own becomes due; then one starts there. What other threads had
//!   in hand stays in memory.
//!
//! Items that are hidden from the documentation are for the crate's own tests. They may change or go in any release.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
compile_error!(
    "tidewheel needs threads, a clock and random numbers, and `wasm32-unknown-unknown` has none of them: WebAssembly wants a target of WASI, such as \
     `wasm32-wasip1-threads` (which it is compiled for, and not run on)"
);

mod builder;
mod cache;
mod column;
mod entry;
mod error;
mod expiry;
/// What the fuzz targets may touch of the inside, and nobody else.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzed {
    pub use crate::policy::fuzz as policy;
    pub use crate::wheel::fuzz as wheel;
}
mod hash;
mod inflight;
mod key_value;
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

#[cfg(any(doc, doctest))]
pub mod docs;

pub use builder::CacheBuilder;
pub use cache::{
    Cache, Drain, EntryRef, GuardIter, Iter, Keys, LoadJob, Policy, ReadGuard, RefreshJob, WeakCache,
    WithLife, WithTimeout,
};
#[cfg(feature = "async")]
pub use cache::{LoadTask, RefreshTask};
pub use entry::{CompResult, Entry, EntryKey, EntrySelector, LentKey, Op, OwnedKey, TimedEntrySelector};
/// What a key is looked up by, where that is of another type: crate `equivalent`, as `hashbrown` and `indexmap` have it. Whatever a
/// key [borrows](std::borrow::Borrow) as has it already; others say what is equal, and hash as the key does.
#[doc(no_inline)]
pub use equivalent::Equivalent;
pub use error::{BuildError, CapacityError, LoadError, NoRandomness, TimedOut};
pub use expiry::Expiry;
pub use hash::{DefaultHasher, RandomState};
pub use key_value::{Key, Value};
pub use life::Life;
pub use listener::RemovalCause;
pub use policy::EvictionPolicy;
pub use reaper::Reaper;
pub use session::{
    EndCause, Lifetime, NoOwner, ParseSessionIdError, SessionError, SessionId, SessionInfo, SessionManager,
    SessionManagerBuilder, SessionOwner, SessionStats, Sessions, WhenCrowded,
};
#[cfg(feature = "serde")]
pub use snapshot::{RestoreError, SnapshotError, SnapshotPart};
pub use stats::{HistogramBuckets, Lateness, LoadTimes, Loads, Stats};
pub use time::{Clock, ManualClock, StrictClock, SystemClock};

/// The code of the README, kept compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
