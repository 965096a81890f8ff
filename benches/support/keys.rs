//! Where the keys of a measurement come from. Drawn, not read from an array: an array would fight with
//! what is measured for the processor's caches.

use std::hint::black_box;

/// The keys of one workload.
pub(crate) trait Keys {
    /// The generator of thread number `thread` with this seed.
    fn seeded(&self, seed: usize, thread: usize) -> impl FnMut() -> u64;
}

/// So many seeds in a row, from a multiple of this on, are those of one round.
pub(crate) const SEEDS_OF_A_ROUND: usize = 32;

/// The same key for ever, and the next one in the next round: what a read takes depends on where a hash puts its key.
pub(crate) struct OneKey(pub(crate) u64);

impl Keys for OneKey {
    fn seeded(&self, seed: usize, _: usize) -> impl FnMut() -> u64 {
        let key = self.0 + (seed / SEEDS_OF_A_ROUND) as u64;
        move || black_box(key)
    }
}

/// Each key below this with equal probability.
pub(crate) struct Uniform(pub(crate) u64);

impl Keys for Uniform {
    fn seeded(&self, seed: usize, thread: usize) -> impl FnMut() -> u64 {
        let below = u128::from(self.0);
        let mut state = mix(1 + seed as u64) ^ mix((1 + thread as u64) << 32);
        move || {
            state = state.wrapping_add(0xa076_1d64_78bd_642f);
            ((u128::from(mix(state)) * below) >> 64) as u64
        }
    }
}

/// A million keys, few of which come often: the key of rank r with a probability in proportion to
/// 1 / r^0.99. Exact, by rejection-inversion (Hörmann and Derflinger, 1996), of whose powers this exponent
/// leaves a few multiplications.
pub(crate) struct Zipf;

impl Zipf {
    pub(crate) const KEYS: u64 = 1_000_000;

    /// The key of a rank from 1 on. Neighbours in rank are no neighbours in the order of insertion, which
    /// is the order in memory of much that is compared here.
    fn key(rank: u64) -> u64 {
        // No common divisor with the number of keys, so that each key has one rank.
        (rank - 1) * 618_033 % Self::KEYS
    }

    /// The integral of x^-0.99, up to a constant.
    fn integral(x: f64) -> f64 {
        (x.powf(0.01) - 1.0) * 100.0
    }

    fn inverse(area: f64) -> f64 {
        let x = 1.0 + area * 0.01;
        // x^100, by hand: what the compiler makes of `powi` is a loop.
        let x4 = (x * x) * (x * x);
        let x16 = (x4 * x4) * (x4 * x4);
        let x32 = x16 * x16;
        x32 * x32 * x32 * x4
    }
}

impl Keys for Zipf {
    fn seeded(&self, seed: usize, thread: usize) -> impl FnMut() -> u64 {
        const SCALE: f64 = 1.0 / (1u64 << 32) as f64;
        let keys = Self::KEYS as f64;
        let mut uniform = Uniform(1 << 32).seeded(seed, thread);
        let (low, high) = (Self::integral(1.5) - 1.0, Self::integral(keys + 0.5));
        let certain = 2.0 - Self::inverse(Self::integral(2.5) - 2f64.powf(-0.99));
        move || loop {
            let area = high + uniform() as f64 * SCALE * (low - high);
            let x = Self::inverse(area);
            // Rounded by cutting off: `round` is a call on a processor that is not asked for more.
            let rank = ((x + 0.5) as u32 as f64).clamp(1.0, keys);
            if rank - x <= certain || area >= Self::integral(rank + 0.5) - rank.powf(-0.99) {
                return Self::key(rank as u64);
            }
        }
    }
}

/// The mixing step of wyrand.
fn mix(state: u64) -> u64 {
    let product = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    // No `use`, as in the histogram's tests.
    #[test]
    fn zipf_draws_each_rank_as_often_as_it_says() {
        use super::Keys;
        let draws = 4_000_000;
        let mut counts = vec![0u32; super::Zipf::KEYS as usize];
        let mut next = super::Zipf.seeded(1, 0);
        (0..draws).for_each(|_| counts[next() as usize] += 1);
        let total: f64 = (1..=super::Zipf::KEYS).map(|rank| (rank as f64).powf(-0.99)).sum();
        for rank in [1, 2, 3, 10, 100] {
            let expected = f64::from(draws) * (rank as f64).powf(-0.99) / total;
            let drawn = f64::from(counts[super::Zipf::key(rank) as usize]);
            assert!((drawn - expected).abs() < 6.0 * expected.sqrt(), "rank {rank}: {drawn}, not {expected}");
        }
        let tail: u32 =
            (500_001..=super::Zipf::KEYS).map(|rank| counts[super::Zipf::key(rank) as usize]).sum();
        let expected: f64 = (500_001..=super::Zipf::KEYS).map(|rank| (rank as f64).powf(-0.99)).sum();
        let expected = f64::from(draws) * expected / total;
        assert!((f64::from(tail) - expected).abs() < 6.0 * expected.sqrt(), "{tail}, not {expected}");
    }
}
