//! Takes suites and examples out of the frameworks' published packages, as cargo has them here, so that none is copied into this
//! repository: actix-session keeps its acceptance suite to its own tests, and tower-sessions' tests and examples are no library.
//!
//! What is exchanged is the store, the address, and the name of the crate where two releases are in one program. Each exchange has to
//! happen as often as it says, or the build fails: a new release is to be looked at.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A text that takes another one's place, so many times.
struct Exchange {
    old: &'static str,
    new: &'static str,
    times: usize,
}

/// The examples of tower-sessions that need no database.
const EXAMPLES: [&str; 4] = ["counter", "counter-extractor", "signed", "strongly-typed"];

const IN_EXAMPLES: [Exchange; 4] = [
    Exchange { old: "MemoryStore, ", new: "", times: 1 },
    Exchange { old: "MemoryStore::default()", new: "crate::cases::store()", times: 1 },
    Exchange { old: "SocketAddr::from(([127, 0, 0, 1], 3000))", new: "crate::cases::address()", times: 1 },
    Exchange { old: "async fn main()", new: "pub async fn main()", times: 1 },
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let packages = packages();
    let actix = folder(&packages, "actix-session", "0.11.");
    write("acceptance.rs", &acceptance_suite(&actix.join("src/lib.rs")));
    for release in ["0.14", "0.15"] {
        let tower = folder(&packages, "tower-sessions", &format!("{release}."));
        let suite = read(&tower.join("tests/common/mod.rs"));
        write(&format!("routes-{release}.rs"), &of_release(suite, release));
        for example in EXAMPLES {
            let text = read(&tower.join("examples").join(example).with_extension("rs"));
            let text = IN_EXAMPLES.iter().fold(text, exchanged);
            write(&format!("{example}-{release}.rs"), &of_release(text, release));
        }
    }
}

/// The module of actix-session's library that only its own tests see, up to the end of the file.
fn acceptance_suite(library: &Path) -> String {
    let text = read(library);
    let mark = "pub mod test_helpers {";
    let (_, suite) = text.split_once(mark).unwrap_or_else(|| panic!("no '{mark}' in {}", library.display()));
    assert!(
        suite.contains("pub async fn acceptance_test_suite"),
        "no acceptance suite in {}",
        library.display()
    );
    format!("#[allow(warnings, clippy::all)]\n{mark}{suite}")
}

/// The crate's name, where it is not the one that comes by that name.
fn of_release(text: String, release: &str) -> String {
    if release == "0.15" { text } else { text.replace("tower_sessions::", "tower_sessions_0_14::") }
}

fn exchanged(text: String, Exchange { old, new, times }: &Exchange) -> String {
    let found = text.matches(old).count();
    assert_eq!(found, *times, "'{old}' is there {found} times, not {times}: look at the new release");
    text.replace(old, new)
}

/// What cargo knows of the packages here, as JSON.
fn packages() -> String {
    let cargo = env::var_os("CARGO").expect("cargo says where it is");
    let target = env::var("TARGET").expect("cargo says what it builds for");
    let output = Command::new(cargo)
        // Of other platforms not everything has been downloaded.
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &target])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("JSON is UTF-8")
}

/// Where a package's source is. Folders are named by package and release, or by the package alone where sources are vendored.
fn folder(packages: &str, name: &str, release: &str) -> PathBuf {
    let named = format!("{name}-{release}");
    let manifests = packages.split("\"manifest_path\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut folders = manifests.filter_map(|manifest| Path::new(manifest).parent());
    let is_it = |folder: &&Path| {
        let last = folder.file_name().and_then(|last| last.to_str()).unwrap_or("");
        let is_named =
            last.strip_prefix(&named).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        is_named || last == name && !folder.starts_with(env!("CARGO_MANIFEST_DIR").trim_end_matches("suites"))
    };
    folders.find(is_it).unwrap_or_else(|| panic!("no source of {name} {release}* here")).to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(name: &str, text: &str) {
    let path = Path::new(&env::var_os("OUT_DIR").expect("cargo names a folder")).join(name);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
