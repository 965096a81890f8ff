//! The near cache beside redis-rs' and rustis' client-side caches: races between a fill and a change, GETs for many who ask for one key, what is served after the network or
//! the server is gone, and hits a second. Against a redis-server that it starts by itself.
//!
//! `cargo run --release -p tidewheel-redis-compare`, or with the name of a part of it: `races`, `askers`, `partition`, `closed`, `hits`.

mod contenders;
#[path = "../../redis/tests/near/proxy.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod proxy;
#[path = "../../redis/tests/near/server.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod server;

use contenders::{Contender, Ours, RedisRs, RedisRsManager, Rustis};
use proxy::{Mode, Proxy};
use server::Server;
use std::time::{Duration, Instant};
use tidewheel::Cache;
use tokio::time::{sleep, timeout};

/// How long what is served is watched.
const WATCH: Duration = Duration::from_secs(10);

struct Bed<C> {
    server: Server,
    proxy: Proxy,
    contender: C,
}

impl<C: Contender> Bed<C> {
    async fn new() -> Self {
        let server = Server::start().await.expect("a redis-server is needed: apt-get install redis-server");
        let proxy = Proxy::before(server.port()).await;
        let contender = C::connect(proxy.port()).await;
        Self { server, proxy, contender }
    }

    async fn write(&self, key: &str, value: &str) {
        let mut connection = self.server.connection().await;
        redis::cmd("SET").arg(key).arg(value).exec_async(&mut connection).await.expect("it is written");
    }

    /// Writes a key, and reads it until it is kept: then a read asks the server for nothing.
    async fn keep(&self, key: &str, value: &str) {
        self.write(key, value).await;
        sleep(Duration::from_millis(20)).await;
        for _ in 0..5 {
            assert_eq!(self.contender.get(key).await.as_deref(), Some(value));
        }
        let before = self.gets().await;
        assert_eq!(self.contender.get(key).await.as_deref(), Some(value));
        assert_eq!(self.gets().await, before, "{}: it is not kept", C::NAME);
    }

    async fn gets(&self) -> u64 {
        let mut connection = self.server.connection().await;
        let info: String =
            redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.expect("it answers");
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
    }

    /// How many of a hundred values that were changed while they were on their way are served 50 ms later.
    async fn races() -> u32 {
        let bed = Self::new().await;
        let mut stale = 0;
        for n in 0..100 {
            let key = format!("k{n}");
            bed.write(&key, "old").await;
            sleep(Duration::from_millis(3)).await;
            bed.proxy.set(Mode::HoldAnswers);
            let said = bed.proxy.said();
            let meanwhile = async {
                bed.proxy.said_more_than(said).await;
                sleep(Duration::from_millis(2)).await;
                let said = bed.proxy.said();
                bed.write(&key, "new").await;
                bed.proxy.said_more_than(said).await;
                sleep(Duration::from_millis(1)).await;
                bed.proxy.set(Mode::Pass);
            };
            tokio::join!(bed.contender.get(&key), meanwhile);
            sleep(Duration::from_millis(50)).await;
            stale += u32::from(bed.contender.get(&key).await.as_deref() == Some("old"));
        }
        stale
    }

