//! What is known of an address in machine code.
//!
//! The tables are bytes, of records that all have the same length, so that those of an artifact are
//! used where it lies.

use bytes::Bytes;

use super::handlers::{Handler, HandlerTable};
use super::records::{find, join, word};
use super::saves::{SaveTable, SavedRegisters};
use super::stack_maps::{StackMapTable, StackMaps};

/// Why a guest trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum TrapCode {
    /// The guest's calls nest deeper than `Config::max_wasm_stack` allows.
    StackOverflow,
    /// An access to linear memory outside of its bounds.
    MemoryOutOfBounds,
    /// An atomic access to linear memory at an address that is no multiple of its size. Only the
    /// operators of the threads proposal raise it.
    HeapMisaligned,
    /// `memory.atomic.wait32` or `memory.atomic.wait64` in a memory that is not shared, in which
    /// nobody could notify.
    AtomicWaitNonSharedMemory,
    /// An access to a table outside of its bounds.
    TableOutOfBounds,
    /// A call through a null reference.
    IndirectCallToNull,
    /// An indirect call to a function of another type.
    BadSignature,
    /// An integer result that its type cannot hold.
    IntegerOverflow,
    /// An integer division or remainder by zero.
    IntegerDivisionByZero,
    /// A float that is not a number, converted to an integer.
    BadConversionToInteger,
    /// The `unreachable` operator.
    UnreachableCodeReached,
    /// A null reference where an operator needs another.
    NullReference,
    /// A call of a null reference of a function type.
    NullFunctionReference,
    /// A null reference where an operator needs a struct.
    NullStructReference,
    /// A null reference where an operator needs an array.
    NullArrayReference,
    /// A null reference where an operator needs an i31.
    NullI31Reference,
    /// An access to an array outside of its bounds.
    ArrayOutOfBounds,
    /// A cast of a reference to a type that it is not of.
    CastFailure,
    /// A struct or array that is larger than any store's heap can hold.
    AllocationTooLarge,
    /// There is no room for a struct or array in the store's heap, which may not grow.
    HeapExhausted,
    /// An interrupt, or the deadline of an epoch: not the guest's doing.
    Interrupt,
}

impl TrapCode {
    /// The code with this number.
    fn from_u8(number: u8) -> Option<Self> {
        let codes = [
            Self::StackOverflow,
            Self::MemoryOutOfBounds,
            Self::HeapMisaligned,
            Self::AtomicWaitNonSharedMemory,
            Self::TableOutOfBounds,
            Self::IndirectCallToNull,
            Self::BadSignature,
            Self::IntegerOverflow,
            Self::IntegerDivisionByZero,
            Self::BadConversionToInteger,
            Self::UnreachableCodeReached,
            Self::NullReference,
            Self::NullFunctionReference,
            Self::NullStructReference,
            Self::NullArrayReference,
            Self::NullI31Reference,
            Self::ArrayOutOfBounds,
            Self::CastFailure,
            Self::Interrupt,
        ];
        codes.into_iter().find(|code| *code as u8 == number)
    }
}

/// Where the fuel counter is at a trap.
///
/// What is left is the value there plus `delta`, which is zero or negative: the cost of the
/// operators since the counter was last written, the trapping one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FuelAt {
    /// The engine does not count fuel.
    Unmetered,
    /// In the register with this number (the encoding of the machine: rax is 0, r15 is 15).
    Register { register: u8, delta: i32 },
    /// On the stack, at this distance in bytes from the frame pointer.
    Frame { offset: i32, delta: i32 },
}

/// A machine instruction that may trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrapSite {
    /// Its offset in the text.
    pub(crate) pc: u32,
    /// What its trap means.
    pub(crate) code: TrapCode,
    /// The offset of the operator in the module.
    pub(crate) wasm: u32,
    /// Where the fuel counter is.
    pub(crate) fuel: FuelAt,
}

/// What is known of the addresses of a text.
#[derive(Clone, Debug, Default)]
pub(crate) struct SiteTable {
    /// A [`TrapRecord`] for each trap site, sorted by `pc`, each once.
    traps: Bytes,
    /// A [`CallRecord`] for each return address of a call, sorted.
    calls: Bytes,
    /// Where frames hold references to values of the host.
    stack_maps: StackMapTable,
    handlers: HandlerTable,
    saves: SaveTable,
}

/// `pc`, `wasm`, the offset of [`FuelAt::Frame`] and the delta, four little-endian bytes each; the
/// trap's code, the kind of fuel (0 unmetered, 1 register, 2 frame), the register, and nothing.
type TrapRecord = [u8; 20];

/// The return address (an offset in the text) and the offset of the calling operator in the module,
/// both little-endian.
type CallRecord = [u8; 8];

impl SiteTable {
    /// The table of these trap sites, return addresses with the operators that call, handlers, and
    /// starts of functions with what they save, all sorted, and of the stack maps.
    pub(crate) fn new(
        traps: &[TrapSite],
        calls: &[(u32, u32)],
        stack_maps: &StackMaps,
        handlers: &[Handler],
        saves: &[(u32, SavedRegisters)],
    ) -> Self {
        debug_assert!(traps.is_sorted_by(|a, b| a.pc < b.pc) && calls.is_sorted());
        let traps: Vec<TrapRecord> = traps.iter().map(TrapSite::record).collect();
        debug_assert!(traps.iter().all(|record| TrapSite::from_record(record).is_some()));
        let call = |&(pc, wasm): &(u32, u32)| -> CallRecord { join([pc, wasm]) };
        let calls: Vec<CallRecord> = calls.iter().map(call).collect();
        Self {
            traps: traps.into_flattened().into(),
            calls: calls.into_flattened().into(),
            stack_maps: stack_maps.table(),
            handlers: HandlerTable::new(handlers),
            saves: SaveTable::new(saves),
        }
    }

