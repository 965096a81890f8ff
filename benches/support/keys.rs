//! Where the keys of a measurement come from. Drawn, not read from an array: an array would fight with
//! what is measured for the processor's caches.

use std::hint::black_box;

/// The keys of one workload.
pub(crate) trait Keys {
    /// The generator of thread number `thread` in round number `round`.
    fn seeded(&self, round: usize, thread: usize) -> impl FnMut() -> u64;
}

/// The same key for ever.
pub(crate) struct OneKey(pub(crate) u64);

impl Keys for OneKey {
    fn seeded(&self, _: usize, _: usize) -> impl FnMut() -> u64 {
        let key = self.0;
        move || black_box(key)
    }
}

/// Each key below this with equal probability.
pub(crate) struct Uniform(pub(crate) u64);

impl Keys for Uniform {
    fn seeded(&self, round: usize, thread: usize) -> impl FnMut() -> u64 {
        let below = u128::from(self.0);
        let mut state = mix(1 + round as u64) ^ mix((1 + thread as u64) << 32);
        move || {
            state = state.wrapping_add(0xa076_1d64_78bd_642f);
            ((u128::from(mix(state)) * below) >> 64) as u64
        }
    }
}

/// The mixing step of wyrand.
fn mix(state: u64) -> u64 {
    let product = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
    (product >> 64) as u64 ^ product as u64
}
