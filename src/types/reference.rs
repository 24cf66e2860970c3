//! Reference types: what a reference can refer to, and whether it can be null.

use std::fmt;

/// The type of a reference.
///
/// ```
/// use lampwick::{HeapType, RefType, ValType};
///
/// let function = RefType::new(false, HeapType::Func);
/// assert_eq!(ValType::from(function).to_string(), "(ref func)");
/// // The two that WebAssembly has always had keep their names.
/// let nullable = RefType::new(true, HeapType::Func);
/// assert_eq!(ValType::from(nullable), ValType::FuncRef);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefType {
    nullable: bool,
    heap: HeapType,
}

impl RefType {
    /// `funcref`: a function, or null.
    pub const FUNCREF: Self = Self::new(true, HeapType::Func);
    /// `externref`: a value of the host, or null.
    pub const EXTERNREF: Self = Self::new(true, HeapType::Extern);

    /// A reference to what `heap` says, or null if it is `nullable`.
    pub const fn new(nullable: bool, heap: HeapType) -> Self {
        Self { nullable, heap }
    }

    /// Whether null is a value of the type.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// What references of the type refer to.
    pub fn heap_type(&self) -> HeapType {
        self.heap
    }

    /// The same with another heap type.
    pub(crate) fn with_heap(self, heap: HeapType) -> Self {
        Self { heap, ..self }
    }
}

/// What a reference refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeapType {
    /// Any function.
    Func,
    /// No function: null is the only such reference.
    NoFunc,
    /// Any value of the host.
    Extern,
    /// No value of the host.
    NoExtern,
    /// Anything that a guest makes and a collector finds.
    Any,
    /// What can be compared.
    Eq,
    /// An integer of 31 bits.
    I31,
    /// Any struct.
    Struct,
    /// Any array.
    Array,
    /// Nothing that a guest makes.
    None,
    /// Any exception.
    Exn,
    /// No exception.
    NoExn,
    /// What a module declares in its type section.
    Concrete(ConcreteType),
}

/// A type that a module declares: a handle, small and copied freely.
///
/// Types are the same type where the specification says so: modules of one engine that declare equal
/// types, in equal recursive groups, have equal handles. A handle is good while something that uses
/// the type exists: a module, or a store with a function, table or global of it. Where one of
/// another engine or of no living type is given, an error says so.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConcreteType {
    /// The engine's id for the type; in a module's own declarations, where no stamp is, the index in
    /// its type section; in a recursive group that is looked up, that in the group.
    pub(crate) id: u32,
    /// What tells the type from others that had the id before, or have it in other engines. Not
    /// zero, unless `id` is an index.
    pub(crate) stamp: u32,
    pub(crate) kind: CompositeKind,
}

impl ConcreteType {
    /// What is at an index of a type section or group.
    pub(crate) fn at_index(index: u32, kind: CompositeKind) -> Self {
        Self { id: index, stamp: 0, kind }
    }

    /// The index, if this is no handle yet.
    pub(crate) fn index(self) -> Option<u32> {
        (self.stamp == 0).then_some(self.id)
    }

    /// Whether it is a function, a struct or an array.
    pub fn kind(&self) -> CompositeKind {
        self.kind
    }
}

impl fmt::Debug for ConcreteType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.kind, self.id)
    }
}

/// The kinds of types that a module can declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompositeKind {
    /// A function.
    Func,
    /// A struct.
    Struct,
    /// An array.
    Array,
}

impl HeapType {
    /// The most general type of the same hierarchy: `Func`, `Extern`, `Any` or `Exn`.
    pub(crate) fn top(self) -> Self {
        match self {
            Self::Func | Self::NoFunc => Self::Func,
            Self::Extern | Self::NoExtern => Self::Extern,
            Self::Exn | Self::NoExn => Self::Exn,
            Self::Any | Self::Eq | Self::I31 | Self::Struct | Self::Array | Self::None => Self::Any,
            Self::Concrete(ty) => match ty.kind {
                CompositeKind::Func => Self::Func,
                CompositeKind::Struct | CompositeKind::Array => Self::Any,
            },
        }
    }

    /// Whether no value but null is of the type.
    pub(crate) fn is_bottom(self) -> bool {
        matches!(self, Self::NoFunc | Self::NoExtern | Self::None | Self::NoExn)
    }

