//! The lease: until when hits may be served without asking the server, and the moments that it is counted in. Knows no connection and no entry.
//!
//! # The arithmetic
//!
//! Let a PING be sent at the moment `s`, on the connection that also brings the invalidations, and let its answer be handled. The server put
//! the answer behind every invalidation of a write that it had acknowledged before it came to the PING, which was not before `s`. The wire keeps
//! that order, and so does whoever handles it (`link.rs`). So whoever looks from now on sees every write that was acknowledged before `s`. A
//! hit at the moment `t` with `t - s < span` misses no write that was acknowledged before `t - span`. Counted from the *arrival* of the answer, that would be
//! wrong by the time that the answer took.
//!
//! In broadcasting mode the server collects invalidations and sends them once in each turn of its loop, before it writes the answers
//! of that turn; but an answer that did not fit its socket before may go out ahead of that. So a PING that is read in the same turn as a write
//! may be answered before the write's invalidation is sent. The next PING, sent after that answer was here, is read in a later turn. So
//! there the lease counts from the sending of the PING *before* the one that was answered last, and the promise is the same. (With Redis'
//! `io-threads`, every answer may go out ahead of the invalidations of its turn, not only one that did not fit. The PING before still is
//! early enough, as long as the server serves a client once in each turn.)
//!
//! # How long it has to be
//!
//! Let each answer take as long as `r`, a quarter of the lease at least. Then a PING is sent whenever one is answered, and what was sent at the
//! moment `s` is answered at `s + r`, the next at `s + 2r`. Hits are served from `s + r` until `s + span`: some if `r < span`, and without
//! a break if `2r <= span`. In broadcasting mode they are served from `s + 2r` on, and the lease is renewed at `s + 3r`: some are if `2r < span`,
//! and without a break if `3r <= span`. With a smaller `r` there is no break.
//!
//! # Who looks when
//!
//! A reader takes the time first, then looks at the lease, then at the epoch, then at the entry. What was removed before the
//! lease was renewed is not found by whoever saw it renewed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A moment: nanoseconds since the near cache was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) const NEVER: Self = Self(0);

    pub(crate) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    pub(crate) fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }

    /// Nothing, if that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The number of a connection, the first being 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkNumber(u64);

impl LinkNumber {
    pub(crate) const FIRST: Self = Self(1);

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What is written down, seldom.
struct Book {
    /// The connection whose answers count.
    link: Option<LinkNumber>,
    /// When the PING was sent that the lease counts from.
    proven: Moment,
    /// Whether it was ever fresh.
    was_fresh: bool,
    /// Whether it was reported that it is cut off, since it was last fresh.
    is_cut_told: bool,
    cuts: u64,
    /// How long it was cut off in all, without the present cut.
    cut_off: Duration,
}

/// What came of a renewal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Renewal {
    /// It was fresh, or it is not.
    Same,
    /// It is fresh again.
    Fresh {
        /// Whether it was cut off before that, and nobody was told.
        untold: bool,
    },
}

pub(crate) struct Lease {
    base: Instant,
    span: Duration,
    /// Hits are served before this moment.
    until: AtomicU64,
    book: Mutex<Book>,
}

/// What the book says.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) is_fresh: bool,
    /// How old the proof is: how long ago the PING was sent that the lease counts from.
    pub(crate) age: Duration,
    pub(crate) cuts: u64,
    pub(crate) cut_off: Duration,
    /// Nothing while it is fresh.
    pub(crate) cut_off_for: Duration,
}

impl Lease {
    pub(crate) fn new(span: Duration) -> Self {
        let book = Book {
            link: None,
            proven: Moment::NEVER,
            was_fresh: false,
            is_cut_told: false,
            cuts: 0,
            cut_off: Duration::ZERO,
        };
        Self { base: Instant::now(), span, until: AtomicU64::new(0), book: Mutex::new(book) }
    }

    pub(crate) fn span(&self) -> Duration {
        self.span
    }

