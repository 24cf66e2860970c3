//! What computes: the guests of `tests/guests`, which everything else here is tested with too, and
//! the kernels beside them, which nothing but this table ever sees.

/// One call of a module without imports.
pub struct Kernel {
    /// The module's name, then the arguments.
    pub name: &'static str,
    /// Binary or text.
    pub wasm: &'static [u8],
    pub export: &'static str,
    pub arguments: &'static [i32],
}

macro_rules! kernel {
    ($folder:literal, $name:literal, $ending:literal, $export:literal, $($argument:literal),+) => {
        Kernel {
            name: concat!($name, $(" ", $argument),+),
            wasm: include_bytes!(concat!($folder, $name, $ending)),
            export: $export,
            arguments: &[$($argument),+],
        }
    };
}

macro_rules! guest {
    ($name:literal, $export:literal, $($argument:literal),+) => {
        kernel!("../../../tests/guests/", $name, ".wasm", $export, $($argument),+)
    };
}

pub const GUESTS: [Kernel; 8] = [
    guest!("fib", "fib", 27),
    guest!("sieve", "run", 2000000),
    guest!("hash", "run", 1),
    guest!("nbody", "run", 50000),
    guest!("ray", "render", 160, 120),
    guest!("json", "run", 10),
    guest!("x25519", "run", 20),
    guest!("sort", "run", 20000),
];

pub const KERNELS: [Kernel; 10] = [
    kernel!("../kernels/", "spin", ".wat", "run", 20000000),
    kernel!("../kernels/", "tak", ".wat", "run", 18),
    kernel!("../kernels/", "indirect", ".wat", "run", 2000000),
    kernel!("../kernels/", "keccak", ".wasm", "run", 2000),
    kernel!("../kernels/", "blake3", ".wasm", "run", 30000),
    kernel!("../kernels/", "montgomery", ".wasm", "run", 30000),
    kernel!("../kernels/", "matrix", ".wasm", "run", 200),
    kernel!("../kernels/", "search", ".wasm", "run", 12),
    kernel!("../kernels/", "compress", ".wasm", "run", 8),
    kernel!("../kernels/", "sqlite", ".wasm", "run", 2000),
];

/// What computes with vectors.
pub const VECTORS: [Kernel; 5] = [
    kernel!("../kernels/", "chacha", ".wasm", "run", 20000),
    kernel!("../kernels/", "blur", ".wasm", "run", 30),
    kernel!("../kernels/", "base64", ".wasm", "run", 500),
    kernel!("../kernels/", "dot", ".wasm", "run", 200),
    kernel!("../kernels/", "mandelbrot", ".wasm", "run", 256),
];

/// The largest real module there is here, about a megabyte.
pub const SQLITE: &[u8] = include_bytes!("../kernels/sqlite.wasm");
