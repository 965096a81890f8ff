//! What it does while all is well.

use crate::{Bed, Near, builder, is_fresh, steady};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tidewheel_redis::{Codec, CodecError, Error, NearCache};

#[tokio::test]
async fn a_value_is_asked_for_once_and_seen_changed() {
    for builder in [steady(), steady().prefix("")] {
        let Some(bed) = Bed::with(builder).await else { return };
        bed.keep("k", 1).await;
        let before = bed.calls("get").await;
        for _ in 0..100 {
            assert_eq!(bed.get("k").await, Some(1));
        }
        assert_eq!(bed.calls("get").await, before);
        bed.write("k", 2).await;
        bed.until("it is told", |near| near.peek_local(&"k".into()).is_none()).await;
        assert_eq!(bed.get("k").await, Some(2));
        let stats = bed.near.stats();
        assert!(stats.hits >= 100 && stats.fills >= 2 && stats.invalidations >= 1, "{stats:?}");
    }
}

#[tokio::test]
async fn with_a_prefix_it_hears_of_those_keys_alone() {
    let Some(bed) = Bed::with(steady().prefix("user:")).await else { return };
    bed.write("user:1", 1).await;
    bed.write("1", 7).await;
    bed.until("it is told", |near| near.stats().invalidations == 1).await;
    assert_eq!(bed.get("1").await, Some(1));
    let heard = bed.near.stats().invalidations;
    bed.write("1", 8).await;
    bed.write("other", 8).await;
    bed.write("user:1", 2).await;
    bed.until("it is told", |near| near.stats().invalidations > heard).await;
    assert_eq!(bed.near.stats().invalidations, heard + 1);
    assert_eq!(bed.get("1").await, Some(2));
}

#[tokio::test]
async fn those_who_miss_one_key_send_one_get() {
    let Some(bed) = Bed::with(steady()).await else { return };
    bed.write("k", 1).await;
    bed.proxy.set(crate::proxy::Mode::HoldAnswers);
    let before = bed.calls("get").await;
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let near = bed.near.clone();
            tokio::spawn(async move { near.get(&"k".to_string()).await.expect("the server answers") })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    bed.proxy.set(crate::proxy::Mode::Pass);
    for task in tasks {
        assert_eq!(task.await.expect("it ends"), Some(1));
    }
    assert_eq!(bed.calls("get").await - before, 1);
}

#[tokio::test]
async fn many_come_in_one_pipeline_with_one_flight_each() {
    let Some(bed) = Bed::with(steady()).await else { return };
    for n in 0..20 {
        bed.write(&format!("k{n}"), n).await;
    }
    let keys: Vec<String> = (0..30).map(|n| format!("k{}", n % 25)).collect();
    let before = bed.calls("get").await;
    let wanted: Vec<Option<u64>> = (0..30).map(|n| n % 25).map(|n| (n < 20).then_some(n)).collect();
    let (one, other) = tokio::join!(bed.near.get_many(&keys), bed.near.get_many(keys.iter().rev()));
    assert_eq!(one.expect("the server answers"), wanted);
    let mut other = other.expect("the server answers");
    other.reverse();
    assert_eq!(other, wanted);
    assert_eq!(bed.calls("get").await - before, 25);
    let kept = keys.iter().filter(|key| bed.near.peek_local(key).is_some()).count();
    assert_eq!(kept, 25);
    bed.write("k3", 33).await;
    bed.until("it is told", |near| near.peek_local(&"k3".into()).is_none()).await;
    assert_eq!(
        bed.near.get_many(&keys[2..5]).await.expect("the server answers"),
        [Some(2), Some(33), Some(4)]
    );
}

/// How long some keys live in Redis.
const LIFE: Duration = Duration::from_millis(150);
/// How long a near cache keeps at most what lives longer there.
const MAX_AGE: Duration = Duration::from_millis(400);

