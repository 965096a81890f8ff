//! One connection that stays open, and requests over it: enough of HTTP to ask the site, and cheap, since what is measured is the site.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    request: Vec<u8>,
    line: String,
    body: Vec<u8>,
}

/// What was answered.
#[derive(Default)]
pub(crate) struct Answer {
    /// The cookie that it sets, `NAME=VALUE`.
    pub(crate) cookie: Option<String>,
    /// `Some`: how many notes it shows of somebody who is logged in.
    pub(crate) notes: Option<u64>,
}

impl Connection {
    pub(crate) fn to(site: SocketAddr) -> Self {
        let stream = TcpStream::connect(site).expect("the site listens");
        stream.set_nodelay(true).expect("a socket");
        Self { reader: BufReader::new(stream), request: Vec::new(), line: String::new(), body: Vec::new() }
    }

    /// Looks at the page.
    pub(crate) fn look(&mut self, cookie: &str) -> Answer {
        self.send("GET / HTTP/1.1\r\n", cookie, "", 200)
    }

    /// Presses a button.
    pub(crate) fn press(&mut self, button: &str, cookie: &str, form: &str) -> Answer {
        self.send(&format!("POST /{button} HTTP/1.1\r\n"), cookie, form, 303)
    }

    pub(crate) fn log_in(&mut self, name: &str) -> String {
        self.press("login", "", &format!("name={name}")).cookie.expect("who logs in is given a cookie")
    }

    fn send(&mut self, request: &str, cookie: &str, body: &str, status: u16) -> Answer {
        self.request.clear();
        let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
        write!(
            self.request,
            "{request}Host: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n{cookie}\r\n{body}",
            body.len()
        )
        .expect("memory takes it");
        self.reader.get_mut().write_all(&self.request).expect("the site reads");
        let mut answer = Answer::default();
        let length = self.read_head(&mut answer, status);
        self.body.resize(length, 0);
        self.reader.read_exact(&mut self.body).expect("the site answers");
        answer.notes = notes(std::str::from_utf8(&self.body).expect("a text"));
        answer
    }

    /// Reads the answer's head; how long its body is.
    fn read_head(&mut self, answer: &mut Answer, status: u16) -> usize {
        let mut length = 0;
        self.read_line();
        assert!(self.line.starts_with(&format!("HTTP/1.1 {status}")), "{}", self.line);
        loop {
            self.read_line();
            let Some((name, value)) = self.line.trim_end().split_once(": ") else { return length };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().expect("a number");
            } else if name.eq_ignore_ascii_case("set-cookie") {
                answer.cookie = value.split(';').next().map(str::to_owned);
            }
        }
    }

    fn read_line(&mut self) {
        self.line.clear();
        self.reader.read_line(&mut self.line).expect("the site answers");
    }
}

/// What the page says about somebody who is logged in.
fn notes(page: &str) -> Option<u64> {
    let (_, rest) = page.split_once("<p id=\"notes\">")?;
    rest.split_once(' ')?.0.parse().ok()
}
