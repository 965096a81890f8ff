//! The one page. Knows nothing of sessions but what it is told to show.

use axum::http::header::CACHE_CONTROL;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use std::time::Duration;

/// What the form of the log-in sends.
#[derive(Debug, Deserialize)]
pub struct LogIn {
    /// The name to be logged in by. There is no password: this is about sessions.
    pub name: String,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Who is logged in.
    pub user: Option<String>,
    /// How often something was written.
    pub notes: u64,
}

/// The page; of somebody who is logged in, it looks again by itself once the log-in is over. No cache may keep it: it
/// says who is logged in, and may come with a session's id.
pub fn page(shown: &Shown, idle: Duration) -> Response {
    let Shown { user, notes } = shown;
    let (refresh, body) = match user {
        None => (String::new(), logged_out()),
        Some(user) => {
            let refresh = format!("<meta http-equiv=\"refresh\" content=\"{}\">", idle.as_secs());
            (refresh, logged_in(&escaped(user), *notes, idle))
        }
    };
    let html = Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>tidewheel: a log-in</title>{refresh}\
         <style>body{{font:18px/1.5 sans-serif;max-width:34em;margin:3em auto;padding:0 1em}}\
         form{{display:inline}}button,input{{font:inherit;padding:.3em .8em}}#status{{font-size:1.4em}}</style>\
         </head><body><h1>A log-in</h1>{body}</body></html>"
    ));
    ([(CACHE_CONTROL, "no-store")], html).into_response()
}

fn logged_out() -> String {
    String::from(
        "<p id=\"status\">Nobody is logged in.</p>\
         <form method=\"post\" action=\"/login\"><input id=\"name\" name=\"name\" placeholder=\"your name\" required maxlength=\"100\"> \
         <button id=\"login\">Log in</button></form>",
    )
}

fn logged_in(user: &str, notes: u64, idle: Duration) -> String {
    let button = |action: &str, text: &str| {
        format!("<form method=\"post\" action=\"/{action}\"><button id=\"{action}\">{text}</button></form> ")
    };
    format!(
        "<p id=\"status\">Logged in as {user}.</p><p id=\"notes\">{notes} notes.</p>\
         <p>You will be logged out after {} seconds in which you write nothing.</p>{}{}{}",
        idle.as_secs(),
        button("note", "Write a note"),
        button("logout", "Log out"),
        button("logout-everywhere", "Log out everywhere"),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
