#!/usr/bin/env bash
# The documentation builds without a warning: what users see, then with the private items, whose links
# must hold as well. (Its examples are run by `cargo test`.)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export RUSTDOCFLAGS="-D warnings"
run cargo doc --workspace --no-deps
run cargo doc --workspace --no-deps --document-private-items
