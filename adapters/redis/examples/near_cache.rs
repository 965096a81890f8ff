//! Two processes with one Redis: one writes, one reads from its near cache, and a third looks after the server, which it starts, stops for a while, and lets go on.
//!
//! `cargo run --release -p tidewheel-redis --example near_cache`. It needs a redis-server (Debian: `apt-get install redis-server`).

use std::error::Error;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidewheel_redis::{CutOff, Json, NearCache, State, redis};
use tokio::time::{sleep, timeout};

type Near = NearCache<String, (u64, u64)>;

const LEASE: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    match (words.get(1).map(String::as_str), words.get(2)) {
        (Some("write"), Some(port)) => run(write(client(port)?)),
        (Some("read"), Some(port)) => run(read(client(port)?)),
        _ => look_after(),
    }
}

fn client(port: &str) -> redis::RedisResult<redis::Client> {
    redis::Client::open(format!("redis://127.0.0.1:{port}/"))
}

fn run(what: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(what)
}

/// Ends what it began.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> std::io::Result<Self> {
        command.stdin(Stdio::null()).spawn().map(Self)
    }

    fn signal(&self, signal: &str) -> std::io::Result<()> {
        Command::new("kill").arg(format!("-{signal}")).arg(self.0.id().to_string()).status().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn look_after() -> Result<(), Box<dyn Error>> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let mut server = Command::new("redis-server");
    server
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null());
    let server = match Process::start(&mut server) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("There is no redis-server here. Debian has one: apt-get install redis-server");
            return Ok(());
        }
        server => server?,
    };
    std::thread::sleep(Duration::from_millis(300));
    let program = std::env::current_exe()?;
    let _writer = Process::start(Command::new(&program).args(["write", &port]))?;
    let _reader = Process::start(Command::new(&program).args(["read", &port]))?;
    std::thread::sleep(Duration::from_millis(1500));
    println!("        -- the server is stopped");
    server.signal("STOP")?;
    std::thread::sleep(Duration::from_millis(1500));
    println!("        -- the server goes on");
    server.signal("CONT")?;
    std::thread::sleep(Duration::from_millis(1500));
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A number that rises, with the time of its writing, every 100 ms.
async fn write(client: redis::Client) -> Result<(), Box<dyn Error>> {
    let near = Near::builder().codec(Json).lease(LEASE).connect(client).await?;
    let mut last = Instant::now();
    for number in 1.. {
        near.put(&"number".to_string(), &(number, now()), None).await?;
        if last.elapsed() > Duration::from_millis(400) {
            println!("writer: {number} was acknowledged after {} ms", last.elapsed().as_millis());
        }
        last = Instant::now();
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Reads all the time, and says five times a second what it saw.
async fn read(client: redis::Client) -> Result<(), Box<dyn Error>> {
    let near = Near::builder().codec(Json).lease(LEASE).when_cut_off(CutOff::Fail).connect(client).await?;
    let key = "number".to_string();
    loop {
        let (begun, before) = (Instant::now(), near.stats());
        let (mut reads, mut failed, mut seen) = (0, 0, None);
        while begun.elapsed() < Duration::from_millis(200) {
            reads += 1;
            match timeout(Duration::from_millis(100), near.get(&key)).await {
                Ok(Ok(value)) => seen = value.or(seen),
                Ok(Err(_)) | Err(_) => failed += 1,
            }
            sleep(Duration::from_millis(1)).await;
        }
        let hits = near.stats().hits - before.hits;
        let seen = seen.map_or("nothing".into(), |(number, at)| {
            format!("{number}, written {} ms ago", (now() - at) / 1000)
        });
        let state = match near.state() {
            State::Fresh { age, .. } => format!("fresh as of {} ms ago", age.as_millis()),
            State::CutOff { lasting, .. } => format!("cut off for {} ms", lasting.as_millis()),
            _ => String::new(),
        };
        println!("reader: {seen}; {reads} reads, {hits} from here, {failed} failed; {state}");
    }
}