    /// How many GETs are sent for 200 tasks that miss one key.
    async fn askers() -> u64 {
        let bed = Self::new().await;
        bed.write("k", "value").await;
        sleep(Duration::from_millis(20)).await;
        bed.proxy.set(Mode::HoldAnswers);
        let before = bed.gets().await;
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let contender = bed.contender.clone();
                tokio::spawn(async move { contender.get("k").await })
            })
            .collect();
        sleep(Duration::from_millis(100)).await;
        bed.proxy.set(Mode::Pass);
        for task in tasks {
            assert_eq!(task.await.expect("it ends").as_deref(), Some("value"), "{}", C::NAME);
        }
        bed.gets().await - before
    }

    /// For how long after a write was acknowledged the value before it is served, while nothing passes the network, or after the server has closed the socket and there
    /// is no way to connect again.
    async fn stale(is_closed: bool) -> Duration {
        let bed = Self::new().await;
        let key = "k";
        bed.keep(key, "old").await;
        if is_closed {
            bed.proxy.set(Mode::Refuse);
            let mut connection = bed.server.connection().await;
            let kill =
                redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("NORMAL").arg("SKIPME").arg("YES").clone();
            kill.exec_async(&mut connection).await.expect("it obeys");
        } else {
            bed.proxy.set(Mode::Hold);
        }
        bed.write(key, "new").await;
        let written = Instant::now();
        let mut last = Duration::ZERO;
        while written.elapsed() < WATCH {
            let asked = written.elapsed();
            if let Ok(Some(value)) = timeout(Duration::from_millis(20), bed.contender.get(key)).await
                && value == "old"
            {
                last = asked;
            }
            sleep(Duration::from_millis(1)).await;
        }
        last
    }

    /// What a hit takes.
    async fn hit() -> Duration {
        let server = Server::start().await.expect("a redis-server is needed: apt-get install redis-server");
        let contender = C::connect(server.port()).await;
        let mut connection = server.connection().await;
        let keys = keys();
        for key in &keys {
            redis::cmd("SET").arg(key).arg(VALUE).exec_async(&mut connection).await.expect("it is written");
        }
        sleep(Duration::from_millis(20)).await;
        for key in keys.iter().chain(&keys) {
            assert!(contender.get(key).await.is_some());
        }
        measure(&keys, async |key| contender.get(key).await).await
    }
}

const VALUE: &str = "forty bytes are a small value, after all";

fn keys() -> Vec<String> {
    (0..1000).map(|n| format!("user:{n:06}")).collect()
}

/// Of all passes over the keys in a second, what the quickest took for each: what others of a machine take away, they take from nobody's quickest.
async fn measure(keys: &[String], get: impl AsyncFn(&String) -> Option<String>) -> Duration {
    let begun = Instant::now();
    let mut least = Duration::MAX;
    while begun.elapsed() < Duration::from_secs(1) {
        let pass = Instant::now();
        for key in keys {
            assert!(std::hint::black_box(get(key).await).is_some());
        }
        least = least.min(pass.elapsed());
    }
    least / keys.len() as u32
}

/// What a hit of the core's takes, by reference, and with a key of its own.
async fn core_hits() -> [Duration; 2] {
    let cache: Cache<String, String> = Cache::builder()
        .max_capacity(10_000)
        .time_to_live(Duration::from_secs(600))
        .build()
        .expect("it is built");
    let keys = keys();
    for key in &keys {
        cache.insert(key.clone(), VALUE.to_string());
    }
    let none = async || -> String { unreachable!("it is there") };
    let lent =
        measure(&keys, async |key| Some(cache.get_with_by_ref_async(key.as_str(), none()).await)).await;
    let owned = measure(&keys, async |key| Some(cache.get_with_async(key.clone(), none()).await)).await;
    [lent, owned]
}

async fn compare<C: Contender>(part: Option<&str>) {
    let is_asked = |name| part.is_none_or(|part| part == name);
    println!("{}", C::NAME);
    if is_asked("races") {
        println!("    stale after a race between a fill and a change: {} of 100", Bed::<C>::races().await);
    }
    if is_asked("askers") {
        println!("    GETs for 200 who miss one key: {}", Bed::<C>::askers().await);
    }
    for (name, is_closed, what) in [
        ("partition", false, "the network held everything"),
        ("closed", true, "the server had closed the socket"),
    ] {
        if is_asked(name) {
            let last = Bed::<C>::stale(is_closed).await;
            let longer =
                if last + Duration::from_millis(200) > WATCH { ", as long as it was watched" } else { "" };
            println!("    old value served after {what}: for {} ms{longer}", last.as_millis());
        }
    }
    if is_asked("hits") {
        println!("    a hit: {:?}", Bed::<C>::hit().await);
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let part = std::env::args().nth(1);
    let part = part.as_deref();
    compare::<Ours>(part).await;
    compare::<RedisRs>(part).await;
    compare::<RedisRsManager>(part).await;
    compare::<Rustis>(part).await;
    if part.is_none_or(|part| part == "hits") {
        let [lent, owned] = core_hits().await;
        println!(
            "tidewheel's get_with_by_ref_async: a hit: {lent:?}\ntidewheel's get_with_async: a hit: {owned:?}"
        );
    }
}
