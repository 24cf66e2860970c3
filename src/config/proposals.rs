//! Which proposals modules may use.

use wasmparser::WasmFeatures;

use super::Config;

impl Config {
    fn feature(&mut self, feature: WasmFeatures, enable: bool) -> &mut Self {
        self.compiler.features.set(feature, enable);
        self
    }

    /// Whether modules may use reference types, and tables of them. On by default; turned off, bulk
    /// memory goes on working.
    pub fn wasm_reference_types(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::REFERENCE_TYPES, enable)
    }

    /// Whether modules may use bulk memory and table operators. On by default.
    pub fn wasm_bulk_memory(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::BULK_MEMORY, enable)
    }

    /// Whether functions and blocks may have several results. On by default.
    pub fn wasm_multi_value(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::MULTI_VALUE, enable)
    }

    /// Whether modules may have several memories. Off by default, as in WebAssembly 2.0.
    ///
    /// ```
    /// use lampwick::{Config, Engine, Module};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let two = "(module (memory 1) (memory 1))";
    /// assert!(Module::new(&Engine::default(), two).is_err());
    /// let engine = Engine::new(Config::new().wasm_multi_memory(true))?;
    /// Module::new(&engine, two)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wasm_multi_memory(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::MULTI_MEMORY, enable)
    }

    /// Whether modules may use vectors. Off by default, and not implemented by this version:
    /// [`Engine::new`](crate::Engine::new) fails where it is on.
    pub fn wasm_simd(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::SIMD, enable)
    }

    /// Whether modules may use shared memories and atomic operators. Off by default, and not
    /// implemented by this version: [`Engine::new`](crate::Engine::new) fails where it is on.
    pub fn wasm_threads(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::THREADS, enable)
    }

    /// Whether memories may have 64-bit addresses. Off by default, and not implemented by this
    /// version: [`Engine::new`](crate::Engine::new) fails where it is on.
    pub fn wasm_memory64(&mut self, enable: bool) -> &mut Self {
        self.feature(WasmFeatures::MEMORY64, enable)
    }
}
