//! Which quantiles of a histogram are shown. It never knows of what.

use crate::histogram::Histogram;

const SHARES: [(f64, &str); 4] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// How many figures there are: the maximum is the last.
pub(crate) const COUNT: usize = SHARES.len() + 1;

/// What the figures are called.
pub(crate) fn columns() -> Vec<String> {
    SHARES.iter().map(|(_, name)| *name).chain(["max"]).map(str::to_owned).collect()
}

pub(crate) fn figures(histogram: &Histogram) -> Vec<f64> {
    let quantiles = SHARES.iter().map(|(share, _)| histogram.quantile(*share));
    quantiles.chain([histogram.max()]).map(|nanos| nanos as f64).collect()
}
