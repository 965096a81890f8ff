//! The value of the measurement of expiry: it counts how many of its kind are alive, and notes when the
//! last one died. It never knows what holds it.

use super::TIME_TO_LIVE;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

static ALIVE: AtomicU64 = AtomicU64::new(0);
static LAST_DEATH: Mutex<Option<Instant>> = Mutex::new(None);

pub(crate) struct Mortal {
    /// One that stays is not counted, so that a reader of those that stay touches no counter.
    expires: bool,
}

impl Mortal {
    /// One that is to die at the deadline.
    pub(crate) fn expiring() -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self { expires: true }
    }

    /// One that outlives the measurement.
    pub(crate) fn staying() -> Self {
        Self { expires: false }
    }

    /// How long it has, from now on.
    pub(crate) fn time_to_live(&self, deadline: Instant) -> Duration {
        if self.expires { deadline.saturating_duration_since(Instant::now()) } else { TIME_TO_LIVE }
    }

    pub(crate) fn alive() -> u64 {
        ALIVE.load(Ordering::Relaxed)
    }

    /// When there was none alive any more, if there is none.
    pub(crate) fn extinct_since() -> Option<Instant> {
        // The lock orders the two: who brings the counter to zero takes it afterwards.
        let last_death = *LAST_DEATH.lock().expect("nobody panics under this lock");
        last_death.filter(|_| Self::alive() == 0)
    }
}

/// Caches clone what they hand out, and some what they take in.
impl Clone for Mortal {
    fn clone(&self) -> Self {
        if self.expires { Self::expiring() } else { Self::staying() }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if self.expires && ALIVE.fetch_sub(1, Ordering::Relaxed) == 1 {
            *LAST_DEATH.lock().expect("nobody panics under this lock") = Some(Instant::now());
        }
    }
}
