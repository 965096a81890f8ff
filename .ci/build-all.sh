#!/usr/bin/env bash
# Whatever the tests do not build still builds: examples, benches, the comparison with other crates, the
# fuzz targets.
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
