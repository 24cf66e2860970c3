//! Their side: the interpreter.

use wasmi::errors::{ErrorKind, InstantiationError, MemoryError, TableError};
use wasmi::{
    Error, Extern, ExternRef, ExternType, F32, F64, FuncType, Global, Instance, Linker, Memory,
    Module, Ref, Store, Table, TrapCode, V128, Val, ValType,
};

use crate::host::{self, Calls, Type};
use crate::side::{Side, State, Stop, Trap, Value, Whose};

/// The text of a host function's failure.
const FAILED: &str = "the host function failed";

/// A module, and its instance.
pub(crate) struct Guest {
    store: Store<Calls>,
    linker: Linker<Calls>,
    module: Module,
    instance: Option<Instance>,
}

impl Guest {
    pub(crate) fn new(module: &Module, imports: &Module) -> Self {
        let mut store = Store::new(module.engine(), Calls::default());
        let mut linker = Linker::new(module.engine());
        for import in imports.imports() {
            let name = import.name();
            match import.ty() {
                ExternType::Func(ty) => define_function(&mut linker, name, ty),
                ty => {
                    let item = item(&mut store, name, ty);
                    linker.define(host::MODULE, name, item).expect("names are different");
                }
            }
        }
        Self { store, linker, module: module.clone(), instance: None }
    }
}

fn define_function(linker: &mut Linker<Calls>, name: &str, ty: &FuncType) {
    let types: Vec<ValType> = ty.results().to_vec();
    let function = name.to_owned();
    linker
        .func_new(host::MODULE, name, ty.clone(), move |mut caller, arguments, results| {
            let arguments = arguments.iter().map(|argument| value(&caller, argument)).collect();
            let types = types.iter().copied().map(result);
            let answer = caller.data_mut().answer(&function, arguments, types);
            let answer = answer.map_err(|host::Failed| Error::new(FAILED))?;
            for (slot, answer) in results.iter_mut().zip(answer) {
                *slot = val(&mut caller, &answer);
            }
            Ok(())
        })
        .expect("names are different");
}

/// What a store has of its own to be imported.
fn item(store: &mut Store<Calls>, name: &str, ty: &ExternType) -> Extern {
    match ty {
        ExternType::Memory(ty) => Memory::new(store, *ty).expect("it is small").into(),
        ExternType::Table(ty) => {
            Table::new(store, *ty, Val::default(ty.element())).expect("it is small").into()
        }
        ExternType::Global(ty) => {
            let number = host::global(name);
            let value = match ty.content() {
                ValType::I32 => Val::I32(number),
                _ => Val::I64(number.into()),
            };
            Global::new(store, value, ty.mutability()).into()
        }
        ExternType::Func(_) => unreachable!("functions belong to the linker"),
    }
}

impl Side for Guest {
    fn instantiate(&mut self) -> Result<(), Stop> {
        let made = self.linker.instantiate_and_start(&mut self.store, &self.module);
        self.instance = Some(made.map_err(stop)?);
        Ok(())
    }

    fn call(&mut self, function: &str, arguments: &[Value]) -> Result<Vec<Value>, Stop> {
        let instance = self.instance.expect("it is instantiated first");
        let function = instance.get_func(&self.store, function).expect("it is exported");
        let arguments: Vec<Val> =
            arguments.iter().map(|value| val(&mut self.store, value)).collect();
        let types = function.ty(&self.store);
        let mut results: Vec<Val> = types.results().iter().map(|ty| Val::default(*ty)).collect();
        function.call(&mut self.store, &arguments, &mut results).map_err(stop)?;
        Ok(results.iter().map(|result| value(&self.store, result)).collect())
    }

    fn state(&mut self, whose: Whose, name: &str) -> State<'_> {
        let item = match whose {
            Whose::Host => self.linker.get(&self.store, host::MODULE, name),
            Whose::Instance => {
                self.instance.and_then(|instance| instance.get_export(&self.store, name))
            }
        };
        match item.expect("both sides have it") {
            Extern::Memory(memory) => State::Memory(memory.data(&self.store)),
            Extern::Global(global) => State::Global(value(&self.store, &global.get(&self.store))),
            Extern::Table(table) => {
                let elements = (0..table.size(&self.store)).map(|index| {
                    let element = table.get(&self.store, index).expect("it is there");
                    value(&self.store, &element)
                });
                State::Table(elements.collect())
            }
            Extern::Func(_) => State::Function,
        }
    }

    fn take_calls(&mut self) -> Vec<(String, Vec<Value>)> {
        self.store.data_mut().take()
    }
}

/// Why there is no result.
fn stop(error: Error) -> Stop {
    Stop::Trap(match error.kind() {
        ErrorKind::TrapCode(code) => match code {
            TrapCode::UnreachableCodeReached => Trap::Unreachable,
            TrapCode::MemoryOutOfBounds => Trap::Memory,
            TrapCode::TableOutOfBounds => Trap::Table,
            TrapCode::IndirectCallToNull => Trap::Null,
            TrapCode::BadSignature => Trap::Signature,
            TrapCode::IntegerDivisionByZero => Trap::DivisionByZero,
            TrapCode::IntegerOverflow => Trap::Overflow,
            TrapCode::BadConversionToInteger => Trap::Conversion,
            TrapCode::StackOverflow => return Stop::Limit("their stack".to_owned()),
            TrapCode::OutOfFuel | TrapCode::GrowthOperationLimited => {
                return Stop::Error(error.to_string());
            }
        },
        ErrorKind::Message(text) if **text == *FAILED => Trap::Host,
        ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. })
        | ErrorKind::Table(
            TableError::InitOutOfBounds | TableError::CopyOutOfBounds | TableError::FillOutOfBounds,
        ) => Trap::Table,
        ErrorKind::Memory(MemoryError::OutOfBoundsAccess) => Trap::Memory,
        _ => return Stop::Error(error.to_string()),
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
        ValType::FuncRef => unreachable!("no host function returns one"),
    }
}

fn value(store: impl wasmi::AsContext, val: &Val) -> Value {
    match val {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(value) => Value::F32(value.to_bits()),
        Val::F64(value) => Value::F64(value.to_bits()),
        Val::V128(value) => Value::V128(value.as_u128()),
        Val::FuncRef(function) => Value::Function(!function.is_null()),
        Val::ExternRef(reference) => {
            let context = store.as_context();
            let number =
                |reference: &ExternRef| *reference.data(&context).downcast_ref().expect("a number");
            Value::Extern(reference.val().map(number))
        }
    }
}

fn val(store: impl wasmi::AsContextMut, value: &Value) -> Val {
    match value {
        Value::I32(value) => Val::I32(*value),
        Value::I64(value) => Val::I64(*value),
        Value::F32(bits) => Val::F32(F32::from_bits(*bits)),
        Value::F64(bits) => Val::F64(F64::from_bits(*bits)),
        Value::V128(bits) => Val::V128(V128::from(*bits)),
        Value::Function(_) => Val::FuncRef(Ref::Null),
        Value::Extern(None) => Val::ExternRef(Ref::Null),
        Value::Extern(Some(number)) => Val::ExternRef(Ref::Val(ExternRef::new(store, *number))),
        other => unreachable!("no common proposal has {other:?}"),
    }
}
