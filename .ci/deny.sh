#!/usr/bin/env bash
# The licences, the sources and the versions of all dependencies, by cargo-deny and deny.toml; and what is known of faults in them. Skipped
# (exit code 77) where the database of advisories cannot be fetched, once all else is checked. Not called from .ci/run: to build cargo-deny
# takes minutes.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cargo_tool cargo-deny
for manifest in Cargo.toml "$ADAPTERS"; do
    run cargo deny --manifest-path "$manifest" --config "$ROOT/deny.toml" check bans licenses sources
done
if ! run cargo deny --manifest-path Cargo.toml --config "$ROOT/deny.toml" fetch db; then
    leave_out "the database of advisories cannot be fetched here"
fi
for manifest in Cargo.toml "$ADAPTERS"; do
    run cargo deny --manifest-path "$manifest" --config "$ROOT/deny.toml" check advisories
done
