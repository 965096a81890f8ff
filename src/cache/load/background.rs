//! How values are loaded anew where nobody waits for it: by jobs or tasks, for an executor of the user's.

use crate::sync::Arc;

/// A job for an executor: it loads one key again.
pub type RefreshJob = Box<dyn FnOnce() + Send>;

/// A task for an executor of futures: it loads one key again.
#[cfg(feature = "async")]
pub type RefreshTask = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) type Reload<K, V, R> = dyn Fn(&K, &V) -> R + Send + Sync;
#[cfg(feature = "async")]
pub(crate) type Reloading<V> = std::pin::Pin<Box<dyn Future<Output = Option<V>> + Send>>;

/// How values are loaded anew, where it is not by the caller that finds them old.
pub(crate) enum Background<K, V> {
    Jobs {
        reload: Arc<Reload<K, V, Option<V>>>,
        executor: Box<dyn Fn(RefreshJob) + Send + Sync>,
    },
    #[cfg(feature = "async")]
    Tasks {
        reload: Arc<Reload<K, V, Reloading<V>>>,
        executor: Box<dyn Fn(RefreshTask) + Send + Sync>,
    },
}
