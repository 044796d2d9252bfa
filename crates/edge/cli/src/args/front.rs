//! A command line whose command is none of ours: a plugin's, maybe.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::{Cli, Global, pflag};

#[derive(Parser, Debug)]
#[command(name = "dhow", disable_help_subcommand = true, disable_version_flag = true)]
struct Front {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    rest: Rest,
}

#[derive(Subcommand, Debug)]
enum Rest {
    #[command(external_subcommand)]
    Words(Vec<OsString>),
}

/// What goes before the command, and the words from the command on as they are: what they mean is the
/// command's own business. `None` where there is no command, or the flags before it are wrong.
pub(crate) fn front(args: &[OsString]) -> Option<(Global, Vec<OsString>)> {
    let matches = pflag::rules(Front::command()).try_get_matches_from(args).ok()?;
    let Front { global, rest: Rest::Words(words) } = Front::from_arg_matches(&matches).ok()?;
    Some((global, words))
}

/// What goes before the command where help is asked for, by whatever words. `None` where the flags are wrong.
pub(crate) fn before_help(args: &[OsString]) -> Option<Global> {
    let is_kept = |word: &&OsString| *word != "--help" && *word != "-h";
    let mut words: Vec<OsString> = args.iter().filter(is_kept).cloned().collect();
    words.push("help".into());
    front(&words).map(|(global, _)| global)
}

/// Whether a command is one of ours, by its name or another that it has.
pub(crate) fn is_built_in(name: &str) -> bool {
    name == "help" || Cli::command().find_subcommand(name).is_some()
}

/// Whether what stands in the way of a command line is that it asks which commands there are.
pub(crate) fn is_help_of_all(err: &clap::Error, args: &[OsString]) -> bool {
    let is_help = matches!(
        err.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let is_flag = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    let names_none = |words: &[OsString]| {
        words.split_first().is_some_and(|(first, rest)| first == "help" && rest.iter().all(is_flag))
    };
    is_help && front(args).is_none_or(|(_, words)| names_none(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<(Global, Vec<OsString>)> {
        front(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn flags_before_the_command_are_ours_and_all_after_it_is_its_own() {
        let (global, words) =
            of("dhow -H unix:///x --config /c -D --tls=false compose -f a -D --help").unwrap();
        assert_eq!(words, ["compose", "-f", "a", "-D", "--help"]);
        assert_eq!(global.host.as_deref(), Some("unix:///x"));
        assert_eq!(global.config.as_deref(), Some(std::path::Path::new("/c")));
        assert_eq!((global.debug, global.tls), (true, Some(false)));
        let (global, words) = of("dhow compose -H y").unwrap();
        assert_eq!((global.host, words), (None, vec!["compose".into(), "-H".into(), "y".into()]));
        assert_eq!(of("dhow help compose").unwrap().1, ["help", "compose"]);
        assert_eq!(of("dhow compose -- --").unwrap().1, ["compose", "--", "--"]);
    }

    #[test]
    fn without_a_command_there_is_none() {
        for line in ["dhow", "dhow --help", "dhow -D", "dhow --nonsense compose", "dhow -H"] {
            assert!(of(line).is_none(), "{line}");
        }
    }

    #[test]
    fn flags_before_a_call_for_help_count() {
        let of = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            before_help(&args).and_then(|global| global.config)
        };
        for line in ["--config /c", "--config /c --help", "-D --config=/c help", "--config /c -h"] {
            let found = of(&format!("dhow {line}"));
            assert_eq!(found.as_deref(), Some(std::path::Path::new("/c")), "{line}");
        }
        assert!(of("dhow").is_none() && of("dhow --nonsense").is_none());
    }

    #[test]
    fn who_asks_for_all_commands_names_none() {
        let of = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            is_help_of_all(&Cli::of(&args).unwrap_err(), &args)
        };
        for line in [
            "dhow",
            "dhow -D",
            "dhow --help",
            "dhow -D -h",
            "dhow help",
            "dhow -D help",
            "dhow --help ps",
        ] {
            assert!(of(line), "{line}");
        }
        for line in ["dhow ps --help", "dhow help ps", "dhow network", "dhow -v", "dhow nonsense"] {
            assert!(!of(line), "{line}");
        }
    }

    #[test]
    fn our_own_commands_are_known_by_all_their_names() {
        for name in ["ps", "build", "builder", "buildx", "context", "help", "daemon"] {
            assert!(is_built_in(name), "{name}");
        }
        assert!(!is_built_in("compose") && !is_built_in("scout"));
    }
}