    /// Whether each value of this type is one of the other (core specification, 3.3 "Matching"),
    /// where `extends` tells that of two types which modules declare.
    pub(crate) fn matches(
        self,
        other: Self,
        extends: impl FnOnce(ConcreteType, ConcreteType) -> bool,
    ) -> bool {
        if self == other {
            return true;
        }
        if self.is_bottom() {
            return self.top() == other.top();
        }
        match (self, other) {
            (Self::Concrete(this), Self::Concrete(other)) => extends(this, other),
            (Self::Concrete(this), _) => match this.kind {
                CompositeKind::Func => other == Self::Func,
                CompositeKind::Struct => matches!(other, Self::Struct | Self::Eq | Self::Any),
                CompositeKind::Array => matches!(other, Self::Array | Self::Eq | Self::Any),
            },
            (Self::I31 | Self::Struct | Self::Array, Self::Eq | Self::Any) => true,
            (Self::Eq, Self::Any) => true,
            _ => false,
        }
    }

    /// The name in the text format, without that of the types that modules declare.
    fn name(self) -> &'static str {
        match self {
            Self::Func => "func",
            Self::NoFunc => "nofunc",
            Self::Extern => "extern",
            Self::NoExtern => "noextern",
            Self::Any => "any",
            Self::Eq => "eq",
            Self::I31 => "i31",
            Self::Struct => "struct",
            Self::Array => "array",
            Self::None => "none",
            Self::Exn => "exn",
            Self::NoExn => "noexn",
            Self::Concrete(_) => "",
        }
    }
}

impl fmt::Display for HeapType {
    /// As in the text format; a type that a module declares by the engine's number for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concrete(ty) => write!(f, "{}", ty.id),
            other => f.write_str(other.name()),
        }
    }
}

impl fmt::Display for RefType {
    /// As in the text format, by the short name where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nullable, heap } = self;
        match heap {
            HeapType::Concrete(_) if *nullable => write!(f, "(ref null {heap})"),
            _ if !nullable => write!(f, "(ref {heap})"),
            HeapType::NoFunc => f.write_str("nullfuncref"),
            HeapType::NoExtern => f.write_str("nullexternref"),
            HeapType::None => f.write_str("nullref"),
            HeapType::NoExn => f.write_str("nullexnref"),
            _ => write!(f, "{heap}ref"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn abstract_types_match_as_the_specification_says() {
        use HeapType::*;
        let below = |ty: HeapType| -> Vec<HeapType> {
            let all = ABSTRACT.into_iter();
            all.filter(|other| other.matches(ty, |_, _| unreachable!())).collect()
        };
        assert_eq!(below(Func), [Func, NoFunc]);
        assert_eq!(below(Extern), [Extern, NoExtern]);
        assert_eq!(below(Exn), [Exn, NoExn]);
        assert_eq!(below(Any), [Any, Eq, I31, Struct, Array, None]);
        assert_eq!(below(Eq), [Eq, I31, Struct, Array, None]);
        assert_eq!(below(Struct), [Struct, None]);
        assert_eq!(below(I31), [I31, None]);
        for bottom in [NoFunc, NoExtern, None, NoExn] {
            assert_eq!(below(bottom), [bottom]);
        }
    }

    #[test]
    fn declared_types_are_between_their_kind_and_the_bottom() {
        use HeapType::*;
        let kinds = [CompositeKind::Func, CompositeKind::Struct, CompositeKind::Array];
        let [func, object, array] = kinds.map(|kind| Concrete(ConcreteType::at_index(7, kind)));
        let above = |ty: HeapType| -> Vec<HeapType> {
            let all = ABSTRACT.into_iter();
            all.filter(|other| ty.matches(*other, |_, _| unreachable!())).collect()
        };
        assert_eq!(above(func), [Func]);
        assert_eq!(above(object), [Any, Eq, Struct]);
        assert_eq!(above(array), [Any, Eq, Array]);
        assert!(NoFunc.matches(func, |_, _| unreachable!()));
        assert!(!None.matches(func, |_, _| unreachable!()));
        assert!(None.matches(array, |_, _| unreachable!()));
        let other = Concrete(ConcreteType::at_index(8, CompositeKind::Func));
        assert!(func.matches(other, |_, _| true) && !func.matches(other, |_, _| false));
    }

    #[test]
    fn names_are_those_of_the_text_format() {
        let nullable = ABSTRACT.map(|heap| RefType::new(true, heap).to_string());
        let names = "funcref nullfuncref externref nullexternref anyref eqref i31ref structref \
                     arrayref nullref exnref nullexnref";
        assert_eq!(nullable.join(" "), names);
        let declared = HeapType::Concrete(ConcreteType::at_index(7, CompositeKind::Func));
        assert_eq!(RefType::new(true, declared).to_string(), "(ref null 7)");
        assert_eq!(RefType::new(false, declared).to_string(), "(ref 7)");
        assert_eq!(RefType::new(false, HeapType::None).to_string(), "(ref none)");
    }
}
