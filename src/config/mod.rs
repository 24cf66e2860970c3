//! What an engine is told when it is made.

mod accounts;
#[cfg(feature = "cache")]
mod cache;
mod objects;
mod proposals;
mod tools;

use anyhow::{Result, anyhow, bail};
use lampwick_fibers::StackPoolConfig;
use target_lexicon::Triple;

use crate::vm::heap::ObjectSettings;
use accounts::AccountSettings;
pub(crate) use accounts::Reader;

#[cfg(feature = "cache")]
use crate::compile::CacheSettings;
use crate::compile::{ModuleVersionStrategy, OperatorCosts, OptLevel, Settings};
use crate::pooling::Allocation;
use crate::symbols::WasmBacktraceDetails;
use crate::tools::ProfilingStrategy;
use crate::vm::memory::MemorySettings;

/// Which compiler makes machine code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The best that there is.
    #[default]
    Auto,
    /// Cranelift.
    Cranelift,
}

/// What an [`Engine`](crate::Engine) is told when it is made.
///
/// Setters change the configuration in place and answer it, so that they can be chained:
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use lampwick::{Config, Engine};
///
/// let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) compiler: Settings,
    pub(crate) memory: MemorySettings,
    pub(crate) allocation: Allocation,
    pub(crate) async_support: bool,
    pub(crate) max_wasm_stack: usize,
    pub(crate) async_stack_size: usize,
    pub(crate) backtrace_details: WasmBacktraceDetails,
    pub(crate) profiler: ProfilingStrategy,
    pub(crate) debug_info: bool,
    pub(crate) accounts: AccountSettings,
    pub(crate) objects: ObjectSettings,
    #[cfg(feature = "cache")]
    pub(crate) cache: Option<CacheSettings>,
}

/// The part of a fiber's stack that is left for the host at the least, in bytes.
const MIN_HOST_STACK: usize = 64 << 10;

/// Bytes at the top of a fiber's stack for its store (`store/home.rs`), its base and the entry of
/// wasm, unoptimized builds included.
const FIBER_BASE: usize = 10 << 10;

impl Default for Config {
    fn default() -> Self {
        let compiler = Settings::default();
        Self {
            memory: MemorySettings {
                static_maximum: compiler.static_memory_maximum,
                static_guard: compiler.static_memory_guard,
                dynamic_guard: 64 << 10,
                dynamic_growth: 2 << 30,
                guard_before: true,
            },
            allocation: Allocation::default(),
            compiler,
            async_support: false,
            max_wasm_stack: 512 << 10,
            async_stack_size: 2 << 20,
            backtrace_details: WasmBacktraceDetails::default(),
            profiler: ProfilingStrategy::None,
            debug_info: false,
            accounts: AccountSettings::default(),
            objects: ObjectSettings::default(),
            #[cfg(feature = "cache")]
            cache: None,
        }
    }
}

impl Config {
    /// The default configuration: synchronous, without fuel, and with the proposals enabled that
    /// WebAssembly 3.0 has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether stores are async: wasm is then called through the `*_async` methods only, and host
    /// functions may be async. Off by default.
    pub fn async_support(&mut self, enable: bool) -> &mut Self {
        self.async_support = enable;
        self
    }

    /// Whether guests burn fuel as they run; see [`Store::add_fuel`](crate::Store::add_fuel). Off
    /// by default.
    pub fn consume_fuel(&mut self, enable: bool) -> &mut Self {
        self.compiler.metered = enable;
        self
    }

    /// What operators cost where guests burn fuel; see [`OperatorCosts`]. By default everything
    /// costs 1.
    ///
    /// Costs are part of the machine code: artifacts are for engines with the same table.
    pub fn operator_cost(&mut self, costs: OperatorCosts) -> &mut Self {
        self.compiler.costs = costs;
        self
    }

    /// Whether guests can be interrupted; see
    /// [`Store::interrupt_handle`](crate::Store::interrupt_handle). Off by default, since
    /// guests have to look for interrupts at each function entry and loop head.
    pub fn interruptable(&mut self, enable: bool) -> &mut Self {
        self.compiler.interruptable = enable;
        self
    }

    /// Whether guests have deadlines, which are counted in epochs of the engine; see
    /// [`Store::set_epoch_deadline`](crate::Store::set_epoch_deadline). Off by default, since
    /// guests have to look at the epoch at each function entry and loop head. The same look
    /// finds interrupts.
    pub fn epoch_interruption(&mut self, enable: bool) -> &mut Self {
        self.compiler.epochs = enable;
        self
    }

    /// The most bytes of stack that the wasm frames of one call may take; beyond it the guest traps
    /// with [`TrapCode::StackOverflow`](crate::TrapCode::StackOverflow). 512 KiB by default.
    ///
    /// # Errors
    ///
    /// Fails if `bytes` is zero. That it leaves the host at least 64 KiB of
    /// [`async_stack_size`](Self::async_stack_size) is checked when the engine is made.
    pub fn max_wasm_stack(&mut self, bytes: usize) -> Result<&mut Self> {
        if bytes == 0 {
            bail!("the maximum stack of wasm cannot be 0 bytes");
        }
        self.max_wasm_stack = bytes;
        Ok(self)
    }

