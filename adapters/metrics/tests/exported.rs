//! What each exporter is told of one and the same cache.

#![cfg_attr(
    not(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client")),
    allow(dead_code)
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, ManualClock};
use tidewheel_metrics::{Caches, WatchError};

/// A cache in which each figure is another one.
fn used() -> Cache<u64, u32> {
    let clock = ManualClock::new();
    let builder = Cache::builder().name("pages").max_capacity(100).weigher(|_: &u64, weight: &u32| *weight);
    let cache = builder.shards(1).clock(clock.clone()).record_stats().build().unwrap();
    for key in 0..8 {
        cache.insert_with_ttl(key, 5, Duration::from_millis(900));
    }
    (0..3).for_each(|key| cache.insert_with_ttl(key, 5, Duration::from_millis(900)));
    for key in 0..12 {
        cache.get(&key);
    }
    cache.get(&0);
    cache.invalidate(&7);
    clock.advance(Duration::from_secs(1));
    cache.insert(20, 7);
    cache.insert(21, 200);
    for key in 30..33 {
        cache.insert(key, 40);
    }
    assert!(cache.stats().evicted > 0);
    load(&cache, &clock);
    cache
}

/// Loads of each kind, each so often as no other.
fn load(cache: &Cache<u64, u32>, clock: &ManualClock) {
    let minute = Duration::from_secs(60);
    // 3 ms, three times.
    (50..53).for_each(|key| {
        assert_eq!(cache.get_with(key, || (clock.advance(Duration::from_millis(3)), 1).1), 1);
    });
    (0..2).for_each(|_| assert_eq!(cache.optionally_get_with(60, || None), None));
    for _ in 0..4 {
        let failed = cache.try_get_with(60, || {
            clock.advance(Duration::from_secs(2));
            Err::<u32, _>("no connection")
        });
        assert!(failed.is_err());
    }
    (0..5).for_each(|_| {
        let panics = || cache.get_with(60, || panic!("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    });
    (0..6).for_each(|_| {
        let dropped = || cache.get_with_detached(60, minute, || 1, drop);
        assert!(catch_unwind(AssertUnwindSafe(dropped)).is_err());
    });
    // Overtaken by a removal; and eight calls for a key that another one loads.
    (0..7).for_each(|_| {
        cache.get_with(60, || (cache.invalidate(&60), 1).1);
    });
    let (end, ended) = channel();
    let (begin, begun) = channel();
    thread::scope(|scope| {
        scope.spawn(|| cache.get_with(61, move || (begin.send(()).unwrap(), ended.recv().unwrap()).1));
        begun.recv().unwrap();
        (0..8)
            .for_each(|_| drop(scope.spawn(|| cache.get_with(61, || unreachable!("another one loads it")))));
        while cache.waiting() < 8 {
            thread::yield_now();
        }
        end.send(1).unwrap();
    });
    assert_eq!(cache.stats().misses, MISSES);
}

/// Reads that find nothing: five by `get`, one for each load, and one for each call that joins one.
const MISSES: u64 = 4 + 3 + 2 + 4 + 5 + 6 + 7 + 1 + 8;

/// Limits of each histogram, with how many are not above them, and what comes to: times of loads (three of 3 ms, four of 2 s, and 21 of
/// no time), and lateness (seven of 100 ms).
const BUCKETS: [(&str, &str, f64); 10] = [
    ("tidewheel_load_duration_seconds", "0.000001", 21.0),
    ("tidewheel_load_duration_seconds", "0.002048", 21.0),
    ("tidewheel_load_duration_seconds", "0.004096", 24.0),
    ("tidewheel_load_duration_seconds", "1.048576", 24.0),
    ("tidewheel_load_duration_seconds", "2.097152", 28.0),
    ("tidewheel_load_duration_seconds", "+Inf", 28.0),
    ("tidewheel_expiry_lateness_seconds", "0.064", 0.0),
    ("tidewheel_expiry_lateness_seconds", "0.128", 7.0),
    ("tidewheel_expiry_lateness_seconds", "4.096", 7.0),
    ("tidewheel_expiry_lateness_seconds", "+Inf", 7.0),
];
const SUMS: [(&str, f64, f64); 2] =
    [("tidewheel_load_duration_seconds", 28.0, 8.009), ("tidewheel_expiry_lateness_seconds", 7.0, 0.7)];
/// Buckets of both.
const BUCKETS_IN_ALL: usize = 27 + 14;

/// Names, labels and values of all that is counted or measured.
const FIGURES: [(&str, &str, f64); 19] = [
    ("tidewheel_requests", "hit", 9.0),
    ("tidewheel_requests", "miss", MISSES as f64),
    ("tidewheel_writes", "insert", 16.0),
    ("tidewheel_writes", "replace", 3.0),
    ("tidewheel_writes", "refused", 1.0),
    ("tidewheel_removals", "expired", 7.0),
    ("tidewheel_removals", "explicit", 1.0),
    ("tidewheel_refreshes", "success", 0.0),
    ("tidewheel_refreshes", "failure", 0.0),
    ("tidewheel_loads", "success", 4.0),
    ("tidewheel_loads", "absent", 2.0),
    ("tidewheel_loads", "failure", 4.0),
    ("tidewheel_loads", "panic", 5.0),
    ("tidewheel_loads", "cancelled", 6.0),
    ("tidewheel_loads", "invalidated", 7.0),
    ("tidewheel_loads_joined", "", 8.0),
    ("tidewheel_capacity", "", 100.0),
    ("tidewheel_garbage", "", 0.0),
    ("tidewheel_reaper_lag_seconds", "", 0.0),
];

/// What depends on whom the policy chose is asked of the cache.
fn all_figures(cache: &Cache<u64, u32>) -> Vec<(&'static str, &'static str, f64)> {
    let mut all = FIGURES.to_vec();
    all.push(("tidewheel_entries", "", cache.entry_count() as f64));
    all.push(("tidewheel_weight", "", cache.weighted_size() as f64));
    all.push(("tidewheel_removals", "size", cache.stats().evicted as f64));
    all.push(("tidewheel_evicted_weight", "", cache.stats().evicted_weight as f64));
    for figure in &mut all {
        match figure.0 {
            "tidewheel_garbage" => figure.2 = cache.stats().garbage as f64,
            "tidewheel_reaper_lag_seconds" => figure.2 = cache.stats().reaper_lag.as_secs_f64(),
            _ => {}
        }
    }
    all
}

#[test]
fn a_cache_needs_a_name_of_its_own_and_is_not_kept_alive() {
    let caches = Caches::new();
    let nameless: Cache<u64, u64> = Cache::new(10);
    assert_eq!(caches.watch(&nameless), Err(WatchError::NoName));
    let named = || Cache::<u64, u64>::builder().name("pages").build().unwrap();
    let first = named();
    caches.watch(&first).unwrap();
    let error = caches.watch(&named()).unwrap_err();
    assert!(matches!(&error, WatchError::NameTaken { name, .. } if name == "pages"));
    assert!(error.to_string().contains("'pages'"), "{error}");
    assert_eq!(format!("{caches:?}"), "{\"pages\"}");
    drop(first);
    caches.watch(&named()).unwrap();
}

/// A cache with an entry, in which so many reads found nothing, and one load took no time.
fn missed(misses: u64, capacity: Option<u64>) -> Cache<u64, u64> {
    let builder = Cache::builder().name("pages").clock(ManualClock::new()).record_stats();
    let builder = if let Some(capacity) = capacity { builder.max_capacity(capacity) } else { builder };
    let cache = builder.build().unwrap();
    for key in 1..misses {
        cache.get(&key);
    }
    cache.get_with(0, || 0);
    assert_eq!(cache.stats().misses, misses);
    cache
}

#[cfg(feature = "prometheus-client")]
mod scraped {
    use super::{BUCKETS, BUCKETS_IN_ALL, Cache, Caches, SUMS, all_figures, missed, used};
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    fn page(caches: &Caches) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(caches.clone()));
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        page
    }

    #[test]
    fn each_figure_is_on_the_page_once() {
        let (caches, cache) = (Caches::new(), used());
        caches.watch(&cache).unwrap();
        let page = page(&caches);
        let counters =
            ["requests", "writes", "removals", "refreshes", "evicted_weight", "loads", "loads_joined"];
        for (name, label, value) in all_figures(&cache) {
            let is_counter = counters.iter().any(|counter| name.ends_with(counter));
            let name = if is_counter { format!("{name}_total") } else { name.to_owned() };
            let line = |line: &&str| {
                line.starts_with(&format!("{name}{{cache=\"pages\""))
                    && line.contains(&format!("=\"{label}\"")) != label.is_empty()
            };
            let lines: Vec<_> = page.lines().filter(line).collect();
            let [line] = lines.as_slice() else { panic!("{name} {label}: {lines:?} of {page}") };
            let told: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert_eq!(told, value, "{line}");
        }
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    #[test]
    fn durations_are_histograms_with_their_sums() {
        let (caches, cache) = (Caches::new(), used());
        caches.watch(&cache).unwrap();
        let page = page(&caches);
        let value = |start: &str| {
            let lines: Vec<_> = page.lines().filter(|line| line.starts_with(start)).collect();
            let [line] = lines.as_slice() else { panic!("{start}: {lines:?} of {page}") };
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        for (of, limit, count) in BUCKETS {
            // As a number: it may be written in more ways than one.
            let limit: f64 = limit.parse().unwrap();
            let line = page.lines().find(|line| {
                let label =
                    line.strip_prefix(&format!("{of}_bucket{{le=\"")).and_then(|rest| rest.split('"').next());
                label.is_some_and(|label| label.parse() == Ok(limit))
            });
            let line = line.unwrap_or_else(|| panic!("{of} {limit}: {page}"));
            assert!(line.ends_with(&format!(",cache=\"pages\"}} {count}")), "{line}");
        }
        for (of, count, sum) in SUMS {
            assert_eq!(value(&format!("{of}_count{{cache=\"pages\"}}")), count);
            assert!((value(&format!("{of}_sum{{cache=\"pages\"}}")) - sum).abs() < 1e-9, "{page}");
        }
        assert_eq!(page.lines().filter(|line| line.contains("_bucket{")).count(), BUCKETS_IN_ALL);
    }

    #[test]
    fn a_cache_without_a_bound_has_no_capacity_and_one_that_is_dropped_no_figures() {
        let caches = Caches::new();
        let free = Cache::<u64, u64>::builder().name("free \"of\" bounds\n").build().unwrap();
        caches.watch(&free).unwrap();
        let before = page(&caches);
        assert!(!before.contains("tidewheel_capacity{"), "{before}");
        assert!(before.contains(r#"{cache="free \"of\" bounds\n"}"#), "{before}");
        drop(free);
        assert!(!page(&caches).contains("cache="), "{}", page(&caches));
    }

    #[test]
    fn a_name_counts_on_when_another_cache_takes_it() {
        let caches = Caches::new();
        for (misses, in_all) in [(10, 10), (3, 13)] {
            let cache = missed(misses, None);
            caches.watch(&cache).unwrap();
            let page = page(&caches);
            assert!(page.contains(&format!("{{cache=\"pages\",result=\"miss\"}} {in_all}\n")), "{page}");
        }
        let page = page(&caches);
        assert!(!page.contains("cache="), "{page}");
    }
}

#[cfg(feature = "metrics")]
mod told {
    use super::{BUCKETS, BUCKETS_IN_ALL, Caches, SUMS, all_figures, missed, used};
    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    /// A recorder that remembers.
    #[derive(Default)]
    struct Remembers(Mutex<HashMap<Key, (Arc<AtomicU64>, bool)>>);

    impl Remembers {
        fn of(&self, key: &Key, is_gauge: bool) -> Arc<AtomicU64> {
            Arc::clone(
                &self.0.lock().unwrap().entry(key.clone()).or_insert_with(|| (Arc::default(), is_gauge)).0,
            )
        }
    }

    impl Recorder for Remembers {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.of(key, false))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.of(key, true))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            panic!("{key}")
        }
    }

    #[test]
    fn a_recorder_is_told_each_figure_once_however_often_it_is_told() {
        let (caches, cache, recorder) = (Caches::new(), used(), Remembers::default());
        caches.watch(&cache).unwrap();
        for _ in 0..3 {
            metrics::with_local_recorder(&recorder, || caches.record());
        }
        let told = recorder.0.lock().unwrap();
        let mut all = all_figures(&cache);
        // Of each histogram: its buckets, a count and a sum.
        assert_eq!(told.len(), all.len() + BUCKETS_IN_ALL + 2 * 2);
        let parts: Vec<_> =
            SUMS.map(|(of, count, sum)| (format!("{of}_count"), count, format!("{of}_sum"), sum)).into();
        let buckets: Vec<_> = BUCKETS.map(|(of, limit, count)| (format!("{of}_bucket"), limit, count)).into();
        all.extend(buckets.iter().map(|(of, limit, count)| (of.as_str(), *limit, *count)));
        for (counted, count, summed, sum) in &parts {
            all.extend([(counted.as_str(), "", *count), (summed.as_str(), "", *sum)]);
        }
        for (name, label, value) in all {
            let is_it = |key: &Key| {
                let labels: Vec<_> = key.labels().map(metrics::Label::value).collect();
                let own = labels.get(1).copied().unwrap_or("");
                key.name().trim_end_matches("_total") == name && labels[0] == "pages" && own == label
            };
            let (_, (bits, is_gauge)) = told.iter().find(|(key, _)| is_it(key)).unwrap();
            let bits = bits.load(Ordering::Relaxed);
            let found = if *is_gauge { f64::from_bits(bits) } else { bits as f64 };
            assert!((found - value).abs() < 1e-9, "{name} {label}: {found}, not {value}");
        }
    }

    impl Remembers {
        /// What it was told of a name and a label: there is one such figure.
        fn told(&self, name: &str, label: &str) -> f64 {
            let told = self.0.lock().unwrap();
            let is_it = |key: &Key| {
                key.name() == name && key.labels().nth(1).map_or("", metrics::Label::value) == label
            };
            let found: Vec<_> = told.iter().filter(|(key, _)| is_it(key)).map(|(_, told)| told).collect();
            let [(bits, is_gauge)] = found.as_slice() else { panic!("{name} {label}: {found:?}") };
            let bits = bits.load(Ordering::Relaxed);
            if *is_gauge { f64::from_bits(bits) } else { bits as f64 }
        }

        /// Misses, loads of no time at most, the capacity, and entries.
        fn figures(&self) -> [f64; 4] {
            [
                self.told("tidewheel_requests_total", "miss"),
                self.told("tidewheel_load_duration_seconds_bucket", "0.000001"),
                self.told("tidewheel_capacity", ""),
                self.told("tidewheel_entries", ""),
            ]
        }
    }

    #[test]
    fn a_name_counts_on_when_another_cache_takes_it_and_no_gauge_of_the_first_stands() {
        let (caches, recorder) = (Caches::new(), Remembers::default());
        let first = missed(10, Some(100));
        caches.watch(&first).unwrap();
        caches.record_to(&recorder);
        assert_eq!(recorder.figures(), [10.0, 1.0, 100.0, 1.0]);
        drop(first);
        caches.record_to(&recorder);
        assert_eq!(recorder.figures(), [10.0, 1.0, 0.0, 0.0]);
        let second = missed(3, Some(50));
        caches.watch(&second).unwrap();
        caches.record_to(&recorder);
        assert_eq!(recorder.figures(), [13.0, 2.0, 50.0, 1.0]);
        // The next has no capacity, and follows before the recorder is told that this one is gone.
        drop(second);
        let third = missed(5, None);
        third.invalidate_all();
        caches.watch(&third).unwrap();
        caches.record_to(&recorder);
        assert_eq!(recorder.figures(), [18.0, 3.0, 0.0, 0.0]);
    }

    #[test]
    fn the_gauges_of_what_is_gone_are_told_once_even_if_another_exporter_found_out() {
        let (caches, recorder) = (Caches::new(), Remembers::default());
        let cache = missed(10, Some(100));
        caches.watch(&cache).unwrap();
        caches.record_to(&recorder);
        drop(cache);
        // A look.
        caches.watch(&super::Cache::<u64, u64>::builder().name("other").build().unwrap()).unwrap();
        caches.record_to(&recorder);
        assert_eq!(recorder.figures(), [10.0, 1.0, 0.0, 0.0]);
        recorder.0.lock().unwrap().clear();
        caches.record_to(&recorder);
        let told = recorder.0.lock().unwrap();
        assert!(told.is_empty(), "{told:?}");
    }
}

#[cfg(feature = "opentelemetry")]
mod observed {
    use super::{BUCKETS, BUCKETS_IN_ALL, Caches, SUMS, all_figures, missed, used};
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{
        InMemoryMetricExporter, InMemoryMetricExporterBuilder, SdkMeterProvider, Temporality,
    };
    use std::collections::HashMap;

    #[test]
    fn a_reader_finds_each_figure_once() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
        let (caches, cache) = (Caches::new(), used());
        caches.observe(&provider.meter("tidewheel"));
        // Later than the instruments.
        caches.watch(&cache).unwrap();
        provider.force_flush().unwrap();
        let finished = exporter.get_finished_metrics().unwrap();
        let mut found = HashMap::new();
        for metric in finished[0].scope_metrics().flat_map(|scope| scope.metrics()) {
            let mut add = |value: f64, attributes: Vec<(String, String)>| {
                let own =
                    attributes.iter().find(|(key, _)| key != "cache").map_or("", |(_, value)| value.as_str());
                assert!(attributes.contains(&("cache".into(), "pages".into())), "{attributes:?}");
                assert!(found.insert((metric.name().to_owned(), own.to_owned()), value).is_none());
            };
            let texts = |key: &opentelemetry::KeyValue| (key.key.to_string(), key.value.to_string());
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    assert!(sum.is_monotonic());
                    sum.data_points()
                        .for_each(|at| add(at.value() as f64, at.attributes().map(texts).collect()));
                }
                AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                    gauge.data_points().for_each(|at| add(at.value(), at.attributes().map(texts).collect()));
                }
                AggregatedMetrics::F64(MetricData::Sum(sum)) => {
                    assert!(sum.is_monotonic());
                    sum.data_points().for_each(|at| add(at.value(), at.attributes().map(texts).collect()));
                }
                other => panic!("{}: {other:?}", metric.name()),
            }
        }
        let mut all: Vec<_> = all_figures(&cache)
            .into_iter()
            .map(|(name, label, value)| (name.to_owned(), label, value))
            .collect();
        assert_eq!(found.len(), all.len() + BUCKETS_IN_ALL + 2 * 2);
        all.extend(BUCKETS.map(|(of, limit, count)| (format!("{of}_bucket"), limit, count)));
        for (of, count, sum) in SUMS {
            all.extend([(format!("{of}_count"), "", count), (format!("{of}_sum"), "", sum)]);
        }
        for (name, label, value) in all {
            let found = found[&(name.clone(), label.to_owned())];
            assert!((found - value).abs() < 1e-9, "{name} {label}: {found}, not {value}");
        }
    }

    /// The difference that is told of misses, if there is one; no difference of anything is less than nothing.
    fn misses(exporter: &InMemoryMetricExporter) -> Option<u64> {
        let finished = exporter.get_finished_metrics().unwrap();
        exporter.reset();
        let mut misses = None;
        for metric in finished.iter().flat_map(|all| all.scope_metrics()).flat_map(|scope| scope.metrics()) {
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    for at in sum.data_points() {
                        assert!(at.value() < 1 << 60, "{}: {}", metric.name(), at.value());
                        if at.attributes().any(|own| own.value.as_str() == "miss") {
                            misses = Some(at.value());
                        }
                    }
                }
                AggregatedMetrics::F64(MetricData::Sum(sum)) => {
                    sum.data_points().for_each(|at| assert!(at.value() >= 0.0, "{}", metric.name()));
                }
                _ => {}
            }
        }
        misses
    }

    #[test]
    fn differences_go_on_when_another_cache_takes_a_name() {
        for is_looked_at_between in [false, true] {
            let exporter = InMemoryMetricExporterBuilder::new().with_temporality(Temporality::Delta).build();
            let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
            let caches = Caches::new();
            caches.observe(&provider.meter("tidewheel"));
            let mut told = 0;
            for (misses_of_this, in_all) in [(10, 10), (3, 13), (20, 33)] {
                let cache = missed(misses_of_this, Some(100));
                caches.watch(&cache).unwrap();
                provider.force_flush().unwrap();
                told += misses(&exporter).expect("the cache is there");
                assert_eq!(told, in_all);
                drop(cache);
                if is_looked_at_between {
                    provider.force_flush().unwrap();
                    assert_eq!(misses(&exporter).unwrap_or(0), 0);
                }
            }
        }
    }
}
