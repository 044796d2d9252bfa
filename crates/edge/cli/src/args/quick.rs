//! The commands that scripts call by the hundred, parsed without the others.
//!
//! All commands with all their options are more than a thousand values to build, which is a
//! millisecond of every start, a tenth of an `exec`. So the command in the first place is tried
//! alone. Where that does not work out, whatever the reason, the whole command line is parsed as if
//! this were not there: it knows what to say.

use std::ffi::OsString;

use clap::{Args, Command as Parser};

use super::{Command, ContainerCommand};

/// The command, if it is one of those and nothing is wrong with it.
pub(super) fn command(args: &[OsString]) -> Option<Command> {
    let args = args.get(1..)?;
    let container = match args.first()?.to_str()? {
        "run" => return Some(Command::Run(Box::new(alone(args)?))),
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

/// One command, its name first.
fn alone<T: Args>(args: &[OsString]) -> Option<T> {
    let parser = super::pflag::rules(T::augment_args(Parser::new("dhow")));
    let matches = parser.try_get_matches_from(args).ok()?;
    T::from_arg_matches(&matches).ok()
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
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
        ] {
            let alone = command(&words(line)).unwrap_or_else(|| panic!("{line}"));
            let among = Cli::of_all(&words(line)).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(format!("{alone:?}"), format!("{:?}", among.command), "{line}");
        }
    }

    #[test]
    fn what_is_not_sure_is_left_to_the_whole() {
        for line in [
            "dhow",
            "dhow -H unix:///x ps",
            "dhow run",
            "dhow run --help",
            "dhow ps --version",
            "dhow remove a",
            "dhow stop -t many a",
        ] {
            assert!(command(&words(line)).is_none(), "{line}");
        }
    }
}
