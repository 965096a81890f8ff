//! The errors of building a cache, of changing its capacity, and of loading. (A session's errors
//! live beside it, in `session/`.)
//!
//! An error says what was wrong and what is allowed. What another error behind it says, it leaves to
//! `source`.

use crate::sync::Arc;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// The operating system's random generator did not answer, or repeated itself.
///
/// ```
/// use tidewheel::{BuildError, Cache};
/// match Cache::<u64, u64>::builder().build() {
///     Err(BuildError::NoRandomness(error)) => assert!(error.to_string().contains("did not answer")),
///     // The usual machine has one:
///     built => assert!(built.is_ok()),
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoRandomness(Why);

/// What was wrong with the generator.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Why {
    Silent(getrandom::Error),
    Repeats,
}

impl NoRandomness {
    /// The generator did not answer.
    pub(crate) fn new(source: getrandom::Error) -> Self {
        Self(Why::Silent(source))
    }

    /// The generator gave what it had given before.
    pub(crate) fn repeated() -> Self {
        Self(Why::Repeats)
    }
}

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Silent(source) => {
                write!(f, "the operating system's random generator did not answer: {source}")
            }
            Why::Repeats => f.write_str(
                "the operating system's random generator repeated itself: it gave an id that is in use",
            ),
        }
    }
}

impl Error for NoRandomness {}

/// The load or computation that a call waited for took longer than the call was ready to wait.
///
/// - With [`Cache::timeout`](crate::Cache::timeout) and
///   [`EntrySelector::timeout`](crate::EntrySelector::timeout), the call waited for another call.
///   Its own closure, which makes the value, has not run.
/// - With [`get_with_detached`](crate::Cache::get_with_detached) and its like, the call waited for
///   its own job, which goes on, on its executor. Or it waited for another load or computation of the
///   key; then it has begun no job.
///
/// What the call waited for goes on. The call itself has changed nothing.
///
/// ```
/// use std::time::Duration;
/// let cache = tidewheel::Cache::new(10);
/// let kept = std::sync::Mutex::new(None);
/// // An executor that has not run the job yet:
/// let late = cache.get_with_detached("k", Duration::from_millis(5), || 7, |job| {
///     *kept.lock().unwrap() = Some(job);
/// });
/// let late = late.unwrap_err();
/// assert_eq!(late.timeout, Duration::from_millis(5));
/// assert_eq!(late.to_string(), "the load or computation of the key was not done within 5ms");
///
/// kept.into_inner().unwrap().unwrap()(); // now it does
/// assert_eq!(cache.get("k"), Some(7));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TimedOut {
    /// How long it waited.
    pub timeout: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the load or computation of the key was not done within {:?}", self.timeout)
    }
}

impl Error for TimedOut {}

/// Why a call with a time limit got no value from a loader that may fail.
///
/// Where the loader failed, the text is its error's, and so is the source: a log shows what it shows
/// of a call without a limit.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::{Cache, LoadError};
/// let cache = Cache::<_, u32>::new(10);
/// let loaded = cache.timeout(Duration::from_secs(1)).try_get_with("k", || "seven".parse());
/// assert_eq!(loaded.as_ref().unwrap_err().to_string(), "invalid digit found in string");
/// assert!(matches!(loaded, Err(LoadError::Failed(_))));
/// ```
#[derive(PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed: this call's, or the one that it waited for.
    Failed(Arc<E>),
    /// What the call waited for took too long: another call's load or computation of the key, or
    /// this call's own job, where the load is a detached one.
    TimedOut(TimedOut),
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(error.clone()),
            Self::TimedOut(timed_out) => Self::TimedOut(*timed_out),
        }
    }
}

impl<E> From<TimedOut> for LoadError<E> {
    fn from(timed_out: TimedOut) -> Self {
        Self::TimedOut(timed_out)
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::TimedOut(timed_out) => timed_out.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::TimedOut(_) => None,
        }
    }
}

/// Why a cache's capacity could not be changed.
///
/// ```
/// use tidewheel::{Cache, CapacityError};
/// let cache = Cache::<u64, u64>::builder().build()?;
/// assert_eq!(cache.set_max_capacity(10), Err(CapacityError::Unbounded));
/// let cache = Cache::<u64, u64>::builder().max_capacity(1_000).shards(8).build()?;
/// let error = cache.set_max_capacity(5).unwrap_err();
/// assert_eq!(error.to_string(), "a capacity of 5 asked for; 0, or at least 8, one for each shard, is allowed");
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CapacityError {
    /// The cache was built without a capacity.
    Unbounded,
    /// Some shards would have no room at all.
    #[non_exhaustive]
    TooSmall {
        /// The capacity that was asked for.
        given: u64,
        /// The least that is allowed, besides 0.
        least: u64,
    },
}

impl fmt::Display for CapacityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbounded => {
                write!(f, "the cache was built without a maximal capacity; it stays unbounded")
            }
            Self::TooSmall { given, least } => {
                write!(
                    f,
                    "a capacity of {given} asked for; 0, or at least {least}, one for each shard, is allowed"
                )
            }
        }
    }
}

impl Error for CapacityError {}

