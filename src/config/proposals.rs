//! Which proposals modules may use.

use wasmparser::WasmFeatures;

use super::Config;

impl Config {
    fn feature(&mut self, feature: WasmFeatures, enable: bool) -> &mut Self {
        self.compiler.features.set(feature, enable);
        self
    }

    /// Whether modules may use reference types, and tables of them. On by default; turned off, typed
    /// function references and exceptions are off, too, and bulk memory goes on working.
    pub fn wasm_reference_types(&mut self, enable: bool) -> &mut Self {
        if !enable {
            self.wasm_function_references(false).wasm_exceptions(false);
        }
        self.feature(WasmFeatures::REFERENCE_TYPES, enable)
    }

    /// Whether modules may use typed references to functions, references that are never null, and
    /// tables with a first value. On by default; turned off, [garbage
    /// collection](Self::wasm_gc) is off, too. [`Engine::new`](crate::Engine::new) fails where it is
    /// on without [`wasm_reference_types`](Self::wasm_reference_types).
    pub fn wasm_function_references(&mut self, enable: bool) -> &mut Self {
        if !enable {
            self.wasm_gc(false);
        }
        self.feature(WasmFeatures::FUNCTION_REFERENCES, enable)
    }

    /// Whether modules may use structs, arrays, references to small integers, subtypes and recursive
    /// types. On by default. [`Engine::new`](crate::Engine::new) fails where it is on without
    /// [`wasm_function_references`](Self::wasm_function_references).
    ///
    /// A store's structs and arrays lie in a heap of its own, which grows as its guests need it, and
    /// as the store's [limiter](crate::Store::limiter) permits: it is asked as about a memory, in
    /// bytes. What no guest can reach any more, and the host does not [hold](crate::AnyRef), is
    /// collected when as much was made as was left the last time. See
    /// [`gc_heap_maximum_size`](Self::gc_heap_maximum_size).
    ///
    /// ```
    /// use lampwick::{Config, Engine, Instance, Module, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let sum = r#"(module (type $numbers (array i32))
    ///     (func (export "sum") (result i32) (local $array (ref null $numbers))
    ///         (local.set $array (array.new_fixed $numbers 2 (i32.const 3) (i32.const 4)))
    ///         (i32.add
    ///             (array.get $numbers (local.get $array) (i32.const 0))
    ///             (array.get $numbers (local.get $array) (i32.const 1)))))"#;
    /// let mut store = Store::<()>::default();
    /// let module = Module::new(store.engine(), sum)?;
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// assert_eq!(instance.get_typed_func::<(), i32, _>(&mut store, "sum")?.call(&mut store, ())?, 7);
    /// assert!(Module::new(&Engine::new(Config::new().wasm_gc(false))?, sum).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wasm_gc(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::GC, enable)
    }

    /// Whether modules may use bulk memory and table operators. On by default.
    pub fn wasm_bulk_memory(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::BULK_MEMORY, enable)
    }

    /// Whether functions and blocks may have several results. On by default.
    pub fn wasm_multi_value(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::MULTI_VALUE, enable)
    }

    /// Whether modules may use tail calls, of which any number in a row takes the stack of one call. On
    /// by default.
    ///
    /// A tail call costs what the same call costs otherwise, and its callee looks at fuel, interrupts
    /// and deadlines as it begins. Backtraces do not show functions that have given way to their
    /// callee.
    ///
    /// ```
    /// use lampwick::{Instance, Module, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let sum = r#"(module (func $sum (export "sum") (param $n i64) (param $sum i64) (result i64)
    ///     (if (i64.eqz (local.get $n)) (then (return (local.get $sum))))
    ///     (return_call $sum
    ///         (i64.sub (local.get $n) (i64.const 1))
    ///         (i64.add (local.get $sum) (local.get $n)))))"#;
    /// let mut store = Store::<()>::default();
    /// let module = Module::new(store.engine(), sum)?;
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let sum = instance.get_typed_func::<(u64, u64), u64, _>(&mut store, "sum")?;
    /// assert_eq!(sum.call(&mut store, (1_000_000, 0))?, 500_000_500_000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wasm_tail_call(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::TAIL_CALL, enable)
    }

    /// Whether modules may use exceptions: tags, `try_table`, `throw`, `throw_ref` and `exnref`. On by
    /// default. The former proposal, with `try` and `catch`, is refused in any case.
    ///
    /// A throw costs what [`OperatorClass::Throw`](crate::OperatorClass) says, 1 for each frame that it
    /// leaves, and 1 for each whole 8 values; a `try_table` costs nothing. The exceptions that the
    /// guests of a store hold may take 16 MiB; where a throw finds, when it has collected those that
    /// are no longer held, that they take more, the call fails.
    /// A call within a `try_table` takes some half a nanosecond longer than another one where several values
    /// live over it: these lie in memory meanwhile. All else costs nothing until something is thrown.
    /// What becomes of an exception that no guest catches, [`Exception`](crate::Exception) says.
    /// [`Engine::new`](crate::Engine::new) fails where it is on without
    /// [`wasm_reference_types`](Self::wasm_reference_types).
    ///
    /// ```
    /// use lampwick::{Instance, Module, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let half = r#"(module
    ///     (tag $odd (param i32))
    ///     (func $half (param i32) (result i32)
    ///         (if (i32.and (local.get 0) (i32.const 1)) (then (throw $odd (local.get 0))))
    ///         (i32.shr_u (local.get 0) (i32.const 1)))
    ///     (func (export "half or all") (param i32) (result i32)
    ///         (try_table (result i32) (catch $odd 0) (call $half (local.get 0)))))"#;
    /// let mut store = Store::<()>::default();
    /// let module = Module::new(store.engine(), half)?;
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let half = instance.get_typed_func::<u32, u32, _>(&mut store, "half or all")?;
    /// assert_eq!((half.call(&mut store, 8)?, half.call(&mut store, 7)?), (4, 7));
    /// # Ok(())
    /// # }
    /// ```
    pub fn wasm_exceptions(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::EXCEPTIONS, enable)
    }

    /// Whether modules may have several memories. On by default.
    ///
    /// ```
    /// use lampwick::{Config, Engine, Module};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let two = "(module (memory 1) (memory 1))";
    /// Module::new(&Engine::default(), two)?;
    /// let engine = Engine::new(Config::new().wasm_multi_memory(false))?;
    /// assert!(Module::new(&engine, two).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wasm_multi_memory(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::MULTI_MEMORY, enable)
    }

    /// Whether modules may use vectors, of 128 bits. On by default; turned off, relaxed vectors are
    /// off, too.
    ///
    /// ```
    /// use lampwick::{Config, Engine, Instance, Module, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let add = r#"(module (func (export "add") (param v128 v128) (result v128)
    ///     (i32x4.add (local.get 0) (local.get 1))))"#;
    /// let mut store = Store::<()>::default();
    /// let module = Module::new(store.engine(), add)?;
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let add = instance.get_typed_func::<(u128, u128), u128, _>(&mut store, "add")?;
    /// assert_eq!(add.call(&mut store, (0x1_ffff_ffff, 0x1_0000_0001))?, 0x2_0000_0000);
    /// assert!(Engine::new(Config::new().wasm_simd(false).wasm_relaxed_simd(true)).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wasm_simd(&mut self, enable: bool) -> &mut Self {
        if !enable {
            self.wasm_relaxed_simd(false);
        }
        self.feature(WasmFeatures::SIMD, enable)
    }

    /// Whether modules may use relaxed vector operators, some of whose results depend on the
    /// machine; see [`relaxed_simd_deterministic`](Self::relaxed_simd_deterministic). On by
    /// default. [`Engine::new`](crate::Engine::new) fails where it is on without
    /// [`wasm_simd`](Self::wasm_simd).
    pub fn wasm_relaxed_simd(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::RELAXED_SIMD, enable)
    }

    /// Whether relaxed vector operators have the same results on every machine, those of the
    /// specification's deterministic profile. Off by default, since some are slower.
    ///
    /// [`Engine::new`](crate::Engine::new) then fails on a processor that cannot round a product with a
    /// sum once (FMA), unless relaxed vectors are off. Where NaNs are
    /// [canonical](Self::cranelift_nan_canonicalization) only these products depend on the machine.
    pub fn relaxed_simd_deterministic(&mut self, enable: bool) -> &mut Self {
        self.compiler.relaxed_simd_deterministic = enable;
        self
    }

    /// Whether modules may use shared memories and atomic operators; see
    /// [`SharedMemory`](crate::SharedMemory). Off by default: it is no part of WebAssembly 3.0, and
    /// guests that share a memory have results that depend on the turns they get.
    ///
    /// A guest that waits (`memory.atomic.wait32`) suspends its call on an async store, and blocks no
    /// thread; on a synchronous store it blocks the thread that called it. Its timeout is counted by
    /// the tokio runtime in which the call is polled, or, outside of one, in one without timers, and
    /// without the feature `tokio`, by a thread that exists while somebody waits. Interrupts,
    /// deadlines in epochs, and handles that pause or stop guests ([`FuelHandle`](crate::FuelHandle))
    /// are heard meanwhile. Waiting burns no fuel, so that of a closed tank a guest hears when it needs
    /// fuel again.
    pub fn wasm_threads(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::THREADS, enable)
    }

    /// Whether memories and tables may have 64-bit addresses. On by default.
    ///
    /// Such a memory has 2^46 bytes (64 TiB) at the most, whatever its type says, and every access
    /// to one that is not [static](Self::static_memory_maximum_size) is compared with its size.
    ///
    /// ```
    /// use lampwick::{Instance, Module, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let mut store = Store::<()>::default();
    /// let module = Module::new(store.engine(), r#"(module (memory i64 1)
    ///     (func (export "load") (param i64) (result i32) (i32.load (local.get 0))))"#)?;
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let load = instance.get_typed_func::<u64, i32, _>(&mut store, "load")?;
    /// assert_eq!(load.call(&mut store, 65532)?, 0);
    /// assert!(load.call(&mut store, u64::MAX - 2).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wasm_memory64(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::MEMORY64, enable)
    }

    /// Whether constant expressions may add, subtract and multiply integers. On by default.
    pub fn wasm_extended_const(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::EXTENDED_CONST, enable)
    }

    /// Whether memories may have pages of 1 byte in place of 64 KiB. Off by default, since
    /// WebAssembly 3.0 has no such pages.
    ///
    /// A small memory saves a guest little here: it still takes whole pages of the system's, and every
    /// access to it is compared with its size.
    pub fn wasm_custom_page_sizes(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::CUSTOM_PAGE_SIZES, enable)
    }
}
