//! What a manager counts.
//!
//! Knows what is counted, and neither sessions nor owners.

use super::cause::{EndCause, Leaving};
use crate::sync::atomic::{AtomicU64, Ordering};

/// What a [`SessionManager`](crate::SessionManager) has counted since it was built, if it was built
/// with [`record_stats`](crate::SessionManagerBuilder::record_stats). It does not change any more.
///
/// Each figure is exact once no other thread uses the manager; while others do, figures that belong
/// together may be from slightly different moments.
///
/// ```
/// use tidewheel::SessionManager;
///
/// let sessions = SessionManager::builder().record_stats().build()?;
/// let id = sessions.create("data")?;
/// sessions.get(&id)?;
/// sessions.remove(&id)?;
/// assert!(sessions.get(&id).is_err());
/// let stats = sessions.stats();
/// assert_eq!((stats.created, stats.ended, stats.found, stats.not_found), (1, 1, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct SessionStats {
    /// Sessions that were opened. Not those that were restored.
    pub created: u64,
    /// Sessions that got another id.
    pub rotated: u64,
    /// Sessions that expired, and are out of memory.
    pub expired: u64,
    /// Sessions that were ended by their ids, or by `retain`.
    pub ended: u64,
    /// Sessions that were ended with others of their owners.
    pub all_ended: u64,
    /// Sessions that ended because their owners opened others.
    pub displaced: u64,
    /// Sessions that were refused because a limit was reached, the manager's or the owner's.
    pub refused: u64,
    /// Reads by `get`, `read` and their like that found a session.
    pub found: u64,
    /// Such reads that found none.
    pub not_found: u64,
}

impl SessionStats {
    /// Returns what was counted between an earlier moment and this one: each figure minus its value
    /// then, or zero if that was more.
    ///
    /// ```
    /// use tidewheel::SessionManager;
    /// let sessions = SessionManager::builder().record_stats().build()?;
    /// sessions.create("ada")?;
    /// let earlier = sessions.stats();
    /// let id = sessions.create("ben")?;
    /// sessions.get(&id)?;
    /// let since = sessions.stats().since(&earlier);
    /// assert_eq!((since.created, since.found), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            created: self.created.saturating_sub(earlier.created),
            rotated: self.rotated.saturating_sub(earlier.rotated),
            expired: self.expired.saturating_sub(earlier.expired),
            ended: self.ended.saturating_sub(earlier.ended),
            all_ended: self.all_ended.saturating_sub(earlier.all_ended),
            displaced: self.displaced.saturating_sub(earlier.displaced),
            refused: self.refused.saturating_sub(earlier.refused),
            found: self.found.saturating_sub(earlier.found),
            not_found: self.not_found.saturating_sub(earlier.not_found),
        }
    }
}

/// Counters of what writers do. (Those of reads are the cache's.)
#[derive(Debug)]
pub(super) struct Tally {
    created: AtomicU64,
    rotated: AtomicU64,
    expired: AtomicU64,
    ended: AtomicU64,
    all_ended: AtomicU64,
    displaced: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    pub(super) fn new() -> Self {
        let nought = || AtomicU64::new(0);
        Self {
            created: nought(),
            rotated: nought(),
            expired: nought(),
            ended: nought(),
            all_ended: nought(),
            displaced: nought(),
            refused: nought(),
        }
    }

    pub(super) fn created(&self) {
        raise(&self.created);
    }

    pub(super) fn refused(&self) {
        raise(&self.refused);
    }

    /// A value has left for this reason, or has been replaced.
    pub(super) fn left(&self, leaving: Option<Leaving>) {
        match leaving {
            None => {}
            Some(Leaving::Move) => raise(&self.rotated),
            Some(Leaving::End(EndCause::Expired)) => raise(&self.expired),
            Some(Leaving::End(EndCause::Ended)) => raise(&self.ended),
            Some(Leaving::End(EndCause::AllEnded)) => raise(&self.all_ended),
            Some(Leaving::End(EndCause::Displaced)) => raise(&self.displaced),
        }
    }

    pub(super) fn sum(&self, found: u64, not_found: u64) -> SessionStats {
        SessionStats {
            created: figure(&self.created),
            rotated: figure(&self.rotated),
            expired: figure(&self.expired),
            ended: figure(&self.ended),
            all_ended: figure(&self.all_ended),
            displaced: figure(&self.displaced),
            refused: figure(&self.refused),
            found,
            not_found,
        }
    }
}

fn raise(counter: &AtomicU64) {
    // ORDERING: Relaxed; a figure.
    counter.fetch_add(1, Ordering::Relaxed);
}

fn figure(counter: &AtomicU64) -> u64 {
    // ORDERING: Relaxed; as above.
    counter.load(Ordering::Relaxed)
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_is_each_figures_difference_and_never_less_than_nothing() {
        let figures = |of: u64| SessionStats {
            created: of,
            rotated: 2 * of,
            expired: 3 * of,
            ended: 4 * of,
            all_ended: 5 * of,
            displaced: 6 * of,
            refused: 7 * of,
            found: 8 * of,
            not_found: 9 * of,
        };
        assert_eq!(figures(30).since(&figures(10)), figures(20));
        assert_eq!(figures(10).since(&figures(30)), SessionStats::default());
    }
}
