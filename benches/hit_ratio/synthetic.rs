//! Traces drawn from distributions, the same ones in every run.

/// A trace's name, and how it is drawn.
pub(crate) type Named = (&'static str, fn() -> Vec<u64>);

const ACCESSES: usize = 1_000_000;
const KEYS: usize = 100_000;

/// All of them.
pub(crate) fn all() -> [Named; 5] {
    [
        // Popularity by rank, as in requests for web pages.
        ("synthetic_zipf07", || Draw::new(KEYS, 0.7).take(ACCESSES)),
        ("synthetic_zipf10", || Draw::new(KEYS, 1.0).take(ACCESSES)),
        ("synthetic_scan", scan),
        ("synthetic_churn", churn),
        ("synthetic_shift", shift),
    ]
}

/// Popular keys, and now and then a scan over keys that are never seen again.
fn scan() -> Vec<u64> {
    let mut draw = Draw::new(KEYS / 2, 1.0);
    let mut scanned = 1 << 32;
    let mut keys = Vec::with_capacity(ACCESSES);
    while keys.len() < ACCESSES {
        keys.extend((0..20_000).map(|_| draw.key()));
        keys.extend(scanned..scanned + 5_000);
        scanned += 5_000;
    }
    keys
}

/// What is popular moves on, a key every 20 accesses.
fn churn() -> Vec<u64> {
    let mut draw = Draw::new(KEYS / 2, 0.9);
    (0..ACCESSES as u64).map(|at| draw.key() + at / 20).collect()
}

/// What is popular changes altogether, five times.
fn shift() -> Vec<u64> {
    let mut draw = Draw::new(KEYS / 4, 0.9);
    (0..ACCESSES as u64).map(|at| draw.key() + at / 200_000 * 1_000_000).collect()
}

/// Ranks by Zipf's law.
struct Draw {
    sums: Vec<f64>,
    state: u64,
}

impl Draw {
    fn new(keys: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weight = |rank: usize| (rank as f64).powf(-exponent);
        let sums = (1..=keys).map(|rank| {
            sum += weight(rank);
            sum
        });
        Self { sums: sums.collect(), state: 7 }
    }

    fn key(&mut self) -> u64 {
        let all = self.sums[self.sums.len() - 1];
        // G. Steele et al., "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        let drawn = ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64 * all;
        self.sums.partition_point(|&sum| sum < drawn) as u64
    }

    fn take(mut self, accesses: usize) -> Vec<u64> {
        (0..accesses).map(|_| self.key()).collect()
    }
}
