//! A command line of ours as others are told of it: which command, with which flags.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _};

use super::{Cli, pflag};

/// A command line that was taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Invoked {
    /// The command with those that it is below: `image ls`.
    pub(crate) command: String,
    /// Its own name: `ls`.
    pub(crate) name: String,
    /// The flags that were given, by their long names, with those values that are true or false; other values are
    /// nobody else's business.
    pub(crate) flags: BTreeMap<String, String>,
    /// The values of all flags that the command has, the last one of each; empty where there is none.
    pub(crate) values: BTreeMap<String, String>,
    /// What is no flag.
    pub(crate) words: Vec<String>,
}

/// Takes a command line apart, the program's name first. `None`: there is no such command.
pub(crate) fn invoked(args: &[OsString]) -> Option<Invoked> {
    let mut root = pflag::rules(Cli::command());
    let all = root.try_get_matches_from_mut(args).ok()?;
    let (mut command, mut matches, mut path) = (&root, &all, Vec::new());
    while let Some((name, inner)) = matches.subcommand() {
        command = command.find_subcommand(name)?;
        matches = inner;
        path.push(name);
    }
    let name = path.last().copied().unwrap_or_default().to_owned();
    let mut invoked = Invoked { command: path.join(" "), name, ..Invoked::default() };
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let given = texts(matches, id);
        if arg.is_positional() {
            invoked.words.extend(given);
            continue;
        }
        let Some(name) = arg.get_long() else { continue };
        let is_there = !given.is_empty();
        let mut value = given.into_iter().next_back().unwrap_or_default();
        let is_bool = pflag::is_bool(arg);
        if is_bool {
            // One that was not given has no value here, and is false.
            value = pflag::go_bool(&value).unwrap_or_default().to_string();
        }
        if is_there && matches.value_source(id) == Some(ValueSource::CommandLine) {
            let shown = if is_bool { value.clone() } else { String::new() };
            invoked.flags.insert(name.to_owned(), shown);
        }
        invoked.values.insert(name.to_owned(), value);
    }
    Some(invoked)
}

/// The values of an argument, as they were written; none where there is none.
fn texts(matches: &ArgMatches, id: &str) -> Vec<String> {
    let raw = matches.try_get_raw(id).ok().flatten();
    let text = |value: &OsStr| value.to_string_lossy().into_owned();
    raw.map(|values| values.map(text).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<Invoked> {
        invoked(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_line_is_told_of() {
        let run = of("dhow -D run --rm=1 -t=0 --name web -e A=1 -e B=2 image cmd -x").unwrap();
        assert_eq!(run.command, "run");
        let flags = [("env", ""), ("name", ""), ("rm", "true"), ("tty", "false")];
        let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(run.flags, BTreeMap::from(flags));
        assert_eq!(run.words, ["image", "cmd", "-x"]);
        let value = |name: &str| run.values.get(name).map(String::as_str);
        assert_eq!((value("name"), value("env")), (Some("web"), Some("B=2")));
        assert_eq!((value("detach"), value("memory")), (Some("false"), Some("")));
        assert_eq!(value("nothing"), None);
        for (line, want) in [
            ("dhow image ls -q", "image ls"),
            ("dhow images", "images"),
            ("dhow buildx prune -f", "builder prune"),
            ("dhow container run image", "container run"),
        ] {
            let found = of(line).unwrap();
            assert_eq!(found.command, want, "{line}");
            assert!(want.ends_with(&found.name), "{line}");
        }
        for line in ["dhow", "dhow nothing", "dhow run", "dhow ps --nonsense", "dhow ps --help"] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
