//! The functions of ours that machine code calls.

/// Bytes of memory operators that one unit of fuel pays for.
pub(crate) const BYTES_PER_FUEL: u64 = 64;

/// Bytes that code copies or fills without a look at the clock. Of pages that nobody has touched these
/// are as slow as so many stores.
pub(crate) const BYTES_PER_CHUNK: u64 = 4 << 10;

/// Elements of table operators that one unit of fuel pays for.
pub(crate) const ELEMENTS_PER_FUEL: u64 = 8;

/// A type in the signature of a builtin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltinType {
    I32,
    I64,
}

/// Calls a macro with every builtin: name, parameters after the context, result.
///
/// Each is an `extern "C"` function whose first parameter is the caller's context; those without
/// other parameters, which are the slow paths of checks, preserve registers beyond that
/// convention. It returns only where the guest goes on; a trap unwinds to the entry of wasm. Before
/// it runs, the fuel counter (with the operator itself charged), frame pointer and return address are
/// written to the store; after it returned, the counter is read back: by the stub, but where fuel is
/// checked by the entry point.
///
/// Memory and table operands are 32-bit indices of the module's index space, segments likewise;
/// addresses, lengths and element counts are zero-extended to 64 bits. A table's element is its
/// function reference, or another reference zero-extended.
macro_rules! for_each_builtin {
    ($with:ident) => {
        $with! {
            /// The slice of fuel is gone: refills it, after a suspension or none, or traps.
            out_of_fuel() -> ();
            /// The store was interrupted or its deadline has come: traps, or returns, after a suspension or none.
            interrupted() -> ();
            /// `out_of_fuel`, for code that keeps nothing in vector registers.
            out_of_fuel_scalar() -> ();
            /// `interrupted`, for code that keeps nothing in vector registers.
            interrupted_scalar() -> ();
            /// `memory.grow(memory, pages)`: the former size in pages, or -1.
            memory_grow(I32, I64) -> I64;
            /// `memory.fill(memory, dst, byte, len)`.
            memory_fill(I32, I64, I32, I64) -> ();
            /// `memory.copy(dst memory, src memory, dst, src, len)`.
            memory_copy(I32, I32, I64, I64, I64) -> ();
            /// `memory.init(memory, segment, dst, src, len)`.
            memory_init(I32, I32, I64, I64, I64) -> ();
            /// Moves bytes that are inside of memories: to address, from address, length. It neither
            /// traps, suspends nor charges, so that it is called without a stub.
            move_bytes(I64, I64, I64) -> ();
            /// Sets bytes that are inside of a memory: address, byte, length. As `move_bytes`.
            set_bytes(I64, I32, I64) -> ();
            /// `memory.atomic.wait32(memory, index, offset, expected, timeout)`.
            memory_wait32(I32, I64, I64, I32, I64) -> I64;
            /// `memory.atomic.wait64(memory, index, offset, expected, timeout)`.
            memory_wait64(I32, I64, I64, I64, I64) -> I64;
            /// `memory.atomic.notify(memory, index, offset, count)`: how many were woken.
            memory_notify(I32, I64, I64, I32) -> I64;
            /// `data.drop(segment)`.
            data_drop(I32) -> ();
            /// `table.grow(table, init, elements)`: the former size in elements, or -1.
            table_grow(I32, I64, I64) -> I64;
            /// `table.fill(table, dst, value, len)`.
            table_fill(I32, I64, I64, I64) -> ();
            /// `table.copy(dst table, src table, dst, src, len)`.
            table_copy(I32, I32, I64, I64, I64) -> ();
            /// `table.init(table, segment, dst, src, len)`.
            table_init(I32, I32, I64, I64, I64) -> ();
            /// `elem.drop(segment)`.
            elem_drop(I32) -> ();
            /// `struct.new_default(type)`: a reference.
            struct_new(I32) -> I64;
            /// `array.new_default(type, len)`: a reference.
            array_new(I32, I64) -> I64;
            /// Sets all elements of a new array: array, low and high half of the value. What it takes
            /// was charged when the array was made.
            array_begin(I32, I64, I64) -> ();
            /// `array.new_data(type, segment, start, len)`: a reference.
            array_new_data(I32, I32, I64, I64) -> I64;
            /// `array.new_elem(type, segment, start, len)`: a reference.
            array_new_elem(I32, I32, I64, I64) -> I64;
            /// `array.init_data(segment, array, dst, src, len)`.
            array_init_data(I32, I32, I64, I64, I64) -> ();
            /// `array.init_elem(segment, array, dst, src, len)`.
            array_init_elem(I32, I32, I64, I64, I64) -> ();
            /// `array.fill(array, dst, low and high half of the value, len)`.
            array_fill(I32, I64, I64, I64, I64) -> ();
            /// `array.copy(dst array, dst, src array, src, len)`.
            array_copy(I32, I64, I32, I64, I64) -> ();
            /// `throw(tag, values)`: the address of the exception's values, 16 bytes each. It does not return.
            throw(I32, I64) -> ();
            /// `throw_ref(exception)`. It does not return.
            throw_ref(I32) -> ();
        }
    };
}
pub(crate) use for_each_builtin;

macro_rules! define {
    ($($(#[$doc:meta])* $name:ident($($param:ident),*) -> $result:tt;)*) => {
        /// A function of ours that machine code calls, by its place in the table of entry points.
        #[expect(non_camel_case_types, reason = "the names are those of the functions")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub(crate) enum Builtin {
            $($(#[$doc])* $name,)*
        }

        impl Builtin {
            /// All of them, in the order of the table.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Whether it is the slow path of a check for fuel.
            pub(crate) fn is_fuel_check(self) -> bool {
                matches!(self, Self::out_of_fuel | Self::out_of_fuel_scalar)
            }

            /// Whether it throws, and does not return.
            pub(crate) fn throws(self) -> bool {
                matches!(self, Self::throw | Self::throw_ref)
            }

            /// The parameters after the context.
            pub(crate) fn params(self) -> &'static [BuiltinType] {
                match self {
                    $(Self::$name => &[$(BuiltinType::$param),*],)*
                }
            }

            /// The result, if there is one.
            pub(crate) fn result(self) -> Option<BuiltinType> {
                match self {
                    $(Self::$name => define!(@result $result),)*
                }
            }
        }
    };
    (@result ()) => { None };
    (@result $ty:ident) => { Some(BuiltinType::$ty) };
}
for_each_builtin!(define);
