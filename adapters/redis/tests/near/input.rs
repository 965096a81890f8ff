//! Input of all kinds, good and bad.

use crate::{Bed, Near, builder, steady};
use std::error::Error as _;
use std::time::Duration;
use tidewheel_redis::{Codec, CodecError, CutOff, Error, Json, MessagePack, NearCache};

#[tokio::test]
async fn what_does_not_decode_is_an_error_with_the_key_and_not_kept() {
    let Some(bed) = Bed::with(builder().prefix("p:")).await else { return };
    let mut connection = bed.server.connection().await;
    redis::cmd("SET")
        .arg(b"p:bad\xff")
        .arg("no number")
        .exec_async(&mut connection)
        .await
        .expect("it is written");
    let near = NearCache::<[u8], u64>::builder()
        .codec(Json)
        .prefix("p:")
        .connect(bed.server.client())
        .await
        .expect("it connects");
    let error = near.get(b"bad\xff").await.expect_err("it is no number");
    assert!(matches!(&error, Error::Decode { key, .. } if key == b"p:bad\xff"), "{error:?}");
    assert!(
        error.to_string() == r#"the value of the key "p:bad\xff" does not decode"#
            && error.source().is_some(),
        "{error}"
    );
    let many = near.get_many([&b"good"[..], b"bad\xff"]).await;
    assert!(matches!(many, Err(Error::Decode { .. })));
    assert_eq!(near.peek_local(b"bad\xff"), None);
    redis::cmd("SET").arg(b"p:bad\xff").arg(7).exec_async(&mut connection).await.expect("it is written");
    assert_eq!(near.get(b"bad\xff").await.expect("it is a number"), Some(7));
}

/// A codec that panics where it is told to.
struct Touchy;

impl Codec<u64> for Touchy {
    fn encode(&self, value: &u64) -> Result<Vec<u8>, CodecError> {
        if *value == 13 { Err("unlucky".into()) } else { Ok(value.to_string().into_bytes()) }
    }
    fn decode(&self, bytes: &[u8]) -> Result<u64, CodecError> {
        assert_ne!(bytes, b"666");
        Ok(std::str::from_utf8(bytes)?.parse()?)
    }
}

#[tokio::test]
async fn a_codec_that_fails_or_panics_leaves_it_whole() {
    let Some(bed) = Bed::with(builder().codec(Touchy)).await else { return };
    let k = "k".to_string();
    let error = bed.near.put(&k, &13, None).await.expect_err("it does not encode");
    assert_eq!(error.to_string(), r#"the value for the key "k" does not encode"#);
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("unlucky"));
    bed.near.put(&k, &666, None).await.expect("it is written");
    let near = bed.near.clone();
    assert!(
        tokio::spawn(async move { near.get(&"k".to_string()).await })
            .await
            .is_err_and(|error| error.is_panic())
    );
    bed.near.put(&k, &7, None).await.expect("it is written");
    assert_eq!(bed.get("k").await, Some(7));
}

