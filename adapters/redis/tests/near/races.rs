//! An invalidation that comes while a value is on its way.

use crate::proxy::Mode;
use crate::{Bed, LEASE, Near, builder, is_fresh};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A value is asked for; the server has answered, and the answer is held; the value is changed, and the invalidation is held behind it. Then
/// both come together.
async fn overtaken(bed: &Bed, key: &str, ask: impl AsyncFn(&str) -> Option<u64>) {
    bed.write(key, 1).await;
    // What the server says of that, where it says it of all keys.
    tokio::time::sleep(Duration::from_millis(3)).await;
    bed.proxy.set(Mode::HoldAnswers);
    let before = bed.proxy.said();
    let meanwhile = async {
        bed.proxy.said_more_than(before).await;
        let mut heard = bed.proxy.said();
        tokio::time::sleep(Duration::from_millis(2)).await;
        heard = heard.max(bed.proxy.said());
        bed.write(key, 2).await;
        bed.proxy.said_more_than(heard).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        bed.proxy.set(Mode::Pass);
    };
    let (value, ()) = tokio::join!(ask(key), meanwhile);
    assert!(matches!(value, Some(1 | 2)), "{value:?}");
    // A moment for the client's task, which may be long on a busy machine. What it kept would stay for the lease, which is longer.
    let patience = tokio::time::Instant::now() + Duration::from_secs(2);
    while bed.peek(key) == Some(1) && tokio::time::Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_ne!(bed.peek(key), Some(1), "it keeps what was changed meanwhile");
    assert_eq!(bed.get(key).await, Some(2));
}

