//! A concurrent in-process cache whose reads take no lock and whose entries expire on time, and a session manager on top of it.
//!
//! - An entry becomes invisible at its deadline, at most 10 ms late. Within two seconds of the deadline it is out of memory and its value is dropped.
//!   Nobody has to call anything: one thread, the reaper, does that for all caches of a process.
//! - A read takes no lock, with [few exceptions](Cache#reads-and-locks), and counts no reference. A write takes the mutex of one shard.
//! - An update that has returned success is never undone by the reaper. A removed entry never comes back.
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
//! | extend a life, or lift its limit | [`touch`](Cache::touch), [`persist`](Cache::persist) |
//! | write without restarting the time to live | [`with_life`](Cache::with_life) with [`Life`] |
//! | know what will expire | [`expiring_within`](Cache::expiring_within), [`expiration_warning_listener`](CacheBuilder::expiration_warning_listener) |
//! | be told what has left | [`eviction_listener`](CacheBuilder::eviction_listener), [`expiration_listener`](CacheBuilder::expiration_listener) |
//! | have no late read, even if a thread stalls | [`StrictClock`] |
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
//! - `tracing`: a [span for each load, and events](docs::guide#watch-a-cache) for what goes wrong.
//!
//! # Guarantees
//!
//! This is the short form. The page [guarantees](docs::guarantees) states each one exactly, with its exceptions and the checks that fail if it is broken.
//!
//! - **Reads take no lock**, with [few exceptions](Cache#reads-and-locks): a read that restarts a time to idle which is not the entry's only end, a read at
//!   which an [`Expiry`] changes the time, a `get_with` that claims a value which is due for a refresh, and [`ReadGuard::entry`].
//! - **Never early**: an entry is visible for its whole time to live, unless it was removed, replaced or evicted.
//! - **Never late**: an entry becomes invisible at its deadline, at most 10 ms late, whether or not the reaper runs. If the system stops the thread that keeps
//!   the time for busy readers, a reading thread may see expired entries for longer, but for 64 reads at most. With a [`StrictClock`] every read looks at the
//!   clock; [`SessionManager`] uses it.
//! - **Gone on time**: a value is dropped at most two seconds after its deadline, its removal or its replacement.
//! - **A success is never undone**: neither the reaper nor a replacement under way undoes an update or touch that has returned success.
//! - **Nothing comes back**: a late update never revives what was removed, or what anybody has seen expired.
//! - **Exactly once**: an [iteration](Cache::iter) yields each key that is present throughout exactly once, and never an expired entry.
//! - **One loader per key**: if it panics or is dropped, the next waiting call loads. If the key is written or removed meanwhile, its value is not stored.
//! - **No lost update**: computations of one key ([`Cache::entry`]) take turns. A plain write does not wait for them, and is not overwritten.
//! - **Bounded means bounded**: at no instant does anyone see a cache with a [`max_capacity`](CacheBuilder::max_capacity) hold more.
//! - **No deadlock**: the only user code that runs under a lock is `Eq` (and a panic hook or a global allocator that it calls). It must not call the cache.
//! - **Panic-safe**: a panic in user code leaves the cache intact and the reaper running, and never reaches another caller.
//! - **One thread**: any number of caches share one reaper. A second thread, the timekeeper, runs only while there are half a million reads a second or more.
//! - **Model-checked**: loom checks the concurrent core, on this source, up to a number of preemptions and runs. Each check is known to fail on a planted bug.
//!
//! # Limitations
//!
//! The most important ones; [here are all](docs::limitations).
//!
//! - While a [`ReadGuard`] is held, nothing that is removed meanwhile is dropped, in any cache of the process. So do not hold one for ever. The same holds
//!   while a closure ([`read`](Cache::read), [`update`](Cache::update), [`remove_if`](Cache::remove_if), [`retain`](Cache::retain)) or a value's `clone`
//!   looks at a stored value. Writers slow down then, to a millisecond for each write at worst: see [`Cache`](Cache#memory).
//! - A cache without a [`max_capacity`](CacheBuilder::max_capacity) grows with what is put in.
//! - Keys and values must be `Send + Sync + 'static`: see [`Key`] and [`Value`].
//! - Loaders that wait for each other's keys, across threads, wait for ever; [`Cache::timeout`] and [`EntrySelector::timeout`] are the way out.
//! - A listener that captures its own cache keeps it alive; [`Cache::downgrade`] is the way out.
//! - A listener is told of values, not of keys, and in no order between threads: see [how to keep an index](CacheBuilder::eviction_listener).
//! - Time in which the machine is suspended does not count. (On Windows it does.)
//! - A forked child's caches are intact and work. The child has no reaper until a write there leaves work for one, or a cache is built. What other threads held
//!   stays in memory.
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
/// The trait of the types by which a key can be looked up, from the crate `equivalent`; `hashbrown` and `indexmap` use it too.
/// Every type that the key [borrows](std::borrow::Borrow) as implements it already. Another type implements it to say which keys
/// are equal to it, and has to hash as they do.
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
