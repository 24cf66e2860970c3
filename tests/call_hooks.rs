//! Hooks at the borders between wasm and the host.

use std::pin::pin;

use lampwick::{
    CallHook, Caller, Engine, Extern, Func, FuncType, Instance, Module, Store, Trap, TrapCode, Val,
    ValType,
};

use crate::support::{asynchronous, block_on, count_pending, panic_of, pend, poll, trap};

/// What a hook saw, and when it is to fail or panic.
#[derive(Default)]
struct Log {
    seen: String,
    fail: Option<CallHook>,
    panic: Option<CallHook>,
}

impl Log {
    fn take(&mut self) -> String {
        std::mem::take(&mut self.seen)
    }
}

fn hooked(engine: &Engine) -> Store<Log> {
    let mut store = Store::new(engine, Log::default());
    store.call_hook(|log: &mut Log, hook| {
        log.seen.push_str(match hook {
            CallHook::CallingWasm => "wasm(",
            CallHook::ReturningFromWasm => ")wasm ",
            CallHook::CallingHost => "host[",
            CallHook::ReturningFromHost => "]host",
        });
        if log.panic == Some(hook) {
            log.panic = None;
            panic!("the hook's panic at {hook:?}");
        }
        if log.fail == Some(hook) {
            return Err(Trap::new(format!("the hook failed at {hook:?}")));
        }
        Ok(())
    });
    store
}

const GUEST: &str = r#"(module
    (import "" "host" (func $host (param i32) (result i32)))
    (memory 1)
    (func (export "twice") (param i32) (result i32)
        (call $host (call $host (local.get 0))))
    (func (export "none") (param i32) (result i32) (memory.grow (i32.const 0)))
    (func (export "trap") (param i32) (result i32) (drop (call $host (i32.const 0))) unreachable))"#;

const ONE: &str = "wasm(host[]host)wasm ";
const TWICE: &str = "wasm(host[]hosthost[]host)wasm ";

fn instance(store: &mut Store<Log>, host: impl Into<Extern>) -> Instance {
    let module = Module::new(store.engine(), GUEST).unwrap();
    Instance::new(store, &module, &[host.into()]).unwrap()
}

fn add_one(store: &mut Store<Log>) -> Func {
    Func::wrap(store, |n: i32| n + 1)
}

fn run(store: &mut Store<Log>, instance: Instance, name: &str) -> Result<i32, Trap> {
    instance.get_typed_func::<i32, i32, _>(&mut *store, name).unwrap().call(store, 1)
}

#[test]
fn crossings_have_directions() {
    use CallHook::{CallingHost, CallingWasm, ReturningFromHost, ReturningFromWasm};
    for (hook, entering) in [
        (CallingWasm, false),
        (ReturningFromWasm, true),
        (CallingHost, true),
        (ReturningFromHost, false),
    ] {
        assert_eq!((hook.entering_host(), hook.exiting_host()), (entering, !entering));
    }
}

#[test]
fn hooks_run_on_typed_and_untyped_calls_and_functions() {
    let mut store = hooked(&Engine::default());
    let ty = FuncType::new([ValType::I32], [ValType::I32]);
    let untyped = Func::new(&mut store, ty, |_, params, results| {
        results[0] = Val::I32(params[0].unwrap_i32() + 1);
        Ok(())
    });
    for host in [add_one(&mut store), untyped] {
        let instance = instance(&mut store, host);
        assert_eq!(store.data_mut().take(), "", "there is no start function");
        assert_eq!(run(&mut store, instance, "twice").unwrap(), 3);
        assert_eq!(store.data_mut().take(), TWICE);
        assert_eq!(run(&mut store, instance, "none").unwrap(), 1);
        assert_eq!(store.data_mut().take(), "wasm()wasm ");
        let func = instance.get_func(&mut store, "twice").unwrap();
        assert_eq!(func.call(&mut store, &[Val::I32(5)]).unwrap()[0].unwrap_i32(), 7);
        assert_eq!(store.data_mut().take(), TWICE);
        assert_eq!(host.call(&mut store, &[Val::I32(5)]).unwrap()[0].unwrap_i32(), 6);
        assert_eq!(store.data_mut().take(), ONE);
        run(&mut store, instance, "trap").unwrap_err();
        assert_eq!(store.data_mut().take(), ONE, "a trap comes back, too");
    }
}

