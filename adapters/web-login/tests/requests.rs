//! What both sites answer, request by request: log-ins, log-outs, the window in which a log-in ends, planted and malformed cookies.

mod site;

use site::{Visitor, sites, up};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tidewheel_tower_sessions::TidewheelStore;
use tidewheel_web_login::{with_session_manager, with_tower_sessions};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn one_logs_in_writes_and_logs_out() {
    for (which, site) in sites(MINUTE) {
        let mut ada = Visitor::of(site);
        assert!(ada.look().contains("Nobody is logged in."), "{which}");
        ada.log_in("Ada");
        assert!(ada.is_logged_in_as("Ada"), "{which}");
        ada.press("note", "");
        ada.press("note", "");
        assert!(ada.look().contains("2 notes."), "{which}");
        let before = ada.cookie.clone();
        ada.press("logout", "");
        assert!(ada.look().contains("Nobody is logged in."), "{which}");
        let mut thief = Visitor::holding(site, before);
        assert!(!thief.is_logged_in_as("Ada"), "{which}: the cookie is good after the log-out");
    }
}

#[test]
fn a_log_in_ends_after_its_idle_time_and_not_before() {
    let idle = Duration::from_secs(5);
    std::thread::scope(|scope| {
        for (which, site) in sites(idle) {
            scope.spawn(move || ends_in_its_window(which, site, idle));
        }
    });
}

/// Somebody who logs in, and writes something while the log-in lasts; and the moments before and after that. Nothing, if the machine stood still
/// until the log-in may have been over.
fn who_wrote_in_time(site: SocketAddr, idle: Duration) -> Option<(Visitor, Instant, Instant)> {
    let mut ada = Visitor::of(site);
    ada.look();
    let logged_in = Instant::now();
    ada.log_in("Ada");
    std::thread::sleep(idle / 2);
    let began = Instant::now();
    ada.press("note", "");
    let done = Instant::now();
    (done - logged_in < idle).then_some((ada, began, done))
}

