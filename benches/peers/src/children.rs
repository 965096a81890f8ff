//! One measurement in a child process of its own: this program again, told by its arguments what to
//! do, which answers with figures on its standard output.

use crate::entrants::Grower;
use crate::steadiness::Measured;
use std::process::{Command, Stdio};

/// The first argument of a child.
pub(crate) const FLAG: &str = "--child";

/// Which of a grower's measurements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Growing {
    Growth,
    Latency,
    Memory,
}

impl Growing {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Growth, "growth"), (Self::Latency, "latency"), (Self::Memory, "memory")];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).expect("all are listed").1
    }
}

/// The parent's side: starts a child and waits for its figures.
pub(crate) fn measure(growing: Growing, name: &str, threads: usize, entries: u64) -> Measured {
    let program = std::env::current_exe().expect("a program knows its own path");
    let child = Command::new(program)
        .args([FLAG, growing.word(), name, &threads.to_string(), &entries.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .expect("a child process starts");
    assert!(child.status.success(), "{name} failed in {growing:?}: {}", child.status);
    let answer = String::from_utf8(child.stdout).expect("a child answers in text");
    let mut figures = answer.split_whitespace().map(|figure| figure.parse().expect("a figure"));
    let waited = figures.next().expect("a child answers");
    Measured { figures: figures.collect(), waited }
}

/// The child's side: `arguments` are those after the flag.
pub(crate) fn answer(arguments: &[String], growers: &[Grower]) {
    let [growing, name, threads, entries] = arguments else { panic!("a child takes four arguments") };
    let (growing, _) = Growing::ALL.iter().find(|(_, word)| word == growing).expect("a known measurement");
    let grower = growers.iter().find(|grower| grower.name == name).expect("a known candidate");
    let run = match growing {
        Growing::Growth => grower.growth,
        Growing::Latency => grower.latency,
        Growing::Memory => grower.memory,
    };
    let measured = run(threads.parse().expect("threads"), entries.parse().expect("entries"));
    print!("{}", measured.waited);
    for figure in measured.figures {
        print!(" {figure}");
    }
    println!();
}
