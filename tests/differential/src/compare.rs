//! One module on both sides, step by step.

use std::fmt::Debug;

use fastrand::Rng;
use lampwick::{CompositeKind, ExternType, HeapType, RefType, ValType};

use crate::host;
use crate::side::{Side, Stop, Trap, Value, Whose};
use crate::ways::Way;

/// What came of a module.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Both sides agreed throughout.
    Agreed(Tally),
    /// One side met a limit that the other may not have; up to there they agreed.
    Limited(String),
    /// They did not agree.
    Differed(String),
}

/// What happened in a module on which both sides agreed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Calls that returned.
    pub returned: u64,
    /// Calls that trapped, instantiations among them.
    pub trapped: u64,
    /// Calls of host functions.
    pub host_calls: u64,
}

/// Runs a module on both sides. The arguments of its functions depend on the seed, and the length
/// of slices where the way has any.
pub fn compare(wasm: &[u8], way: &Way, seed: u64) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let theirs = match way.compile_theirs(wasm) {
        Ok(module) => module,
        Err(error) if way.is_alone() => {
            return Outcome::Differed(format!("not accepted by theirs: {error:?}"));
        }
        Err(error) => return Outcome::Limited(format!("not accepted by theirs: {error}")),
    };
    let ours = match way.compile_ours(wasm) {
        Ok(module) => module,
        Err(error) => return Outcome::Differed(format!("not accepted by ours: {error:?}")),
    };
    let exports = Exports::of(&ours);
    let slice = rng.u64(1..=100);
    let fresh = || Pair {
        ours: way.ours(&ours, slice),
        theirs: way.theirs(&theirs, slice),
        exports: &exports,
        tally: Tally::default(),
    };
    let mut pair = fresh();
    match pair.run(&mut rng, fresh) {
        Ok(()) => Outcome::Agreed(pair.tally),
        Err(outcome) => outcome,
    }
}

/// What a module exports.
struct Exports {
    /// Functions, with the types of their parameters.
    functions: Vec<(String, Vec<ValType>)>,
    /// Everything else.
    others: Vec<String>,
}

impl Exports {
    fn of(module: &lampwick::Module) -> Self {
        let mut exports = Self { functions: Vec::new(), others: Vec::new() };
        for export in module.exports() {
            let name = export.name().to_owned();
            match export.ty() {
                ExternType::Func(ty) => exports.functions.push((name, ty.params().collect())),
                _ => exports.others.push(name),
            }
        }
        exports
    }
}

/// Both sides of a module.
struct Pair<'a> {
    ours: Box<dyn Side>,
    theirs: Box<dyn Side>,
    exports: &'a Exports,
    tally: Tally,
}

