//! Tables of references.

use std::ptr;

use super::layout::{VMFuncRef, VMTable};
use crate::pooling::PoolLimitError;
use crate::types::{TableType, ValType};

/// The most elements that a table can have, whatever its type says. It bounds what one operator of
/// a guest can make the host allocate (80 MB), and initial sizes are held to it, too.
pub(crate) const MAX_ELEMENTS: u64 = 10_000_000;

/// A reference as tables and segments hold it: the address of a function record, or the index of
/// another reference; zero is null.
pub(crate) type RawRef = u64;

#[derive(Debug)]
enum Elements {
    Funcs(Vec<*mut VMFuncRef>),
    Externs(Vec<u32>),
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    elements: Elements,
    ty: TableType,
    /// The most elements that the pool allows.
    limit: Option<u64>,
}

/// A range does not lie within a table or segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of bounds table access")]
pub(crate) struct OutOfBounds;

/// A table did not grow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrowError {
    #[error("cannot grow a {ty} by {delta} elements")]
    Refused { ty: TableType, delta: u64 },
    #[error(transparent)]
    Limit(#[from] PoolLimitError),
}

impl GrowError {
    /// The error as the embedder gets it, who may want to downcast what lies inside.
    pub(crate) fn report(self) -> anyhow::Error {
        match self {
            Self::Limit(error) => error.into(),
            refused => refused.into(),
        }
    }
}

/// The elements from `start` to `start + len`, if there are as many.
pub(crate) fn checked_range(
    start: u64,
    len: u64,
    size: usize,
) -> Result<std::ops::Range<usize>, OutOfBounds> {
    match start.checked_add(len) {
        Some(end) if end <= size as u64 => Ok(start as usize..end as usize),
        _ => Err(OutOfBounds),
    }
}

impl Table {
    /// A table of this type, all null, or `None` beyond the implementation's limit.
    ///
    /// The system's zero pages serve as nulls, so that a large table costs what is used of it.
    pub(crate) fn new(ty: &TableType) -> Option<Self> {
        if u64::from(ty.minimum()) > ty.maximum().map_or(MAX_ELEMENTS, u64::from).min(MAX_ELEMENTS)
        {
            return None;
        }
        let len = ty.minimum() as usize;
        let elements = match ty.element() {
            ValType::FuncRef => Elements::Funcs(vec![ptr::null_mut(); len]),
            _ => Elements::Externs(vec![0; len]),
        };
        Some(Self { elements, ty: ty.clone(), limit: None })
    }

    /// Lets the table have at most so many elements, whatever its type says.
    pub(crate) fn limit(&mut self, elements: u64) {
        self.limit = Some(elements);
    }

    /// The type that the table was made with.
    pub(crate) fn ty(&self) -> &TableType {
        &self.ty
    }

    fn maximum(&self) -> u64 {
        self.ty.maximum().map_or(MAX_ELEMENTS, u64::from).min(MAX_ELEMENTS)
    }

    /// What machine code needs to know. It changes when the table grows.
    pub(crate) fn definition(&mut self) -> VMTable {
        match &mut self.elements {
            Elements::Funcs(funcs) => VMTable { base: funcs.as_mut_ptr().cast(), len: funcs.len() },
            Elements::Externs(externs) => {
                VMTable { base: externs.as_mut_ptr().cast(), len: externs.len() }
            }
        }
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        match &self.elements {
            Elements::Funcs(funcs) => funcs.len(),
            Elements::Externs(externs) => externs.len(),
        }
    }

