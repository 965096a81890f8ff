//! Near caches over Redis or Valkey (`tidewheel-redis`): their own figures, beside those of caches, for the same exporters.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidewheel_redis::{NearCache, Stats};

/// Looks at a near cache, if it is still there. Not to be called under a lock: if the user drops his last handle meanwhile, the values are dropped here.
type Look = Arc<dyn Fn() -> Option<Stats> + Send + Sync>;

struct Watched {
    name: Arc<str>,
    look: Look,
}

/// Near caches whose figures are exported: each with a name as the label `cache`.
///
/// As [`Caches`](crate::Caches) otherwise: a handle, which keeps no near cache alive.
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
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tidewheel_metrics::NearCaches;
/// use tidewheel_redis::{Json, NearCache, redis};
///
/// let near_caches = NearCaches::new();
/// let client = redis::Client::open("redis://127.0.0.1/")?;
/// let users = NearCache::<String, String>::builder().codec(Json).connect(client).await?;
/// near_caches.watch("users", &users);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct NearCaches(Arc<Mutex<Vec<Watched>>>);

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

    /// Exports a near cache's figures under that name from now on, until it is dropped. Another one that had the name is exported no more.
    pub fn watch<K, V>(&self, name: &str, near: &NearCache<K, V>)
    where
        K: ?Sized + AsRef<[u8]> + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let mut watched = self.lock();
        watched.retain(|watched| *watched.name != *name);
        watched.push(Watched { name: name.into(), look: Arc::new(near.watch()) });
    }

    /// What each of them says.
    fn see(&self) -> Vec<(Arc<str>, Stats)> {
        let looks: Vec<_> =
            self.lock().iter().map(|one| (Arc::clone(&one.name), Arc::clone(&one.look))).collect();
        let mut all = Vec::with_capacity(looks.len());
        for (name, look) in looks {
            match look() {
                Some(seen) => all.push((name, seen)),
                None => self.lock().retain(|watched| !Arc::ptr_eq(&watched.look, &look)),
            }
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watched>> {
        // Whoever panicked under it has left the list as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for NearCaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().iter().map(|watched| &watched.name)).finish()
    }
}

/// A number of one near cache. Without features of exporters, nobody looks.
#[cfg_attr(
    not(any(feature = "metrics", feature = "prometheus-client", feature = "opentelemetry")),
    expect(dead_code)
)]
struct Figure {
    /// Without `_total`, and with its unit, if it has one.
    name: &'static str,
    help: &'static str,
    /// Whether it only grows.
    is_counter: bool,
    values: fn(&Stats) -> Vec<Value>,
}

/// The value of the label `result`, if it has one, and a number.
type Value = (Option<&'static str>, f64);

fn one(value: u64) -> Vec<Value> {
    vec![(None, value as f64)]
}

#[cfg_attr(
    not(any(feature = "metrics", feature = "prometheus-client", feature = "opentelemetry")),
    expect(dead_code)
)]
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
                for (cache, stats) in &all {
                    for (result, value) in (figure.values)(stats) {
                        let own = result.map(|result| ("result", result.to_owned()));
                        let labels: Vec<_> = [("cache", cache.to_string())].into_iter().chain(own).collect();
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
            let all = self.see();
            for figure in &FIGURES {
                let is_counter = figure.is_counter && !figure.name.ends_with("_seconds");
                let name = if is_counter { format!("{}_total", figure.name) } else { figure.name.to_owned() };
                if is_counter {
                    recorder.describe_counter(name.clone().into(), None, figure.help.into());
                } else {
                    recorder.describe_gauge(name.clone().into(), None, figure.help.into());
                }
                for (cache, stats) in &all {
                    for (result, value) in (figure.values)(stats) {
                        let own = result.map(|result| Label::new("result", result));
                        let labels: Vec<_> =
                            [Label::new("cache", cache.to_string())].into_iter().chain(own).collect();
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
            for (cache, stats) in self.see() {
                for (result, value) in (figure.values)(&stats) {
                    let own = result.map(|result| KeyValue::new("result", result));
                    let labels: Vec<_> =
                        [KeyValue::new("cache", cache.to_string())].into_iter().chain(own).collect();
                    tell(value, &labels);
                }
            }
        }
    }
}
