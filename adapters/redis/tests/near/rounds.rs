//! Rounds of faults. Numbers that only rise are written, and no reader ever gets less than what was acknowledged one lease before it asked.
//!
//! A few hundred rounds, or as many as `TIDEWHEEL_REDIS_ROUNDS` says; the choice of faults is by `TIDEWHEEL_REDIS_SEED`.

use crate::proxy::{Mode, Proxy};
use crate::server::Server;
use crate::{Near, builder, is_fresh};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tidewheel_redis::NearCacheBuilder;

const SHORT: Duration = Duration::from_millis(60);
const KEYS: usize = 8;

/// What the server has acknowledged, or what is known to be gone.
#[derive(Clone, Copy, Debug)]
struct Fact {
    /// When the write was sent, or what empties it begun.
    begun: Instant,
    /// When that was known to be done.
    known: Instant,
    /// From then on nobody is to find a lower number.
    number: u64,
    is_wipe: bool,
}

/// That everything is being emptied.
struct Wipe {
    begun: Instant,
    floors: [u64; KEYS],
}

/// The facts of all keys, those of each in the order in which they became known.
struct Book {
    facts: [Mutex<Vec<Fact>>; KEYS],
    next: AtomicU64,
    /// Everything is being emptied, and that is not in the book yet.
    is_wiping: AtomicBool,
    is_over: AtomicBool,
    reads: AtomicU64,
    served: AtomicU64,
}

