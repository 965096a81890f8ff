//! Near caches over Redis or Valkey (`tidewheel-redis`): their own figures, beside those of caches, for the same exporters.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidewheel_redis::{NearCache, Stats};

/// Looks at a near cache, if it is still there. Not to be called under a lock: if the user drops his last handle meanwhile, the values are dropped here.
type Look = Arc<dyn Fn() -> Option<Stats> + Send + Sync>;

/// A near cache that is watched.
struct Watched {
    /// See [`NearCache::id`].
    id: usize,
    look: Look,
}

/// A name, of a near cache that is watched or of one that was.
struct Named {
    name: Arc<str>,
    watched: Option<Watched>,
    /// What that one said last.
    seen: Stats,
    /// Those before it that are still there, which may get the name back, each with what it had counted.
    others: Vec<(Watched, Stats)>,
    /// What those before it had counted that are gone.
    before: Stats,
    /// Whether a recorder was told of that one, which keeps gauges as they are.
    #[cfg(feature = "metrics")]
    is_recorded: bool,
}

impl Named {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            watched: None,
            seen: Stats::default(),
            others: Vec::new(),
            before: Stats::default(),
            #[cfg(feature = "metrics")]
            is_recorded: false,
        }
    }

    /// The near cache that has the name, and those that had it and are still there.
    fn looks(&self) -> impl Iterator<Item = Look> {
        let others = self.others.iter().map(|(other, _)| other);
        self.watched.iter().chain(others).map(|watched| Arc::clone(&watched.look))
    }

    /// Notes what came of a look.
    fn note(&mut self, look: &Look, seen: Option<Stats>) {
        let is_it = |watched: &Watched| Arc::ptr_eq(&watched.look, look);
        if self.watched.as_ref().is_some_and(is_it) {
            match seen {
                // Another look may have been later, and noted sooner.
                Some(seen) => self.seen = joined(&self.seen, &seen, Ord::max, Ord::max),
                None => {
                    self.watched = None;
                    self.before = sum(&self.before, &std::mem::take(&mut self.seen));
                }
            }
        } else if seen.is_none() {
            let gone = self.others.iter().position(|(other, _)| is_it(other));
            if let Some((_, counted)) = gone.map(|place| self.others.swap_remove(place)) {
                self.before = sum(&self.before, &counted);
            }
        }
    }

    /// That near cache has the name from now on. What it had counted when it lost the name, if it had it, is in what it says now.
    fn give(&mut self, new: Watched) {
        let seen = std::mem::take(&mut self.seen);
        self.others.extend(self.watched.take().map(|watched| (watched, seen)));
        // An id is not given to another one as long as its look is held.
        if let Some(place) = self.others.iter().position(|(other, _)| other.id == new.id) {
            self.seen = self.others.swap_remove(place).1;
        }
        self.watched = Some(new);
    }

    #[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client"))]
    fn told(&self) -> Told {
        let before = self.others.iter().fold(self.before, |before, (_, counted)| sum(&before, counted));
        let stats = sum(&before, &self.seen);
        Told { name: Arc::clone(&self.name), stats, is_there: self.watched.is_some() }
    }
}

/// What there is to be told of a name.
#[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client"))]
struct Told {
    name: Arc<str>,
    /// Counts are of all near caches that have had it.
    stats: Stats,
    /// Whether one has it.
    is_there: bool,
}

/// What two have counted together. What is measured is the second's.
fn sum(one: &Stats, other: &Stats) -> Stats {
    joined(one, other, |one, other| one + other, Duration::saturating_add)
}

/// Joins what two have counted. What is measured is the second's.
fn joined(
    one: &Stats,
    other: &Stats,
    counts: fn(u64, u64) -> u64,
    times: fn(Duration, Duration) -> Duration,
) -> Stats {
    let kept = counts(one.fills.saturating_sub(one.unkept), other.fills.saturating_sub(other.unkept));
    let mut both = *other;
    both.hits = counts(one.hits, other.hits);
    both.unkept = counts(one.unkept, other.unkept);
    // The parts are what is exported.
    both.fills = kept + both.unkept;
    both.invalidations = counts(one.invalidations, other.invalidations);
    both.flushes = counts(one.flushes, other.flushes);
    both.stale = counts(one.stale, other.stale);
    both.cuts = counts(one.cuts, other.cuts);
    both.cut_off = times(one.cut_off, other.cut_off);
    both
}

