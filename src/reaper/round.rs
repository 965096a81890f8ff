//! A round of the reaper's thread: a visit to all caches, or to those in which garbage waits. Also
//! what the reaper knows of a cache, and what it promises to it.
//!
//! This file knows no lock and no thread. Callers of `begin` and `end` hold the reaper's lock (`mod.rs`).

use crate::roster::Roster;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Arc, Weak, catch};
use crate::time::{Span, Tick};
use crate::trace;
use std::time::Duration;

/// What the reaper knows of a cache.
pub(crate) trait Sweep: Send + Sync {
    /// Removes what is due, if anything is at `now`. Returns when to come again (`Tick::NEVER`: not at all), and how
    /// late this visit was.
    fn sweep(&self, now: Tick) -> (Tick, Span);

    /// Advances reclamation and drops what is reclaimable. Returns whether garbage still waits.
    fn reclaim(&self) -> bool;
}

/// The tick by which the thread will have come to a cache. `NEVER` during a round.
///
/// Written under the reaper's lock only.
pub(super) struct Promise(AtomicU64);

impl Promise {
    pub(super) fn none() -> Self {
        Self(AtomicU64::new(Tick::NEVER.as_nanos()))
    }

    #[cfg(tidewheel_loom)]
    pub(super) fn touch(&self) {
        // ORDERING: Relaxed; only the models' scheduler has to see it. It publishes nothing.
        self.0.fetch_add(0, Ordering::Relaxed);
    }

    pub(super) fn tick(&self) -> Tick {
        // ORDERING: Relaxed; what it decides is ordered by the fences in `Registration::wake` and
        // `Round::begin`.
        Tick::from_nanos(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn make(&self, at: Tick) {
        // ORDERING: Relaxed; the same reason as in `tick`.
        self.0.store(at.as_nanos(), Ordering::Relaxed);
    }
}

/// A cache in the reaper's care.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) cache: Weak<dyn Sweep>,
    pub(super) promise: Arc<Promise>,
}

pub(super) enum Work {
    /// Something is due, since the second tick: visit every cache.
    Sweep(Tick, Tick),
    /// Nothing is due, but garbage waits: advance where it does.
    Reclaim(Tick),
}

/// The first pause before the thread looks after garbage again. Doubled while there is no progress.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// The thread's own state between visits.
pub(super) struct Round {
    /// The caches of this round. While the thread sleeps: those in which garbage waits.
    pub(super) visits: Vec<Visit>,
    /// The earliest answer of the last sweep.
    pub(super) next: Tick,
    pub(super) pause: Duration,
}

pub(super) struct Visit {
    member: Member,
    /// The answer of `sweep`.
    next: Tick,
    /// The answer of `reclaim`.
    garbage: bool,
}

/// What came of sweeping one cache.
struct Answer {
    next: Tick,
    lag: Span,
    garbage: bool,
}

impl Answer {
    /// Nothing was done, and the cache is to be visited then.
    fn at(next: Tick) -> Self {
        Self { next, lag: Span::NONE, garbage: false }
    }
}

impl Round {
    pub(super) fn new() -> Self {
        Self { visits: Vec::new(), next: Tick::NEVER, pause: PAUSE }
    }

    /// Revokes all promises and lists the caches to visit. Requires the lock.
    pub(super) fn begin(&mut self, caches: &Roster<Member>) {
        self.visits.clear();
        self.visits.extend(caches.iter().map(|member| {
            member.promise.make(Tick::NEVER);
            Visit { member: member.clone(), next: Tick::NEVER, garbage: false }
        }));
        // ORDERING: SeqCst fence; pairs with the fence in `Registration::wake`, see there.
        fence(Ordering::SeqCst);
    }

    /// Makes new promises, and removes the caches where nothing waits. Requires the lock.
    pub(super) fn end(&mut self) {
        for Visit { member, next, .. } in &self.visits {
            if *next < member.promise.tick() {
                member.promise.make(*next);
            }
        }
        self.visits.retain(|visit| visit.garbage);
    }

    /// Sweeps every cache. Reports how late the round was: when it began, or when it came to a shard
    /// (a listener may have blocked).
    pub(super) fn sweep(&mut self, now: Tick, due: Tick) {
        // `LONG_AGO` means "at once": nothing has been due since then.
        let mut late = if due > Tick::LONG_AGO { now.since(due) } else { Span::NONE };
        self.pause = PAUSE;
        self.next = Tick::NEVER;
        for visit in &mut self.visits {
            // The handle may be the last one, so its drop must be caught as well.
            let answer = catch(|| {
                let cache = visit.member.cache.upgrade();
                cache.map_or(Answer::at(Tick::NEVER), |cache| {
                    let (next, lag) = cache.sweep(now);
                    Answer { next, lag, garbage: cache.reclaim() }
                })
            });
            let Answer { next, lag, garbage } = answer.unwrap_or(Answer::at(next_second(now)));
            (visit.next, visit.garbage) = (next, garbage);
            self.next = self.next.min(next);
            late = late.max(lag);
        }
        trace::reaper_came(late);
    }

    /// Reclaims garbage. If garbage still waits in each of the caches, the next pause is twice as long.
    pub(super) fn reclaim(&mut self, now: Tick) {
        let mut progress = false;
        for visit in &mut self.visits {
            let answer = catch(|| visit.member.cache.upgrade().is_some_and(|cache| cache.reclaim()));
            visit.garbage = answer.unwrap_or(false);
            if answer.is_none() {
                self.next = self.next.min(next_second(now));
            }
            progress |= !visit.garbage;
        }
        self.pause = if progress { PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
    }
}

/// Returns when to look again after a panic: not at once, or one bad destructor keeps it busy.
fn next_second(now: Tick) -> Tick {
    Tick::start_of(now.second() + 1)
}
