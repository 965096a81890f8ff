//! Why a snapshot could not be written, or read back.
//!
//! Knows of no library: what encoding and decoding say comes as a source.

use std::error::Error;
use std::fmt;
use std::io;

/// A part of an entry that is encoded by itself. Its `Display` is `key` or `value`.
///
/// ```
/// use tidewheel::SnapshotPart;
/// assert_eq!(SnapshotPart::Key.to_string(), "key");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SnapshotPart {
    /// The key.
    Key,
    /// The value; of a session, its data.
    Value,
}

impl fmt::Display for SnapshotPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// Why a snapshot could not be written. The cache is unchanged. What the writer has got is not a snapshot.
///
/// ```
/// use tidewheel::{Cache, SnapshotError};
/// let cache = Cache::new(10);
/// cache.insert(1, "one".to_string());
/// let mut room = [0u8; 20];
/// let error = cache.snapshot(&mut room[..]).unwrap_err();
/// assert!(matches!(error, SnapshotError::Write(_)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The writer failed.
    Write(io::Error),
    /// A key or a value could not be serialized.
    #[non_exhaustive]
    Serialize {
        /// Which of the two.
        part: SnapshotPart,
        /// What it said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An entry is longer than a snapshot can hold.
    #[non_exhaustive]
    TooLarge {
        /// What it comes to, in bytes.
        bytes: u64,
        /// What is allowed.
        most: u64,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(_) => f.write_str("the snapshot could not be written"),
            Self::Serialize { part, .. } => write!(f, "a {part} could not be serialized"),
            Self::TooLarge { bytes, most } => {
                write!(f, "an entry comes to {bytes} bytes; at most {most} are allowed")
            }
        }
    }
}

impl Error for SnapshotError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Write(source) => Some(source),
            Self::Serialize { source, .. } => Some(&**source),
            Self::TooLarge { .. } => None,
        }
    }
}

/// Why a snapshot could not be restored. Nothing was changed.
///
/// A position (`at`) is a number of bytes, counted from where the reader stood at first.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::{Cache, RestoreError};
/// let cache: Cache<u64, String> = Cache::new(10);
/// let error = cache.restore(&b"a letter, and no snapshot"[..], Duration::ZERO).unwrap_err();
/// assert!(matches!(error, RestoreError::NotASnapshot));
/// let error = cache.restore(&b""[..], Duration::ZERO).unwrap_err();
/// assert!(matches!(error, RestoreError::Truncated { at: 0, .. }));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The reader failed.
    Read(io::Error),
    /// It does not begin as a snapshot does.
    NotASnapshot,
    /// It has a version of the format that this version of the crate does not know: a newer one wrote it.
    #[non_exhaustive]
    Version {
        /// The version that was found.
        found: u32,
        /// The one that is known.
        known: u32,
    },
    /// It ends in the middle.
    #[non_exhaustive]
    Truncated {
        /// The byte where the part begins that is not all there.
        at: u64,
    },
    /// It is not what was written.
    #[non_exhaustive]
    Corrupt {
        /// The byte where the part begins that is wrong.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A key or a value is intact, but could not be deserialized: its type may have changed.
    #[non_exhaustive]
    Deserialize {
        /// Which of the two.
        part: SnapshotPart,
        /// The byte where its entry begins.
        at: u64,
        /// The error. It may quote what was read, but never does when sessions are restored:
        /// [`SessionManager::restore`](crate::SessionManager::restore).
        source: Box<dyn Error + Send + Sync>,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(_) => f.write_str("the snapshot could not be read"),
            Self::NotASnapshot => f.write_str("it does not begin as a snapshot does"),
            Self::Version { found, known } => {
                write!(f, "the snapshot has the format's version {found}; {known} is known")
            }
            Self::Truncated { at } => write!(f, "the snapshot ends in the part that begins at byte {at}"),
            Self::Corrupt { at, what } => write!(f, "the snapshot is corrupt at byte {at}: {what}"),
            Self::Deserialize { part, at, .. } => {
                write!(f, "the {part} of the entry at byte {at} could not be deserialized")
            }
        }
    }
}

impl Error for RestoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(source) => Some(source),
            Self::Deserialize { source, .. } => Some(&**source),
            Self::NotASnapshot | Self::Version { .. } | Self::Truncated { .. } | Self::Corrupt { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_was_wrong_and_leaves_its_source_to_the_source() {
        let source = || Box::<dyn Error + Send + Sync>::from("the source");
        let part = SnapshotPart::Value;
        let written = [
            (SnapshotError::Write(io::Error::other("the source")), "the snapshot could not be written"),
            (SnapshotError::Serialize { part, source: source() }, "a value could not be serialized"),
            (
                SnapshotError::TooLarge { bytes: 7, most: 5 },
                "an entry comes to 7 bytes; at most 5 are allowed",
            ),
        ];
        for (error, text) in written {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.source().is_some(), !matches!(error, SnapshotError::TooLarge { .. }));
        }
        let part = SnapshotPart::Key;
        let read = [
            (RestoreError::Read(io::Error::other("the source")), "the snapshot could not be read"),
            (RestoreError::NotASnapshot, "it does not begin as a snapshot does"),
            (
                RestoreError::Version { found: 2, known: 1 },
                "the snapshot has the format's version 2; 1 is known",
            ),
            (RestoreError::Truncated { at: 5 }, "the snapshot ends in the part that begins at byte 5"),
            (
                RestoreError::Corrupt { at: 5, what: "it is odd" },
                "the snapshot is corrupt at byte 5: it is odd",
            ),
            (
                RestoreError::Deserialize { part, at: 5, source: source() },
                "the key of the entry at byte 5 could not be deserialized",
            ),
        ];
        for (error, text) in read {
            assert_eq!(error.to_string(), text);
            let has_source = matches!(error, RestoreError::Read(_) | RestoreError::Deserialize { .. });
            assert_eq!(error.source().map(ToString::to_string), has_source.then(|| "the source".to_string()));
        }
    }
}
