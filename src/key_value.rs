//! What keys and values have to be, said once.

use std::hash::Hash;

/// A type that can be the key of a cache: any that is `Hash + Eq + Send + Sync + 'static`. There is nothing to implement.
///
/// A short name for these bounds, in the documentation and in code that is generic over keys:
///
/// ```
/// use std::hash::BuildHasher;
/// use tidewheel::{Cache, Key, Value};
///
/// fn first<K: Key + Clone, V: Value + Clone, S>(cache: &Cache<K, V, S>) -> Option<(K, V)>
/// where
///     S: BuildHasher + Send + Sync + 'static,
/// {
///     cache.iter().next()
/// }
/// let cache = Cache::new(10);
/// cache.insert("k", 7);
/// assert_eq!(first(&cache), Some(("k", 7)));
/// ```
///
/// `Hash` and `Eq` must agree, as for a map: two keys that are equal have equal hashes, and what a key is [looked up by](crate::Equivalent) hashes as the key
/// does.
///
/// `Eq` runs while a shard is locked, and must not call the cache. If it panics, the panic hook (`std::panic::set_hook`) runs under that lock too, so the hook
/// must not write to the cache either. Nor must a global allocator.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a cache",
    label = "a key has to be `Hash + Eq + Send + Sync + 'static`",
    note = "`Hash` and `Eq` come by `#[derive(PartialEq, Eq, Hash)]`"
)]
pub trait Key: Hash + Eq + Send + Sync + 'static {}

impl<K: Hash + Eq + Send + Sync + 'static> Key for K {}

/// A type that can be a value of a cache, or the data of a session: any that is `Send + Sync + 'static`. There is nothing to implement.
///
/// Many threads may look at a value at once, and a thread other than the one that stored it may drop it. [`Key`] has an example.
///
/// ```
/// fn is_value<V: tidewheel::Value>() {}
/// is_value::<String>();
/// is_value::<std::sync::Arc<std::sync::Mutex<Vec<u8>>>>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a value of a cache or the data of a session",
    label = "a value has to be `Send + Sync + 'static`",
    note = "threads share it: take an `Arc` in place of an `Rc`, and a lock or an atomic in place of a `Cell`"
)]
pub trait Value: Send + Sync + 'static {}

impl<V: Send + Sync + 'static> Value for V {}
