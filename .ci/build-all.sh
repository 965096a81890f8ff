#!/usr/bin/env bash
# Whatever the tests do not build still builds: examples, benches, the comparison with other crates, the
# fuzz targets; and the library for machines that are not here, as far as `cargo check` can tell.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
quick_releases

run cargo build --release --examples --all-features
run cargo bench --no-run
# Without optimization: what counts is that it builds, and a dozen other crates come with it.
run cargo build --manifest-path "$PEERS" --all-targets

if have_toolchain nightly && have cargo-fuzz; then
    # As the peers: half the time. `.ci/fuzz.sh` builds them for speed.
    run cargo +nightly fuzz build --dev
else
    say "NOTE: no nightly toolchain with cargo-fuzz here: the fuzz targets are checked, not built"
    run env RUSTFLAGS="--cfg fuzzing" cargo check --locked --manifest-path "$FUZZ" --all-targets
fi

# check_for TARGET: by the standard library that rustup has for it, or else by its source.
check_for() {
    if [[ $'\n'$installed$'\n' == *$'\n'$1$'\n'* ]] || run rustup target add "$1"; then
        run cargo check --lib --all-features --target "$1"
    elif have_toolchain nightly && [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ]; then
        run cargo +nightly check -Zbuild-std --lib --all-features --target "$1"
    else
        say "NOTE: the library is not checked for $1, whose standard library is not here and cannot be had"
    fi
}

# macOS, Windows, WASI, and Linux with 32 bits and musl, where the C library's types have other sizes.
installed=$(have rustup && rustup target list --installed || true)
for target in aarch64-apple-darwin x86_64-pc-windows-msvc wasm32-wasip1-threads armv7-unknown-linux-musleabihf; do
    check_for "$target"
done