impl Book {
    fn note(&self, key: usize, fact: Fact) {
        let mut facts = self.facts[key].lock().expect("nobody panicked");
        facts.push(fact);
        // What is long past is not asked for.
        if facts.len() > 4096 {
            facts.drain(..2048);
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// Before everything is emptied: higher than what is certainly there by now. What is being written meanwhile may survive.
    fn before_a_wipe(&self) -> Wipe {
        self.is_wiping.store(true, Ordering::SeqCst);
        let last = |key: usize| {
            self.facts[key].lock().expect("nobody panicked").last().map_or(0, |fact| fact.number)
        };
        Wipe { begun: Instant::now(), floors: std::array::from_fn(|key| last(key) + 1) }
    }

    fn wiped(&self, Wipe { begun, floors }: Wipe) {
        for (key, number) in floors.into_iter().enumerate() {
            self.note(key, Fact { begun, known: Instant::now(), number, is_wipe: true });
        }
        self.is_wiping.store(false, Ordering::SeqCst);
    }

    /// What somebody read who asked at that moment.
    fn check(&self, key: usize, asked: Instant, found: Option<u64>) {
        // Before the facts are looked at.
        let is_wiping = self.is_wiping.load(Ordering::SeqCst);
        let facts = self.facts[key].lock().expect("nobody panicked");
        let past = facts.iter().rev().find(|fact| fact.known + SHORT < asked).copied();
        let Some(past) = past else { return };
        let late = facts.iter().rev().take_while(|fact| fact.known >= past.begun);
        let is_right = match found {
            Some(number) => number >= past.number,
            None => is_wiping || past.is_wipe || late.into_iter().any(|fact| fact.is_wipe),
        };
        assert!(
            is_right,
            "key {key}: {found:?}, where there was {past:?}, {:?} before it was asked",
            asked - past.known
        );
    }
}

fn name(key: usize) -> String {
    format!("n:{key}")
}

/// Writes past the proxy, one key after the other.
async fn write(book: Arc<Book>, client: redis::Client) {
    while !book.is_over.load(Ordering::SeqCst) {
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        for key in (0..KEYS).cycle() {
            if book.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (number, begun) = (book.number(), Instant::now());
            let written = redis::cmd("SET").arg(name(key)).arg(number).exec_async(&mut connection).await;
            if written.is_err() {
                break;
            }
            book.note(key, Fact { begun, known: Instant::now(), number, is_wipe: false });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn read(book: Arc<Book>, near: Near, many: bool) {
    let keys: Vec<String> = (0..KEYS).map(name).collect();
    let mut turn = 0;
    while !book.is_over.load(Ordering::SeqCst) {
        turn += 1;
        let asked = Instant::now();
        if many && turn % 8 == 0 {
            if let Ok(all) = near.get_many(&keys).await {
                all.into_iter().enumerate().for_each(|(key, found)| book.check(key, asked, found));
                book.served.fetch_add(KEYS as u64, Ordering::SeqCst);
            }
        } else if let Ok(found) = near.get(&keys[turn % KEYS]).await {
            book.check(turn % KEYS, asked, found);
            book.served.fetch_add(1, Ordering::SeqCst);
        }
        book.reads.fetch_add(1, Ordering::SeqCst);
        if turn % 16 == 0 {
            tokio::time::sleep(Duration::from_micros(500)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Small numbers, all alike from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }
}

const FAULTS: [&str; 10] = [
    "none",
    "held",
    "held answers",
    "cut",
    "mid-frame",
    "trickle",
    "refused",
    "killed client",
    "emptied",
    "stopped",
];

struct Rounds {
    server: Server,
    proxy: Proxy,
    book: Arc<Book>,
    dice: Dice,
}

impl Rounds {
    async fn fault(&mut self, fault: &str) {
        let pause = self.dice.millis(SHORT.as_millis() as u64 * 3 / 2);
        match fault {
            "held" => self.hold(Mode::Hold, pause).await,
            "held answers" => self.hold(Mode::HoldAnswers, pause).await,
            "trickle" => self.hold(Mode::Trickle, pause).await,
            "cut" => self.proxy.cut(),
            "mid-frame" => self.proxy.cut_after(self.dice.below(200) as i64),
            "refused" => {
                self.proxy.set(Mode::Refuse);
                self.proxy.cut();
                tokio::time::sleep(pause).await;
                self.proxy.set(Mode::Pass);
            }
            "killed client" => self.order(&["CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES"]).await,
            "emptied" => {
                let wipe = self.book.before_a_wipe();
                self.order(&["FLUSHALL"]).await;
                self.book.wiped(wipe);
            }
            "stopped" => {
                self.server.stop();
                tokio::time::sleep(pause).await;
                self.server.go_on();
            }
            "killed" => {
                let wipe = self.book.before_a_wipe();
                self.server.kill();
                self.book.wiped(wipe);
                self.server.start_again().await;
            }
            _ => {}
        }
    }

    async fn hold(&self, mode: Mode, pause: Duration) {
        self.proxy.set(mode);
        tokio::time::sleep(pause).await;
        self.proxy.set(Mode::Pass);
    }

    async fn order(&self, words: &[&str]) {
        let mut connection = self.server.connection().await;
        redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut connection).await.expect("it obeys");
    }
}

/// Tries until it connects: on a busy machine, answers may be later than so short a lease for a while.
async fn connected(client: redis::Client, make: impl Fn() -> NearCacheBuilder<String, u64>) -> Near {
    let mut last = None;
    for _ in 0..100 {
        match make().connect(client.clone()).await {
            Ok(near) => return near,
            Err(error) => last = Some(error),
        }
    }
    panic!("it does not connect: {last:?}");
}

async fn rounds(count: u64, settings: &[&str], seed: u64) -> bool {
    let Some(server) = Server::start_with(settings).await else { return false };
    let proxy = Proxy::before(server.port()).await;
    let facts = std::array::from_fn(|_| Mutex::new(Vec::new()));
    let book = Book {
        facts,
        next: 1.into(),
        is_wiping: false.into(),
        is_over: false.into(),
        reads: 0.into(),
        served: 0.into(),
    };
    let book = Arc::new(book);
    let make = || builder().lease(SHORT).patience(SHORT * 4);
    let opted = connected(proxy.client(), make).await;
    let broadcast = connected(proxy.client(), || make().prefix("")).await;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(write(Arc::clone(&book), server.client()));
    for (near, many) in [(&opted, false), (&opted, true), (&broadcast, true)] {
        tasks.spawn(read(Arc::clone(&book), near.clone(), many));
    }
    let mut rounds = Rounds { server, proxy, book, dice: Dice(seed) };
    for round in 0..count {
        // Starting a server takes long.
        let fault =
            if round % 97 == 50 { "killed" } else { FAULTS[rounds.dice.below(FAULTS.len() as u64) as usize] };
        let served = rounds.book.served.load(Ordering::SeqCst);
        rounds.fault(fault).await;
        // Counted by what is done, not by the clock: all of this may be stopped for a while.
        let mut left = 10_000;
        while !is_fresh(&opted)
            || !is_fresh(&broadcast)
            || rounds.book.served.load(Ordering::SeqCst) < served + 20
        {
            left -= 1;
            assert!(left > 0, "round {round}, {fault}: it does not come back: {opted:?}, {broadcast:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let pause = rounds.dice.millis(10);
        tokio::time::sleep(pause).await;
        if let Some(ended) = tasks.try_join_next() {
            panic!("round {round}, {fault}, seed {seed}: {ended:?}");
        }
    }
    rounds.book.is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("what was read was right");
    }
    let book = &rounds.book;
    let (reads, served) = (book.reads.load(Ordering::SeqCst), book.served.load(Ordering::SeqCst));
    println!(
        "{count} rounds, seed {seed}: {reads} reads, {served} values; {:?}; {:?}",
        opted.stats(),
        broadcast.stats()
    );
    assert!(opted.stats().hits > served / 10 || !settings.is_empty(), "hits are what it is about");
    true
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_less_than_was_known_a_lease_before() {
    let seed = number("TIDEWHEEL_REDIS_SEED", 0x5eed);
    rounds(number("TIDEWHEEL_REDIS_ROUNDS", 100), &[], seed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_where_the_server_remembers_one_key() {
    let seed = number("TIDEWHEEL_REDIS_SEED", 0x5eed) + 1;
    rounds(number("TIDEWHEEL_REDIS_ROUNDS", 100) / 4, &["--tracking-table-max-keys", "1"], seed).await;
}
