//! Waiting that goes by naps, and not by the clock. While the machine stands still, the clock goes on, and nobody has had a
//! chance to do anything; a nap is one nap all the same. Knows nothing of caches.

use std::thread;
use std::time::Duration;

/// So long is a nap, at least.
const NAP: Duration = Duration::from_millis(10);

/// Naps until it is done. Returns false if it is not done after naps that make up the limit.
pub(crate) fn nap_until(limit: Duration, done: impl Fn() -> bool) -> bool {
    let mut napped = Duration::ZERO;
    while !done() {
        if napped >= limit {
            return false;
        }
        thread::sleep(NAP);
        napped += NAP;
    }
    true
}
