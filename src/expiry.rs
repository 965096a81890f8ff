//! How long an entry lives, where the user decides it entry by entry. Knows no clock: it is not
//! passed any moments.

use crate::sync::Arc;
use std::time::Duration;

/// Decides how long each entry lives, from its key and value; given to
/// [`CacheBuilder::expire_after`](crate::CacheBuilder::expire_after).
///
/// Each method returns how long the entry lives from now on, or `None` for no end. A method that is
/// not implemented changes nothing. The answer is combined with the cache's time to live, time to
/// idle and maximal age, and with an entry's own time to live: whichever comes first ends the
/// entry. Zero ends it at once.
///
/// A `Box<dyn Expiry<K, V>>` or an `Arc<dyn Expiry<K, V>>` is one too, so that it can be chosen at
/// run time, or shared.
///
/// The names are moka's. Moka's moments (`created_at`, `read_at`, `updated_at`, `last_modified_at`)
/// are not passed: they are `std::time::Instant`s, which a [`ManualClock`](crate::ManualClock)
/// cannot make, and a read without a lock does not know when its entry was written. Put into the
/// value what an answer depends on.
///
/// # Concurrency
///
/// Called outside every lock, and mostly under a guard: then nothing is dropped that is removed meanwhile. It
/// may use the cache, but must not make calls for the same key that ask it again without end. (If it writes
/// the key itself, the write that asked asks again. If that happens each time, that write panics.) If another
/// write to the key comes between the answer and its use, it is asked again. So whatever else it does must be
/// harmless when done twice, and not every answer is used.
///
/// # Panics
///
/// A panic reaches the caller of the call that asked, and leaves the cache as it was before that call. But a
/// read restarts the entry's [idle time](crate::CacheBuilder::time_to_idle) before it asks.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::{Cache, Expiry, ManualClock};
///
/// /// What was found is kept for a minute; that there is nothing, for a second.
/// struct ByResult;
///
/// impl Expiry<&'static str, Option<u32>> for ByResult {
///     fn expire_after_create(&self, _: &&'static str, value: &Option<u32>) -> Option<Duration> {
///         Some(Duration::from_secs(if value.is_some() { 60 } else { 1 }))
///     }
/// }
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().expire_after(ByResult).clock(clock.clone()).build()?;
/// cache.insert("there", Some(7));
/// cache.insert("nowhere", None);
/// clock.advance(Duration::from_secs(1));
/// assert!(cache.contains_key("there") && !cache.contains_key("nowhere"));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
pub trait Expiry<K, V>: Send + Sync + 'static {
    /// How long a new entry lives: of `insert` and `try_insert` where there is no live one.
    /// Default: `None`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// struct Short;
    /// impl tidewheel::Expiry<u64, String> for Short {
    ///     fn expire_after_create(&self, _: &u64, text: &String) -> Option<Duration> {
    ///         (text.len() > 1000).then(|| Duration::from_secs(10))
    ///     }
    /// }
    /// # use tidewheel::Expiry;
    /// assert_eq!(Short.expire_after_create(&1, &"short".to_string()), None);
    /// ```
    fn expire_after_create(&self, key: &K, value: &V) -> Option<Duration> {
        let _ = (key, value);
        None
    }

    /// How long an entry lives after a read by `get`, `read` or `ReadGuard::get`. `duration_until_expiry` is
    /// the time that it has left after the read, whatever would end it; a time to idle has already restarted.
    /// To return that same time, which is the default, changes nothing.
    ///
    /// An answer that changes something makes the read take the lock of the key's shard. An answer
    /// that gives the same deadline as before (the same time from now, within one step of the
    /// readers' clock of 4 ms) does not.
    ///
    /// An answer counts only while the entry has the deadline that it was asked about. So a late
    /// answer does not move a deadline that a later read has set. If a read, a touch or `set_ttl`
    /// has moved the deadline meanwhile, the read asks again, up to four times in all. The last
    /// answer counts whatever the deadline is.
    ///
    /// ```
    /// # use std::time::Duration;
    /// struct LongerWhenRead;
    /// impl tidewheel::Expiry<u64, u64> for LongerWhenRead {
    ///     fn expire_after_read(&self, _: &u64, _: &u64, left: Option<Duration>) -> Option<Duration> {
    ///         left.map(|left| left.max(Duration::from_secs(30)))
    ///     }
    /// }
    /// # use tidewheel::Expiry;
    /// assert_eq!(LongerWhenRead.expire_after_read(&1, &1, None), None);
    /// ```
    fn expire_after_read(
        &self,
        key: &K,
        value: &V,
        duration_until_expiry: Option<Duration>,
    ) -> Option<Duration> {
        let _ = (key, value);
        duration_until_expiry
    }

    /// How long an entry lives after it gets another value: by `replace`, `update`, or `insert`
    /// over a live one. `value` is the new one. `duration_until_expiry` is the time that the entry
    /// had left, whatever would have ended it. To return that same time, which is the default,
    /// leaves the end that was set before. (The cache's times to live and to idle start again in
    /// any case.) It is not asked about a write with [`Life::Keep`](crate::Life::Keep), which
    /// leaves the end as it was.
    ///
    /// ```
    /// # use std::time::Duration;
    /// struct AsAtFirst;
    /// impl tidewheel::Expiry<u64, u64> for AsAtFirst {
    ///     fn expire_after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
    ///         Some(Duration::from_secs(60))
    ///     }
    ///     fn expire_after_update(&self, key: &u64, value: &u64, _: Option<Duration>) -> Option<Duration> {
    ///         self.expire_after_create(key, value)
    ///     }
    /// }
    /// # use tidewheel::Expiry;
    /// assert_eq!(AsAtFirst.expire_after_update(&1, &1, None), Some(Duration::from_secs(60)));
    /// ```
    fn expire_after_update(
        &self,
        key: &K,
        value: &V,
        duration_until_expiry: Option<Duration>,
    ) -> Option<Duration> {
        let _ = (key, value);
        duration_until_expiry
    }
}

/// What is behind a pointer decides as it does without, so that one can be chosen at run time.
macro_rules! behind {
    ($pointer:ident) => {
        impl<K, V, E: ?Sized + Expiry<K, V>> Expiry<K, V> for $pointer<E> {
            fn expire_after_create(&self, key: &K, value: &V) -> Option<Duration> {
                (**self).expire_after_create(key, value)
            }

            fn expire_after_read(&self, key: &K, value: &V, left: Option<Duration>) -> Option<Duration> {
                (**self).expire_after_read(key, value, left)
            }

            fn expire_after_update(&self, key: &K, value: &V, left: Option<Duration>) -> Option<Duration> {
                (**self).expire_after_update(key, value, left)
            }
        }
    };
}

behind!(Box);
behind!(Arc);
