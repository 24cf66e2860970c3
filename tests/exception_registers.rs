//! What lives over a call that throws: functions keep it in registers that others then use and save, and a
//! handler finds it as it was.

use std::fmt::Write as _;

use lampwick::{Caller, Engine, Extern, Instance, Linker, Module, OptLevel, Store, Trap};

use crate::matrix::{PLACES, drive};
use crate::support::{Rng, block_on, engine, rounds};

/// Bytes that all guests have in their memory. Nobody changes them, which code does not know, so that it
/// loads before a call what it wants behind it.
const BYTES: usize = 4096;

/// A way in which one function of a chain calls the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Table,
    Reference,
    Tail,
    Host,
}

/// Of what type a value is that lives over a call.
#[derive(Clone, Copy, Debug)]
enum Kind {
    I32,
    I64,
    F64,
    V128,
}

#[derive(Clone, Copy, Debug)]
enum Catch {
    Nothing,
    Tag(u64),
    All,
}

/// A function of a chain.
#[derive(Debug)]
struct Function {
    /// What lives over its call, and from which number its address is.
    values: Vec<(Kind, u64)>,
    way: Way,
    catch: Catch,
    /// With which tag it throws when it has caught something, or when it is the last.
    throws: Option<u64>,
    /// Whether it has more parameters and results than registers pass.
    is_large: bool,
    /// Whether it is the first one of another instance.
    is_elsewhere: bool,
}

/// What a call ends with: a value, or a tag with what is thrown.
type Outcome = Result<u64, (u64, u64)>;

const TAGS: u64 = 3;
const CAUGHT: u64 = 0x5555;
const ALL: u64 = 99;

/// The tag of what the host does not let through.
const HOST: u64 = 1;

/// A chain of functions, each of which calls the next one in its way.
#[derive(Debug)]
struct Chain {
    functions: Vec<Function>,
    memory: Vec<u8>,
}

impl Chain {
    fn random(rng: &mut Rng) -> Self {
        let len = 2 + rng.below(7) as usize;
        let mut functions: Vec<Function> = Vec::new();
        for index in 0..len {
            let (is_first, is_last) = (index == 0, index == len - 1);
            let catch = match rng.below(4) {
                _ if is_last => Catch::Nothing,
                0 => Catch::Nothing,
                1 => Catch::All,
                _ => Catch::Tag(rng.below(TAGS)),
            };
            let kinds = [Kind::I64, Kind::I64, Kind::I64, Kind::I32, Kind::F64, Kind::V128];
            let value = |rng: &mut Rng| (kinds[rng.below(6) as usize], rng.next() % (1 << 40));
            functions.push(Function {
                values: (0..rng.below(9)).map(|_| value(rng)).collect(),
                way: [Way::Direct, Way::Direct, Way::Table, Way::Reference, Way::Tail, Way::Host]
                    [rng.below(6) as usize],
                catch,
                throws: (rng.one_in(3) || is_last && !rng.one_in(8)).then(|| rng.below(TAGS)),
                is_large: !is_first && rng.one_in(4),
                is_elsewhere: is_first || rng.one_in(4),
            });
        }
        for index in 0..len {
            let next = functions.get(index + 1).map(|next| (next.is_large, next.is_elsewhere));
            let this = &mut functions[index];
            let can = match (this.way, next) {
                (Way::Tail, Some((is_large, _))) => {
                    matches!(this.catch, Catch::Nothing) && is_large == this.is_large
                }
                (Way::Host, Some((is_large, is_elsewhere))) => !is_large && !is_elsewhere,
                _ => true,
            };
            if !can {
                this.way = Way::Direct;
            }
        }
        Self { functions, memory: (0..BYTES).map(|_| rng.next() as u8).collect() }
    }

    fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.memory[at as usize..][..8].try_into().unwrap())
    }

    /// What the function at `index` does.
    fn expected(&self, index: usize, arg: u64) -> Outcome {
        let this = &self.functions[index];
        let next = arg.wrapping_mul(5).wrapping_add(1);
        let mut caught = false;
        let mut outcome = match self.functions.get(index + 1) {
            None => arg,
            Some(callee) if this.way == Way::Tail => {
                assert_eq!(callee.is_large, this.is_large);
                return self.expected(index + 1, next);
            }
            Some(_) => match self.expected(index + 1, next) {
                Ok(value) => value,
                Err((_, value)) if this.way == Way::Host => value.wrapping_add(HOST),
                Err((tag, value)) => {
                    caught = true;
                    match this.catch {
                        Catch::All => ALL,
                        Catch::Tag(known) if known == tag => value ^ CAUGHT,
                        _ => return Err((tag, value)),
                    }
                }
            },
        };
        for &(kind, number) in &this.values {
            let at = (arg ^ number) & 0xff0;
            let bits = match kind {
                Kind::I32 => self.word(at) & 0xffff_ffff,
                Kind::I64 | Kind::F64 => self.word(at),
                Kind::V128 => self.word(at) ^ self.word(at + 8).rotate_left(1),
            };
            outcome = outcome.rotate_left(9) ^ bits;
        }
        let is_last = index + 1 == self.functions.len();
        match this.throws {
            Some(tag) if caught || is_last => Err((tag, outcome)),
            _ => Ok(outcome),
        }
    }

    /// Where the instances begin in the chain, and its end.
    fn bounds(&self) -> Vec<usize> {
        let starts = self.functions.iter().enumerate().filter(|(_, it)| it.is_elsewhere);
        starts.map(|(index, _)| index).chain([self.functions.len()]).collect()
    }

    /// The module with the functions from `start` to `end`.
    fn module(&self, start: usize, end: usize) -> String {
        let mut text = String::from(
            r#"(module
            (type $small (func (param i64) (result i64)))
            (type $large (func (param i64 i64 i64 i64 i64 i64 i64 i64) (result i64 i64)))
            (import "host" "call" (func $call (param i32 i64) (result i64)))
            "#,
        );
        for tag in 0..TAGS {
            let _ = writeln!(text, r#"(import "tags" "t{tag}" (tag $t{tag} (param i64)))"#);
        }
        if let Some(next) = self.functions.get(end) {
            let ty = next.ty();
            let _ = writeln!(text, r#"(import "m{end}" "f{end}" (func $f{end} (type {ty})))"#);
        }
        let last = (end + 1).min(self.functions.len());
        let names: String = (start..last).map(|index| format!(" $f{index}")).collect();
        let bytes: String = self.memory.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let _ = writeln!(text, "(table funcref (elem{names}))");
        let _ = writeln!(text, "(memory 1) (data (i32.const 0) \"{bytes}\")");
        for index in start..end {
            self.function(&mut text, index);
        }
        // The table counts from the first function of the module.
        text.replace("$base", &start.to_string()) + ")"
    }

    fn function(&self, text: &mut String, index: usize) {
        let this = &self.functions[index];
        let ty = this.ty();
        let _ = writeln!(text, r#"(func $f{index} (export "f{index}") (type {ty})"#);
        let _ = writeln!(text, "(local $h i64) (local $caught i32)");
        for (place, (kind, _)) in this.values.iter().enumerate() {
            let _ = writeln!(text, "(local $v{place} {})", kind.ty());
        }
        let arg = this.arg();
        for (place, &(kind, number)) in this.values.iter().enumerate() {
            let at = format!(
                "(i32.and (i32.wrap_i64 (i64.xor {arg} (i64.const {number}))) (i32.const 0xff0))"
            );
            let _ = writeln!(text, "(local.set $v{place} ({}.load {at}))", kind.ty());
        }
        let _ = writeln!(text, "(local.set $h {})", self.call(index));
        for (place, (kind, _)) in this.values.iter().enumerate() {
            let bits = kind.bits(place);
            let h = "(i64.rotl (local.get $h) (i64.const 9))";
            let _ = writeln!(text, "(local.set $h (i64.xor {h} {bits}))");
        }
        if let Some(tag) = this.throws {
            let when = match index + 1 == self.functions.len() {
                true => "(i32.const 1)",
                false => "(local.get $caught)",
            };
            let _ = writeln!(text, "(if {when} (then (throw $t{tag} (local.get $h))))");
        }
        let second = if this.is_large { "(i64.const 0)" } else { "" };
        let _ = writeln!(text, "(local.get $h) {second})");
    }

    /// The call of the function at `index`, as a value.
    fn call(&self, index: usize) -> String {
        let this = &self.functions[index];
        let Some(callee) = self.functions.get(index + 1) else { return this.arg().into() };
        let (next, ty) = (index + 1, callee.ty());
        let arg = format!("(i64.add (i64.mul {} (i64.const 5)) (i64.const 1))", this.arg());
        let args = if callee.is_large { vec![arg; 8].join(" ") } else { arg };
        let call = match this.way {
            Way::Direct => format!("call $f{next} {args}"),
            Way::Tail => return format!("(return_call $f{next} {args})"),
            Way::Host => format!("call $call (i32.const {next}) {args}"),
            Way::Reference => format!("call_ref {ty} {args} (ref.func $f{next})"),
            Way::Table => {
                let element = format!("(i32.sub (i32.const {next}) (i32.const $base))");
                format!("call_indirect (type {ty}) {args} {element}")
            }
        };
        let call =
            if callee.is_large { format!("(i64.add ({call}))") } else { format!("({call})") };
        let caught = format!("(local.set $caught (i32.const 1)) (i64.xor (i64.const {CAUGHT}))");
        match this.catch {
            Catch::Nothing => call,
            Catch::Tag(tag) => format!(
                "(block $after (result i64) (block $h (result i64)
                    (br $after (try_table (result i64) (catch $t{tag} $h) {call}))) {caught})"
            ),
            Catch::All => format!(
                "(block $after (result i64) (block $h
                    (br $after (try_table (result i64) (catch_all $h) {call})))
                    (i64.const {}) {caught})",
                ALL ^ CAUGHT
            ),
        }
    }
}

