//! How a key's hash becomes a shard, a bucket and a tag; and the default hasher.
//!
//! This file knows neither tables nor keys beyond `Hash`. The result of a `BuildHasher` is mixed
//! before it is split, so that an identity hasher does not put every key into one shard. Only ahash's
//! result, which is also that of the default hasher, is split as it is: it is mixed well enough.

use crate::error::NoRandomness;
use std::any::TypeId;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::num::NonZeroU8;

/// A mixed 64-bit hash, from which shard, bucket and tag are cut. They share no bits, in a table of
/// up to 2^24 buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HashBits(u64);

impl HashBits {
    #[inline]
    pub(crate) fn of<Q: Hash + ?Sized, S: BuildHasher + 'static>(build: &S, key: &Q) -> Self {
        let raw = build.hash_one(key);
        // The comparison is decided at compile time. The crate's own hasher is ahash's with other
        // keys.
        let ours = [TypeId::of::<RandomState>(), TypeId::of::<ahash::RandomState>()];
        if ours.contains(&TypeId::of::<S>()) { Self(raw) } else { Self::mixed(raw) }
    }

    /// Mixes a hash by the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable
    /// Pseudorandom Number Generators", OOPSLA 2014; the constants are David Stafford's): every bit
    /// of the input reaches every bit. One multiplication would be cheaper, but consecutive numbers
    /// would crowd in a few buckets. (Models use one multiplication: their keys were chosen by its
    /// results.)
    #[inline]
    fn mixed(raw: u64) -> Self {
        if cfg!(tidewheel_loom) {
            let product = u128::from(raw) * 0x9E37_79B9_7F4A_7C15;
            return Self((product as u64) ^ ((product >> 64) as u64));
        }
        let first = (raw ^ (raw >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let second = (first ^ (first >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self(second ^ (second >> 31))
    }

    /// Recreates a hash from what `whole` returned.
    pub(crate) const fn again(whole: u64) -> Self {
        Self(whole)
    }

    /// Returns all bits.
    #[inline]
    pub(crate) fn whole(self) -> u64 {
        self.0
    }

    /// Returns the shard: bits 48 to 63, enough for the 65,536 shards that a cache can have.
    #[inline]
    pub(crate) fn shard(self, mask: usize) -> usize {
        (self.0 >> 48) as usize & mask
    }

    /// Returns the bits of the shard, not masked yet, times a power of two.
    #[inline]
    pub(crate) fn shard_times(self, log2: u32) -> usize {
        (self.0 >> (48 - log2)) as usize
    }

    /// Returns the home: bits 0 to 31. Its highest bits are the home bucket in a table of any size.
    /// It is stored in the row and in the node. (Models use the lowest bits, and eight more for the
    /// tag: their keys were chosen by those.)
    #[inline]
    pub(crate) fn home(self) -> u32 {
        if cfg!(tidewheel_loom) {
            (self.0 as u32).reverse_bits() & !0xFF | u32::from((self.0 >> 32) as u8)
        } else {
            self.0 as u32
        }
    }

    /// Returns the tag of the home.
    #[inline]
    pub(crate) fn tag(self) -> NonZeroU8 {
        tag_of(self.home())
    }
}

/// Returns the tag of a home: its lowest bits, so that the entry's slot can be found by the home
/// alone. It is never 0, which is the tag of an empty slot. (A table of 2^24 buckets, the largest
/// to which a shard grows, leaves all of them to the tag.)
#[inline]
pub(crate) fn tag_of(home: u32) -> NonZeroU8 {
    NonZeroU8::new(home as u8).unwrap_or(NonZeroU8::MIN)
}

/// The default hasher: ahash with seeds from the operating system, drawn once per cache, so that
/// nobody can choose keys that collide.
///
/// ```
/// use std::hash::BuildHasher;
/// let state = tidewheel::RandomState::new()?;
/// assert_eq!(state.hash_one("a"), state.hash_one("a"));
/// # Ok::<(), tidewheel::NoRandomness>(())
/// ```
#[derive(Clone)]
pub struct RandomState(ahash::RandomState);

impl RandomState {
    /// Creates a hasher with fresh seeds.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] when the operating system's generator does not answer.
    ///
    /// ```
    /// assert!(tidewheel::RandomState::new().is_ok());
    /// ```
    pub fn new() -> Result<Self, NoRandomness> {
        let mut seeds = [0u64; 4];
        // Each run of a model has the same hashes.
        for seed in seeds.iter_mut().filter(|_| !cfg!(tidewheel_loom)) {
            *seed = getrandom::u64().map_err(NoRandomness::new)?;
        }
        let [a, b, c, d] = seeds;
        Ok(Self(ahash::RandomState::with_seeds(a, b, c, d)))
    }
}

impl fmt::Debug for RandomState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RandomState { .. }")
    }
}

impl BuildHasher for RandomState {
    type Hasher = DefaultHasher;

    #[inline]
    fn build_hasher(&self) -> DefaultHasher {
        DefaultHasher(self.0.build_hasher())
    }
}

/// The [`Hasher`] of [`RandomState`].
///
/// ```
/// use std::hash::{BuildHasher, Hasher};
/// let mut hasher: tidewheel::DefaultHasher = tidewheel::RandomState::new()?.build_hasher();
/// hasher.write_u64(7);
/// let _ = hasher.finish();
/// # Ok::<(), tidewheel::NoRandomness>(())
/// ```
#[derive(Clone)]
pub struct DefaultHasher(ahash::AHasher);

impl fmt::Debug for DefaultHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DefaultHasher { .. }")
    }
}

