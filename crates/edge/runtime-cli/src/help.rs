//! Help and version.

use std::io::Write;

use crate::args::Opt;
use crate::log::NAME;
use crate::{Command, Failure};

/// The version of runc whose command line this is.
const RUNC: &str = "1.3.0";

/// Writes to standard output; a reader that went away is an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::from(format!("write to standard output: {error}")))
}

/// The first line says both what this is and whose command line it has: Docker and containerd read
/// the version that follows the last word `version`, and what checks for runc's finds it.
pub(crate) fn print_version() -> Result<(), Failure> {
    print(&version())
}

fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{NAME} {version}, as runc version {RUNC}\ncommit: v{version}\nspec: {}\n",
        oci::runtime::VERSION
    )
}

pub(crate) fn print_overview(global: &[Opt], commands: &[Command]) -> Result<(), Failure> {
    let mut text = format!(
        "NAME:\n   {NAME}, as runc - Open Container Initiative runtime\n\n\
         USAGE:\n   {NAME} [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {}\nCOMMANDS:\n",
        version()
    );
    for command in commands {
        text += &format!("   {:<12}{}\n", command.name, command.help);
    }
    text += "\nGLOBAL OPTIONS:\n";
    text += &options(global);
    print(&text)
}

pub(crate) fn print_command(command: &Command) -> Result<(), Failure> {
    let mut text = format!(
        "NAME:\n   {NAME}, as runc {name} - {}\n\n\
         USAGE:\n   {NAME} {name} [command options] {}\n",
        command.help,
        command.words,
        name = command.name,
    );
    if !command.options.is_empty() {
        text += "\nOPTIONS:\n";
        text += &options(command.options);
    }
    print(&text)
}

fn options(list: &[Opt]) -> String {
    list.iter()
        .map(|option| {
            let names: Vec<String> = option
                .names
                .iter()
                .map(|name| if name.len() == 1 { format!("-{name}") } else { format!("--{name}") })
                .collect();
            let value = if option.value { " value" } else { "" };
            format!("   {:<32}{}\n", names.join(", ") + value, option.help)
        })
        .collect()
}
