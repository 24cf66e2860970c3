//! The command line. The build script reads these files, too, for the man page: they use nothing
//! else of the command's.

mod run;
pub mod serve;
pub mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

pub use run::RunArgs;
pub use serve::ServeArgs;

/// Runs, compiles, inspects and serves WebAssembly programs.
#[derive(Debug, Parser)]
#[command(name = "lampwick", version, arg_required_else_help = true)]
#[command(after_help = "Examples:
  lampwick run hello.wasm
  lampwick run --dir data::/data --fuel 1000000000 --timeout 10s tool.wasm in.txt
  lampwick serve site")]
#[command(after_long_help = "Examples:
  lampwick run hello.wasm
  lampwick run --dir data::/data --fuel 1000000000 --timeout 10s tool.wasm in.txt
  lampwick serve site

Exit codes:
  of the program where it ended by itself; 134 where it trapped or its fuel was gone; 128
  plus its number after a signal, as 130 after Ctrl-C; 2 for misuse; 1 for every other failure.

`lampwick man` prints the manual page of all commands.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a WASI program
    Run(Box<RunArgs>),
    /// Answer HTTP requests with WASI programs, a fresh instance for each
    Serve(ServeArgs),
    /// Compile a module to an artifact, which `run` starts without compiling
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
  lampwick compile prog.wasm && lampwick run prog.lampwick")]
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
  lampwick inspect --code _start --wasm prog.wasm prog.lampwick
  lampwick inspect --json prog.wasm | jq .imports")]
pub struct InspectArgs {
    /// A module in the binary or the text format, or an artifact
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Show the machine code of this function beside its wasm: an index, or a name that it has or is
    /// exported by
    #[arg(long, value_name = "FUNCTION")]
    pub code: Option<String>,
    /// The module that an artifact was made of, to show it beside the machine code: an artifact does
    /// not carry it
    #[arg(long, value_name = "MODULE", value_hint = ValueHint::FilePath)]
    pub wasm: Option<PathBuf>,
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
