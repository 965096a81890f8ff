#!/usr/bin/env bash
# Installs what the other steps need and a machine with Rust may lack: a linker, a C++ compiler for the
# fuzz targets, valgrind to count instructions with, cargo-fuzz where there is a nightly toolchain to use
# it with.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for tool in cargo cargo-clippy rustfmt; do
    have "$tool" || fail "$tool is missing: install Rust with clippy and rustfmt first"
done
if ! have cc || ! have c++; then
    debian gcc g++ libc6-dev
fi
have git || debian git
# The one tool that can be done without: .ci/counts.sh then says that it counts nothing.
if ! have valgrind && have apt-get; then
    debian valgrind || say "NOTE: valgrind cannot be installed here"
fi
if have_toolchain nightly; then
    cargo_tool cargo-fuzz
fi

cargo --version
rustc --version
cc --version | head -n 1
say "$(nproc) cores"
