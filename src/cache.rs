//! The cache: a handle to shards, and what connects them to hasher, clock, listener and reaper.
//!
//! Knows which shard a key belongs to and in which order things happen around a shard's lock; knows
//! nothing of buckets, rows or wheels. The files in `cache/` have the operations.
//!
//! # The order of things around a lock
//!
//! Lock, change, unlock (in the shard); wake the reaper if it has to come earlier than it knew; let
//! sealed garbage become reclaimable; then whatever may run code of the user's: tell calls that wait, tell the listener, drop what is reclaimable.
//! User code runs after the unlock, but for `Eq`, and unpinned, but for closures and clones that look at a stored value.

// In the order of use, which is the one that the documentation of `Cache` has its blocks in.
mod make;
mod read;

mod guard;
mod write;

mod remove;
mod rename;

mod bulk;
mod life;
mod load;
#[cfg(feature = "async")]
mod load_async;
mod load_detached;
mod load_many;
#[cfg(feature = "async")]
mod load_many_async;
mod load_timeout;
mod load_ttl;
mod refresh;

mod walk;

#[cfg(feature = "serde")]
mod snapshot;

mod bound;

// What the others are made of.
mod compute;
#[cfg(feature = "async")]
mod compute_async;
mod conclude;
mod fork;
mod given;
mod handle;
mod loading;
mod ready;
mod room;
mod rounds;
mod rule;
mod turn;
#[cfg(feature = "async")]
mod turn_async;
mod weak;

pub use bound::Policy;
pub(crate) use bound::{Bound, Weigher};
pub use guard::{EntryRef, ReadGuard};
pub use life::WithLife;
pub(crate) use load::{
    fallible, option, optional, result, served, value, wants_option, wants_result, wants_value,
};
pub use load_detached::LoadJob;
#[cfg(feature = "async")]
pub use load_detached::LoadTask;
pub use load_timeout::WithTimeout;
pub(crate) use refresh::Background;
pub use refresh::RefreshJob;
#[cfg(feature = "async")]
pub use refresh::RefreshTask;
#[cfg(feature = "async")]
pub(crate) use refresh::Reloading;
pub(crate) use turn::Made;
pub(crate) use walk::Progress;
pub use weak::WeakCache;

