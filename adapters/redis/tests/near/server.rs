//! A redis-server, or valkey-server, of a test's own: on a free port, without files. Where there is none, the tests that need one say so and
//! are skipped; with `TIDEWHEEL_REDIS=required` they fail.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct Server {
    child: Child,
    port: u16,
    settings: Vec<String>,
}

impl Server {
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[&str]) -> Option<Self> {
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        // Somebody else may take the port meanwhile.
        for _ in 0..5 {
            let port = free_port();
            let Some(child) = spawn(port, &settings) else {
                let what = "there is no redis-server and no valkey-server here (Debian: apt-get install redis-server)";
                assert!(std::env::var_os("TIDEWHEEL_REDIS").is_none(), "{what}");
                eprintln!("SKIPPED: {what}");
                return None;
            };
            let mut server = Self { child, port, settings: settings.clone() };
            if server.is_up().await {
                return Some(server);
            }
        }
        panic!("no server came up");
    }

    /// Whether it is there before long.
    async fn is_up(&mut self) -> bool {
        for _ in 0..500 {
            if let Ok(Some(_)) = self.child.try_wait() {
                return false;
            }
            if self.answers().await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a server that is silent");
    }

    /// Whether this server answers, and not the one of another test, which may have got the port first.
    async fn answers(&self) -> bool {
        let Ok(mut connection) = self.client().get_multiplexed_async_connection().await else { return false };
        if redis::cmd("PING").query_async::<String>(&mut connection).await.is_err() {
            return false;
        }
        let info = redis::cmd("INFO").arg("server").query_async::<String>(&mut connection).await;
        let own = format!("process_id:{}", self.child.id());
        info.is_ok_and(|info| info.lines().any(|line| line == own))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn client(&self) -> redis::Client {
        client(self.port)
    }

    /// A connection that goes by no proxy. A busy machine may stand still for longer than redis-rs waits by itself.
    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let limit = Some(Duration::from_secs(60));
        let config =
            redis::AsyncConnectionConfig::new().set_response_timeout(limit).set_connection_timeout(limit);
        let connection = self.client().get_multiplexed_async_connection_with_config(&config).await;
        connection.expect("the server is there")
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("there is a kill").success());
    }

    pub(crate) fn stop(&self) {
        self.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    /// Kills it, and returns once it is dead.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was there");
        self.child.wait().expect("it is dead");
    }

    /// The same server again, on the same port, empty.
    pub(crate) async fn start_again(&mut self) {
        for _ in 0..50 {
            self.child = spawn(self.port, &self.settings).expect("it was there before");
            if self.is_up().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it does not come up again");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn client(port: u16) -> redis::Client {
    redis::Client::open(format!("redis://127.0.0.1:{port}/")).expect("that is a name")
}

/// A port that nobody listens on, and so low that a server of a cluster can have its second port, which is higher by 10,000.
fn free_port() -> u16 {
    // Never the one that a listener was just given: the system goes on from there.
    let ports = std::iter::repeat_with(|| {
        TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("there are ports")
            .port()
    });
    ports.take(1_000).find(|port| *port <= u16::MAX - 10_000).expect("there are low ports")
}

fn spawn(port: u16, settings: &[String]) -> Option<Child> {
    let chosen = std::env::var("TIDEWHEEL_REDIS_SERVER").ok();
    let programs = chosen.as_deref().map_or(vec!["redis-server", "valkey-server"], |program| vec![program]);
    programs.into_iter().find_map(|program| {
        Command::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--enable-debug-command", "yes"])
            .args(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    })
}
