//! The types of WebAssembly, as the API shows them.

pub(crate) mod composite;
mod limits;
mod reference;
pub(crate) mod wire;

use std::fmt;
use std::hash::{Hash, Hasher};

pub use reference::{CompositeKind, ConcreteType, HeapType, RefType};

pub(crate) use limits::most_pages;
pub use limits::{MemoryType, TableType};

/// The type of a value.
///
/// `FuncRef` and `Ref(RefType::FUNCREF)` are the same type, and so are `ExternRef` and
/// `Ref(RefType::EXTERNREF)`; whatever Lampwick answers has the first form.
#[derive(Clone, Copy, Debug)]
pub enum ValType {
    /// A 32-bit integer, signed or unsigned as its operators see it.
    I32,
    /// A 64-bit integer, signed or unsigned as its operators see it.
    I64,
    /// An IEEE 754 single.
    F32,
    /// An IEEE 754 double.
    F64,
    /// A 128-bit vector.
    V128,
    /// A reference to a function, or null.
    FuncRef,
    /// A reference to a value of the host, or null.
    ExternRef,
    /// A reference of any other type.
    Ref(RefType),
}

impl ValType {
    /// Whether this is an integer or a float.
    pub fn is_num(&self) -> bool {
        matches!(self, Self::I32 | Self::I64 | Self::F32 | Self::F64)
    }

    /// Whether this is a reference.
    pub fn is_ref(&self) -> bool {
        matches!(self, Self::FuncRef | Self::ExternRef | Self::Ref(_))
    }

    /// The type as that of a reference, if it is one.
    pub fn ref_type(&self) -> Option<RefType> {
        match *self {
            Self::FuncRef => Some(RefType::FUNCREF),
            Self::ExternRef => Some(RefType::EXTERNREF),
            Self::Ref(ty) => Some(ty),
            _ => None,
        }
    }

    /// Whether this is a reference to a function.
    pub(crate) fn is_func_ref(&self) -> bool {
        self.ref_type().is_some_and(|ty| ty.heap_type().top() == HeapType::Func)
    }

    /// Whether this is a reference to what a collector looks after.
    pub(crate) fn is_collected(&self) -> bool {
        self.is_ref() && !self.is_func_ref()
    }

    /// The one form of types that have two.
    fn normal(self) -> Self {
        match self {
            Self::Ref(RefType::FUNCREF) => Self::FuncRef,
            Self::Ref(RefType::EXTERNREF) => Self::ExternRef,
            other => other,
        }
    }
}

impl From<RefType> for ValType {
    fn from(ty: RefType) -> Self {
        Self::Ref(ty).normal()
    }
}

impl PartialEq for ValType {
    fn eq(&self, other: &Self) -> bool {
        match (self.ref_type(), other.ref_type()) {
            (None, None) => std::mem::discriminant(self) == std::mem::discriminant(other),
            (this, other) => this == other,
        }
    }
}

impl Eq for ValType {}

impl Hash for ValType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let normal = self.normal();
        std::mem::discriminant(&normal).hash(state);
        if let Self::Ref(ty) = normal {
            ty.hash(state);
        }
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::FuncRef => "funcref",
            Self::ExternRef => "externref",
            Self::Ref(ty) => return ty.fmt(f),
        })
    }
}

/// Whether a global can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutability {
    /// It keeps its first value.
    Const,
    /// It can be set.
    Var,
}

/// The type of a function: its parameters and results.
///
/// A function whose type a module declares as open to subtypes, as a subtype, or in a recursive group
/// has a type of its own, equal to no other with the same parameters and results. It comes from
/// [`Func::ty`](crate::Func::ty) or a module's imports and exports, and host functions may be
/// made of it.
///
/// ```
/// use lampwick::{FuncType, ValType};
///
/// let ty = FuncType::new([ValType::I32, ValType::I64], [ValType::F64]);
/// assert_eq!((ty.params().len(), ty.results().next()), (2, Some(ValType::F64)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FuncType {
    params: Box<[ValType]>,
    results: Box<[ValType]>,
    declared: Option<ConcreteType>,
}

