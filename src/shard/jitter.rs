//! Jitter: by how much a time to live is shortened, so that entries that were written together do
//! not expire together.
//!
//! It needs no random number generator and no state. A mix of a key's hash and the time of the
//! write is random enough, and no thread waits for another. It is not a secret: an attacker who
//! knows the hash may predict it.

use crate::time::{Span, Tick};

/// The largest part of a time to live that is cut off, in units of 2^-32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    const ONE: f64 = 4_294_967_296.0;

    /// Creates a jitter. `fraction` is from 0.0 to 1.0.
    pub(super) fn new(fraction: f64) -> Self {
        Self((fraction * Self::ONE) as u64)
    }

    /// Returns the time to live of a value that is written at `now` under a key with this home.
    #[inline]
    pub(super) fn shorten(self, ttl: Span, home: u32, now: Tick) -> Span {
        if self.0 == 0 || ttl == Span::ENDLESS { ttl } else { self.draw(ttl, home, now) }
    }

    #[cold]
    fn draw(self, ttl: Span, home: u32, now: Tick) -> Span {
        let random = mix(now.as_nanos() ^ u64::from(home) << 32) >> 32;
        // `part` is in units of 2^-32 and less than the jitter, so that something is left of any
        // time to live.
        let part = (self.0 * random) >> 32;
        let cut = (u128::from(ttl.as_nanos()) * u128::from(part)) >> 32;
        Span::from_nanos(ttl.as_nanos() - cut as u64)
    }
}

/// Mixes bits by the finalizer of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable
/// Pseudorandom Number Generators", OOPSLA 2014): every bit of the result depends on every bit of
/// the input.
const fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    const HUNDRED: Span = Span::from_nanos(100_000_000_000);

    /// The first three numbers of the published generator that begins at 0.
    #[test]
    fn bits_are_mixed_as_published() {
        let mixed = [0, 0x9E37_79B9_7F4A_7C15, 0x3C6E_F372_FE94_F82A].map(mix);
        assert_eq!(mixed, [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]);
    }

    fn drawn(fraction: f64) -> Vec<u64> {
        let jitter = Jitter::new(fraction);
        let at = |home: u32| jitter.shorten(HUNDRED, home.wrapping_mul(0x9E37_79B9), Tick::start_of(5));
        (0..10_000).map(|home| at(home).as_nanos()).collect()
    }

    #[test]
    fn it_is_spread_evenly_over_the_whole_fraction() {
        let mut tenths = [0; 10];
        for ttl in drawn(0.5) {
            assert!(ttl > 50_000_000_000 && ttl <= 100_000_000_000, "{ttl}");
            tenths[((ttl - 50_000_000_001) / 5_000_000_000) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (900..1100).contains(count)), "{tenths:?}");
    }

    #[test]
    fn something_is_left_and_nothing_is_cut_where_there_is_nothing_to_cut() {
        assert!(drawn(1.0).iter().all(|&ttl| ttl > 0));
        assert!(drawn(0.0).iter().all(|&ttl| ttl == 100_000_000_000));
        let all = Jitter::new(1.0);
        for home in 0..1000 {
            assert_eq!(all.shorten(Span::ENDLESS, home, Tick::start_of(1)), Span::ENDLESS);
            assert_eq!(all.shorten(Span::from_nanos(0), home, Tick::start_of(1)), Span::from_nanos(0));
            assert_eq!(all.shorten(Span::from_nanos(1), home, Tick::start_of(1)), Span::from_nanos(1));
        }
    }

    #[test]
    fn the_same_key_draws_anew_each_time() {
        let jitter = Jitter::new(0.5);
        let draws: std::collections::HashSet<_> = (0..1000)
            .map(|nano| jitter.shorten(HUNDRED, 7, Tick::from_nanos(SECOND + nano)).as_nanos())
            .collect();
        assert!(draws.len() > 990, "{}", draws.len());
    }
}
