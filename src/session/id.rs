//! The id of a session: 128 random bits, and the one text form that they have.
//!
//! Knows neither sessions nor the manager, and nothing here prints an id by accident.

use base64ct::{Base64UrlUnpadded, Encoding};
use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Fills a buffer from the operating system's generator; a test may pass one that does not answer.
pub(super) type RandomSource = fn(&mut [u8]) -> Result<(), getrandom::Error>;

#[cfg(tidewheel_loom)]
std::thread_local! {
    /// Loom's threads are coroutines of one thread.
    static LAST: std::cell::Cell<u8> = const { std::cell::Cell::new(0) };
}

/// Ids in a row, for models.
#[cfg(tidewheel_loom)]
pub(super) fn in_a_row(buffer: &mut [u8]) -> Result<(), getrandom::Error> {
    LAST.set(LAST.get().wrapping_add(1));
    buffer.fill(LAST.get());
    Ok(())
}

/// Each run of a model has the same ids.
#[cfg(tidewheel_loom)]
pub(super) fn begin_row() {
    LAST.set(0);
}

/// Bytes in an id.
const BYTES: usize = 16;
/// Characters in its text form.
const CHARACTERS: usize = 22;

/// The key to a session: 128 bits from the operating system's random generator.
///
/// Ids are minted by [`create`](crate::SessionManager::create),
/// [`rotate`](crate::SessionManager::rotate) and
/// [`rotate_with`](crate::SessionManager::rotate_with) alone. Parsing text gives an id to ask for;
/// it makes no session. Whoever holds an id holds the session, so it does not print itself: there
/// is no `Display`, and `Debug` shows `SessionId(..)`. To put it into a cookie, use
/// [`encode`](Self::encode); to read it back, `parse` (`FromStr`).
///
/// # Timing
///
/// `==` is the ordinary comparison, and tells an attacker nothing. To learn an id from response
/// times, one needs answers that depend on how much of a guess is right. A look-up gives none. The
/// guess is first hashed with keys drawn for this cache, and only a stored id whose hash agrees in
/// shard, bucket and tag is compared at all. A guess that shares a hundred bits with a live id
/// lands as far from it as any other guess. Where a comparison does happen, it takes all 16 bytes
/// at once and not byte by byte. What remains is guessing 128 bits outright.
///
/// ```
/// use tidewheel::{SessionId, SessionManager};
///
/// let sessions = SessionManager::new();
/// let id = sessions.create("data")?;
/// let cookie = id.encode();
/// assert_eq!(cookie.len(), 22);
/// assert_eq!(cookie.parse::<SessionId>()?, id);
/// assert_eq!(format!("{id:?}"), "SessionId(..)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot be printed by accident:
///
/// ```compile_fail,E0277
/// # let id = tidewheel::SessionManager::new().create(()).unwrap();
/// println!("{id}");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionId([u8; BYTES]);

impl SessionId {
    /// A fresh id.
    pub(super) fn mint(random: RandomSource) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; BYTES];
        random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The id as text: 22 characters of base64url (`A` to `Z`, `a` to `z`, `0` to `9`, `-`, `_`)
    /// without padding, safe in cookies, URLs and headers as it stands.
    ///
    /// The text is the secret itself: it belongs to the session's owner, and in no log.
    ///
    /// ```
    /// # let sessions = tidewheel::SessionManager::new();
    /// let id = sessions.create(())?;
    /// let header = format!("Set-Cookie: sid={}; Path=/; HttpOnly; Secure; SameSite=Lax", id.encode());
    /// # assert_eq!(header.len(), 16 + 22 + 40);
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    #[must_use]
    pub fn encode(&self) -> String {
        let mut buffer = [0; CHARACTERS];
        Base64UrlUnpadded::encode(&self.0, &mut buffer)
            .expect("22 characters hold the base64 of 16 bytes")
            .to_owned()
    }
}

impl Hash for SessionId {
    /// One word instead of a slice with its length: every look-up pays for it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.0));
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

impl FromStr for SessionId {
    type Err = ParseSessionIdError;

    /// Reads what [`encode`](Self::encode) wrote, and nothing else: an id has one text form.
    ///
    /// # Errors
    ///
    /// [`ParseSessionIdError`] says what is wrong. Text of any length and content is safe to pass
    /// in; too long a text is refused unread.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        if bytes.len() != CHARACTERS {
            return Err(ParseSessionIdError::Length { given: bytes.len() });
        }
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if let Some(at) = bytes.iter().position(|byte| !allowed(byte)) {
            return Err(ParseSessionIdError::Alphabet { at });
        }
        let mut id = [0; BYTES];
        // Length and alphabet are right, so what the decoder can still refuse are unused bits that
        // are not zero.
        Base64UrlUnpadded::decode(bytes, &mut id).map_err(|_| ParseSessionIdError::NotCanonical)?;
        Ok(Self(id))
    }
}

/// With the feature `serde`: as its text where people read the format (JSON), else as its 16 bytes.
/// Whoever gets them holds the session.
#[cfg(feature = "serde")]
impl serde::Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.encode())
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

