//! The system's allocator, and how much was asked of it and not given back. For a program that counts what it holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

struct Counting;

/// Bytes that were asked for and not given back.
static ASKED: AtomicI64 = AtomicI64::new(0);
/// The most that these were since somebody began to look.
static MOST: AtomicI64 = AtomicI64::new(0);

// SAFETY: it is `System`, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let asked = ASKED.fetch_add(layout.size() as i64, Relaxed) + layout.size() as i64;
        MOST.fetch_max(asked, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ASKED.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that were asked for and not given back.
pub(crate) fn asked() -> i64 {
    ASKED.load(Relaxed)
}

/// Runs this, and returns also how many bytes more than before it there were at most meanwhile.
#[allow(dead_code, reason = "most programs ask what is held")]
pub(crate) fn most_asked_while<R>(run: impl FnOnce() -> R) -> (R, i64) {
    let before = asked();
    MOST.store(before, Relaxed);
    let result = run();
    (result, MOST.load(Relaxed) - before)
}
