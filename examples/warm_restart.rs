//! A cache that is warm again after a restart: written to a file when the program ends, read back when it starts.
//!
//! Run it twice: the second run finds the pages of the first, with the time that they have left by then.
//!
//! ```sh
//! cargo run --release --features serde --example warm_restart [file]
//! ```

use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidewheel::{Cache, RestoreError};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Page {
    title: String,
    visits: u32,
}

type Pages = Cache<String, Page>;

/// A reader of the file sees the old snapshot or the new one, never half of one, even if the power fails.
fn save(cache: &Pages, path: &Path) -> Result<u64, Box<dyn Error>> {
    let beside = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&beside)?);
    let count = cache.snapshot(&mut file)?;
    file.flush()?;
    // On the disk, before the name says so.
    file.get_ref().sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path)?;
    Ok(count)
}

/// The new name is on the disk only when the folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// How long ago the file was written. Zero if that is not known, as when the wall clock was set back since then.
fn away(file: &File) -> Duration {
    let written = file.metadata().and_then(|metadata| metadata.modified());
    written.ok().and_then(|written| written.elapsed().ok()).unwrap_or_default()
}

/// A cache can do without its old content: whatever is wrong with the file, the program starts, with a cold cache.
fn load(cache: &Pages, path: &Path) -> String {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return "there is no snapshot yet".into(),
        Err(error) => return format!("the snapshot cannot be opened: {error}"),
    };
    let away = away(&file);
    match cache.restore(BufReader::new(file), away) {
        Ok(count) => format!("{count} pages came back"),
        Err(RestoreError::Version { found, .. }) => format!("the snapshot is of version {found}, too new"),
        Err(error) => format!("starting cold: {}", in_full(&error)),
    }
}

/// An error, and what is behind it.
fn in_full(error: &dyn Error) -> String {
    let all = std::iter::successors(Some(error), |&error| error.source());
    all.map(|error| error.to_string()).collect::<Vec<_>>().join(": ")
}

fn main() -> Result<(), Box<dyn Error>> {
    let path =
        std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("pages.tide"), PathBuf::from);
    let pages: Pages = Cache::builder().max_capacity(1_000).time_to_live(Duration::from_secs(300)).build()?;
    println!("{}: {}", path.display(), load(&pages, &path));

    for title in ["tides", "wheels", "clocks"] {
        let page = pages.entry(title.to_string()).and_upsert_with(|old| match old {
            Some(old) => Page { visits: old.value().visits + 1, ..old.into_value() },
            None => Page { title: title.to_uppercase(), visits: 1 },
        });
        println!("{:?}", page.into_value());
    }
    println!("{} pages written", save(&pages, &path)?);

    // What is not a whole snapshot changes nothing.
    let bytes = fs::read(&path)?;
    let error =
        pages.restore(&bytes[..bytes.len() - 1], Duration::ZERO).expect_err("a file that was cut off");
    println!("of a file that was cut off: {error}");
    assert_eq!(pages.entry_count(), 3);
    Ok(())
}