/// Near caches whose figures are exported: each with a name as the label `cache`.
///
/// As [`Caches`](crate::Caches) otherwise: a handle, which keeps no near cache alive. What near caches of one name have counted is kept, and the next
/// one counts on from there.
///
/// | figure | what it is |
/// |---|---|
/// | `tidewheel_near_hits` | reads that were served from the process |
/// | `tidewheel_near_fills`, by `result` | answers of the server to reads: `kept`, or `unkept` |
/// | `tidewheel_near_invalidations` | keys that the server said were changed |
/// | `tidewheel_near_flushes` | how often everything was thrown away |
/// | `tidewheel_near_stale_hits` | reads that were served something old while it was cut off |
/// | `tidewheel_near_cuts` | how often it was cut off |
/// | `tidewheel_near_cut_off_seconds` | for how long in all |
/// | `tidewheel_near_lease_age_seconds` | how old the proof is that the lease counts from |
/// | `tidewheel_near_entries` | entries in the process |
///
/// Those that only grow end in `_total` where the exporter says so.
///
/// ```
/// use tidewheel_metrics::NearCaches;
/// use tidewheel_redis::NearCache;
///
/// fn export(users: &NearCache<String, String>) -> NearCaches {
///     let near_caches = NearCaches::new();
///     near_caches.watch("users", users);
///     near_caches
/// }
/// ```
#[derive(Clone, Default)]
pub struct NearCaches(Arc<Mutex<Vec<Named>>>);

impl NearCaches {
    /// None so far.
    ///
    /// ```
    /// let near_caches = tidewheel_metrics::NearCaches::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Exports a near cache's figures under that name from now on, until it is dropped. Another one that had the name is exported no more. If
    /// it gets the name back, what it has counted meanwhile is exported with the rest, once.
    pub fn watch<K, V>(&self, name: &str, near: &NearCache<K, V>)
    where
        K: ?Sized + AsRef<[u8]> + 'static,
        V: Clone + Send + Sync + 'static,
    {
        // What the one that had the name has counted.
        self.look();
        let (id, look) = (near.id(), Arc::new(near.watch()));
        let mut names = self.lock();
        let place = names.iter().position(|named| *named.name == *name).unwrap_or_else(|| {
            names.push(Named::new(name));
            names.len() - 1
        });
        names[place].give(Watched { id, look });
    }

    /// What there is to be told of each name.
    #[cfg(any(feature = "opentelemetry", feature = "prometheus-client"))]
    fn see(&self) -> Vec<Told> {
        self.look();
        self.lock().iter().map(Named::told).collect()
    }

    /// The same for a recorder, of which gauges stand until it is told otherwise: of who is gone it is told once more.
    #[cfg(feature = "metrics")]
    fn see_to_record(&self) -> Vec<Told> {
        self.look();
        let mut names = self.lock();
        let told = names.iter_mut().filter_map(|named| {
            let told = named.told();
            let was_recorded = std::mem::replace(&mut named.is_recorded, told.is_there);
            (told.is_there || was_recorded).then_some(told)
        });
        told.collect()
    }