use crate::error::BuildError;
use crate::expiry::Expiry;
use crate::hash::{HashBits, RandomState};
use crate::key_value::{Key, Value};
use crate::listener::Listener;
use crate::process;
use crate::reaper::{Reaper, Registration, Sweep};
use crate::shard::{AtWork, Clearings, Config, Listens, Looked, Lookup, OnUse, Shard};
use crate::stats::{LoadCounters, Reads};
use crate::sync::{Arc, Edge, OnceLock, thread};
use crate::table::{Node, Pin, Route, Routes, advance_fully, same_as};
use crate::time::{Advanced, Span, Tick, Timeline, Watch};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// A concurrent cache whose reads take no lock and whose entries expire on time by themselves.
///
/// A cache is a handle: a clone is another handle to the same cache, which goes when its last handle
/// goes. It may be used from any number of threads at once.
///
/// A key is looked up by anything that is `Hash + Equivalent<K>`: by `&str` where keys are `String`.
///
/// # Complexity
///
/// All operations on one key are O(1). A write takes the lock of one shard; a read takes none, with the exceptions
/// [below](#reads-and-locks). An
/// insert moves at most a few buckets when the table grows, never all of it.
///
/// # Concurrency
///
/// A value that is handed out is a clone, or is lent: the stored one is never exposed to change. A write that
/// replaces a value is atomic: readers see the old value or the new one, never a gap. An entry that anybody
/// has seen expired, is expired for everybody: no update or touch brings it back.
///
/// # Reads and locks
///
/// A read takes no lock of a shard, and waits for no other thread, but for these:
///
/// - [`ReadGuard::entry`] takes it each time: it tells what is not with the value, as the age.
/// - In a cache with a [`time_to_idle`](crate::CacheBuilder::time_to_idle), a read that counts as use takes it where it
///   restarts that time and cannot know how far: where the cache has another end besides (a time to live, an age, an
///   [`Expiry`]), or any entry has ever had a time to live of its own. That is once for each entry in 4 ms, by each
///   thread that reads it before the first one is done; and at each read where readers have the precise clock alone (most
///   systems other than Linux). It also does so where it meets a writer at that very entry.
/// - Where an `Expiry` answers a read with another time, that read takes it.
/// - With [`refresh_after_write`](crate::CacheBuilder::refresh_after_write), the one `get_with` that claims an old value takes
///   it, and loads, or hands a job to the executor. All others are served the old value without it.
///
/// A lock is held for some hundred nanoseconds, by the reaper for some tenths of a millisecond, and by a key's `Eq` as long as
/// that takes. `peek`, `contains_key`, `remaining_ttl` and `iter` are not among these: they count as no use.
///
/// A plain hit writes to no memory that others write to, but for the hit counter of a bounded cache, which stops at three until
/// the policy lowers it. A read that finds an entry expired marks it so.
///
/// # Memory
///
/// A value that was replaced, removed or evicted is dropped when nobody can look at it any more, by the next writers or
/// within two seconds. Of each shard some 350 wait for that at most while others write. Values that take long to make, as
/// large ones do, wait for a fraction of a millisecond beyond that time: some ten of half a megabyte or more. Where there is a
/// [weigher](crate::CacheBuilder::weigher), no more than a sixteenth of the capacity waits, and a value for each shard. None of
/// this holds while a guard is held, or a thread sleeps in the middle of a read: what was unlinked since then waits for it.
///
/// So that it cannot be any number, writers slow down then. Where 512 values wait in a shard (of values of more than 4 KiB: two megabytes
/// of them, or 64) and an eighth as many as it has entries; or, with a weigher, a quarter of the shard's part of the capacity: there
/// a call that stores something waits a *moment* when it is done, until readers have gone on, a millisecond at most and what the system adds to that. First
/// that is one call in 64; the more waits, the more of them; and where five times as many values wait, each. From then on what waits grows by a
/// value for each writer and millisecond. Values that were removed, or have expired, count only as far as others came in their place.
///
/// However long a guard is held, no call waits for more than a moment. None waits that is made on a thread that holds a guard (of any cache), or within a closure that
/// looks at a stored value, or by a listener or a destructor on a thread of the cache's; and no removal. What a value has outside of itself, as
/// a `Vec` has, is counted only by a weigher. Calls that are futures wait on the thread that polls them.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::Cache;
///
/// let cache = Cache::builder().time_to_live(Duration::from_secs(300)).build()?;
/// cache.insert("answer".to_string(), 42);
/// assert_eq!(cache.get("answer"), Some(42));
/// assert!(cache.update("answer", |n| n + 1));
/// assert_eq!(cache.remove("answer"), Some(43));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
pub struct Cache<K, V, S = RandomState> {
    inner: Arc<Inner<K, V, S>>,
}

/// What a builder puts together.
pub(crate) struct Parts<K, V, S> {
    pub(crate) name: Option<String>,
    pub(crate) shards: Box<[Shard<K, V>]>,
    /// To what the shards hold, for readers.
    pub(crate) routes: Routes<K, V>,
    pub(crate) hasher: S,
    /// As in the config, and as follows from them: copies, so that a read has less far to go.
    pub(crate) clock: Timeline,
    pub(crate) on_use: OnUse,
    pub(crate) config: Arc<Config>,
    pub(crate) listener: Option<Listener<K, V>>,
    pub(crate) expiry: Option<Box<dyn Expiry<K, V>>>,
    pub(crate) bound: Option<Bound>,
    pub(crate) weigher: Option<Box<Weigher<K, V>>>,
    pub(crate) reads: Option<Reads>,
    pub(crate) loads: Option<LoadCounters>,
    /// Whether old values are loaded anew.
    pub(crate) refreshes: bool,
    /// How, if not by whoever finds them old.
    pub(crate) background: Option<Background<K, V>>,
    pub(crate) clearings: Clearings,
}

