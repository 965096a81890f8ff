//! A thread that ends the process, loudly, when a test hangs. Knows nothing of what it watches.
//!
//! A test that may take long on a busy machine feeds it with each step: then its patience is for one step, and not for the
//! whole test.

use std::io::Write;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// The patience is so many naps. A machine that stops for a while costs one of them.
const NAPS: u32 = 20;

/// While it lives, the process aborts once its patience is over.
pub(crate) struct Watchdog {
    steps: Arc<AtomicU64>,
    /// Its drop is the message.
    _alive: Sender<()>,
}

impl Watchdog {
    pub(crate) fn over(what: impl Into<String>, seconds: u64) -> Self {
        let what = what.into();
        let patience = Duration::from_secs(seconds);
        let steps = Arc::new(AtomicU64::new(0));
        let (alive, watched) = mpsc::channel();
        let counted = Arc::clone(&steps);
        thread::spawn(move || {
            let (mut known, mut naps) = (0, 0);
            while watched.recv_timeout(patience / NAPS) == Err(RecvTimeoutError::Timeout) {
                // ORDERING: Relaxed; `feed` adds to it, and whoever sees that too late looks again after a nap.
                let steps = counted.load(Ordering::Relaxed);
                naps = if steps == known { naps + 1 } else { 0 };
                known = steps;
                if naps >= NAPS {
                    // Not `eprintln!`: the test harness would capture it, and the process is about to end.
                    let _ = writeln!(std::io::stderr(), "watchdog: {what} hangs after {patience:?}");
                    process::abort();
                }
            }
        });
        Self { steps, _alive: alive }
    }

    /// A step is done: the patience begins anew.
    #[allow(dead_code, reason = "most tests are one step")]
    pub(crate) fn feed(&self) {
        // ORDERING: Relaxed; a figure, loaded in `over`.
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}
