//! The log-in by tidewheel's session manager alone: the session's id is a cookie, which is read and written here, and what is kept of a
//! session is a type.

use crate::pages::{LogIn, Shown, page};
use axum::extract::State;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use std::time::Duration;
use tidewheel::{SessionError, SessionId, SessionManager, SessionManagerBuilder};

/// What is kept of a session.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// Who is logged in.
    pub user: Option<String>,
    /// How often something was written.
    pub notes: u64,
}

/// What keeps the sessions: each is the user's who is logged in, if one is.
pub type Sessions = SessionManager<Visit, String>;

/// A builder of it.
pub fn sessions() -> SessionManagerBuilder<Visit, String> {
    SessionManager::builder().owner(|visit: &Visit| visit.user.clone())
}

/// What the handlers know.
#[derive(Clone, Debug)]
struct Site {
    sessions: Sessions,
    idle: Duration,
}

/// The log-in by these sessions, whose idle time the page tells.
pub fn app(sessions: Sessions, idle: Duration) -> Router {
    Router::new()
        .route("/", get(show))
        .route("/login", post(log_in))
        .route("/note", post(note))
        .route("/logout", post(log_out))
        .route("/logout-everywhere", post(log_out_everywhere))
        .with_state(Site { sessions, idle })
}

/// The name of the cookie. With `__Host-` a browser takes it only over a secure connection, and only from this host.
const NAME: &str = "__Host-sid";

/// The id that the cookie holds. A malformed one counts as none: parsing refuses it, without looking further than it must.
///
/// The header is read as bytes, since other cookies may hold any bytes. So a cookie that is not text cannot hide this one.
fn id_of(headers: &HeaderMap) -> Option<SessionId> {
    let cookies = headers.get_all(COOKIE).iter();
    let pairs = cookies.flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
    let mut values =
        pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(NAME.as_bytes())?.strip_prefix(b"="));
    values.next().and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
}

/// An answer that gives the browser an id. Without a `Max-Age`: the manager knows when a session is over.
fn with_id(id: SessionId, answer: impl IntoResponse) -> Response {
    let cookie = format!("{NAME}={}; Path=/; HttpOnly; Secure; SameSite=Lax", id.encode());
    ([(SET_COOKIE, cookie)], answer).into_response()
}

/// What a session that cannot be is answered with.
fn refused(error: SessionError) -> Response {
    let status = match error {
        SessionError::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string()).into_response()
}

/// Reads, and so does not make the log-in last longer. A first visit begins a session without a user.
async fn show(headers: HeaderMap, State(Site { sessions, idle }): State<Site>) -> Response {
    if let Some(Visit { user, notes }) = id_of(&headers).and_then(|id| sessions.get(&id).ok()) {
        return page(&Shown { user, notes }, idle);
    }
    match sessions.create(Visit::default()) {
        Ok(id) => with_id(id, page(&Shown::default(), idle)),
        Err(error) => refused(error),
    }
}

/// The user and a new id in one step: an id that somebody planted or saw before never has a user. A user who logs in over another user's
/// session begins anew, and gets nothing of what was kept of that one.
async fn log_in(headers: HeaderMap, State(site): State<Site>, Form(LogIn { name }): Form<LogIn>) -> Response {
    let sessions = &site.sessions;
    let fresh = Visit { user: Some(name), notes: 0 };
    let rotated = id_of(&headers).map_or(Err(SessionError::NotFound), |id| {
        let log_in = |visit: &mut Visit| {
            if visit.user != fresh.user {
                *visit = fresh.clone();
            }
        };
        sessions.rotate_with(&id, log_in).map(|(id, ())| id)
    });
    let id = match rotated {
        Err(SessionError::NotFound) => sessions.create(fresh),
        rotated => rotated,
    };
    match id {
        Ok(id) => with_id(id, Redirect::to("/")),
        Err(error) => refused(error),
    }
}

/// Writes, if somebody is logged in, and so makes the log-in last longer.
async fn note(headers: HeaderMap, State(site): State<Site>) -> Redirect {
    if let Some(id) = id_of(&headers) {
        // A session that is over by now has nothing to note down.
        let _ = site.sessions.modify(&id, |visit| visit.notes += u64::from(visit.user.is_some()));
    }
    Redirect::to("/")
}

async fn log_out(headers: HeaderMap, State(site): State<Site>) -> Redirect {
    if let Some(id) = id_of(&headers) {
        // It may be over already.
        let _ = site.sessions.end(&id);
    }
    Redirect::to("/")
}

async fn log_out_everywhere(headers: HeaderMap, State(site): State<Site>) -> Redirect {
    let visit = id_of(&headers).and_then(|id| site.sessions.get(&id).ok());
    if let Some(user) = visit.and_then(|visit| visit.user) {
        site.sessions.end_all(&user);
    }
    Redirect::to("/")
}
