//! What modules may import: the same on both sides.

use crate::generate::Family;
use crate::side::Value;

/// The module name of all imports.
pub(crate) const MODULE: &str = "host";

/// Names and types. Functions do what [`Calls::answer`] says, globals have what [`global`] says.
const IMPORTS: &str = r#"
    (import "host" "tick" (func (result i32)))
    (import "host" "note" (func (param i32 i64 f32 f64)))
    (import "host" "mix" (func (param i64 i32) (result i64)))
    (import "host" "float" (func (param f64 f32) (result f64)))
    (import "host" "narrow" (func (param f64) (result f32)))
    (import "host" "several" (func (param i32) (result i32 f64 i64)))
    (import "host" "vector" (func (param v128 i32) (result v128)))
    (import "host" "reference" (func (param externref funcref) (result externref)))
    (import "host" "fail" (func (param i32)))
    (import "host" "count" (global (mut i32)))
    (import "host" "base" (global i32))
    (import "host" "place" (global i64))
    (import "host" "memory" (memory 1 3))
    (import "host" "table" (table 6 12 funcref))"#;

/// What only our own family may import: it shows the host what references lead to.
const OWN_IMPORTS: &str = r#"
    (import "host" "look" (func (param anyref)))
    (import "host" "exchange" (func (param eqref structref) (result anyref)))"#;

/// The memory, table and variable global among the imports.
pub(crate) const STATE: &[&str] = &["count", "memory", "table"];

/// A host function of this name fails for each eighth of its arguments.
const FAILS: &str = "fail";

/// The imports of a family, as a module.
pub(crate) fn imports(family: Family) -> Vec<u8> {
    let own = if family == Family::Own { OWN_IMPORTS } else { "" };
    wat::parse_str(format!("(module {IMPORTS} {own})")).expect("the text is a module")
}

/// The number in a global.
pub(crate) fn global(name: &str) -> i32 {
    if name == "place" { -3 } else { 2 }
}

/// A host function failed.
#[derive(Debug)]
pub(crate) struct Failed;

/// The types that host functions return.
#[derive(Clone, Copy)]
pub(crate) enum Type {
    I32,
    I64,
    F32,
    F64,
    V128,
    Extern,
    Any,
}

/// What host functions were called with.
#[derive(Default)]
pub(crate) struct Calls {
    calls: Vec<(String, Vec<Value>)>,
    count: u32,
}

impl Calls {
    /// Notes a call, and answers it. What it answers depends on how many calls there were.
    pub(crate) fn answer(
        &mut self,
        function: &str,
        arguments: Vec<Value>,
        results: impl Iterator<Item = Type>,
    ) -> Result<Vec<Value>, Failed> {
        let fails = function == FAILS && matches!(arguments[0], Value::I32(n) if n & 7 == 0);
        self.calls.push((function.to_owned(), arguments));
        self.count += 1;
        if fails {
            return Err(Failed);
        }
        let count = self.count;
        let value = |ty| match ty {
            Type::I32 => Value::I32(count as i32),
            Type::I64 => Value::I64(i64::from(count) << 20),
            Type::F32 => Value::F32((count as f32 / 3.0).to_bits()),
            Type::F64 => Value::F64((-f64::from(count) / 3.0).to_bits()),
            Type::V128 => {
                Value::V128(u128::from(count) * 0x0001_0000_ffff_0000_0001_8000_0000_0001)
            }
            Type::Extern => Value::Extern((!count.is_multiple_of(3)).then_some(count)),
            Type::Any => Value::Any((!count.is_multiple_of(3)).then_some(count as i32)),
        };
        Ok(results.map(value).collect())
    }

    /// The calls since this was asked last.
    pub(crate) fn take(&mut self) -> Vec<(String, Vec<Value>)> {
        std::mem::take(&mut self.calls)
    }
}
