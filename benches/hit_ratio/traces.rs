//! Traces read from a directory: `NAME.u64.zst`, or `NAME.u64` as it is, little-endian keys, one for each access. If
//! there is `NAME.weights.u32.zst` or `NAME.weights.u32`, it has a weight for each key, by the keys' order of first
//! appearance.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

/// A trace, its keys numbered by their first appearance.
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) keys: Vec<u32>,
    pub(crate) unique: usize,
    /// By key.
    pub(crate) weights: Option<Vec<u32>>,
}

impl Trace {
    pub(crate) fn new(name: String, keys: Vec<u64>, weights: Option<Vec<u32>>) -> Self {
        let mut numbers = HashMap::new();
        let keys = keys.into_iter().map(|key| {
            let next = numbers.len() as u32;
            *numbers.entry(key).or_insert(next)
        });
        let keys = keys.collect();
        Self { name, keys, unique: numbers.len(), weights }
    }

    /// What comes before the first `_`.
    pub(crate) fn group(&self) -> &str {
        self.name.split('_').next().unwrap_or(&self.name)
    }
}

/// The traces in a directory, by name.
pub(crate) fn in_directory(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)
        .map_err(|error| Error::new(error.kind(), format!("{}: {error}", directory.display())))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(".u64.zst") || name.ends_with(".u64") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        let message = format!("{} has no trace: a file named NAME.u64 or NAME.u64.zst", directory.display());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    paths.sort();
    Ok(paths)
}

/// A trace's name, by its path.
pub(crate) fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.trim_end_matches(".zst").trim_end_matches(".u64").to_string()
}

/// The trace at a path.
pub(crate) fn read(path: &Path) -> Result<Trace> {
    let name = name_of(path);
    let keys = words(path)?.into_iter().map(u64::from_le_bytes).collect();
    let beside = |end: &str| path.with_file_name(format!("{name}.weights.u32{end}"));
    let weights = ["", ".zst"].map(beside).into_iter().find(|path| path.exists());
    let weights = weights.map(|path| words(&path)).transpose()?;
    let weights = weights.map(|words| words.into_iter().map(u32::from_le_bytes).collect::<Vec<_>>());
    let trace = Trace::new(name, keys, weights);
    match &trace.weights {
        Some(weights) if weights.len() != trace.unique => {
            let message = format!("{}: {} weights for {} keys", trace.name, weights.len(), trace.unique);
            Err(Error::new(ErrorKind::InvalidData, message))
        }
        _ => Ok(trace),
    }
}

/// A file as words of so many bytes.
fn words<const BYTES: usize>(path: &Path) -> Result<Vec<[u8; BYTES]>> {
    let bad = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    };
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    if path.extension().is_some_and(|extension| extension == "zst") {
        let mut decoder = ruzstd::StreamingDecoder::new(file).map_err(|error| bad(&error))?;
        decoder.read_to_end(&mut bytes).map_err(|error| bad(&error))?;
    } else {
        file.read_to_end(&mut bytes)?;
    }
    let words = bytes.chunks_exact(BYTES);
    if !words.remainder().is_empty() {
        return Err(bad(&format!("its length is no multiple of {BYTES} bytes")));
    }
    let words = words.map(|word| word.try_into().expect("chunks are of as many bytes"));
    Ok(words.collect())
}
