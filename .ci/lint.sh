#!/usr/bin/env bash
# clippy without a warning: everything in every package, ours with and without its features, then the library once more against
# .ci/clippy.toml.
#
# clippy also holds the library to the `rust-version` of Cargo.toml (its lint `incompatible_msrv`), so
# that a call the standard library did not have then is found by a newer compiler.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run cargo clippy --workspace --all-targets -- -D warnings
run cargo clippy --workspace --all-targets --all-features -- -D warnings
# What one feature alone needs, or none, is in the library without the others, and nothing else.
for feature in '' async serde tracing; do
    run cargo clippy --lib --features "$feature" -- -D warnings
done
run cargo clippy --manifest-path "$PEERS" --all-targets -- -D warnings
# As cargo-fuzz builds it: two targets are for what is inside the crate.
run env RUSTFLAGS="--cfg fuzzing" cargo clippy --manifest-path "$FUZZ" --all-targets -- -D warnings
# Here the library is the crate's own source under loom, without its unit tests. Its constants shrink
# there, some of them to where a comparison has only one answer.
run cargo clippy --manifest-path "$LOOM" --workspace --lib --tests --examples -- \
    -D warnings -A clippy::absurd_extreme_comparisons
run cargo clippy --manifest-path "$SHUTTLE" --lib --tests -- -D warnings

# The library must take its clock and its locks from floor 0, which alone may name them. Only the
# library: tests, benches and examples may use what they like, so `--lib`, and no clippy.toml in the root.
floor0='^src/\(sync/mod\.rs\|time/system\.rs\):'
say "the library against .ci/clippy.toml"
report=$(CLIPPY_CONF_DIR="$ROOT/.ci" cargo clippy --quiet --color never --lib --all-features --message-format short -- \
    -W clippy::disallowed_methods -W clippy::disallowed_types 2>&1) || { printf '%s\n' "$report"; exit 1; }
if found=$(printf '%s\n' "$report" | grep -v "$floor0" | grep .); then
    printf '%s\n' "$found"
    fail "outside of floor 0 (src/sync/mod.rs, src/time/system.rs)"
fi
