//! Programs as they are written against the API of the generation that `Store` comes from: only
//! the crate's name was replaced.

use lampwick as wasmtime;

use wasmtime::{
    AsContext, AsContextMut, Caller, Config, Engine, ExportType, Extern, ExternRef, ExternType,
    Func, FuncType, Global, GlobalType, ImportType, Instance, IntoFunc, Linker, Memory,
    MemoryAccessError, MemoryType, Module, Mutability, Store, Table, TableType, Tag, Trap,
    TypedFunc, Val, ValType, WasmParams, WasmResults, WasmRet, WasmTy,
};

use crate::support::{asynchronous, block_on, panic_of};

#[test]
fn hello_world() -> anyhow::Result<()> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (func $hello (import "" "hello")) (func (export "run") (call $hello)))"#,
    )?;
    let mut store = Store::new(&engine, Vec::new());
    let hello = Func::wrap(&mut store, |mut caller: Caller<'_, Vec<String>>| {
        caller.data_mut().push("hello".to_owned());
    });
    let instance = Instance::new(&mut store, &module, &[hello.into()])?;
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
    run.call(&mut store, ())?;
    assert_eq!(store.data(), &["hello"]);
    Ok(())
}

#[test]
fn the_greatest_common_divisor_untyped() -> anyhow::Result<()> {
    let mut store = Store::<()>::default();
    let wat = r#"(module (func (export "gcd") (param i32 i32) (result i32) (local i32)
        (loop
            (local.set 2 (local.get 1))
            (local.set 1 (i32.rem_u (local.get 0) (local.get 1)))
            (local.set 0 (local.get 2))
            (br_if 0 (local.get 1)))
        (local.get 0)))"#;
    let module = Module::new(store.engine(), wat)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let gcd = instance.get_func(&mut store, "gcd").expect("`gcd` is exported");
    let results = gcd.call(&mut store, &[Val::from(6_i32), Val::I32(27)])?;
    assert_eq!(results[0].unwrap_i32(), 3);
    Ok(())
}

#[test]
fn values_are_made_and_unwrapped() {
    let mut store = Store::<()>::default();
    let func = Func::wrap(&mut store, || {});
    let reference = ExternRef::new("host");
    assert_eq!((Val::from(-1_i32).i32(), Val::from(7_u32).unwrap_i32()), (Some(-1), 7));
    assert_eq!((Val::from(-1_i64).i64(), Val::from(7_u64).unwrap_i64()), (Some(-1), 7));
    assert_eq!((Val::from(0.5_f32).f32(), Val::F32(0x3f00_0000).unwrap_f32()), (Some(0.5), 0.5));
    assert_eq!((Val::from(0.5_f64).f64(), Val::F64(0x3fe0 << 48).unwrap_f64()), (Some(0.5), 0.5));
    assert_eq!((Val::from(3_u128).v128(), Val::V128(3).unwrap_v128()), (Some(3), 3));
    assert!(Val::from(func).funcref().is_some_and(|func| func.is_some()));
    assert!(Val::FuncRef(None).unwrap_funcref().is_none());
    assert!(Val::from(reference.clone()).externref().flatten().unwrap().ptr_eq(&reference));
    assert!(Val::null().unwrap_externref().is_none());
    assert!(Val::I32(1).i64().is_none() && Val::null().funcref().is_none());
    assert_eq!(panic_of(|| Val::I64(1).unwrap_i32()), "expected i32, found i64");
}