async fn a_hundred(prefix: Option<&str>, many: bool) {
    let lease = LEASE * 20;
    let builder = builder().lease(lease).patience(lease);
    let builder = match prefix {
        Some(prefix) => builder.prefix(prefix),
        None => builder,
    };
    let Some(bed) = Bed::with(builder).await else { return };
    for n in 0..50 {
        let key = format!("k{n}");
        if many {
            let other = format!("other{n}");
            let ask = async |key: &str| {
                bed.near.get_many(&[other.clone(), key.to_string()]).await.expect("it answers")[1]
            };
            overtaken(&bed, &key, ask).await;
        } else {
            overtaken(&bed, &key, async |key: &str| bed.get(key).await).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_wins_over_a_fill() {
    a_hundred(None, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_wins_over_a_fill_of_many() {
    a_hundred(None, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_wins_over_a_fill_where_all_is_told() {
    a_hundred(Some(""), false).await;
}

/// As above, with everything emptied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptying_wins_over_a_fill() {
    let Some(bed) = Bed::with(builder().lease(LEASE * 20).patience(LEASE * 20)).await else { return };
    for n in 0..20 {
        let key = format!("k{n}");
        bed.write(&key, 1).await;
        assert_eq!(bed.get(&key).await, Some(1));
        bed.near.remove(&key).await.expect("it is removed");
        bed.write(&key, 1).await;
        bed.proxy.set(Mode::HoldAnswers);
        let before = bed.proxy.said();
        let flushes = bed.near.stats().flushes;
        let meanwhile = async {
            bed.proxy.said_more_than(before).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
            let before = bed.proxy.said();
            let mut connection = bed.server.connection().await;
            redis::cmd("FLUSHALL").exec_async(&mut connection).await.expect("it obeys");
            bed.proxy.said_more_than(before).await;
            bed.proxy.set(Mode::Pass);
        };
        let (value, ()) = tokio::join!(bed.get(&key), meanwhile);
        assert_eq!(value, Some(1));
        bed.until("it is told", |near| near.stats().flushes > flushes).await;
        assert_eq!(bed.peek(&key), None);
        assert_eq!(bed.get(&key).await, None);
    }
}

/// Polls a call once. It has asked by then, and notices its answer when it is polled again.
async fn poll_once<C: Future>(mut call: Pin<&mut C>) {
    let is_pending = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending()));
    assert!(is_pending.await, "nobody was asked");
}

/// Asks for a key, and once more when a lease is over and there is another connection. Nobody polls the first call meanwhile. Returns whether the second
/// call joined the first.
async fn joins_what_is_old(bed: &Bed, key: &str) -> bool {
    bed.write(key, 1).await;
    bed.near.fresh().await;
    let mut early = pin!(bed.get(key));
    poll_once(early.as_mut()).await;
    let asked = Instant::now();
    if !is_fresh(&bed.near) {
        return false;
    }
    // Answers come in the order of the questions. So the answer for `early` is there, too.
    bed.near.put(&"other".to_string(), &1, None).await.expect("it is written");
    bed.proxy.set(Mode::Refuse);
    bed.proxy.cut();
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    // Nobody is told of that.
    bed.write(key, 2).await;
    bed.proxy.set(Mode::Pass);
    bed.near.fresh().await;
    tokio::time::sleep_until((asked + LEASE + Duration::from_millis(20)).into()).await;
    bed.near.fresh().await;
    let mut late = pin!(bed.get(key));
    if let Ok(late) = tokio::time::timeout(Duration::from_millis(20), &mut late).await {
        assert_eq!(late, Some(2));
        return false;
    }
    let (late, early) = tokio::join!(late, early);
    assert_eq!(late, Some(2));
    early == Some(1)
}

/// Who joins a flight whose question was sent long ago asks again.
#[tokio::test]
async fn an_answer_that_is_older_than_the_question_by_a_lease_does_not_count() {
    let Some(bed) = Bed::new().await else { return };
    // Again with another key, where the lease ran out because the machine stood still: then calls meet elsewhere.
    for n in 0..50 {
        if joins_what_is_old(&bed, &format!("k{n}")).await {
            return;
        }
    }
    panic!("no call joined another");
}

/// Cut off, those who ask for a key share a question, but not one that is older than their lease.
#[tokio::test]
async fn nor_does_it_while_it_is_cut_off() {
    let Some(bed) = Bed::new().await else { return };
    bed.write("k", 1).await;
    bed.proxy.set(Mode::HoldAnswers);
    bed.until("it is cut off", |near| !crate::is_fresh(near)).await;
    let said = bed.proxy.said();
    let early = async { bed.get("k").await };
    let late = async {
        bed.proxy.said_more_than(said).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        bed.write("k", 2).await;
        tokio::time::sleep(LEASE + Duration::from_millis(50)).await;
        let again = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            bed.proxy.set(Mode::Pass);
        };
        tokio::join!(bed.get("k"), again).0
    };
    let (_, late) = tokio::join!(early, late);
    assert_eq!(late, Some(2));
}

/// How long a key lives in Redis.
const LIFE: Duration = Duration::from_millis(1000);

async fn ask(near: Near, key: String, many: bool) -> Option<u64> {
    if many {
        near.get_many(&[key]).await.expect("it answers")[0]
    } else {
        near.get(&key).await.expect("it answers")
    }
}

/// Writes a key that lives for so long, and asks for it while answers are held. Returns the question; or nothing, if the key may have ended before
/// the server answered.
async fn asked_in_time(bed: &Bed, key: &str, many: bool) -> Option<JoinHandle<Option<u64>>> {
    let before = bed.calls("get").await;
    let begun = Instant::now();
    let mut set = redis::cmd("SET");
    set.arg(key).arg(1).arg("PX").arg(LIFE.as_millis() as u64);
    set.exec_async(&mut bed.server.connection().await).await.expect("it is written");
    bed.proxy.set(Mode::HoldAnswers);
    let question = tokio::spawn(ask(bed.near.clone(), key.to_string(), many));
    while bed.calls("get").await == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if begun.elapsed() < LIFE {
        return Some(question);
    }
    bed.proxy.set(Mode::Pass);
    question.await.expect("it ends");
    None
}

/// A read that begins after a key has ended in Redis is not served what the key had, from a question that was sent before.
#[tokio::test]
async fn a_read_after_the_end_takes_nothing_from_before_it() {
    for many in [false, true] {
        let Some(bed) = Bed::with(builder().lease(LEASE * 20).patience(LEASE * 20)).await else { return };
        let mut connection = bed.server.connection().await;
        // Again with another key, where the machine stood still for longer than it lives.
        let mut tries = 0..100;
        let (key, early) = loop {
            let key = format!("k{}", tries.next().expect("one try is quick enough"));
            if let Some(question) = asked_in_time(&bed, &key, many).await {
                break (key, question);
            }
        };
        let mut is_there = 1;
        while is_there != 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let exists = redis::cmd("EXISTS").arg(&key).query_async(&mut connection).await;
            is_there = exists.expect("it answers");
        }
        let late = tokio::spawn(ask(bed.near.clone(), key, many));
        tokio::time::sleep(Duration::from_millis(20)).await;
        bed.proxy.set(Mode::Pass);
        assert_eq!(early.await.expect("it ends"), Some(1));
        assert_eq!(late.await.expect("it ends"), None, "many: {many}");
    }
}

/// A read that begins after a write of the same process joins no question from before it, cut off or not.
#[tokio::test]
async fn a_read_after_a_write_joins_nothing_older() {
    for is_fresh in [true, false] {
        let Some(bed) = Bed::new().await else { return };
        let k = "k".to_string();
        bed.write("k", 1).await;
        if !is_fresh {
            bed.proxy.set(Mode::Hold);
            bed.until("it is cut off", |near| !crate::is_fresh(near)).await;
            // The PING that is under way is to prove nothing when it is answered.
            tokio::time::sleep(LEASE).await;
        }
        bed.proxy.set(Mode::HoldAnswers);
        // It has asked, and is polled again only after the others have begun.
        let mut early = pin!(bed.get("k"));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut early).await.is_err());
        let release = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            bed.proxy.set(Mode::Pass);
        };
        let (written, ()) = tokio::join!(bed.near.put(&k, &2, None), release);
        written.expect("it is written");
        assert_eq!(tokio::join!(bed.get("k"), early).0, Some(2));
    }
}

