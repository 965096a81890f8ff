//! What becomes of it when the network or the server fails, one fault at a time.

use crate::proxy::Mode;
use crate::{Bed, LEASE, Near, builder, is_fresh, naps, until};
use std::time::{Duration, Instant};
use tidewheel_redis::{CutOff, Error, State};

/// How long hits are served after the network holds everything.
async fn served_after_hold(bed: &Bed) -> Duration {
    bed.keep("k", 1).await;
    bed.proxy.set(Mode::Hold);
    let begun = Instant::now();
    bed.write("k", 2).await;
    let written = Instant::now();
    let mut last = begun;
    while begun.elapsed() < LEASE * 3 {
        let asked = Instant::now();
        if bed.peek("k") == Some(1) {
            last = asked;
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    last.saturating_duration_since(written)
}

#[tokio::test]
async fn held_it_serves_for_a_lease_and_no_longer() {
    for builder in [builder(), builder().prefix("")] {
        let Some(bed) = Bed::with(builder).await else { return };
        let stale = served_after_hold(&bed).await;
        assert!(stale <= LEASE, "{stale:?}");
        bed.proxy.set(Mode::Pass);
        bed.near.fresh().await;
        assert_ne!(bed.peek("k"), Some(1));
        assert_eq!(bed.get("k").await, Some(2));
        assert!(bed.near.stats().cuts >= 1);
    }
}

/// An answer that takes long proves nothing about the time that it took.
#[tokio::test]
async fn the_lease_counts_from_the_sending() {
    let Some(bed) = Bed::with(builder().lease(LEASE * 2)).await else { return };
    bed.write("k", 1).await;
    assert_eq!(bed.get("k").await, Some(1));
    bed.proxy.set(Mode::HoldAnswers);
    // A PING is answered, and the answer is held for most of a lease.
    let said = bed.proxy.said();
    bed.proxy.said_more_than(said).await;
    let answered = Instant::now();
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    // Now the answer comes, and nothing after it: until when is it fresh?
    bed.proxy.cut_after(7);
    let mut connection = bed.server.connection().await;
    let _: () = redis::cmd("CLIENT")
        .arg("PAUSE")
        .arg(2000)
        .arg("ALL")
        .query_async(&mut connection)
        .await
        .expect("it obeys");
    bed.proxy.set(Mode::Pass);
    let mut last = None;
    while answered.elapsed() < LEASE * 6 {
        if is_fresh(&bed.near) {
            last = Some(answered.elapsed());
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    assert!(last.is_none_or(|last| last <= LEASE * 2), "{last:?}");
}

#[tokio::test]
async fn stopped_it_is_cut_off_and_goes_on_with_what_it_has() {
    let Some(bed) = Bed::new().await else { return };
    bed.write("k", 1).await;
    assert_eq!(bed.get("k").await, Some(1));
    bed.server.stop();
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    assert_eq!(bed.peek("k"), None);
    bed.server.go_on();
    bed.near.fresh().await;
    assert_eq!(bed.peek("k"), Some(1), "the wire has kept its order");
    assert_eq!(bed.near.stats().flushes, 0);
    bed.write("k", 2).await;
    bed.until("it is told", |near| near.peek_local(&"k".into()).is_none()).await;
}

#[tokio::test]
async fn silent_for_too_long_it_is_given_up() {
    let Some(bed) = Bed::with(builder().patience(LEASE * 2)).await else { return };
    bed.write("k", 1).await;
    assert_eq!(bed.get("k").await, Some(1));
    bed.proxy.set(Mode::Hold);
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    let k = "k".to_string();
    let silent = tokio::select! {
        silent = bed.near.get(&k) => silent,
        () = naps(200) => panic!("it waits for much longer than it was told to"),
    };
    assert!(
        matches!(silent, Err(Error::TimedOut { .. } | Error::CutOff { .. } | Error::Redis(_))),
        "{silent:?}"
    );
    // The old connection stays held for ever; the new one passes.
    bed.until("it is given up", |near| matches!(near.state(), State::CutOff { .. })).await;
    bed.proxy.cut();
    bed.proxy.set(Mode::Pass);
    bed.near.fresh().await;
    assert_eq!(bed.get("k").await, Some(1));
}

async fn comes_back_empty(bed: &Bed, what: &str) {
    bed.until(what, |near| near.stats().flushes >= 1).await;
    bed.near.fresh().await;
    assert_eq!(bed.peek("k"), None);
}

#[tokio::test]
async fn closed_it_begins_anew() {
    for how in ["cut", "mid-frame", "kill"] {
        // So that the lease does not run out before that, where the machine stands still.
        let Some(bed) = Bed::with(builder().lease(Duration::from_secs(1))).await else { return };
        bed.keep("k", 1).await;
        bed.near.fresh().await;
        let before = bed.near.stats().cuts;
        match how {
            "cut" => bed.proxy.cut(),
            "mid-frame" => bed.proxy.cut_after(3),
            _ => kill_clients(&bed).await,
        }
        bed.until("it is cut off", |near| near.stats().cuts > before).await;
        assert_eq!(bed.peek("k"), None);
        bed.write("k", 2).await;
        comes_back_empty(&bed, how).await;
        assert_eq!(bed.get("k").await, Some(2), "{how}");
    }
}

/// All clients but the one that says so.
async fn kill_clients(bed: &Bed) {
    let mut connection = bed.server.connection().await;
    let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("NORMAL").arg("SKIPME").arg("YES").clone();
    kill.exec_async(&mut connection).await.expect("it obeys");
}

/// What was kept over a connection that is gone is never served over the next, not even in the first moment.
#[tokio::test]
async fn nothing_of_an_older_connection_is_served() {
    let Some(bed) = Bed::new().await else { return };
    for n in 0..30 {
        bed.keep("k", 2 * n + 1).await;
        bed.proxy.set(Mode::Refuse);
        bed.proxy.cut();
        bed.until("it is cut off", |near| !is_fresh(near)).await;
        bed.write("k", 2 * n + 2).await;
        bed.proxy.set(Mode::Pass);
        while !is_fresh(&bed.near) {
            tokio::task::yield_now().await;
        }
        assert_ne!(bed.peek("k"), Some(2 * n + 1));
        assert_eq!(bed.get("k").await, Some(2 * n + 2));
    }
}

#[tokio::test]
async fn killed_and_started_again_it_is_empty() {
    let Some(mut bed) = Bed::new().await else { return };
    bed.write("k", 1).await;
    assert_eq!(bed.get("k").await, Some(1));
    bed.server.kill();
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    let down = bed.near.get(&"k".to_string()).await;
    assert!(down.is_err(), "{down:?}");
    let down = bed.near.put(&"k".to_string(), &1, None).await;
    assert!(down.is_err(), "{down:?}");
    bed.server.start_again().await;
    comes_back_empty(&bed, "it is there again").await;
    assert_eq!(bed.get("k").await, None);
}

#[tokio::test]
async fn emptied_it_is_empty() {
    let steady = || builder().lease(Duration::from_secs(3));
    for (command, builder) in [("FLUSHALL", steady()), ("FLUSHDB", steady().prefix(""))] {
        let Some(bed) = Bed::with(builder).await else { return };
        bed.keep("k", 1).await;
        let mut connection = bed.server.connection().await;
        redis::cmd(command).exec_async(&mut connection).await.expect("it obeys");
        bed.until("it is told", |near| near.stats().flushes >= 1).await;
        assert_eq!(bed.peek("k"), None, "{command}");
        assert_eq!(bed.get("k").await, None);
    }
}

/// The server forgets keys that it was to tell of, and says so.
#[tokio::test]
async fn a_server_that_remembers_one_key_makes_it_forget_too() {
    let Some(bed) = Bed::new().await else { return };
    let mut connection = bed.server.connection().await;
    let set = redis::cmd("CONFIG").arg("SET").arg("tracking-table-max-keys").arg(1).clone();
    set.exec_async(&mut connection).await.expect("it obeys");
    for n in 0..100 {
        bed.write(&format!("k{n}"), n).await;
    }
    for n in 0..100 {
        assert_eq!(bed.get(&format!("k{n}")).await, Some(n));
    }
    bed.until("it is told", |near| near.stats().invalidations >= 90).await;
    for n in 0..100 {
        bed.write(&format!("k{n}"), n + 1000).await;
    }
    tokio::time::sleep(LEASE).await;
    for n in 0..100 {
        assert_eq!(bed.get(&format!("k{n}")).await, Some(n + 1000));
    }
}

#[tokio::test]
async fn refused_from_the_start_is_an_error() {
    let Some(bed) = Bed::new().await else { return };
    let mut connection = bed.server.connection().await;
    acl(&mut connection, &["reset", "on", ">secret", "~*", "+@all", "-client"]).await;
    let refused = builder().connect(as_user(&bed)).await.map(|_: Near| ()).expect_err("it is not let");
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
    // A server that knows no RESP3.
    bed.proxy.lie(b"%7\r\n$6\r\nserver", b"-ERR unknown command 'HELLO'\r\n%7\r\n$6\r\nserver");
    let refused = builder().connect(bed.proxy.client()).await.map(|_: Near| ()).expect_err("it is not known");
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
}

/// Each command that it needs is tried when it connects: without one of them it would say that it is fresh, and keep nothing.
#[tokio::test]
async fn a_user_who_may_not_send_what_it_takes_is_refused() {
    let Some(bed) = Bed::new().await else { return };
    let mut connection = bed.server.connection().await;
    let no_caching = &["-client", "+client|tracking"][..];
    let cases = [
        (builder(), &["-ping"][..]),
        (builder(), &["-pttl"]),
        (builder(), no_caching),
        (builder().prefix("p:"), &["-ping"]),
        (builder().prefix("p:"), &["-pttl"]),
    ];
    for (builder, less) in cases {
        acl(&mut connection, &[&["reset", "on", ">secret", "~*", "+@all"][..], less].concat()).await;
        let begun = Instant::now();
        let refused = builder.patience(PATIENCE).connect(as_user(&bed)).await.map(|_: Near| ());
        assert!(matches!(refused, Err(Error::Refused { .. })), "{less:?}: {refused:?}");
        assert!(begun.elapsed() < PATIENCE, "{less:?}: the server has answered at once");
    }
    // With a prefix nothing is opted for.
    acl(&mut connection, &[&["reset", "on", ">secret", "~*", "+@all"][..], no_caching].concat()).await;
    builder().prefix("p:").connect(as_user(&bed)).await.map(|_: Near| ()).expect("it may all that it takes");
}

/// Longer than a machine that has other things to do lets an answer wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Those that the README names, on keys of one kind.
#[tokio::test]
async fn a_user_needs_no_more_than_the_commands_and_the_keys_that_it_uses() {
    let Some(bed) = Bed::new().await else { return };
    let mut connection = bed.server.connection().await;
    let may = ["+ping", "+get", "+pttl", "+set", "+del", "+client|tracking", "+client|caching"];
    acl(&mut connection, &[&["reset", "on", ">secret", "~p:*", "-@all"][..], &may].concat()).await;
    for (builder, k) in [(builder(), "p:k"), (builder().prefix("p:"), "k")] {
        let near = builder.connect(as_user(&bed)).await.expect("it may all that it takes");
        let k = k.to_string();
        near.put(&k, &1, None).await.expect("it may write");
        let begun = Instant::now();
        while near.peek_local(&k) != Some(1) {
            assert!(begun.elapsed() < PATIENCE, "never kept: {:?}", near.stats());
            assert_eq!(near.get(&k).await.expect("it may read"), Some(1));
        }
        near.remove(&k).await.expect("it may remove");
    }
}

/// It is there, and may be well in a moment: so it is waited for, and in the end it is told what it said.
#[tokio::test]
async fn a_server_that_answers_each_ping_with_an_error_is_quoted() {
    let Some(bed) = Bed::new().await else { return };
    bed.proxy.lie(b"+PONG\r\n", b"-MISCONF it cannot save\r\n");
    let error = builder().patience(LEASE * 3).connect(bed.proxy.client()).await.map(|_: Near| ());
    assert!(matches!(&error, Err(Error::Redis(answer)) if answer.code() == Some("MISCONF")), "{error:?}");
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    let state = bed.near.state();
    assert!(matches!(state, State::CutOff { cause: Some(Error::Redis(_)), .. }), "{state:?}");
    bed.proxy.lie(b"+PONG\r\n", b"+PONG\r\n");
    bed.near.fresh().await;
    // Silent, it has said nothing that would be why.
    bed.proxy.set(Mode::Hold);
    bed.until("it is cut off again", |near| !is_fresh(near)).await;
    let state = bed.near.state();
    assert!(matches!(state, State::CutOff { cause: None, .. }), "{state:?}");
}

#[tokio::test]
async fn a_server_that_loads_its_data_first_is_waited_for() {
    let Some(bed) = Bed::new().await else { return };
    for answer in [&b"+PONG\r\n"[..], b":-2\r\n"] {
        bed.proxy.lie(answer, b"-LOADING Redis is loading the dataset in memory\r\n");
        let connecting = tokio::spawn(builder().patience(PATIENCE).connect(bed.proxy.client()));
        tokio::time::sleep(LEASE * 2).await;
        bed.proxy.lie(answer, answer);
        connecting.await.expect("it does not panic").map(|_: Near| ()).expect("it is there by then");
    }
}

/// A user with an ACL that is changed while the near cache lives.
async fn with_user(bed: &Bed) -> (redis::aio::MultiplexedConnection, Near) {
    let mut connection = bed.server.connection().await;
    acl(&mut connection, &["reset", "on", ">secret", "~*", "+@all"]).await;
    let near = builder().connect(as_user(bed)).await.expect("it connects");
    (connection, near)
}

fn as_user(bed: &Bed) -> redis::Client {
    redis::Client::open(format!("redis://u:secret@127.0.0.1:{}/", bed.server.port())).expect("that is a name")
}

async fn acl(connection: &mut redis::aio::MultiplexedConnection, rules: &[&str]) {
    redis::cmd("ACL").arg("SETUSER").arg("u").arg(rules).exec_async(connection).await.expect("it obeys");
}

#[tokio::test]
async fn permissions_that_are_taken_away_leave_nothing_unfollowed() {
    let Some(bed) = Bed::new().await else { return };
    let (mut connection, near) = with_user(&bed).await;
    bed.write("k", 1).await;
    let k = "k".to_string();
    // It may read, and not ask to be told.
    acl(&mut connection, &["-client"]).await;
    assert_eq!(near.get(&k).await.expect("it may read"), Some(1));
    assert_eq!(near.peek_local(&k), None, "kept, and never told of changes");
    bed.write("k", 2).await;
    assert_eq!(near.get(&k).await.expect("it may read"), Some(2));
    // Nor may it over the next connection: reads go on, and nothing is kept.
    kill_clients(&bed).await;
    let mut connection = bed.server.connection().await;
    for n in 3..6 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        bed.write("k", n).await;
        assert_eq!(near.get(&k).await.expect("it may read"), Some(n));
        assert_eq!(near.peek_local(&k), None);
    }
    assert!(
        matches!(near.state(), State::CutOff { cause: Some(Error::Refused { .. }), .. }),
        "{:?}",
        near.state()
    );
    acl(&mut connection, &["+client"]).await;
    near.fresh().await;
    assert_eq!(near.get(&k).await.expect("it may read"), Some(5));
    // It may not say whether it is there.
    acl(&mut connection, &["-ping"]).await;
    let is_refused =
        |near: &Near| matches!(near.state(), State::CutOff { cause: Some(Error::Refused { .. }), .. });
    until(&near, "it is cut off, and tells why", is_refused).await;
    assert_eq!(near.get(&k).await.expect("it may read"), Some(5));
    acl(&mut connection, &["+ping", "-get"]).await;
    near.fresh().await;
    let error = near.get(&"other".to_string()).await.expect_err("it may not");
    assert!(error.to_string().contains("NOPERM") || error.to_string().contains("permissions"), "{error}");
}

#[tokio::test]
async fn it_does_what_it_was_told_when_cut_off() {
    let k = "k".to_string();
    let Some(bed) = Bed::with(builder().when_cut_off(CutOff::Fail)).await else { return };
    bed.write("k", 1).await;
    assert_eq!(bed.get("k").await, Some(1));
    bed.proxy.set(Mode::Hold);
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    assert!(matches!(at_once(bed.near.get(&k)).await, Some(Err(Error::CutOff { .. }))));
    assert!(matches!(at_once(bed.near.get_many([&k])).await, Some(Err(Error::CutOff { .. }))));

    let longer = LEASE * 2;
    // Again, where the machine stood still for as long as it serves what it has.
    for _ in 0..50 {
        let serves = CutOff::ServeStale(longer);
        let Some(bed) = Bed::with(builder().when_cut_off(serves).patience(PATIENCE)).await else { return };
        if serves_stale(&bed, longer).await {
            return;
        }
    }
    panic!("no try was quick enough");
}

/// What a call returns that asks nobody; nothing of one that waits for an answer.
async fn at_once<T>(call: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::ZERO, call).await.ok()
}

/// Held, it serves what it has for a lease and that much longer, and then no more. Returns whether the test looked while it did.
async fn serves_stale(bed: &Bed, longer: Duration) -> bool {
    let k = "k".to_string();
    bed.keep("k", 1).await;
    // The lease counts from a PING that was sent between these two.
    let before = Instant::now() - bed.near.stats().lease_age;
    bed.proxy.set(Mode::Hold);
    let held = Instant::now();
    let (earliest, latest) = (before + LEASE + longer, held + LEASE + longer);
    bed.write("k", 2).await;
    bed.until("it is cut off", |near| !is_fresh(near)).await;
    let one = at_once(bed.near.get(&k)).await;
    // What is served is what a look finds, which is no read.
    let stale = bed.near.stats().stale;
    let looked = (bed.peek("k"), bed.near.stats().stale);
    let many = at_once(bed.near.get_many([&k, &k])).await;
    if Instant::now() >= earliest {
        return false;
    }
    assert!(matches!(one, Some(Ok(Some(1)))), "{one:?}");
    assert_eq!(looked, (Some(1), stale));
    assert_eq!(many.expect("nobody is asked").expect("it is here"), [Some(1), Some(1)]);
    // Nor does it need a connection for that.
    bed.proxy.cut();
    loop {
        let asked = Instant::now();
        match at_once(bed.near.get(&k)).await {
            Some(Ok(Some(1))) => assert!(asked < latest, "served {:?} late", asked - latest),
            Some(Ok(other)) => panic!("{other:?}"),
            Some(Err(_)) | None => break,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ended = Instant::now();
    assert!(ended >= earliest, "it ends {:?} early", earliest - ended);
    assert_eq!(bed.peek("k"), None);
    assert!(bed.near.stats().stale > 2);
    true
}
