//! The interface of preview 1, made from its witx text: types, and functions that take a guest's
//! numbers, check them, and call [`preview1`](crate::preview1).

// What the text generates is not ours to document or to trim.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::all)]

wiggle::from_witx!({
    witx: ["witx/preview1/wasi_snapshot_preview1.witx"],
    errors: { errno => trappable Error },
    async: *,
    wasmtime: false,
});