/// Writes three keys, of which only the last lives on, and reads them. Returns when the first two had been written, and when all had been read; or
/// nothing, if the first two may have ended by then.
async fn written_and_read(bed: &Bed, keys: &[String; 3]) -> Option<(Instant, Instant)> {
    let [short, many, long] = keys;
    let mut connection = bed.server.connection().await;
    let begun = Instant::now();
    for key in [short, many] {
        let mut set = redis::cmd("SET");
        set.arg(key).arg(1).arg("PX").arg(LIFE.as_millis() as u64);
        set.exec_async(&mut connection).await.expect("it is written");
    }
    let written = Instant::now();
    bed.write(long, 1).await;
    let found = [bed.get(short).await, bed.get(long).await];
    let both = bed.near.get_many([many, long]).await.expect("the server answers");
    let read = Instant::now();
    if read - begun >= LIFE {
        return None;
    }
    assert_eq!(found, [Some(1), Some(1)]);
    assert_eq!(both, [Some(1), Some(1)]);
    Some((written, read))
}

#[tokio::test]
async fn it_ends_here_no_later_than_there() {
    let Some(bed) = Bed::with(steady().max_age(MAX_AGE)).await else { return };
    let mut connection = bed.server.connection().await;
    // Without the server's own removals, which it would tell of.
    redis::cmd("DEBUG").arg("SET-ACTIVE-EXPIRE").arg(0).exec_async(&mut connection).await.expect("it obeys");
    // Again with other keys, where the machine stood still for longer than they live.
    let mut tries = 0..100;
    let (keys, (written, read)) = loop {
        let n = tries.next().expect("one try is quick enough");
        let keys = ["short", "many", "long"].map(|key| format!("{key}{n}"));
        if let Some(moments) = written_and_read(&bed, &keys).await {
            break (keys, moments);
        }
    };
    // Redis counts whole milliseconds.
    let ends = [written + LIFE, written + LIFE, read + MAX_AGE].map(|end| end + Duration::from_millis(10));
    let mut is_there = [true; 3];
    while is_there != [false; 3] {
        for (place, key) in keys.iter().enumerate() {
            let asked = Instant::now();
            is_there[place] = bed.peek(key).is_some();
            let end = ends[place];
            assert!(!is_there[place] || asked < end, "{key} is there {:?} after its end", asked - end);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bed.get(&keys[0]).await, None);
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_for_a_while() {
    let negative = Duration::from_millis(200);
    let Some(bed) = Bed::with(steady().negative(negative)).await else { return };
    // Again with another key, where the machine stood still for longer than that is remembered.
    let mut tries = 0..100;
    let k = loop {
        let k = format!("k{}", tries.next().expect("one try is quick enough"));
        let begun = Instant::now();
        assert_eq!(bed.get(&k).await, None);
        let before = bed.calls("get").await;
        assert_eq!(bed.get(&k).await, None);
        if begun.elapsed() < negative {
            assert_eq!(bed.calls("get").await, before);
            break k;
        }
    };
    bed.write(&k, 1).await;
    bed.until("it is told", |near| near.stats().invalidations == 1).await;
    assert_eq!(bed.get(&k).await, Some(1));
    assert_eq!(bed.get("other").await, None);
    tokio::time::sleep(negative + Duration::from_millis(10)).await;
    let before = bed.calls("get").await;
    assert_eq!(bed.get("other").await, None);
    assert_eq!(bed.calls("get").await, before + 1);
}

#[tokio::test]
async fn writes_are_seen_by_the_reads_after_them() {
    let Some(bed) = Bed::with(steady()).await else { return };
    let k = "k".to_string();
    for n in 0..200 {
        bed.near.put(&k, &n, None).await.expect("it is written");
        assert_eq!(bed.get("k").await, Some(n));
        assert_eq!(bed.get("k").await, Some(n));
    }
    assert!(bed.near.remove(&k).await.expect("it is removed"));
    assert_eq!(bed.get("k").await, None);
    assert!(!bed.near.remove(&k).await.expect("it is not there"));
    let nothing = bed.near.put(&k, &1, Some(Duration::from_micros(10))).await;
    assert!(matches!(nothing, Err(Error::TimeToLive { .. })), "{nothing:?}");
    let ttl = Duration::from_millis(30);
    // Again, where the machine stood still for longer than that.
    let mut tries = 0..100;
    loop {
        tries.next().expect("one try is quick enough");
        let begun = Instant::now();
        bed.near.put(&k, &1, Some(ttl)).await.expect("it is written");
        let found = bed.get("k").await;
        if begun.elapsed() < ttl {
            assert_eq!(found, Some(1));
            break;
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bed.get("k").await, None);
}

/// Redis counts an end in milliseconds since 1970, which must not overflow: as long as that is for ever.
#[tokio::test]
async fn a_time_to_live_that_never_ends_is_none() {
    let Some(bed) = Bed::with(steady()).await else { return };
    let mut connection = bed.server.connection().await;
    let most = Duration::from_millis(i64::MAX as u64);
    for (ttl, ends) in [(Duration::MAX, false), (most, false), (most / 3, true)] {
        for loads in [false, true] {
            let key = format!("{ttl:?} {loads}");
            if loads {
                let load = || async { Ok::<_, Infallible>((1, Some(ttl))) };
                assert_eq!(bed.near.get_or_load(&key, load).await.expect("it loads"), 1);
            } else {
                bed.near.put(&key, &1, Some(ttl)).await.expect("it is written");
            }
            let left: i64 =
                redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.expect("it answers");
            // Redis answers -1 of what has no end, and -2 of what is not there.
            assert!(if ends { left > 0 } else { left == -1 }, "{key}: {left}");
        }
    }
}

#[tokio::test]
async fn a_peek_is_no_hit() {
    let Some(bed) = Bed::with(steady()).await else { return };
    bed.keep("k", 1).await;
    let before = bed.near.stats().hits;
    for _ in 0..100 {
        assert_eq!(bed.peek("k"), Some(1));
    }
    assert_eq!(bed.near.stats().hits, before);
    assert_eq!(bed.get("k").await, Some(1));
    assert_eq!(bed.near.stats().hits, before + 1);
}

#[tokio::test]
async fn one_loads_and_the_others_wait() {
    let Some(bed) = Bed::with(steady()).await else { return };
    let loads = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (near, loads) = (bed.near.clone(), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = || async {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    Ok::<_, Infallible>((7, Some(Duration::from_secs(60))))
                };
                near.get_or_load(&"k".to_string(), load).await.expect("it loads")
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("it ends"), 7);
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    let mut connection = bed.server.connection().await;
    let left: i64 = redis::cmd("PTTL").arg("k").query_async(&mut connection).await.expect("it answers");
    assert!((1..=60_000).contains(&left), "{left}");
    let failed =
        bed.near.get_or_load(&"other".to_string(), || async { Err::<(u64, _), _>("no database") }).await;
    assert_eq!(failed.expect_err("it fails").to_string(), "no database");
    // Who comes later than another's write has that.
    let load = || async {
        bed.write("third", 3).await;
        Ok::<_, Infallible>((4, None))
    };
    assert_eq!(bed.near.get_or_load(&"third".to_string(), load).await.expect("it loads"), 3);
}

#[tokio::test]
async fn what_is_over_is_no_hit() {
    let Some(bed) = Bed::with(steady()).await else { return };
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    for key in &keys {
        bed.keep(key, 1).await;
    }
    let before = bed.near.stats();
    let mut connection = bed.server.connection().await;
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.expect("it obeys");
    bed.until("it is told", |near| near.stats().flushes > before.flushes).await;
    for key in &keys[..10] {
        assert_eq!(bed.peek(key), None);
        assert_eq!(bed.get(key).await, None);
    }
    assert_eq!(bed.near.get_many(&keys[10..]).await.expect("the server answers"), [None; 10]);
    assert_eq!(bed.near.stats().hits, before.hits, "nothing was served from here");
    bed.keep("k0", 2).await;
    let before = bed.near.stats().hits;
    for _ in 0..100 {
        assert_eq!(bed.get("k0").await, Some(2));
    }
    assert_eq!(bed.near.stats().hits, before + 100);
}

/// Says when it begins to decode, and fails when it is let to.
struct Fails {
    begins: Sender<()>,
    may_end: Mutex<Receiver<()>>,
}

impl Codec<u64> for Fails {
    fn encode(&self, _: &u64) -> Result<Vec<u8>, CodecError> {
        Err("it only reads".into())
    }

    fn decode(&self, _: &[u8]) -> Result<u64, CodecError> {
        self.begins.send(()).expect("somebody waits for it");
        self.may_end.lock().expect("nobody panicked").recv().expect("somebody lets it end");
        Err("it is malformed".into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_kept_never_counts_as_kept() {
    let ((begins, begun), (end, may_end)) = (channel(), channel());
    let codec = Fails { begins, may_end: Mutex::new(may_end) };
    let Some(bed) = Bed::with(steady().codec(codec)).await else { return };
    bed.write("k", 1).await;
    let reader = bed.near.clone();
    let read = tokio::spawn(async move { reader.get(&"k".to_string()).await });
    tokio::task::spawn_blocking(move || begun.recv_timeout(Duration::from_secs(60)))
        .await
        .expect("it waits")
        .expect("it is decoded");
    let while_decoded = bed.near.stats();
    // Looked at later: a runtime does not end while a decoder waits.
    end.send(()).expect("it is waited for");
    let answer = read.await.expect("it ends");
    assert!(matches!(answer, Err(Error::Decode { .. })), "{answer:?}");
    assert_eq!(while_decoded.fills - while_decoded.unkept, 0);
    let stats = bed.near.stats();
    assert_eq!((stats.fills, stats.unkept), (1, 1));
}

/// Takes short naps for so long. Returns how long the longest of them took.
async fn longest_nap(time: Duration) -> Duration {
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    while begun.elapsed() < time {
        let napped = Instant::now();
        tokio::time::sleep(Duration::from_millis(10)).await;
        longest = longest.max(napped.elapsed());
    }
    longest
}

#[tokio::test]
async fn it_says_how_it_is() {
    let lease = Duration::from_secs(1);
    // Again, where the machine stood still meanwhile, and so was late with a PING.
    let mut tries = 0..20;
    let bed = loop {
        tries.next().expect("one try is quick enough");
        let Some(bed) = Bed::with(builder().lease(lease)).await else { return };
        assert!(is_fresh(&bed.near));
        let longest = longest_nap(lease * 3 / 2).await;
        let (is_kept, stats, shown) = (is_fresh(&bed.near), bed.near.stats(), format!("{:?}", bed.near));
        if longest < lease / 8 {
            assert!(is_kept, "an idle one is kept fresh");
            assert!(stats.lease_age < lease);
            assert_eq!(stats.cuts, 0);
            assert!(shown.contains("Fresh"), "{shown}");
            break bed;
        }
    };
    let watch = bed.near.watch();
    assert!(watch().is_some());
    let Bed { near, .. } = bed;
    drop::<Near>(near);
    assert!(watch().is_none());
}

/// A type that holds one need not say what its values can do.
#[test]
fn a_holder_needs_no_bounds() {
    struct Holder<V> {
        near: Option<NearCache<str, V>>,
    }
    impl<V> Holder<V> {
        fn shown(&self) -> (Option<NearCache<str, V>>, String) {
            (self.near.clone(), format!("{:?}", self.near))
        }
    }
    assert_eq!(Holder::<std::cell::Cell<u8>> { near: None }.shown().1, "None");
}
