#![doc = include_str!("../README.md")]

mod compile;
mod config;
mod engine;
mod externs;
mod func;
mod instance;
mod linker;
mod module;
mod pooling;
mod store;
mod symbols;
mod tools;
mod trap;
mod types;
pub mod unix;
mod values;
mod vm;

/// The attribute that implementations of [`ResourceLimiterAsync`] take.
pub use async_trait::async_trait;
pub use compile::{ModuleVersionStrategy, OperatorClass, OperatorCosts, OptLevel};
pub use config::{Config, Strategy};
pub use engine::{Engine, EngineStats};
pub use externs::{Extern, Global, Memory, MemoryAccessError, Table};
pub use func::{Caller, Func, IntoFunc, TypedFunc, WasmParams, WasmResults, WasmRet, WasmTy};
pub use instance::{Export, Instance, InstancePre};
/// Shared reservoirs of fuel, from which stores draw.
pub use lampwick_tanks::{FuelTank, TankClosed};
pub use linker::Linker;
pub use module::{FunctionCode, Module};
pub use pooling::{
    InstanceAllocationStrategy, InstanceLimits, ModuleLimits, PoolExhausted, PoolLimitError,
    PoolingAllocationStrategy,
};
pub use store::{
    AsContext, AsContextMut, CallEnd, CallReport, FuelHandle, InterruptHandle, ResourceLimiter,
    ResourceLimiterAsync, Store, StoreContext, StoreContextMut, StoreLimits, StoreLimitsBuilder,
    StoreStats,
};
pub use symbols::{FrameSymbol, WasmBacktraceDetails};
pub use tools::ProfilingStrategy;
pub use trap::{FrameInfo, Trap, TrapCode};
pub use types::{
    CompositeKind, ConcreteType, ExportType, ExternType, FuncType, GlobalType, HeapType,
    ImportType, MemoryType, Mutability, RefType, TableType, ValType,
};
pub use values::{ExternRef, Val};
pub use vm::hooks::CallHook;
pub use vm::memory::{LinearMemory, MemoryCreator};
pub use vm::supply::FuelPolicy;
