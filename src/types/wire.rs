//! The types in an artifact.
//!
//! They are kept apart from the types themselves, so that serde is no part of the API, where it would
//! make types that no constructor would.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::composite::{CompositeType, FieldType, StorageType, SubType};
use super::{
    CompositeKind, ConcreteType, FuncType, GlobalType, HeapType, MemoryType, Mutability, RefType,
    TableType, ValType,
};

/// A type that has another form in an artifact.
pub(crate) trait Wire: Sized {
    /// That form.
    type Form: Serialize + for<'de> Deserialize<'de>;

    fn to_form(&self) -> Self::Form;

    /// The type, if it is one.
    fn from_form(form: Self::Form) -> Option<Self>;
}

/// Writes a list of types; with [`deserialize`] what serde's attribute `with` asks for.
pub(crate) fn serialize<T: Wire, S: Serializer>(types: &[T], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(types.iter().map(T::to_form))
}

/// Reads a list of types.
pub(crate) fn deserialize<'de, T: Wire, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let forms = Vec::<T::Form>::deserialize(from)?;
    let types: Option<Vec<T>> = forms.into_iter().map(T::from_form).collect();
    types.ok_or_else(|| D::Error::custom("no such type"))
}

/// The heap types by their number in an artifact; what modules declare comes behind them.
const ABSTRACT: [HeapType; 12] = [
    HeapType::Func,
    HeapType::NoFunc,
    HeapType::Extern,
    HeapType::NoExtern,
    HeapType::Any,
    HeapType::Eq,
    HeapType::I31,
    HeapType::Struct,
    HeapType::Array,
    HeapType::None,
    HeapType::Exn,
    HeapType::NoExn,
];

/// The types that are not [`ValType::Ref`], by their number; references come behind them.
const PLAIN: [ValType; 7] = {
    use ValType::*;
    [I32, I64, F32, F64, V128, FuncRef, ExternRef]
};

/// The kinds of declared types, by their number.
const KINDS: [CompositeKind; 3] =
    [CompositeKind::Func, CompositeKind::Struct, CompositeKind::Array];

fn place<T: PartialEq>(of: &T, among: &[T]) -> Option<u64> {
    among.iter().position(|other| other == of).map(|place| place as u64)
}

/// A number below `count`, and the rest.
fn split(number: u64, count: usize) -> (usize, u64) {
    ((number % count as u64) as usize, number / count as u64)
}

impl Wire for ConcreteType {
    type Form = u64;

    /// An index of the type section; ids are the engine's.
    fn to_form(&self) -> u64 {
        let index = self.index().expect("an artifact has the types as the module declares them");
        let kind = place(&self.kind(), &KINDS).expect("one of the kinds");
        u64::from(index) * KINDS.len() as u64 + kind
    }

    fn from_form(form: u64) -> Option<Self> {
        let (kind, index) = split(form, KINDS.len());
        Some(Self::at_index(u32::try_from(index).ok()?, KINDS[kind]))
    }
}

impl Wire for HeapType {
    type Form = u64;

    fn to_form(&self) -> u64 {
        match self {
            Self::Concrete(ty) => ABSTRACT.len() as u64 + ty.to_form(),
            other => place(other, &ABSTRACT).expect("one of the abstract types"),
        }
    }

    fn from_form(form: u64) -> Option<Self> {
        match form.checked_sub(ABSTRACT.len() as u64) {
            None => Some(ABSTRACT[form as usize]),
            Some(form) => Wire::from_form(form).map(Self::Concrete),
        }
    }
}

impl Wire for ValType {
    type Form = u64;

    fn to_form(&self) -> u64 {
        match (place(self, &PLAIN), self.ref_type()) {
            (Some(place), _) => place,
            (None, ty) => {
                let ty = ty.expect("what is not plain is a reference");
                PLAIN.len() as u64 + 2 * ty.heap_type().to_form() + u64::from(ty.is_nullable())
            }
        }
    }

