//! What can go wrong, and what was wrong with it. Knows nothing of how it came about.

use redis::{RedisError, ServerError, ServerErrorKind};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What went wrong. It can be cloned, since all calls that wait for one answer get the same error.
///
/// A text leaves out what its `source` says. [`Redis`](Self::Redis) and [`Load`](Self::Load) are nothing but
/// another error: their text and source are that error's own.
///
/// ```
/// use tidewheel_redis::{Error, redis};
/// let error = Error::from(redis::Client::open("no address").unwrap_err());
/// assert!(matches!(error, Error::Redis(_)));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting of the builder is missing or not allowed; or the system did not give what the local cache needs (random keys, a thread).
    #[non_exhaustive]
    Settings {
        /// What was wrong, and what is allowed.
        what: String,
    },
    /// The server cannot report its changes: it has no RESP3, or no `CLIENT TRACKING`. Or this user may not use that, or may not send
    /// another command that a near cache needs.
    #[non_exhaustive]
    Refused {
        /// What it said.
        answer: RedisError,
    },
    /// There is no telling how old local entries are, and the near cache was built to fail then ([`CutOff::Fail`](crate::CutOff::Fail)); or there
    /// is no connection at all.
    #[non_exhaustive]
    CutOff {
        /// Why, if that is known.
        cause: Option<Box<Error>>,
    },
    /// The server did not answer in time. What was to be written may have been written.
    #[non_exhaustive]
    TimedOut {
        /// How long it was given ([`patience`](crate::NearCacheBuilder::patience)).
        after: Duration,
    },
    /// The server is a part of a cluster, and sends us to another one. Clusters are not served yet.
    #[non_exhaustive]
    Cluster {
        /// What it said.
        answer: String,
    },
    /// The server answered with an error, or the connection broke.
    Redis(RedisError),
    /// The bytes of a key are no value. They are not kept.
    #[non_exhaustive]
    Decode {
        /// The key, as Redis knows it.
        key: Vec<u8>,
        /// What the codec said.
        cause: Arc<dyn StdError + Send + Sync>,
    },
    /// A value could not be written as bytes. Nothing was sent.
    #[non_exhaustive]
    Encode {
        /// The key, as Redis knows it.
        key: Vec<u8>,
        /// What the codec said.
        cause: Arc<dyn StdError + Send + Sync>,
    },
    /// A time to live that Redis cannot keep. Nothing was sent.
    #[non_exhaustive]
    TimeToLive {
        /// The time that was asked for. At least one millisecond is allowed.
        ttl: Duration,
    },
    /// The loader failed, of this call or of the one that it waited for.
    Load(Arc<dyn StdError + Send + Sync>),
}

impl Error {
    /// Of an answer by the server.
    pub(crate) fn of_answer(answer: ServerError) -> Self {
        use ServerErrorKind::{Ask, ClusterDown, CrossSlot, Moved};
        match answer.kind() {
            Some(Moved | Ask | ClusterDown | CrossSlot) => Self::Cluster { answer: answer.to_string() },
            _ => Self::Redis(answer.into()),
        }
    }
}

/// Whether an answer says that a command does not exist, or that this user may not send it at all. That he may not read a key is another
/// matter, which Redis tells with the same code.
pub(crate) fn is_denial(answer: &ServerError) -> bool {
    let details = answer.details().unwrap_or_default();
    match answer.kind() {
        Some(ServerErrorKind::NoPerm) => details.contains("to run the"),
        Some(ServerErrorKind::ResponseError) => details.starts_with("unknown command"),
        _ => false,
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        match ServerError::try_from(error) {
            Ok(answer) => Self::of_answer(answer),
            Err(error) => Self::Redis(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings { what } => write!(f, "{what}"),
            Self::Refused { .. } => {
                f.write_str("the server lets us not follow its changes (RESP3, CLIENT TRACKING, PING, PTTL)")
            }
            Self::CutOff { .. } => f.write_str("cut off from the server"),
            Self::TimedOut { after } => write!(f, "the server did not answer within {after:?}"),
            Self::Cluster { answer } => {
                write!(f, "the server is a part of a cluster, and clusters are not served yet: {answer}")
            }
            Self::Redis(error) => error.fmt(f),
            Self::Decode { key, .. } => write!(f, "the value of the key {} does not decode", shown(key)),
            Self::Encode { key, .. } => write!(f, "the value for the key {} does not encode", shown(key)),
            Self::TimeToLive { ttl } => {
                write!(f, "a time to live of {ttl:?}, where a millisecond is the least")
            }
            Self::Load(cause) => cause.fmt(f),
        }
    }
}

fn shown(key: &[u8]) -> String {
    format!("\"{}\"", key.escape_ascii())
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Refused { answer } => Some(answer),
            Self::CutOff { cause } => cause.as_ref().map(|cause| &**cause as _),
            Self::Redis(error) => error.source(),
            Self::Decode { cause, .. } | Self::Encode { cause, .. } => Some(&**cause),
            Self::Load(cause) => cause.source(),
            Self::Settings { .. }
            | Self::TimedOut { .. }
            | Self::Cluster { .. }
            | Self::TimeToLive { .. } => None,
        }
    }
}
