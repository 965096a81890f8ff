//! How a cache is put together. Knows what the parts need to know of each other, and nothing of entries.

mod check;
mod entries;
mod listen;
mod refresh;
mod shards;

use crate::cache::{Background, Bound, Cache, Parts, Visits, Weigher};
use crate::error::BuildError;
use crate::expiry::Expiry;
use crate::hash::RandomState;
use crate::key_value::{Key, Value};
use crate::listener::Listener;
use crate::policy::{Account, EvictionPolicy, Policy, Target};
use crate::process::hand::InHand;
use crate::reaper::Reaper;
use crate::shard::{Clearings, Config, Lengths, Shard, ShardParts};
use crate::stats::{LoadCounters, Reads};
use crate::sync::Arc;
use crate::table::Routes;
use crate::time::{Clock, Span, Timeline};
use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

/// Builds a [`Cache`]; made by [`Cache::builder`].
///
/// ```
/// use std::time::Duration;
/// use tidewheel::Cache;
///
/// let cache = Cache::builder()
///     .name("tokens")
///     .time_to_live(Duration::from_secs(300))
///     .build()?;
/// cache.insert("token", 42);
/// assert_eq!(cache.get("token"), Some(42));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use]
pub struct CacheBuilder<K, V> {
    name: Option<String>,
    max_capacity: Option<u64>,
    eviction_policy: Option<EvictionPolicy>,
    weigher: Option<Box<Weigher<K, V>>>,
    pins: Option<Box<Pins<K, V>>>,
    counted: bool,
    initial_capacity: usize,
    shards: Option<usize>,
    lengths: Lengths,
    jitter: f64,
    expiry: Option<Box<dyn Expiry<K, V>>>,
    listener: Listener<K, V>,
    warn_before: Span,
    refresh: Option<Span>,
    background: Option<Background<K, V>>,
    timeline: Timeline,
    reaper: Option<Reaper>,
    helped: bool,
    in_hand: Option<InHand>,
}

