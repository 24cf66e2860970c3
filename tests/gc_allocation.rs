//! Structs that code makes itself: they are new wherever they lie, and what makes room for them happens
//! as often as it has to.

use lampwick::{Engine, Instance, Module, OptLevel, ResourceLimiter, Store};

use crate::support::{Rng, engine, instantiate, rounds};

/// The types of fields, with a value that is not their zero, and what makes an `i64` of one.
const FIELDS: [(&str, &str, &str, &str); 6] = [
    ("i8", "(i32.const 0x5a)", "struct.get_u", "(i64.extend_i32_u FIELD)"),
    ("i16", "(i32.const 0x5a5a)", "struct.get_u", "(i64.extend_i32_u FIELD)"),
    ("i64", "(i64.const 0x5a5a5a5a)", "struct.get", "FIELD"),
    ("f64", "(f64.const 5.5)", "struct.get", "(i64.reinterpret_f64 FIELD)"),
    ("v128", "(v128.const i64x2 5 6)", "struct.get", "(i64x2.extract_lane 1 FIELD)"),
    (
        "(ref null any)",
        "(ref.i31 (i32.const 7))",
        "struct.get",
        "(i64.extend_i32_u (i32.eqz (ref.is_null FIELD)))",
    ),
];

/// A guest that makes structs of these fields, some full, some of zeros; `run` answers the bits of all
/// those of zeros.
fn full_and_new(fields: &[usize]) -> String {
    let types: String =
        fields.iter().map(|&it| format!("(field (mut {}))", FIELDS[it].0)).collect();
    let values: String = fields.iter().map(|&it| FIELDS[it].1).collect();
    let bits: String = fields
        .iter()
        .enumerate()
        .map(|(index, &it)| {
            let (_, _, get, bits) = FIELDS[it];
            let field = format!("({get} $s {index} (local.get $new))");
            let bits = bits.replace("FIELD", &field);
            format!("(local.set $bits (i64.or (local.get $bits) {bits}))")
        })
        .collect();
    format!(
        r#"(module
            (type $s (struct {types}))
            (func (export "run") (param $times i32) (result i64)
                (local $new (ref null $s)) (local $full (ref null $s)) (local $bits i64)
                (loop $again
                    (local.set $full (struct.new $s {values}))
                    (local.set $new (struct.new_default $s))
                    {bits}
                    (br_if $again
                        (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
                (local.get $bits)))"#
    )
}

#[test]
fn a_new_struct_is_zero_where_another_one_was() {
    let mut rng = Rng::new("a_new_struct_is_zero_where_another_one_was");
    let engines = [OptLevel::None, OptLevel::Speed]
        .map(|level| engine(|config| _ = config.cranelift_opt_level(level).consume_fuel(true)));
    for round in 0..rounds(30) {
        // Sizes on both sides of what code makes zero itself.
        let fields: Vec<_> = (0..round).map(|_| rng.below(FIELDS.len() as u64) as usize).collect();
        for engine in &engines {
            let (mut store, instance) = instantiate(engine, &full_and_new(&fields));
            store.add_fuel(u64::MAX).unwrap();
            let run = instance.get_typed_func::<i32, i64, _>(&mut store, "run").unwrap();
            // Some collections long.
            let times = 3_000_000 / (16 + 8 * fields.len() as i32);
            assert_eq!(run.call(&mut store, times).unwrap(), 0, "{fields:?}");
        }
    }
}

/// Notes the most bytes that a heap was to have.
#[derive(Default)]
struct Most(usize);

impl ResourceLimiter for Most {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> bool {
        self.0 = self.0.max(desired);
        true
    }

    fn table_growing(&mut self, _: u32, _: u32, _: Option<u32>) -> bool {
        true
    }
}

/// Makes structs of two sizes, and forgets them; keeps so many.
const FORGETS: &str = r#"(module
    (type $small (struct (field i32) (field (ref null $small))))
    (type $large (struct (field i64 i64 i64 i64 i64) (field (ref null $small))))
    (func (export "run") (param $times i32) (param $kept i32) (result i32)
        (local $list (ref null $small)) (local $found i32)
        (loop $keep
            (local.set $list (struct.new $small (local.get $kept) (local.get $list)))
            (br_if $keep (local.tee $kept (i32.sub (local.get $kept) (i32.const 1)))))
        (loop $again
            (drop (struct.new $small (local.get $times) (local.get $list)))
            (drop (struct.new $large (i64.const -1) (i64.const -1) (i64.const -1) (i64.const -1)
                (i64.const -1) (local.get $list)))
            (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
        (loop $count
            (if (ref.is_null (local.get $list)) (then (return (local.get $found))))
            (local.set $found (i32.add (local.get $found) (i32.const 1)))
            (if (i32.ne (struct.get $small 0 (local.get $list)) (local.get $found))
                (then (return (i32.const -1))))
            (local.set $list (struct.get $small 1 (local.get $list)))
            (br $count))
        (unreachable)))"#;

fn most(engine: &Engine, kept: i32) -> usize {
    let mut store = Store::new(engine, Most::default());
    store.limiter(|most| most);
    let _ = store.add_fuel(u64::MAX);
    let module = Module::new(engine, FORGETS).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, (300_000, kept)).unwrap(), kept);
    store.data().0
}

/// 28 MB are made. Between two collections there are as many bytes as the last one left, and at least
/// 1 MiB; a heap grows by a quarter.
#[test]
fn forgotten_structs_make_room_for_others() {
    for metered in [false, true] {
        let engine = engine(|config| _ = config.consume_fuel(metered));
        let most_of_few = most(&engine, 1);
        assert!((64 << 10..2 << 20).contains(&most_of_few), "{most_of_few} bytes, {metered}");
        let most_of_many = most(&engine, 100_000);
        let kept = 100_000 * 32;
        assert!((kept..3 * kept).contains(&most_of_many), "{most_of_many} bytes, {metered}");
    }
}
