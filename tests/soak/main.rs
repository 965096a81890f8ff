//! The soak: caches of all kinds under threads that watch what is promised, while faults are thrown in; in the end nothing is left.
//!
//! A second or two with the other tests. `TIDEWHEEL_SOAK` is another number of seconds (`.ci/soak.sh` says 1,800): from 100 on, faults are as long as
//! one would fear: a stop of ten seconds, a guard held for a minute, ten thousand threads in each round, half a gigabyte of memory and no more.
#![cfg(target_os = "linux")]

#[path = "../common/allocator.rs"]
mod allocator;
#[path = "../process/child.rs"]
#[allow(dead_code, reason = "the other tests in a process of their own need more of it")]
mod child;
mod faults;
mod memory;
mod stage;
mod watch;

use faults::Faults;
use stage::Stage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::Reaper;
use watch::{Tally, Watcher};

/// How long it is, and so how bad the faults are.
#[derive(Clone, Copy)]
pub(crate) struct Length {
    pub(crate) whole: Duration,
    pub(crate) is_full: bool,
}

fn length() -> Length {
    let seconds =
        std::env::var("TIDEWHEEL_SOAK").map_or(2, |seconds| seconds.parse().expect("a number of seconds"));
    Length { whole: Duration::from_secs(seconds), is_full: seconds >= 100 }
}

/// No memory for data beyond what there is now and so much more: a leak ends the process.
fn with_little_memory() {
    let length = length();
    let most = if length.is_full { 512 << 20 } else { 1 << 30 };
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: it looks at what it is given.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) }, 0);
}

#[test]
fn what_is_promised_holds_under_faults_and_nothing_is_left() {
    let length = length();
    let name = "what_is_promised_holds_under_faults_and_nothing_is_left";
    if !child::is_here() {
        let said = child::passes(name, 300 + 2 * length.whole.as_secs(), || {});
        said.lines().filter(|line| line.starts_with("soak: ")).for_each(|line| println!("{line}"));
        return;
    }
    with_little_memory();
    stage::hush();
    // What is made once in a process (a reaper, places for threads, the timekeeper) is made by a first, short round.
    round(Length { whole: Duration::from_millis(500), is_full: false });
    let before = memory::settled();
    let (tally, faults) = round(length);
    let after = memory::settled();
    println!("soak: {} s, {tally}, {faults}", length.whole.as_secs());
    println!("soak: before {before}, after {after}");
    tally.check();
    faults.check();
    after.check_against(&before);
}

/// A stage, with everything at once; it is empty afterwards.
fn round(length: Length) -> (Tally, Faults) {
    let (stage, over) = (Arc::new(Stage::new()), Arc::new(AtomicBool::new(false)));
    let watch = |(watcher, seed): (Watcher, u64)| {
        let (stage, over) = (stage.clone(), over.clone());
        thread::spawn(move || watcher.watch(seed, &stage, &over))
    };
    let watchers: Vec<_> = Watcher::ALL.into_iter().zip(7..).map(watch).collect();
    let (mut faults, end) = (Faults::default(), Instant::now() + length.whole);
    // One at least, however slow this machine is.
    loop {
        faults.round(&stage, length);
        if Instant::now() >= end {
            break;
        }
    }
    over.store(true, Ordering::Release);
    let mut tally = Tally::default();
    for watcher in watchers {
        tally.add(&watcher.join().expect("a watcher saw a promise broken"));
    }
    let stage = Arc::into_inner(stage).expect("nobody else is on the stage");
    stage.end(tally.ended());
    Reaper::shared().join();
    (tally, faults)
}
