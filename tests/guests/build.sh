#!/bin/sh
# Builds every guest of this folder from its source. Only needed after a source was changed: the
# modules are checked in.
#
# Needs clang 19 with its wasm-ld (Debian: clang-19 lld-19), Python 3 for the document of `json`,
# and for `sort` a rustc with the target wasm32-unknown-unknown and the wasm-ld that goes with it
# (Debian 12: rustc libstd-rust-dev-wasm32 lld-14). CLANG, RUSTC and RUST_LD name other ones. The
# checked-in modules come from clang 19.1.7 and rustc 1.63.0; these give the same bytes again.
set -eu
cd "$(dirname "$0")"

: "${CLANG:=clang-19}" "${RUSTC:=/usr/bin/rustc}" "${RUST_LD:=wasm-ld-14}"

# c NAME [EXPORTED VARIABLE]
c() {
    "$CLANG" --target=wasm32 -std=c23 -O2 -Wall -Wextra -Werror \
        -mbulk-memory -mnontrapping-fptoint -ffreestanding -nostdlib \
        -Wl,--no-entry,--strip-all,--stack-first,-z,stack-size=65536 \
        ${2:+-Wl,--export=$2} "$1.c" -o "$1.wasm"
}

python3 document.py

c fib
c sieve
c nbody
c hash digest
c ray pixels
c x25519 key
c json

# The one with debug information, which names files relative to this folder.
"$CLANG" -x c++ --target=wasm32 -std=c++23 -O1 -g -Wall -Wextra -Werror \
    -ffreestanding -fno-exceptions -nostdlib -ffile-prefix-map="$PWD"=. \
    -Wl,--no-entry,--stack-first,-z,stack-size=65536 lines.cpp -o lines.wasm

# 64 KiB of stack below the data, as the guests in C have it.
"$RUSTC" --target wasm32-unknown-unknown --crate-type cdylib --edition 2021 -O -C panic=abort \
    -C linker="$RUST_LD" -C strip=symbols -C link-arg=-zstack-size=65536 -C link-arg=--stack-first \
    sort.rs -o sort.wasm

ls -l ./*.wasm
