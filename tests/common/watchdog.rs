//! A thread that ends the process, loudly, when a test hangs. Knows nothing of what it watches.

use std::io::Write;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// While it lives, the process aborts once its patience is over.
pub(crate) struct Watchdog(#[allow(dead_code)] Sender<()>); // its drop is the message

impl Watchdog {
    pub(crate) fn over(what: impl Into<String>, seconds: u64) -> Self {
        let what = what.into();
        let patience = Duration::from_secs(seconds);
        let (alive, watched) = mpsc::channel();
        thread::spawn(move || {
            if watched.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                // Not `eprintln!`: the test harness would capture it, and the process is about to end.
                let _ = writeln!(std::io::stderr(), "watchdog: {what} hangs after {patience:?}");
                process::abort();
            }
        });
        Self(alive)
    }
}
