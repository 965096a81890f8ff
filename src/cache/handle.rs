//! The cache as a handle to what it is made of: a clone is another one, and the last one takes the cache along.
//!
//! Knows which shard a key belongs to; knows nothing of what is done there.

use super::bound::{Bound, Weigher};
use super::load::Background;
use super::visits::Visits;
use crate::expiry::Expiry;
use crate::hash::{HashBits, RandomState};
use crate::key_value::{Key, Value};
use crate::listener::Listener;
use crate::process;
use crate::reaper::Registration;
use crate::shard::{Clearings, Config, OnUse, Shard};
use crate::stats::{LoadCounters, Reads};
use crate::sync::{Arc, Edge, OnceLock};
use crate::table::{Route, Routes};
use crate::time::{Timeline, Watch};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A concurrent cache whose reads take no lock and whose entries expire on time by themselves.
///
/// A cache is a handle. A clone is another handle to the same cache, which is dropped with its last handle.
/// It may be used from any number of threads at once.
///
/// A key is looked up by anything that is `Hash + Equivalent<K>`: by `&str` where keys are `String`.
///
/// # Complexity
///
/// All operations on one key are O(1). A write takes the lock of one shard; a read takes none, with the
/// exceptions [below](#reads-and-locks). When the table grows, an insert moves a few buckets at most, and
/// never the whole table.
///
/// # Concurrency
///
/// A value that is returned is a clone, or is lent; the stored one is never exposed to change. A
/// write that replaces a value is atomic: readers see the old value or the new one, never a gap.
/// Once anybody has seen an entry expired, it is expired for everybody: no update or touch brings
/// it back.
///
/// # Reads and locks
///
/// A read takes no lock of a shard, and waits for no other thread, with these exceptions:
///
/// - [`ReadGuard::entry`](crate::ReadGuard::entry) takes the lock each time: the age of an entry is not stored beside its
///   value.
/// - In a cache with a [`time_to_idle`](crate::CacheBuilder::time_to_idle), a read that counts as use takes it if entries
///   can end in another way too: the cache has a time to live, a maximal age or an [`Expiry`], or any entry has ever had a
///   time to live of its own. It cannot know then how far to restart the idle time. That is once for each entry in 4 ms, by
///   each thread that reads it before the first one is done. Where readers have only the precise clock (most systems other
///   than Linux), it is each such read. In any cache with a time to idle, such a read takes the lock if it meets a writer
///   at that very entry.
/// - A read takes it if an [`Expiry`] answers it with another time.
/// - With [`refresh_after_write`](crate::CacheBuilder::refresh_after_write), the one `get_with` that claims an old value
///   takes it, and loads, or hands a job to the executor. All others are served the old value without it.
///
/// A lock is held for some hundred nanoseconds, by the reaper for some tenths of a millisecond, and by a key's `Eq` for as
/// long as that runs. `peek`, `contains_key`, `remaining_ttl` and `iter` never take one: they do not count as use.
///
/// A plain hit writes to no memory that others write to, but for the hit counter of a bounded cache, which stops at three until
/// the policy lowers it. A read that finds an entry expired marks it so.
///
/// # Memory
///
/// A value that was replaced, removed or evicted is dropped when nobody can look at it any more: by a writer, or
/// within two seconds by the reaper. Where writes are rare, the write itself drops what it took out, before it
/// returns. Where they are many, values are gathered, and are dropped together when there are enough of them or
/// they have gathered for a fraction of a millisecond. So some 350 values of each shard wait at most, and fewer
/// of those that take long to make, as large ones do: some ten of half a megabyte or more, where there are no
/// more than 256 shards. (Their age does not count with a [`ManualClock`](crate::ManualClock), nor does that of
/// small values without a destructor.) With a [weigher](crate::CacheBuilder::weigher), at most a sixteenth of
/// the capacity waits, and a value for each shard, or those 350 values of each shard if they weigh more. While
/// a heavy entry is being stored, what was evicted for it waits too.
///
/// While a guard is held, or the system stops a thread in the middle of a read, everything waits that was
/// unlinked since. So that it does not grow without end, writers then slow down. A call that stores something
/// may have to wait a *moment* when it is done, if in its shard
///
/// - more values wait than 512 plus an eighth of the number of its entries (of values of more than 4 KiB: two
///   megabytes of them, or 64, in place of the 512); or,
/// - with a weigher, a quarter of the shard's part of the capacity waits, and besides an eighth of what its
///   entries weigh.
///
/// A moment lasts until readers have gone on, and a millisecond at most, with what the system adds to that. At
/// first one call in 64 waits a moment (of values of 32 KiB and more, one in eight). The more values wait beyond
/// these limits, the more calls do. Each call does where more than 1,024 values wait beyond them (of values of
/// more than 4 KiB: 128, or four megabytes; with a weigher, half of the shard's part of the capacity). From then
/// on what waits grows by one value for each writer and millisecond. Values that were removed, or have expired,
/// count only as far as others came in their place.
///
/// However long a guard is held, no call waits for more than a moment. Removals never wait. Nor does a call on a
/// thread that holds a guard (of any cache), in a closure that looks at a stored value, in the destructor of a
/// value that a cache drops, or in a listener that runs on the reaper's thread. A call that is a future waits on
/// the thread that polls it. Only a weigher can count memory that a value owns elsewhere, such as a `Vec`'s.
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
    pub(super) inner: Arc<Inner<K, V, S>>,
}

