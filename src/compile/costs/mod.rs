//! What operators cost: classes of them, and tables with a cost for each class.
//!
//! `class` says which class an operator belongs to. How costs are charged is in `env/fuel`.

mod atomic;
mod class;
mod vector;

pub(super) use class::{class_of, is_idle};

macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident, $name:literal, at least $least:literal;)*) => {
        /// A class of operators that cost the same; see [`OperatorCosts`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum OperatorClass {
            $($(#[$doc])* $class,)*
        }

        impl OperatorClass {
            /// All classes.
            pub const ALL: &[Self] = &[$(Self::$class,)*];

            /// What the class is called in errors.
            pub(in crate::compile) fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $name,)*
                }
            }

            /// What an operator of the class costs at the least, whatever a table says.
            fn least(self) -> u16 {
                match self {
                    $(Self::$class => $least,)*
                }
            }
        }
    };
}

classes! {
    /// Entering a function. Costs at least 1.
    FunctionEntry, "function entry", at least 1;
    /// `i32.const`, `i64.const`, `f32.const`, `f64.const`, `v128.const`.
    Constant, "constant", at least 0;
    /// `local.get`, `local.set`, `local.tee`.
    Local, "local", at least 0;
    /// `global.get`, `global.set`.
    Global, "global", at least 0;
    /// `select`, with a type or without.
    Select, "select", at least 0;
    /// Integer operators that are in no other class: sums and differences, logic, shifts and
    /// rotations, comparisons, counted bits, sign extension within a type.
    Integer, "integer", at least 0;
    /// `i32.mul`, `i64.mul`.
    Multiplication, "multiplication", at least 0;
    /// Integer division and remainder.
    Division, "division", at least 0;
    /// Float operators that are in no other class: sums, differences and products, comparisons,
    /// rounding, signs, `min` and `max`.
    Float, "float", at least 0;
    /// Float division and square root.
    FloatDivision, "float division", at least 0;
    /// From one numeric type to another: wrapping, extension, truncation, conversion, promotion,
    /// demotion, reinterpretation.
    Conversion, "conversion", at least 0;
    /// Vector operators that are in no other class: bits, lanes, integer sums and comparisons, shifts,
    /// changes of width, conversions.
    Vector, "vector", at least 0;
    /// Products of integer lanes.
    VectorMultiplication, "vector multiplication", at least 0;
    /// Operators of float lanes that are in no other class.
    VectorFloat, "vector float", at least 0;
    /// Division and square root of float lanes.
    VectorFloatDivision, "vector float division", at least 0;
    /// Loads from memory, of vectors and single lanes, too.
    Load, "load", at least 0;
    /// Stores to memory, of vectors and single lanes, too.
    Store, "store", at least 0;
    /// Every operator on shared memory: atomic loads, stores and changes, `atomic.fence`,
    /// `memory.atomic.notify`, `memory.atomic.wait32`, `memory.atomic.wait64`. Costs at least 1.
    Atomic, "atomic", at least 1;
    /// `if`, `br`, `br_if`, `br_table`, `br_on_null`, `br_on_non_null`,
    /// `br_on_cast`, `br_on_cast_fail`, whether taken or not. Costs at least 1.
    Branch, "branch", at least 1;
    /// `call`, `return_call`. Costs at least 1.
    Call, "call", at least 1;
    /// `call_indirect`, `call_ref`, `return_call_indirect`, `return_call_ref`. Costs at least 1.
    CallIndirect, "call indirect", at least 1;
    /// `throw`, `throw_ref`, without what is charged for the frames that are left and for values. Costs
    /// at least 1.
    Throw, "throw", at least 1;
    /// `ref.null`, `ref.is_null`, `ref.as_non_null`, `ref.func`, `ref.eq`, tests, casts and conversions of
    /// references.
    Reference, "reference", at least 0;
    /// `struct.get`, `struct.set`, `array.get`, `array.set`, `array.len`.
    Field, "field", at least 0;
    /// `struct.new`, `array.new`, and those that are like them, without what is charged by size. Costs at
    /// least 1.
    Allocation, "allocation", at least 1;
    /// `table.get`, `table.set`.
    Table, "table", at least 0;
    /// `memory.size`, `table.size`.
    Size, "size", at least 0;
    /// `memory.grow`, `table.grow`, without what is charged by size. Costs at least 1.
    Grow, "grow", at least 1;
    /// `memory.init`, `memory.copy`, `memory.fill`, `table.init`, `table.copy`, `table.fill`,
    /// `array.fill`, `array.copy`, `array.init_data`, `array.init_elem`, without what is charged by size; `data.drop`, `elem.drop`. Costs at least 1.
    Bulk, "bulk", at least 1;
}