/// What came of reclaiming.
struct Reclaimed {
    /// Garbage waits still.
    waits: bool,
    /// Some of it was dropped.
    moves: bool,
}

struct Inner<K, V, S> {
    parts: Parts<K, V, S>,
    edge: Edge,
    #[cfg(feature = "tracing")]
    held_up: crate::trace::HeldUp,
    /// Set once the cache is built, if on a manual clock.
    watch: OnceLock<Watch>,
    /// Set once the cache is built.
    heir: OnceLock<process::fork::Registered>,
    /// Set once the cache is built. The last field, so that it is dropped last: `Reaper::join` returns
    /// when the values are gone.
    registration: OnceLock<Registration>,
}

impl<K, V, S> Cache<K, V, S> {
    /// The name given to the builder.
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::builder().build()?;
    /// assert_eq!(cache.name(), None);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner.parts.name.as_deref()
    }

    /// The number of entries in memory, expired and not yet removed ones included. Exact while no writer
    /// runs.
    ///
    /// # Complexity
    ///
    /// O(shards).
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert(1, 'a');
    /// assert_eq!(cache.entry_count(), 1);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[doc(alias = "len")]
    #[doc(alias = "is_empty")]
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.inner.parts.shards.iter().map(Shard::len).sum()
    }

    /// How many entries would expire within this time, at most, if nobody used them: an estimate, for
    /// planning a refill or a prefetch, read off the reaper's wheel.
    ///
    /// It never leaves out an entry that will end by then unless it is used. It counts some that will not:
    ///
    /// - An entry that was touched, or read with a time to idle, counts where it stood before, until the reaper comes by
    ///   its old place and files it again.
    /// - Entries stand in slots: of a second each up to a minute ahead, of 64 seconds up to an hour, of 68
    ///   minutes up to three days, of three days up to half a year. A slot counts as a whole, as
    ///   soon as it begins within the time.
    /// - What has expired and is still in memory counts, and so does what expires in the running second.
    ///
    /// So it is exact for times that end on a whole second of the cache's clock, up to a minute ahead, where nothing was
    /// touched since it was filed. With `Duration::MAX`: all entries that can expire.
    ///
    /// # Complexity
    ///
    /// O(shards × slots), whatever the number of entries: some 384 slots a shard.
    ///
    /// # Concurrency
    ///
    /// Takes each shard's lock in turn, briefly.
    ///
    /// ```
    /// use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder().clock(clock.clone()).build()?;
    /// for second in 1..=60 {
    ///     cache.insert_with_ttl(second, "page", Duration::from_secs(second));
    /// }
    /// assert_eq!(cache.expiring_within(Duration::from_secs(10)), 10);
    /// assert_eq!(cache.expiring_within(Duration::MAX), 60);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn expiring_within(&self, within: Duration) -> usize {
        let within = Span::from_duration(within);
        self.parts().shards.iter().map(|shard| shard.expiring_within(within)).sum()
    }

    /// A handle that does not keep the cache alive: for listeners and values that refer to their cache.
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::builder().build()?;
    /// let weak = cache.downgrade();
    /// assert!(weak.upgrade().is_some());
    /// drop(cache);
    /// assert!(weak.upgrade().is_none());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakCache<K, V, S> {
        WeakCache { inner: Arc::downgrade(&self.inner) }
    }

    #[inline]
    fn parts(&self) -> &Parts<K, V, S> {
        &self.inner.parts
    }

    #[inline]
    fn shard_of(&self, hash: HashBits) -> &Shard<K, V> {
        let shards = &self.parts().shards;
        &shards[hash.shard(shards.len() - 1)]
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    pub(crate) fn assemble(parts: Parts<K, V, S>, reaper: &Reaper) -> Result<Self, BuildError> {
        let inner = Arc::new(Inner {
            parts,
            edge: Edge::new(),
            #[cfg(feature = "tracing")]
            held_up: crate::trace::HeldUp::new(),
            watch: OnceLock::new(),
            heir: OnceLock::new(),
            registration: OnceLock::new(),
        });
        let weak = Arc::downgrade(&inner);
        let registration = reaper.register(weak.clone()).map_err(BuildError::Reaper)?;
        // It was just made, so it is not set.
        let _ = inner.registration.set(registration);
        let _ = inner.heir.set(fork::register(weak.clone()));
        if let Some(clock) = inner.parts.config.clock.manual() {
            let _ = inner.watch.set(clock.watch(weak));
        }
        Ok(Self { inner })
    }

    #[inline]
    fn locate<Q>(&self, key: &Q) -> (HashBits, &Shard<K, V>)
    where
        Q: ?Sized + Hash,
    {
        let hash = HashBits::of(&self.parts().hasher, key);
        (hash, self.shard_of(hash))
    }

    /// As `locate`, for a reader.
    #[inline(always)]
    fn seek<Q>(&self, key: &Q) -> (HashBits, &Route<K, V>)
    where
        Q: ?Sized + Hash,
    {
        let hash = HashBits::of(&self.parts().hasher, key);
        (hash, self.parts().routes.of(hash))
    }

    /// The node of a live entry. If it `counts`, it was hit once more.
    #[inline(always)]
    pub(crate) fn visible<'g, Q>(&'g self, key: &Q, counts: bool, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.visible_at(self.seek(key), key, counts, pin)
    }

    /// As `visible`, where it takes more than a look at the node that a first look has found. Hashes anew if it has to, so
    /// that a look keeps nothing for it.
    #[cold]
    #[inline(never)]
    fn visible_after_all<'g, Q>(
        &'g self,
        node: &'g Node<K, V>,
        key: &Q,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let clock = &self.parts().clock;
        if node.is_visible(|| pin.with_trust(|trust| clock.after_all(trust))) {
            return Some(node);
        }
        let (hash, shard) = self.locate(key);
        shard.visible::<false, Q>(Lookup::new(hash, key), pin)
    }

    /// As `visible`, where a first look has found nothing out. Begins anew.
    #[cold]
    #[inline(never)]
    fn visible_further<'g, Q>(&'g self, key: &Q, counts: bool, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (hash, route) = self.seek(key);
        let node = route.find_after_all(hash, same_as(key), counts, pin)?;
        if node.is_plainly_visible(&self.parts().clock, pin) {
            return Some(node);
        }
        self.visible_after_all(node, key, pin)
    }

    /// The node of a live entry, for a read that counts as use.
    #[inline]
    pub(crate) fn used<'g, Q>(&'g self, key: &Q, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        match self.parts().on_use {
            OnUse::Nothing => self.visible(key, false, pin),
            OnUse::CountHit => self.visible(key, true, pin),
            OnUse::More => self.used_and_noted(key, pin),
        }
    }

    /// The node of a live entry, the time, when the entry ends, and its times. Takes the lock.
    pub(crate) fn look<'g, Q>(&'g self, key: &Q, pin: &'g Pin) -> Option<Looked<'g, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (hash, shard) = self.locate(key);
        shard.look(Lookup::new(hash, key), pin)
    }

    /// Removes what is due and drops what no guard protects, now and on this thread: for
    /// [`Reaper::manual`] and for tests. Waits up to some 10 ms for guards of other threads to go.
    ///
    /// # Concurrency
    ///
    /// Takes each shard's lock in turn, for a bounded number of entries at a time. Tells the listener of
    /// expired entries on this thread. What this thread's own guards protect stays.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Reaper};
    ///
    /// let cache = Cache::builder().reaper(Reaper::manual()).time_to_live(Duration::ZERO).build()?;
    /// cache.insert("k", 1);
    /// assert_eq!(cache.get("k"), None); // it is never visible, and leaves when its second is over
    /// cache.run_pending_tasks();
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn run_pending_tasks(&self) {
        self.inner.run_pending_tasks();
    }

    /// Recounts everything: rows, nodes, wheel, counts, weights; and that no key is there twice. For when no writer runs.
    ///
    /// # Panics
    ///
    /// Panics where two counts disagree.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.parts().shards.iter().for_each(Shard::validate);
        self.validate_account();
    }

    /// How many calls that load or compute wait for another one of their key. For tests: a call that is about to wait
    /// cannot say so.
    #[doc(hidden)]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.parts().shards.iter().map(Shard::waiting).sum()
    }
}

