//! What is exported, under which name, and what it means: one table for all exporters. Knows none of them, and no cache.
//!
//! No ratio is exported: whoever looks at a dashboard wants it over a window, which `rate` of the parts has and a ratio has not.

use std::time::Duration;
use tidewheel::Stats;

/// What a cache says of itself at one moment.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen {
    pub(crate) stats: Stats,
    pub(crate) entries: u64,
    pub(crate) weight: u64,
    pub(crate) capacity: Option<u64>,
}

/// A label and its value, beside the cache's name.
pub(crate) type Label = (&'static str, &'static str);

/// One number of a family.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) label: Option<Label>,
    pub(crate) value: u64,
}

/// A family of numbers that only grow.
pub(crate) struct Counters {
    /// Without `_total`, which exporters add or not.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) points: fn(&Seen) -> Vec<Point>,
}

/// A number that goes up and down; `None` where there is none.
pub(crate) struct Gauge {
    /// With its unit, if it has one.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: fn(&Seen) -> Option<f64>,
}

fn by(name: &'static str, points: &[(&'static str, u64)]) -> Vec<Point> {
    points.iter().map(|&(label, value)| Point { label: Some((name, label)), value }).collect()
}

pub(crate) const COUNTERS: [Counters; 7] = [
    Counters {
        name: "tidewheel_requests",
        help: "Reads that count as use, by whether they found a live entry",
        points: |seen| by("result", &[("hit", seen.stats.hits), ("miss", seen.stats.misses)]),
    },
    Counters {
        name: "tidewheel_writes",
        help: "Values stored: where there was none, in place of a live one, and refused since they alone were too heavy (a live one that such a value removed counts as replaced, too)",
        points: |seen| {
            let stats = &seen.stats;
            by(
                "kind",
                &[("insert", stats.inserts), ("replace", stats.replacements), ("refused", stats.refused)],
            )
        },
    },
    Counters {
        name: "tidewheel_removals",
        help: "Entries removed, by cause: past their deadline, by a call, to make room",
        points: |seen| {
            let stats = &seen.stats;
            by("cause", &[("expired", stats.expired), ("explicit", stats.explicit), ("size", stats.evicted)])
        },
    },
    Counters {
        name: "tidewheel_evicted_weight",
        help: "Weight of what was removed to make room, in the weigher's unit, or in entries",
        points: |seen| vec![Point { label: None, value: seen.stats.evicted_weight }],
    },
    Counters {
        name: "tidewheel_refreshes",
        help: "Values loaded anew because they were old, and attempts at it that brought none",
        points: |seen| {
            by("result", &[("success", seen.stats.refreshes), ("failure", seen.stats.refresh_failures)])
        },
    },
    Counters {
        name: "tidewheel_loads",
        help: "Closures and futures that were to bring the value of a key, by what they came to",
        points: |seen| {
            let loads = &seen.stats.loads;
            by(
                "result",
                &[
                    ("success", loads.success),
                    ("absent", loads.absent),
                    ("failure", loads.failure),
                    ("panic", loads.panic),
                    ("cancelled", loads.cancelled),
                    ("invalidated", loads.invalidated),
                ],
            )
        },
    },
    Counters {
        name: "tidewheel_loads_joined",
        help: "Calls that were told what the load of another one came to, and loaded nothing themselves",
        points: |seen| vec![Point { label: None, value: seen.stats.loads.joined }],
    },
];

pub(crate) const GAUGES: [Gauge; 5] = [
    Gauge {
        name: "tidewheel_entries",
        help: "Entries in the map, expired and not yet removed ones included",
        value: |seen| Some(seen.entries as f64),
    },
    Gauge {
        name: "tidewheel_weight",
        help: "What counts for the capacity, in the weigher's unit, or in entries",
        value: |seen| Some(seen.weight as f64),
    },
    Gauge {
        name: "tidewheel_capacity",
        help: "How much the cache may hold; not there where nothing bounds it",
        value: |seen| seen.capacity.map(|capacity| capacity as f64),
    },
    Gauge {
        name: "tidewheel_garbage",
        help: "Values that are out of the cache and wait until no reader can look at them",
        value: |seen| Some(seen.stats.garbage as f64),
    },
    Gauge {
        name: "tidewheel_reaper_lag_seconds",
        help: "How long after something was due the reaper came, the last time that it did",
        value: |seen| Some(seen.stats.reaper_lag.as_secs_f64()),
    },
];

/// All that only grows, of one cache or of several: for each family of [`COUNTERS`] its numbers, and what each of [`HISTOGRAMS`] has.
#[derive(Clone)]
pub(crate) struct Totals {
    pub(crate) counters: [Vec<Point>; COUNTERS.len()],
    pub(crate) histograms: [Buckets; HISTOGRAMS.len()],
}

impl Totals {
    pub(crate) fn of(seen: &Seen) -> Self {
        let counters = COUNTERS.each_ref().map(|family| (family.points)(seen));
        let histograms = HISTOGRAMS.each_ref().map(|histogram| (histogram.look)(seen));
        Self { counters, histograms }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let both = self.counters.iter_mut().flatten().zip(other.counters.iter().flatten());
        both.for_each(|(point, other)| point.value += other.value);
        let both = self.histograms.iter_mut().zip(&other.histograms);
        both.for_each(|(buckets, other)| buckets.add(other));
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self::of(&Seen::default())
    }
}

/// Durations of a family, counted by how long they are.
pub(crate) struct Histogram {
    /// With its unit.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) look: fn(&Seen) -> Buckets,
}

/// What a histogram has.
#[derive(Clone)]
pub(crate) struct Buckets {
    /// Upper limits in seconds, and how many durations each bucket has for itself.
    pub(crate) counts: Vec<(f64, u64)>,
    /// In seconds.
    pub(crate) sum: f64,
}

impl Buckets {
    fn new(sum: Duration, buckets: impl Iterator<Item = (Duration, u64)>) -> Self {
        let seconds =
            |limit: Duration| if limit == Duration::MAX { f64::INFINITY } else { limit.as_secs_f64() };
        let counts = buckets.map(|(limit, count)| (seconds(limit), count)).collect();
        Self { counts, sum: sum.as_secs_f64() }
    }

    fn add(&mut self, other: &Self) {
        let both = self.counts.iter_mut().zip(&other.counts);
        both.for_each(|((_, count), (_, other))| *count += other);
        self.sum += other.sum;
    }

    /// How many there are in all.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// Each limit as the label `le` has it, and how many are not above it: for exporters that have no histograms to be looked at.
    #[cfg(any(feature = "metrics", feature = "opentelemetry"))]
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (String, u64)> {
        let mut below = 0;
        self.counts.iter().map(move |&(limit, count)| {
            below += count;
            let limit = if limit.is_infinite() { "+Inf".to_owned() } else { limit.to_string() };
            (limit, below)
        })
    }
}

pub(crate) const HISTOGRAMS: [Histogram; 2] = [
    Histogram {
        name: "tidewheel_load_duration_seconds",
        help: "How long loads took, whatever they came to",
        look: |seen| {
            let times = &seen.stats.loads.times;
            Buckets::new(times.sum(), times.buckets())
        },
    },
    Histogram {
        name: "tidewheel_expiry_lateness_seconds",
        help: "How long after its deadline an expired entry was taken out",
        look: |seen| {
            let late = &seen.stats.lateness;
            Buckets::new(late.sum(), late.buckets())
        },
    },
];
