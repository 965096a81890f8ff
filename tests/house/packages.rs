//! What a package beside the crate brings along when it is published.

use std::fs;
use std::path::Path;

#[test]
fn each_package_that_is_published_has_the_licences_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut published = 0;
    for folder in fs::read_dir(root.join("adapters")).unwrap() {
        let folder = folder.unwrap().path();
        let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else { continue };
        if manifest.contains("\npublish = false\n") {
            continue;
        }
        published += 1;
        for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
            let there = fs::read_to_string(folder.join(name)).unwrap_or_default();
            let ours = fs::read_to_string(root.join(name)).unwrap();
            assert!(there == ours, "{name} in {} is not the crate's", folder.display());
        }
    }
    assert!(published > 0, "no package was found");
}
