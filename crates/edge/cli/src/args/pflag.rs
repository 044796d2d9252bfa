//! Flags as Docker's client takes them: by the rules of Go's `pflag`, which scripts count on.
//!
//! Every flag may come again, and the last one counts. One that is true or false may say so
//! (`--rm=false`), in any of Go's words. A flag that needs a value takes the next word, whatever that
//! begins with.

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

/// The exit code where a flag is not known, or has a value that it cannot have.
const WRONG_FLAG: i32 = 125;

/// Has a command and all below it take flags so.
pub(super) fn rules(command: Command) -> Command {
    command.args_override_self(true).mut_args(rule).mut_subcommands(rules)
}

fn rule(arg: Arg) -> Arg {
    if arg.is_positional() {
        return arg;
    }
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_name("BOOL")
            .default_missing_value("true")
            .default_value("false")
            .value_parser(go_bool),
        ArgAction::Set if is_bool(&arg) => arg.value_parser(go_bool),
        ArgAction::Set | ArgAction::Append => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

pub(super) fn is_bool(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == ValueParser::bool().type_id()
}

/// What Go's `strconv.ParseBool` takes.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("give true or false".to_owned()),
    }
}

/// Docker's exit code for a command line that cannot be used: 125 where a flag is wrong, 1 where the
/// command or the number of arguments is, 0 where it only asks for help.
pub(crate) fn exit_code(err: &clap::Error) -> i32 {
    let is_flag = || match err.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => word.starts_with('-'),
        _ => false,
    };
    match err.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => 0,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::InvalidSubcommand
        | ErrorKind::MissingSubcommand => 1,
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues if !is_flag() => 1,
        _ => WRONG_FLAG,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Cli, Command as Parsed, ContainerCommand, ContainerGroup, ImageCommand};
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Cli::of(&words)
    }

    #[track_caller]
    fn same(one: &str, other: &str) {
        let show = |line| match parse(line) {
            Ok(cli) => format!("{:?}", cli.command),
            Err(err) => panic!("{line}: {err}"),
        };
        assert_eq!(show(one), show(other), "{one}");
    }

    #[test]
    fn what_is_true_or_false_may_say_so() {
        for (one, other) in [
            ("dhow ps --all=true -q=1 --no-trunc=f", "dhow ps -a -q"),
            ("dhow ps --all=False", "dhow ps"),
            ("dhow rm --force=t a", "dhow rm -f a"),
            ("dhow rm --force=false a", "dhow rm a"),
            ("dhow exec -it=false web sh", "dhow exec -i web sh"),
            ("dhow images --digests=TRUE", "dhow images --digests"),
            ("dhow network create --internal=true n", "dhow network create --internal n"),
            ("dhow run --oom-kill-disable=false image", "dhow run image"),
            ("dhow container ls -aq=true", "dhow container ls -a -q"),
        ] {
            same(one, other);
        }
        let Parsed::Container(ContainerCommand::Rm(args)) =
            parse("dhow rm -f=0 a").unwrap().command
        else {
            panic!("not rm")
        };
        assert!(!args.force);
        let Parsed::Run(args) = parse("dhow run --rm=F -i=T image").unwrap().command else {
            panic!("not run")
        };
        assert_eq!((args.container.rm, args.container.interactive), (Some(false), Some(true)));
    }

    #[test]
    fn the_last_of_several_counts() {
        for (one, other) in [
            (
                "dhow run -i -i --name a --name b --rm --rm=false image",
                "dhow run -i --name b --rm=false image",
            ),
            ("dhow ps -a -a -n 3 -n 4", "dhow ps -a -n 4"),
            ("dhow stop -t 1 --time 2 a", "dhow stop -t 2 a"),
            ("dhow network create -d x -d bridge n", "dhow network create n"),
        ] {
            same(one, other);
        }
        // Lists add up, as ever.
        let Parsed::Run(args) = parse("dhow run -e A=1 -e B=2 image").unwrap().command else {
            panic!("not run")
        };
        assert_eq!(args.container.env, ["A=1", "B=2"]);
    }

    #[test]
    fn a_value_may_begin_with_a_dash() {
        let Parsed::Run(args) =
            parse("dhow run --entrypoint -x -e -A=1 --label --rm image -y").unwrap().command
        else {
            panic!("not run")
        };
        assert_eq!(args.container.entrypoint.as_deref(), Some("-x"));
        assert_eq!((&args.container.env[0][..], &args.container.label[0][..]), ("-A=1", "--rm"));
        assert_eq!(args.container.image_and_command, ["image", "-y"]);
        let Parsed::Image(ImageCommand::Images(args)) =
            parse("dhow images --format -{{.ID}}").unwrap().command
        else {
            panic!("not images")
        };
        assert_eq!(args.format.as_deref(), Some("-{{.ID}}"));
    }

    #[test]
    fn what_cannot_be_used_has_dockers_exit_code() {
        for (line, code) in [
            ("dhow", 0),
            ("dhow -D --config /x", 0),
            ("dhow network", 0),
            ("dhow --help", 0),
            ("dhow ps --help", 0),
            ("dhow help", 0),
            ("dhow help ps", 0),
            ("dhow --config /x -D help", 0),
            ("dhow -H unix:///x help ps", 0),
            ("dhow -D help nonsense", 1),
            ("dhow help container ls", 0),
            ("dhow help run image", 0),
            ("dhow help exec web rm", 0),
            ("dhow help container run image", 0),
            ("dhow help nonsense", 1),
            ("dhow -v", 0),
            ("dhow --version", 0),
            ("dhow nonsense", 1),
            ("dhow network nonsense", 1),
            ("dhow stop", 1),
            ("dhow run", 1),
            ("dhow tag a", 1),
            ("dhow ps x", 1),
            ("dhow tag a b c", 1),
            ("dhow --nonsense", 125),
            ("dhow ps --nonsense", 125),
            ("dhow rm -y a", 125),
            ("dhow ps --all=maybe", 125),
            ("dhow ps -n x", 125),
            ("dhow stop -t x a", 125),
            ("dhow ps --format", 125),
        ] {
            let err = parse(line).err().unwrap_or_else(|| panic!("{line} can be used"));
            assert_eq!(exit_code(&err), code, "{line}: {:?}", err.kind());
        }
    }

    #[test]
    fn help_shows_no_values_where_none_are_needed() {
        let help = parse("dhow ps --help").unwrap_err().to_string();
        assert!(help.contains("-a, --all  ") && !help.contains("BOOL"), "{help}");
        assert!(matches!(
            parse("dhow container ls -a").unwrap().command,
            Parsed::ContainerGroup(ContainerGroup::Ls(_))
        ));
    }
}
