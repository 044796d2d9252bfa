//! Command lines in the way of runc's: `-name` and `--name` alike, values after `=` or as the next
//! word.

use std::ffi::OsString;

/// An option of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opt {
    /// All its names, the first of which is its key.
    pub(crate) names: &'static [&'static str],
    /// Whether it takes a value.
    pub(crate) value: bool,
    /// For the help.
    pub(crate) help: &'static str,
}

/// An option without a value.
pub(crate) const fn flag(names: &'static [&'static str], help: &'static str) -> Opt {
    Opt { names, value: false, help }
}

/// An option with a value.
pub(crate) const fn value(names: &'static [&'static str], help: &'static str) -> Opt {
    Opt { names, value: true, help }
}

/// Where options may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Only before the first word that is none: what follows may be another program's.
    OptionsFirst,
    /// Anywhere before `--`.
    Mixed,
}

/// A command line, taken apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parsed {
    options: Vec<(&'static str, String)>,
    /// What is no option.
    pub(crate) words: Vec<String>,
}

impl Parsed {
    /// Takes `args` apart.
    pub(crate) fn new(args: &[String], known: &[Opt], order: Order) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                parsed.words.extend(args.cloned());
                break;
            }
            if !arg.starts_with('-') || arg == "-" {
                parsed.words.push(arg.clone());
                if order == Order::OptionsFirst {
                    parsed.words.extend(args.cloned());
                    break;
                }
                continue;
            }
            let bare = arg.trim_start_matches('-');
            let (name, inline) = match bare.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (bare, None),
            };
            let Some(option) = known.iter().find(|option| option.names.contains(&name)) else {
                return Err(format!("flag provided but not defined: -{name}"));
            };
            let value = match (option.value, inline) {
                (true, Some(value)) => value,
                (true, None) => args
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("flag needs an argument: -{name}"))?,
                (false, None) => "true".to_owned(),
                (false, Some(value)) if value == "true" || value == "false" => value,
                (false, Some(value)) => {
                    return Err(format!("invalid boolean value {value:?} for -{name}"));
                }
            };
            parsed.options.push((option.names[0], value));
        }
        Ok(parsed)
    }

    /// The value of an option; the last one given counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// All values of an option that can be repeated.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.options.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag is set.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// A number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.get(name)
            .map(|text| text.parse().map_err(|_| format!("invalid value {text:?} for -{name}")))
            .transpose()
    }

    /// The only word: the container's id.
    pub(crate) fn id(&self) -> Result<&str, String> {
        match self.words.as_slice() {
            [id] => Ok(id),
            [] => Err("a container id is needed".to_owned()),
            [_, more, ..] => Err(format!("too many arguments: {more}")),
        }
    }
}

/// Arguments as text: a runtime's are ids, paths in JSON and numbers.
pub(crate) fn texts(args: impl Iterator<Item = OsString>) -> Result<Vec<String>, String> {
    args.map(|arg| arg.into_string().map_err(|arg| format!("argument {arg:?} is not valid UTF-8")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Opt] =
        &[value(&["bundle", "b"], ""), flag(&["force", "f"], ""), value(&["env", "e"], "")];

    fn parse(line: &str, order: Order) -> Result<Parsed, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Parsed::new(&args, KNOWN, order)
    }

    #[test]
    fn options_are_found_by_every_spelling() {
        let parsed = parse("-b x --env=A=1 -e B --force c", Order::Mixed).unwrap();
        assert_eq!(parsed.get("bundle"), Some("x"));
        assert_eq!(parsed.all("env").collect::<Vec<_>>(), ["A=1", "B"]);
        assert!(parsed.is_set("force"));
        assert_eq!(parsed.id(), Ok("c"));
        assert!(!parse("--force=false", Order::Mixed).unwrap().is_set("force"));
    }

    #[test]
    fn a_programs_own_options_are_left_alone() {
        let parsed = parse("-e A c ls -f --unknown", Order::OptionsFirst).unwrap();
        assert_eq!(parsed.words, ["c", "ls", "-f", "--unknown"]);
        assert!(parse("c -f", Order::Mixed).unwrap().is_set("force"));
        assert_eq!(parse("-f -- -f", Order::Mixed).unwrap().words, ["-f"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, why) in [
            ("--nope", "flag provided but not defined: -nope"),
            ("--bundle", "flag needs an argument: -bundle"),
            ("--force=x", "invalid boolean value \"x\" for -force"),
        ] {
            assert_eq!(parse(line, Order::Mixed).unwrap_err(), why);
        }
    }
}
