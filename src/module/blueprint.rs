//! What instances of a module are made from.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::compile::{ConstExpr, ElementSegment, ModuleInfo, SegmentMode};
use crate::vm::instance::Blueprint;
use crate::vm::layout::ContextLayout;
use crate::vm::segments::SegmentElement;

/// The blueprint of a module, whose data segments are ranges of `bytes`.
pub(super) fn of(info: &ModuleInfo, layout: ContextLayout, bytes: Bytes) -> Blueprint {
    Blueprint {
        layout,
        bytes,
        ranges: info.data.iter().map(|segment| segment.bytes.clone()).collect(),
        elements: info.elements.iter().map(|segment| elements(info, segment)).collect(),
        image: OnceLock::new(),
    }
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
