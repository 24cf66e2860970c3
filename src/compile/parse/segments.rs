//! Element and data segments, and the functions that need a reference record.

use anyhow::Result;
use wasmparser::{DataKind, ElementItems, ElementKind};

use super::{Parsed, convert};
use crate::compile::info::{ConstExpr, DataSegment, ElementSegment, SegmentMode};

/// Collects the functions that can become references.
///
/// What `ref.func` names inside of functions needs no look at code: validation demands that it
/// occurs in an export, a segment or a global, too.
#[derive(Default)]
pub(super) struct Escaping(Vec<u32>);

impl Escaping {
    pub(super) fn add(&mut self, function: u32) {
        self.0.push(function);
    }

    /// The functions in order, each once.
    pub(super) fn finish(&mut self) -> Vec<u32> {
        let mut functions = std::mem::take(&mut self.0);
        functions.sort_unstable();
        functions.dedup();
        functions
    }
}

impl<'a> Parsed<'a> {
    pub(super) fn elements(
        &mut self,
        elements: wasmparser::ElementSectionReader<'a>,
    ) -> Result<()> {
        for segment in elements {
            let segment = segment?;
            let mode = match &segment.kind {
                ElementKind::Passive => SegmentMode::Passive,
                ElementKind::Declared => SegmentMode::Declared,
                ElementKind::Active { table_index, offset_expr } => SegmentMode::Active {
                    target: table_index.unwrap_or(0),
                    offset: self.constant(offset_expr)?,
                },
            };
            let items = self.items(segment.items)?;
            self.info.elements.push(ElementSegment { mode, items });
        }
        Ok(())
    }

    fn items(&mut self, items: ElementItems<'a>) -> Result<Box<[ConstExpr]>> {
        match items {
            ElementItems::Functions(functions) => {
                let mut items = Vec::new();
                for function in functions {
                    let function = function?;
                    self.escaping.add(function);
                    items.push(ConstExpr::RefFunc(function));
                }
                Ok(items.into())
            }
            ElementItems::Expressions(ty, exprs) => {
                convert::ref_type(ty, &self.kinds)?;
                let mut items = Vec::new();
                for expr in exprs {
                    items.push(self.constant(&expr?)?);
                }
                Ok(items.into())
            }
        }
    }

    pub(super) fn data(&mut self, data: wasmparser::DataSectionReader<'a>) -> Result<()> {
        for segment in data {
            let segment = segment?;
            let mode = match &segment.kind {
                DataKind::Passive => SegmentMode::Passive,
                DataKind::Active { memory_index, offset_expr } => SegmentMode::Active {
                    target: *memory_index,
                    offset: self.constant(offset_expr)?,
                },
            };
            let start = self.data.len();
            self.data.extend_from_slice(segment.data);
            let bytes = start..self.data.len();
            self.info.data.push(DataSegment { mode, bytes });
        }
        Ok(())
    }
}
