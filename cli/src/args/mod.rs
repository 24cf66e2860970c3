//! The command line. The build script reads these files, too, for the man page: they use nothing
//! else of the command's.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

/// Compiles and inspects WebAssembly programs.
#[derive(Debug, Parser)]
#[command(name = "lampwick", version, arg_required_else_help = true)]
#[command(after_help = "Examples:
  lampwick compile prog.wasm
  lampwick inspect --code main prog.wasm
  lampwick man | man -l -

Exit codes: 2 for misuse, 1 for every other failure.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compile a module to an artifact
    Compile(CompileArgs),
    /// Show what a module or an artifact consists of
    Inspect(InspectArgs),
    /// Run scripts of the WebAssembly specification
    Wast(WastArgs),
    /// Print a shell's completions for this command
    Completions(CompletionsArgs),
    /// Print the manual page, in the format of man(7)
    Man,
}

/// Arguments of `lampwick compile`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  lampwick compile --output prog.lampwick prog.wasm")]
pub struct CompileArgs {
    /// The module, in the binary or the text format
    #[arg(value_name = "MODULE", value_hint = ValueHint::FilePath)]
    pub module: PathBuf,
    /// Where to write the artifact [default: the module's name, ending in .lampwick]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// Arguments of `lampwick inspect`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lampwick inspect prog.wasm
  lampwick inspect --code _start prog.wasm
  lampwick inspect --json prog.wasm | jq .imports")]
pub struct InspectArgs {
    /// A module in the binary or the text format, or an artifact
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Show the machine code of this function beside its wasm: an index, or a name that it has or is
    /// exported by
    #[arg(long, value_name = "FUNCTION")]
    pub code: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lampwick wast`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  lampwick wast i32.wast f64.wast")]
pub struct WastArgs {
    /// Scripts
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Run each script also metered, and async in small slices of fuel, and compare what is burned
    #[arg(long)]
    pub slices: bool,
}

/// Arguments of `lampwick completions`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  lampwick completions bash > ~/.local/share/bash-completion/completions/lampwick")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}
