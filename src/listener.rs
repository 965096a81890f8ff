//! Why a value was removed, and who is told; and who is warned before.
//!
//! A listener's panic is the listener's own: it is caught, the listener stays installed, and the
//! call or the reaper that told it goes on.

use crate::shard::Listens;
use crate::sync::catch;
use crate::table::Unlinked;
use crate::trace::{self, Named};
use std::fmt;

/// Why a value left the cache. Its `Display` is one word, for a log or a label: `expired`,
/// `explicit`, `replaced` or `size`.
///
/// ```
/// use std::sync::mpsc;
/// use tidewheel::{Cache, RemovalCause};
///
/// let (sender, causes) = mpsc::channel();
/// let cache = Cache::builder()
///     .eviction_listener(move |_: &&str, _: &i32, cause| sender.send(cause).unwrap())
///     .build()?;
/// cache.insert("k", 1);
/// cache.insert("k", 2);
/// cache.invalidate("k");
/// assert_eq!(causes.try_iter().collect::<Vec<_>>(), [RemovalCause::Replaced, RemovalCause::Explicit]);
/// assert_eq!(RemovalCause::Explicit.to_string(), "explicit");
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Its deadline passed. The reaper reports it, unless another thread met it first: one that
    /// wrote to its key, needed its room, or wrote while the reaper was late. By then another
    /// thread may have stored a new value under the key: see
    /// [`eviction_listener`](crate::CacheBuilder::eviction_listener). In a bounded cache, the
    /// thread that writes an entry which is over from the start reports that entry itself.
    Expired,
    /// A call removed it: `remove`, `remove_if`, `invalidate`, `invalidate_all`, `retain`, `drain`, an
    /// `Op::Remove`; or `rename` took it from this key. The caller's thread reports it. Counted as
    /// [`explicit`](crate::Stats::explicit).
    Explicit,
    /// Another value took its place. The caller's thread reports it. Counted as
    /// [`replacements`](crate::Stats::replacements).
    Replaced,
    /// It had to make room, or was too heavy to be kept. The thread that needed the room reports
    /// it. Counted as [`evicted`](crate::Stats::evicted), or [`refused`](crate::Stats::refused).
    Size,
}

impl fmt::Display for RemovalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Expired => "expired",
            Self::Explicit => "explicit",
            Self::Replaced => "replaced",
            Self::Size => "size",
        })
    }
}

/// The user's functions that hear of what leaves, and of what is about to.
pub(crate) struct Listener<K, V> {
    removed: Option<Box<Removed<K, V>>>,
    expired: Option<Box<Expired<K, V>>>,
    expiring: Option<Box<Expiring<K, V>>>,
    named: Named,
}

/// Hears of every removed value, once.
pub(crate) type Removed<K, V> = dyn Fn(&K, &V, RemovalCause) + Send + Sync;
/// Hears of every value that expired, once, many at a time.
pub(crate) type Expired<K, V> = dyn Fn(&[(&K, &V)]) + Send + Sync;
/// Hears of entries that are about to expire.
pub(crate) type Expiring<K, V> = dyn Fn(&K, &V) + Send + Sync;

impl<K, V> Listener<K, V> {
    pub(crate) fn new() -> Self {
        Self { removed: None, expired: None, expiring: None, named: Named::new(None) }
    }

    /// With the cache's name, for what is told of the listener itself.
    pub(crate) fn of(self, name: Option<&str>) -> Self {
        Self { named: Named::new(name), ..self }
    }

    /// Calls one. Its panic is its own.
    fn call(&self, told: &'static str, listener: impl FnOnce()) {
        if catch(listener).is_none() {
            trace::listener_panicked(&self.named, told);
        }
    }

    pub(crate) fn on_removed(&mut self, removed: Box<Removed<K, V>>) {
        self.removed = Some(removed);
    }

    pub(crate) fn on_expired(&mut self, expired: Box<Expired<K, V>>) {
        self.expired = Some(expired);
    }

    pub(crate) fn on_expiring(&mut self, expiring: Box<Expiring<K, V>>) {
        self.expiring = Some(expiring);
    }

    /// Whether anybody hears of removed values.
    pub(crate) fn is_listening(&self) -> bool {
        self.removed.is_some() || self.expired.is_some()
    }

    /// Whether anybody hears of anything.
    pub(crate) fn is_there(&self) -> bool {
        self.is_listening() || self.expiring.is_some()
    }

    /// Outside every lock.
    pub(crate) fn notify(&self, key: &K, value: &V, cause: RemovalCause) {
        self.notify_alone(key, value, cause);
        if let (Some(expired), RemovalCause::Expired) = (&self.expired, cause) {
            self.call("expired", || expired(&[(key, value)]));
        }
    }

    fn notify_alone(&self, key: &K, value: &V, cause: RemovalCause) {
        if let Some(removed) = &self.removed {
            self.call("removed", || removed(key, value, cause));
        }
    }
}

impl<K, V> Listens<K, V> for Listener<K, V> {
    fn expired(&self, nodes: &[Unlinked<K, V>]) {
        let pairs = || nodes.iter().map(|old| (old.node().key(), old.node().value()));
        for (key, value) in pairs() {
            self.notify_alone(key, value, RemovalCause::Expired);
        }
        if let Some(expired) = &self.expired {
            let batch: Vec<_> = pairs().collect();
            self.call("expired", || expired(&batch));
        }
    }

    fn expiring(&self, key: &K, value: &V) {
        if let Some(expiring) = &self.expiring {
            self.call("expiring", || expiring(key, value));
        }
    }
}

impl<K, V> fmt::Debug for Listener<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("removed", &self.removed.is_some())
            .field("expired", &self.expired.is_some())
            .field("expiring", &self.expiring.is_some())
            .finish()
    }
}