impl Function {
    fn ty(&self) -> &'static str {
        if self.is_large { "$large" } else { "$small" }
    }

    /// The argument, which a large function takes from the stack.
    fn arg(&self) -> &'static str {
        if self.is_large { "(local.get 7)" } else { "(local.get 0)" }
    }
}

impl Kind {
    fn ty(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F64 => "f64",
            Self::V128 => "v128",
        }
    }

    /// The bits of the value in a local.
    fn bits(self, place: usize) -> String {
        let value = format!("(local.get $v{place})");
        match self {
            Self::I32 => format!("(i64.extend_i32_u {value})"),
            Self::I64 => value,
            Self::F64 => format!("(i64.reinterpret_f64 {value})"),
            Self::V128 => format!(
                "(i64.xor (i64x2.extract_lane 0 {value})
                    (i64.rotl (i64x2.extract_lane 1 {value}) (i64.const 1)))"
            ),
        }
    }
}

/// Calls an export of the caller's, and makes a value of an exception.
fn linker(engine: &Engine) -> Linker<()> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap2_async("host", "call", |mut caller: Caller<'_, ()>, index: i32, arg: i64| {
            Box::new(async move {
                let callee = caller.get_export(&format!("f{index}")).and_then(Extern::into_func);
                let callee = callee.unwrap().typed::<i64, i64, _>(&caller)?;
                match callee.call_async(&mut caller, arg).await {
                    Ok(value) => Ok::<_, Trap>(value),
                    Err(trap) => {
                        let exception = trap.exception().expect("it is one");
                        Ok(exception.values()[0].unwrap_i64().wrapping_add(HOST as i64))
                    }
                }
            })
        })
        .unwrap();
    linker
}

const TAG_MODULE: &str = r#"(module (tag (export "t0") (param i64))
    (tag (export "t1") (param i64)) (tag (export "t2") (param i64)))"#;

/// A store with the instances of a chain; the first one, and the one with the tags.
fn start(engine: &Engine, chain: &Chain) -> (Store<()>, Instance, Instance) {
    let mut store = Store::new(engine, ());
    if store.add_fuel(u64::MAX / 2).is_ok() {
        store.fuel_async_yield_interval(Some(12)).unwrap();
    }
    let mut linker = linker(engine);
    let tags = Module::new(engine, TAG_MODULE).unwrap();
    let tags = block_on(linker.instantiate_async(&mut store, &tags)).unwrap();
    linker.instance(&mut store, "tags", tags).unwrap();
    let bounds = chain.bounds();
    let mut first = tags;
    for range in bounds.windows(2).rev() {
        let mut module = Module::new(engine, chain.module(range[0], range[1])).unwrap();
        if range[0] % 2 == 0 {
            // SAFETY: it is an artifact of ours.
            module = unsafe { Module::deserialize(engine, module.serialize().unwrap()) }.unwrap();
        }
        first = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        linker.instance(&mut store, &format!("m{}", range[0]), first).unwrap();
    }
    (store, first, tags)
}

#[test]
fn what_lives_over_a_call_is_in_handlers_as_it_was() {
    let mut rng = Rng::new("what_lives_over_a_call_is_in_handlers_as_it_was");
    let engines = [
        (OptLevel::Speed, false, false),
        (OptLevel::Speed, true, false),
        (OptLevel::None, false, true),
        (OptLevel::None, true, false),
    ]
    .map(|(level, metered, interruptable)| {
        engine(|config| {
            config.cranelift_opt_level(level).consume_fuel(metered).async_support(true);
            config.interruptable(interruptable);
        })
    });
    let mut thrown = 0;
    for _ in 0..rounds(40) {
        let chain = Chain::random(&mut rng);
        for engine in &engines {
            let (mut store, instance, tags) = start(engine, &chain);
            let run = instance.get_typed_func::<i64, i64, _>(&mut store, "f0").unwrap();
            for place in PLACES {
                let arg = rng.next() >> 1;
                let result = drive(place, run.call_async(&mut store, arg as i64));
                let result = result.unwrap_or_else(|_| panic!("{place:?} panics: {chain:?}"));
                let outcome = result.map(|value| value as u64).map_err(|trap| {
                    let exception = trap.exception().unwrap_or_else(|| panic!("{trap}: {chain:?}"));
                    let tag = (0..TAGS).find(|tag| {
                        let known = tags.get_tag(&mut store, &format!("t{tag}"));
                        known == Some(exception.tag())
                    });
                    (tag.unwrap(), exception.values()[0].unwrap_i64() as u64)
                });
                assert_eq!(outcome, chain.expected(0, arg), "{place:?}, {arg}: {chain:?}");
                thrown += u32::from(chain.expected(0, arg).is_err());
            }
        }
    }
    assert!(thrown > 0, "no exception has reached the host");
}
