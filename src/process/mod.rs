//! The process that the crate is a guest in: what it must not take from its host.
//!
//! It may fork: see `fork.rs`.
//!
//! Signals are the host's. A signal to the process goes to any thread that does not block it; a host that blocks one
//! in its own threads, to wait for it with `sigwait`, would be killed by it if a thread of ours let it through. Knows
//! nothing of caches and threads.
//!
//! Besides `table/`, this is the one place with `unsafe` in it: it calls functions of the C library that neither `std` nor rustix
//! offers. Every block cites this:
//!
//! - **P1 As declared.** The functions are those of POSIX, declared as there, and get pointers to memory of this thread's that is
//!   large enough for what they store.
//! - **P2 Kept with its owner.** A guard whose lifetime is made longer lies beside an `Arc` of what its mutex lies in, which does
//!   not move or end as long as that is there, and is dropped before it.

#![allow(unsafe_code)]

pub(crate) mod fork;
pub(crate) mod hand;

/// Runs `f`, and blocks all signals on this thread meanwhile: threads that it starts block them for good, since a thread
/// inherits the mask of the thread that starts it. So there is no moment at which one lets a signal through.
///
/// Signals that the processor raises for what a thread itself has done, such as SIGSEGV, are left out: they come
/// to no other thread, and a handler of the host's (for a stack overflow, or of an interpreter) has to see them.
pub(crate) fn without_signals<R>(f: impl FnOnce() -> R) -> R {
    let _blocked = signals::Blocked::new();
    f()
}

/// Where it is known what a set of signals is.
#[cfg(all(
    any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple"),
    not(any(miri, tidewheel_loom, tidewheel_shuttle))
))]
mod signals {
    use std::ffi::c_int;
    use std::mem::MaybeUninit;

    /// Room for a `sigset_t` of any of these systems: 128 bytes is the largest there is.
    #[repr(C, align(16))]
    struct Set([u8; 128]);

    unsafe extern "C" {
        fn sigfillset(set: *mut Set) -> c_int;
        fn sigdelset(set: *mut Set, signal: c_int) -> c_int;
        fn pthread_sigmask(how: c_int, set: *const Set, old: *mut Set) -> c_int;
    }

    /// Linux on these has the numbers of the systems that were there before it.
    const OLD_NUMBERS: bool = cfg!(any(
        not(any(target_os = "linux", target_os = "android")),
        target_arch = "mips",
        target_arch = "mips32r6",
        target_arch = "mips64",
        target_arch = "mips64r6",
        target_arch = "sparc",
        target_arch = "sparc64",
    ));
    const SIG_SETMASK: c_int = match OLD_NUMBERS {
        true if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) => 4,
        true => 3,
        false => 2,
    };
    const SIGILL: c_int = 4;
    const SIGTRAP: c_int = 5;
    const SIGFPE: c_int = 8;
    const SIGSEGV: c_int = 11;
    const SIGBUS: c_int = if OLD_NUMBERS { 10 } else { 7 };
    const SIGSYS: c_int = if OLD_NUMBERS { 12 } else { 31 };

    /// While it is there, this thread blocks signals. Then it has the mask that it had before.
    pub(super) struct Blocked(Option<Set>);

    impl Blocked {
        pub(super) fn new() -> Self {
            let (mut all, mut before) = (MaybeUninit::<Set>::zeroed(), MaybeUninit::<Set>::zeroed());
            // SAFETY: P1.
            unsafe { sigfillset(all.as_mut_ptr()) };
            for own in [SIGILL, SIGTRAP, SIGFPE, SIGSEGV, SIGBUS, SIGSYS] {
                // SAFETY: P1.
                unsafe { sigdelset(all.as_mut_ptr(), own) };
            }
            // SAFETY: P1.
            let answer = unsafe { pthread_sigmask(SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
            // SAFETY: P1: bytes that were stored, and zeros.
            Self((answer == 0).then(|| unsafe { before.assume_init() }))
        }
    }

    impl Drop for Blocked {
        fn drop(&mut self) {
            if let Some(before) = &self.0 {
                // SAFETY: P1: a mask that this thread had.
                unsafe { pthread_sigmask(SIG_SETMASK, before, std::ptr::null_mut()) };
            }
        }
    }
}

/// Elsewhere there are no signals, or it is not known what a set of them is.
#[cfg(not(all(
    any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple"),
    not(any(miri, tidewheel_loom, tidewheel_shuttle))
)))]
mod signals {
    pub(super) struct Blocked;

    impl Blocked {
        pub(super) fn new() -> Self {
            Self
        }
    }
}
