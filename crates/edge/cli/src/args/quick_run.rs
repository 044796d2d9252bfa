//! `run` with the flags that most are given, read without clap.
//!
//! To build the parser of all hundred flags takes 7 % of what a short `run` has to do. So where the
//! flags are some of those here, and nothing is wrong, this is enough; all else is left to clap. That
//! both read the same, a test sees for each flag in each way to give it.

use std::ffi::OsString;

use super::pflag::go_bool;
use crate::run_args::{PULL, RunArgs};

use Place::{Bool, List, Maybe, Text};

/// Where the value of a flag goes.
enum Place<'a> {
    /// True where nothing else comes with it, after `=`.
    Bool(&'a mut Option<bool>),
    /// The last one counts.
    Text(&'a mut String),
    /// The last one counts.
    Maybe(&'a mut Option<String>),
    /// All count.
    List(&'a mut Vec<String>),
}

/// A flag: its name, its letter, the place of its value.
type Flag = (&'static str, Option<char>, fn(&mut RunArgs) -> Place<'_>);

const FLAGS: &[Flag] = &[
    ("rm", None, |run| Bool(&mut run.container.rm)),
    ("detach", Some('d'), |run| Bool(&mut run.detach)),
    ("interactive", Some('i'), |run| Bool(&mut run.container.interactive)),
    ("tty", Some('t'), |run| Bool(&mut run.container.tty)),
    ("name", None, |run| Text(&mut run.container.name)),
    ("env", Some('e'), |run| List(&mut run.container.env)),
    ("volume", Some('v'), |run| List(&mut run.container.volume)),
    ("publish", Some('p'), |run| List(&mut run.container.publish)),
    ("network", None, |run| List(&mut run.container.network)),
    ("net", None, |run| List(&mut run.container.network)),
    ("workdir", Some('w'), |run| Text(&mut run.container.workdir)),
    ("user", Some('u'), |run| Text(&mut run.container.user)),
    ("entrypoint", None, |run| Maybe(&mut run.container.entrypoint)),
    ("hostname", Some('h'), |run| Text(&mut run.container.hostname)),
    ("init", None, |run| Bool(&mut run.container.init)),
    ("pull", None, |run| Text(&mut run.container.pull)),
    ("label", Some('l'), |run| List(&mut run.container.label)),
    ("mount", None, |run| List(&mut run.container.mount)),
    ("memory", Some('m'), |run| Maybe(&mut run.container.memory)),
    ("cpus", None, |run| Maybe(&mut run.container.cpus)),
    ("restart", None, |run| Text(&mut run.container.restart)),
    ("privileged", None, |run| Bool(&mut run.container.privileged)),
    ("read-only", None, |run| Bool(&mut run.container.read_only)),
];

/// What the words after `run` say, if this is able to tell.
pub(super) fn parse(words: &[OsString]) -> Option<RunArgs> {
    let mut run = RunArgs::default();
    PULL.clone_into(&mut run.container.pull);
    let mut rest = words;
    loop {
        let (word, after) = rest.split_first()?;
        let word = word.to_str()?;
        rest = if let Some(flag) = word.strip_prefix("--") {
            long(&mut run, flag, after)?
        } else if let Some(letters) = word.strip_prefix('-') {
            short(&mut run, letters, after)?
        } else {
            break;
        };
    }
    // From the image on, all is the container's own.
    let own = rest.iter().map(|word| word.to_str().map(str::to_owned));
    run.container.image_and_command = own.collect::<Option<Vec<_>>>()?;
    Some(run)
}

/// Takes a flag's name, with its value if it has one after `=`; what is left after it.
fn long<'a>(run: &mut RunArgs, flag: &str, after: &'a [OsString]) -> Option<&'a [OsString]> {
    let (name, given) = match flag.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (flag, None),
    };
    put(place(run, |flag| flag.0 == name)?, given, after)
}

/// Takes letters of flags. What follows one that has a value is the value.
fn short<'a>(run: &mut RunArgs, letters: &str, after: &'a [OsString]) -> Option<&'a [OsString]> {
    let mut letters = letters.chars();
    loop {
        let letter = letters.next()?;
        let place = place(run, |flag| flag.1 == Some(letter))?;
        let rest = letters.as_str();
        if rest.is_empty() || rest.starts_with('=') || !place.is_bool() {
            let given = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest));
            return put(place, given, after);
        }
        place.set("true")?;
    }
}

/// Puts what was given in its place, or else the next word, whatever that begins with.
fn put<'a>(place: Place<'_>, given: Option<&str>, after: &'a [OsString]) -> Option<&'a [OsString]> {
    let (value, after) = match given {
        Some(value) => (value, after),
        None if place.is_bool() => ("true", after),
        None => {
            let (next, after) = after.split_first()?;
            (next.to_str()?, after)
        }
    };
    place.set(value)?;
    Some(after)
}

