#!/bin/sh
# Builds the kernels of this folder that are written in C. Only needed after a source was changed:
# the modules are checked in, and those in text need no building.
#
# Needs clang 19 with its wasm-ld (Debian: clang-19 lld-19), as `tests/guests/build.sh` does.
# `sqlite` needs a libc, which zig 0.17.1 brings along (`pip install ziglang`), and SQLite's
# amalgamation, which is not kept here: the crate libsqlite3-sys 0.35.0 has it. AMALGAMATION names
# the folder with its sqlite3.c; without it that kernel stays as it is.
set -eu
cd "$(dirname "$0")"
: "${CLANG:=clang-19}" "${ZIG_CC:=python3 -m ziglang cc}"

for kernel in blake3 compress keccak matrix montgomery search; do
    "$CLANG" --target=wasm32 -std=c23 -O2 -Wall -Wextra -Werror \
        -mbulk-memory -mnontrapping-fptoint -ffreestanding -nostdlib \
        -Wl,--no-entry,--strip-all,--stack-first,-z,stack-size=65536 "$kernel.c" -o "$kernel.wasm"
done

for kernel in chacha blur base64 dot mandelbrot; do
    "$CLANG" --target=wasm32 -std=c23 -O2 -Wall -Wextra -Werror \
        -mbulk-memory -mnontrapping-fptoint -msimd128 -ffreestanding -nostdlib \
        -Wl,--no-entry,--strip-all,--stack-first,-z,stack-size=65536 "$kernel.c" -o "$kernel.wasm"
done

if [ -n "${AMALGAMATION:-}" ]; then
    $ZIG_CC -target wasm32-wasi -mexec-model=reactor -O2 -s -DNDEBUG -I "$AMALGAMATION" \
        -DSQLITE_OS_OTHER=1 -DSQLITE_THREADSAFE=0 -DSQLITE_OMIT_LOAD_EXTENSION \
        -DSQLITE_OMIT_LOCALTIME -DSQLITE_TEMP_STORE=3 -DSQLITE_DEFAULT_MEMSTATUS=0 \
        -DSQLITE_OMIT_WAL -DSQLITE_OMIT_SHARED_CACHE -DSQLITE_OMIT_DEPRECATED \
        -DSQLITE_OMIT_PROGRESS_CALLBACK -DSQLITE_OMIT_AUTHORIZATION -DSQLITE_DQS=0 \
        -DSQLITE_MAX_EXPR_DEPTH=0 sqlite.c "$AMALGAMATION/sqlite3.c" -o sqlite.wasm
fi
ls -l ./*.wasm
