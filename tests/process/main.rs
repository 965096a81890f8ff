//! What the process that a cache lives in does: it takes signals, it takes system calls away, it forks.
//!
//! Each test begins itself anew in a process of its own, because what it does would be felt by the others.
#![cfg(target_os = "linux")]

mod child;
mod filter;
mod forks;
mod heirs;
mod kept;
mod reaping;
mod signals;
