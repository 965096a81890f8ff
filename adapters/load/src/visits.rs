//! Visitors who log in, look, write, leave, or fall silent, and know at each answer what it must be.

use super::connection::Connection;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How late a session may be found, at most.
const LATE: Duration = Duration::from_millis(10);
/// Visitors on each of the two threads.
const VISITORS: usize = 500;

/// What was seen.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) requests: u64,
    /// Not there before their end, or not with all of their notes.
    pub(crate) lost: u64,
    /// There after their end.
    pub(crate) late: u64,
    /// Seen to be over, in their time.
    pub(crate) ended: u64,
}

impl Found {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { requests, lost, late, ended } = other;
        self.requests += requests;
        self.lost += lost;
        self.late += late;
        self.ended += ended;
    }
}

struct Visitor {
    cookie: String,
    notes: u64,
    /// His log-in ends after the first, and before the second, unless he writes: counted from before and after the last time that he did.
    ends: (Instant, Instant),
}

/// Two threads of requests.
pub(crate) fn both(site: SocketAddr, time: Duration, idle: Duration) -> [Found; 2] {
    std::thread::scope(|scope| {
        let threads = [1, 2].map(|seed| scope.spawn(move || visit(site, Instant::now() + time, idle, seed)));
        threads.map(|thread| thread.join().expect("it does not panic"))
    })
}

fn visit(site: SocketAddr, until: Instant, idle: Duration, seed: u64) -> Found {
    let mut connection = Connection::to(site);
    let mut visitors: Vec<Visitor> = (0..VISITORS).map(|_| log_in(&mut connection, idle)).collect();
    let mut found = Found::default();
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    while Instant::now() < until {
        // Xorshift: which one, and what he does.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let visitor = &mut visitors[(random % VISITORS as u64) as usize];
        // A few never write: theirs is to be seen to end.
        let is_silent = random % VISITORS as u64 % 8 == 0;
        let has_left = match (random >> 32) % 100 {
            0..80 => look(&mut connection, visitor, &mut found),
            80..97 if is_silent => look(&mut connection, visitor, &mut found),
            80..97 => write(&mut connection, visitor, idle, &mut found),
            _ => leave(&mut connection, visitor, &mut found),
        };
        if has_left {
            *visitor = log_in(&mut connection, idle);
            found.requests += 1;
        }
    }
    found
}

fn log_in(connection: &mut Connection, idle: Duration) -> Visitor {
    let began = Instant::now();
    let cookie = connection.log_in("Ada");
    Visitor { cookie, notes: 0, ends: (began + idle, Instant::now() + idle) }
}

/// Looks; whether he is out.
fn look(connection: &mut Connection, visitor: &Visitor, found: &mut Found) -> bool {
    let asked = Instant::now();
    let answer = connection.look(&visitor.cookie);
    found.requests += 1;
    if answer.notes.is_some() {
        found.late += u64::from(asked > visitor.ends.1 + LATE);
        found.lost += u64::from(answer.notes != Some(visitor.notes));
        return false;
    }
    let is_early = Instant::now() < visitor.ends.0;
    found.lost += u64::from(is_early);
    found.ended += u64::from(!is_early);
    true
}

/// Writes a note, and looks; whether he is out.
fn write(connection: &mut Connection, visitor: &mut Visitor, idle: Duration, found: &mut Found) -> bool {
    let began = Instant::now();
    connection.press("note", &visitor.cookie, "");
    let done = Instant::now();
    found.requests += 1;
    if done < visitor.ends.0 {
        // It was in time.
        visitor.notes += 1;
        visitor.ends = (began + idle, done + idle);
        return false;
    }
    // Nobody can say whether it was: what he is told now holds.
    let answer = connection.look(&visitor.cookie);
    found.requests += 1;
    found.late += u64::from(began > visitor.ends.1 + LATE && answer.notes.is_some());
    true
}

/// Leaves; he is out.
fn leave(connection: &mut Connection, visitor: &Visitor, found: &mut Found) -> bool {
    connection.press("logout", &visitor.cookie, "");
    found.late += u64::from(connection.look(&visitor.cookie).notes.is_some());
    found.requests += 2;
    true
}
