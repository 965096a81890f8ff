//! One measurement in a child process of its own: this program again, told by its arguments what to
//! do, which answers with figures on its standard output. It never knows what is measured.

use crate::steadiness::Measured;
use std::process::{Command, Stdio};

/// The first argument of a child.
pub(crate) const FLAG: &str = "--child";

/// What a child can measure. Its word on the command line is its name here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Nanoseconds per insert.
    Growth,
    /// Quantiles of a single insert, in nanoseconds.
    Latency,
    /// Bytes per entry beyond the payload, at rest and at the peak.
    Memory,
    /// Quantiles of a single insert into a full cache, in nanoseconds.
    BoundedLatency,
    /// As `Memory`, of a full cache.
    BoundedMemory,
    /// Nanoseconds per key that nobody has, which all threads load in the same order; and loads per key.
    LoadCold,
    /// The same, each thread in an order of its own.
    LoadColdOwn,
    /// Seconds from a deadline until everything is gone.
    Expiry,
    /// The same while somebody reads; then quantiles of a read before and meanwhile.
    ExpiryRead,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Growth,
        Self::Latency,
        Self::Memory,
        Self::BoundedLatency,
        Self::BoundedMemory,
        Self::LoadCold,
        Self::LoadColdOwn,
        Self::Expiry,
        Self::ExpiryRead,
    ];
}

/// A candidate in one kind of measurement; `run` takes threads and entries.
pub(crate) struct Child {
    pub(crate) name: &'static str,
    pub(crate) run: fn(usize, u64) -> Measured,
}

/// The parent's side: starts a child and waits for its figures.
pub(crate) fn measure(kind: Kind, name: &str, threads: usize, entries: u64) -> Measured {
    let program = std::env::current_exe().expect("a program knows its own path");
    let child = Command::new(program)
        .args([FLAG, &format!("{kind:?}"), name, &threads.to_string(), &entries.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .expect("a child process starts");
    assert!(child.status.success(), "{name} failed in {kind:?}: {}", child.status);
    let answer = String::from_utf8(child.stdout).expect("a child answers in text");
    let mut figures = answer.split_whitespace().map(|figure| figure.parse().expect("a figure"));
    let waited = figures.next().expect("a child answers");
    Measured { figures: figures.collect(), waited }
}

/// The child's side: `arguments` are those after the flag; `children` tells who takes part in a kind.
pub(crate) fn answer(arguments: &[String], children: fn(Kind) -> Vec<Child>) {
    let [kind, name, threads, entries] = arguments else { panic!("a child takes four arguments") };
    let kind = Kind::ALL.into_iter().find(|known| format!("{known:?}") == *kind).expect("a known kind");
    let children = children(kind);
    let child = children.iter().find(|child| child.name == name).expect("a known candidate");
    let measured = (child.run)(threads.parse().expect("threads"), entries.parse().expect("entries"));
    print!("{}", measured.waited);
    for figure in measured.figures {
        print!(" {figure}");
    }
    println!();
}
