//! How it ends: nothing is left of it, and calls that are dropped leave it whole.

use crate::proxy::Mode;
use crate::{Bed, LEASE, builder, naps};
use std::convert::Infallible;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tidewheel_redis::{Codec, CodecError, NearCache, State};
use tokio::runtime::Handle;

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// How many connections the server has.
async fn connections(bed: &Bed) -> usize {
    let mut connection = bed.server.connection().await;
    let list: String =
        redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await.expect("it answers");
    list.lines().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
fn nothing_is_left_when_it_is_dropped() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there is a runtime");
    runtime.block_on(async {
        let Some(bed) = Bed::new().await else { return };
        for how in ["idle", "asking", "connecting", "twice"] {
            let other = builder().connect(bed.server.client()).await.expect("it connects");
            drop(other);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (tasks_before, connections_before) = (tasks(), connections(&bed).await);
            let near = builder().connect(bed.proxy.client()).await.expect("it connects");
            assert!(tasks() > tasks_before);
            near.put(&"k".to_string(), &1, None).await.expect("it is written");
            match how {
                "asking" => {
                    bed.proxy.set(Mode::Hold);
                    let _ = tokio::time::timeout(Duration::from_millis(20), near.get(&"k".to_string())).await;
                }
                "connecting" => {
                    bed.proxy.set(Mode::Hold);
                    bed.proxy.cut();
                    tokio::time::sleep(Duration::from_millis(60)).await;
                }
                "twice" => drop(near.clone()),
                _ => {}
            }
            drop(near);
            bed.proxy.set(Mode::Pass);
            let mut left = (0, 0);
            for _ in 0..300 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                // The bed's own connection may have been cut, too, and be in the making.
                left = (tasks(), connections(&bed).await);
                if left.0 <= tasks_before + 1 && left.1 <= connections_before {
                    break;
                }
            }
            assert!(
                left.0 <= tasks_before + 1 && left.1 <= connections_before,
                "{how}: {left:?}, before {tasks_before}, {connections_before}"
            );
        }
    });
    drop(runtime);
    assert!(threads() > 0);
}

/// Whether destructors wait that are run by threads of the runtime, and how many do.
#[derive(Default)]
struct Slowness {
    is_on: AtomicBool,
    waiting: AtomicUsize,
}

impl Slowness {
    fn wait(&self) {
        let is_of_runtime = thread::current().name().is_some_and(|name| name.starts_with("tokio"));
        if !is_of_runtime || !self.is_on.load(Ordering::SeqCst) {
            return;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while self.is_on.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A value whose destructor waits. Also a codec for such values.
#[derive(Clone)]
struct Slow(Arc<Slowness>);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.wait();
    }
}

impl Codec<Slow> for Slow {
    fn encode(&self, _: &Slow) -> Result<Vec<u8>, CodecError> {
        Ok(Vec::new())
    }

    fn decode(&self, _: &[u8]) -> Result<Slow, CodecError> {
        Ok(self.clone())
    }
}

/// The bug: the task that sends the PINGs swept before it sent the next one, however long that took.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn pings_do_not_wait_for_a_sweep() {
    let Some(bed) = Bed::new().await else { return };
    let slowness = Arc::new(Slowness::default());
    let value = Slow(Arc::clone(&slowness));
    let slow = NearCache::<String, Slow>::builder().codec(value.clone()).lease(LEASE);
    let near = slow.connect(bed.proxy.client()).await.expect("it connects");
    for key in 0..2_000 {
        let key = key.to_string();
        near.put(&key, &value, None).await.expect("it is written");
        near.get(&key).await.expect("it is read");
    }
    slowness.is_on.store(true, Ordering::SeqCst);
    // From here on without the runtime, whose timers may stand still when one of its threads waits.
    let mut connection = TcpStream::connect(("127.0.0.1", bed.server.port())).expect("it is there");
    connection.write_all(b"FLUSHALL\r\n").expect("it hears");
    let comes = |is_so: &dyn Fn() -> bool| {
        (0..5_000).any(|_| {
            thread::sleep(Duration::from_millis(1));
            is_so()
        })
    };
    let is_sweeping = comes(&|| slowness.waiting.load(Ordering::SeqCst) > 0);
    thread::sleep(LEASE * 2);
    let is_fresh = comes(&|| matches!(near.state(), State::Fresh { .. }));
    slowness.is_on.store(false, Ordering::SeqCst);
    assert!(is_sweeping, "the values are dropped by the sweep");
    assert!(is_fresh, "no PING was sent");
}

