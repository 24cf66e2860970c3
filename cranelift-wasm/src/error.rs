//! Why a function could not be translated.

use wasmparser::BinaryReaderError;

/// Why a function could not be translated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WasmError {
    /// The function is not valid WebAssembly; the error names the offset and what was expected.
    #[error(transparent)]
    Invalid(#[from] BinaryReaderError),
    /// The function uses an operator or type that this translator does not know.
    #[error("unsupported at offset {offset:#x}: {what}")]
    Unsupported {
        /// The offset in the module.
        offset: usize,
        /// The operator or type.
        what: String,
    },
    /// The function exceeds a limit of the implementation.
    #[error("implementation limit exceeded: {0}")]
    Limit(&'static str),
    /// Compiling the function would take more memory than
    /// [`FuncTranslator::set_memory_limit`](crate::FuncTranslator::set_memory_limit) allows.
    #[error("the function takes more than {0} bytes to compile")]
    Memory(u64),
}

/// The result of a step of translation.
pub type WasmResult<T> = Result<T, WasmError>;
