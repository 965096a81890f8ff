//! The log-in with tower-sessions, on any of its stores. What makes ours another one is that a log-out stays a log-out, whatever requests
//! are under way.

use crate::pages::{LogIn, Shown, page};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tidewheel_tower_sessions::TidewheelStore;
use tower_sessions::cookie::SameSite;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore, session};

const USER: &str = "user";
const NOTES: &str = "notes";

/// What the handlers know beside the session.
#[derive(Clone)]
struct Site {
    idle: Duration,
    /// Ends all sessions of a user.
    end_all: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("idle", &self.idle).finish_non_exhaustive()
    }
}

/// The log-in on our store. Log-ins end after so long without a note.
pub fn app(store: TidewheelStore, idle: Duration) -> Router {
    let sessions = store.clone();
    on(store, idle, move |user| {
        sessions.end_where(|record| record.data.get(USER).is_some_and(|of| of == user));
    })
}

/// The log-in on any store; `end_all` ends all sessions of a user in it.
///
/// # Panics
///
/// If `idle` is longer than a time stamp can say.
pub fn on<S>(store: S, idle: Duration, end_all: impl Fn(&str) + Send + Sync + 'static) -> Router
where
    S: SessionStore + Clone,
{
    let expiry = Expiry::OnInactivity(idle.try_into().expect("a length of time that a date can be moved by"));
    // Not `Strict`, the default. Then a visit by a link from another site comes without the cookie, and the session that `show` opens for it
    // takes the place of the one that is logged in.
    let layer = SessionManagerLayer::new(store).with_expiry(expiry).with_same_site(SameSite::Lax);
    Router::new()
        .route("/", get(show))
        .route("/login", post(log_in))
        .route("/note", post(note))
        .route("/logout", post(log_out))
        .route("/logout-everywhere", post(log_out_everywhere))
        .layer(layer)
        .with_state(Site { idle, end_all: Arc::new(end_all) })
}

/// A store that is full or out of order. tower-sessions saves after the handler, and answers the same then.
fn out_of_order(_: session::Error) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Reads, and so does not make the log-in last longer. A first visit begins a session without a user.
async fn show(session: Session, State(site): State<Site>) -> Result<Response, StatusCode> {
    let user = session.get::<String>(USER).await.map_err(out_of_order)?;
    let notes = session.get::<u64>(NOTES).await.map_err(out_of_order)?;
    if user.is_none() && notes.is_none() {
        session.insert(NOTES, 0).await.map_err(out_of_order)?;
    }
    Ok(page(&Shown { user, notes: notes.unwrap_or(0) }, site.idle))
}

/// A new id first: one that somebody planted or saw before never has a user. A user who logs in over another user's session begins anew, and
/// gets nothing of what was kept of that one.
async fn log_in(session: Session, Form(LogIn { name }): Form<LogIn>) -> Result<Redirect, StatusCode> {
    // What has to wait for the store comes before `cycle_id`, and the save as soon after it as possible: in between, somebody else may take
    // the place in a full store.
    let before = session.get::<String>(USER).await.map_err(out_of_order)?;
    session.cycle_id().await.map_err(out_of_order)?;
    if before.as_ref() != Some(&name) {
        session.clear().await;
    }
    session.insert(USER, name).await.map_err(out_of_order)?;
    session.save().await.map_err(out_of_order)?;
    Ok(Redirect::to("/"))
}

/// Writes, if somebody is logged in, and so makes the log-in last longer.
async fn note(session: Session) -> Result<Redirect, StatusCode> {
    if session.get::<String>(USER).await.map_err(out_of_order)?.is_some() {
        let notes = session.get::<u64>(NOTES).await.map_err(out_of_order)?.unwrap_or(0);
        session.insert(NOTES, notes + 1).await.map_err(out_of_order)?;
    }
    Ok(Redirect::to("/"))
}

async fn log_out(session: Session) -> Result<Redirect, StatusCode> {
    session.flush().await.map_err(out_of_order)?;
    Ok(Redirect::to("/"))
}

async fn log_out_everywhere(session: Session, State(site): State<Site>) -> Result<Redirect, StatusCode> {
    if let Some(user) = session.get::<String>(USER).await.map_err(out_of_order)? {
        (site.end_all)(&user);
    }
    session.flush().await.map_err(out_of_order)?;
    Ok(Redirect::to("/"))
}
