//! What the process holds: bytes asked of the allocator, bytes mapped by Rust code, threads. Knows no cache.
//!
//! The crate maps large blocks by itself. Its `mmap` and `munmap` are those of this program, which count; the C library's own calls, for stacks and for
//! its heaps, do not come by here.

use super::allocator::asked;
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

static MAPPED: AtomicI64 = AtomicI64::new(0);

/// The system's, counted.
///
/// # Safety
///
/// As the system's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    start: *mut libc::c_void,
    size: libc::size_t,
    access: libc::c_int,
    flags: libc::c_int,
    file: libc::c_int,
    offset: libc::off_t,
) -> *mut libc::c_void {
    MAPPED.fetch_add(size as i64, Relaxed);
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_mmap, start, size, access, flags, file, offset) as *mut libc::c_void }
}

/// The same by another name.
///
/// # Safety
///
/// As the system's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    start: *mut libc::c_void,
    size: libc::size_t,
    access: libc::c_int,
    flags: libc::c_int,
    file: libc::c_int,
    offset: libc::off64_t,
) -> *mut libc::c_void {
    // SAFETY: as the caller promises.
    unsafe { mmap(start, size, access, flags, file, offset) }
}

/// The system's, counted.
///
/// # Safety
///
/// As the system's.
#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(start: *mut libc::c_void, size: libc::size_t) -> libc::c_int {
    MAPPED.fetch_sub(size as i64, Relaxed);
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_munmap, start, size) as libc::c_int }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Held {
    asked: i64,
    mapped: i64,
    threads: usize,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes asked for, {} mapped, {} threads", self.asked, self.mapped, self.threads)
    }
}

fn now() -> Held {
    let names = fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
    let names = names.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    // The timekeeper stays for the next who reads much.
    let threads = names.filter(|name| !name.starts_with("tidewheel-time")).count();
    Held { asked: asked(), mapped: MAPPED.load(Relaxed), threads }
}

/// What is held once threads that were joined are gone for the system too.
pub(crate) fn settled() -> Held {
    let (begun, mut last) = (Instant::now(), now());
    while begun.elapsed() < Duration::from_secs(3) {
        thread::sleep(Duration::from_millis(100));
        let next = now();
        if next == last && begun.elapsed() > Duration::from_secs(1) {
            break;
        }
        last = next;
    }
    last
}

impl Held {
    /// Nothing more than before: but for what the crate keeps for as many threads as ever were there at once, and the harness of its output.
    pub(crate) fn check_against(&self, before: &Self) {
        const ROOM: i64 = 64 << 10;
        assert_eq!((self.mapped, self.threads), (before.mapped, before.threads), "mappings and threads");
        assert!(self.asked <= before.asked + ROOM, "{} bytes more are asked for", self.asked - before.asked);
    }
}
