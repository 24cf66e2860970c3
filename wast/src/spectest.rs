//! The module `spectest`, which the suite expects every host to offer.

use std::future::poll_fn;
use std::task::Poll;

use anyhow::Result;
use lampwick::{
    FuncType, Global, GlobalType, Linker, Memory, MemoryType, Mutability, Store, Table, TableType,
    Val, ValType,
};

const NAME: &str = "spectest";

/// Defines `spectest` in a linker, for modules of this store.
pub(crate) fn define(linker: &mut Linker<()>, store: &mut Store<()>, is_async: bool) -> Result<()> {
    use ValType::{F32, F64, I32, I64};
    let functions: &[(&str, &[ValType])] = &[
        ("print", &[]),
        ("print_i32", &[I32]),
        ("print_i64", &[I64]),
        ("print_f32", &[F32]),
        ("print_f64", &[F64]),
        ("print_i32_f32", &[I32, F32]),
        ("print_f64_f64", &[F64, F64]),
    ];
    for (name, params) in functions {
        let ty = FuncType::new(params.iter().copied(), []);
        if is_async {
            linker.func_new_async(NAME, name, ty, |_, _, _| Box::new(suspend_once()))?;
        } else {
            linker.func_new(NAME, name, ty, |_, _, _| Ok(()))?;
        }
    }
    let globals = [
        ("global_i32", Val::I32(666)),
        ("global_i64", Val::I64(666)),
        ("global_f32", Val::F32(666.6_f32.to_bits())),
        ("global_f64", Val::F64(666.6_f64.to_bits())),
    ];
    for (name, value) in globals {
        let ty = GlobalType::new(value.ty(), Mutability::Const);
        linker.define(NAME, name, Global::new(&mut *store, ty, value)?)?;
    }
    let ty = TableType::new(ValType::FuncRef, 10, Some(20));
    linker.define(NAME, "table", Table::new(&mut *store, ty, Val::FuncRef(None))?)?;
    linker.define(NAME, "memory", Memory::new(&mut *store, MemoryType::new(1, Some(2)))?)?;
    Ok(())
}

/// What the async `print` functions do: suspend the guest once, then go on.
async fn suspend_once() -> Result<(), lampwick::Trap> {
    let mut first = true;
    poll_fn(|context| {
        if std::mem::take(&mut first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    })
    .await
}
