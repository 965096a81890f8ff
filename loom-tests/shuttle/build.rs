//! Sets the cfg that makes the crate's source take shuttle's primitives.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(tidewheel_loom, tidewheel_shuttle, crossbeam_loom, docsrs)");
    println!("cargo:rustc-cfg=tidewheel_shuttle");
}
