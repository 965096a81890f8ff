#!/usr/bin/env bash
# The documentation builds without a warning: with the private items, whose links must hold as well, then
# what users see, which is what stays in target/doc. (Its examples are run by `cargo test`.)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export RUSTDOCFLAGS="-D warnings"
run cargo doc --workspace --no-deps --document-private-items
run cargo doc --workspace --no-deps