impl<K, V> CacheBuilder<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            name: None,
            max_capacity: None,
            eviction_policy: None,
            weigher: None,
            pins: None,
            counted: false,
            initial_capacity: 0,
            shards: None,
            lengths: Lengths { ttl: Span::ENDLESS, tti: Span::ENDLESS, max_age: Span::ENDLESS },
            jitter: 0.0,
            expiry: None,
            listener: Listener::new(),
            warn_before: Span::NONE,
            refresh: None,
            background: None,
            timeline: Timeline::system(),
            reaper: None,
            helped: false,
            in_hand: None,
        }
    }

    /// A name, for logs and `Debug`. Default: none.
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::builder().name("routes").build()?;
    /// assert_eq!(cache.name(), Some("routes"));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How much the cache may hold: entries, or weight with a [`weigher`](Self::weigher). Default: no bound.
    ///
    /// At no moment does anyone see the cache hold more. A write makes room first, by evicting what the
    /// [policy](Self::eviction_policy) chooses; a read evicts nothing. What is evicted leaves the cache at
    /// once; its value is dropped a little later: see [`Cache`](Cache#memory). Zero: each entry that
    /// is not [pinned](Self::pin_if) is refused. It is never stored, and the listener is told of it.
    ///
    /// Nothing is evicted for an entry that is over from the start, because its time to live is zero or its
    /// [`Expiry`] says so. It leaves at once, with the cause [`Expired`](crate::RemovalCause::Expired), and
    /// what it was to replace leaves with it.
    ///
    /// Without a weigher, each shard has an equal part of the capacity, and there are so few shards that a
    /// part is at least 64. With one, eight shards at most share the room: an entry may weigh as much as all
    /// of it. A shard holds 2^27 - 64 entries at most, and values that wait to be dropped count: where its
    /// part comes near to that, a write panics and does not evict.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().max_capacity(10).build()?;
    /// for key in 0..1_000 {
    ///     cache.insert(key, ());
    ///     assert!(cache.entry_count() <= 10);
    /// }
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn max_capacity(mut self, capacity: u64) -> Self {
        self.max_capacity = Some(capacity);
        self
    }

    /// What an entry weighs, in units of the capacity: bytes, for instance. Default: one.
    ///
    /// It is asked about each value that is stored, before any lock is taken. If it panics, nothing has
    /// changed. A call that begins again, because another one came first, may ask it again. Zero counts as
    /// one: even an empty value takes memory. (To exempt entries from eviction, use
    /// [`pin_if`](Self::pin_if).)
    ///
    /// An entry that is heavier than the capacity is refused: it is not kept. An older value under its key is
    /// removed all the same, with the cause [`Replaced`](crate::RemovalCause::Replaced). The listener is told
    /// of the refused entry with the cause [`Size`](crate::RemovalCause::Size). The call that wanted to store
    /// it returns as if it had been stored and evicted at once.
    ///
    /// Where many entries have to go for a heavy one, they are evicted some at a time, so that no shard's
    /// lock is held for long. One call at a time makes such room. Until it is done, a call waits if it stores
    /// a heavy entry too, lowers the capacity, or needs more than its own shard can give at once. Writes of
    /// light entries go on.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder()
    ///     .max_capacity(1 << 20)
    ///     .weigher(|_: &u64, page: &Vec<u8>| page.len().try_into().unwrap_or(u32::MAX))
    ///     .build()?;
    /// cache.insert(1, vec![0; 4096]);
    /// cache.insert(2, vec![0; 1 << 21]); // refused
    /// assert_eq!((cache.weighted_size(), cache.contains_key(&2)), (4096, false));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// Which entries are never evicted. Default: none.
    ///
    /// It is asked whenever an entry would be weighed, before any lock is taken. The weigher is asked after
    /// it, and not about a pinned entry. A pinned entry expires, is replaced and is removed like any other.
    /// It does not count for the [capacity](Self::max_capacity) nor in
    /// [`weighted_size`](Cache::weighted_size). So **nothing but this closure bounds how many there are**.
    /// Pin only what is known to be few. Without a `max_capacity` it is an error of [`build`](Self::build):
    /// nothing is ever evicted.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder()
    ///     .max_capacity(2)
    ///     .pin_if(|user: &&str, _: &u64| *user == "root")
    ///     .build()?;
    /// cache.insert("root", 0);
    /// for user in ["ada", "bob", "eve"] {
    ///     cache.insert(user, 1);
    /// }
    /// assert!(cache.contains_key("root"));
    /// assert_eq!((cache.entry_count(), cache.weighted_size()), (3, 2));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn pin_if(mut self, is_pinned: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.pins = Some(Box::new(is_pinned));
        self
    }

    /// Which entry goes when the cache is full. Default: [`EvictionPolicy::Adaptive`]. Without a
    /// [`max_capacity`](Self::max_capacity) it is an error of [`build`](Self::build): nothing is ever
    /// evicted.
    ///
    /// ```
    /// use tidewheel::{Cache, EvictionPolicy};
    /// let builder = Cache::builder().max_capacity(100).shards(1);
    /// let cache = builder.eviction_policy(EvictionPolicy::Fifo).build()?;
    /// (0..=100).for_each(|n| cache.insert(n, 'a'));
    /// assert!(!cache.contains_key(&0)); // the first to come was the first to go
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn eviction_policy(mut self, policy: EvictionPolicy) -> Self {
        self.eviction_policy = Some(policy);
        self
    }

    /// Counts hits, misses, removals, loads and more, for [`Cache::stats`]. Without it, a read pays nothing
    /// for statistics.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().record_stats().build()?;
    /// cache.insert(1, 'a');
    /// cache.get(&2);
    /// assert_eq!(cache.stats().misses, 1);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn record_stats(mut self) -> Self {
        self.counted = true;
        self
    }

    /// For how many entries there is room from the start: at most 2^27 - 64 for each shard (on 32 bits,
    /// 2^28 - 1 in all). The cache grows beyond it. Default: 0. A smaller
    /// [`max_capacity`](Self::max_capacity) without a weigher counts in its place.
    ///
    /// ```
    /// use tidewheel::{BuildError, Cache};
    /// let cache = Cache::builder().initial_capacity(10_000).build()?;
    /// cache.insert_many((0..20_000).map(|n| (n, n))); // it grows beyond it
    /// assert_eq!(cache.entry_count(), 20_000);
    ///
    /// let error = Cache::<u64, u64>::builder().initial_capacity(usize::MAX).build().unwrap_err();
    /// assert!(matches!(error, BuildError::InitialCapacity { .. }));
    /// # Ok::<(), BuildError>(())
    /// ```
    pub fn initial_capacity(mut self, entries: usize) -> Self {
        self.initial_capacity = entries;
        self
    }

    /// The number of shards: a power of two from 1 to 65,536. Default: sixteen for each processor, but no
    /// more than 64, or four for each processor if that is more; with one processor, four. The number is
    /// rounded up to a power of two. A bounded cache with a small [capacity](Self::max_capacity) has fewer:
    /// sixteen for each processor only where a shard has room for 512 entries, and never so many that a shard
    /// has room for less than 64, even if you ask for more. With a [`weigher`](Self::weigher) there are
    /// eight at most.
    ///
    /// Two writers wait for each other only if they come to the same shard. A shard takes some 3 KB while it
    /// is empty, and 10 KB with its first entries. So a program with many small caches may want fewer.
    ///
    /// ```
    /// use tidewheel::{BuildError, Cache};
    /// assert!(Cache::<u64, u64>::builder().shards(8).build().is_ok());
    /// assert!(matches!(Cache::<u64, u64>::builder().shards(0).build(), Err(BuildError::Shards { given: 0, .. })));
    /// ```
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// How long an entry lives after it was written or touched. Default: for ever.
    ///
    /// Each write restarts it, including [`replace`](Cache::replace), [`update`](Cache::update) and
    /// computations of entries. For a window that begins with the first write and is not extended, write with
    /// [`Life::Keep`](crate::Life::Keep), or set a [`max_age`](Self::max_age).
    ///
    /// An entry is visible until its deadline. Within two seconds after the deadline it is out of memory, and
    /// its value is dropped. Zero: entries are never visible. More than 146 years: for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::builder().time_to_live(Duration::from_secs(5)).build()?;
    /// cache.insert("k", 1);
    /// assert!(cache.remaining_ttl("k") <= Some(Duration::from_secs(5)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.lengths.ttl = Span::from_duration(ttl);
        self
    }

    /// How long an entry lives after it was last used: after `insert`, `replace`, `update`, `set_ttl`,
    /// `persist` and `touch`, and after every [`get`](Cache::get), [`read`](Cache::read) and
    /// [`ReadGuard::get`](crate::ReadGuard::get) that found it. ([`peek`](Cache::peek),
    /// [`contains_key`](Cache::contains_key) and looks at its times do not count.) Default: for ever.
    ///
    /// With a time to live or a maximal age, or where entries have a time to live of their own, whichever
    /// comes first ends the entry, at exactly that moment, however often it was read. A time to idle never
    /// ends an entry too early, and at most 10 ms late. Zero: entries are never visible. More than 146 years:
    /// for ever.
    ///
    /// # Concurrency
    ///
    /// A read that finds an entry restarts its time to idle by one compare-and-swap, if the readers' clock
    /// has moved since the last restart (it moves every 4 ms, as a rule). If something else can end the entry
    /// too, the read takes the lock of the key's shard instead, just as rarely, until that other end is
    /// nearer than a whole time to idle.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder()
    ///     .time_to_idle(Duration::from_secs(5))
    ///     .time_to_live(Duration::from_secs(60))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert("k", 1);
    /// clock.advance(Duration::from_secs(4));
    /// assert_eq!(cache.get("k"), Some(1));    // another five seconds
    /// clock.advance(Duration::from_secs(4));
    /// assert!(cache.contains_key("k"));
    /// clock.advance(Duration::from_secs(1));
    /// assert!(!cache.contains_key("k"));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn time_to_idle(mut self, tti: Duration) -> Self {
        self.lengths.tti = Span::from_duration(tti);
        self
    }

    /// How old an entry can get, however often it is written or touched. Default: no limit.
    ///
    /// Only `insert` and its like begin a new age; `replace`, `update`, `rename` and `rename_with` carry it
    /// over. So it is a fixed window for every entry of the cache. For single writes there is
    /// [`Life::Keep`](crate::Life::Keep), which keeps the end of a time to live.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder()
    ///     .time_to_live(Duration::from_secs(5))
    ///     .max_age(Duration::from_secs(7))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert("k", 1);
    /// clock.advance(Duration::from_secs(4));
    /// assert!(cache.touch("k"));              // would be good until 9 s
    /// clock.advance(Duration::from_secs(3));
    /// assert!(!cache.contains_key("k"));      // but 7 s is as old as it gets
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.lengths.max_age = Span::from_duration(max_age);
        self
    }

    /// An [`Expiry`], which decides how long each entry lives. Default: none. It is combined with the other
    /// times: whichever comes first ends the entry.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Expiry};
    ///
    /// /// A token that knows how long it is good.
    /// struct Token(Duration);
    /// struct Own;
    ///
    /// impl Expiry<u64, Token> for Own {
    ///     fn expire_after_create(&self, _: &u64, token: &Token) -> Option<Duration> {
    ///         Some(token.0)
    ///     }
    /// }
    ///
    /// let cache = Cache::builder().expire_after(Own).build()?;
    /// cache.insert(1, Token(Duration::from_secs(60)));
    /// assert!(cache.remaining_ttl(&1) <= Some(Duration::from_secs(60)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn expire_after(mut self, expiry: impl Expiry<K, V>) -> Self {
        self.expiry = Some(Box::new(expiry));
        self
    }

    /// How much shorter than its time to live an entry may live: at most this fraction of it, from 0.0 to 1.0
    /// (any other number is an error of [`build`](Self::build)). Default: 0.0.
    ///
    /// Entries that were stored together expire together, and are then all fetched again at once. With a
    /// jitter of 0.1, each value that is written (`insert`, `insert_with_ttl`, `try_insert`, `replace`,
    /// `update`, `rename`) gets 90 % to 100 % of the time to live that it would have. The part is drawn
    /// evenly, and anew each time. So the time to live still says how old a value can be. All promises hold
    /// for the time to live that was drawn.
    ///
    /// In a cache without a time to live, it shortens only those that entries have of their own. What `touch`
    /// or `set_ttl` gives is never shortened. Nor are times to idle, the maximal age, or what an [`Expiry`]
    /// says.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::builder().time_to_live(Duration::from_secs(100)).ttl_jitter(0.1).build()?;
    /// (0..1000).for_each(|page| cache.insert(page, "text"));
    /// let left = cache.remaining_ttl(&7).unwrap();
    /// assert!(left > Duration::from_secs(89) && left <= Duration::from_secs(100));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn ttl_jitter(mut self, fraction: f64) -> Self {
        self.jitter = fraction;
        self
    }

    /// The clock. Default: [`SystemClock`](crate::SystemClock). With it reads are cheap, and see an expired
    /// entry for at most 10 ms. After the process was stopped for a while, a thread may see it for longer,
    /// but for 64 reads at most. With a [`StrictClock`](crate::StrictClock) it never does, but each read also
    /// looks at the processor's counter. A [`ManualClock`](crate::ManualClock) implies [`Reaper::manual`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, ManualClock};
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().clock(clock.clone()).time_to_live(Duration::from_secs(60)).build()?;
    /// cache.insert(1, 1);
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(cache.get(&1), None);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.timeline = clock.timeline();
        self
    }

    /// Who removes expired entries. Default: [`Reaper::shared`], or [`Reaper::manual`] with a manual clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Reaper};
    /// let cache = Cache::builder().reaper(Reaper::manual()).time_to_live(Duration::ZERO).build()?;
    /// cache.insert(1, 1);
    /// // Nobody has removed it. `run_pending_tasks` will, or a write to its key.
    /// assert_eq!((cache.get(&1), cache.entry_count()), (None, 1));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn reaper(mut self, reaper: Reaper) -> Self {
        self.reaper = Some(reaper);
        self
    }

    /// Has writers do the reaper's work where that is late, though there is no reaper. For tests.
    #[doc(hidden)]
    pub fn helped_by_writers(mut self) -> Self {
        self.helped = true;
        self
    }

    /// Where threads note the entries that they have taken out, less those that they have added.
    pub(crate) fn in_hand(mut self, in_hand: InHand) -> Self {
        self.in_hand = Some(in_hand);
        self
    }

    /// Builds the cache, with the default hasher.
    ///
    /// # Errors
    ///
    /// [`BuildError`] says which option is not allowed, has no effect without another one, or contradicts
    /// another one. Or the operating system gives no random keys for the hasher, or the reaper's thread
    /// cannot be started.
    ///
    /// # Complexity
    ///
    /// O(shards + initial capacity). The first cache of a process asks Linux for the barrier that makes reads
    /// cheap. That takes the kernel some 15 ms if other threads run already, and next to nothing before the
    /// first one is started.
    ///
    /// ```
    /// let cache: tidewheel::Cache<String, u64> = tidewheel::Cache::builder().build()?;
    /// cache.insert("k".to_string(), 1);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn build(self) -> Result<Cache<K, V>, BuildError>
    where
        K: Key,
        V: Value,
    {
        self.check()?;
        let hasher = RandomState::new()?;
        self.build_with_hasher(hasher)
    }

    /// Builds the cache with another hasher. Its result is mixed before it is used, so that a weak one (even
    /// the identity) does not put all keys into one shard. Against keys that are chosen to collide, the
    /// hasher is the only defence.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), but for the random keys.
    ///
    /// ```
    /// use std::hash::{BuildHasherDefault, DefaultHasher};
    /// let cache = tidewheel::Cache::builder()
    ///     .build_with_hasher(BuildHasherDefault::<DefaultHasher>::default())?;
    /// cache.insert(1, 1);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn build_with_hasher<S>(self, hasher: S) -> Result<Cache<K, V, S>, BuildError>
    where
        K: Key,
        V: Value,
        S: BuildHasher + Send + Sync + 'static,
    {
        self.check()?;
        let manual = self.timeline.manual().is_some();
        let shards = self.shard_count();
        let (capacity, counted) = (self.initial_entries().div_ceil(shards), self.counted);
        let reaper = self.reaper.unwrap_or_else(|| if manual { Reaper::manual() } else { Reaper::shared() });
        let (ruled, listened) = (self.expiry.is_some(), self.listener.is_listening());
        let mut config = Config::new(self.timeline, self.lengths, self.jitter, ruled, listened);
        let (kind, target) = (self.eviction_policy.unwrap_or_default(), Arc::new(Target::new()));
        let limit = self.max_capacity.filter(|_| self.weigher.is_some());
        let account = limit.map(|limit| Arc::new(Account::new(limit)));
        config.effects.counts_hit = self.max_capacity.is_some() && kind != EvictionPolicy::Fifo;
        config.weighed = self.weigher.is_some();
        config.helped = self.helped || !reaper.is_manual();
        config.warn_before = self.warn_before;
        config.refresh = self.refresh;
        config.in_hand = self.in_hand;
        config.effects.counts_in_stats = counted;
        let (config, routes) = (Arc::new(config), Routes::new(shards));
        let shard = |number| {
            let policy = self.max_capacity.map(|capacity| {
                let part = Bound::part(capacity, number, shards);
                Policy::new(kind, part, shards, Arc::clone(&target), account.clone())
            });
            let (config, route) = (Arc::clone(&config), routes.end(number));
            Shard::new(ShardParts { number, capacity, config, policy, counted, route })
        };
        let listener = Some(self.listener).filter(Listener::is_there);
        let parts = Parts {
            listener: listener.map(|listener| listener.of(self.name.as_deref())),
            name: self.name,
            shards: (0..shards).map(shard).collect(),
            routes,
            hasher,
            clock: config.clock.clone(),
            on_use: config.effects.on_use(),
            config,
            expiry: self.expiry,
            bound: self.max_capacity.map(|capacity| Bound::new(capacity, kind, account.clone())),
            weigher: weighing(self.weigher, self.pins),
            reads: counted.then(Reads::new),
            loads: counted.then(LoadCounters::new),
            refreshes: self.refresh.is_some(),
            background: self.background,
            clearings: Clearings::new(),
            visits: Visits::new(),
        };
        Cache::assemble(parts, &reaper)
    }
}

