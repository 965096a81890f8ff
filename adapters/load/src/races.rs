//! Log-outs, each against a request of the same session that is in flight.

use super::connection::Connection;
use std::net::SocketAddr;
use std::sync::{Barrier, Mutex};

/// How many of so many sessions are there after their log-out.
pub(crate) fn revived(site: SocketAddr, rounds: usize) -> usize {
    let (meeting, cookie) = (Barrier::new(2), Mutex::new(String::new()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = Connection::to(site);
            for _ in 0..rounds {
                meeting.wait();
                let cookie = cookie.lock().expect("nobody panics").clone();
                connection.press("note", &cookie, "");
                meeting.wait();
            }
        });
        let mut connection = Connection::to(site);
        let mut revived = 0;
        for _ in 0..rounds {
            let own = connection.log_in("Ada");
            cookie.lock().expect("nobody panics").clone_from(&own);
            meeting.wait();
            connection.press("logout", &own, "");
            meeting.wait();
            revived += usize::from(connection.look(&own).notes.is_some());
        }
        revived
    })
}
