//! One connection to the server, which also brings what was changed. It begins, and ends for good: what comes after it is another one.
//!
//! # Why the order of the wire is kept
//!
//! All that is asked goes over the one connection that is tracked, and one task of redis-rs' reads it. For each message, in their order,
//! that task does one of two things before it reads the next (redis-rs 1.8, `aio/multiplexed_connection.rs`, `PipelineSink::send_result`):
//! it calls the push sender, or it hands an answer to whoever waits for it. The push sender here is not a channel, whose receiver would
//! run at some later time, but a function that makes the entry go before it returns. So whoever has an answer sees
//! what all invalidations before it did, and an entry that was filled from an answer is made to go by any invalidation behind it: if that is handled before
//! the fill is stored, the core does not store it ("a removal during a load wins").
//!
//! Knows no entries but through `hear`, and no lease.

use crate::error::{Error, is_denial};
use crate::lease::LinkNumber;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, Value,
};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// What the server is told to send.
#[derive(Clone, Debug)]
pub(crate) enum Tracking {
    /// All that changes under a prefix.
    Broadcast(Box<[u8]>),
    /// What changes of the keys that were asked for.
    OptIn,
}

impl Tracking {
    /// What the keys begin with in Redis.
    pub(crate) fn prefix(&self) -> &[u8] {
        match self {
            Self::Broadcast(prefix) => prefix,
            Self::OptIn => &[],
        }
    }

    /// The first commands on a connection: the one that asks for changes to be reported, and each other command that is needed besides GET,
    /// once, to see whether this user may send it. CACHING is for the next command: here that is the PING, so no key is tracked.
    fn beginning(&self) -> Pipeline {
        let mut all = Pipeline::new();
        let tracking = all.cmd("CLIENT").arg("TRACKING").arg("ON");
        match self {
            Self::Broadcast(prefix) if prefix.is_empty() => tracking.arg("BCAST"),
            Self::Broadcast(prefix) => tracking.arg("BCAST").arg("PREFIX").arg(&**prefix),
            Self::OptIn => tracking.arg("OPTIN").cmd("CLIENT").arg("CACHING").arg("YES"),
        };
        all.cmd("PING").cmd("PTTL").arg(self.prefix());
        all
    }

    /// Why changes are not told, or nothing could be kept: the first of the answers to [`beginning`](Self::beginning) that says so.
    fn refusal(&self, answers: Vec<Value>) -> Option<RedisError> {
        let asking = if matches!(self, Self::OptIn) { 2 } else { 1 };
        answers.into_iter().enumerate().find_map(|(place, answer)| match answer {
            // The others may be answered with an error of another kind, that will pass, or is about the key alone.
            Value::ServerError(answer) if place < asking || is_denial(&answer) => Some(answer.into()),
            _ => None,
        })
    }
}

/// What the server said of a key.
pub(crate) struct Said {
    pub(crate) value: Result<Option<Vec<u8>>, Error>,
    /// How long it lives there, from when that was asked on. `None`: for ever.
    pub(crate) left: Option<Duration>,
    /// Whether we are told when it changes, and it was there when its time was asked for.
    pub(crate) is_tracked: bool,
}

#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) number: LinkNumber,
    connection: MultiplexedConnection,
    tracking: Tracking,
    /// Whether the server agreed to tell us of changes, and lets us send what it takes; if not, why.
    refusal: Option<RedisError>,
    is_over: watch::Receiver<bool>,
}