/// What says whether an entry is pinned.
type Pins<K, V> = dyn Fn(&K, &V) -> bool + Send + Sync;

/// What the entries weigh in the end: nothing if they are pinned, and else one at least.
fn weighing<K: 'static, V: 'static>(
    weigher: Option<Box<Weigher<K, V>>>,
    pins: Option<Box<Pins<K, V>>>,
) -> Option<Box<Weigher<K, V>>> {
    Some(match (weigher, pins) {
        (None, None) => return None,
        (Some(weigher), None) => Box::new(move |key, value| weigher(key, value).max(1)),
        (None, Some(pins)) => Box::new(move |key, value| u32::from(!pins(key, value))),
        (Some(weigher), Some(pins)) => {
            Box::new(move |key, value| if pins(key, value) { 0 } else { weigher(key, value).max(1) })
        }
    })
}

impl<K, V> fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("name", &self.name)
            .field("max_capacity", &self.max_capacity)
            .field("eviction_policy", &self.eviction_policy)
            .field("weigher", &self.weigher.is_some())
            .field("pin_if", &self.pins.is_some())
            .field("record_stats", &self.counted)
            .field("initial_capacity", &self.initial_capacity)
            .field("shards", &self.shards)
            .field("time_to_live", &self.lengths.ttl.as_duration())
            .field("time_to_idle", &self.lengths.tti.as_duration())
            .field("max_age", &self.lengths.max_age.as_duration())
            .field("jitter", &self.jitter)
            .field("expire_after", &self.expiry.is_some())
            .field("refresh_after_write", &self.refresh.map(Span::as_duration))
            .field("refresh_with", &self.background.is_some())
            .field("listener", &self.listener)
            .field("clock", &self.timeline)
            .field("reaper", &self.reaper)
            .finish()
    }
}
