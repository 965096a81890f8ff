//! A site that is up, and requests to it: enough of HTTP for tests, without a client's packages.

#![allow(dead_code, reason = "each test program uses a part")]

use axum::Router;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;
use tidewheel_tower_sessions::TidewheelStore;
use tidewheel_web_login::{with_session_manager, with_tower_sessions};

/// The two sites, with log-ins that last so long.
pub(crate) fn sites(idle: Duration) -> [(&'static str, SocketAddr); 2] {
    let sessions = with_session_manager::sessions().idle(idle).build().unwrap();
    [
        ("tower-sessions", up(with_tower_sessions::app(TidewheelStore::new(), idle))),
        ("session manager", up(with_session_manager::app(sessions, idle))),
    ]
}

/// Serves until the test program ends.
pub(crate) fn up(app: Router) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    told.recv().unwrap()
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `NAME=VALUE` of the cookie that it sets.
    pub(crate) cookie: Option<String>,
    /// All headers, with names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// What stands in a header, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }
}

/// Sends one request over a connection of its own.
pub(crate) fn send(to: SocketAddr, request: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    // A browser may take minutes to start on a busy machine.
    stream.set_read_timeout(Some(Duration::from_secs(600))).unwrap();
    let length = body.len();
    let host = to.port();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: localhost:{host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = Answer { status: 0, cookie: None, headers: Vec::new(), body: String::new() };
    let mut length = None;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if answer.status == 0 {
            answer.status = line.split(' ').nth(1).unwrap().parse().unwrap();
            continue;
        }
        let (name, value) = line.split_once(':').unwrap();
        let value = value.trim_start();
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "set-cookie" => answer.cookie = value.split(';').next().map(str::to_owned),
            "content-length" => length = Some(value.parse::<u64>().unwrap()),
            _ => {}
        }
        answer.headers.push((name, value.to_owned()));
    }
    reader.take(length.unwrap_or(u64::MAX)).read_to_string(&mut answer.body).unwrap();
    answer
}

/// Somebody at a browser who keeps his cookie, however it is set.
pub(crate) struct Visitor {
    site: SocketAddr,
    pub(crate) cookie: Option<String>,
}

impl Visitor {
    pub(crate) fn of(site: SocketAddr) -> Self {
        Self { site, cookie: None }
    }

    pub(crate) fn holding(site: SocketAddr, cookie: Option<String>) -> Self {
        Self { site, cookie }
    }

    fn send(&mut self, request: &str, more: &str, body: &str) -> Answer {
        let cookie = self.cookie.as_ref().map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
        let answer = send(self.site, request, &format!("{cookie}{more}"), body);
        if let Some(cookie) = &answer.cookie {
            self.cookie = Some(cookie.clone());
        }
        answer
    }

    /// What the page says.
    pub(crate) fn look(&mut self) -> String {
        let answer = self.send("GET /", "", "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Whether the page says that somebody is logged in.
    pub(crate) fn is_logged_in_as(&mut self, user: &str) -> bool {
        self.look().contains(&format!("Logged in as {user}."))
    }

    /// Presses a button; with a form.
    pub(crate) fn press(&mut self, button: &str, form: &str) {
        let form_type = "Content-Type: application/x-www-form-urlencoded\r\n";
        let answer = self.send(&format!("POST /{button}"), form_type, form);
        assert_eq!(answer.status, 303, "{button}: {}", answer.body);
    }

    pub(crate) fn log_in(&mut self, name: &str) {
        self.press("login", &format!("name={name}"));
    }
}
