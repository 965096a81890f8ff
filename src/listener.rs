//! Why a value was removed, and who is told.
//!
//! A listener's panic is the listener's own: it is caught, the listener stays installed, and the call or
//! the reaper that told it goes on.

use crate::sync::catch;
use std::fmt;

/// Why a value left the cache.
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
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Its deadline passed. The reaper tells of it, or a thread that wanted its room before the reaper came.
    Expired,
    /// It was removed, invalidated, or moved to another key. The caller's thread tells of it.
    Explicit,
    /// Another value took its place. The caller's thread tells of it.
    Replaced,
    /// It had to make room, or was too heavy to be kept. The thread tells of it that wanted the room.
    Size,
}

/// A user's function that hears of every removed value, once.
pub(crate) struct Listener<K, V>(Box<Heard<K, V>>);

type Heard<K, V> = dyn Fn(&K, &V, RemovalCause) + Send + Sync;

impl<K, V> Listener<K, V> {
    pub(crate) fn new(heard: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static) -> Self {
        Self(Box::new(heard))
    }

    /// Outside every lock.
    pub(crate) fn tell(&self, key: &K, value: &V, cause: RemovalCause) {
        let _ = catch(|| (self.0)(key, value, cause));
    }
}

impl<K, V> fmt::Debug for Listener<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
