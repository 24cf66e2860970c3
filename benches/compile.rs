//! Does the time to compile a module grow with its size and no faster? How much of it is for fuel?
//!
//! Modules of random functions, the same in each run, of 1 to 10 MB. The time is the process's,
//! over all cores.

use lampwick::{Config, Engine, Module};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    for metered in [false, true] {
        let engine = Engine::new(Config::new().consume_fuel(metered)).unwrap();
        for size in [1_000_000, 2_500_000, 5_000_000, 10_000_000] {
            let wasm = module(size, 42);
            let (start, cpu) = (std::time::Instant::now(), cpu_time());
            Module::from_binary(&engine, &wasm).unwrap();
            let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_time() - cpu);
            let per_byte = cpu * 1e9 / wasm.len() as f64;
            println!(
                "metered {metered:5} {:9} bytes: {wall:6.2} s, {cpu:6.2} s of all cores, {per_byte:5.0} ns per byte",
                wasm.len()
            );
        }
    }
}

/// What the process has used of all cores, in seconds.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A module of varied functions whose code section has at least this many bytes.
fn module(bytes: usize, seed: u64) -> Vec<u8> {
    let mut generator =
        Generator { state: seed | 1, out: Vec::new(), functions: (bytes / 300).max(1) as u64 };
    let mut bodies = Vec::new();
    let mut count = 0;
    while bodies.len() < bytes {
        let body = generator.body();
        leb(&mut bodies, body.len() as u64);
        bodies.extend(body);
        count += 1;
    }
    // Calls go to functions that were expected to exist.
    while count < generator.functions {
        bodies.extend([4, 0, 0x41, 0, 0x0b]);
        count += 1;
    }
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    section(&mut wasm, 1, &[1, 0x60, 2, 0x7f, 0x7f, 1, 0x7f]);
    let mut functions = Vec::new();
    leb(&mut functions, count);
    functions.resize(functions.len() + count as usize, 0);
    section(&mut wasm, 3, &functions);
    section(&mut wasm, 5, &[1, 0, 1]);
    section(&mut wasm, 7, &[1, 1, b'f', 0, 0]);
    let mut code = Vec::new();
    leb(&mut code, count);
    code.extend(bodies);
    section(&mut wasm, 10, &code);
    wasm
}

fn section(wasm: &mut Vec<u8>, id: u8, contents: &[u8]) {
    wasm.push(id);
    leb(wasm, contents.len() as u64);
    wasm.extend(contents);
}

fn leb(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

struct Generator {
    state: u64,
    out: Vec<u8>,
    functions: u64,
}

// Locals: two parameters and four more i32, two i64, one f64.
const I32: u64 = 6;
const I64: u64 = 6;
const F64: u8 = 8;

impl Generator {
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound
    }

    fn body(&mut self) -> Vec<u8> {
        self.out = vec![3, 4, 0x7f, 2, 0x7e, 1, 0x7c];
        let statements = match self.below(100) {
            0 => 200,
            1..10 => 30,
            _ => 4 + self.below(6),
        };
        for _ in 0..statements {
            self.statement(3);
        }
        self.i32(2);
        self.out.push(0x0b);
        std::mem::take(&mut self.out)
    }

    fn statement(&mut self, depth: u64) {
        let kinds = if depth == 0 { 6 } else { 9 };
        match self.below(kinds) {
            0 | 1 => {
                self.i32(3);
                self.set_i32();
            }
            2 => {
                self.i32(2);
                self.i32(2);
                self.op(&[0x36, 2]);
                let offset = self.below(4096);
                leb(&mut self.out, offset);
            }
            3 => {
                self.i64(2);
                let local = I64 + self.below(2);
                self.op(&[0x21, local as u8]);
            }
            4 => {
                self.f64(2);
                self.op(&[0x21, F64]);
            }
            5 => {
                self.i32(1);
                self.i32(1);
                self.op(&[0x10]);
                let callee = self.below(self.functions);
                leb(&mut self.out, callee);
                self.set_i32();
            }
            6 => {
                self.i32(2);
                self.op(&[0x04, 0x40]);
                self.statements(depth - 1);
                self.op(&[0x05]);
                self.statements(depth - 1);
                self.op(&[0x0b]);
            }
            7 => {
                self.op(&[0x02, 0x40]);
                self.statements(depth - 1);
                self.i32(2);
                self.op(&[0x0d, 0]);
                self.statements(depth - 1);
                self.op(&[0x0b]);
            }
            _ => {
                self.op(&[0x03, 0x40]);
                self.statements(depth - 1);
                let counter = self.below(I32) as u8;
                self.op(&[0x20, counter, 0x41, 1, 0x6b, 0x22, counter, 0x0d, 0, 0x0b]);
            }
        }
    }

    fn statements(&mut self, depth: u64) {
        for _ in 0..1 + self.below(3) {
            self.statement(depth);
        }
    }

    fn op(&mut self, bytes: &[u8]) {
        self.out.extend(bytes);
    }

    fn set_i32(&mut self) {
        let local = self.below(I32) as u8;
        self.op(&[0x21, local]);
    }

    fn i32(&mut self, depth: u64) {
        match self.below(if depth == 0 { 2 } else { 8 }) {
            0 => {
                let local = self.below(I32) as u8;
                self.op(&[0x20, local]);
            }
            1 => {
                let value = self.below(64) as u8;
                self.op(&[0x41, value]);
            }
            2..=4 => {
                self.i32(depth - 1);
                self.i32(depth - 1);
                // add sub mul, and or xor shl shr, comparisons
                let ops = [0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x75, 0x46, 0x48, 0x49];
                let op = ops[self.below(ops.len() as u64) as usize];
                self.op(&[op]);
            }
            5 | 6 => {
                self.i32(depth - 1);
                let op = [0x28, 0x2d, 0x2f][self.below(3) as usize];
                self.op(&[op, 0]);
                let offset = self.below(4096);
                leb(&mut self.out, offset);
            }
            _ => {
                self.i64(depth - 1);
                self.op(&[0xa7]);
            }
        }
    }

    fn i64(&mut self, depth: u64) {
        match self.below(if depth == 0 { 2 } else { 5 }) {
            0 => {
                let local = (I64 + self.below(2)) as u8;
                self.op(&[0x20, local]);
            }
            1 => {
                let value = self.below(64) as u8;
                self.op(&[0x42, value]);
            }
            2 => {
                self.i32(depth - 1);
                self.op(&[0xad]);
            }
            3 => {
                self.i32(depth - 1);
                self.op(&[0x29, 3, 8]);
            }
            _ => {
                self.i64(depth - 1);
                self.i64(depth - 1);
                let op = [0x7c, 0x7d, 0x7e, 0x83, 0x85][self.below(5) as usize];
                self.op(&[op]);
            }
        }
    }

    fn f64(&mut self, depth: u64) {
        match self.below(if depth == 0 { 1 } else { 4 }) {
            0 => self.op(&[0x20, F64]),
            1 => {
                self.i32(depth - 1);
                self.op(&[0xb7]);
            }
            2 => {
                self.i32(depth - 1);
                self.op(&[0x2b, 3, 16]);
            }
            _ => {
                self.f64(depth - 1);
                self.f64(depth - 1);
                let op = [0xa0, 0xa1, 0xa2, 0xa4][self.below(4) as usize];
                self.op(&[op]);
            }
        }
    }
}