/// Why a cache could not be built.
///
/// ```
/// use tidewheel::{BuildError, Cache};
/// let error = Cache::<u64, u64>::builder().shards(3).build().unwrap_err();
/// assert!(matches!(error, BuildError::Shards { given: 3, .. }));
/// assert_eq!(error.to_string(), "3 shards asked for; a power of two from 1 to 65536 is allowed");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The number of shards is not a power of two from 1 to 65,536.
    #[non_exhaustive]
    Shards {
        /// The number that was asked for.
        given: usize,
    },
    /// The initial capacity is more than 2^27 - 64 entries for each shard (or, on 32 bits, than 2^28 - 1).
    #[non_exhaustive]
    InitialCapacity {
        /// The capacity that was asked for.
        given: usize,
        /// The most that is allowed with as many shards as the cache would have.
        most: u64,
    },
    /// There is a weigher, but no [`max_capacity`](crate::CacheBuilder::max_capacity), which the
    /// weights are for.
    WeigherWithoutCapacity,
    /// There is a [`pin_if`](crate::CacheBuilder::pin_if), but nothing is ever evicted: there is no
    /// [`max_capacity`](crate::CacheBuilder::max_capacity).
    PinWithoutCapacity,
    /// There is an eviction policy, but nothing is ever evicted: there is no
    /// [`max_capacity`](crate::CacheBuilder::max_capacity).
    PolicyWithoutCapacity,
    /// There is a limit for each owner of sessions, but sessions have no owners:
    /// [`max_per_owner`](crate::SessionManagerBuilder::max_per_owner) without
    /// [`owner`](crate::SessionManagerBuilder::owner).
    LimitWithoutOwner,
    /// There is a [`refresh_with`](crate::CacheBuilder::refresh_with), which says how old values
    /// are loaded again, but no [`refresh_after_write`](crate::CacheBuilder::refresh_after_write),
    /// which would say when they are old.
    ReloadWithoutAge,
    /// The age from which values are loaded again is zero, or no value gets so old.
    #[non_exhaustive]
    RefreshAfter {
        /// The age that was given.
        given: Duration,
        /// The shorter one of the time to live and the maximal age; [`Duration::MAX`] if there is
        /// neither.
        lifetime: Duration,
    },
    /// The jitter is not a fraction from 0.0 to 1.0.
    #[non_exhaustive]
    Jitter {
        /// The number that was given.
        given: f64,
    },
    /// The hasher's keys could not be drawn.
    NoRandomness(NoRandomness),
    /// The reaper's thread could not be started.
    Reaper(io::Error),
    /// A [`ManualClock`](crate::ManualClock) was combined with a reaper that has a thread: the
    /// thread sleeps by the system's clock and would never see the manual one move.
    ManualClockWithThread,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shards { given } => {
                write!(f, "{given} shards asked for; a power of two from 1 to 65536 is allowed")
            }
            Self::InitialCapacity { given, most } => {
                write!(
                    f,
                    "room for {given} entries asked for; at most {most} are allowed, and 2^27 - 64 in each shard"
                )
            }
            Self::WeigherWithoutCapacity => {
                write!(f, "a weigher was given and no maximal capacity; give both, or a capacity alone")
            }
            Self::PinWithoutCapacity => {
                write!(f, "pin_if was given and no maximal capacity; give both, or neither")
            }
            Self::PolicyWithoutCapacity => {
                write!(f, "an eviction policy was given and no maximal capacity; give both, or neither")
            }
            Self::LimitWithoutOwner => {
                write!(f, "max_per_owner was given and no owner; give both, or neither")
            }
            Self::ReloadWithoutAge => {
                write!(
                    f,
                    "refresh_with was given and no refresh_after_write; give both, or refresh_after_write alone"
                )
            }
            Self::RefreshAfter { given, lifetime: Duration::MAX } => {
                write!(f, "a refresh after {given:?} asked for; more than zero is allowed")
            }
            Self::RefreshAfter { given, lifetime } => {
                write!(
                    f,
                    "a refresh after {given:?} asked for; more than zero and less than {lifetime:?}, the time that \
                     entries live, is allowed"
                )
            }
            Self::Jitter { given } => {
                write!(f, "a jitter of {given} asked for; a fraction from 0.0 to 1.0 is allowed")
            }
            Self::NoRandomness(_) => f.write_str("the hasher's keys could not be drawn"),
            Self::Reaper(_) => f.write_str("the reaper's thread could not be started"),
            Self::ManualClockWithThread => {
                f.write_str("a manual clock allows no reaper but Reaper::manual(), which it implies")
            }
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoRandomness(source) => Some(source),
            Self::Reaper(source) => Some(source),
            Self::Shards { .. }
            | Self::InitialCapacity { .. }
            | Self::WeigherWithoutCapacity
            | Self::PinWithoutCapacity
            | Self::PolicyWithoutCapacity
            | Self::LimitWithoutOwner
            | Self::ReloadWithoutAge
            | Self::RefreshAfter { .. }
            | Self::Jitter { .. }
            | Self::ManualClockWithThread => None,
        }
    }
}

impl From<NoRandomness> for BuildError {
    fn from(source: NoRandomness) -> Self {
        Self::NoRandomness(source)
    }
}
