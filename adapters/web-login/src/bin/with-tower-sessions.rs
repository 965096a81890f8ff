//! `cargo run --bin with-tower-sessions`, then http://localhost:3000.

use tidewheel_tower_sessions::TidewheelStore;
use tidewheel_web_login::{IDLE, with_tower_sessions};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = TidewheelStore::builder().name("logins").max_sessions(100_000).build()?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://localhost:{}", listener.local_addr()?.port());
    axum::serve(listener, with_tower_sessions::app(store, IDLE)).await?;
    Ok(())
}
