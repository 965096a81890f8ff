//! Rounds: a closure runs again if a write came in between, on what that write left.
//!
//! An operation that looks at a key, runs user code, and then stores or removes only if what it looked at is still
//! there, begins anew if it is not. Each round has its own pin, so that what earlier rounds looked at can be dropped.
//! If a round is lost to others, it is repeated for as long as it takes, for then those made progress. But a round that
//! is lost to the user code within it would be repeated for ever.

use super::handle::Place;
use crate::inflight::{Ticket, Watching};
use crate::shard::Shard;
use crate::table::Node;

/// So many rounds may be lost to the code that runs within. (What writes its own key once, or twice, may have its reason.)
const OWN: u32 = 2;

/// The rounds of a call so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    /// Whether there was one.
    is_again: bool,
    /// How many were lost to what ran within.
    own: u32,
}

/// A round that is not the first.
pub(super) struct Round<'c, K, V> {
    shard: &'c Shard<K, V>,
    watching: Option<Watching>,
}

impl Rounds {
    #[inline]
    pub(super) const fn new() -> Self {
        Self { is_again: false, own: 0 }
    }

    /// A round begins: user code is shown this node, or that there is none. The first one, which is nearly always the only
    /// one, is not watched.
    #[inline]
    pub(super) fn begin<'c, K, V>(
        &self,
        place: Place<'c, K, V>,
        shown: Option<&Node<K, V>>,
    ) -> Option<Round<'c, K, V>> {
        self.is_again.then(|| Round::watch(place, shown))
    }

    /// It was lost: what was shown is not there any more. The rounds so far.
    ///
    /// # Panics
    ///
    /// If that would go on for ever.
    #[cold]
    #[inline(never)]
    pub(super) fn lose<K, V>(mut self, round: Option<Round<'_, K, V>>) -> Self {
        self.is_again = true;
        self.count(round.is_some_and(Round::end_lost_to_its_own));
        self
    }

    /// As `lose`, where it is known to whom it was lost.
    pub(super) fn count(&mut self, by_own: bool) {
        self.own += u32::from(by_own);
        assert!(
            self.own <= OWN,
            "a closure that is about a key has written that same key itself, on the same thread, each time it ran: it has \
             to run again after every write, on what that left, and would never come to an end"
        );
    }
}

impl<'c, K, V> Round<'c, K, V> {
    #[cold]
    #[inline(never)]
    fn watch(Place { hash, shard }: Place<'c, K, V>, shown: Option<&Node<K, V>>) -> Self {
        Self { shard, watching: Some(shard.watch(hash, shown)) }
    }

    /// The user code of the round has run. What the call itself does after that is not that code's doing.
    #[inline]
    pub(super) fn has_run(round: &mut Option<Self>) {
        if let Some(watching) = round.as_mut().and_then(|round| round.watching.as_mut()) {
            watching.has_run();
        }
    }

    fn end(&mut self) -> Option<Ticket> {
        self.watching.take().map(|watching| watching.ticket)
    }

    fn end_lost_to_its_own(mut self) -> bool {
        self.end().is_some_and(|ticket| self.shard.end_watch(ticket))
    }
}

impl<K, V> Drop for Round<'_, K, V> {
    fn drop(&mut self) {
        if let Some(ticket) = self.end() {
            self.shard.end_watch(ticket);
        }
    }
}
