#!/usr/bin/env bash
# The documentation builds without a warning: without features, whose pages must not link to what is not there; with all of
# them and the private items, whose links must hold as well; then what users see, which is what stays in target/doc. (Its examples are run by `cargo test`.)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export RUSTDOCFLAGS="-D warnings"
run cargo doc --no-deps
run cargo doc --workspace --all-features --no-deps --document-private-items
run cargo doc --workspace --all-features --no-deps
