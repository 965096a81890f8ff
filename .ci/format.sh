#!/usr/bin/env bash
# Every package is formatted by rustfmt.toml.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run cargo fmt --all --check
for package in "$LOOM" "$SHUTTLE" "$PEERS" "$FUZZ" "$ADAPTERS"; do
    run cargo fmt --manifest-path "$package" --all --check
done
