//! scratch
use crate::support::{engine};
use lampwick::Module;
#[test]
fn bombs() {
    for metered in [false, true] {
        let engine = engine(|c| { c.consume_fuel(metered); c.cranelift_debug_verifier(false); });
        for n in [1000, 2000, 4000, 8000] {
            let shapes: Vec<(&str, String)> = vec![
                ("chain", format!("(module (memory 1) (func (param i32) {}))", "local.get 0 br_if 0 local.get 0 i32.load drop ".repeat(n))),
                ("loads", format!("(module (memory 1) (func (param i32) {}))", "local.get 0 i32.load drop ".repeat(n))),
                ("ifs", format!("(module (memory 1) (func (param i32) {}))", "local.get 0 if local.get 0 i32.const 1 i32.store end ".repeat(n))),
                ("calls", format!("(module (memory 1) (func $f) (func (param i32) {}))", "call $f local.get 0 i32.load drop ".repeat(n))),
                ("blocks", format!("(module (memory 1) (func (param i32) {} {}))", "block ".repeat(n), "local.get 0 i32.load drop end ".repeat(n))),
                ("loops", format!("(module (memory 1) (func (param i32) {} {}))", "loop ".repeat(n), "local.get 0 br_if 0 local.get 0 i32.load drop end ".repeat(n))),
                ("brtable", format!("(module (func (param i32) {} local.get 0 br_table {} {}))", "block ".repeat(n), (0..n).map(|i| format!("{i} ")).collect::<String>(), "end ".repeat(n))),
                ("locals", format!("(module (func (param i32) (local {}) {}))", "i32 ".repeat(n), (0..n).map(|i| format!("local.get {i} local.set {} ", (i * 7 + 1) % n)).collect::<String>())),
            ];
            for (name, wat) in shapes {
                let wasm = wat::parse_str(&wat).unwrap();
                let start = std::time::Instant::now();
                let ok = Module::from_binary(&engine, &wasm).is_ok();
                println!("metered {metered} {name} {n}: {ok} {:?}", start.elapsed());
            }
        }
    }
}