#[test]
fn a_library_generic_over_its_types() {
    fn identity<T, S: Default>(value: T, same: impl Fn(&T, &T) -> bool)
    where
        T: WasmTy + WasmParams + WasmResults + WasmRet + Clone + 'static,
    {
        let mut store = Store::<S>::default();
        let func = Func::wrap(&mut store, |value: T| -> Result<T, Trap> { Ok(value) });
        assert_eq!(func.ty(&store).params().collect::<Vec<_>>(), [T::valtype()]);
        assert_eq!(<T as WasmParams>::types().collect::<Vec<_>>(), [T::valtype()]);
        let typed: TypedFunc<T, T> = func.typed(&store).unwrap();
        assert!(same(&typed.call(&mut store, value.clone()).unwrap(), &value));
        // SAFETY: `typed` has checked the type.
        let unchecked = unsafe { TypedFunc::<T, T>::new_unchecked(*typed.func()) };
        assert!(same(&unchecked.call(&mut store, value.clone()).unwrap(), &value));
    }
    identity::<_, ()>(-5_i32, PartialEq::eq);
    identity::<_, u8>(u32::MAX, PartialEq::eq);
    identity::<_, ()>(i64::MIN, PartialEq::eq);
    identity::<_, ()>(u64::MAX, PartialEq::eq);
    identity::<_, ()>(1.5_f32, PartialEq::eq);
    identity::<_, ()>(-0.5_f64, PartialEq::eq);
    identity::<Option<Func>, ()>(None, |a, b| a.is_none() && b.is_none());
    identity::<_, ()>(Some(ExternRef::new(7)), |a, b| {
        a.as_ref().unwrap().ptr_eq(b.as_ref().unwrap())
    });
}

/// A guest that adds up what its import, which takes `count` parameters, makes of 1, 2, 4, ….
fn summing(engine: &Engine, count: usize) -> Module {
    let params = "i32 ".repeat(count);
    let args: String = (0..count).map(|index| format!("(i32.const {}) ", 1 << index)).collect();
    let wat = format!(
        r#"(module (import "host" "sum" (func $sum (param {params}) (result i32)))
            (func (export "run") (result i32) (call $sum {args})))"#
    );
    Module::new(engine, wat).unwrap()
}

macro_rules! every_arity {
    ($($wrap:ident $define:ident $count:literal: $($arg:ident)*;)*) => {
        [$(
            (
                $count,
                (|store| {
                    Func::$wrap(store, |mut caller: Caller<'_, u32>, $($arg: i32),*| {
                        Box::new(async move {
                            *caller.data_mut() += 1;
                            let args: &[i32] = &[$($arg),*];
                            args.iter().sum::<i32>()
                        })
                    })
                }) as fn(&mut Store<u32>) -> Func,
                (|linker| {
                    let sum = linker.$define(
                        "host",
                        "sum",
                        |mut caller: Caller<'_, u32>, $($arg: i32),*| {
                            Box::new(async move {
                                *caller.data_mut() += 1;
                                let args: &[i32] = &[$($arg),*];
                                Ok::<_, Trap>(args.iter().sum::<i32>())
                            })
                        },
                    );
                    sum.unwrap();
                }) as fn(&mut Linker<u32>),
            ),
        )*]
    };
}

#[test]
fn async_closures_of_every_arity() {
    let arities = every_arity! {
        wrap0_async func_wrap0_async 0:;
        wrap1_async func_wrap1_async 1: a;
        wrap2_async func_wrap2_async 2: a b;
        wrap3_async func_wrap3_async 3: a b c;
        wrap4_async func_wrap4_async 4: a b c d;
        wrap5_async func_wrap5_async 5: a b c d e;
        wrap6_async func_wrap6_async 6: a b c d e f;
        wrap7_async func_wrap7_async 7: a b c d e f g;
        wrap8_async func_wrap8_async 8: a b c d e f g h;
        wrap9_async func_wrap9_async 9: a b c d e f g h i;
        wrap10_async func_wrap10_async 10: a b c d e f g h i j;
        wrap11_async func_wrap11_async 11: a b c d e f g h i j k;
        wrap12_async func_wrap12_async 12: a b c d e f g h i j k l;
        wrap13_async func_wrap13_async 13: a b c d e f g h i j k l m;
        wrap14_async func_wrap14_async 14: a b c d e f g h i j k l m n;
        wrap15_async func_wrap15_async 15: a b c d e f g h i j k l m n o;
        wrap16_async func_wrap16_async 16: a b c d e f g h i j k l m n o p;
    };
    let engine = asynchronous();
    for (count, wrap, define) in arities {
        let module = summing(&engine, count);
        let mut store = Store::new(&engine, 0);
        let func = wrap(&mut store);
        assert_eq!(func.ty(&store).params().len(), count);
        let first = block_on(Instance::new_async(&mut store, &module, &[func.into()])).unwrap();
        let mut linker = Linker::new(&engine);
        define(&mut linker);
        let second = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        for instance in [first, second] {
            let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
            assert_eq!(block_on(run.call_async(&mut store, ())).unwrap(), (1 << count) - 1);
        }
        assert_eq!(*store.data(), 2);
    }
}

