//! The log-in of `adapters/web-login` under load, over loopback: requests per second, and what a store makes of sessions meanwhile.
//!
//! `cargo run --release -p tidewheel-load -- STORE SECONDS ROUNDS`. STORE is `tidewheel`, `manager` (tidewheel's session manager, without
//! tower-sessions), `memory` or `moka` (tower-sessions' own). Two threads of requests for so many seconds, each with sessions of its own, whose
//! answers are held against what they must be; then so many log-outs, each against a request in flight.

mod connection;
mod moka;
mod races;
mod visits;

use axum::Router;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;
use tidewheel_tower_sessions::TidewheelStore;
use tidewheel_web_login::{IDLE, with_session_manager, with_tower_sessions};
use tower_sessions::MemoryStore;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [store, seconds, rounds] = arguments.as_slice() else {
        eprintln!("usage: tidewheel-load tidewheel|manager|memory|moka SECONDS ROUNDS");
        return ExitCode::from(2);
    };
    let (Some(app), Ok(seconds), Ok(rounds)) = (app(store), seconds.parse(), rounds.parse()) else {
        eprintln!("{store} {seconds} {rounds}: no such store, or no number");
        return ExitCode::from(2);
    };
    let site = up(app);
    let (mut found, began) = (visits::Found::default(), processor_time());
    for part in visits::both(site, Duration::from_secs(seconds), IDLE) {
        found.add(&part);
    }
    let used = processor_time() - began;
    let revived = races::revived(site, rounds);
    println!(
        "{store}: {:.0} requests a second, {:.1} us of the processor for each; {} sessions lost, {} found after their end, {} that ended were seen to; \
         {revived} of {rounds} log-outs undone by a request in flight",
        found.requests as f64 / seconds as f64,
        used.as_secs_f64() * 1e6 / found.requests as f64,
        found.lost,
        found.late,
        found.ended,
    );
    let is_ours = matches!(store.as_str(), "tidewheel" | "manager");
    let is_right = found.lost == 0 && found.late == 0 && found.ended > 0 && revived == 0;
    if is_ours && !is_right { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What this process has used of processors, both sides of each request included: a figure that others on the machine change less than they
/// change the rate. Zero where there is no /proc.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the program's name, in parentheses, which may hold anything: the 14th and 15th field of all, in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

fn app(store: &str) -> Option<Router> {
    let nobody = |_: &str| {};
    Some(match store {
        "tidewheel" => with_tower_sessions::app(TidewheelStore::new(), IDLE),
        "manager" => {
            let sessions = with_session_manager::sessions().idle(IDLE).build().expect("sessions");
            with_session_manager::app(sessions, IDLE)
        }
        "memory" => with_tower_sessions::on(MemoryStore::default(), IDLE, nobody),
        "moka" => with_tower_sessions::on(moka::Moka::new(), IDLE, nobody),
        _ => return None,
    })
}

/// Serves on two threads until the program ends.
fn up(app: Router) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            tell.send(listener.local_addr().expect("its address")).expect("somebody waits");
            axum::serve(listener, app).await.expect("it serves");
        });
    });
    told.recv().expect("it listens")
}
