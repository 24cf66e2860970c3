//! What a module declares, beside its code.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::types::composite::SubType;
use crate::types::{ExternType, FuncType, GlobalType, MemoryType, TableType, wire};
use crate::vm::layout::{ContextCounts, ContextLayout};

/// An entry of one of the module's index spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EntityIndex {
    Function(u32),
    Table(u32),
    Memory(u32),
    Global(u32),
}

/// An import; the index spaces hold the imported entities first, in the order of these.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Import {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) entity: EntityIndex,
}

/// An export.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Export {
    pub(crate) name: String,
    pub(crate) entity: EntityIndex,
}

/// A constant expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ConstExpr {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    GlobalGet(u32),
    /// A list of operators, in [`ModuleInfo::arithmetic`].
    Arithmetic(u32),
    RefNull,
    RefFunc(u32),
}

/// An operator of a constant expression that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ConstOp {
    /// Pushes a constant or a global.
    Push(ConstExpr),
    /// The others pop two integers of this width and push one.
    Add(ConstWidth),
    Sub(ConstWidth),
    Mul(ConstWidth),
}

/// How wide the integers of a [`ConstOp`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ConstWidth {
    I32,
    I64,
}

impl ConstOp {
    /// The result of a list of operators that the validator has passed, `read` being the value of
    /// what is pushed; 32-bit integers are zero-extended.
    pub(crate) fn evaluate(ops: &[Self], mut read: impl FnMut(&ConstExpr) -> u64) -> u64 {
        let mut stack = SmallVec::<[u64; 8]>::new();
        for op in ops {
            let (width, compute): (_, fn(u64, u64) -> u64) = match op {
                Self::Push(value) => {
                    stack.push(read(value));
                    continue;
                }
                Self::Add(width) => (width, u64::wrapping_add),
                Self::Sub(width) => (width, u64::wrapping_sub),
                Self::Mul(width) => (width, u64::wrapping_mul),
            };
            let (right, left) = (stack.pop(), stack.pop());
            let (left, right) = left.zip(right).expect("validated: there are two operands");
            let value = compute(left, right);
            stack.push(match width {
                ConstWidth::I32 => u64::from(value as u32),
                ConstWidth::I64 => value,
            });
        }
        stack.pop().expect("validated: there is a result")
    }
}

/// When a segment is copied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum SegmentMode {
    /// At instantiation, into this memory or table at this offset.
    Active { target: u32, offset: ConstExpr },
    /// By `memory.init` or `table.init`.
    Passive,
    /// Never: it declares functions that `ref.func` may name.
    Declared,
}

/// A data segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DataSegment {
    pub(crate) mode: SegmentMode,
    /// Its bytes among those of all segments, [`Artifact::data`](super::Artifact::data).
    pub(crate) bytes: Range<usize>,
}

/// An element segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ElementSegment {
    pub(crate) mode: SegmentMode,
    pub(crate) items: Box<[ConstExpr]>,
}

/// What a module declares, as it is in an artifact, too. Index spaces hold imports first; `*_inits` only what the module defines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ModuleInfo {
    pub(crate) name: Option<String>,
    #[serde(with = "wire")]
    pub(crate) types: Vec<SubType>,
    /// The recursive groups with another number of types than one: where each begins, and how many
    /// it has. All other types are groups of their own.
    pub(crate) groups: Vec<(u32, u32)>,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
    /// The type index of each function.
    pub(crate) functions: Vec<u32>,
    #[serde(with = "wire")]
    pub(crate) tables: Vec<TableType>,
    #[serde(with = "wire")]
    pub(crate) memories: Vec<MemoryType>,
    #[serde(with = "wire")]
    pub(crate) globals: Vec<GlobalType>,
    /// Where the body of each defined function starts in the module, in bytes.
    pub(crate) body_offsets: Vec<u32>,
    pub(crate) imported_functions: u32,
    pub(crate) imported_tables: u32,
    pub(crate) imported_memories: u32,
    pub(crate) imported_globals: u32,
    /// One for each defined table.
    pub(crate) table_inits: Vec<ConstExpr>,
    /// One for each defined global.
    pub(crate) global_inits: Vec<ConstExpr>,
    /// The constant expressions that compute.
    pub(crate) arithmetic: Vec<Box<[ConstOp]>>,
    pub(crate) elements: Vec<ElementSegment>,
    pub(crate) data: Vec<DataSegment>,
    pub(crate) start: Option<u32>,
    /// Functions that need a reference record (exported, in an element segment or global, named by
    /// `ref.func`, the start function), sorted; a function's slot is its place here.
    pub(crate) escaping: Vec<u32>,
    /// Names from the name section, sorted by function index.
    pub(crate) function_names: Vec<(u32, String)>,
    pub(crate) debug: DebugSections,
}

/// The DWARF that the guest's compiler left. Nothing in it was checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DebugSections {
    /// Whether the module has any, kept or not.
    pub(crate) present: bool,
    /// Where the contents of the code section start in the module: addresses count from there.
    pub(crate) code_start: u32,
    /// The custom sections by name, each once, where the compiler was told to keep them.
    pub(crate) sections: Vec<(String, Vec<u8>)>,
}

impl ModuleInfo {
    /// The type of a function.
    pub(crate) fn function_type(&self, function: u32) -> &FuncType {
        self.func_type(self.functions[function as usize])
    }

    /// The type at an index of the type section, which is a function's.
    pub(crate) fn func_type(&self, index: u32) -> &FuncType {
        self.types[index as usize].func().expect("validated: the type of a function")
    }

    /// The slot of an escaping function's reference record.
    pub(crate) fn func_ref_slot(&self, function: u32) -> Option<u32> {
        self.escaping.binary_search(&function).ok().map(|slot| slot as u32)
    }

    /// The type of an entity.
    pub(crate) fn entity_type(&self, entity: EntityIndex) -> ExternType {
        match entity {
            EntityIndex::Function(index) => self.function_type(index).clone().into(),
            EntityIndex::Table(index) => self.tables[index as usize].clone().into(),
            EntityIndex::Memory(index) => self.memories[index as usize].clone().into(),
            EntityIndex::Global(index) => self.globals[index as usize].clone().into(),
        }
    }

    /// How many operators a constant expression has that computes.
    pub(crate) fn operators_of(&self, expr: &ConstExpr) -> usize {
        match *expr {
            ConstExpr::Arithmetic(index) => self.arithmetic[index as usize].len(),
            _ => 0,
        }
    }

    /// The name of a function, if the name section has one.
    pub(crate) fn function_name(&self, function: u32) -> Option<&str> {
        let index =
            self.function_names.binary_search_by_key(&function, |(index, _)| *index).ok()?;
        Some(&self.function_names[index].1)
    }

    /// The layout of this module's contexts.
    pub(crate) fn context_layout(&self) -> ContextLayout {
        ContextLayout::new(ContextCounts {
            imported_functions: self.imported_functions,
            imported_tables: self.imported_tables,
            imported_memories: self.imported_memories,
            imported_globals: self.imported_globals,
            tables: self.tables.len() as u32 - self.imported_tables,
            memories: self.memories.len() as u32 - self.imported_memories,
            globals: self.globals.len() as u32 - self.imported_globals,
            func_refs: self.escaping.len() as u32,
        })
    }
}