impl Link {
    /// Connects, asks to be told of changes, and tries what else it takes. A refusal of that is no error here.
    pub(crate) async fn open(
        client: &Client,
        tracking: &Tracking,
        (number, patience): (LinkNumber, Duration),
        hear: impl Fn(LinkNumber, &PushInfo) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let (over, is_over) = watch::channel(false);
        let heard = move |push: PushInfo| {
            hear(number, &push);
            if push.kind == PushKind::Disconnection {
                over.send_replace(true);
            }
            Ok::<(), ()>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_push_sender(heard)
            .set_response_timeout(None)
            .set_connection_timeout(Some(patience));
        let open = async {
            let mut connection =
                client.get_multiplexed_async_connection_with_config(&config).await.map_err(refused_resp3)?;
            // Before anything is read over it, or else that would not be tracked.
            let beginning = tracking.beginning();
            let answers = connection.send_packed_commands(&beginning, 0, beginning.len()).await?;
            let refusal = tracking.refusal(answers);
            Ok(Self { number, connection, tracking: tracking.clone(), refusal, is_over })
        };
        within(patience, open).await
    }

    /// Why the server does not tell us of changes, or does not let us keep anything, if that is so.
    pub(crate) fn refusal(&self) -> Option<&RedisError> {
        self.refusal.as_ref()
    }

    /// Returns once the connection is over.
    pub(crate) async fn over(&self) {
        // If nobody can say so any more, it is.
        let _ = self.is_over.clone().wait_for(|is_over| *is_over).await;
    }

    /// Waits for the server to answer a PING. If it answers with an error, that is returned.
    pub(crate) async fn ping(&self) -> Result<Option<Error>, RedisError> {
        let answer = self.connection.clone().send_packed_command(&redis::cmd("PING")).await?;
        Ok(match answer {
            Value::ServerError(answer) if is_denial(&answer) => {
                Some(Error::Refused { answer: answer.into() })
            }
            Value::ServerError(answer) => Some(Error::of_answer(answer)),
            _ => None,
        })
    }

    /// Asks for the values of keys, and how long they live, in one pipeline.
    pub(crate) async fn read(
        &self,
        keys: &[impl AsRef<[u8]>],
        is_to_keep: bool,
    ) -> Result<Vec<Said>, RedisError> {
        let is_asking = is_to_keep && matches!(self.tracking, Tracking::OptIn);
        let mut pipeline = Pipeline::with_capacity(keys.len() * 3);
        for key in keys {
            let name = [self.tracking.prefix(), key.as_ref()].concat();
            if is_asking {
                // Of the next command alone.
                pipeline.cmd("CLIENT").arg("CACHING").arg("YES");
            }
            pipeline.cmd("GET").arg(&name);
            // Behind the value. If another value comes between the two, so does its invalidation, before this answer.
            pipeline.cmd("PTTL").arg(&name);
        }
        let each = if is_asking { 3 } else { 2 };
        let mut answers =
            self.connection.clone().send_packed_commands(&pipeline, 0, keys.len() * each).await?.into_iter();
        let is_tracked = is_to_keep && self.refusal.is_none();
        Ok(keys.iter().map(|_| said(&mut answers, is_asking, is_tracked)).collect())
    }

    /// Sends a command, and returns its answer.
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, Error> {
        match self.connection.clone().send_packed_command(command).await? {
            Value::ServerError(answer) => Err(Error::of_answer(answer)),
            value => Ok(value),
        }
    }
}

/// The next answers, which are one key's.
fn said(answers: &mut impl Iterator<Item = Value>, is_asking: bool, is_tracked: bool) -> Said {
    let mut next = || answers.next().unwrap_or(Value::Nil);
    // Refused, the value is not followed.
    let is_followed = !is_asking || matches!(next(), Value::Okay);
    let value = match next() {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        Value::ServerError(answer) => Err(Error::of_answer(answer)),
        other => Err(Error::Redis(unexpected(&other))),
    };
    let is_there = matches!(value, Ok(Some(_)));
    let (left, is_sure) = match next() {
        Value::Int(-1) => (None, true),
        // It has ended between the two; or there was none.
        Value::Int(-2) => (None, !is_there),
        Value::Int(left) => (Some(Duration::from_millis(u64::try_from(left).unwrap_or(0))), is_there),
        _ => (None, false),
    };
    Said { value, left, is_tracked: is_tracked && is_followed && is_sure }
}

fn unexpected(answer: &Value) -> RedisError {
    let shown = format!("{answer:?}").chars().take(80).collect();
    (redis::ErrorKind::UnexpectedReturnType, "neither a string nor nothing", shown).into()
}

/// A server that does not know RESP3 answers `HELLO` with an error.
fn refused_resp3(error: RedisError) -> Error {
    use redis::ErrorKind::{InvalidClientConfig, Server};
    match error.kind() {
        InvalidClientConfig => Error::Refused { answer: error },
        Server(_) if error.to_string().contains("HELLO") => Error::Refused { answer: error },
        _ => error.into(),
    }
}

/// The same client, with RESP3.
pub(crate) fn with_resp3(client: &Client) -> Result<Client, Error> {
    let info = client.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(Client::open(info.set_redis_settings(settings))?)
}

/// A command that did not come to an answer in time.
pub(crate) async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(patience, answer).await.unwrap_or(Err(Error::TimedOut { after: patience }))
}
