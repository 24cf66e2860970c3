//! The values of scripts: arguments, and what results must match.

use std::fmt;

use lampwick::{AnyRef, CompositeKind, ExternRef, HeapType as Heap, Val};
use wast::WastArg;
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};

/// An argument of a call.
pub(crate) enum Argument {
    Number(Val),
    /// A value of the host's that only its number tells from others.
    Host(u32),
    NullFunc,
    NullExtern,
    NullAny,
    NullExn,
    /// The same as a guest sees it that converts it.
    Converted(u32),
    Unsupported,
}

impl From<WastArg<'_>> for Argument {
    fn from(argument: WastArg<'_>) -> Self {
        use WastArgCore as A;
        let WastArg::Core(argument) = argument else {
            return Self::Unsupported;
        };
        match argument {
            A::I32(value) => Self::Number(Val::I32(value)),
            A::I64(value) => Self::Number(Val::I64(value)),
            A::F32(value) => Self::Number(Val::F32(value.bits)),
            A::F64(value) => Self::Number(Val::F64(value.bits)),
            A::RefExtern(value) => Self::Host(value),
            A::RefNull(ty) => match Null::from(ty) {
                Null::Func => Self::NullFunc,
                Null::Extern => Self::NullExtern,
                Null::Any => Self::NullAny,
                Null::Exn => Self::NullExn,
                Null::Other => Self::Unsupported,
            },
            A::V128(value) => Self::Number(Val::V128(u128::from_le_bytes(value.to_le_bytes()))),
            A::RefHost(value) => Self::Converted(value),
        }
    }
}

impl Argument {
    /// The value to pass, unless there is none that the host could make.
    pub(crate) fn value(&self) -> Option<Val> {
        match self {
            Self::Number(value) => Some(value.clone()),
            Self::Host(value) => Some(Val::ExternRef(Some(ExternRef::new(*value)))),
            Self::NullFunc => Some(Val::FuncRef(None)),
            Self::NullExtern => Some(Val::ExternRef(None)),
            Self::NullAny => Some(Val::AnyRef(None)),
            Self::NullExn => Some(Val::ExnRef(None)),
            Self::Converted(value) => Some(AnyRef::from_extern(ExternRef::new(*value)).into()),
            Self::Unsupported => None,
        }
    }
}

/// The hierarchies of reference types.
enum Null {
    Func,
    Extern,
    Exn,
    Any,
    Other,
}

impl From<HeapType<'_>> for Null {
    fn from(ty: HeapType<'_>) -> Self {
        match ty {
            HeapType::Abstract {
                shared: false,
                ty: AbstractHeapType::Func | AbstractHeapType::NoFunc,
            } => Self::Func,
            HeapType::Abstract {
                shared: false,
                ty: AbstractHeapType::Extern | AbstractHeapType::NoExtern,
            } => Self::Extern,
            HeapType::Abstract {
                shared: false,
                ty: AbstractHeapType::Exn | AbstractHeapType::NoExn,
            } => Self::Exn,
            HeapType::Abstract {
                shared: false,
                ty:
                    AbstractHeapType::Any
                    | AbstractHeapType::Eq
                    | AbstractHeapType::I31
                    | AbstractHeapType::Struct
                    | AbstractHeapType::Array
                    | AbstractHeapType::None,
            } => Self::Any,
            _ => Self::Other,
        }
    }
}

/// What a float must be.
#[derive(Debug)]
pub(crate) enum Float<Bits> {
    Exactly(Bits),
    /// The quiet NaN whose payload has no further bit set, of either sign.
    CanonicalNan,
    /// Any quiet NaN.
    ArithmeticNan,
}

impl<Bits> Float<Bits> {
    fn new<T>(pattern: NanPattern<T>, bits: impl FnOnce(T) -> Bits) -> Self {
        match pattern {
            NanPattern::CanonicalNan => Self::CanonicalNan,
            NanPattern::ArithmeticNan => Self::ArithmeticNan,
            NanPattern::Value(value) => Self::Exactly(bits(value)),
        }
    }
}

impl Float<u32> {
    fn matches(&self, bits: u32) -> bool {
        const QUIET: u32 = 0x7fc0_0000;
        match self {
            Self::Exactly(expected) => bits == *expected,
            Self::CanonicalNan => bits & 0x7fff_ffff == QUIET,
            Self::ArithmeticNan => bits & QUIET == QUIET,
        }
    }
}

impl Float<u64> {
    fn matches(&self, bits: u64) -> bool {
        const QUIET: u64 = 0x7ff8_0000_0000_0000;
        match self {
            Self::Exactly(expected) => bits == *expected,
            Self::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == QUIET,
            Self::ArithmeticNan => bits & QUIET == QUIET,
        }
    }
}

/// What a vector must be, lane by lane.
#[derive(Debug)]
pub(crate) enum Lanes {
    Exactly(u128),
    F32([Float<u32>; 4]),
    F64([Float<u64>; 2]),
}

impl From<V128Pattern> for Lanes {
    fn from(pattern: V128Pattern) -> Self {
        use V128Pattern as P;
        // The first lane is the lowest.
        fn join<const N: usize, const SIZE: usize>(lanes: [[u8; SIZE]; N]) -> Lanes {
            let bytes = lanes.as_flattened().try_into().expect("lanes have 16 bytes together");
            Lanes::Exactly(u128::from_le_bytes(bytes))
        }
        match pattern {
            P::I8x16(lanes) => join(lanes.map(i8::to_le_bytes)),
            P::I16x8(lanes) => join(lanes.map(i16::to_le_bytes)),
            P::I32x4(lanes) => join(lanes.map(i32::to_le_bytes)),
            P::I64x2(lanes) => join(lanes.map(i64::to_le_bytes)),
            P::F32x4(lanes) => Self::F32(lanes.map(|lane| Float::new(lane, |value| value.bits))),
            P::F64x2(lanes) => Self::F64(lanes.map(|lane| Float::new(lane, |value| value.bits))),
        }
    }
}

