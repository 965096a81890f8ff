//! The caches that are compared: each gets a string by its key, through its own client-side cache. Knows no scenario.

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::caching::CacheConfig;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion};
use rustis::commands::ClientTrackingOptions;
use std::sync::Arc;
use std::time::Duration;
use tidewheel_redis::{Codec, CodecError, CutOff, NearCache};

pub(crate) const LEASE: Duration = Duration::from_millis(500);

pub(crate) trait Contender: Clone + Send + Sync + Sized + 'static {
    const NAME: &'static str;

    fn connect(port: u16) -> impl Future<Output = Self> + Send;

    /// `None` if there is no answer, or an error.
    fn get(&self, key: &str) -> impl Future<Output = Option<String>> + Send;
}

/// Strings as they are, so that none has more to decode than another.
struct Text;

impl Codec<String> for Text {
    fn encode(&self, value: &String) -> Result<Vec<u8>, CodecError> {
        Ok(value.clone().into_bytes())
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        Ok(String::from_utf8(bytes.to_vec())?)
    }
}

#[derive(Clone)]
pub(crate) struct Ours(NearCache<str, String>);

impl Contender for Ours {
    const NAME: &'static str = "tidewheel-redis, lease 500 ms";

    async fn connect(port: u16) -> Self {
        let builder = NearCache::builder().codec(Text).lease(LEASE).when_cut_off(CutOff::Bypass);
        Self(builder.connect(client(port)).await.expect("it connects"))
    }

    async fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).await.ok().flatten()
    }
}

fn client(port: u16) -> Client {
    let client = Client::open(format!("redis://127.0.0.1:{port}/")).expect("that is a name");
    let info = client.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(settings)).expect("that is a name")
}

#[derive(Clone)]
pub(crate) struct RedisRs(MultiplexedConnection);

impl Contender for RedisRs {
    const NAME: &'static str = "redis-rs 1.8, MultiplexedConnection";

    async fn connect(port: u16) -> Self {
        let config = AsyncConnectionConfig::new().set_cache_config(CacheConfig::new());
        let connection = client(port).get_multiplexed_async_connection_with_config(&config).await;
        Self(connection.expect("it connects"))
    }

    async fn get(&self, key: &str) -> Option<String> {
        redis::cmd("GET").arg(key).query_async(&mut self.0.clone()).await.ok().flatten()
    }
}

#[derive(Clone)]
pub(crate) struct RedisRsManager(ConnectionManager);

impl Contender for RedisRsManager {
    const NAME: &'static str = "redis-rs 1.8, ConnectionManager";

    async fn connect(port: u16) -> Self {
        let config = ConnectionManagerConfig::new().set_cache_config(CacheConfig::new());
        let connection = client(port).get_connection_manager_with_config(config).await;
        Self(connection.expect("it connects"))
    }

    async fn get(&self, key: &str) -> Option<String> {
        redis::cmd("GET").arg(key).query_async(&mut self.0.clone()).await.ok().flatten()
    }
}

#[derive(Clone)]
pub(crate) struct Rustis(Arc<rustis::cache::Cache>);

impl Contender for Rustis {
    const NAME: &'static str = "rustis 0.27";

    async fn connect(port: u16) -> Self {
        let client = rustis::client::Client::connect(format!("127.0.0.1:{port}")).await.expect("it connects");
        let cache = rustis::cache::Cache::new(client, 1800, ClientTrackingOptions::default()).await;
        Self(cache.expect("it tracks"))
    }

    async fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).await.ok().flatten()
    }
}
