//! Help and version.

use std::io::Write;

use crate::args::Opt;
use crate::log::NAME;
use crate::{Command, Failure};

/// Writes to standard output; a reader that went away is an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::from(format!("write to standard output: {error}")))
}

/// In the form of runc's, which Docker reads.
pub(crate) fn print_version() -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    print(&format!("{NAME} version {version}\nspec: {}\n", oci::runtime::VERSION))
}

pub(crate) fn print_overview(global: &[Opt], commands: &[Command]) -> Result<(), Failure> {
    let mut text = format!(
        "{NAME}: an OCI runtime with runc's command line\n\n\
         usage: {NAME} [OPTION...] COMMAND [OPTION...] [ARGUMENT...]\n\ncommands:\n"
    );
    for command in commands {
        text += &format!("  {:<12}{}\n", command.name, command.help);
    }
    text += "\noptions:\n";
    text += &options(global);
    print(&text)
}

pub(crate) fn print_command(command: &Command) -> Result<(), Failure> {
    let mut text = format!(
        "{}\n\nusage: {NAME} {} [OPTION...] {}\n",
        command.help, command.name, command.words
    );
    if !command.options.is_empty() {
        text += "\noptions:\n";
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
            let value = if option.value { " VALUE" } else { "" };
            format!("  {:<28}{}\n", names.join(", ") + value, option.help)
        })
        .collect()
}