#[test]
fn a_hook_is_for_functions_that_came_before_it_too() {
    let mut store = Store::new(&Engine::default(), Log::default());
    let before = add_one(&mut store);
    let instances = [instance(&mut store, before), instance(&mut store, before)];
    run(&mut store, instances[0], "twice").unwrap();
    assert_eq!(store.data_mut().take(), "");
    store.call_hook(|log: &mut Log, _| {
        log.seen.push('1');
        Ok(())
    });
    run(&mut store, instances[0], "twice").unwrap();
    assert_eq!(store.data_mut().take(), "111111");
    store.call_hook(|log: &mut Log, _| {
        log.seen.push('2');
        Ok(())
    });
    let after = add_one(&mut store);
    let last = instance(&mut store, after);
    for instance in [instances[0], instances[1], last] {
        run(&mut store, instance, "twice").unwrap();
        assert_eq!(store.data_mut().take(), "222222");
    }
}

#[test]
fn hooks_run_on_async_calls_and_functions() {
    let mut store = hooked(&asynchronous());
    let wrapped = Func::wrap1_async(&mut store, |_: Caller<'_, Log>, n: i32| {
        Box::new(async move {
            pend(2).await;
            n + 1
        })
    });
    let ty = FuncType::new([ValType::I32], [ValType::I32]);
    let untyped = Func::new_async(&mut store, ty, |_: Caller<'_, Log>, params, results| {
        Box::new(async move {
            pend(2).await;
            results[0] = Val::I32(params[0].unwrap_i32() + 1);
            Ok(())
        })
    });
    let module = Module::new(store.engine(), GUEST).unwrap();
    for host in [wrapped, untyped] {
        let instance = block_on(Instance::new_async(&mut store, &module, &[host.into()])).unwrap();
        let twice = instance.get_typed_func::<i32, i32, _>(&mut store, "twice").unwrap();
        assert!(matches!(count_pending(twice.call_async(&mut store, 1)), (4, Ok(3))));
        assert_eq!(store.data_mut().take(), TWICE);
        let results = block_on(twice.func().call_async(&mut store, &[Val::I32(1)])).unwrap();
        assert_eq!((results[0].unwrap_i32(), store.data_mut().take().as_str()), (3, TWICE));
        {
            let mut call = pin!(twice.call_async(&mut store, 1));
            assert!(poll(call.as_mut()).is_pending());
        }
        assert_eq!(store.data_mut().take(), ONE, "a call that is dropped comes back");
        drop(twice.call_async(&mut store, 1));
        assert_eq!(store.data_mut().take(), "", "this one was not made");
    }
}

#[test]
fn hooks_run_on_start_functions() {
    let text = r#"(module (import "" "" (func $host)) (start $host))"#;
    let mut store = hooked(&Engine::default());
    let module = Module::new(store.engine(), text).unwrap();
    let host = Func::wrap(&mut store, || {});
    Instance::new(&mut store, &module, &[host.into()]).unwrap();
    assert_eq!(store.data_mut().take(), ONE);
    store.data_mut().fail = Some(CallHook::CallingWasm);
    let error = trap(Instance::new(&mut store, &module, &[host.into()]).unwrap_err());
    assert!(error.to_string().contains("the hook failed at CallingWasm"));
    let mut store = hooked(&asynchronous());
    let module = Module::new(store.engine(), text).unwrap();
    let host = Func::wrap0_async(&mut store, |_: Caller<'_, Log>| Box::new(pend(1)));
    block_on(Instance::new_async(&mut store, &module, &[host.into()])).unwrap();
    assert_eq!(store.data_mut().take(), ONE);
}

#[test]
fn hooks_nest_as_calls_do() {
    let mut store = hooked(&Engine::default());
    let nested = Func::wrap(&mut store, |mut caller: Caller<'_, Log>, n: i32| {
        let trap = caller.get_export("trap").unwrap().into_func().unwrap();
        trap.typed::<i32, i32, _>(&caller).unwrap().call(&mut caller, n)
    });
    let instance = instance(&mut store, nested);
    // Each of the guest's calls of the host calls the guest again, until there are too many.
    let error = run(&mut store, instance, "trap").unwrap_err();
    assert_eq!(error.trap_code(), Some(TrapCode::StackOverflow));
    let seen = store.data_mut().take();
    let count = |what| seen.matches(what).count();
    assert_eq!((count("wasm("), count(")wasm")), (129, 129));
    assert_eq!((count("host["), count("]host")), (128, 128));
    assert!(seen.starts_with("wasm(host[wasm(host[") && seen.ends_with("]host)wasm ]host)wasm "));
}