#[test]
fn bindings_that_name_the_traits_and_errors() -> anyhow::Result<()> {
    struct Host {
        memory: Option<Memory>,
    }

    /// What a generator of bindings emits for each function.
    fn bind<Params, Results>(
        linker: &mut Linker<Host>,
        name: &str,
        func: impl IntoFunc<Host, Params, Results>,
    ) -> anyhow::Result<()> {
        linker.func_wrap("host", name, func)?;
        Ok(())
    }

    fn write(
        caller: &mut Caller<'_, Host>,
        to: u32,
        bytes: &[u8],
    ) -> Result<(), MemoryAccessError> {
        let memory = caller.data().memory.expect("it was instantiated");
        memory.write(caller, to as usize, bytes)
    }

    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    bind(&mut linker, "name", |mut caller: Caller<'_, Host>, to: u32| -> Result<(), Trap> {
        Ok(write(&mut caller, to, b"lampwick").map_err(anyhow::Error::new)?)
    })?;
    bind(&mut linker, "zero", || 0_u32)?;
    let wat = r#"(module
        (import "host" "name" (func $name (param i32))) (import "host" "zero" (func (result i32)))
        (memory (export "memory") 1) (func (export "run") (param i32) (call $name (local.get 0))))"#;
    let mut store = Store::new(&engine, Host { memory: None });
    let instance = linker.instantiate(&mut store, &Module::new(&engine, wat)?)?;
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    store.data_mut().memory = Some(memory);
    let run = instance.get_typed_func::<u32, (), _>(&mut store, "run")?;
    run.call(&mut store, 65528)?;
    assert_eq!(&memory.data(&store)[65528..], b"lampwick");
    let trap = run.call(&mut store, 65529).unwrap_err();
    let source = std::error::Error::source(&trap).unwrap();
    assert!(source.is::<MemoryAccessError>(), "{trap}");
    Ok(())
}

#[test]
fn untyped_functions_of_a_linker() -> anyhow::Result<()> {
    let ty = FuncType::new([ValType::I32; 2], [ValType::I32]);
    let add = |args: &[Val], results: &mut [Val]| {
        results[0] = Val::I32(args[0].unwrap_i32() + args[1].unwrap_i32());
    };
    let engine = Engine::default();
    let mut linker = Linker::<()>::new(&engine);
    linker.func_new("host", "sum", ty.clone(), move |_, args, results| {
        add(args, results);
        Ok(())
    })?;
    let mut store = Store::new(linker.engine(), ());
    let instance = linker.instantiate(&mut store, &summing(&engine, 2))?;
    let run = instance.get_typed_func::<(), i32, _>(&mut store, "run")?;
    assert_eq!(run.call(&mut store, ())?, 3);

    let engine = asynchronous();
    let mut linker = Linker::<()>::new(&engine);
    linker.func_new_async("host", "sum", ty, move |_, args, results| {
        Box::new(async move {
            add(args, results);
            Ok(())
        })
    })?;
    let mut store = Store::new(&engine, ());
    let instance = block_on(linker.instantiate_async(&mut store, &summing(&engine, 2)))?;
    let run = instance.get_typed_func::<(), i32, _>(&mut store, "run")?;
    assert_eq!(block_on(run.call_async(&mut store, ()))?, 3);
    Ok(())
}

/// A module that exports one thing of each kind, in this order.
const EACH_KIND: &str = r#"(module
    (func (export "func") (param i32) (result f64) f64.const 1)
    (global (export "global") (mut i64) (i64.const 2))
    (table (export "table") 3 4 externref)
    (memory (export "memory") 5 6))"#;