    /// The size in bytes of all elements.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = match &self.elements {
            Elements::Funcs(funcs) => size_of_val(&funcs[..]),
            Elements::Externs(externs) => size_of_val(&externs[..]),
        };
        bytes as u64
    }

    /// The elements, if they are references to values of the host.
    pub(super) fn externs(&self) -> &[u32] {
        match &self.elements {
            Elements::Funcs(_) => &[],
            Elements::Externs(externs) => externs,
        }
    }

    /// An element.
    pub(crate) fn get(&self, index: u64) -> Option<RawRef> {
        let index = usize::try_from(index).ok()?;
        match &self.elements {
            Elements::Funcs(funcs) => funcs.get(index).map(|func| *func as usize as u64),
            Elements::Externs(externs) => externs.get(index).map(|&index| index.into()),
        }
    }

    /// Sets `len` elements.
    pub(crate) fn fill(&mut self, start: u64, value: RawRef, len: u64) -> Result<(), OutOfBounds> {
        let range = checked_range(start, len, self.len())?;
        match &mut self.elements {
            Elements::Funcs(funcs) => funcs[range].fill(value as usize as *mut VMFuncRef),
            Elements::Externs(externs) => externs[range].fill(value as u32),
        }
        Ok(())
    }

    /// Sets the elements from `start` on.
    pub(crate) fn write(&mut self, start: u64, values: &[RawRef]) -> Result<(), OutOfBounds> {
        let range = checked_range(start, values.len() as u64, self.len())?;
        match &mut self.elements {
            Elements::Funcs(funcs) => {
                let values = values.iter().map(|&value| value as usize as *mut VMFuncRef);
                funcs[range].iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
            }
            Elements::Externs(externs) => {
                let values = values.iter().map(|&value| value as u32);
                externs[range].iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
            }
        }
        Ok(())
    }

    /// Copies elements within the table; the ranges may overlap.
    pub(crate) fn copy_within(&mut self, dst: u64, src: u64, len: u64) -> Result<(), OutOfBounds> {
        let src = checked_range(src, len, self.len())?;
        let dst = checked_range(dst, len, self.len())?.start;
        match &mut self.elements {
            Elements::Funcs(funcs) => funcs.copy_within(src, dst),
            Elements::Externs(externs) => externs.copy_within(src, dst),
        }
        Ok(())
    }

    /// Elements as raw references.
    pub(crate) fn read(&self, start: u64, len: u64) -> Result<Vec<RawRef>, OutOfBounds> {
        let range = checked_range(start, len, self.len())?;
        Ok(match &self.elements {
            Elements::Funcs(funcs) => {
                funcs[range].iter().map(|&func| func as usize as u64).collect()
            }
            Elements::Externs(externs) => {
                externs[range].iter().map(|&index| index.into()).collect()
            }
        })
    }

    /// Appends `delta` elements. Answers the former number.
    ///
    /// # Errors
    ///
    /// Fails beyond the maximum or the pool's limit, or without memory; the table is then as before.
    pub(crate) fn grow(&mut self, delta: u64, value: RawRef) -> Result<u64, GrowError> {
        if let Some(limit) = self.limit {
            let desired = (self.len() as u64).saturating_add(delta);
            PoolLimitError::check("table_elements", desired, limit)?;
        }
        let grown = self.try_grow(delta, value);
        grown.ok_or_else(|| GrowError::Refused { ty: self.ty.clone(), delta })
    }

    fn try_grow(&mut self, delta: u64, value: RawRef) -> Option<u64> {
        let old = self.len() as u64;
        let new = old.checked_add(delta).filter(|&new| new <= self.maximum())?;
        let (new, delta) = (new as usize, delta as usize);
        match &mut self.elements {
            Elements::Funcs(funcs) => {
                funcs.try_reserve(delta).ok()?;
                funcs.resize(new, value as usize as *mut VMFuncRef);
            }
            Elements::Externs(externs) => {
                externs.try_reserve(delta).ok()?;
                externs.resize(new, value as u32);
            }
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked_without_overflow() {
        assert_eq!(checked_range(0, 0, 0), Ok(0..0));
        assert_eq!(checked_range(3, 1, 4), Ok(3..4));
        assert_eq!(checked_range(4, 0, 4), Ok(4..4));
        assert_eq!(checked_range(5, 0, 4), Err(OutOfBounds));
        assert_eq!(checked_range(u64::MAX, 2, 4), Err(OutOfBounds));
        assert_eq!(checked_range(2, u64::MAX, 4), Err(OutOfBounds));
    }

    #[test]
    fn growth_is_bounded() {
        let mut table = Table::new(&TableType::new(ValType::ExternRef, 1, Some(3))).unwrap();
        assert_eq!(table.grow(2, 9).unwrap(), 1);
        assert!(table.grow(1, 9).is_err());
        assert_eq!(table.read(0, 3), Ok(vec![0, 9, 9]));
        let mut table = Table::new(&TableType::new(ValType::FuncRef, 0, None)).unwrap();
        assert!(table.grow(u64::MAX, 0).is_err());
        assert!(table.grow(MAX_ELEMENTS + 1, 0).is_err());
    }
}
