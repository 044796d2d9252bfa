//! The commands that scripts call by the hundred, parsed without the others.
//!
//! All commands with all their options are more than a thousand values to build, which is a
//! millisecond of every start, a tenth of an `exec`. So the command in the first place is tried
//! alone. Where that does not work out, whatever the reason, the whole command line is parsed as if
//! this were not there: it knows what to say.

use std::ffi::OsString;

use clap::{Args, Command as Parser};

use super::{Cli, Command, ContainerCommand, Global, front, pflag, quick_run};
use crate::run_args::RunArgs;

/// The names of the commands.
const NAMES: [&str; 13] = [
    "run", "inspect", "version", "info", "create", "start", "exec", "ps", "logs", "stop", "kill",
    "rm", "wait",
];

/// Whether the first word of a command line names one of these.
pub(crate) fn is_short(args: &[OsString]) -> bool {
    args.get(1).and_then(|word| word.to_str()).is_some_and(|word| NAMES.contains(&word))
}

/// The command line, if its command is one of those and nothing is wrong with it.
pub(super) fn parse(args: &[OsString]) -> Option<Cli> {
    let (global, command) = if args.get(1)?.as_encoded_bytes().starts_with(b"-") {
        let (global, words) = front(args)?;
        // No command goes before or after it.
        if args.iter().take(args.len() - words.len()).any(|word| word == "--") {
            return None;
        }
        (global, command(&words)?)
    } else {
        (Global::default(), command(args.get(1..)?)?)
    };
    Some(Cli { global, version: None, command })
}

impl Command {
    /// Whether it does all that it does by calls of the engine that are answered as a whole, or by streams of a
    /// program. [`parse`] knows these.
    pub(crate) fn is_simple(&self) -> bool {
        use ContainerCommand::{Create, Exec, Kill, Logs, Ps, Rm, Start, Stop, Wait};
        matches!(
            self,
            Self::Run(_)
                | Self::Inspect(_)
                | Self::Version(_)
                | Self::Info(_)
                | Self::Container(
                    Create(_)
                        | Exec(_)
                        | Kill(_)
                        | Logs(_)
                        | Ps(_)
                        | Rm(_)
                        | Start(_)
                        | Stop(_)
                        | Wait(_)
                )
        )
    }
}

/// The command, its name first.
fn command(args: &[OsString]) -> Option<Command> {
    let container = match args.first()?.to_str()? {
        "run" => return Some(Command::Run(Box::new(run(args)?))),
        "inspect" => return Some(Command::Inspect(alone(args)?)),
        "version" => return Some(Command::Version(alone(args)?)),
        "info" => return Some(Command::Info(alone(args)?)),
        "create" => ContainerCommand::Create(Box::new(alone(args)?)),
        "start" => ContainerCommand::Start(alone(args)?),
        "exec" => ContainerCommand::Exec(alone(args)?),
        "ps" => ContainerCommand::Ps(alone(args)?),
        "logs" => ContainerCommand::Logs(alone(args)?),
        "stop" => ContainerCommand::Stop(alone(args)?),
        "kill" => ContainerCommand::Kill(alone(args)?),
        "rm" => ContainerCommand::Rm(alone(args)?),
        "wait" => ContainerCommand::Wait(alone(args)?),
        _ => return None,
    };
    Some(Command::Container(container))
}

fn run(args: &[OsString]) -> Option<RunArgs> {
    quick_run::parse(args.get(1..)?).or_else(|| alone(args))
}

/// One command, its name first.
fn alone<T: Args>(args: &[OsString]) -> Option<T> {
    let matches = parser::<T>().try_get_matches_from(args).ok()?;
    T::from_arg_matches(&matches).ok()
}

/// What parses one command's words.
pub(super) fn parser<T: Args>() -> Parser {
    pflag::rules(T::augment_args(Parser::new("dhow")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    /// What is parsed alone is what it is among the others.
    #[test]
    fn nothing_is_parsed_otherwise() {
        for line in [
            "dhow run --rm -it -p 80:80 --name web -e A=1 -v a:/a image cmd -x --rm",
            "dhow run image",
            "dhow run --rm=false -i=0 -i --name a --name b image",
            "dhow ps -a -a --quiet=true",
            "dhow create --memory 1g image -c 1",
            "dhow start -a -i web",
            "dhow exec -it -u 0 web sh -c true",
            "dhow exec web ls -l --color",
            "dhow ps -a -q --no-trunc --filter status=exited",
            "dhow logs -f --tail 5 web",
            "dhow stop -t 1 a b",
            "dhow kill -s HUP a",
            "dhow rm -fv a b",
            "dhow wait a b",
            "dhow inspect --type image -f {{.Id}} a b",
            "dhow version --format json",
            "dhow info",
            "dhow -H unix:///x ps -a",
            "dhow --root /r --state=/s -D run --rm image -c 1",
            "dhow --tls=false -l debug -c far exec -i web sh",
        ] {
            let alone = parse(&words(line)).unwrap_or_else(|| panic!("{line}"));
            let among = Cli::of_all(&words(line)).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(format!("{alone:?}"), format!("{among:?}"), "{line}");
        }
    }

    #[test]
    fn those_with_a_name_are_these() {
        for name in NAMES {
            let words = words(&format!("dhow {name} a b"));
            assert!(is_short(&words));
            let all = Cli::of_all(&words).map(|cli| cli.command.is_simple());
            assert!(all.unwrap_or(true), "{name}");
        }
        assert!(!is_short(&words("dhow daemon")) && !is_short(&words("dhow")));
    }

    #[test]
    fn what_is_not_sure_is_left_to_the_whole() {
        for line in [
            "dhow",
            "dhow -H",
            "dhow -- ps",
            "dhow -D -- ps -a",
            "dhow -H unix:///x -c far ps",
            "dhow -v ps",
            "dhow --nonsense ps",
            "dhow run",
            "dhow run --help",
            "dhow ps --version",
            "dhow remove a",
            "dhow stop -t many a",
        ] {
            assert!(parse(&words(line)).is_none(), "{line}");
        }
    }
}