#[tokio::test]
async fn keys_are_any_bytes() {
    for prefix in [None, Some(&b"\x00\r\n$"[..])] {
        let Some(bed) = Bed::new().await else { return };
        let builder = NearCache::<[u8], Vec<u8>>::builder().codec(MessagePack);
        let builder = match prefix {
            Some(prefix) => builder.prefix(prefix),
            None => builder,
        };
        let near = builder.connect(bed.server.client()).await.expect("it connects");
        let mut keys: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        keys.extend([vec![], b"\r\n".to_vec(), vec![b'x'; 100_000], "käse".into()]);
        for key in &keys {
            near.put(key, key, None).await.expect("it is written");
        }
        for key in &keys {
            assert_eq!(near.get(key).await.expect("it answers").as_ref(), Some(key));
        }
        let mut connection = bed.server.connection().await;
        for key in &keys {
            let name = [prefix.unwrap_or_default(), key].concat();
            redis::cmd("SET")
                .arg(&name)
                .arg(b"\x90")
                .exec_async(&mut connection)
                .await
                .expect("it is written");
        }
        for key in &keys {
            for _ in 0..1000 {
                if near.peek_local(key).is_none() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(near.get(key).await.expect("it answers"), Some(vec![]), "{key:?}");
        }
    }
}

/// As it is.
struct Bytes;

impl Codec<Vec<u8>> for Bytes {
    fn encode(&self, value: &Vec<u8>) -> Result<Vec<u8>, CodecError> {
        Ok(value.clone())
    }
    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_64_mib() {
    let Some(bed) = Bed::new().await else { return };
    let builder = NearCache::<str, Vec<u8>>::builder()
        .codec(Bytes)
        .lease(Duration::from_secs(20))
        .patience(Duration::from_secs(60));
    let near = builder.connect(bed.server.client()).await.expect("it connects");
    let large: Vec<u8> = (0..64 << 20).map(|n: u32| (n % 251) as u8).collect();
    near.put("large", &large, None).await.expect("it is written");
    assert!(near.get("large").await.expect("it answers").is_some_and(|value| value == large));
    assert!(near.peek_local("large").is_some());
    near.remove("large").await.expect("it is removed");
    assert_eq!(near.get("large").await.expect("it answers"), None);
}

#[tokio::test]
async fn a_server_that_answers_errors() {
    let Some(bed) = Bed::with(steady()).await else { return };
    let mut connection = bed.server.connection().await;
    redis::cmd("LPUSH").arg("list").arg(1).exec_async(&mut connection).await.expect("it is written");
    let error = bed.near.get(&"list".to_string()).await.expect_err("it is a list");
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    assert_eq!(bed.peek("list"), None);
    bed.write("k", 1).await;
    let error = bed.near.get_many(&["k".to_string(), "list".to_string()]).await.expect_err("one is a list");
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    assert_eq!(bed.peek("k"), Some(1), "what the others came to is kept");
}

#[tokio::test]
async fn a_cluster_is_a_clear_error() {
    let nodes = std::env::temp_dir().join(format!("tidewheel-redis-{}.conf", std::process::id()));
    let nodes = nodes.to_str().expect("it is text");
    let settings = ["--cluster-enabled", "yes", "--cluster-config-file", nodes];
    let Some(server) = crate::Server::start_with(&settings).await else { return };
    let near = builder().connect(server.client()).await.expect("it connects");
    let error = near.get(&"k".to_string()).await.expect_err("it has no slots");
    assert!(matches!(error, Error::Cluster { .. }), "{error:?}");
    let _ = std::fs::remove_file(nodes);

    let Some(bed) = Bed::new().await else { return };
    bed.near.put(&"k".to_string(), &4242, None).await.expect("it is written");
    bed.proxy.lie(b"$4\r\n4242\r\n", b"-MOVED 12706 127.0.0.1:7001\r\n");
    let error = bed.near.get(&"k".to_string()).await.expect_err("it is elsewhere");
    let text = error.to_string();
    assert!(
        text.contains("clusters are not served yet") && text.contains("Moved: 12706 127.0.0.1:7001"),
        "{text}"
    );
}

#[tokio::test]
async fn settings_that_do_not_do() {
    let client = redis::Client::open("redis://127.0.0.1:1/").expect("that is a name");
    let said = async |builder: tidewheel_redis::NearCacheBuilder<String, u64>| {
        builder.connect(client.clone()).await.map(|_: Near| ()).expect_err("it does not do").to_string()
    };
    assert_eq!(said(Near::builder()).await, "no codec: how are values written?");
    assert_eq!(
        said(builder().lease(Duration::from_millis(1))).await,
        "a lease of 1ms, where 10ms is the least"
    );
    let impatient = builder().lease(Duration::from_secs(9));
    assert_eq!(said(impatient).await, "a patience of 5s, shorter than the lease of 9s");
    assert_eq!(
        said(builder().max_age(Duration::ZERO)).await,
        "a maximal age of nothing: no entry would ever be served"
    );
    // Nobody is there.
    let error = builder()
        .when_cut_off(CutOff::Fail)
        .connect(client.clone())
        .await
        .map(|_: Near| ())
        .expect_err("nobody");
    assert!(matches!(error, Error::Redis(_)), "{error:?}");
}
