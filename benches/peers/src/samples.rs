//! Figures of one candidate over the rounds, in the order of the rounds.

/// The figure of what was waited for in vain.
pub(crate) const GIVEN_UP: f64 = f64::INFINITY;

#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            len if len % 2 == 1 => sorted[len / 2],
            len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rounds(&self) -> &[f64] {
        &self.0
    }

    /// This over `other`, round by round: what slowed a whole round down falls out.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine / theirs).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let a = Samples(vec![4.0, 1.0, 3.0]);
        let b = Samples(vec![2.0, 1.0, 1.0]);
        assert_eq!((a.median(), a.min(), a.max()), (3.0, 1.0, 4.0));
        assert_eq!(a.over(&b).median(), 2.0);
        assert_eq!(Samples(vec![1.0, 2.0]).median(), 1.5);
    }
}