fn ends_in_its_window(which: &str, site: SocketAddr, idle: Duration) {
    let ada = (0..20).find_map(|_| who_wrote_in_time(site, idle));
    // Who writes has another five seconds.
    let (ada, began, done) = ada.expect("one try is quick enough");
    let mut seen = began;
    loop {
        let asked = Instant::now();
        // The cookie itself stays: it is the server that says no.
        if !Visitor::holding(site, ada.cookie.clone()).is_logged_in_as("Ada") {
            break;
        }
        seen = asked;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(began.elapsed() >= idle, "{which}: out after {:?}", began.elapsed());
    // The moment at which the request was sent, not the one at which the server looked.
    let late = seen.saturating_duration_since(done + idle);
    assert!(late < Duration::from_millis(10), "{which}: in {late:?} after the end");
}

#[test]
fn an_id_from_before_the_log_in_has_no_user() {
    for (which, site) in sites(MINUTE) {
        let mut eve = Visitor::of(site);
        eve.look();
        // Eve plants her own cookie with Ada, who logs in.
        let mut ada = Visitor::holding(site, eve.cookie.clone());
        ada.log_in("Ada");
        assert!(ada.is_logged_in_as("Ada"), "{which}");
        assert_ne!(ada.cookie, eve.cookie, "{which}");
        assert!(!eve.is_logged_in_as("Ada"), "{which}");
    }
}

#[test]
fn malformed_and_foreign_cookies_begin_anew() {
    let [[_, (_, elsewhere)], ours] = [sites(MINUTE), sites(MINUTE)];
    let mut stranger = Visitor::of(elsewhere);
    stranger.look();
    let value = stranger.cookie.unwrap().split_once('=').unwrap().1.to_owned();
    let values =
        [value, String::new(), "malformed".into(), "A".repeat(22), "\"".repeat(22), "x".repeat(4_000)];
    for (which, site) in ours {
        let mut anyone = Visitor::of(site);
        anyone.look();
        let name = anyone.cookie.unwrap().split_once('=').unwrap().0.to_owned();
        for value in &values {
            let mut visitor = Visitor::holding(site, Some(format!("{name}={value}")));
            assert!(visitor.look().contains("Nobody is logged in."), "{which}: {value}");
            visitor.log_in("Ada");
            assert!(visitor.is_logged_in_as("Ada"), "{which}: {value}");
            assert_ne!(visitor.cookie, Some(format!("{name}={value}")), "{which}");
        }
    }
}

#[test]
fn a_cookie_of_somebody_elses_that_is_not_ascii_hides_nothing() {
    for (which, site) in sites(MINUTE) {
        let mut ada = Visitor::of(site);
        ada.log_in("Ada");
        let both = format!("lang=caf\u{e9}; {}", ada.cookie.clone().unwrap());
        let mut beside = Visitor::holding(site, Some(both.clone()));
        assert!(beside.is_logged_in_as("Ada"), "{which}");
        Visitor::holding(site, Some(both)).press("logout", "");
        assert!(!ada.is_logged_in_as("Ada"), "{which}: the log-out ended nothing");
    }
}

/// A browser keeps a cookie that is `Strict` to itself when somebody follows a link from another site. Such a visit would look like a
/// first one, and the cookie that it is given would take the place of the one that is logged in.
#[test]
fn a_link_from_another_site_brings_the_cookie_along() {
    for (which, site) in sites(MINUTE) {
        let answer = site::send(site, "GET /", "", "");
        let cookie = answer.header("set-cookie").expect("a first visit begins a session");
        let mut attributes: Vec<_> = cookie.split("; ").skip(1).collect();
        attributes.sort_unstable();
        attributes.retain(|attribute| !attribute.starts_with("Max-Age="));
        assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"], "{which}");
    }
}

#[test]
fn no_cache_keeps_a_page() {
    for (which, site) in sites(MINUTE) {
        let mut ada = Visitor::of(site);
        ada.log_in("Ada");
        let cookie = format!("Cookie: {}\r\n", ada.cookie.unwrap());
        for headers in ["", &cookie] {
            let answer = site::send(site, "GET /", headers, "");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{which}: {}", answer.body);
        }
    }
}

#[test]
fn who_logs_in_over_another_user_has_none_of_his_notes() {
    for (which, site) in sites(MINUTE) {
        let mut visitor = Visitor::of(site);
        visitor.log_in("Ada");
        visitor.press("note", "");
        // Who logs in again as the same user keeps what is his.
        visitor.log_in("Ada");
        assert!(visitor.look().contains("1 notes."), "{which}");
        visitor.log_in("Bob");
        assert!(visitor.is_logged_in_as("Bob"), "{which}");
        assert!(visitor.look().contains("0 notes."), "{which}: {}", visitor.look());
    }
}

#[test]
fn a_name_is_shown_and_not_run() {
    for (which, site) in sites(MINUTE) {
        let mut visitor = Visitor::of(site);
        visitor.log_in("%3Cscript%3E%26%22");
        assert!(visitor.look().contains("Logged in as &lt;script&gt;&amp;&quot;."), "{which}");
    }
}

#[test]
fn who_logs_out_everywhere_is_logged_out_everywhere_and_nobody_else_is() {
    for (which, site) in sites(MINUTE) {
        let mut visitors = ["Ada", "Ada", "Bob"].map(|name| {
            let mut visitor = Visitor::of(site);
            visitor.log_in(name);
            visitor
        });
        visitors[0].press("logout-everywhere", "");
        let [first, second, bob] = &mut visitors;
        assert!(!first.is_logged_in_as("Ada"), "{which}");
        assert!(!second.is_logged_in_as("Ada"), "{which}");
        assert!(bob.is_logged_in_as("Bob"), "{which}");
    }
}

#[test]
fn when_there_is_no_room_who_is_logged_in_stays_so() {
    let store = TidewheelStore::builder().max_sessions(1).build().unwrap();
    let sessions = with_session_manager::sessions().idle(MINUTE).max_sessions(1).build().unwrap();
    let sites = [
        (500, up(with_tower_sessions::app(store, MINUTE))),
        (503, up(with_session_manager::app(sessions, MINUTE))),
    ];
    for (refusal, site) in sites {
        let mut ada = Visitor::of(site);
        ada.log_in("Ada");
        assert_eq!(site::send(site, "GET /", "", "").status, refusal);
        ada.press("note", "");
        assert!(ada.is_logged_in_as("Ada"));
    }
}