    /// The size in bytes of the stacks on which guests, and the host functions that they call, run.
    /// Memory is taken only for pages that are touched. 2 MiB by default.
    ///
    /// Synchronous calls run on such stacks, too.
    ///
    /// # Errors
    ///
    /// Fails if `bytes` is zero. That it exceeds [`max_wasm_stack`](Self::max_wasm_stack)
    /// by at least 64 KiB is checked when the engine is made.
    pub fn async_stack_size(&mut self, bytes: usize) -> Result<&mut Self> {
        if bytes == 0 {
            bail!("the stack of a fiber cannot be 0 bytes");
        }
        self.async_stack_size = bytes;
        Ok(self)
    }

    /// Which compiler makes machine code. There is one.
    ///
    /// # Errors
    ///
    /// Never fails at present.
    pub fn strategy(&mut self, strategy: Strategy) -> Result<&mut Self> {
        match strategy {
            Strategy::Auto | Strategy::Cranelift => Ok(self),
        }
    }

    /// Whether Cranelift checks its own intermediate code; it makes compilation slower. On by
    /// default in debug builds.
    pub fn cranelift_debug_verifier(&mut self, enable: bool) -> &mut Self {
        self.compiler.verifier = enable;
        self
    }

    /// How much the compiler works to make code fast. [`OptLevel::Speed`] by default.
    pub fn cranelift_opt_level(&mut self, level: OptLevel) -> &mut Self {
        self.compiler.opt_level = level;
        self
    }

    /// Whether every NaN that an operator produces has the same bits, for guests that must behave
    /// alike on every machine. Off by default.
    pub fn cranelift_nan_canonicalization(&mut self, enable: bool) -> &mut Self {
        self.compiler.nan_canonicalization = enable;
        self
    }

    /// Enables a boolean setting of Cranelift. An unknown name fails when the engine is made.
    ///
    /// # Safety
    ///
    /// Some settings produce code that this machine cannot execute, or that a guest can escape
    /// from.
    ///
    /// # Errors
    ///
    /// Never fails at present.
    pub unsafe fn cranelift_flag_enable(&mut self, flag: &str) -> Result<&mut Self> {
        self.compiler.flags.push((flag.to_owned(), None));
        Ok(self)
    }

    /// Sets a setting of Cranelift. An unknown name or value fails when the engine is made.
    ///
    /// # Safety
    ///
    /// Some settings produce code that this machine cannot execute, or that a guest can escape
    /// from.
    ///
    /// # Errors
    ///
    /// Never fails at present.
    pub unsafe fn cranelift_flag_set(&mut self, name: &str, value: &str) -> Result<&mut Self> {
        self.compiler.flags.push((name.to_owned(), Some(value.to_owned())));
        Ok(self)
    }

    /// Memories whose maximum is at most this many bytes are *static*: as much address space is
    /// reserved for each, they never move, and most accesses need no check. Others are
    /// *dynamic*: they take what they need, move as they grow, and every access is checked.
    /// Rounded up to wasm pages; 4 GiB by default, which makes every 32-bit memory static.
    ///
    /// Small values let many more guests live at once.
    pub fn static_memory_maximum_size(&mut self, bytes: u64) -> &mut Self {
        self.memory.static_maximum = bytes.min(MAX_RESERVATION).next_multiple_of(1 << 16);
        self
    }

    /// Bytes behind a static memory's reservation that are never accessible, so that small constant
    /// offsets need no check. Rounded up to wasm pages; 2 GiB by default.
    pub fn static_memory_guard_size(&mut self, bytes: u64) -> &mut Self {
        self.memory.static_guard = bytes.min(MAX_RESERVATION).next_multiple_of(1 << 16);
        self
    }

    /// Bytes behind a dynamic memory that are never accessible. Rounded up to wasm pages; 64 KiB by
    /// default.
    pub fn dynamic_memory_guard_size(&mut self, bytes: u64) -> &mut Self {
        self.memory.dynamic_guard = bytes.min(MAX_RESERVATION).next_multiple_of(1 << 16);
        self
    }

    /// Bytes of address space that a dynamic memory reserves to grow without moving. Rounded up to
    /// wasm pages; 2 GiB by default.
    pub fn dynamic_memory_reserved_for_growth(&mut self, bytes: u64) -> &mut Self {
        self.memory.dynamic_growth = bytes.min(MAX_RESERVATION).next_multiple_of(1 << 16);
        self
    }

