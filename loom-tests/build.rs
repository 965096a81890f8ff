//! Sets the cfgs that make the crate's source take loom's primitives. They are private, because other
//! crates react to a global `cfg(loom)`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(tidewheel_loom, tidewheel_shuttle, crossbeam_loom, docsrs)");
    println!("cargo:rustc-cfg=tidewheel_loom");
}
