//! A TCP proxy in front of a server, that does to the bytes what networks do: holds them, cuts them off in the middle of a frame, brings them one at a time or
//! several frames together, closes one side.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Pass,
    /// Nothing passes, in either direction.
    Hold,
    /// Nothing of what the server says passes.
    HoldAnswers,
    /// What the server says comes a byte at a time.
    Trickle,
    /// New connections are closed.
    Refuse,
}

struct Shared {
    mode: watch::Sender<Mode>,
    /// Raised to end all connections that there are.
    cuts: watch::Sender<u64>,
    /// How many bytes of what the server says pass before the connection is cut; none if negative.
    until_cut: AtomicI64,
    /// Bytes that the server has said, passed on or not.
    said: AtomicU64,
    /// What is put in the place of some bytes.
    lie: watch::Sender<Option<(Vec<u8>, Vec<u8>)>>,
    server: u16,
}

pub(crate) struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new(0),
            until_cut: AtomicI64::new(-1),
            said: AtomicU64::new(0),
            lie: watch::Sender::new(None),
            server,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self { shared, port, _tasks: tasks }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn client(&self) -> redis::Client {
        crate::server::client(self.port())
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Closes all connections that there are, both sides.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// After so many more bytes of the server's.
    pub(crate) fn cut_after(&self, bytes: i64) {
        self.shared.until_cut.store(bytes, Ordering::SeqCst);
    }

    /// Waits until the server has said more than that, passed on or not.
    pub(crate) async fn said_more_than(&self, bytes: u64) {
        while self.said() <= bytes {
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
    }

    pub(crate) fn said(&self) -> u64 {
        self.shared.said.load(Ordering::SeqCst)
    }

    /// What the server says is changed where it is that, in one read.
    pub(crate) fn lie(&self, from: &[u8], to: &[u8]) {
        self.shared.lie.send_replace(Some((from.to_vec(), to.to_vec())));
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if *shared.mode.borrow() == Mode::Refuse {
            continue;
        }
        connections.spawn(connect(client, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.server)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cuts = shared.cuts.subscribe();
    tokio::select! {
        _ = cuts.changed() => {}
        () = ask(from_client, to_server, &shared) => {}
        () = answer(from_server, to_client, &shared) => {}
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut mode = shared.mode.subscribe();
    let mut bytes = vec![0; 65_536];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        let _ = mode.wait_for(|mode| *mode != Mode::Hold).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut mode = shared.mode.subscribe();
    let mut held = Vec::new();
    let mut bytes = vec![0; 65_536];
    loop {
        // While it is held, what comes is collected, and then delivered together.
        let is_held = matches!(*mode.borrow_and_update(), Mode::Hold | Mode::HoldAnswers);
        if !is_held && !held.is_empty() && !pass(&mut held, &mut to, shared).await {
            return;
        }
        tokio::select! {
            count = from.read(&mut bytes) => {
                let Ok(count @ 1..) = count else { return };
                held.extend_from_slice(&bytes[..count]);
                shared.said.fetch_add(count as u64, Ordering::SeqCst);
            }
            _ = mode.changed() => {}
        }
    }
}

/// Whether it goes on.
async fn pass(held: &mut Vec<u8>, to: &mut OwnedWriteHalf, shared: &Shared) -> bool {
    if let Some((from, instead)) = &*shared.lie.borrow()
        && let Some(place) = held.windows(from.len()).position(|some| some == from)
    {
        held.splice(place..place + from.len(), instead.iter().copied());
    }
    let left = shared.until_cut.load(Ordering::SeqCst);
    if left >= 0 {
        let passed = held.len().min(usize::try_from(left).expect("not negative"));
        let _ = to.write_all(&held[..passed]).await;
        if passed < held.len() {
            shared.until_cut.store(-1, Ordering::SeqCst);
            return false;
        }
        shared.until_cut.fetch_sub(passed as i64, Ordering::SeqCst);
    } else if *shared.mode.borrow() == Mode::Trickle {
        for byte in held.iter() {
            if to.write_all(&[*byte]).await.is_err() {
                return false;
            }
            tokio::task::yield_now().await;
        }
    } else if to.write_all(held).await.is_err() {
        return false;
    }
    held.clear();
    true
}
