#!/usr/bin/env bash
# The core compiles 16 packages at most, itself included.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

limit=16
packages=$(cargo tree --edges normal,build --prefix none --no-dedupe --format '{p}' | awk '{ print $1, $2 }' | sort -u)
count=$(printf '%s\n' "$packages" | wc -l)
printf '%s\n' "$packages" | sed 's/^/   /'
say "$count packages, $limit allowed"
[ "$count" -le "$limit" ] || fail "$count packages"