    #[inline]
    pub(crate) fn now(&self) -> Moment {
        let since = self.base.elapsed();
        // Good for 584 years, and cheaper than `as_nanos`.
        Moment(since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos()))
    }

    /// Whether hits may be served, as of a moment that was taken before.
    #[inline]
    pub(crate) fn is_fresh(&self, now: Moment) -> bool {
        // ORDERING: Acquire; pairs with Release in `renew`: what was removed before that is not found after this.
        now.0 < self.until.load(Ordering::Acquire)
    }

    /// The answers of that connection count from now on.
    pub(crate) fn begin(&self, link: LinkNumber) {
        self.book().link = Some(link);
    }

    /// Renews the lease. It counts from a PING that was sent at that moment, on that connection.
    pub(crate) fn renew(&self, link: LinkNumber, sent: Moment) -> Renewal {
        let mut book = self.book();
        if book.link != Some(link) {
            return Renewal::Same;
        }
        book.proven = sent;
        let (now, was) = (self.now(), self.until());
        let until = sent.after(self.span);
        if until <= now {
            // It took so long that it proves nothing any more.
            return Renewal::Same;
        }
        let mut renewal = Renewal::Same;
        if was <= now {
            renewal = Renewal::Fresh { untold: book.was_fresh && !book.is_cut_told };
            if book.was_fresh {
                book.cuts += 1;
                book.cut_off += now.since(was);
            }
        }
        (book.was_fresh, book.is_cut_told) = (true, false);
        // ORDERING: Release; pairs with Acquire in `is_fresh`.
        self.until.store(until.0, Ordering::Release);
        renewal
    }

    /// Returns whether it is cut off and that has not been reported yet. Notes it as reported: the caller has to report it.
    pub(crate) fn note_cut(&self) -> bool {
        let mut book = self.book();
        let is_cut = book.was_fresh && self.until() <= self.now();
        is_cut && !std::mem::replace(&mut book.is_cut_told, true)
    }

    /// How long it is still fresh, if it is.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.until().since(self.now());
        (!left.is_zero()).then_some(left)
    }

    /// That connection is no more: nothing is served, and its answers count no longer.
    pub(crate) fn end(&self, link: LinkNumber) {
        let mut book = self.book();
        if book.link == Some(link) {
            book.link = None;
            let until = self.until().min(self.now());
            // ORDERING: Release; as in `renew`.
            self.until.store(until.0, Ordering::Release);
        }
    }

    /// Until when old entries may be served under `CutOff::ServeStale`.
    pub(crate) fn stale_until(&self, longer: Duration) -> Moment {
        self.book().proven.after(self.span).after(longer)
    }

    pub(crate) fn standing(&self) -> Standing {
        let book = self.book();
        let (now, until) = (self.now(), self.until());
        let cut_off_for = now.since(until);
        let is_fresh = now < until;
        Standing {
            is_fresh,
            age: now.since(book.proven),
            cuts: book.cuts + u64::from(!is_fresh && book.was_fresh),
            cut_off: if book.was_fresh { book.cut_off + cut_off_for } else { Duration::ZERO },
            cut_off_for,
        }
    }

    fn until(&self) -> Moment {
        // ORDERING: Acquire; as in `is_fresh`.
        Moment(self.until.load(Ordering::Acquire))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_sending() {
        let lease = Lease::new(Duration::from_secs(100));
        let first = LinkNumber::FIRST;
        lease.begin(first);
        assert!(!lease.is_fresh(lease.now()));
        lease.renew(first, Moment(7));
        assert!(lease.is_fresh(Moment(7 + 99_999_999_999)));
        assert!(!lease.is_fresh(Moment(7 + 100_000_000_000)));
    }

    #[test]
    fn each_cut_is_told_once() {
        let lease = Lease::new(Duration::from_secs(100));
        let link = LinkNumber::FIRST;
        lease.begin(link);
        assert!(!lease.note_cut(), "it was never fresh");
        assert_eq!(lease.renew(link, lease.now()), Renewal::Fresh { untold: false });
        assert_eq!(lease.renew(link, lease.now()), Renewal::Same);
        assert!(!lease.note_cut());
        lease.end(link);
        lease.begin(link);
        assert!(lease.note_cut() && !lease.note_cut());
        assert_eq!(lease.renew(link, lease.now()), Renewal::Fresh { untold: false });
        lease.end(link);
        lease.begin(link);
        assert_eq!(lease.renew(link, lease.now()), Renewal::Fresh { untold: true });
        assert!(!lease.note_cut());
    }

    #[test]
    fn what_was_cut_is_not_renewed_by_late_answers() {
        let lease = Lease::new(Duration::from_secs(100));
        let (first, second) = (LinkNumber::FIRST, LinkNumber::FIRST.next());
        lease.begin(first);
        lease.renew(first, lease.now());
        lease.end(second);
        assert!(lease.standing().is_fresh, "another connection ended");
        lease.end(first);
        assert!(!lease.standing().is_fresh);
        lease.renew(first, lease.now());
        assert!(!lease.standing().is_fresh);
        lease.begin(second);
        lease.renew(first, lease.now());
        assert!(!lease.standing().is_fresh);
        lease.renew(second, lease.now());
        assert!(lease.standing().is_fresh);
        assert_eq!(lease.standing().cuts, 1);
    }
}
