//! What the compiler can check of the API: which types may be sent, compared, shown; and the
//! contexts.

use std::fmt::Debug;

use lampwick::{
    AsContext, AsContextMut, Caller, Config, Engine, Extern, ExternRef, Func, FuncType, Global,
    Instance, InstancePre, Linker, Memory, MemoryType, Module, Store, StoreContext,
    StoreContextMut, Strategy, Table, Trap, TypedFunc, Val, ValType,
};

use crate::support::{asynchronous, block_on, instantiate, panic_of};

fn send_sync<T: Send + Sync>() {}
fn send<T: Send>(value: T) -> T {
    value
}
fn debug<T: Debug>() {}
fn copy<T: Copy>() {}

#[test]
fn types_are_send_and_sync() {
    send_sync::<Engine>();
    send_sync::<Config>();
    send_sync::<Module>();
    send_sync::<Func>();
    send_sync::<TypedFunc<(i32, Option<ExternRef>), Option<Func>>>();
    send_sync::<Global>();
    send_sync::<Table>();
    send_sync::<Memory>();
    send_sync::<Instance>();
    send_sync::<Linker<()>>();
    send_sync::<Linker<std::cell::Cell<i32>>>();
    send_sync::<InstancePre<std::cell::Cell<i32>>>();
    send_sync::<ExternRef>();
    send_sync::<Extern>();
    send_sync::<Val>();
    send_sync::<Trap>();
    send_sync::<Store<()>>();
    send_sync::<StoreContext<'_, ()>>();
    send_sync::<StoreContextMut<'_, ()>>();
    send_sync::<Caller<'_, ()>>();
}

#[test]
fn types_can_be_shown_and_handles_copied() {
    debug::<Engine>();
    debug::<Config>();
    debug::<Module>();
    debug::<Linker<()>>();
    debug::<InstancePre<()>>();
    debug::<Store<()>>();
    debug::<StoreContext<'_, ()>>();
    debug::<StoreContextMut<'_, ()>>();
    debug::<Caller<'_, ()>>();
    debug::<TypedFunc<(), ()>>();
    debug::<Trap>();
    debug::<Extern>();
    copy::<Func>();
    copy::<TypedFunc<(i32, i64), Option<ExternRef>>>();
    copy::<Instance>();
    copy::<Memory>();
    copy::<Table>();
    copy::<Global>();
    let shown = format!("{:?}", Store::new(&Engine::default(), "the data"));
    assert!(shown.contains("the data"), "{shown}");
}

#[test]
fn futures_are_send() {
    let engine = asynchronous();
    let module =
        Module::new(&engine, r#"(module (func (export "f") (result i32) i32.const 6))"#).unwrap();
    let mut store = Store::new(&engine, String::new());
    let linker = Linker::new(&engine);
    let instance = block_on(send(linker.instantiate_async(&mut store, &module))).unwrap();
    block_on(send(Instance::new_async(&mut store, &module, &[]))).unwrap();
    block_on(send(linker.clone().module_async(&mut store, "m", &module))).map(drop).unwrap();
    let pre = linker.instantiate_pre(&mut store, &module).unwrap();
    block_on(send(pre.instantiate_async(&mut store))).unwrap();
    let func = instance.get_func(&mut store, "f").unwrap();
    block_on(send(func.call_async(&mut store, &[]))).unwrap();
    let typed = func.typed::<(), i32, _>(&store).unwrap();
    assert_eq!(block_on(send(typed.call_async(&mut store, ()))).unwrap(), 6);
}

fn size(context: impl AsContext, memory: Memory) -> u64 {
    memory.size(&context)
}

fn grow(mut context: impl AsContextMut, memory: Memory) -> u64 {
    memory.grow(&mut context, 1).unwrap();
    memory.size(context.as_context())
}

#[test]
fn every_kind_of_context_will_do() {
    let mut store = Store::<i32>::new(&Engine::default(), 4);
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    assert_eq!(size(&store, memory), 1);
    assert_eq!(size(store.as_context(), memory), 1);
    assert_eq!(grow(&mut store, memory), 2);
    assert_eq!(grow(store.as_context_mut(), memory), 3);
    assert_eq!(size(StoreContext::from(&store), memory), 3);
    let mut context = StoreContextMut::from(&mut store);
    *context.data_mut() += 1;
    assert_eq!(*context.data(), 5);
    assert_eq!(grow(&mut context, memory), 4);
    assert!(Engine::same(context.engine(), context.as_context().engine()));
    let func = Func::wrap(&mut context, move |mut caller: Caller<'_, i32>| {
        assert_eq!(grow(&mut caller, memory), 5);
        assert_eq!(size(&caller, memory), 5);
        *caller.data_mut() += memory.data(&caller).len() as i32;
    });
    func.call(&mut context, &[]).unwrap();
    assert_eq!(*context.as_context().data(), 5 + 5 * 65536);
    assert_eq!(store.into_data(), 5 + 5 * 65536);
}

