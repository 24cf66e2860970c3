//! What a pool holds modules and instances to.

use anyhow::{Context, Result, ensure};

use super::PoolLimitError;
use crate::compile::ModuleInfo;
use crate::vm::layout::{MAX_PAGES_32, WASM_PAGE_SIZE};
use crate::vm::table::MAX_ELEMENTS;

/// What a module of a pooling engine may import and define. A module beyond a limit is refused when
/// it is made, with a [`PoolLimitError`].
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use lampwick::{Config, Engine, InstanceAllocationStrategy, ModuleLimits, Module, PoolLimitError};
///
/// let engine = Engine::new(Config::new().allocation_strategy(
///     InstanceAllocationStrategy::Pooling {
///         strategy: Default::default(),
///         module_limits: ModuleLimits { memory_pages: 10, ..ModuleLimits::default() },
///         instance_limits: Default::default(),
///     },
/// ))?;
/// Module::new(&engine, "(module (memory 10))")?;
/// let error = Module::new(&engine, "(module (memory 11))").unwrap_err();
/// let error = error.downcast_ref::<PoolLimitError>().unwrap();
/// assert_eq!((error.limit(), error.value(), error.bound()), ("memory_pages", 11, 10));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleLimits {
    /// Functions that a module imports: 1,000 by default.
    pub imported_functions: u32,
    /// Tables that a module imports: 1 by default.
    pub imported_tables: u32,
    /// Memories that a module imports: 1 by default.
    pub imported_memories: u32,
    /// Globals that a module imports: 100 by default.
    pub imported_globals: u32,
    /// Types that a module declares: 1,000 by default.
    pub types: u32,
    /// Functions that a module defines: 50,000 by default.
    pub functions: u32,
    /// Tables that a module defines: 10 by default.
    pub tables: u32,
    /// Memories that a module defines: 1 by default. Address space is reserved for as many in each
    /// instance.
    pub memories: u32,
    /// Globals that a module defines: 1,000 by default.
    pub globals: u32,
    /// Elements of each table that a module defines, when the table is made and whenever it grows:
    /// 20,000 by default. More than 10,000,000 are never possible.
    pub table_elements: u32,
    /// Pages (of 64 KiB) of each memory that a module defines, when the memory is made and whenever
    /// it grows: 1,024 by default, which is 64 MiB. At most 65,536.
    ///
    /// A module may declare a maximum beyond this; growth ends here all the same, with -1 for the
    /// guest and a [`PoolLimitError`] for the store's limiter.
    pub memory_pages: u64,
}

impl Default for ModuleLimits {
    fn default() -> Self {
        Self {
            imported_functions: 1_000,
            imported_tables: 1,
            imported_memories: 1,
            imported_globals: 100,
            types: 1_000,
            functions: 50_000,
            tables: 10,
            memories: 1,
            globals: 1_000,
            table_elements: 20_000,
            memory_pages: 1_024,
        }
    }
}

impl ModuleLimits {
    /// Checks that the limits are within what engines can do.
    pub(super) fn check_bounds(&self) -> Result<()> {
        let Self { memory_pages, .. } = *self;
        ensure!(
            memory_pages <= MAX_PAGES_32,
            "`ModuleLimits::memory_pages` is {memory_pages}, but no memory has more than \
             {MAX_PAGES_32} pages"
        );
        Ok(())
    }

    /// The most elements that a table can have.
    pub(crate) fn elements(&self) -> u64 {
        u64::from(self.table_elements).min(MAX_ELEMENTS)
    }

    /// Checks what a module declares.
    ///
    /// # Errors
    ///
    /// Fails with a [`PoolLimitError`] about the first limit that it exceeds.
    pub(crate) fn check(&self, module: &ModuleInfo) -> Result<()> {
        let defined = |all: usize, imported: u32| all as u64 - u64::from(imported);
        let functions = defined(module.functions.len(), module.imported_functions);
        let tables = defined(module.tables.len(), module.imported_tables);
        let memories = defined(module.memories.len(), module.imported_memories);
        let globals = defined(module.globals.len(), module.imported_globals);
        let counts = [
            ("imported_functions", module.imported_functions.into(), self.imported_functions),
            ("imported_tables", module.imported_tables.into(), self.imported_tables),
            ("imported_memories", module.imported_memories.into(), self.imported_memories),
            ("imported_globals", module.imported_globals.into(), self.imported_globals),
            ("types", module.types.len() as u64, self.types),
            ("functions", functions, self.functions),
            ("tables", tables, self.tables),
            ("memories", memories, self.memories),
            ("globals", globals, self.globals),
        ];
        let refused = || "the module needs more than the engine's pool has for an instance";
        for (limit, value, bound) in counts {
            PoolLimitError::check(limit, value, bound.into()).with_context(refused)?;
        }
        for table in &module.tables[module.imported_tables as usize..] {
            PoolLimitError::check("table_elements", table.minimum64(), self.table_elements.into())
                .with_context(refused)?;
        }
        for memory in &module.memories[module.imported_memories as usize..] {
            let pages = memory.minimum_bytes().div_ceil(WASM_PAGE_SIZE);
            PoolLimitError::check("memory_pages", pages, self.memory_pages)
                .with_context(refused)?;
        }
        Ok(())
    }
}

/// How many instances a pooling engine has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceLimits {
    /// Instances that live at the same time, in all stores of the engine together: 1,000 by
    /// default.
    pub count: u32,
}

impl Default for InstanceLimits {
    fn default() -> Self {
        Self { count: 1_000 }
    }
}