/// How often shards are asked for what has become reclaimable in one visit.
const ROUNDS: usize = if cfg!(tidewheel_loom) { 1 } else { 32 };
/// How often a manual sweep looks again for garbage that other threads' guards may hold up.
const RECLAIM_ATTEMPTS: u32 = if cfg!(tidewheel_loom) { 1 } else { 160 };

impl<K, V, S> Inner<K, V, S> {
    /// Who hears what sweeps do.
    fn listener(&self) -> Option<&dyn Listens<K, V>> {
        self.parts.listener.as_ref().map(|listener| listener as _)
    }

    fn sweep_all(&self, now: Tick) -> Tick {
        let shards = &self.parts.shards;
        let due = shards.iter().map(|shard| shard.sweep(now, self.listener())).min();
        due.unwrap_or(Tick::NEVER)
    }

    /// Whether garbage still waits, and whether any went.
    fn reclaim_all(&self) -> Reclaimed {
        let mut done = Reclaimed { waits: false, moves: false };
        if !self.parts.shards.iter().any(Shard::is_waiting) {
            return done;
        }
        // On as long as that brings something, but not for ever: others wait.
        for _ in 0..ROUNDS {
            advance_fully();
            let (mut any, mut waiting) = (false, false);
            for shard in &self.parts.shards {
                let (dropped, left) = shard.reclaim();
                any |= dropped;
                waiting |= left;
            }
            (done.waits, done.moves) = (waiting, done.moves || any);
            if !waiting || !any {
                break;
            }
        }
        done
    }

