#!/usr/bin/env bash
# What can be known about the oldest Rust that a Cargo.toml promises, without having it: none of the dependencies of the core, and of each
# package in adapters/, wants a newer one, in the versions that are locked. With that toolchain installed, the core is built by it as well.
# (clippy's part is in .ci/lint.sh.)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

newest() {
    printf '%s\n' "$@" | sort -V | tail -n 1
}

sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
# Holds the dependencies of a package, which `cargo tree` is told the rest of the arguments to find, to what it promises.
hold() {
    local package=$1 promised=$2 checked=0 tree name version manifest wanted
    shift 2
    # Not in a `< <(..)`, whose failure nobody sees.
    tree=$(cargo tree "$@" --locked --edges normal,build --prefix none --no-dedupe --format '{p}') ||
        fail "cargo does not tell the dependencies of $package"
    while read -r name version; do
        manifest=$(grep -m 1 -F "/$name-${version#v}/Cargo.toml" "$SCRATCH/manifests" || true)
        [ -n "$manifest" ] || fail "no source of $name $version under $sources"
        wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$manifest")
        [ "$(newest "$promised" "${wanted%.0}")" = "$promised" ] ||
            fail "$name $version wants Rust $wanted, $package promises $promised"
        checked=$((checked + 1))
    done < <(awk '$3 !~ /^\(\// { print $1, $2 }' <<<"$tree" | sort -u)
    # A package without dependencies is alone in its tree.
    [ "$checked" -gt 0 ] || [[ "$tree" == "$package v"* && "$tree" != *$'\n'* ]] || fail "no dependency of $package was checked"
    say "$checked dependencies of $package are content with Rust $promised"
}

rust_version() {
    sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$1"
}

promised=$(rust_version Cargo.toml)
[ -n "$promised" ] || fail "Cargo.toml has no rust-version"
for manifest in Cargo.toml "$ADAPTERS"; do
    run cargo fetch --locked --quiet --manifest-path "$manifest"
done
scratch
find "$sources" -maxdepth 3 -name Cargo.toml >"$SCRATCH/manifests"
hold tidewheel "$promised" --all-features
for manifest in adapters/*/Cargo.toml; do
    package=$(sed -n 's/^name = "\(.*\)"$/\1/p' "$manifest" | head -n 1)
    own=$(rust_version "$manifest")
    features=--all-features
    # But `redis`, which says of itself that it wants a newer one.
    [ "$package" != tidewheel-metrics ] || features=--features=metrics,prometheus-client,opentelemetry
    hold "$package" "${own:-$(rust_version "$ADAPTERS")}" --manifest-path "$ADAPTERS" -p "$package" "$features"
done

# It may be installed under the name of a release, 1.85.0, or of whatever is the newest of these, 1.85.
installed=$(have rustup && rustup toolchain list | sed -n "s/^\($promised\(\.[0-9]*\)\{0,1\}\)-.*/\1/p" | head -n 1 || true)
if [ -n "$installed" ]; then
    run cargo "+$installed" check --lib --all-features
else
    say "NOTE: Rust $promised is not installed here: clippy's incompatible_msrv stands in for it"
fi
