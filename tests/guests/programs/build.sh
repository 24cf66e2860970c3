#!/bin/sh
# Builds the programs of this folder from their upstream sources, as registries have them. Only
# needed to change how they are built: the modules are checked in.
#
# Needs pip, npm, cargo, and apt-get with a list of Debian 12's packages (`deb822` style, in
# /etc/apt/sources.list.d/debian.sources; APT_SOURCES names another file). Takes half a gigabyte in
# WORK, which is kept if given: the compiler is `zig cc` (clang 22, with a C library for WASI).
set -eu
export LC_ALL=C
cd "$(dirname "$0")"
here=$PWD
: "${APT_SOURCES:=/etc/apt/sources.list.d/debian.sources}"
if [ -z "${WORK:-}" ]; then
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
fi
mkdir -p "$WORK" && cd "$WORK"

# check SHA256 FILE...: the files one after the other.
check() {
    want=$1 && shift
    have=$(cat "$@" | sha256sum | cut -d' ' -f1)
    [ "$want" = "$have" ] || { echo "$*: SHA-256 is $have, not $want" >&2; exit 1; }
}

compiler() {
    [ -d venv ] || python3 -m venv venv
    echo "ziglang==0.17.1 --hash=sha256:ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54" >requirements.txt
    venv/bin/pip install -q --no-deps --require-hashes -r requirements.txt
    export ZIG_LOCAL_CACHE_DIR="$WORK/zig-cache" ZIG_GLOBAL_CACHE_DIR="$WORK/zig-cache"
}

# zigcc OUTPUT ARGUMENT...: a program with a stack of a megabyte.
zigcc() {
    output=$1 && shift
    venv/bin/python -m ziglang cc -target wasm32-wasi -O2 -s -w \
        -D_WASI_EMULATED_PROCESS_CLOCKS -D_WASI_EMULATED_SIGNAL "$@" \
        -lwasi-emulated-process-clocks -lwasi-emulated-signal \
        -Wl,-z,stack-size=1048576 -o "$here/$output"
}

# From Debian's source package, which has the interpreter's `main`. Its errors are `setjmp` and
# `longjmp`, which the compiler makes of exceptions, those of WebAssembly 3.0.
lua() {
    mkdir -p apt/lists/partial
    sed 's/^Types: deb$/Types: deb-src/' "$APT_SOURCES" >apt/only.sources
    set -- -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$WORK/apt" \
        -o Dir::State::Lists="$WORK/apt/lists"
    apt-get "$@" -q update
    apt-get "$@" -q source --download-only lua5.4
    check 164c7849653b80ae67bec4b7473b884bf5cc8d2dca05653475ec2ed27b9ebf61 lua5.4_5.4.4.orig.tar.gz
    rm -rf lua && mkdir lua
    tar xzf lua5.4_5.4.4.orig.tar.gz -C lua --strip-components=2 lua-5.4.4/src
    rm lua/luac.c
    zigcc lua.wasm -mcpu=generic+exception_handling \
        -mllvm -wasm-enable-sjlj -mllvm -wasm-use-legacy-eh=false \
        -include "$here/lua_wasi.h" lua/*.c "$here/longjmp.c"
}

# From the npm package that compiles it for Node, in which it lies as its authors packed it.
sqlite() {
    npm pack --silent sqlite3@6.0.1
    tar xzf sqlite3-6.0.1.tgz package/deps/sqlite-autoconf-3520000.tar.gz
    check f6b50b0c103392af32a8be15b2b9d25959de9a00a70c3979128aafeaa5338b3f package/deps/sqlite-autoconf-3520000.tar.gz
    tar xzf package/deps/sqlite-autoconf-3520000.tar.gz
    zigcc sqlite.wasm -DSQLITE_THREADSAFE=0 -DHAVE_USLEEP=1 -DSQLITE_OMIT_LOAD_EXTENSION \
        -DSQLITE_OMIT_POPEN -DSQLITE_NOHAVE_SYSTEM -DSQLITE_ENABLE_MATH_FUNCTIONS \
        -D_WASI_EMULATED_GETPID -lwasi-emulated-getpid \
        sqlite-autoconf-3520000/shell.c sqlite-autoconf-3520000/sqlite3.c
}

# QuickJS-ng, from the crate that binds it for Rust.
quickjs() {
    mkdir -p fetch/src && : >fetch/src/lib.rs
    printf '[package]\nname = "fetch"\nedition = "2024"\n[dependencies]\nrquickjs-sys = "=0.14.0"\n' \
        >fetch/Cargo.toml
    manifest=$(cargo metadata --format-version 1 --manifest-path fetch/Cargo.toml | python3 -c '
import json, sys
print(*(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "rquickjs-sys"))')
    js=$(dirname "$manifest")/quickjs
    check 39ca0955d76e8a593de98ad959c1b49137c5da566f8c70e6e1be4eedd5312487 "$js"/*.c "$js"/*.h "$js/gen/repl.c" "$js/gen/standalone.c"
    zigcc quickjs.wasm -D_GNU_SOURCE -I"$js" "$js/qjs.c" "$js/quickjs.c" "$js/quickjs-libc.c" \
        "$js/libregexp.c" "$js/libunicode.c" "$js/dtoa.c" "$js/gen/repl.c" "$js/gen/standalone.c"
}

compiler
lua
sqlite
quickjs
chmod 644 "$here"/*.wasm
ls -l "$here"/*.wasm