impl FuncType {
    /// A function type from its parameters and results.
    pub fn new(
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> Self {
        let normal = |ty: ValType| ty.normal();
        Self {
            params: params.into_iter().map(normal).collect(),
            results: results.into_iter().map(normal).collect(),
            declared: None,
        }
    }

    /// The types of the parameters.
    pub fn params(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.params.iter().copied()
    }

    /// The types of the results.
    pub fn results(&self) -> impl ExactSizeIterator<Item = ValType> + '_ {
        self.results.iter().copied()
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, types: &[ValType]| {
            f.write_str("[")?;
            for (index, ty) in types.iter().enumerate() {
                write!(f, "{}{ty}", if index > 0 { " " } else { "" })?;
            }
            f.write_str("]")
        };
        list(f, &self.params)?;
        f.write_str(" -> ")?;
        list(f, &self.results)?;
        self.declared.map_or(Ok(()), |ty| write!(f, " (type {})", ty.id))
    }
}

/// The type of a global.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GlobalType {
    content: ValType,
    mutability: Mutability,
}

impl GlobalType {
    /// A global type from the type of its value and its mutability.
    pub fn new(content: ValType, mutability: Mutability) -> Self {
        Self { content: content.normal(), mutability }
    }

    /// The type of the value.
    pub fn content(&self) -> &ValType {
        &self.content
    }

    /// Whether it can be set.
    pub fn mutability(&self) -> Mutability {
        self.mutability
    }
}

impl fmt::Display for GlobalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mutability {
            Mutability::Const => write!(f, "{}", self.content),
            Mutability::Var => write!(f, "mut {}", self.content),
        }
    }
}

/// The type of something that a module imports or exports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A global.
    Global(GlobalType),
    /// A table.
    Table(TableType),
    /// A linear memory.
    Memory(MemoryType),
}

macro_rules! accessors {
    ($($variant:ident($ty:ty) $noun:literal $get:ident $unwrap:ident;)*) => {
        impl ExternType {
            $(
                #[doc = concat!("The type of the ", $noun, ", if this is one.")]
                pub fn $get(&self) -> Option<&$ty> {
                    match self {
                        Self::$variant(ty) => Some(ty),
                        _ => None,
                    }
                }

                #[doc = concat!("The type of the ", $noun, ".")]
                ///
                /// # Panics
                ///
                #[doc = concat!("Panics if this is no ", $noun, ".")]
                pub fn $unwrap(&self) -> &$ty {
                    self.$get().expect(concat!("not a ", $noun))
                }
            )*
        }
        $(
            impl From<$ty> for ExternType {
                fn from(ty: $ty) -> Self {
                    Self::$variant(ty)
                }
            }
        )*
    };
}

accessors! {
    Func(FuncType) "function" func unwrap_func;
    Global(GlobalType) "global" global unwrap_global;
    Table(TableType) "table" table unwrap_table;
    Memory(MemoryType) "memory" memory unwrap_memory;
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Func(ty) => write!(f, "function {ty}"),
            Self::Global(ty) => write!(f, "global {ty}"),
            Self::Table(ty) => ty.fmt(f),
            Self::Memory(ty) => ty.fmt(f),
        }
    }
}

/// Something that a module imports.
#[derive(Clone, Debug)]
pub struct ImportType<'module> {
    pub(crate) module: &'module str,
    pub(crate) name: &'module str,
    pub(crate) ty: ExternType,
}

impl<'module> ImportType<'module> {
    /// The first of the import's two names.
    pub fn module(&self) -> &'module str {
        self.module
    }

    /// The second of the import's two names; always present.
    pub fn name(&self) -> Option<&'module str> {
        Some(self.name)
    }

    /// What the module expects.
    pub fn ty(&self) -> ExternType {
        self.ty.clone()
    }
}

/// Something that a module exports.
#[derive(Clone, Debug)]
pub struct ExportType<'module> {
    pub(crate) name: &'module str,
    pub(crate) ty: ExternType,
}

impl<'module> ExportType<'module> {
    /// The name of the export.
    pub fn name(&self) -> &'module str {
        self.name
    }

    /// What the module offers.
    pub fn ty(&self) -> ExternType {
        self.ty.clone()
    }
}
