//! What is run: the suite of routes on both of our stores, and each example as a server of its own.

use super::common::build_app;
use super::sessions::SessionManagerLayer;
use super::stores::{ReadThroughStore, TidewheelStore};
use super::{counter, counter_extractor, signed, strongly_typed};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

thread_local! {
    /// Where the example that runs on this thread is to listen.
    static ADDRESS: Cell<Option<SocketAddr>> = const { Cell::new(None) };
}

/// In place of the port that is written into the examples.
pub(crate) fn address() -> SocketAddr {
    ADDRESS.get().expect("the example runs on a thread that was told")
}

/// In place of the examples' store.
pub(crate) fn store() -> TidewheelStore {
    TidewheelStore::new()
}

mod in_memory {
    use super::{SessionManagerLayer, TidewheelStore, build_app};

    async fn app(max_age: Option<Duration>, domain: Option<String>) -> axum::Router {
        build_app(SessionManagerLayer::new(TidewheelStore::new()).with_secure(true), max_age, domain)
    }

    route_tests!(app);
}

mod read_through {
    use super::{ReadThroughStore, SessionManagerLayer, TidewheelStore, build_app};

    async fn app(max_age: Option<Duration>, domain: Option<String>) -> axum::Router {
        let store = ReadThroughStore::new(TidewheelStore::new());
        build_app(SessionManagerLayer::new(store).with_secure(true), max_age, domain)
    }

    route_tests!(app);
}

/// An example that has been started, and the cookie of who visits it.
struct Visit {
    address: SocketAddr,
    cookie: Option<String>,
}

impl Visit {
    fn to(example: fn()) -> Self {
        // A port that nobody has. Somebody might take it until the example does, which then says so.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        std::thread::spawn(move || {
            ADDRESS.set(Some(free));
            example();
        });
        Self { address: free, cookie: None }
    }

    /// The text of its page.
    fn look(&mut self) -> String {
        let began = Instant::now();
        let mut stream = loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => break stream,
                Err(error) => {
                    assert!(began.elapsed() < Duration::from_secs(20), "it does not listen: {error}")
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let cookie = self.cookie.as_ref().map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
        write!(stream, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{cookie}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let set = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        if let Some(cookie) = set.and_then(|set| set.split(';').next()) {
            self.cookie = Some(cookie.to_owned());
        }
        body.to_owned()
    }
}

#[test]
fn the_examples_that_count_count() {
    for example in [counter::main, counter_extractor::main, signed::main] {
        let mut visit = Visit::to(example);
        for count in 0..5 {
            assert_eq!(visit.look(), format!("Current count: {count}"));
        }
        visit.cookie = Some("id=malformed".into());
        assert_eq!(visit.look(), "Current count: 0");
    }
}

#[test]
fn the_example_with_types_counts_its_guests_views() {
    let mut visit = Visit::to(strongly_typed::main);
    for views in 1..5 {
        let page = visit.look();
        assert!(page.contains(&format!("pageviews: {views}")), "{page}");
    }
}
