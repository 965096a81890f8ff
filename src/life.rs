//! What a write does to how long its entry lives, as a caller says it.

use crate::shard::Lasting;
use crate::time::Span;
use std::time::Duration;

/// What a write does to an entry's own time to live; given to
/// [`Cache::with_life`](crate::Cache::with_life) and
/// [`EntrySelector::with_life`](crate::EntrySelector::with_life).
///
/// | | over a live entry | where there is none |
/// |---|---|---|
/// | `Restart` | as the plain call | as the plain call |
/// | `Keep` | it ends when it would have ended | as the plain call |
/// | `Ttl(d)` | time to live `d`, from now on | the same |
/// | `Endless` | no time to live | the same |
///
/// In all cases a write is a use: the time to idle starts again. And in all cases the cache's
/// maximal age and its [`Expiry`](crate::Expiry) end the entry if they come first.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::{Cache, Life, ManualClock};
///
/// let clock = ManualClock::new();
/// let minute = Duration::from_secs(60);
/// let hits = Cache::builder().time_to_live(minute).clock(clock.clone()).build()?;
/// // The window is a minute from the first hit on, however many follow.
/// let hit = |who| *hits.entry(who).with_life(Life::Keep).and_upsert_with(|n| n.map_or(0, |n| *n.value()) + 1).value();
/// assert_eq!(hit("ann"), 1);
/// clock.advance(minute / 2);
/// assert_eq!(hit("ann"), 2);
/// assert_eq!(hits.remaining_ttl("ann"), Some(minute / 2));
/// clock.advance(minute / 2);
/// assert_eq!(hit("ann"), 1);
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Life {
    /// What the call does without a `Life`. [`insert`](crate::Cache::insert) and its like give the
    /// cache's time to live. [`replace`](crate::Cache::replace), [`update`](crate::Cache::update)
    /// and computations of entries restart the entry's own.
    #[default]
    Restart,
    /// The entry ends when it would have ended without this write: by its time to live, by its age,
    /// and by what its `Expiry` said, which is not asked about this write. The entry keeps its age
    /// and its own time to live, which a later [`touch`](crate::Cache::touch) restarts. Its time to
    /// idle starts again, but does not go beyond the end that is kept.
    ///
    /// For fixed windows: a rate limit, or a code that is good for ten minutes however often it is
    /// tried.
    Keep,
    /// This time to live, from now on; touches and updates restart it. Zero: the entry is never
    /// visible, and a bounded cache evicts nothing for it. More than 146 years: for ever.
    Ttl(Duration),
    /// No time to live.
    Endless,
}

impl Life {
    /// Of a write that makes a new entry of whatever is there, and has this time to live to give.
    #[inline]
    pub(crate) fn of_insert(self, ttl: Span) -> Lasting {
        match self {
            Self::Restart => Lasting::New(ttl),
            Self::Keep => Lasting::Kept,
            Self::Ttl(ttl) => Lasting::New(Span::from_duration(ttl)),
            Self::Endless => Lasting::New(Span::ENDLESS),
        }
    }

    /// Of a write that goes on with the entry that is there.
    #[inline]
    pub(crate) fn of_update(self) -> Lasting {
        match self {
            Self::Restart => Lasting::Restarted,
            Self::Keep => Lasting::Kept,
            Self::Ttl(ttl) => Lasting::Given(Span::from_duration(ttl)),
            Self::Endless => Lasting::Given(Span::ENDLESS),
        }
    }
}
