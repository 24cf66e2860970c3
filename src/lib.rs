//! A WebAssembly runtime for async servers.
