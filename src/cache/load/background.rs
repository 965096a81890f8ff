//! How values are loaded anew where nobody waits for it: by jobs or tasks, for an executor of the user's.

use crate::sync::Arc;

/// A job for an executor: it loads one key again.
///
/// ```
/// use std::sync::mpsc::channel;
/// use std::time::Duration;
/// use tidewheel::{Cache, ManualClock, RefreshJob};
///
/// let (clock, (jobs, queue)) = (ManualClock::new(), channel::<RefreshJob>());
/// let cache = Cache::builder()
///     .clock(clock.clone())
///     .refresh_after_write(Duration::from_secs(60))
///     .refresh_with(|_: &&str, old: &i32| Some(old + 1), move |job| jobs.send(job).unwrap())
///     .build()?;
/// cache.insert("k", 7);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(cache.get_with("k", || 0), 7); // old, and a job is made
/// queue.try_recv().unwrap()();
/// assert_eq!(cache.get("k"), Some(8));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
pub type RefreshJob = Box<dyn FnOnce() + Send>;

/// A task for an executor of futures: it loads one key again.
///
/// ```
/// use std::sync::mpsc::channel;
/// use std::time::Duration;
/// use tidewheel::{Cache, ManualClock, RefreshTask};
///
/// let (clock, (tasks, queue)) = (ManualClock::new(), channel::<RefreshTask>());
/// let cache = Cache::builder()
///     .clock(clock.clone())
///     .refresh_after_write(Duration::from_secs(60))
///     .refresh_with_async(
///         |_: &&str, old: &i32| {
///             let new = old + 1;
///             async move { Some(new) }
///         },
///         move |task| tasks.send(task).unwrap(),
///     )
///     .build()?;
/// cache.insert("k", 7);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(cache.get_with("k", || 0), 7); // old, and a task is made
/// futures_lite::future::block_on(queue.try_recv().unwrap());
/// assert_eq!(cache.get("k"), Some(8));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
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