#[test]
fn a_failing_hook_decides_what_comes_of_the_call() {
    let mut store = hooked(&Engine::default());
    let host = add_one(&mut store);
    let instance = instance(&mut store, host);
    for (hook, seen) in [
        (CallHook::CallingWasm, "wasm("),
        (CallHook::CallingHost, "wasm(host[)wasm "),
        (CallHook::ReturningFromHost, ONE),
        (CallHook::ReturningFromWasm, TWICE),
    ] {
        store.data_mut().fail = Some(hook);
        let error = run(&mut store, instance, "twice").unwrap_err();
        assert!(error.to_string().contains(&format!("the hook failed at {hook:?}")), "{error}");
        assert_eq!(store.data_mut().take(), seen);
        let in_guest = !matches!(hook, CallHook::CallingWasm | CallHook::ReturningFromWasm);
        assert_eq!(error.trace().len(), usize::from(in_guest), "{hook:?}");
    }
    store.data_mut().fail = Some(CallHook::ReturningFromWasm);
    let error = run(&mut store, instance, "trap").unwrap_err();
    assert_eq!(error.trap_code(), None, "the hook's trap replaces the guest's");
    store.data_mut().fail = None;
    assert_eq!(run(&mut store, instance, "twice").unwrap(), 3);
}

#[test]
fn a_failing_host_function_comes_back_through_the_hook() {
    let mut store = hooked(&Engine::default());
    let host = Func::wrap(&mut store, |_: i32| Err::<i32, _>(Trap::i32_exit(7)));
    let instance = instance(&mut store, host);
    assert_eq!(run(&mut store, instance, "twice").unwrap_err().i32_exit_status(), Some(7));
    assert_eq!(store.data_mut().take(), ONE);
    store.data_mut().fail = Some(CallHook::ReturningFromHost);
    assert_eq!(run(&mut store, instance, "twice").unwrap_err().i32_exit_status(), None);
}

#[test]
fn a_panic_of_the_host_comes_back_through_the_hook() {
    let mut store = hooked(&Engine::default());
    let host = Func::wrap(&mut store, |_: i32| -> i32 { panic!("the host's panic") });
    let instance = instance(&mut store, host);
    for fail in [None, Some(CallHook::ReturningFromHost), Some(CallHook::ReturningFromWasm)] {
        store.data_mut().fail = fail;
        assert_eq!(panic_of(|| run(&mut store, instance, "twice")), "the host's panic");
        assert_eq!(store.data_mut().take(), ONE);
    }
}

#[test]
fn a_panic_of_a_hook_is_one_of_the_call() {
    let mut store = hooked(&Engine::default());
    let host = add_one(&mut store);
    let instance = instance(&mut store, host);
    for (hook, seen) in [
        (CallHook::CallingWasm, "wasm("),
        (CallHook::CallingHost, "wasm(host[)wasm "),
        (CallHook::ReturningFromHost, ONE),
        (CallHook::ReturningFromWasm, TWICE),
    ] {
        store.data_mut().panic = Some(hook);
        let text = panic_of(|| run(&mut store, instance, "twice"));
        assert_eq!(text, format!("the hook's panic at {hook:?}"));
        assert_eq!(store.data_mut().take(), seen);
        assert_eq!(run(&mut store, instance, "twice").unwrap(), 3, "the store is usable");
        store.data_mut().take();
    }
}

#[test]
fn hooks_cannot_keep_a_dropped_call() {
    let mut store = hooked(&asynchronous());
    let host = Func::wrap1_async(&mut store, |_: Caller<'_, Log>, n: i32| {
        Box::new(async move {
            pend(u32::MAX).await;
            n
        })
    });
    let module = Module::new(store.engine(), GUEST).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[host.into()])).unwrap();
    let twice = instance.get_typed_func::<i32, i32, _>(&mut store, "twice").unwrap();
    for hook in [CallHook::ReturningFromHost, CallHook::ReturningFromWasm] {
        store.data_mut().fail = Some(hook);
        let mut call = Box::pin(twice.call_async(&mut store, 1));
        assert!(poll(call.as_mut()).is_pending());
        drop(call);
        assert_eq!(store.data_mut().take(), ONE);
        store.data_mut().fail = None;
        store.data_mut().panic = Some(hook);
        let mut call = Box::pin(twice.call_async(&mut store, 1));
        assert!(poll(call.as_mut()).is_pending());
        assert_eq!(panic_of(|| drop(call)), format!("the hook's panic at {hook:?}"));
        assert_eq!(store.data_mut().take(), ONE);
    }
}
