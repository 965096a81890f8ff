//! Records for the tests.

use super::core::session::{Id, Record};
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// Of a user, for so long from now on.
pub(crate) fn record(user: &str, lasts: Duration) -> Record {
    let data = [(String::from("user"), Value::from(user))].into_iter().collect();
    Record { id: Id::default(), data, expiry_date: OffsetDateTime::now_utc() + lasts }
}

pub(crate) fn is_of(record: &Record, user: &str) -> bool {
    record.data["user"] == user
}
