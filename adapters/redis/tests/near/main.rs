//! The near cache against a real server, through a proxy that does to the bytes what networks do.

mod basics;
mod ends;
mod faults;
mod input;
mod proxy;
mod races;
mod rounds;
mod server;
#[cfg(feature = "tracing")]
mod told;

use proxy::Proxy;
use server::Server;
use std::time::Duration;
use tidewheel_redis::{Json, NearCache, NearCacheBuilder};

const LEASE: Duration = Duration::from_millis(300);

type Near = NearCache<String, u64>;

fn builder() -> NearCacheBuilder<String, u64> {
    Near::builder().codec(Json).lease(LEASE)
}

/// With a lease that lasts while a machine has other things to do.
fn steady() -> NearCacheBuilder<String, u64> {
    builder().lease(Duration::from_secs(3))
}

/// A server, a proxy before it, and a near cache behind that.
struct Bed {
    server: Server,
    proxy: Proxy,
    near: Near,
}

impl Bed {
    async fn new() -> Option<Self> {
        Self::with(builder()).await
    }

    async fn with(builder: NearCacheBuilder<String, u64>) -> Option<Self> {
        let server = Server::start().await?;
        let proxy = Proxy::before(server.port()).await;
        let near = builder.connect(proxy.client()).await.expect("it connects");
        Some(Self { server, proxy, near })
    }

    /// Writes past the near cache, and returns when the server has acknowledged it.
    async fn write(&self, key: &str, value: u64) {
        let mut connection = self.server.connection().await;
        redis::cmd("SET").arg(key).arg(value).exec_async(&mut connection).await.expect("it is written");
    }

    async fn get(&self, key: &str) -> Option<u64> {
        self.near.get(&key.to_string()).await.expect("the server answers")
    }

    /// Writes, and asks until it is kept. Where the server tells of all keys, it tells of the write a little later, too.
    async fn keep(&self, key: &str, value: u64) {
        self.write(key, value).await;
        while self.get(key).await != Some(value) || self.peek(key) != Some(value) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(self.get(key).await, Some(value));
    }

    fn peek(&self, key: &str) -> Option<u64> {
        self.near.peek_local(&key.to_string())
    }

    async fn until(&self, what: &str, is_so: impl FnMut(&Near) -> bool) {
        until(&self.near, what, is_so).await;
    }

    /// What a server counts of a command.
    async fn calls(&self, command: &str) -> u64 {
        let mut connection = self.server.connection().await;
        let info: String =
            redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.expect("it answers");
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
    }
}

/// Waits until that is so, for five thousand naps of a millisecond at most. They last longer where the machine stands still.
async fn until(near: &Near, what: &str, mut is_so: impl FnMut(&Near) -> bool) {
    for _ in 0..5000 {
        if is_so(near) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}; {:?}, {:?}", near.state(), near.stats());
}

/// So many naps of ten milliseconds, as a limit for what should take less. They last longer where the machine stands still.
async fn naps(count: u32) {
    for _ in 0..count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_fresh(near: &Near) -> bool {
    matches!(near.state(), tidewheel_redis::State::Fresh { .. })
}