#[test]
fn exports_are_told_apart() -> anyhow::Result<()> {
    let mut store = Store::<()>::default();
    let module = Module::new(store.engine(), EACH_KIND)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let kinds = |item: Extern| {
        let into = [item.clone().into_func().is_some(), item.clone().into_global().is_some()];
        [into[0], into[1], item.clone().into_table().is_some(), item.into_memory().is_some()]
    };
    let exports: Vec<(String, Extern)> = instance
        .exports(&mut store)
        .map(|export| (export.name().to_owned(), export.into_extern()))
        .collect();
    for (place, (name, item)) in exports.iter().enumerate() {
        assert_eq!(kinds(item.clone()), [0, 1, 2, 3].map(|kind| kind == place), "{name}");
        assert_eq!(Some(item.ty(&store)), module.get_export(name), "{name}");
    }
    assert_eq!(exports.len(), 4);
    let mut exports = instance.exports(&mut store);
    assert!(exports.next().and_then(|export| export.into_func()).is_some());
    assert!(exports.next().and_then(|export| export.into_global()).is_some());
    assert!(exports.next().and_then(|export| export.into_table()).is_some());
    assert!(exports.next().and_then(|export| export.into_memory()).is_some());
    drop(exports);
    let mut linker = Linker::new(store.engine());
    linker.instance(&mut store, "it", instance)?;
    assert_eq!(linker.iter(&mut store).count(), 4);
    Ok(())
}

#[test]
fn types_are_told_apart() -> anyhow::Result<()> {
    let module = Module::new(&Engine::default(), EACH_KIND)?;
    let types: Vec<ExternType> =
        module.exports().map(|export: ExportType<'_>| export.ty()).collect();
    for (place, ty) in types.iter().enumerate() {
        let is = [ty.func().is_some(), ty.global().is_some(), ty.table().is_some()];
        let is = [is[0], is[1], is[2], ty.memory().is_some()];
        assert_eq!(is, [0, 1, 2, 3].map(|kind| kind == place), "{ty}");
    }
    let func = types[0].unwrap_func();
    assert!(func.params().eq([ValType::I32]) && func.results().eq([ValType::F64]));
    assert_eq!(types[0], FuncType::new([ValType::I32], [ValType::F64]).into());
    let global = types[1].unwrap_global();
    assert_eq!((global.content(), global.mutability()), (&ValType::I64, Mutability::Var));
    assert_eq!(types[1], GlobalType::new(ValType::I64, Mutability::Var).into());
    let table = types[2].unwrap_table();
    assert_eq!(table.element(), ValType::ExternRef);
    assert_eq!((table.minimum(), table.maximum()), (3, Some(4)));
    assert_eq!(types[2], TableType::new(ValType::ExternRef, 3, Some(4)).into());
    let memory = types[3].unwrap_memory();
    assert_eq!((memory.minimum(), memory.maximum()), (5, Some(6)));
    assert_eq!(types[3], MemoryType::new(5, Some(6)).into());
    assert_eq!(panic_of(|| types[0].unwrap_memory()), "not a memory");
    assert_eq!(panic_of(|| types[3].unwrap_func()), "not a function");
    Ok(())
}

#[test]
fn imports_made_by_their_types() -> anyhow::Result<()> {
    // What a tool does that runs modules whose imports it does not know.
    fn stub(store: &mut Store<()>, import: &ImportType<'_>) -> anyhow::Result<Extern> {
        Ok(match import.ty() {
            ExternType::Func(ty) => {
                let text = format!("{}.{}", import.module(), import.name().unwrap_or(""));
                Func::new(store, ty, move |_, _, _| Err(Trap::new(text.clone()))).into()
            }
            ExternType::Global(ty) => Global::new(store, ty, Val::I32(4))?.into(),
            ExternType::Table(ty) => Table::new(store, ty, Val::FuncRef(None))?.into(),
            ExternType::Memory(ty) => Memory::new(store, ty)?.into(),
            ExternType::Tag(ty) => Tag::new(store, &ty)?.into(),
        })
    }
    let wat = r#"(module
        (import "a" "f" (func $f)) (import "a" "g" (global i32))
        (import "b" "t" (table 1 funcref)) (import "b" "m" (memory 1))
        (func (export "run") (call $f)) (export "g" (global 0)))"#;
    let mut store = Store::<()>::default();
    let module = Module::new(store.engine(), wat)?;
    let imports = module
        .imports()
        .map(|import| stub(&mut store, &import))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let instance = Instance::new(&mut store, &module, &imports)?;
    let global = instance.get_global(&mut store, "g").unwrap();
    assert_eq!(global.get(&mut store).i32(), Some(4));
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
    let trap: Trap = run.call(&mut store, ()).unwrap_err();
    assert_eq!(trap.display_reason().to_string(), "a.f");
    Ok(())
}

