//! Where control goes when a call throws.

use bytes::Bytes;

use super::records::{join, word};

/// Which exceptions a handler catches, and what it wants of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// The tag's index in the module of the frame's function; `None` catches all.
    pub(crate) tag: Option<u32>,
    /// Whether the exception itself is wanted.
    pub(crate) by_reference: bool,
}

impl Clause {
    /// The clause as a number. No module has so many tags that one would not fit.
    pub(crate) fn number(self) -> u32 {
        self.tag.map_or(0, |tag| tag + 1) << 1 | u32::from(self.by_reference)
    }

    fn from_number(number: u32) -> Self {
        Self { tag: (number >> 1).checked_sub(1), by_reference: number & 1 == 1 }
    }
}

/// Where a frame holds its context while it is at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextAt {
    /// So many bytes above the stack pointer, a multiple of 8.
    Stack(u32),
    /// In this one of the [`PRESERVED`](super::PRESERVED) registers.
    Register(u8),
}

impl ContextAt {
    /// The place as a number.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Stack(offset) => offset,
            Self::Register(index) => u32::from(index) << 1 | 1,
        }
    }

    fn from_number(number: u32) -> Self {
        match number & 1 {
            0 => Self::Stack(number),
            _ => Self::Register((number >> 1) as u8),
        }
    }
}

/// A clause that a call of a frame may go on in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handler {
    /// The call's return address, an offset in the text.
    pub(crate) return_address: u32,
    /// A [`Clause`]'s number.
    pub(crate) clause: u32,
    /// Where it goes on, an offset in the text.
    pub(crate) landing: u32,
    /// How many bytes below the frame pointer the stack pointer then is.
    pub(crate) frame_size: u32,
    /// A [`ContextAt`]'s number.
    pub(crate) context: u32,
}

impl Handler {
    /// What it catches.
    pub(crate) fn clause(&self) -> Clause {
        Clause::from_number(self.clause)
    }

    /// Where the frame's context is while it is at the call.
    pub(crate) fn context(&self) -> ContextAt {
        ContextAt::from_number(self.context)
    }
}

/// The fields of a [`Handler`], in order.
type Record = [u8; 20];

/// The handlers of a text, in bytes that may be a part of a file: sorted by return address, those of
/// a call in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HandlerTable(Bytes);

impl HandlerTable {
    /// The table of these handlers, which are sorted.
    pub(super) fn new(handlers: &[Handler]) -> Self {
        debug_assert!(handlers.is_sorted_by_key(|handler| handler.return_address));
        let record = |handler: &Handler| -> Record {
            let Handler { return_address, clause, landing, frame_size, context } = *handler;
            join([return_address, clause, landing, frame_size, context])
        };
        let records: Vec<Record> = handlers.iter().map(record).collect();
        Self(records.into_flattened().into())
    }

    /// The table in these bytes, if they may be one.
    pub(super) fn from_bytes(bytes: Bytes) -> Option<Self> {
        bytes.len().is_multiple_of(size_of::<Record>()).then_some(Self(bytes))
    }

    /// The bytes of the table.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The handlers of the call that returns to this offset, in the order in which they are tried.
    pub(crate) fn of(&self, return_address: u32) -> impl Iterator<Item = Handler> + '_ {
        let (records, _): (&[Record], _) = self.0.as_chunks();
        let first = records.partition_point(|record| word(record, 0) < return_address);
        let handlers = records[first..].iter().map(|record| {
            let [return_address, clause, landing, frame_size, context] =
                [0, 1, 2, 3, 4].map(|field| word(record, field));
            Handler { return_address, clause, landing, frame_size, context }
        });
        handlers.take_while(move |handler| handler.return_address == return_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_numbers() {
        for tag in [None, Some(0), Some(1), Some(999_999)] {
            for by_reference in [false, true] {
                let clause = Clause { tag, by_reference };
                assert_eq!(Clause::from_number(clause.number()), clause);
            }
        }
    }

    #[test]
    fn places_of_contexts_are_numbers() {
        for at in [ContextAt::Stack(0), ContextAt::Stack(1 << 30), ContextAt::Register(0)] {
            assert_eq!(ContextAt::from_number(at.number()), at);
        }
        assert_eq!(ContextAt::from_number(ContextAt::Register(4).number()), ContextAt::Register(4));
    }

    #[test]
    fn handlers_come_back_in_their_order() {
        let handler = |return_address, clause| Handler {
            return_address,
            clause,
            landing: 1000 + clause % 100,
            frame_size: u32::MAX,
            context: 8,
        };
        let all = [handler(5, 2), handler(5, 1), handler(9, 7), handler(u32::MAX, 0)];
        let table = HandlerTable::new(&all);
        let bytes = Bytes::copy_from_slice(table.bytes());
        let table = HandlerTable::from_bytes(bytes.clone()).expect("the same");
        let of = |address| table.of(address).collect::<Vec<_>>();
        assert_eq!(of(5), all[..2]);
        assert_eq!((of(9), of(u32::MAX)), (vec![all[2]], vec![all[3]]));
        assert_eq!((of(0), of(6), of(10)), (vec![], vec![], vec![]));
        assert!(HandlerTable::from_bytes(bytes.slice(1..)).is_none());
    }
}
