//! Counts of nanoseconds, in steps of at most 1.6 %. Small, so that keeping it disturbs little.

/// Steps within one power of two.
const STEPS: usize = 64;

pub(crate) struct Histogram {
    counts: Vec<u64>,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; STEPS * 60], max: 0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, nanos: u64) {
        self.counts[index(nanos)] += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.max = self.max.max(other.max);
    }

    /// The value that the given share (0 to 1) of all counts does not exceed; the lower end of its step.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return lower_end(index);
            }
        }
        self.max
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }
}

/// Values below two rounds of steps have a step each; above, the top bits after the first choose it.
fn index(nanos: u64) -> usize {
    let shift = (64 - nanos.leading_zeros() as usize).saturating_sub(STEPS.ilog2() as usize + 1);
    shift * STEPS + (nanos >> shift) as usize
}

fn lower_end(index: usize) -> u64 {
    let shift = (index / STEPS).saturating_sub(1);
    ((index - shift * STEPS) as u64) << shift
}

#[cfg(test)]
mod tests {
    // No `use`: in a bench, which has no test harness, it would be an unused one.
    #[test]
    fn a_step_holds_its_lower_end_and_is_narrow() {
        for nanos in (0..100_000).chain([1 << 40, u64::MAX >> 1, u64::MAX]) {
            let index = super::index(nanos);
            let low = super::lower_end(index);
            assert!(low <= nanos && nanos - low <= nanos / 64, "{nanos}: step {index} from {low}");
            assert_eq!(super::index(low), index, "{nanos}");
        }
        assert!(super::index(u64::MAX) < super::Histogram::new().counts.len());
    }

    #[test]
    fn quantiles_of_a_ramp() {
        let mut histogram = super::Histogram::new();
        (1..=100).for_each(|nanos| histogram.add(nanos));
        assert_eq!(histogram.quantile(0.5), 50);
        assert_eq!(histogram.quantile(0.99), 99);
        assert_eq!(histogram.quantile(1.0), 100);
        assert_eq!(histogram.max(), 100);
    }
}
