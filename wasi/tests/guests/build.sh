#!/bin/sh
# Builds the guests of this folder. Only needed after a source was changed: the modules are
# checked in.
#
# Needs clang 19 with its wasm-ld, and a C library for WASI (Debian: clang-19 lld-19 wasi-libc
# libclang-rt-19-dev-wasm32). CLANG names another compiler; SYSROOT is a folder in which the last two
# packages were unpacked instead of installed. The checked-in modules come from clang 19.1.7 and
# wasi-libc 0.0~git20220510, and rustc 1.63.0 (Debian 12: rustc libstd-rust-dev-wasm32 lld-14); RUSTC and
# RUST_LD name others.
set -eu
cd "$(dirname "$0")"

: "${CLANG:=clang-19}" "${SYSROOT:=}" "${RUSTC:=/usr/bin/rustc}" "${RUST_LD:=wasm-ld-14}"

for name in hello files wait; do
    "$CLANG" --target=wasm32-wasi --sysroot="${SYSROOT:-/}" -std=gnu17 -O2 -Wall -Wextra -Werror \
        ${SYSROOT:+-isystem "$SYSROOT/usr/include/wasm32-wasi"} \
        ${SYSROOT:+-resource-dir "$SYSROOT/usr/lib/llvm-19/lib/clang/19"} \
        ${SYSROOT:+-isystem "$("$CLANG" -print-resource-dir)/include"} \
        ${SYSROOT:+-L "$SYSROOT/usr/lib/wasm32-wasi"} ${SYSROOT:+-B "$SYSROOT/usr/lib/wasm32-wasi"} \
        -Wl,--strip-all "$name.c" -o "$name.wasm"
done

"$RUSTC" --target wasm32-wasi --edition 2021 -C opt-level=s -C lto=fat -C panic=abort \
    -C linker="$RUST_LD" -C strip=symbols library.rs -o library.wasm
