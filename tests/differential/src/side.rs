//! What both sides can do, in the same words.

/// Why a guest stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It trapped, as it must on the other side.
    Trap(Trap),
    /// It met a limit of this side, which the other may not have.
    Limit(String),
    /// What should not happen.
    Error(String),
}

/// Why a guest trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// `unreachable` was executed.
    Unreachable,
    /// Outside of a memory, or a data segment.
    Memory,
    /// Outside of a table, or an element segment.
    Table,
    /// A call of a null reference.
    Null,
    /// A call of a function of another type.
    Signature,
    /// Division by zero.
    DivisionByZero,
    /// A quotient that its type does not have.
    Overflow,
    /// A float that is no integer of its type.
    Conversion,
    /// A host function failed.
    Host,
    /// Nobody caught an exception.
    Exception,
    /// Something that only one implementation has.
    Other(lampwick::TrapCode),
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An `i32`.
    I32(i32),
    /// An `i64`.
    I64(i64),
    /// The bits of an `f32`.
    F32(u32),
    /// The bits of an `f64`.
    F64(u64),
    /// A vector.
    V128(u128),
    /// Whether there is a function.
    Function(bool),
    /// A value of the host, which is a number.
    Extern(Option<u32>),
    /// An integer of 31 bits as a reference, or null.
    Any(Option<i32>),
    /// What another reference leads to.
    Object(String),
    /// Whether there is an exception.
    Exception(bool),
}

/// What an export is, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// A function, which has none.
    Function,
    /// The bytes of a memory.
    Memory(&'a [u8]),
    /// The elements of a table.
    Table(Vec<Value>),
    /// The value of a global.
    Global(Value),
}

impl State<'_> {
    /// What differs, if anything does. A memory is too long to be shown as a whole.
    pub fn difference(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (ours, theirs) if ours == theirs => None,
            (State::Memory(ours), State::Memory(theirs)) => {
                let pairs = ours.iter().zip(*theirs);
                let at = pairs.take_while(|(ours, theirs)| ours == theirs).count();
                let sizes = (ours.len(), theirs.len());
                let bytes = (ours.get(at), theirs.get(at));
                Some(format!("sizes {sizes:?}, first at byte {at}: {bytes:?}"))
            }
            (ours, theirs) => Some(format!("ours {ours:?}, theirs {theirs:?}")),
        }
    }
}

/// A module on one of the sides.
pub trait Side {
    /// Makes the instance; the module's start function is called.
    ///
    /// # Errors
    ///
    /// Says why there is none.
    fn instantiate(&mut self) -> Result<(), Stop>;

    /// Calls an exported function of the instance.
    ///
    /// # Errors
    ///
    /// Says why it did not return.
    fn call(&mut self, function: &str, arguments: &[Value]) -> Result<Vec<Value>, Stop>;

    /// What is in an export of the instance, or in what the host gave under such a name.
    fn state(&mut self, whose: Whose, name: &str) -> State<'_>;

    /// The calls of host functions since this was asked last, with their arguments.
    fn take_calls(&mut self) -> Vec<(String, Vec<Value>)>;

    /// The fuel that was burned so far, if it is counted.
    fn fuel(&self) -> Option<u64> {
        None
    }
}

/// Where a name belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// To the instance's exports.
    Instance,
    /// To the host's imports.
    Host,
}
