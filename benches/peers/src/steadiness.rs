//! How steady the machine was: the share of a measurement's time in which its threads were ready to run
//! and had no core, because something else had it. What was disturbed is measured again.

use std::path::Path;
use std::time::Duration;

/// A measurement disturbed for a larger share of its time is repeated, if there are attempts left.
const DISTURBED: f64 = 0.01;

/// What was measured, and the share of the time (0 to 1) that its threads waited for a core.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) figures: Vec<f64>,
    pub(crate) waited: f64,
}

/// Measures until one attempt was undisturbed, and takes the least disturbed. The choice looks at the
/// waiting alone, never at the figures.
pub(crate) fn steady(attempts: usize, mut measure: impl FnMut() -> Measured) -> Measured {
    let mut best = measure();
    for _ in 1..attempts {
        if best.waited <= DISTURBED {
            break;
        }
        let again = measure();
        if again.waited < best.waited {
            best = again;
        }
    }
    best
}

/// How long the calling thread has waited for a core in its life; zero where the system does not tell.
pub(crate) fn kept_waiting() -> Duration {
    waited_in("/proc/thread-self/schedstat")
}

/// The same of all threads of this process that still run, those of the candidate included.
pub(crate) fn all_kept_waiting() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.map(|thread| waited_in(thread.path().join("schedstat"))).sum()
}

fn waited_in(path: impl AsRef<Path>) -> Duration {
    let line = std::fs::read_to_string(path).unwrap_or_default();
    let nanos = line.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// The processor time that the machine had and gave, from the moment of [`start`](Self::start) on.
pub(crate) struct Others(Option<Times>);

/// In the system's ticks, all cores together.
struct Times {
    total: f64,
    idle: f64,
    ours: f64,
}

impl Others {
    pub(crate) fn start() -> Self {
        Self(Times::read())
    }

    /// The share (0 to 1) of the machine that went to other processes since; `None` where the system
    /// does not tell.
    pub(crate) fn share(&self) -> Option<f64> {
        let (before, now) = (self.0.as_ref()?, Times::read()?);
        let total = now.total - before.total;
        let busy = total - (now.idle - before.idle);
        Some(((busy - (now.ours - before.ours)) / total).max(0.0))
    }
}

impl Times {
    fn read() -> Option<Self> {
        let machine = std::fs::read_to_string("/proc/stat").ok()?;
        // user nice system idle iowait irq softirq steal; what comes after is counted in user already.
        let fields: Vec<f64> =
            machine.lines().next()?.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        let process = std::fs::read_to_string("/proc/self/stat").ok()?;
        // After the name, which may hold anything: field 3 of the manual is the first; 14 to 17 are the
        // times of this process and of its children that have ended.
        let ours = process.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
        let ours = ours.flat_map(str::parse::<f64>).sum();
        Some(Self { total: fields.iter().sum(), idle: fields.get(3)? + fields.get(4)?, ours })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_disturbed_attempt_is_taken() {
        let mut waits = [0.5, 0.2, 0.3, 0.4, 0.0].into_iter().enumerate();
        let measured = steady(4, || {
            let (attempt, waited) = waits.next().expect("four attempts at most");
            Measured { figures: vec![attempt as f64], waited }
        });
        assert_eq!((measured.figures[0], measured.waited), (1.0, 0.2));
        let undisturbed = steady(4, || Measured { figures: vec![], waited: 0.0 });
        assert_eq!(undisturbed.waited, 0.0);
    }
}
