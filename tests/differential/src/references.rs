//! Values of our side in the words of both, references and what they lead to among them.

use lampwick::{AnyRef, AsContext, CompositeKind, ExternRef, Val};

use crate::side::Value;

/// How far references are followed: an object may lead to itself.
const DEPTH: u32 = 3;

/// Fields and elements of an object that are looked at.
const FIELDS: u32 = 8;

pub(crate) fn value(store: impl AsContext, val: &Val) -> Value {
    value_at(&store, val, DEPTH)
}

fn value_at(store: &impl AsContext, val: &Val, depth: u32) -> Value {
    match val {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(bits) => Value::F32(*bits),
        Val::F64(bits) => Value::F64(*bits),
        Val::V128(bits) => Value::V128(*bits),
        Val::FuncRef(function) => Value::Function(function.is_some()),
        Val::ExternRef(None) => Value::Extern(None),
        Val::ExternRef(Some(reference)) => external(store, reference, depth),
        Val::AnyRef(None) => Value::Any(None),
        Val::AnyRef(Some(reference)) => any(store, reference, depth),
        Val::ExnRef(exception) => Value::Exception(exception.is_some()),
    }
}

/// A number of ours, or what a guest has converted.
fn external(store: &impl AsContext, reference: &ExternRef, depth: u32) -> Value {
    match reference.data().downcast_ref::<AnyRef>() {
        Some(converted) => Value::Object(format!("extern {:?}", any(store, converted, depth))),
        None => {
            let number = reference.data().downcast_ref().expect("the host gives numbers");
            Value::Extern(Some(*number))
        }
    }
}

fn any(store: &impl AsContext, reference: &AnyRef, depth: u32) -> Value {
    if let Some(number) = reference.i31() {
        return Value::Any(Some(number));
    }
    if let Some(reference) = reference.extern_ref() {
        return Value::Object(format!("any {:?}", external(store, reference, depth)));
    }
    let kind = match reference.kind() {
        Some(CompositeKind::Array) => "array",
        _ => "struct",
    };
    let len = reference.len(store).expect("it is the store's");
    let shown = if depth == 0 { 0 } else { len.min(FIELDS) };
    let fields = (0..shown).map(|index| {
        let field = reference.get(store, index).expect("there are as many");
        value_at(store, &field, depth - 1)
    });
    Value::Object(format!("{kind} of {len}: {:?}", fields.collect::<Vec<_>>()))
}

/// A value for a guest; no objects, which only guests make.
pub(crate) fn val(value: &Value) -> Val {
    match value {
        Value::I32(value) => Val::I32(*value),
        Value::I64(value) => Val::I64(*value),
        Value::F32(bits) => Val::F32(*bits),
        Value::F64(bits) => Val::F64(*bits),
        Value::V128(bits) => Val::V128(*bits),
        Value::Function(_) => Val::FuncRef(None),
        Value::Extern(number) => Val::ExternRef(number.map(ExternRef::new)),
        Value::Any(number) => Val::AnyRef(number.map(AnyRef::from_i31)),
        Value::Exception(_) => Val::ExnRef(None),
        Value::Object(_) => unreachable!("the host makes none"),
    }
}