    /// The table of what [`Self::parts`] answered, if it may be that.
    pub(crate) fn from_parts(
        [traps, calls, maps, bits, handlers, saves]: [Bytes; 6],
    ) -> Option<Self> {
        let whole = traps.len().is_multiple_of(size_of::<TrapRecord>())
            && calls.len().is_multiple_of(size_of::<CallRecord>());
        let stack_maps = StackMapTable::from_parts([maps, bits])?;
        let handlers = HandlerTable::from_bytes(handlers)?;
        let saves = SaveTable::from_bytes(saves)?;
        whole.then_some(Self { traps, calls, stack_maps, handlers, saves })
    }

    /// What the table consists of.
    pub(crate) fn parts(&self) -> [&[u8]; 6] {
        let [maps, bits] = self.stack_maps.parts();
        [&self.traps, &self.calls, maps, bits, self.handlers.bytes(), self.saves.bytes()]
    }

    /// Where calls that throw go on.
    pub(crate) fn handlers(&self) -> &HandlerTable {
        &self.handlers
    }

    /// Which registers frames hold for their callers.
    pub(crate) fn saves(&self) -> &SaveTable {
        &self.saves
    }

    /// Where the frame that a call returns to holds references to values of the host.
    pub(crate) fn stack_maps(&self) -> &StackMapTable {
        &self.stack_maps
    }

    /// The trap site at exactly this offset. Async-signal-safe.
    pub(crate) fn trap(&self, pc: u32) -> Option<TrapSite> {
        find(&self.traps, pc).and_then(TrapSite::from_record)
    }

    /// The operator that made the call which returns to this offset.
    pub(crate) fn call(&self, return_address: u32) -> Option<u32> {
        let record: &CallRecord = find(&self.calls, return_address)?;
        Some(word(record, 1))
    }
}

#[cfg(test)]
impl SiteTable {
    /// All trap sites.
    pub(crate) fn traps(&self) -> impl Iterator<Item = TrapSite> {
        let records = self.traps.as_chunks().0.iter();
        records.map(|record| TrapSite::from_record(record).expect("a site"))
    }

    /// All return addresses with the operators that call.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (u32, u32)> {
        self.calls.as_chunks::<8>().0.iter().map(|record| (word(record, 0), word(record, 1)))
    }
}

impl TrapSite {
    fn record(&self) -> TrapRecord {
        let code = self.code as u8;
        let (kind, register, offset, delta) = match self.fuel {
            FuelAt::Unmetered => (0, 0, 0, 0),
            FuelAt::Register { register, delta } => (1, register, 0, delta),
            FuelAt::Frame { offset, delta } => (2, 0, offset, delta),
        };
        let small = u32::from_le_bytes([code, kind, register, 0]);
        join([self.pc, self.wasm, offset as u32, delta as u32, small])
    }

    fn from_record(record: &TrapRecord) -> Option<Self> {
        let [offset, delta] = [2, 3].map(|index| word(record, index) as i32);
        let [code, kind, register, _] = word(record, 4).to_le_bytes();
        let fuel = match kind {
            0 => FuelAt::Unmetered,
            1 => FuelAt::Register { register, delta },
            2 => FuelAt::Frame { offset, delta },
            _ => return None,
        };
        let code = TrapCode::from_u8(code)?;
        Some(Self { pc: word(record, 0), code, wasm: word(record, 1), fuel })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_all_of_a_site() {
        let fuels = [
            FuelAt::Unmetered,
            FuelAt::Register { register: 15, delta: -7 },
            FuelAt::Register { register: 3, delta: i32::MIN },
            FuelAt::Frame { offset: -40, delta: -1_000_000 },
            FuelAt::Frame { offset: i32::MAX, delta: 0 },
        ];
        let mut sites = Vec::new();
        for number in 0..=u8::MAX {
            let Some(code) = TrapCode::from_u8(number) else { continue };
            for fuel in fuels {
                let pc = 1000 * sites.len() as u32 + 3;
                sites.push(TrapSite { pc, code, wasm: u32::MAX - pc, fuel });
            }
        }
        let calls = [(5, 6), (7, 0), (u32::MAX, 1)];
        let table = SiteTable::new(&sites, &calls, &StackMaps::default(), &[], &[]);
        let parts = table.parts().map(Bytes::copy_from_slice);
        let table = SiteTable::from_parts(parts).expect("the same");
        assert!(sites.iter().all(|site| table.trap(site.pc) == Some(*site)));
        assert!(calls.iter().all(|&(address, wasm)| table.call(address) == Some(wasm)));
        assert_eq!((table.trap(2), table.trap(u32::MAX), table.call(6)), (None, None, None));
        let parts = [b"cut".as_slice(), b"", b"", b"", b"", b""].map(Bytes::from_static);
        assert!(SiteTable::from_parts(parts).is_none());
    }
}
