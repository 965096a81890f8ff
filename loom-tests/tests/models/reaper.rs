//! Models of the reaper alone, with toy caches. That the thread ends is checked by loom itself: a
//! thread that sleeps for ever is a deadlock to it.

use crate::common::explore;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;
use tidewheel::Reaper;
use tidewheel::model::{Next, Registered, Toy};

/// Work that is filed where a toy looks for it, and what became of it.
#[derive(Default)]
struct Desk {
    filed: AtomicUsize,
    done: Mutex<usize>,
    progress: Condvar,
    dropped: AtomicUsize,
}

impl Desk {
    /// One more piece of work. Relaxed: whether the sweep sees it must rest on the reaper's ordering.
    fn file(&self) {
        self.filed.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the reaper; if it never comes, loom calls it a deadlock.
    fn wait_for(&self, done: usize) {
        let mut so_far = self.done.lock().unwrap();
        while *so_far < done {
            so_far = self.progress.wait(so_far).unwrap();
        }
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A toy that does all that is filed and does not look again before `next`: it relies on being woken.
struct Clerk {
    desk: Arc<Desk>,
    next: Next,
}

impl Clerk {
    fn hired(reaper: &Reaper, next: Next) -> (Registered<Self>, Arc<Desk>) {
        let desk = Arc::new(Desk::default());
        (Registered::new(reaper, Self { desk: Arc::clone(&desk), next }), desk)
    }
}

impl Toy for Clerk {
    fn sweep(&self) -> Next {
        let filed = self.desk.filed.load(Ordering::Relaxed);
        let mut done = self.desk.done.lock().unwrap();
        if *done != filed {
            *done = filed;
            self.desk.progress.notify_all();
        }
        self.next
    }

    fn reclaim(&self) -> bool {
        false
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.desk.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// A wake-up while the reaper sweeps, or decides to sleep, is never lost.
#[test]
fn park_against_wake() {
    explore(|| {
        let reaper = Reaper::dedicated();
        let (cache, desk) = Clerk::hired(&reaper, Next::Never);
        desk.file();
        cache.wake(Next::Now);
        // The reaper may be anywhere from asleep to asleep again.
        desk.file();
        cache.wake(Next::Now);
        desk.wait_for(2);
        drop(cache);
        reaper.join();
    });
}

/// The same against a reaper that has another appointment, but a later one.
#[test]
fn park_against_an_earlier_wake() {
    explore(|| {
        let reaper = Reaper::dedicated();
        let (cache, desk) = Clerk::hired(&reaper, Next::Late);
        cache.wake(Next::Now);
        cache.wake(Next::Late);
        desk.file();
        cache.wake(Next::Now);
        desk.wait_for(1);
        drop(cache);
        reaper.join();
    });
}

/// Two threads file: each may rely on the other's wake-up only where that was really made.
#[test]
fn park_against_two_wakes() {
    explore(|| {
        let reaper = Reaper::dedicated();
        let (cache, desk) = Clerk::hired(&reaper, Next::Never);
        let cache = Arc::new(cache);
        let other = thread::spawn({
            let (cache, desk) = (Arc::clone(&cache), Arc::clone(&desk));
            move || {
                desk.file();
                cache.wake(Next::Now);
            }
        });
        desk.file();
        cache.wake(Next::Now);
        desk.wait_for(2);
        other.join().unwrap();
        drop(cache);
        reaper.join();
    });
}

/// The last handle goes while the reaper sweeps: the cache is dropped once, by one of the two, and the
/// thread ends.
#[test]
fn last_drop_against_a_reaper_at_work() {
    explore(|| {
        let reaper = Reaper::dedicated();
        let (cache, desk) = Clerk::hired(&reaper, Next::Late);
        desk.file();
        cache.wake(Next::Now);
        cache.let_go();
        reaper.join();
        assert_eq!(desk.dropped(), 1);
    });
}

/// The same, with a second cache that the reaper must not forget over it.
#[test]
fn a_drop_against_a_reaper_at_work_leaves_the_other_cache_served() {
    explore(|| {
        let reaper = Reaper::dedicated();
        let (going, _) = Clerk::hired(&reaper, Next::Never);
        let (staying, desk) = Clerk::hired(&reaper, Next::Never);
        going.wake(Next::Now);
        going.let_go();
        desk.file();
        staying.wake(Next::Now);
        desk.wait_for(1);
        drop(staying);
        reaper.join();
    });
}

/// A cache built while the last one goes is either seen by the thread on its way out, or has a new one.
#[test]
fn build_against_a_reaper_about_to_end() {
    explore(|| {
        let reaper = Reaper::dedicated();
        drop(Clerk::hired(&reaper, Next::Never));
        let (cache, desk) = Clerk::hired(&reaper, Next::Never);
        desk.file();
        cache.wake(Next::Now);
        desk.wait_for(1);
        drop(cache);
        reaper.join();
    });
}

/// Two threads build and drop: one thread at a time serves both.
#[test]
fn two_builds_against_a_reaper_about_to_end() {
    explore(|| {
        let reaper = Reaper::dedicated();
        let build = |reaper: &Reaper| {
            let (cache, desk) = Clerk::hired(reaper, Next::Never);
            desk.file();
            cache.wake(Next::Now);
            desk.wait_for(1);
        };
        let other = thread::spawn({
            let reaper = reaper.clone();
            move || build(&reaper)
        });
        build(&reaper);
        other.join().unwrap();
        reaper.join();
    });
}

/// Everybody who joins returns, and none before the cache is gone.
#[test]
fn two_joins_against_the_last_drop() {
    explore(|| {
        let reaper = Reaper::dedicated();
        let (cache, desk) = Clerk::hired(&reaper, Next::Never);
        let other = thread::spawn({
            let (reaper, desk) = (reaper.clone(), Arc::clone(&desk));
            move || {
                reaper.join();
                assert_eq!(desk.dropped(), 1);
            }
        });
        cache.let_go();
        reaper.join();
        other.join().unwrap();
    });
}