fn place(run: &mut RunArgs, is_meant: impl Fn(&Flag) -> bool) -> Option<Place<'_>> {
    let (_, _, of) = FLAGS.iter().find(|flag| is_meant(flag))?;
    Some(of(run))
}

impl Place<'_> {
    fn is_bool(&self) -> bool {
        matches!(self, Bool(_))
    }

    /// `None`: it cannot have this value.
    fn set(self, value: &str) -> Option<()> {
        match self {
            Bool(place) => *place = Some(go_bool(value).ok()?),
            Text(place) => value.clone_into(place),
            Maybe(place) => *place = Some(value.to_owned()),
            List(place) => place.push(value.to_owned()),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use clap::{Command as Parser, FromArgMatches as _};

    use super::super::quick::parser;
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    /// What clap makes of it.
    fn by_clap(parser: &mut Parser, words: &[OsString]) -> Option<RunArgs> {
        let all = std::iter::once(OsString::from("run")).chain(words.iter().cloned());
        let matches = parser.try_get_matches_from_mut(all).ok()?;
        RunArgs::from_arg_matches(&matches).ok()
    }

    /// Whether it is told without clap; if so, as clap does.
    #[track_caller]
    fn is_told(parser: &mut Parser, line: &str) -> bool {
        let words = words(line);
        let Some(told) = parse(&words) else { return false };
        let by_clap = by_clap(parser, &words).unwrap_or_else(|| panic!("{line}: wrong for clap"));
        assert_eq!(format!("{told:?}"), format!("{by_clap:?}"), "{line}");
        true
    }

    #[test]
    fn each_flag_is_what_it_is_to_clap() {
        let mut parser = parser::<RunArgs>();
        for (name, letter, _) in FLAGS {
            assert!(is_told(&mut parser, &format!("--{name}=true image cmd")), "{name}");
            let mut lines = Vec::new();
            let letter = letter.map(|letter| format!("-{letter}"));
            let flags = letter.iter().cloned().chain([format!("--{name}")]);
            for flag in flags {
                for rest in [
                    "",
                    " image",
                    " image cmd",
                    " x image",
                    " -x image",
                    " --rm image",
                    " -- image",
                    "  image",
                    "= image",
                    "=x image",
                    "=false image",
                    "==A=1 image",
                    "=true",
                ] {
                    lines.push(format!("{flag}{rest}"));
                    lines.push(format!("{flag}=1 {flag}{rest}"));
                    lines.push(format!("-it {flag}{rest}"));
                }
            }
            if let Some(flag) = letter {
                for rest in ["x image", "A=b image", "t image", "t=0 image", "it x image", "-"] {
                    lines.push(format!("{flag}{rest}"));
                    lines.push(format!("-i{}{rest}", &flag[1..]));
                    lines.push(format!("{flag}{}{rest}", &flag[1..]));
                }
            }
            for line in lines {
                is_told(&mut parser, &line);
            }
        }
    }

    #[test]
    fn what_most_say_is_told() {
        let mut parser = parser::<RunArgs>();
        for line in [
            "image",
            "image true",
            "--rm image true",
            "-it image sh -c true",
            "-d -p 80:80 --name web image",
            "-dp 80:80 image",
            "-itd --rm=false image",
            "-ti=0 image",
            "-eA=b image",
            "-e=A=b image",
            "-e -A=b image",
            "-e --rm image",
            "-e -- image",
            "-e  image",
            "--env= image",
            "--entrypoint= image",
            "--name a --name=b image",
            "--rm --rm=F -i=T image",
            "--net host --network=none image",
            "-h host image -h x --help",
            "image -- cmd",
            "image --rm -it --nonsense",
            "--init -w /x -u 0:0 -v /a:/b:ro --volume=c:/d --pull always image",
            "help",
            "",
        ] {
            assert!(is_told(&mut parser, line), "{line}");
        }
    }

    #[test]
    fn all_else_is_left_to_clap() {
        for line in [
            "--rm",
            "--name",
            "-e",
            "--",
            "-- image",
            "- image",
            "-x image",
            "-i- image",
            "-itx image",
            "-P image",
            "---rm image",
            "--nonsense image",
            "--na a image",
            "--help",
            "--rm=maybe image",
            "--rm= image",
            "-i= image",
            "-it=x image",
            "--memory-swap -1 image",
            "--rm --memory-swap=-1 image",
        ] {
            assert!(parse(&words(line)).is_none(), "{line}");
        }
        let no_text = || OsString::from_vec(vec![0xff]);
        assert!(parse(&[no_text()]).is_none());
        assert!(parse(&["image".into(), no_text()]).is_none());
        assert!(parse(&["--name".into(), no_text(), "image".into()]).is_none());
        assert!(parse(&[]).is_none());
    }
}