#[test]
fn values_know_their_type_and_can_be_unwrapped() {
    let pairs = [
        (Val::I32(1), ValType::I32),
        (Val::I64(1), ValType::I64),
        (Val::F32(1), ValType::F32),
        (Val::F64(1), ValType::F64),
        (Val::V128(1), ValType::V128),
        (Val::FuncRef(None), ValType::FuncRef),
        (Val::null(), ValType::ExternRef),
    ];
    for (value, ty) in &pairs {
        assert_eq!(value.ty(), *ty);
        assert_eq!(value.i32().is_some(), *ty == ValType::I32);
        assert_eq!(value.funcref().is_some(), *ty == ValType::FuncRef);
        assert_eq!(ty.is_ref(), matches!(ty, ValType::FuncRef | ValType::ExternRef));
        assert!(!(ty.is_ref() && ty.is_num()));
    }
    assert_eq!(panic_of(|| Val::I32(1).unwrap_f32()), "expected f32, found i32");
    assert_eq!(Val::from(1.5_f64).unwrap_f64(), 1.5);
    assert_eq!(Val::from(-1_i64).unwrap_i64(), -1);
    let func = Func::wrap(&mut Store::<()>::default(), || ());
    assert!(Val::from(func).funcref().unwrap().is_some());
}

#[test]
fn functions_of_another_type_are_refused_with_both() {
    let (mut store, instance) = instantiate(
        &Engine::default(),
        r#"(module (func (export "f") (param i32 externref) (result f32) unreachable))"#,
    );
    let func = instance.get_func(&mut store, "f").unwrap();
    assert!(func.typed::<(i32, Option<ExternRef>), f32, _>(&store).is_ok());
    assert!(func.typed::<(u32, Option<ExternRef>), f32, _>(&store).is_ok(), "signs are the host's");
    for text in [
        func.typed::<(), f32, _>(&store).unwrap_err(),
        func.typed::<(i32, Option<Func>), f32, _>(&store).unwrap_err(),
        func.typed::<(i32, Option<ExternRef>), (), _>(&store).unwrap_err(),
        func.typed::<(i32, Option<ExternRef>), (f32, f32), _>(&store).unwrap_err(),
    ] {
        assert!(text.to_string().contains("[i32 externref] -> [f32]"), "{text}");
    }
    let ty = func.ty(&store);
    assert_eq!(ty, FuncType::new([ValType::I32, ValType::ExternRef], [ValType::F32]));
}

#[test]
fn configurations_chain() {
    let mut config = Config::new();
    config.consume_fuel(true).async_support(true).parallel_compilation(false);
    config.strategy(Strategy::Cranelift).unwrap().max_wasm_stack(1 << 18).unwrap();
    config.cranelift_nan_canonicalization(true).guard_before_linear_memory(false);
    let engine = Engine::new(&config.clone()).unwrap();
    assert!(format!("{:?}", engine.config()).contains("async_support: true"));
    let module = Module::new(&engine, "(module)").unwrap();
    assert!(Engine::same(module.engine(), &engine));
}
