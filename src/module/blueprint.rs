//! What instances of a module are made from.

use std::sync::OnceLock;

use bytes::Bytes;

use super::Module;
use crate::compile::{ConstExpr, DataSegment, ElementSegment, ModuleInfo, SegmentMode};
use crate::vm::instance::Blueprint;
use crate::vm::layout::ContextLayout;
use crate::vm::pace;
use crate::vm::segments::SegmentElement;

/// The blueprint of a module, whose data segments are ranges of `bytes`.
pub(super) fn of(info: &ModuleInfo, layout: ContextLayout, bytes: Bytes) -> Blueprint {
    Blueprint {
        layout,
        bytes,
        ranges: info.data.iter().map(|segment| segment.bytes.clone()).collect(),
        elements: info.elements.iter().map(|segment| elements(info, segment)).collect(),
        work: entities_work(info) + data_work(info),
        image: OnceLock::new(),
    }
}

/// What instances take, in the units of `vm::pace` (`cargo bench --bench polls`).
pub(crate) const PER_IMPORT: usize = 64;
pub(crate) const PER_GLOBAL: usize = 32;
pub(crate) const PER_FUNCTION: usize = 32;
pub(crate) const PER_ELEMENT: usize = 8;
pub(crate) const PER_SEGMENT: usize = 32;
pub(crate) const PER_OPERATOR: usize = 8;

impl Module {
    /// Whether the imports are looked at part by part.
    pub(crate) fn has_many_imports(&self) -> bool {
        pace::is_long(self.info().imports.len() * PER_IMPORT)
    }

    /// Whether instances are made part by part: even an image that spares them their data may not
    /// be mapped in the end.
    pub(crate) fn takes_long(&self) -> bool {
        pace::is_long(self.blueprint().work)
    }
}

fn entities_work(info: &ModuleInfo) -> usize {
    let active = |segment: &&ElementSegment| matches!(segment.mode, SegmentMode::Active { .. });
    let elements = info.elements.iter().filter(active).map(|segment| segment.items.len());
    let tables = info.tables[info.imported_tables as usize..].iter().zip(&info.table_inits);
    let filled = tables.filter(|(_, init)| **init != ConstExpr::RefNull);
    let elements =
        elements.sum::<usize>() + filled.map(|(ty, _)| ty.minimum() as usize).sum::<usize>();
    PER_IMPORT * info.imports.len()
        + PER_GLOBAL * info.global_inits.len()
        + PER_FUNCTION * info.escaping.len()
        + PER_ELEMENT * elements
        + PER_SEGMENT * (info.elements.len() + info.data.len())
        + PER_OPERATOR * info.arithmetic.iter().map(|ops| ops.len()).sum::<usize>()
}

fn data_work(info: &ModuleInfo) -> usize {
    let active = |segment: &&DataSegment| matches!(segment.mode, SegmentMode::Active { .. });
    info.data.iter().filter(active).map(|segment| segment.bytes.len()).sum()
}

fn elements(info: &ModuleInfo, segment: &ElementSegment) -> Box<[SegmentElement]> {
    if let SegmentMode::Declared = segment.mode {
        return Box::default();
    }
    let element = |item: &ConstExpr| match *item {
        ConstExpr::RefNull => SegmentElement::Null,
        ConstExpr::RefFunc(function) if function < info.imported_functions => {
            SegmentElement::Import(function)
        }
        ConstExpr::RefFunc(function) => {
            SegmentElement::Function(info.func_ref_slot(function).expect("the function escapes"))
        }
        ConstExpr::GlobalGet(global) => SegmentElement::Global(global),
        number => unreachable!("validated: {number:?} is no reference"),
    };
    segment.items.iter().map(element).collect()
}
