//! The types in an artifact.
//!
//! They are kept apart from the types themselves, so that serde is no part of the API, where it would
//! make types that no constructor would.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FuncType, GlobalType, MemoryType, Mutability, TableType, ValType};

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

impl Wire for ValType {
    type Form = u8;

    fn to_form(&self) -> u8 {
        match self {
            Self::I32 => 0,
            Self::I64 => 1,
            Self::F32 => 2,
            Self::F64 => 3,
            Self::V128 => 4,
            Self::FuncRef => 5,
            Self::ExternRef => 6,
        }
    }

    fn from_form(form: u8) -> Option<Self> {
        use ValType::*;
        [I32, I64, F32, F64, V128, FuncRef, ExternRef].get(usize::from(form)).copied()
    }
}

impl Wire for Box<[ValType]> {
    type Form = Vec<u8>;

    fn to_form(&self) -> Vec<u8> {
        self.iter().map(ValType::to_form).collect()
    }

    fn from_form(form: Vec<u8>) -> Option<Self> {
        form.into_iter().map(ValType::from_form).collect()
    }
}

impl Wire for FuncType {
    type Form = (Vec<u8>, Vec<u8>);

    fn to_form(&self) -> Self::Form {
        let Self { params, results } = self;
        (params.to_form(), results.to_form())
    }

    fn from_form((params, results): Self::Form) -> Option<Self> {
        Some(Self { params: Wire::from_form(params)?, results: Wire::from_form(results)? })
    }
}

impl Wire for GlobalType {
    type Form = (u8, bool);

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
    type Form = (u8, u64, Option<u64>, bool);

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
        Some(ty.with_limits(minimum, maximum).with_page_size(page_size).ok()?)
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
    fn what_is_no_type_is_refused() {
        assert_eq!(ValType::from_form(7), None);
        assert_eq!(FuncType::from_form((vec![0], vec![255])), None);
        assert_eq!(TableType::from_form((ValType::I32.to_form(), 0, None, false)), None);
        assert_eq!(MemoryType::from_form((0, None, false, 2)), None);
    }
}
