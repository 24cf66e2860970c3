//! Our side.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use lampwick::{
    Extern, ExternType, FuncType, Global, Instance, Linker, Memory, Module, Store, Table,
    Trap as Thrown, TrapCode, Val, ValType,
};

use crate::host::{self, Calls, Type};
use crate::references::{val, value};
use crate::side::{Side, State, Stop, Trap, Value, Whose};

/// What a store has.
pub(crate) type Data = Calls;

/// The text of a host function's failure.
const FAILED: &str = "the host function failed";

/// Slices that a store has. Only growth by very many pages, which is charged though it fails, takes
/// more.
const SLICES: u64 = 100_000;

/// The beginning of what a store says without fuel.
const OUT_OF_FUEL: &str = "all fuel consumed";

/// A module, and its instance.
pub(crate) struct Guest {
    store: Store<Data>,
    linker: Linker<Data>,
    module: Module,
    instance: Option<Instance>,
    sliced: bool,
}

/// The host's functions; the other imports belong to a store.
pub(crate) fn linker(imports: &Module) -> Linker<Data> {
    let mut linker = Linker::new(imports.engine());
    for import in imports.imports() {
        let name = import.name().expect("all imports have names").to_owned();
        if let ExternType::Func(ty) = import.ty() {
            define_function(&mut linker, name, ty);
        }
    }
    linker
}

fn define_function(linker: &mut Linker<Data>, name: String, ty: FuncType) {
    let types: Vec<ValType> = ty.results().collect();
    let function = name.clone();
    linker
        .func_new(host::MODULE, &name, ty, move |mut caller, arguments, results| {
            let arguments = arguments.iter().map(|argument| value(&caller, argument)).collect();
            let answer =
                caller.data_mut().answer(&function, arguments, types.iter().copied().map(result));
            let answer = answer.map_err(|host::Failed| Thrown::new(FAILED))?;
            for (slot, answer) in results.iter_mut().zip(answer) {
                *slot = val(&answer);
            }
            Ok(())
        })
        .expect("names are different");
}

impl Guest {
    /// A store for the module, async where there are slices of fuel.
    pub(crate) fn new(
        mut linker: Linker<Data>,
        imports: &Module,
        module: &Module,
        slice: Option<u64>,
    ) -> Self {
        let mut store = Store::new(module.engine(), Calls::default());
        // Fails where fuel is not counted.
        let _ = store.add_fuel(u64::MAX);
        if let Some(slice) = slice {
            store.set_fuel(slice).expect("fuel is counted");
            store.out_of_fuel_async_yield(SLICES, slice);
        }
        for import in imports.imports() {
            let name = import.name().expect("all imports have names");
            if let Some(item) = item(&mut store, name, import.ty()) {
                linker.define(host::MODULE, name, item).expect("names are different");
            }
        }
        let sliced = slice.is_some();
        Self { store, linker, module: module.clone(), instance: None, sliced }
    }
}

/// What a store has of its own to be imported.
fn item(store: &mut Store<Data>, name: &str, ty: ExternType) -> Option<Extern> {
    Some(match ty {
        ExternType::Memory(ty) => Memory::new(store, ty).expect("it is small").into(),
        ExternType::Table(ty) => {
            Table::new(store, ty, Val::FuncRef(None)).expect("it is small").into()
        }
        ExternType::Global(ty) => {
            let number = host::global(name);
            let value = match ty.content() {
                ValType::I32 => Val::I32(number),
                _ => Val::I64(number.into()),
            };
            Global::new(store, ty, value).expect("it has the type").into()
        }
        _ => return None,
    })
}

impl Side for Guest {
    fn instantiate(&mut self) -> Result<(), Stop> {
        let made = if self.sliced {
            block_on(self.linker.instantiate_async(&mut self.store, &self.module))
        } else {
            self.linker.instantiate(&mut self.store, &self.module)
        };
        self.instance = Some(made.map_err(stop)?);
        Ok(())
    }

    fn call(&mut self, function: &str, arguments: &[Value]) -> Result<Vec<Value>, Stop> {
        let instance = self.instance.expect("it is instantiated first");
        let function = instance.get_func(&mut self.store, function).expect("it is exported");
        let arguments: Vec<Val> = arguments.iter().map(val).collect();
        let results = if self.sliced {
            block_on(function.call_async(&mut self.store, &arguments))
        } else {
            function.call(&mut self.store, &arguments)
        };
        let results = results.map_err(stop)?;
        Ok(results.iter().map(|result| value(&self.store, result)).collect())
    }

    fn state(&mut self, whose: Whose, name: &str) -> State<'_> {
        let store = &mut self.store;
        let item = match whose {
            Whose::Host => self.linker.get(&mut *store, host::MODULE, Some(name)),
            Whose::Instance => {
                self.instance.and_then(|instance| instance.get_export(&mut *store, name))
            }
        };
        match item.expect("both sides have it") {
            Extern::Memory(memory) => State::Memory(memory.data(&self.store)),
            Extern::Global(global) => {
                let global = global.get(&mut *store);
                State::Global(value(&*store, &global))
            }
            Extern::Table(table) => {
                let elements = (0..table.size(&*store)).map(|index| {
                    let element = table.get(&mut *store, index).expect("it is there");
                    value(&*store, &element)
                });
                State::Table(elements.collect())
            }
            _ => State::Function,
        }
    }

    fn take_calls(&mut self) -> Vec<(String, Vec<Value>)> {
        self.store.data_mut().take()
    }

    fn fuel(&self) -> Option<u64> {
        self.store.fuel_consumed()
    }
}

/// Polls to the end: guests yield, and wait for nobody.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// Why there is no result.
fn stop(error: anyhow::Error) -> Stop {
    let Some(thrown) = error.downcast_ref::<Thrown>() else {
        return Stop::Error(format!("{error:#}"));
    };
    Stop::Trap(match thrown.trap_code() {
        Some(TrapCode::UnreachableCodeReached) => Trap::Unreachable,
        Some(TrapCode::MemoryOutOfBounds) => Trap::Memory,
        Some(TrapCode::TableOutOfBounds) => Trap::Table,
        Some(TrapCode::IndirectCallToNull) => Trap::Null,
        Some(TrapCode::BadSignature) => Trap::Signature,
        Some(TrapCode::IntegerDivisionByZero) => Trap::DivisionByZero,
        Some(TrapCode::IntegerOverflow) => Trap::Overflow,
        Some(TrapCode::BadConversionToInteger) => Trap::Conversion,
        Some(TrapCode::StackOverflow) => return Stop::Limit("our stack".to_owned()),
        None if thrown.display_reason().to_string().contains(OUT_OF_FUEL) => {
            return Stop::Limit("our fuel".to_owned());
        }
        None if thrown.display_reason().to_string().contains(FAILED) => Trap::Host,
        None if thrown.exception().is_some() => Trap::Exception,
        Some(code @ TrapCode::HeapExhausted) => return Stop::Limit(code.to_string()),
        Some(code) => Trap::Other(code),
        _ => return Stop::Error(format!("{thrown}")),
    })
}

fn result(ty: ValType) -> Type {
    match ty {
        ValType::I32 => Type::I32,
        ValType::I64 => Type::I64,
        ValType::F32 => Type::F32,
        ValType::F64 => Type::F64,
        ValType::V128 => Type::V128,
        ValType::ExternRef => Type::Extern,
        ValType::FuncRef | ValType::Ref(_) => Type::Any,
    }
}