    fn from_form(form: u64) -> Option<Self> {
        match form.checked_sub(PLAIN.len() as u64) {
            None => Some(PLAIN[form as usize]),
            Some(form) => {
                let (nullable, heap) = split(form, 2);
                Some(RefType::new(nullable == 1, HeapType::from_form(heap)?).into())
            }
        }
    }
}

impl Wire for Box<[ValType]> {
    type Form = Vec<u64>;

    fn to_form(&self) -> Vec<u64> {
        self.iter().map(ValType::to_form).collect()
    }

    fn from_form(form: Vec<u64>) -> Option<Self> {
        form.into_iter().map(ValType::from_form).collect()
    }
}

impl Wire for FuncType {
    type Form = (Vec<u64>, Vec<u64>);

    fn to_form(&self) -> Self::Form {
        let Self { params, results, declared } = self;
        debug_assert!(declared.is_none(), "a handle is the engine's");
        (params.to_form(), results.to_form())
    }

    fn from_form((params, results): Self::Form) -> Option<Self> {
        let (params, results) = (Wire::from_form(params)?, Wire::from_form(results)?);
        Some(Self { params, results, declared: None })
    }
}

impl Wire for FieldType {
    /// The storage type, and whether it is mutable.
    type Form = (u64, bool);

    fn to_form(&self) -> Self::Form {
        let storage = match self.storage {
            StorageType::I8 => 0,
            StorageType::I16 => 1,
            StorageType::Val(ty) => 2 + ty.to_form(),
        };
        (storage, self.is_mutable)
    }

    fn from_form((storage, is_mutable): Self::Form) -> Option<Self> {
        let storage = match storage {
            0 => StorageType::I8,
            1 => StorageType::I16,
            ty => StorageType::Val(Wire::from_form(ty - 2)?),
        };
        Some(Self { storage, is_mutable })
    }
}

/// What [`CompositeType`] is in an artifact.
#[derive(Serialize, Deserialize)]
pub(crate) enum CompositeForm {
    Func(Vec<u64>, Vec<u64>),
    Struct(Vec<(u64, bool)>),
    Array(u64, bool),
}

impl Wire for SubType {
    type Form = (bool, Option<u64>, CompositeForm);

    fn to_form(&self) -> Self::Form {
        let Self { is_final, supertype, composite } = self;
        let composite = match composite {
            CompositeType::Func(ty) => {
                let (params, results) = ty.to_form();
                CompositeForm::Func(params, results)
            }
            CompositeType::Struct(fields) => {
                CompositeForm::Struct(fields.iter().map(FieldType::to_form).collect())
            }
            CompositeType::Array(field) => {
                let (storage, is_mutable) = field.to_form();
                CompositeForm::Array(storage, is_mutable)
            }
        };
        (*is_final, supertype.as_ref().map(Wire::to_form), composite)
    }

    fn from_form((is_final, supertype, composite): Self::Form) -> Option<Self> {
        let supertype = match supertype {
            Some(form) => Some(Wire::from_form(form)?),
            None => None,
        };
        let composite = match composite {
            CompositeForm::Func(params, results) => {
                CompositeType::Func(Wire::from_form((params, results))?)
            }
            CompositeForm::Struct(fields) => {
                let fields: Option<_> = fields.into_iter().map(FieldType::from_form).collect();
                CompositeType::Struct(fields?)
            }
            CompositeForm::Array(storage, is_mutable) => {
                CompositeType::Array(Wire::from_form((storage, is_mutable))?)
            }
        };
        Some(Self { is_final, supertype, composite })
    }
}

impl Wire for GlobalType {
    type Form = (u64, bool);

    fn to_form(&self) -> Self::Form {
        let Self { content, mutability } = self;
        (content.to_form(), *mutability == Mutability::Var)
    }

    fn from_form((content, var): Self::Form) -> Option<Self> {
        let mutability = if var { Mutability::Var } else { Mutability::Const };
        Some(Self { content: Wire::from_form(content)?, mutability })
    }
}

impl Wire for TableType {
    type Form = (u64, u64, Option<u64>, bool);

