#!/usr/bin/env bash
# What can be known about the oldest Rust that Cargo.toml promises, without having it: none of the core's
# dependencies wants a newer one. With that toolchain installed, the library is built by it as well.
# (clippy's part is in .ci/lint.sh.)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

promised=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
[ -n "$promised" ] || fail "Cargo.toml has no rust-version"
run cargo fetch --locked --quiet

newest() {
    printf '%s\n' "$@" | sort -V | tail -n 1
}

sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
checked=0
while read -r name version; do
    manifest=$(find "$sources" -maxdepth 3 -path "*/$name-${version#v}/Cargo.toml" | head -n 1)
    [ -n "$manifest" ] || fail "no source of $name $version under $sources"
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$manifest")
    [ "$(newest "$promised" "${wanted:-0}")" = "$promised" ] ||
        fail "$name $version wants Rust $wanted, Cargo.toml promises $promised"
    checked=$((checked + 1))
done < <(cargo tree --all-features --edges normal,build --prefix none --no-dedupe --format '{p}' |
    awk '$1 != "tidewheel" { print $1, $2 }' | sort -u)
say "$checked dependencies are content with Rust $promised"

if have_toolchain "$promised"; then
    run cargo "+$promised" check --lib --all-features
else
    say "NOTE: Rust $promised is not installed here: clippy's incompatible_msrv stands in for it"
fi
