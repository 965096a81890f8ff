//! How values are written into Redis and read again. Knows no connection and no cache.

use std::error::Error as StdError;

/// Why a value could not be written or read.
pub type CodecError = Box<dyn StdError + Send + Sync>;

/// Writes values into bytes, and reads them again: [`Json`], [`MessagePack`], or one of your own.
///
/// It is called once for each fill and each write, never for a hit.
///
/// ```
/// use tidewheel_redis::{Codec, CodecError};
///
/// /// A number as Redis' own `INCR` writes it.
/// struct Decimal;
///
/// impl Codec<i64> for Decimal {
///     fn encode(&self, value: &i64) -> Result<Vec<u8>, CodecError> {
///         Ok(value.to_string().into_bytes())
///     }
///     fn decode(&self, bytes: &[u8]) -> Result<i64, CodecError> {
///         Ok(std::str::from_utf8(bytes)?.parse()?)
///     }
/// }
/// assert_eq!(Decimal.decode(b"42").unwrap(), 42);
/// ```
pub trait Codec<V>: Send + Sync + 'static {
    /// The bytes of a value.
    ///
    /// # Errors
    ///
    /// If the value cannot be written: [`Error::Encode`](crate::Error::Encode) then, and nothing is sent.
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError>;

    /// The value that some bytes are.
    ///
    /// # Errors
    ///
    /// If they are none: [`Error::Decode`](crate::Error::Decode) then, which names the key, and nothing is kept.
    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError>;
}

/// Values as JSON.
///
/// ```
/// use tidewheel_redis::{Codec, Json};
/// assert_eq!(Json.encode(&[1, 2]).unwrap(), b"[1,2]");
/// ```
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

#[cfg(feature = "json")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for Json {
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// Values as MessagePack, structs with the names of their fields, so that fields may be added. Bytes whose lengths promise more than they
/// hold are refused before memory is had for that.
///
/// ```
/// use tidewheel_redis::{Codec, MessagePack};
/// let bytes = MessagePack.encode(&"seven".to_string()).unwrap();
/// assert_eq!(bytes, b"\xa5seven");
/// ```
#[cfg(feature = "message-pack")]
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

#[cfg(feature = "message-pack")]
impl<V: serde::Serialize + serde::de::DeserializeOwned> Codec<V> for MessagePack {
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        Ok(rmp_serde::to_vec_named(value)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        if !crate::lengths::begins_with_a_value(bytes) {
            return Err("a length in it is more than what follows".into());
        }
        Ok(rmp_serde::from_slice(bytes)?)
    }
}