/// What operators cost, in units of fuel: a table with a cost for each [`OperatorClass`].
///
/// In a new table everything costs 1. Of no class, and free under every table, are `nop`, `drop`,
/// `block`, `loop`, `try_table`, `else`, `end`, `unreachable` and `return`, which do no work. What the
/// operators of [`Grow`](OperatorClass::Grow) and [`Bulk`](OperatorClass::Bulk) charge by size
/// is the same under every table, too, since it bounds what one poll may do: 1 for each whole 64 bytes or
/// 8 elements, 1 for each page that a memory grows by.
///
/// # Whatever the table says
///
/// A guest must not compute for nothing, or its slices would never end. Therefore
///
/// - entering functions, branches, calls, growth, atomic and bulk operators cost at least 1, so that each
///   round of a loop and each call does;
/// - where an operator of another class is free it costs 1 if the 63 operators before it, in the
///   order of the function's code, were free as well. Operators of no class do not count.
///
/// # Bounds
///
/// A cost is at most 65,535, so that the operators of a function, which is never longer than
/// 7,654,321 bytes, cost less than 2^39 together, and a guest can neither overflow the counter nor owe
/// more than it will ever be given.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use lampwick::{Config, Engine, Instance, Module, OperatorClass, OperatorCosts, Store};
///
/// let costs = OperatorCosts::new()
///     .with(OperatorClass::Local, 0)
///     .with(OperatorClass::Division, 20);
/// let engine = Engine::new(Config::new().consume_fuel(true).operator_cost(costs))?;
/// let module = Module::new(
///     &engine,
///     r#"(module (func (export "half") (param i32) (result i32)
///         (i32.div_u (local.get 0) (i32.const 2))))"#,
/// )?;
/// let mut store = Store::new(&engine, ());
/// store.add_fuel(1_000)?;
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let half = instance.get_typed_func::<u32, u32, _>(&mut store, "half")?;
/// assert_eq!(half.call(&mut store, 14)?, 7);
/// // The entry 1, the local nothing, the constant 1, the division 20.
/// assert_eq!(store.fuel_consumed(), Some(22));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OperatorCosts([u16; OperatorClass::ALL.len()]);

impl OperatorCosts {
    /// The table in which everything costs 1, which is what engines have unless they are told
    /// otherwise.
    pub fn new() -> Self {
        Self::uniform(1)
    }

    /// The table in which everything costs `units`. With 0 all is free that may be.
    pub fn uniform(units: u16) -> Self {
        Self([units; OperatorClass::ALL.len()])
    }

    /// The table in which an operator of `class` costs `units`, and everything else what it costs
    /// here.
    #[must_use]
    pub fn with(mut self, class: OperatorClass, units: u16) -> Self {
        self.0[class as usize] = units;
        self
    }

    /// What an operator of `class` costs, in units of fuel: at least 1 where the class says so.
    ///
    /// ```
    /// use lampwick::{OperatorClass, OperatorCosts};
    ///
    /// let costs = OperatorCosts::uniform(0).with(OperatorClass::Load, 3);
    /// assert_eq!(costs.cost(OperatorClass::Load), 3);
    /// assert_eq!(costs.cost(OperatorClass::Integer), 0);
    /// assert_eq!(costs.cost(OperatorClass::Branch), 1);
    /// ```
    pub fn cost(&self, class: OperatorClass) -> u16 {
        self.0[class as usize].max(class.least())
    }
}

impl Default for OperatorCosts {
    fn default() -> Self {
        Self::new()
    }
}
