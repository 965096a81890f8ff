//! Signals are the host's: no thread of ours takes one.

use crate::child;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::time::Duration;
use tidewheel::{Cache, Reaper};

/// Blocks a signal in this thread, or lets it through again.
fn mask(how: libc::c_int, signal: libc::c_int) {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is initialized first.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        assert_eq!(libc::pthread_sigmask(how, set.as_ptr(), null_mut()), 0);
    }
}

fn block_all_that_is_tested() {
    mask(libc::SIG_BLOCK, libc::SIGUSR1);
    mask(libc::SIG_BLOCK, libc::SIGTERM);
}

fn wait_for(signal: libc::c_int) {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut got = 0;
    // SAFETY: the set is initialized first.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        assert_eq!(libc::kill(libc::getpid(), signal), 0);
        assert_eq!(libc::sigwait(set.as_ptr(), &raw mut got), 0);
    }
    assert_eq!(got, signal);
}

/// A program blocks a signal in all its threads, and waits for it with `sigwait`, as daemons do. A cache that it had
/// built before had a reaper whose thread let the signal through, so that it killed the process.
#[test]
fn a_signal_that_the_program_waits_for_is_not_taken_by_a_reaper() {
    if !child::is_here() {
        let name = "signals::a_signal_that_the_program_waits_for_is_not_taken_by_a_reaper";
        child::passes(name, 60, block_all_that_is_tested);
        return;
    }
    // All other threads of this process block them from the beginning; this one does not while it builds.
    for signal in [libc::SIGUSR1, libc::SIGTERM] {
        mask(libc::SIG_UNBLOCK, signal);
    }
    let shared = Cache::builder().time_to_live(Duration::from_millis(10)).build().unwrap();
    let own = Cache::builder().reaper(Reaper::dedicated()).build().unwrap();
    for signal in [libc::SIGUSR1, libc::SIGTERM] {
        mask(libc::SIG_BLOCK, signal);
    }
    shared.insert(1, 1);
    own.insert(1, 1);
    for _ in 0..20 {
        wait_for(libc::SIGUSR1);
        wait_for(libc::SIGTERM);
    }
    // The reapers are there all the same.
    while shared.entry_count() > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Building a cache leaves the signals that the caller's thread blocks as they were.
#[test]
fn who_builds_a_cache_blocks_what_it_blocked_before() {
    fn blocked() -> Vec<libc::c_int> {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: it is stored there.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set.as_mut_ptr()), 0);
            (1..32).filter(|signal| libc::sigismember(set.as_ptr(), *signal) == 1).collect()
        }
    }
    mask(libc::SIG_BLOCK, libc::SIGUSR2);
    let before = blocked();
    let reaper = Reaper::dedicated();
    drop(Cache::<u64, u64>::builder().reaper(reaper.clone()).build().unwrap());
    reaper.join();
    assert_eq!(blocked(), before);
    assert_eq!(before, [libc::SIGUSR2]);
}
