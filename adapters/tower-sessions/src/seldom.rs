//! Leave to do what costs much, once in a while. It never knows what that is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Says yes once in each interval at most; to the first who asks.
#[derive(Debug)]
pub(crate) struct Seldom {
    interval: Duration,
    made: Instant,
    /// In milliseconds after `made`: nobody is told yes before.
    next: AtomicU64,
}

impl Seldom {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, made: Instant::now(), next: AtomicU64::new(0) }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.is_due_after(self.made.elapsed())
    }

    fn is_due_after(&self, time: Duration) -> bool {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = millis(time);
        // ORDERING: Relaxed; nothing is read on the strength of it. Of those who ask at the same time one changes it.
        let was_due = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            (now >= next).then(|| now.saturating_add(millis(self.interval)))
        });
        was_due.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_at_once_and_then_once_in_each_interval() {
        let seldom = Seldom::new(Duration::from_millis(1000));
        let due = [0, 0, 999, 1000, 1001, 1999, 5000, 5999, 6000].map(Duration::from_millis);
        let due = due.map(|time| seldom.is_due_after(time));
        assert_eq!(due, [true, false, false, true, false, false, true, false, true]);
    }
}