/// A load that has begun, and ends with that value once it is told to.
async fn begun(near: &Near, key: &str, value: u64) -> (oneshot::Sender<()>, JoinHandle<u64>) {
    let (begin, has_begun) = oneshot::channel();
    let (end, may_end) = oneshot::channel();
    let (near, key) = (near.clone(), key.to_string());
    let task = tokio::spawn(async move {
        let load = || async {
            begin.send(()).expect("somebody waits for it");
            may_end.await.expect("it is told to end");
            Ok::<_, Infallible>((value, None))
        };
        near.get_or_load(&key, load).await.expect("it loads")
    });
    has_begun.await.expect("it begins");
    (end, task)
}

/// Who loads a key after its removal joins no load from before it, and what such a load made is not put into Redis.
#[tokio::test]
async fn a_removal_reaches_the_loaders_of_this_process() {
    let Some(bed) = Bed::with(builder().lease(LEASE * 20).patience(LEASE * 20)).await else { return };
    let (end, first) = begun(&bed.near, "k", 1).await;
    assert!(!bed.near.remove(&"k".to_string()).await.expect("the server answers"));
    let near = bed.near.clone();
    let mut second = tokio::spawn(async move {
        near.get_or_load(&"k".to_string(), || async { Ok::<_, Infallible>((2, None)) }).await
    });
    // If it does not end by itself, it waits for the first.
    let early = tokio::time::timeout(LEASE * 5, &mut second).await;
    end.send(()).expect("the first waits for it");
    // It had read its source before the removal; or it sees what the second has put down.
    assert!(matches!(first.await, Ok(1 | 2)));
    let second = match early {
        Ok(second) => second,
        Err(_) => second.await,
    };
    assert_eq!(second.expect("it ends").expect("it loads"), 2);
    assert_eq!(bed.get("k").await, Some(2));

    // Nobody loads it in its place.
    let (end, first) = begun(&bed.near, "other", 1).await;
    bed.near.remove(&"other".to_string()).await.expect("the server answers");
    end.send(()).expect("the first waits for it");
    assert_eq!(first.await.expect("it ends"), 1);
    assert_eq!(bed.get("other").await, None, "what was loaded before the removal came after it");
}

/// A load that a write of the process overtook returns what was written.
#[tokio::test]
async fn a_load_gives_way_to_a_write_of_this_process() {
    let Some(bed) = Bed::with(builder().lease(LEASE * 20).patience(LEASE * 20)).await else { return };
    let (end, first) = begun(&bed.near, "k", 1).await;
    bed.near.put(&"k".to_string(), &2, None).await.expect("it is written");
    end.send(()).expect("the first waits for it");
    assert_eq!(first.await.expect("it ends"), 2);
    assert_eq!(bed.get("k").await, Some(2));
}

/// What was loaded waits for the next connection, and so does the removal: they go in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_follows_what_a_loader_is_putting_down() {
    let lease = Duration::from_secs(3);
    let Some(bed) = Bed::with(builder().lease(lease).patience(lease * 3)).await else { return };
    for n in 0..20 {
        let key = format!("k{n}");
        bed.near.fresh().await;
        let (end, loader) = begun(&bed.near, &key, 1).await;
        bed.proxy.set(Mode::Hold);
        bed.proxy.cut();
        bed.until("it is cut off", |near| !crate::is_fresh(near)).await;
        end.send(()).expect("the loader waits for it");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let near = bed.near.clone();
        let removal = {
            let key = key.clone();
            tokio::spawn(async move { near.remove(&key).await })
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
        bed.proxy.set(Mode::Pass);
        removal.await.expect("it ends").expect("it is removed");
        assert_eq!(bed.get(&key).await, None, "round {n}: what was loaded before the removal came after it");
        assert_eq!(loader.await.expect("it ends"), 1);
        assert_eq!(bed.get(&key).await, None, "round {n}");
    }
}

/// Nor does it wait for whoever called the loader to go on.
#[tokio::test]
async fn a_removal_does_not_wait_for_a_call_that_nobody_polls() {
    let lease = Duration::from_secs(3);
    let Some(bed) = Bed::with(builder().lease(lease).patience(lease * 3)).await else { return };
    let k = "k".to_string();
    let heard = Cell::new(None);
    let load = || async {
        // So that what it made is sent, and the answer is not here.
        bed.proxy.set(Mode::HoldAnswers);
        heard.set(Some(bed.proxy.said()));
        Ok::<_, Infallible>((1, None))
    };
    let mut early = pin!(bed.near.get_or_load(&k, load));
    // It is polled until it has loaded. What it made is then on its way.
    let heard = loop {
        if let Some(heard) = heard.get() {
            break heard;
        }
        let ended = tokio::time::timeout(Duration::from_millis(1), &mut early).await;
        assert!(ended.is_err(), "its answer is held: {ended:?}");
    };
    bed.proxy.said_more_than(heard).await;
    bed.proxy.set(Mode::Pass);
    bed.near.remove(&k).await.expect("it is removed");
    assert_eq!(bed.get("k").await, None);
    assert_eq!(early.await.expect("it loads"), 1);
    assert_eq!(bed.get("k").await, None);
}
