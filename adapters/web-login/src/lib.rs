//! A log-in on the web, twice over: [`with_tower_sessions`], on our store, and [`with_session_manager`], by tidewheel's session manager
//! and a cookie, without a framework for sessions. Both have the same pages and answer the same requests.

pub mod pages;
pub mod with_session_manager;
pub mod with_tower_sessions;

use std::time::Duration;

/// How long a log-in lasts after it was last used to write something, unless an example is told otherwise. Short, so that one can watch it end.
pub const IDLE: Duration = Duration::from_secs(5);