    /// Whether as many bytes as lie behind a static memory's reservation are kept inaccessible
    /// before every memory: a second line of defence against bugs of the compiler. On by
    /// default.
    pub fn guard_before_linear_memory(&mut self, enable: bool) -> &mut Self {
        self.memory.guard_before = enable;
        self
    }

    /// Whether the functions of a module are compiled on all cores, where the crate's feature
    /// `parallel-compilation` is enabled. On by default.
    pub fn parallel_compilation(&mut self, enable: bool) -> &mut Self {
        self.compiler.parallel = enable;
        self
    }

    /// The most memory, in bytes, that the engine takes for all functions that are compiled at a
    /// time, those of different modules together. Without a bound by default.
    ///
    /// What a function takes is estimated, from above, from what it is translated to: about two
    /// kilobytes for each byte of ordinary code, and 256 KiB at least. While there is no room for
    /// the next function, the threads that compile wait. The bound changes neither the code nor
    /// what else is refused, only how many functions are compiled at a time.
    ///
    /// Not part of it are the bytes of the module, what the finished [`Module`](crate::Module)
    /// consists of, and 1 MiB for each thread that compiles.
    ///
    /// Compiling fails, with the function and the bound, for a module with a function that takes
    /// more than this by itself.
    ///
    /// ```
    /// # fn main() -> anyhow::Result<()> {
    /// use lampwick::{Config, Engine, Module};
    ///
    /// let engine = Engine::new(Config::new().compilation_memory(4 << 20))?;
    /// Module::new(&engine, "(module (func))")?;
    ///
    /// let long = "i32.const 0 i32.load drop ".repeat(10_000);
    /// let error = Module::new(&engine, format!("(module (memory 1) (func {long}))")).unwrap_err();
    /// assert!(format!("{error:#}").contains("compiling function 0: it takes more memory"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn compilation_memory(&mut self, bytes: u64) -> &mut Self {
        self.compiler.memory = Some(bytes);
        self
    }

    /// Which versions of Lampwick may use each other's artifacts; see
    /// [`Module::serialize`](crate::Module::serialize). By default those that were built from the
    /// same sources.
    ///
    /// # Errors
    ///
    /// Fails if a custom name is longer than 255 bytes.
    pub fn module_version(&mut self, strategy: ModuleVersionStrategy) -> Result<&mut Self> {
        if let ModuleVersionStrategy::Custom(name) = &strategy
            && name.len() > MAX_VERSION_NAME
        {
            bail!(
                "the name of a version has {} bytes, at most {MAX_VERSION_NAME} are allowed",
                name.len()
            );
        }
        self.compiler.module_version = strategy;
        Ok(self)
    }

    /// The machine that code is made for, as a target triple such as `x86_64-unknown-linux-gnu`. It
    /// can only be the host's, which is what code is made for anyway.
    ///
    /// # Errors
    ///
    /// Fails if the triple cannot be parsed, or if its architecture or operating system is not the
    /// host's.
    pub fn target(&mut self, triple: &str) -> Result<&mut Self> {
        let host = Triple::host();
        let target: Triple = triple
            .parse()
            .map_err(|error| anyhow!("cannot parse the target `{triple}`: {error}"))?;
        let what = |triple: &Triple| {
            (triple.architecture, triple.operating_system, triple.pointer_width().ok())
        };
        if what(&target) != what(&host) {
            bail!("the target `{triple}` is not the host, `{host}`, for which alone code is made");
        }
        Ok(self)
    }

    /// What the compiler is told.
    pub(crate) fn compiler_settings(&self) -> Settings {
        Settings {
            static_memory_maximum: self.memory.static_maximum,
            static_memory_guard: self.memory.static_guard,
            debug_sections: self.backtrace_details.enabled() || self.wants_lines(),
            address_map: self.wants_lines(),
            ..self.compiler.clone()
        }
    }

    /// How fibers' stacks are made.
    pub(crate) fn stacks(&self) -> Result<StackPoolConfig> {
        let (wasm, whole) = (self.max_wasm_stack, self.async_stack_size);
        if wasm.checked_add(MIN_HOST_STACK).is_none_or(|least| whole < least) {
            bail!(
                "the stack of a fiber ({whole} bytes) must exceed the maximum stack of wasm \
                 ({wasm} bytes) by at least {MIN_HOST_STACK} bytes, which are for the host"
            );
        }
        // What lies above wasm's frames is not the host's to pay for.
        let stacks = StackPoolConfig::new().stack_size(whole.saturating_add(FIBER_BASE));
        Ok(stacks.warm_per_worker(WARM_STACKS_PER_WORKER))
    }
}

/// As many guests as a worker may end before it begins others, and still find its stacks.
const WARM_STACKS_PER_WORKER: usize = 8;

/// The longest name of a custom version, in bytes.
const MAX_VERSION_NAME: usize = 255;

/// No single part of a memory's reservation is larger: 1 TiB. Two parts never overflow an address.
const MAX_RESERVATION: u64 = 1 << 40;
