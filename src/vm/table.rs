//! Tables of references.

use super::elements::Elements as List;
use super::layout::{VMFuncRef, VMTable};
use crate::pooling::PoolLimitError;
use crate::types::TableType;

/// The most elements that a table can have, whatever its type says. It bounds what one operator of
/// a guest can make the host allocate (80 MB), and initial sizes are held to it, too.
pub(crate) const MAX_ELEMENTS: u64 = 10_000_000;

/// A reference as tables and segments hold it: the address of a function record, or the index of
/// another reference; zero is null.
pub(crate) type RawRef = u64;

#[derive(Debug)]
enum Elements {
    Funcs(List<*mut VMFuncRef>),
    Externs(List<u32>),
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

/// The most elements that a table of this type can have.
fn maximum(ty: &TableType) -> u64 {
    ty.maximum64().map_or(MAX_ELEMENTS, |maximum| maximum.min(MAX_ELEMENTS))
}

impl Table {
    /// A table of this type, all null, or `None` beyond the implementation's limit.
    pub(crate) fn new(ty: &TableType) -> Option<Self> {
        if ty.minimum64() > maximum(ty) {
            return None;
        }
        let (len, maximum) = (ty.minimum64() as usize, maximum(ty) as usize);
        let elements = if ty.element().is_func_ref() {
            Elements::Funcs(List::new(len, maximum).ok()?)
        } else {
            Elements::Externs(List::new(len, maximum).ok()?)
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
    pub(crate) fn write(
        &mut self,
        start: u64,
        values: impl ExactSizeIterator<Item = RawRef>,
    ) -> Result<(), OutOfBounds> {
        let range = checked_range(start, values.len() as u64, self.len())?;
        match &mut self.elements {
            Elements::Funcs(funcs) => {
                let values = values.map(|value| value as usize as *mut VMFuncRef);
                funcs[range].iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
            }
            Elements::Externs(externs) => {
                let values = values.map(|value| value as u32);
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
    /// As for [`Self::begin_growth`].
    pub(crate) fn grow(&mut self, delta: u64, value: RawRef) -> Result<u64, GrowError> {
        let old = self.begin_growth(delta)?;
        self.prepare(old, value, delta);
        self.end_growth(delta);
        Ok(old)
    }

    /// Makes room for `delta` more elements, which are then to be [prepared](Self::prepare). The table
    /// grows by [`Self::end_growth`]; until then nothing of this can be seen. Answers the number of
    /// elements.
    ///
    /// # Errors
    ///
    /// Fails beyond the maximum or the pool's limit, or without memory; the table is then as before.
    pub(crate) fn begin_growth(&mut self, delta: u64) -> Result<u64, GrowError> {
        let old = self.len() as u64;
        if let Some(limit) = self.limit {
            PoolLimitError::check("table_elements", old.saturating_add(delta), limit)?;
        }
        let reserved = self.reserve(old.saturating_add(delta));
        let refused = || GrowError::Refused { ty: self.ty.clone(), delta };
        reserved.ok_or_else(refused).map(|()| old)
    }

    fn reserve(&mut self, len: u64) -> Option<()> {
        let maximum = maximum(&self.ty);
        let (len, maximum) = ((len <= maximum).then_some(len as usize)?, maximum as usize);
        match &mut self.elements {
            Elements::Funcs(funcs) => funcs.reserve(len, maximum).ok(),
            Elements::Externs(externs) => externs.reserve(len, maximum).ok(),
        }
    }

    /// How many of `len` elements from `start` on, behind those that there are, have to be prepared to
    /// be this value.
    pub(crate) fn unprepared(&self, start: u64, value: RawRef, len: u64) -> usize {
        let written = match &self.elements {
            Elements::Funcs(funcs) => funcs.written(),
            Elements::Externs(externs) => externs.written(),
        };
        if value == 0 {
            written.saturating_sub(start as usize).min(len as usize)
        } else {
            len as usize
        }
    }

    /// Prepares `len` elements from `start` on, behind those that there are.
    ///
    /// # Panics
    ///
    /// Panics if no growth made so much room.
    pub(crate) fn prepare(&mut self, start: u64, value: RawRef, len: u64) {
        let range = start as usize..(start + len) as usize;
        match &mut self.elements {
            Elements::Funcs(funcs) => funcs.prepare(range, value as usize as *mut VMFuncRef),
            Elements::Externs(externs) => externs.prepare(range, value as u32),
        }
    }

    /// Lets the table have `delta` more elements, which are prepared.
    ///
    /// # Panics
    ///
    /// Panics if no growth made so much room.
    pub(crate) fn end_growth(&mut self, delta: u64) {
        let len = self.len() + delta as usize;
        match &mut self.elements {
            Elements::Funcs(funcs) => funcs.extend(len),
            Elements::Externs(externs) => externs.extend(len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ValType;

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
