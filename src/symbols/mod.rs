//! From places in a module to functions, files and lines: what a guest's own debug information
//! says.
//!
//! Nothing in it is trusted: what is read is bounded (`reader`), so is how deep it nests, and it is
//! read on a stack that is large enough for that. What is wrong in it gives no symbols, or wrong
//! ones, and nothing worse.

mod demangle;
mod reader;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use addr2line::{Context, Frame, LookupResult};
use gimli::{AbbreviationsCacheStrategy, Dwarf};

use crate::compile::ModuleInfo;
use demangle::{is_mangled, one_line, readable};
use reader::{Reader, Source};

/// Whether backtraces tell files and lines; see
/// [`Config::wasm_backtrace_details`](crate::Config::wasm_backtrace_details).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WasmBacktraceDetails {
    /// They do, for guests that have debug information.
    Enable,
    /// They do not.
    Disable,
    /// They do if the environment variable `LAMPWICK_BACKTRACE_DETAILS` is `1` when the engine is
    /// made.
    #[default]
    Environment,
}

impl WasmBacktraceDetails {
    /// What this means now.
    pub(crate) fn enabled(self) -> bool {
        match self {
            Self::Enable => true,
            Self::Disable => false,
            Self::Environment => {
                std::env::var_os("LAMPWICK_BACKTRACE_DETAILS").is_some_and(|value| value == "1")
            }
        }
    }
}

/// A function of the source that a frame runs; see
/// [`FrameInfo::symbols`](crate::FrameInfo::symbols).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameSymbol {
    name: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
}

impl FrameSymbol {
    /// The function, as its author wrote it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The file, as the compiler was given it.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line in the file; the first is 1.
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// The column in the line; the first is 1.
    pub fn column(&self) -> Option<u32> {
        self.column
    }

    fn new(frame: &Frame<'_, Reader>) -> Self {
        let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
        let location = frame.location.as_ref();
        let file = location.and_then(|location| location.file).filter(|file| !file.is_empty());
        Self {
            name: name.map(|name| readable(&name)),
            file: file.map(|file| one_line(file, MAX_FILE)),
            line: location.and_then(|location| location.line),
            // Zero is the left edge of a line, or nothing in particular.
            column: location.and_then(|location| location.column).filter(|column| *column > 0),
        }
    }
}

/// The most bytes of a file's name that are kept.
const MAX_FILE: usize = 4 << 10;

/// The most symbols of one frame: more functions are not inlined into each other.
const MAX_SYMBOLS: usize = 64;

/// How deep entries may nest; following them takes some hundred bytes of stack each.
const MAX_NESTING: isize = 1024;

/// Room for entries that nest so deep, and for names that do.
const STACK: usize = 4 << 20;

/// What each further look may read, in bytes, once everything was parsed.
const PER_LOOK: u64 = 64 << 10;

/// Looks up symbols of one module.
#[derive(Debug)]
pub(crate) struct Symbolizer {
    source: Arc<Source>,
    /// What was parsed so far: nothing, or nothing that can be used, or a context.
    parsed: Mutex<Option<Option<Parsed>>>,
}

struct Parsed(Context<Reader>);

impl std::fmt::Debug for Parsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parsed").finish_non_exhaustive()
    }
}

impl Symbolizer {
    /// For a module that kept its debug information. Reads nothing yet.
    pub(crate) fn new(info: &Arc<ModuleInfo>) -> Self {
        Self { source: Source::new(info.clone()), parsed: Mutex::new(None) }
    }

    /// The functions that an operator stands in, the innermost first, if that is known. `offset` is
    /// from the start of the code section.
    pub(crate) fn symbols(&self, offset: u64) -> Vec<FrameSymbol> {
        with_room(|| self.look_up(offset)).unwrap_or_default()
    }