/// With the feature `serde`: reads what `Serialize` wrote, and no other form of it. Like parsing,
/// it gives an id to ask for; it makes no session.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for SessionId {
    fn deserialize<T: serde::Deserializer<'de>>(deserializer: T) -> Result<Self, T::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(IdVisitor { reads_text: true })
        } else {
            deserializer.deserialize_bytes(IdVisitor { reads_text: false })
        }
    }
}

/// Reads the text if `reads_text`, else the bytes. An error says what is wrong, and quotes nothing.
#[cfg(feature = "serde")]
struct IdVisitor {
    reads_text: bool,
}

#[cfg(feature = "serde")]
impl serde::de::Visitor<'_> for IdVisitor {
    type Value = SessionId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reads_text {
            write!(f, "a session id of {CHARACTERS} characters")
        } else {
            write!(f, "a session id of {BYTES} bytes")
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SessionId, E> {
        if !self.reads_text {
            return Err(E::invalid_type(serde::de::Unexpected::Other("a text"), &self));
        }
        text.parse().map_err(E::custom)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<SessionId, E> {
        if self.reads_text {
            return Err(E::invalid_type(serde::de::Unexpected::Other("bytes"), &self));
        }
        bytes.try_into().map(SessionId).map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

/// Why a text is no session id. Carries nothing of the text.
///
/// ```
/// use tidewheel::{ParseSessionIdError, SessionId};
///
/// let error = "too short".parse::<SessionId>().unwrap_err();
/// assert_eq!(error, ParseSessionIdError::Length { given: 9 });
/// assert_eq!(error.to_string(), "a session id of 9 bytes; 22 characters are allowed");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ParseSessionIdError {
    /// Not 22 characters long.
    Length {
        /// The length of the text in bytes.
        given: usize,
    },
    /// Holds something other than `A` to `Z`, `a` to `z`, `0` to `9`, `-` and `_`.
    Alphabet {
        /// Where the first such byte is, counted from 0.
        at: usize,
    },
    /// Spells an id in another way than [`SessionId::encode`] does. 22 characters hold 132 bits,
    /// and the four that are left over, at the end, must be zero: the last character is one of `A`,
    /// `Q`, `g` and `w`.
    NotCanonical,
}

impl fmt::Display for ParseSessionIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { given } => {
                write!(f, "a session id of {given} bytes; {CHARACTERS} characters are allowed")
            }
            Self::Alphabet { at } => {
                write!(f, "byte {at} of the session id is none of A to Z, a to z, 0 to 9, - and _")
            }
            Self::NotCanonical => {
                f.write_str("the session id's last character has unused bits set; A, Q, g and w are allowed")
            }
        }
    }
}

impl Error for ParseSessionIdError {}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    fn counting(buffer: &mut [u8]) -> Result<(), getrandom::Error> {
        for (value, byte) in (0..).zip(buffer) {
            *byte = value;
        }
        Ok(())
    }

    #[test]
    fn the_text_form_is_the_standard_one() {
        let id = SessionId::mint(counting).unwrap();
        assert_eq!(id.encode(), "AAECAwQFBgcICQoLDA0ODw");
        assert_eq!("AAECAwQFBgcICQoLDA0ODw".parse(), Ok(id));
        assert_eq!(SessionId([0xFF; BYTES]).encode(), "_____________________w");
        assert_eq!(SessionId([0xFB; BYTES]).encode(), "-_v7-_v7-_v7-_v7-_v7-w");
    }

    #[test]
    fn every_text_has_at_most_one_id_and_every_id_one_text() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut accepted = String::new();
        for &last in alphabet {
            let text = format!("AAECAwQFBgcICQoLDA0OD{}", char::from(last));
            match text.parse::<SessionId>() {
                Ok(id) => {
                    assert_eq!(id.encode(), text);
                    accepted.push(char::from(last));
                }
                Err(error) => assert_eq!(error, ParseSessionIdError::NotCanonical, "{text}"),
            }
        }
        assert_eq!(accepted, "AQgw");
    }

    #[test]
    fn every_byte_outside_the_alphabet_is_refused_wherever_it_stands() {
        for at in 0..CHARACTERS {
            for byte in 0..=127u8 {
                let mut text = *b"AAECAwQFBgcICQoLDA0ODw";
                text[at] = byte;
                let text = std::str::from_utf8(&text).unwrap();
                let allowed = char::from(byte).is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                match text.parse::<SessionId>() {
                    Err(ParseSessionIdError::Alphabet { at: found }) => {
                        assert!(!allowed && found == at, "{text}");
                    }
                    Err(ParseSessionIdError::NotCanonical) => {
                        assert!(allowed && at == CHARACTERS - 1, "{text}");
                    }
                    other => assert!(allowed && other.is_ok_and(|id| id.encode() == text), "{text}"),
                }
            }
        }
    }

    #[test]
    fn minting_uses_every_byte_and_passes_the_sources_error_on() {
        let ids: Vec<_> = (0..64).map(|_| SessionId::mint(getrandom::fill).unwrap()).collect();
        for place in 0..BYTES {
            assert!(ids.iter().any(|id| id.0[place] != ids[0].0[place]), "byte {place} never changes");
        }
        let error = SessionId::mint(|_| Err(getrandom::Error::UNSUPPORTED)).unwrap_err();
        assert_eq!(error, getrandom::Error::UNSUPPORTED);
    }
}
