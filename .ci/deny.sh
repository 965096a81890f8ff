#!/usr/bin/env bash
# The licences, the sources and the versions of all dependencies, by cargo-deny and deny.toml; and what is known of faults in them, where the
# database of advisories can be fetched. Not called from .ci/run: to build cargo-deny takes minutes.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cargo_tool cargo-deny
for manifest in Cargo.toml "$ADAPTERS"; do
    run cargo deny --manifest-path "$manifest" check --config "$ROOT/deny.toml" bans licenses sources
    run cargo deny --manifest-path "$manifest" check --config "$ROOT/deny.toml" advisories ||
        say "NOTE: the advisories were not checked, or say something"
done