/// What a builder puts together.
pub(crate) struct Parts<K, V, S> {
    pub(crate) name: Option<String>,
    pub(crate) shards: Box<[Shard<K, V>]>,
    /// To what the shards hold, for readers.
    pub(crate) routes: Routes<K, V>,
    pub(crate) hasher: S,
    /// This and `on_use` are copies of what the config has, so that a read has less far to go.
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
    pub(crate) visits: Visits,
}

/// Where a key belongs.
pub(super) struct Place<'c, K, V> {
    pub(super) hash: HashBits,
    pub(super) shard: &'c Shard<K, V>,
}

impl<K, V> Clone for Place<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Place<'_, K, V> {}

pub(super) struct Inner<K, V, S> {
    pub(super) parts: Parts<K, V, S>,
    pub(super) edge: Edge,
    #[cfg(feature = "tracing")]
    pub(super) held_up: crate::trace::HeldUp,
    /// Set once the cache is built, if on a manual clock.
    pub(super) watch: OnceLock<Watch>,
    /// Set once the cache is built.
    pub(super) heir: OnceLock<process::fork::Registered>,
    /// Set once the cache is built. The last field, so that it is dropped last: `Reaper::join` returns
    /// when the values are gone.
    pub(super) registration: OnceLock<Registration>,
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

    #[inline]
    pub(super) fn parts(&self) -> &Parts<K, V, S> {
        &self.inner.parts
    }

    #[inline]
    pub(super) fn shard_of(&self, hash: HashBits) -> &Shard<K, V> {
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
    #[inline]
    pub(super) fn locate<Q>(&self, key: &Q) -> Place<'_, K, V>
    where
        Q: ?Sized + Hash,
    {
        let hash = HashBits::of(&self.parts().hasher, key);
        Place { hash, shard: self.shard_of(hash) }
    }

    /// As `locate`, for a reader.
    #[inline(always)]
    pub(super) fn seek<Q>(&self, key: &Q) -> (HashBits, &Route<K, V>)
    where
        Q: ?Sized + Hash,
    {
        let hash = HashBits::of(&self.parts().hasher, key);
        (hash, self.parts().routes.of(hash))
    }
}

// A panic leaves a cache intact, in whichever of the user's callbacks it happens. The state in which it
// left keys and values is their own affair.
impl<K: RefUnwindSafe, V: RefUnwindSafe, S> UnwindSafe for Cache<K, V, S> {}
impl<K: RefUnwindSafe, V: RefUnwindSafe, S> RefUnwindSafe for Cache<K, V, S> {}

impl<K, V, S> Clone for Cache<K, V, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V, S> Drop for Cache<K, V, S> {
    fn drop(&mut self) {
        self.inner.edge.release();
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.name())
            .field("entry_count", &self.entry_count())
            .finish_non_exhaustive()
    }
}

impl<K, V, S> Drop for Inner<K, V, S> {
    fn drop(&mut self) {
        self.edge.last();
    }
}
