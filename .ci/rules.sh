#!/usr/bin/env bash
# The rules of the house that no compiler knows: tests/house says which they are, and shows of each that it can be broken.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run cargo test --locked --all-features --test house