    /// What can be used, parsed if need be.
    fn parsed(&self) -> MutexGuard<'_, Option<Option<Parsed>>> {
        // A panic while it was locked left a context that says less than it could.
        let mut parsed = self.parsed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        parsed.get_or_insert_with(|| parse(&self.source).ok().map(Parsed));
        parsed
    }

    fn look_up(&self, offset: u64) -> Vec<FrameSymbol> {
        let parsed = self.parsed();
        let Some(Some(Parsed(context))) = &*parsed else { return Vec::new() };
        self.source.allow(PER_LOOK);
        // Parts in other files are not loaded: the guest would pick which.
        let LookupResult::Output(Ok(mut frames)) = context.find_frames(offset) else {
            return Vec::new();
        };
        let mut symbols = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            // The last is the function that the others were inlined into.
            symbols.truncate(MAX_SYMBOLS - 1);
            symbols.push(FrameSymbol::new(&frame));
        }
        symbols.retain(|symbol| *symbol != FrameSymbol::default());
        symbols
    }
}

/// A line of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceLine {
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Symbolizer {
    /// The source lines of many operators, where they are known. Offsets are from the start of the
    /// module.
    pub(crate) fn lines(&self, operators: &[u32]) -> Vec<Option<SourceLine>> {
        let start = self.source.code_start();
        let line = |context: &Context<Reader>, files: &mut Files, operator: u32| {
            let offset = u64::from(operator.checked_sub(start)?);
            let location = context.find_location(offset).ok()??;
            let file = location.file.filter(|file| !file.is_empty())?;
            let file = match files.get(file) {
                Some(file) => file.clone(),
                None => {
                    let shown: Arc<str> = one_line(file, MAX_FILE).into();
                    files.insert(file.to_owned(), shown.clone());
                    shown
                }
            };
            Some(SourceLine { file, line: location.line?, column: location.column.unwrap_or(0) })
        };
        let lines = || {
            let mut parsed = self.parsed();
            let context = parsed.as_mut()?.as_ref()?;
            let mut files = Files::new();
            let lines = operators.iter().map(|&operator| line(&context.0, &mut files, operator));
            Some(lines.collect())
        };
        with_room(lines).flatten().unwrap_or_else(|| vec![None; operators.len()])
    }
}

/// Names of files as they are shown, by what they are.
type Files = HashMap<String, Arc<str>>;

/// Reads where the units are, and that nothing nests too deep.
fn parse(source: &Arc<Source>) -> gimli::Result<Context<Reader>> {
    let mut dwarf = Dwarf::load(|id| Ok::<_, gimli::Error>(source.section(id)))?;
    dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::All);
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        let abbreviations = dwarf.abbreviations(&header)?;
        let mut entries = header.entries_raw(&abbreviations, None)?;
        while !entries.is_empty() {
            if entries.next_depth() > MAX_NESTING {
                return Err(gimli::Error::UnsupportedOffset);
            }
            if let Some(abbreviation) = entries.read_abbreviation()? {
                entries.skip_attributes(abbreviation.attributes())?;
            }
        }
    }
    Context::from_dwarf(dwarf)
}

/// A name that nobody mangled, in one line that can be read.
pub(crate) fn plain_name(name: &str) -> String {
    one_line(name, demangle::MAX_SHOWN)
}

/// A name for people: demangled, and in one line.
pub(crate) fn readable_name(name: &str) -> String {
    let readable = |name: &str| demangle::readable(name);
    match is_mangled(name) {
        true => with_room(|| readable(name)).unwrap_or_else(|| name.to_owned()),
        false => readable(name),
    }
}

/// Runs what recurses as the guest likes on a stack that suffices; a host function may have much
/// less. No answer if there is no thread for it, or if it panicked.
fn with_room<R: Send>(run: impl FnOnce() -> R + Send) -> Option<R> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("lampwick symbols".into()).stack_size(STACK);
        thread.spawn_scoped(scope, run).ok()?.join().ok()
    })
}
