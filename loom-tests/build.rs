//! Sets the cfgs that make the crate's source take loom's primitives. They are private, because other
//! crates react to a global `cfg(loom)`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(tidewheel_loom, tidewheel_standin, crossbeam_loom, docsrs)");
    println!("cargo:rustc-cfg=tidewheel_loom");
    // crossbeam-epoch is itself compiled for loom only under this cfg of its own.
    if std::env::var_os("CARGO_CFG_CROSSBEAM_LOOM").is_none() {
        println!("cargo:rustc-cfg=tidewheel_standin");
    }
}
