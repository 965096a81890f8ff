//! A bug: where it is planted, what is put there, and which models have to find it.

use crate::quote;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) struct Bug {
    pub(crate) name: String,
    /// Where it is planted; or why it cannot be planted.
    pub(crate) place: Result<Place, String>,
    /// The models that have to fail, as tests are called: the file, and the model in it.
    pub(crate) models: Vec<String>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) replacement: String,
}

/// A piece of a source file.
#[derive(Clone)]
pub(crate) struct Place {
    /// As in `src/table/mod.rs`.
    pub(crate) file: String,
    pub(crate) range: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Slots,
    Epoch,
    /// Not loom at all: the storms in `shuttle/`.
    Shuttle,
}

/// A file of the crate.
pub(crate) struct Source {
    /// As in `src/table/mod.rs`.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// All files in `src/`.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let source = |path: PathBuf| {
        let name = path.strip_prefix(root).expect("it lies under it").to_string_lossy().into_owned();
        Source { name, text: fs::read_to_string(&path).expect("a source can be read") }
    };
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files_under(&root.join("src")).into_iter().filter(is_rust).map(source).collect()
}

/// The bugs in `planted/`.
pub(crate) fn read_all(package: &Path, sources: &[Source]) -> Vec<Bug> {
    let is_bug = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "bug");
    let mut paths: Vec<_> = files_under(&package.join("planted")).into_iter().filter(is_bug).collect();
    paths.sort();
    paths.iter().map(|path| read(path, sources)).collect()
}

fn read(path: &Path, sources: &[Source]) -> Bug {
    let whole = fs::read_to_string(path).expect("a bug can be read");
    let complain = |what: &str| -> ! { panic!("{}: {what}", path.display()) };
    let Some((head, rest)) = whole.split_once("---- text\n") else { complain("no `---- text`") };
    let Some((text, replacement)) = rest.split_once("---- bug\n") else { complain("no `---- bug`") };
    let lines = |key: &'static str| head.lines().filter_map(move |line| line.strip_prefix(key));
    let models = lines("model: ").map(str::to_owned);
    let kinds = lines("with: ").map(|kind| match kind {
        "slots" => Kind::Slots,
        "epoch" => Kind::Epoch,
        "shuttle" => Kind::Shuttle,
        _ => complain("`with` is slots, epoch or shuttle"),
    });
    let bug = Bug {
        name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
        place: find(text, sources),
        models: models.collect(),
        kinds: kinds.collect(),
        replacement: replacement.to_owned(),
    };
    if bug.models.is_empty() || bug.kinds.is_empty() || text == replacement {
        complain("a bug needs a model, a kind, and a difference");
    }
    bug
}

/// The one place where this text stands, white space aside.
fn find(text: &str, sources: &[Source]) -> Result<Place, String> {
    let places = |source: &Source| {
        let file = source.name.clone();
        let place = move |range| Place { file: file.clone(), range };
        quote::Source::new(&source.text).places(text).into_iter().map(place).collect::<Vec<_>>()
    };
    let mut found: Vec<_> = sources.iter().flat_map(places).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        times => Err(format!("its text is there {times} times, not once")),
    }
}

pub(crate) fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files
}
