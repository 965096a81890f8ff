//! What the fuzz target `near` touches of the inside: bytes as a server may send them, on their way to the entries that are here.

use crate::lease::{Lease, LinkNumber};
use crate::local::{Fill, Local};
use redis::{PushInfo, Value};
use std::time::Duration;
use tidewheel::Cache;

const KEYS: [&[u8]; 4] = [b"", b"a", b"ab", b"\xff\r\n"];

/// Hears one message and looks at each entry: what was named is not there any more, nor is anything after a message that names nothing; the
/// rest still is.
pub fn hear(prefix: &[u8], message: &[u8]) {
    let Ok(Value::Push { kind, data }) = redis::parse_redis_value(message) else { return };
    let cache = || Cache::builder().build().expect("a cache of this kind can be built");
    let local = Local::new(cache(), cache(), Lease::new(Duration::from_secs(60)), prefix.into());
    let (now, epoch) = (local.lease.now(), local.epoch());
    for key in KEYS {
        let until = now.after(Duration::from_secs(3600));
        local.cache.insert(key.into(), Fill { answer: Ok(Some(1)), sent: now, until, ends: None, epoch });
    }
    let is_invalidation = kind == redis::PushKind::Invalidate;
    let (named, is_all) = match (is_invalidation, data.first()) {
        (false, _) => (Vec::new(), false),
        (true, Some(Value::Array(keys))) => {
            let name = |key: &Value| match key {
                Value::BulkString(key) => Some(key.clone()),
                Value::SimpleString(key) => Some(key.clone().into_bytes()),
                _ => None,
            };
            let named: Vec<_> = keys.iter().map(name).collect();
            (named.iter().flatten().cloned().collect(), named.iter().any(Option::is_none))
        }
        (true, _) => (Vec::new(), true),
    };
    local.hear(LinkNumber::FIRST, &PushInfo { kind, data });
    for key in KEYS {
        let whole = [prefix, key].concat();
        let is_gone = is_all || named.contains(&whole);
        assert_eq!(local.find(key, now), (!is_gone).then_some(Some(1)), "{key:?} after {named:?}");
    }
    local.sweep();
    assert!(!is_all || local.cache.entry_count() == 0, "what was emptied is swept");
}
