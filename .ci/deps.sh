#!/usr/bin/env bash
# The core compiles 16 packages at most, itself included, and the feature `async` not one more, `tracing` three; and every package has a committed lock file that
# agrees with its manifest, so that everybody builds the same.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for manifest in Cargo.toml "$LOOM" "$SHUTTLE" "$PEERS" "$FUZZ" "$ADAPTERS"; do
    lock=${manifest%.toml}.lock
    git ls-files --error-unmatch "$lock" >/dev/null 2>&1 || fail "$lock is not committed"
    run cargo fetch --locked --quiet --manifest-path "$manifest"
done

limit=16
packages_of() {
    cargo tree --edges normal,build --prefix none --no-dedupe --format '{p}' "$@" | awk '{ print $1, $2 }' | sort -u
}
packages=$(packages_of)
count=$(printf '%s\n' "$packages" | wc -l)
printf '%s\n' "$packages" | sed 's/^/   /'
say "$count packages, $limit allowed"
[ "$count" -le "$limit" ] || fail "$count packages"
[ "$(packages_of --features async)" = "$packages" ] || fail "the feature async brings a package: it is to need no runtime"
say "the feature async brings none"
more=$(comm -13 <(printf '%s\n' "$packages") <(packages_of --features tracing) | awk '{ print $1 }' | paste -sd ' ')
[ "$more" = "pin-project-lite tracing tracing-core" ] || fail "the feature tracing brings '$more'"
say "the feature tracing brings three"
