//! What a module declares in its type section: functions, structs and arrays, and how they extend
//! one another.

use super::{CompositeKind, ConcreteType, FuncType, GlobalType, HeapType, TableType, ValType};

/// A declared type.
///
/// It stands in one of three places, which differ in what its [`ConcreteType`]s are: in a module's
/// declarations they are indexes of the type section; in a group that is looked up, indexes of the
/// group or handles; in an engine's registry all are handles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SubType {
    /// Whether no other type may extend it.
    pub(crate) is_final: bool,
    /// The type that it extends.
    pub(crate) supertype: Option<ConcreteType>,
    pub(crate) composite: CompositeType,
}

/// What values of a declared type consist of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CompositeType {
    Func(FuncType),
    Struct(Box<[FieldType]>),
    Array(FieldType),
}

/// A field of a struct, or the elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FieldType {
    pub(crate) storage: StorageType,
    pub(crate) is_mutable: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StorageType {
    /// The low 8 bits of an i32.
    I8,
    /// The low 16 bits of an i32.
    I16,
    Val(ValType),
}

impl SubType {
    /// A type that extends nothing, and that nothing may extend.
    pub(crate) fn of_func(ty: FuncType) -> Self {
        Self { is_final: true, supertype: None, composite: CompositeType::Func(ty) }
    }

    /// What kind of type it is.
    pub(crate) fn kind(&self) -> CompositeKind {
        match self.composite {
            CompositeType::Func(_) => CompositeKind::Func,
            CompositeType::Struct(_) => CompositeKind::Struct,
            CompositeType::Array(_) => CompositeKind::Array,
        }
    }

    /// The function type, if it is one.
    pub(crate) fn func(&self) -> Option<&FuncType> {
        match &self.composite {
            CompositeType::Func(ty) => Some(ty),
            _ => None,
        }
    }

    /// Calls `see` with each declared type that this one names.
    pub(crate) fn for_each_concrete(&self, mut see: impl FnMut(ConcreteType)) {
        let mut visit = |ty: ValType| {
            ty.concrete().into_iter().for_each(&mut see);
        };
        match &self.composite {
            CompositeType::Func(ty) => ty.params().chain(ty.results()).for_each(&mut visit),
            CompositeType::Struct(fields) => {
                fields.iter().for_each(|field| field.visit(&mut visit))
            }
            CompositeType::Array(field) => field.visit(&mut visit),
        }
        self.supertype.into_iter().for_each(see);
    }

    /// The same type with other names for the declared types in it.
    pub(crate) fn map(&self, mut to: impl FnMut(ConcreteType) -> ConcreteType) -> Self {
        let supertype = self.supertype.map(&mut to);
        let composite = match &self.composite {
            CompositeType::Func(ty) => CompositeType::Func(ty.map(&mut to)),
            CompositeType::Struct(fields) => {
                CompositeType::Struct(fields.iter().map(|field| field.map(&mut to)).collect())
            }
            CompositeType::Array(field) => CompositeType::Array(field.map(&mut to)),
        };
        Self { is_final: self.is_final, supertype, composite }
    }
}

impl FieldType {
    fn visit(&self, visit: &mut impl FnMut(ValType)) {
        if let StorageType::Val(ty) = self.storage {
            visit(ty);
        }
    }

    fn map(&self, to: &mut impl FnMut(ConcreteType) -> ConcreteType) -> Self {
        let storage = match self.storage {
            StorageType::Val(ty) => StorageType::Val(ty.map(to)),
            packed => packed,
        };
        Self { storage, is_mutable: self.is_mutable }
    }
}

impl FuncType {
    /// The same type with other names for the declared types in it.
    pub(crate) fn map(&self, to: &mut impl FnMut(ConcreteType) -> ConcreteType) -> Self {
        let Self { params, results, declared } = self;
        let [params, results] =
            [params, results].map(|types| types.iter().map(|ty| ty.map(to)).collect());
        Self { params, results, declared: *declared }
    }

    /// Makes this the type of functions of a declared type.
    pub(crate) fn declare(&mut self, declared: ConcreteType) {
        self.declared = Some(declared);
    }

    /// The declared type that this is, unless it is the one that [`FuncType::new`] makes of the same
    /// parameters and results.
    pub(crate) fn declared(&self) -> Option<ConcreteType> {
        self.declared
    }
}

impl TableType {
    /// The same type with another name for the declared type in it.
    pub(crate) fn map(&self, mut to: impl FnMut(ConcreteType) -> ConcreteType) -> Self {
        Self { element: self.element.map(&mut to), ..self.clone() }
    }
}

impl GlobalType {
    /// The same type with another name for the declared type in it.
    pub(crate) fn map(&self, mut to: impl FnMut(ConcreteType) -> ConcreteType) -> Self {
        Self { content: self.content.map(&mut to), ..self.clone() }
    }
}

impl ValType {
    /// The same type with another name for the declared type in it.
    pub(crate) fn map(self, to: &mut impl FnMut(ConcreteType) -> ConcreteType) -> Self {
        match self {
            Self::Ref(ty) => match ty.heap_type() {
                HeapType::Concrete(concrete) => {
                    Self::Ref(ty.with_heap(HeapType::Concrete(to(concrete))))
                }
                _ => self,
            },
            other => other,
        }
    }

    /// The declared type that values of the type refer to.
    pub(crate) fn concrete(self) -> Option<ConcreteType> {
        match self.ref_type()?.heap_type() {
            HeapType::Concrete(ty) => Some(ty),
            _ => None,
        }
    }
}