    fn run_pending_tasks(&self) {
        let Parts { shards, config, .. } = &self.parts;
        let now = config.clock.now();
        shards.iter().for_each(|shard| shard.sweep_at_once(now, self.listener()));
        for attempt in 1..=RECLAIM_ATTEMPTS {
            if !self.reclaim_all().waits || Pin::is_held() || attempt == RECLAIM_ATTEMPTS {
                break;
            }
            if attempt <= RECLAIM_ATTEMPTS / 2 { thread::yield_now() } else { crate::sync::nap() }
        }
        if shards.iter().any(Shard::is_waiting) {
            // The reaper may have come by meanwhile, and have seen nothing to come back for.
            if let Some(registration) = self.registration.get() {
                registration.wake(Tick::start_of(config.clock.now().second() + 1));
            }
        }
    }
}

impl<K, V, S> Sweep for Inner<K, V, S>
where
    K: Send + Sync + 'static,
    V: Value,
    S: Send + Sync + 'static,
{
    fn sweep(&self, now: Tick) -> Tick {
        let _work = AtWork::begin();
        self.sweep_all(now)
    }

    fn reclaim(&self) -> bool {
        let _work = AtWork::begin();
        let done = self.reclaim_all();
        #[cfg(feature = "tracing")]
        {
            let now = self.parts.config.clock.now();
            self.held_up.note(done.waits && !done.moves, now, self.parts.name.as_deref());
        }
        done.waits
    }
}

impl<K, V, S> Advanced for Inner<K, V, S>
where
    K: Send + Sync + 'static,
    V: Value,
    S: Send + Sync + 'static,
{
    fn advanced(&self) {
        self.run_pending_tasks();
    }
}

impl<K, V, S> Drop for Inner<K, V, S> {
    fn drop(&mut self) {
        self.edge.last();
    }
}
