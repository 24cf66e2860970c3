#!/bin/sh
# Builds the guests in C of this folder. Only needed after a source was changed: the modules are
# checked in.
#
# Needs clang 19 with its wasm-ld, and a C library for WASI (Debian: clang-19 lld-19 wasi-libc
# libclang-rt-19-dev-wasm32). CLANG names another compiler; SYSROOT is a folder in which the last two
# packages were unpacked instead of installed. The checked-in modules come from clang 19.1.7 and
# wasi-libc 0.0~git20220510.
set -eu
cd "$(dirname "$0")"

: "${CLANG:=clang-19}" "${SYSROOT:=}"

for name in hello files wait; do
    "$CLANG" --target=wasm32-wasi --sysroot="${SYSROOT:-/}" -std=gnu17 -O2 -Wall -Wextra -Werror \
        ${SYSROOT:+-isystem "$SYSROOT/usr/include/wasm32-wasi"} \
        ${SYSROOT:+-resource-dir "$SYSROOT/usr/lib/llvm-19/lib/clang/19"} \
        ${SYSROOT:+-isystem "$("$CLANG" -print-resource-dir)/include"} \
        ${SYSROOT:+-L "$SYSROOT/usr/lib/wasm32-wasi"} ${SYSROOT:+-B "$SYSROOT/usr/lib/wasm32-wasi"} \
        -Wl,--strip-all "$name.c" -o "$name.wasm"
done
