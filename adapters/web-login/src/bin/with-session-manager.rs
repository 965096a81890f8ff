//! `cargo run --bin with-session-manager`, then http://localhost:3000.

use tidewheel_web_login::{IDLE, with_session_manager};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sessions =
        with_session_manager::sessions().name("logins").idle(IDLE).max_sessions(100_000).build()?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://localhost:{}", listener.local_addr()?.port());
    axum::serve(listener, with_session_manager::app(sessions, IDLE)).await?;
    Ok(())
}