#[test]
fn a_configuration_that_is_built_step_by_step() -> anyhow::Result<()> {
    let mut config = Config::new();
    config.max_wasm_stack(1 << 19)?.async_stack_size(1 << 21)?;
    config.wasm_reference_types(true).wasm_bulk_memory(true).wasm_multi_value(true);
    config.strategy(wasmtime::Strategy::Auto)?;
    config.cranelift_opt_level(wasmtime::OptLevel::SpeedAndSize).cranelift_debug_verifier(true);
    // SAFETY: the settings change neither what code means nor what it needs of the machine.
    unsafe {
        config.cranelift_flag_enable("enable_verifier")?;
        config.cranelift_flag_set("opt_level", "none")?;
    }
    let engine = Engine::new(&config)?;
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, EACH_KIND)?;
    Instance::new(&mut store, &module, &[])?;
    // SAFETY: as above; and they are refused.
    unsafe {
        config.cranelift_flag_set("opt_level", "frantic")?;
    }
    let text = format!("{:#}", Engine::new(&config).unwrap_err());
    assert!(text.contains("opt_level"), "{text}");
    Ok(())
}

/// Calls the store's own methods on whatever has them.
macro_rules! mirrored {
    ($context:expr) => {{
        let context = $context;
        let before = context.fuel_consumed().unwrap();
        context.add_fuel(100).unwrap();
        assert_eq!(context.consume_fuel(40).unwrap(), context.get_fuel().unwrap());
        assert_eq!(context.fuel_consumed().unwrap(), before + 40);
        context.set_fuel(5_000).unwrap();
        assert_eq!(context.get_fuel().unwrap(), 5_000);
        context.fuel_async_yield_interval(Some(1_000)).unwrap();
        context.out_of_fuel_async_yield(3, 1_000);
        context.out_of_fuel_async_draw(lampwick::FuelTank::new(1), 1_000);
        context.out_of_fuel_async_park();
        context.out_of_fuel_trap();
        let handle = context.fuel_handle().unwrap();
        assert_eq!(handle.remaining(), context.get_fuel().unwrap());
        context.set_epoch_deadline(5);
        context.epoch_deadline_async_yield_and_update(5);
        context.epoch_deadline_trap();
        drop(context.interrupt_handle().unwrap());
        *context.data_mut() += 1;
        assert!(*context.data() > 0);
        assert!(Engine::same(context.engine(), &context.engine().clone()));
    }};
}

#[test]
fn every_context_mirrors_the_store() {
    let engine = crate::support::engine(|config| {
        config.async_support(true).consume_fuel(true).interruptable(true).epoch_interruption(true);
    });
    let mut store = Store::new(&engine, 0_u32);
    mirrored!(&mut store);
    mirrored!(&mut store.as_context_mut());
    let shared = store.as_context();
    assert_eq!((shared.fuel_consumed(), shared.get_fuel().unwrap()), (Some(80), 5_000));
    assert!(shared.interrupt_handle().is_ok() && Engine::same(shared.engine(), &engine));
    assert_eq!(*shared.data(), 2);
    let func = Func::wrap(&mut store, |mut caller: Caller<'_, u32>| {
        mirrored!(&mut caller);
        assert!(caller.get_export("none").is_none());
    });
    block_on(func.call_async(&mut store, &[])).unwrap();
    assert_eq!(store.into_data(), 3);
}
