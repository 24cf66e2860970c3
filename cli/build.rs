//! Makes the manual page of the command line, which `lampwick man` prints.

#[path = "src/args/mod.rs"]
#[expect(unreachable_pub, reason = "the build script describes options, it takes none")]
mod args;

use std::path::PathBuf;
use std::{env, fs, io};

use clap::CommandFactory as _;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src/args");
    let command = args::Cli::command();
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_extra_section(&mut page)?;
    for mut subcommand in command.get_subcommands().cloned() {
        let name = format!("lampwick {}", subcommand.get_name());
        subcommand = subcommand.disable_help_flag(true);
        subcommand = subcommand.bin_name(name.clone()).display_name(name.clone());
        let man = clap_mangen::Man::new(subcommand);
        page.extend_from_slice(format!(".SH \"{}\"\n", name.to_uppercase()).as_bytes());
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        man.render_extra_section(&mut page)?;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("lampwick.1"), page)
}