impl Lanes {
    fn matches(&self, value: u128) -> bool {
        match self {
            Self::Exactly(expected) => value == *expected,
            Self::F32(lanes) => {
                let lane = |index: usize| (value >> (32 * index)) as u32;
                lanes.iter().enumerate().all(|(index, expected)| expected.matches(lane(index)))
            }
            Self::F64(lanes) => {
                let lane = |index: usize| (value >> (64 * index)) as u64;
                lanes.iter().enumerate().all(|(index, expected)| expected.matches(lane(index)))
            }
        }
    }
}

/// What a result must match.
#[derive(Debug)]
pub(crate) enum Expected {
    I32(i32),
    I64(i64),
    F32(Float<u32>),
    F64(Float<u64>),
    Vector(Lanes),
    NullFunc,
    NullExtern,
    NullAny,
    NullExn,
    /// A null of any type.
    Null,
    /// Anything of that type which is not null.
    Any(Heap),
    /// A value of the host's, passed under this number, as a guest sees it.
    Converted(u32),
    /// Any function.
    Func,
    /// Any value of the host's.
    AnyHost,
    /// The value of the host's that was passed under this number.
    Host(u32),
    Either(Vec<Expected>),
    /// What is not supported.
    Unsupported,
}

impl From<WastRetCore<'_>> for Expected {
    fn from(result: WastRetCore<'_>) -> Self {
        use WastRetCore as R;
        match result {
            R::I32(value) => Self::I32(value),
            R::I64(value) => Self::I64(value),
            R::F32(pattern) => Self::F32(Float::new(pattern, |value| value.bits)),
            R::F64(pattern) => Self::F64(Float::new(pattern, |value| value.bits)),
            R::V128(pattern) => Self::Vector(pattern.into()),
            R::RefNull(None) => Self::Null,
            R::RefNull(Some(ty)) => match Null::from(ty) {
                Null::Func => Self::NullFunc,
                Null::Extern => Self::NullExtern,
                Null::Any => Self::NullAny,
                Null::Exn => Self::NullExn,
                Null::Other => Self::Unsupported,
            },
            // An index would name a function of the module; the suite never gives one.
            R::RefFunc(None) => Self::Func,
            R::RefExtern(None) => Self::AnyHost,
            R::RefExtern(Some(value)) => Self::Host(value),
            R::RefAny => Self::Any(Heap::Any),
            R::RefEq => Self::Any(Heap::Eq),
            R::RefI31 | R::RefI31Shared => Self::Any(Heap::I31),
            R::RefStruct => Self::Any(Heap::Struct),
            R::RefArray => Self::Any(Heap::Array),
            R::RefHost(value) => Self::Converted(value),
            R::Either(choices) => Self::Either(choices.into_iter().map(Self::from).collect()),
            _ => Self::Unsupported,
        }
    }
}

impl Expected {
    pub(crate) fn matches(&self, value: &Val) -> bool {
        match (self, value) {
            (Self::I32(expected), Val::I32(value)) => expected == value,
            (Self::I64(expected), Val::I64(value)) => expected == value,
            (Self::F32(expected), Val::F32(bits)) => expected.matches(*bits),
            (Self::F64(expected), Val::F64(bits)) => expected.matches(*bits),
            (Self::Vector(lanes), Val::V128(value)) => lanes.matches(*value),
            (Self::NullFunc | Self::Null, Val::FuncRef(None))
            | (Self::NullExtern | Self::Null, Val::ExternRef(None))
            | (Self::Func, Val::FuncRef(Some(_)))
            | (Self::NullAny | Self::Null, Val::AnyRef(None))
            | (Self::NullExn | Self::Null, Val::ExnRef(None))
            | (Self::AnyHost, Val::ExternRef(Some(_))) => true,
            (Self::Any(ty), Val::AnyRef(Some(value))) => is_of(value, *ty),
            (Self::Converted(expected), Val::AnyRef(Some(value))) => {
                let value = value.extern_ref().and_then(|value| value.data().downcast_ref::<u32>());
                value == Some(expected)
            }
            (Self::Host(expected), Val::ExternRef(Some(value))) => {
                value.data().downcast_ref::<u32>() == Some(expected)
            }
            (Self::Either(choices), value) => choices.iter().any(|choice| choice.matches(value)),
            _ => false,
        }
    }
}

/// Whether a reference is to what the suite calls by the name of an abstract type.
fn is_of(value: &AnyRef, ty: Heap) -> bool {
    match ty {
        Heap::Any => true,
        Heap::Eq => value.extern_ref().is_none(),
        Heap::I31 => value.i31().is_some(),
        Heap::Struct => value.kind() == Some(CompositeKind::Struct),
        _ => value.kind() == Some(CompositeKind::Array),
    }
}

/// A value as a failure shows it: floats with their bits.
pub(crate) struct Shown<'a>(pub(crate) &'a Val);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Val::F32(bits) => write!(f, "F32({bits:#010x} = {})", f32::from_bits(*bits)),
            Val::F64(bits) => write!(f, "F64({bits:#018x} = {})", f64::from_bits(*bits)),
            Val::V128(value) => write!(f, "V128({value:#034x})"),
            value => write!(f, "{value:?}"),
        }
    }
}