/// Forwards the integer writes, too: ahash is much faster on them than on their bytes.
macro_rules! forward {
    ($($write:ident: $ty:ty),*) => {
        $(#[inline]
        fn $write(&mut self, value: $ty) {
            self.0.$write(value);
        })*
    };
}

impl Hasher for DefaultHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    forward!(write: &[u8], write_u8: u8, write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128, write_usize: usize);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_bits_make_the_same_hash_again() {
        for raw in [1, 1 << 20, 1 << 40, 1 << 60, u64::MAX] {
            let bits = HashBits::mixed(raw);
            let again = HashBits::again(bits.whole());
            assert_eq!(again.whole(), bits.whole());
            assert_eq!((again.home(), again.shard(0xFFFF)), (bits.home(), bits.shard(0xFFFF)));
        }
        assert_ne!(HashBits::mixed(1).whole(), HashBits::mixed(2).whole());
    }

    /// The worst possible hasher: sequential keys hash to themselves.
    #[test]
    fn an_identity_hash_spreads_over_shards_buckets_and_tags() {
        spread(&(0..4096).map(HashBits::mixed).collect::<Vec<_>>());
        // The keys differ in high bits alone, like aligned pointers or shifted ids.
        let shifted: HashSet<_> = (0..4096u64).map(|i| HashBits::mixed(i << 50).home() >> 22).collect();
        assert!(shifted.len() > 900, "{}", shifted.len());
    }

    /// Consecutive numbers that hash to themselves find their bucket full as often as random ones
    /// do, whatever the number of shards and entries. (With one multiplication it was half of them,
    /// for 135,402 in 32 shards.)
    #[test]
    fn numbers_in_a_row_do_not_crowd_in_a_few_buckets() {
        const SLOTS: u32 = 12;
        for (shards, count) in [(1, 40_000), (8, 60_000), (32, 135_402), (64, 100_000), (64, 135_402)] {
            for stride in [1, 8, 4096, 1 << 16, 1 << 40] {
                let log2 = (count / shards / 10usize).ilog2() + 1;
                let mut buckets = vec![0u32; shards << log2];
                for key in 0..count as u64 {
                    let bits = HashBits::mixed(key.wrapping_mul(stride));
                    buckets[(bits.shard(shards - 1) << log2) + (bits.home() >> (32 - log2)) as usize] += 1;
                }
                let crowded: u32 = buckets.iter().map(|entries| entries.saturating_sub(SLOTS)).sum();
                assert!(crowded as usize * 10 < count, "{crowded} of {count} by {stride} in {shards} shards");
            }
        }
    }

    /// The first three numbers that SplitMix64 makes from the seed 0 are its finalizer of one, two and
    /// three times its constant.
    #[test]
    fn another_hasher_is_mixed_as_published() {
        let published = [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F];
        for (times, number) in (1u64..).zip(published) {
            let raw = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(times);
            assert_eq!(HashBits::mixed(raw), HashBits(number));
        }
    }

    #[test]
    fn so_does_the_default_hash_by_itself() {
        let state = RandomState::new().unwrap();
        let bits = |key: u64| HashBits::of(&state, &key);
        assert_eq!(bits(7), HashBits(state.hash_one(7u64)));
        spread(&(0..4096).map(bits).collect::<Vec<_>>());
        spread(&(0..4096).map(|key| bits(key << 50)).collect::<Vec<_>>());
    }

    fn spread(bits: &[HashBits]) {
        for (what, distinct, most) in [
            ("shards", bits.iter().map(|b| b.shard(63) as u64).collect::<HashSet<_>>().len(), 64),
            ("homes", bits.iter().map(|b| u64::from(b.home() >> 22)).collect::<HashSet<_>>().len(), 1024),
            ("tags", bits.iter().map(|b| b.tag()).collect::<HashSet<_>>().len(), 255),
        ] {
            assert!(distinct * 10 >= most * 9, "{what}: {distinct} of {most}");
        }
    }

    #[test]
    fn two_caches_hash_differently() {
        let (a, b) = (RandomState::new().unwrap(), RandomState::new().unwrap());
        assert_ne!(a.hash_one(1u64), b.hash_one(1u64));
    }
}