    /// Looks at each of them that is still there. The others are watched no more.
    fn look(&self) {
        let looks: Vec<_> = self.lock().iter().flat_map(Named::looks).collect();
        for look in looks {
            let seen = look();
            self.lock().iter_mut().for_each(|named| named.note(&look, seen));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Named>> {
        // Whoever panicked under it has left the list as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for NearCaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.lock();
        let watched = names.iter().filter(|named| named.watched.is_some());
        f.debug_set().entries(watched.map(|named| &named.name)).finish()
    }
}

/// A number of one near cache.
#[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client"))]
struct Figure {
    /// Without `_total`, and with its unit, if it has one.
    name: &'static str,
    help: &'static str,
    /// Whether it only grows.
    is_counter: bool,
    values: fn(&Stats) -> Vec<Value>,
}

/// The value of the label `result`, if it has one, and a number.
#[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client"))]
type Value = (Option<&'static str>, f64);

#[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client"))]
fn one(value: u64) -> Vec<Value> {
    vec![(None, value as f64)]
}

#[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client"))]
const FIGURES: [Figure; 9] = [
    Figure {
        name: "tidewheel_near_hits",
        help: "Reads that were served from the process",
        is_counter: true,
        values: |stats| one(stats.hits),
    },
    Figure {
        name: "tidewheel_near_fills",
        help: "Answers of the server to reads, one for each key, by whether they were kept",
        is_counter: true,
        values: |stats| {
            let kept = stats.fills.saturating_sub(stats.unkept);
            vec![(Some("kept"), kept as f64), (Some("unkept"), stats.unkept as f64)]
        },
    },
    Figure {
        name: "tidewheel_near_invalidations",
        help: "Keys that the server said were changed",
        is_counter: true,
        values: |stats| one(stats.invalidations),
    },
    Figure {
        name: "tidewheel_near_flushes",
        help: "How often everything was thrown away: the server said so, or there was a new connection",
        is_counter: true,
        values: |stats| one(stats.flushes),
    },
    Figure {
        name: "tidewheel_near_stale_hits",
        help: "Reads that were served something old while it was cut off",
        is_counter: true,
        values: |stats| one(stats.stale),
    },
    Figure {
        name: "tidewheel_near_cuts",
        help: "How often it was cut off",
        is_counter: true,
        values: |stats| one(stats.cuts),
    },
    Figure {
        name: "tidewheel_near_cut_off_seconds",
        help: "For how long it was cut off in all",
        is_counter: true,
        values: |stats| vec![(None, stats.cut_off.as_secs_f64())],
    },
    Figure {
        name: "tidewheel_near_lease_age_seconds",
        help: "How long ago that PING was sent which the lease counts from",
        is_counter: false,
        values: |stats| vec![(None, stats.lease_age.as_secs_f64())],
    },
    Figure {
        name: "tidewheel_near_entries",
        help: "Entries in the process",
        is_counter: false,
        values: |stats| one(stats.entries),
    },
];

#[cfg(feature = "prometheus-client")]
mod scrape {
    use super::{FIGURES, NearCaches};
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
    use prometheus_client::metrics::MetricType;
    use prometheus_client::registry::Unit;
    use std::fmt;

    /// `Registry::register_collector(Box::new(near_caches))` exports the near caches.
    impl Collector for NearCaches {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let all = self.see();
            for figure in &FIGURES {
                let (name, unit) = match figure.name.strip_suffix("_seconds") {
                    Some(name) => (name, Some(Unit::Seconds)),
                    None => (figure.name, None),
                };
                let kind = if figure.is_counter { MetricType::Counter } else { MetricType::Gauge };
                let mut metrics = encoder.encode_descriptor(name, figure.help, unit.as_ref(), kind)?;
                for told in all.iter().filter(|told| told.is_there) {
                    for (result, value) in (figure.values)(&told.stats) {
                        let own = result.map(|result| ("result", result.to_owned()));
                        let labels: Vec<_> =
                            [("cache", told.name.to_string())].into_iter().chain(own).collect();
                        let mut metric = metrics.encode_family(&labels)?;
                        if figure.is_counter {
                            metric.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
                        } else {
                            metric.encode_gauge(&value)?;
                        }
                    }
                }
            }
            Ok(())
        }
    }
}

#[cfg(feature = "metrics")]
mod facade {
    use super::{FIGURES, NearCaches};
    use metrics::{Key, Label, Level, Metadata, Recorder};

    impl NearCaches {
        /// Tells this recorder of the `metrics` facade each figure of this moment. Its counters are whole numbers: so seconds are told as gauges.
        pub fn record_to(&self, recorder: &dyn Recorder) {
            let metadata = Metadata::new(module_path!(), Level::INFO, None);
            let all = self.see_to_record();
            for figure in &FIGURES {
                let is_counter = figure.is_counter && !figure.name.ends_with("_seconds");
                let name = if is_counter { format!("{}_total", figure.name) } else { figure.name.to_owned() };
                if is_counter {
                    recorder.describe_counter(name.clone().into(), None, figure.help.into());
                } else {
                    recorder.describe_gauge(name.clone().into(), None, figure.help.into());
                }
                for told in &all {
                    for (result, value) in (figure.values)(&told.stats) {
                        let own = result.map(|result| Label::new("result", result));
                        let labels: Vec<_> =
                            [Label::new("cache", told.name.to_string())].into_iter().chain(own).collect();
                        let key = Key::from_parts(name.clone(), labels);
                        if is_counter {
                            // Whole numbers, all of them.
                            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                            recorder.register_counter(&key, &metadata).absolute(value as u64);
                        } else {
                            recorder.register_gauge(&key, &metadata).set(value);
                        }
                    }
                }
            }
        }

        /// Tells the recorder of this moment each figure.
        pub fn record(&self) {
            metrics::with_recorder(|recorder| self.record_to(recorder));
        }
    }
}

#[cfg(feature = "opentelemetry")]
mod instruments {
    use super::{FIGURES, Figure, NearCaches};
    use opentelemetry::KeyValue;
    use opentelemetry::metrics::Meter;

    impl NearCaches {
        /// Observable instruments of the meter, which are asked each time that its reader collects.
        pub fn observe(&self, meter: &Meter) {
            for figure in &FIGURES {
                let near_caches = self.clone();
                let told = move |tell: &dyn Fn(f64, &[KeyValue])| near_caches.tell(figure, tell);
                if figure.is_counter {
                    let counter = meter.f64_observable_counter(figure.name).with_description(figure.help);
                    counter
                        .with_callback(move |observer| told(&|value, labels| observer.observe(value, labels)))
                        .build();
                } else {
                    let gauge = meter.f64_observable_gauge(figure.name).with_description(figure.help);
                    gauge
                        .with_callback(move |observer| told(&|value, labels| observer.observe(value, labels)))
                        .build();
                }
            }
        }

        fn tell(&self, figure: &Figure, tell: &dyn Fn(f64, &[KeyValue])) {
            // A reader that is told of differences forgets counters that it is not told of.
            for told in self.see().iter().filter(|told| told.is_there || figure.is_counter) {
                for (result, value) in (figure.values)(&told.stats) {
                    let own = result.map(|result| KeyValue::new("result", result));
                    let labels: Vec<_> =
                        [KeyValue::new("cache", told.name.to_string())].into_iter().chain(own).collect();
                    tell(value, &labels);
                }
            }
        }
    }
}