/// The core's thread ends with the last cache. A process of its own, so that no other test has one.
#[test]
fn no_thread_is_left() {
    let name = "ends::only_this_process";
    let program = std::env::current_exe().expect("it runs");
    let status = std::process::Command::new(program).args(["--exact", name, "--ignored"]).status();
    assert!(status.expect("it runs").success());
}

#[test]
#[ignore = "run by no_thread_is_left, in a process of its own"]
fn only_this_process() {
    let before = threads();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there is a runtime");
    runtime.block_on(async {
        let Some(bed) = Bed::new().await else { return };
        bed.near.put(&"k".to_string(), &1, None).await.expect("it is written");
        assert_eq!(bed.get("k").await, Some(1));
        assert!(threads() > before, "the core's thread");
    });
    drop(runtime);
    for _ in 0..500 {
        if threads() <= before {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} threads, {before} before", threads());
}

/// Calls are dropped after they were polled once, twice, and so on; after each it does what it does.
#[tokio::test]
async fn a_dropped_call_leaves_it_whole() {
    let Some(bed) = Bed::new().await else { return };
    let k = "k".to_string();
    let many = ["k".to_string(), "l".to_string()];
    for polls in 1..12 {
        for call in 0..5 {
            bed.write("k", 1).await;
            bed.near.remove(&"l".to_string()).await.expect("it answers");
            let dropped = async {
                match call {
                    0 => drop(bed.near.get(&k).await),
                    1 => drop(bed.near.get_many(&many).await),
                    2 => drop(bed.near.put(&k, &1, None).await),
                    3 => drop(bed.near.remove(&"l".to_string()).await),
                    _ => drop(
                        bed.near.get_or_load(&many[1], || async { Ok::<_, Infallible>((1, None)) }).await,
                    ),
                }
            };
            poll_some(dropped, polls).await;
            let all = async {
                assert_eq!(bed.get("k").await, Some(1));
                bed.near.put(&k, &2, None).await.expect("it is written");
                assert_eq!(bed.near.get_many(&many[..1]).await.expect("it answers"), [Some(2)]);
                let load = || async { Ok::<_, Infallible>((1, None)) };
                assert_eq!(bed.near.get_or_load(&many[1], load).await.expect("it loads"), 1);
            };
            tokio::select! {
                () = all => {}
                () = naps(300) => panic!("call {call} dropped after {polls} polls"),
            }
        }
    }
}

/// Polls it so many times, each time it is woken, and drops it.
async fn poll_some(call: impl Future<Output = ()>, polls: u32) {
    let mut call = std::pin::pin!(call);
    let mut left = polls;
    let some = std::future::poll_fn(|context| {
        if call.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        if left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    // What is never woken is dropped, too.
    let _ = tokio::time::timeout(Duration::from_millis(20), some).await;
}

/// The one that asks gives up, and those who wait for it are served.
#[tokio::test]
async fn who_asks_may_give_up() {
    let Some(bed) = Bed::new().await else { return };
    bed.write("k", 1).await;
    bed.proxy.set(Mode::HoldAnswers);
    let near = bed.near.clone();
    let leader = tokio::spawn(async move { near.get(&"k".to_string()).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let near = bed.near.clone();
    let waiter = tokio::spawn(async move { near.get(&"k".to_string()).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    leader.abort();
    tokio::time::sleep(Duration::from_millis(10)).await;
    bed.proxy.set(Mode::Pass);
    assert_eq!(waiter.await.expect("it ends").expect("it answers"), Some(1));
}