impl Pair<'_> {
    /// Instantiates, and calls each function twice.
    fn run(&mut self, rng: &mut Rng, fresh: impl Fn() -> Self) -> Result<(), Outcome> {
        if self.instantiate()?.is_some() {
            return Ok(());
        }
        for (function, parameters) in &self.exports.functions {
            for _ in 0..2 {
                let arguments = parameters.iter().map(|ty| value(rng, *ty)).collect();
                // Some references only the module itself could make.
                let Some(arguments): Option<Vec<Value>> = arguments else { break };
                // The module's own counter may have been at its end, and is new in a new instance.
                if self.call(function, &arguments)? == Some(Trap::Unreachable) {
                    let tally = self.tally;
                    *self = Self { tally, ..fresh() };
                    if self.instantiate()?.is_some() {
                        return Ok(());
                    }
                }
            }
        }
        self.state(Whose::Instance, "at the end")
    }

    /// Instantiates on both sides; answers the trap, if there was one.
    fn instantiate(&mut self) -> Result<Option<Trap>, Outcome> {
        let ours = self.ours.instantiate();
        let theirs = self.theirs.instantiate();
        self.agree("the instantiation", ours, theirs, Whose::Host)
    }

    /// Calls a function on both sides; answers the trap, if there was one.
    fn call(&mut self, function: &str, arguments: &[Value]) -> Result<Option<Trap>, Outcome> {
        let ours = self.ours.call(function, arguments);
        let theirs = self.theirs.call(function, arguments);
        let what = format!("{function:?} with {arguments:?}");
        self.agree(&what, ours, theirs, Whose::Instance)
    }

    /// Compares how something ended, and after a trap what was left by it.
    fn agree<R: Debug + PartialEq>(
        &mut self,
        what: &str,
        ours: Result<R, Stop>,
        theirs: Result<R, Stop>,
        whose: Whose,
    ) -> Result<Option<Trap>, Outcome> {
        for stop in [ours.as_ref().err(), theirs.as_ref().err()].into_iter().flatten() {
            if let Stop::Limit(limit) = stop {
                return Err(Outcome::Limited(limit.clone()));
            }
        }
        same(what, &ours, &theirs)?;
        let calls = self.ours.take_calls();
        same(&format!("host calls of {what}"), &calls, &self.theirs.take_calls())?;
        self.tally.host_calls += calls.len() as u64;
        if let (Some(ours), Some(theirs)) = (self.ours.fuel(), self.theirs.fuel()) {
            same(&format!("fuel behind {what}"), &ours, &theirs)?;
        }
        match ours {
            Ok(_) => {
                self.tally.returned += 1;
                Ok(None)
            }
            Err(Stop::Trap(trap)) => {
                self.tally.trapped += 1;
                self.state(whose, &format!("after {trap:?} in {what}"))?;
                Ok(Some(trap))
            }
            Err(stop) => Err(Outcome::Differed(format!("{what}: both sides: {stop:?}"))),
        }
    }

    /// Compares what memories, tables and globals have, of the host as well.
    fn state(&mut self, whose: Whose, when: &str) -> Result<(), Outcome> {
        let others = self.exports.others.iter().map(|name| (Whose::Instance, name.as_str()));
        let others = others.filter(|_| whose == Whose::Instance);
        for (whose, name) in others.chain(host::STATE.iter().map(|name| (Whose::Host, *name))) {
            let ours = self.ours.state(whose, name);
            let theirs = self.theirs.state(whose, name);
            if let Some(difference) = ours.difference(&theirs) {
                let text = format!("{whose:?}'s {name:?} {when}: {difference}");
                return Err(Outcome::Differed(text));
            }
        }
        Ok(())
    }
}

fn same<V: Debug + PartialEq>(what: &str, ours: &V, theirs: &V) -> Result<(), Outcome> {
    if ours == theirs {
        return Ok(());
    }
    Err(Outcome::Differed(format!("{what}: ours {ours:?}, theirs {theirs:?}")))
}

/// An argument: small, extreme, or any. None for references that are neither null nor the host's.
fn value(rng: &mut Rng, ty: ValType) -> Option<Value> {
    const EDGES: [i64; 8] = [0, 1, -1, 64, 0xffff, i32::MIN as i64, i64::MIN, i64::MAX];
    const FLOATS: [f64; 8] =
        [0.0, -0.0, 1.5, -1e10, f64::INFINITY, f64::NAN, 4e9, f64::MIN_POSITIVE];
    let integer = match rng.u8(..3) {
        0 => EDGES[rng.usize(..EDGES.len())],
        1 => rng.i64(0..100),
        _ => rng.i64(..),
    };
    let float = FLOATS[rng.usize(..FLOATS.len())];
    Some(match ty {
        ValType::I32 => Value::I32(integer as i32),
        ValType::I64 => Value::I64(integer),
        ValType::F32 => Value::F32((float as f32).to_bits()),
        ValType::F64 => Value::F64(float.to_bits()),
        ValType::V128 => Value::V128(rng.u128(..)),
        ValType::ExternRef => Value::Extern(rng.bool().then(|| rng.u32(..10))),
        ValType::FuncRef => Value::Function(false),
        ValType::Ref(ty) => return reference(integer as i32, ty),
    })
}

/// An integer where one is accepted, else null.
fn reference(integer: i32, ty: RefType) -> Option<Value> {
    let takes_integers = matches!(ty.heap_type(), HeapType::Any | HeapType::Eq | HeapType::I31);
    match ty.heap_type() {
        _ if takes_integers && (integer & 1 == 0 || !ty.is_nullable()) => {
            Some(Value::Any(Some(integer << 1 >> 1)))
        }
        _ if !ty.is_nullable() => None,
        HeapType::Func | HeapType::NoFunc => Some(Value::Function(false)),
        HeapType::Concrete(ty) if ty.kind() == CompositeKind::Func => Some(Value::Function(false)),
        HeapType::Extern | HeapType::NoExtern => Some(Value::Extern(None)),
        HeapType::Exn | HeapType::NoExn => Some(Value::Exception(false)),
        _ => Some(Value::Any(None)),
    }
}
