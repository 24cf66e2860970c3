//! Whether values of one type are values of another (core specification, 3.3 "Matching").

use super::Registry;
use crate::types::{ConcreteType, FuncType, ValType};
use crate::vm::layout::VMType;

impl Registry {
    /// Whether each value of type `found` is one of `expected`.
    pub(crate) fn val_matches(&self, found: ValType, expected: ValType) -> bool {
        if found == expected {
            return true;
        }
        match (found.ref_type(), expected.ref_type()) {
            (Some(found), Some(expected)) => {
                (expected.is_nullable() || !found.is_nullable())
                    && found.heap_type().matches(expected.heap_type(), |found, expected| {
                        self.extends(found, expected)
                    })
            }
            _ => false,
        }
    }

    /// The same for as many values as there are types, one by one.
    pub(crate) fn vals_match(
        &self,
        found: impl ExactSizeIterator<Item = ValType>,
        expected: impl ExactSizeIterator<Item = ValType>,
    ) -> bool {
        found.len() == expected.len()
            && found.zip(expected).all(|(found, expected)| self.val_matches(found, expected))
    }

    /// Whether each function of type `found` is one of `expected`.
    pub(crate) fn func_matches(&self, found: &FuncType, expected: &FuncType) -> bool {
        // Types that stand alone extend nothing.
        let declared = || found.declared().zip(expected.declared());
        found == expected
            || declared().is_some_and(|(found, expected)| self.extends(found, expected))
    }

    fn extends(&self, found: ConcreteType, expected: ConcreteType) -> bool {
        let (Ok(found), Ok(expected)) = (self.find(found), self.find(expected)) else {
            return false;
        };
        // SAFETY: the handles keep both.
        unsafe { VMType::extends(found.record(), expected.record()) }
    }
}
