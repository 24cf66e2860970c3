//! Modules that need not be compiled, because a cache has them.

use anyhow::Result;

use super::Module;
use crate::compile::{Cache, Parts};
use crate::engine::Engine;

impl Module {
    /// The module of these bytes, from the cache, or compiled and put there.
    pub(super) fn cached(engine: &Engine, cache: &Cache, binary: &[u8]) -> Result<Self> {
        let compiler = engine.compiler();
        let key = compiler.cache_key(binary)?;
        if let Some(file) = cache.find(&key) {
            // SAFETY: the cache answers only files that nobody else can write to; we never change
            // one, and whoever else runs as us was told not to.
            let module = unsafe { Self::from_artifact_file(engine, &file, Some(key.as_bytes())) };
            // One that is damaged is replaced.
            if let Ok(module) = module {
                return Ok(module);
            }
        }
        let artifact = super::compile(engine, binary)?;
        // What is too large for an artifact can be used nevertheless.
        let parts = Parts { key: key.as_bytes(), ..artifact.parts() };
        if let Ok(bytes) = compiler.write_artifact(parts) {
            cache.insert(&key, &bytes);
        }
        Self::publish(engine, artifact)
    }
}