    fn to_form(&self) -> Self::Form {
        let Self { element, minimum, maximum, is_64 } = self;
        (element.to_form(), *minimum, *maximum, *is_64)
    }

    fn from_form((element, minimum, maximum, is_64): Self::Form) -> Option<Self> {
        let element = ValType::from_form(element).filter(ValType::is_ref)?;
        Some(Self { element, minimum, maximum, is_64 })
    }
}

impl Wire for MemoryType {
    type Form = (u64, Option<u64>, bool, u64);

    fn to_form(&self) -> Self::Form {
        let Self { minimum, maximum, is_64, .. } = self;
        (*minimum, *maximum, *is_64, self.page_size())
    }

    fn from_form((minimum, maximum, is_64, page_size): Self::Form) -> Option<Self> {
        let ty = if is_64 { Self::new64(0, None) } else { Self::new(0, None) };
        ty.with_limits(minimum, maximum).with_page_size(page_size).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again<T: Wire>(ty: &T) -> Option<T> {
        T::from_form(ty.to_form())
    }

    #[test]
    fn types_come_back() {
        use ValType::*;
        let all = [I32, I64, F32, F64, V128, FuncRef, ExternRef];
        assert!(all.iter().all(|ty| again(ty) == Some(*ty)));
        let func = FuncType::new(all, [F64, I32]);
        assert_eq!(again(&func).as_ref(), Some(&func));
        for (mutability, maximum) in [(Mutability::Const, None), (Mutability::Var, Some(7))] {
            let global = GlobalType::new(F32, mutability);
            let (table, memory) =
                (TableType::new(ExternRef, 3, maximum), MemoryType::new(3, maximum));
            assert_eq!(again(&global).as_ref(), Some(&global));
            assert_eq!(again(&table).as_ref(), Some(&table));
            assert_eq!(again(&memory).as_ref(), Some(&memory));
            let table = TableType::new64(FuncRef, 1 << 40, maximum.map(u64::from));
            assert_eq!(again(&table).as_ref(), Some(&table));
            let memory = MemoryType::new64(1 << 40, maximum.map(u64::from));
            assert_eq!(again(&memory).as_ref(), Some(&memory));
            let memory = memory.with_page_size(1).unwrap();
            assert_eq!(again(&memory).as_ref(), Some(&memory));
        }
    }

    #[test]
    fn references_and_declared_types_come_back() {
        let concrete = KINDS.map(|kind| ConcreteType::at_index(u32::MAX, kind));
        let heaps = ABSTRACT.into_iter().chain(concrete.map(HeapType::Concrete));
        let types: Vec<ValType> = heaps
            .flat_map(|heap| [true, false].map(|nullable| RefType::new(nullable, heap).into()))
            .collect();
        assert!(types.iter().all(|ty| again(ty) == Some(*ty)));
        let storage = [StorageType::I8, StorageType::I16, StorageType::Val(types[4])];
        let fields =
            storage.map(|storage| FieldType { storage, is_mutable: storage != StorageType::I16 });
        let composites = [
            CompositeType::Func(FuncType::new(types.clone(), [])),
            CompositeType::Struct(fields.into()),
            CompositeType::Array(fields[1]),
        ];
        for composite in composites {
            for supertype in [None, Some(concrete[1])] {
                let ty = SubType {
                    is_final: supertype.is_none(),
                    supertype,
                    composite: composite.clone(),
                };
                assert_eq!(again(&ty).as_ref(), Some(&ty));
            }
        }
    }

    #[test]
    fn what_is_no_type_is_refused() {
        assert_eq!(ValType::from_form(u64::MAX), None);
        assert_eq!(FuncType::from_form((vec![0], vec![u64::MAX])), None);
        assert_eq!(FieldType::from_form((u64::MAX, true)), None);
        assert_eq!(TableType::from_form((ValType::I32.to_form(), 0, None, false)), None);
        assert_eq!(MemoryType::from_form((0, None, false, 2)), None);
    }
}
