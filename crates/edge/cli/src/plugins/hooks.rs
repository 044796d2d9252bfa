//! Hooks: plugins that are told of commands that have ended, and say what could be done next.
//!
//! Which of them are told of which commands stands in `config.json`, by the names of the plugins: `hooks` are commands
//! of which they are told in any case, `error-hooks` those of which they are where they failed. As in Docker's client,
//! that is only so on a terminal, and where it is switched on: by `DOCKER_CLI_HOOKS`, or by `hooks` in the features
//! of `config.json`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use super::run::ORIGINAL;
use super::{directories, find};
use crate::args::{self, Invoked};
use crate::config;
use crate::format::template::Template;

/// What a plugin is called with.
const SUBCOMMAND: &str = "docker-cli-plugin-hooks";
/// What switches hooks on or off; the first one that is set counts.
const SWITCHES: [&str; 2] = ["DOCKER_CLI_HOOKS", "DOCKER_CLI_HINTS"];
/// What the commands of a terminal begin with.
const ESCAPE: char = '\x1b';
/// The most lines that a plugin may say.
const MOST_LINES: usize = 10;

/// What a plugin says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    r#type: i64,
    template: String,
}

/// Tells plugins of a command line of ours that has ended, and prints what they say. `why`: the error, if there was
/// one that was told of.
pub(crate) fn ended(arguments: &[OsString], code: i32, why: &str) {
    if is_wanted()
        && let Some(mut invoked) = args::invoked(arguments)
    {
        invoked.command = forwarded(&invoked.command);
        tell(arguments, &invoked, code, why);
    }
}

/// The same of a plugin's command, of which nobody here knows what its words mean.
pub(super) fn ended_plugin(arguments: &[OsString], words: &[OsString], code: i32) {
    if !is_wanted() {
        return;
    }
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let flags: BTreeMap<String, String> = words.iter().filter_map(|word| flag(word)).collect();
    let name = words.first().cloned().unwrap_or_default();
    let invoked = Invoked { command: words.join(" "), name, flags, ..Invoked::default() };
    tell(arguments, &invoked, code, "");
}

/// The flag that a word is, if it is one. What stands behind `=` is nobody else's business, as all values.
fn flag(word: &str) -> Option<(String, String)> {
    let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let name = flag.split_once('=').map_or(flag, |(name, _)| name);
    Some((name.to_owned(), String::new()))
}

/// What Docker's client gives to Buildx is known by its name there.
fn forwarded(command: &str) -> String {
    match command {
        "build" | "image build" => "buildx build".to_owned(),
        "builder" => "buildx".to_owned(),
        other => match other.strip_prefix("builder ") {
            Some(rest) => format!("buildx {rest}"),
            None => other.to_owned(),
        },
    }
}

/// Whether anybody is to be told of anything.
fn is_wanted() -> bool {
    if !std::io::stdout().is_terminal() || !config::get().plugins.is_object() {
        return false;
    }
    let set = |name: &&str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let feature = || config::get().features.get("hooks")?.as_str().map(str::to_owned);
    let said = SWITCHES.iter().find_map(set).or_else(feature);
    said.is_some_and(|text| args::go_bool(&text) == Ok(true))
}

fn tell(arguments: &[OsString], invoked: &Invoked, code: i32, why: &str) {
    let error = match (why, code) {
        ("", 0) => String::new(),
        ("", code) => format!("exited with code {code}"),
        (why, _) => why.to_owned(),
    };
    let own = arguments.first().map_or(OsStr::new("dhow"), OsString::as_os_str);
    let said = collect(own, &config::get().plugins, invoked, &error);
    if !said.is_empty() {
        eprintln!("\n\x1b[1mWhat's next:\x1b[0m");
        for line in &said {
            eprintln!("    {line}");
        }
        if said.iter().any(|line| line.contains(ESCAPE)) {
            eprint!("{ESCAPE}[0m");
        }
    }
}

/// What all plugins say that are to be told. One that cannot be used, or answers something else, says nothing.
fn collect(own: &OsStr, set: &Value, invoked: &Invoked, error: &str) -> Vec<String> {
    let directories = directories();
    let mut said = Vec::new();
    for (name, hooks) in set.as_object().into_iter().flatten() {
        let Some(hook) = matching(hooks, &invoked.command, !error.is_empty()) else { continue };
        let plugin = find(name, &directories).filter(|plugin| plugin.metadata.is_ok());
        let Some(plugin) = plugin else { continue };
        let request = json!({"RootCmd": hook, "Flags": invoked.flags, "CommandError": error});
        let answer = ask(own, &plugin.path, name, &request);
        let answer = answer.and_then(|text| serde_json::from_slice::<Answer>(&text).ok());
        if let Some(answer) = answer.filter(|answer| answer.r#type == 0) {
            said.extend(lines(&answer.template, invoked).unwrap_or_default());
        }
    }
    said
}

/// Runs a plugin, and returns what it has written.
fn ask(own: &OsStr, plugin: &Path, name: &str, request: &Value) -> Option<Vec<u8>> {
    let mut command = Command::new(plugin);
    command.args([name, SUBCOMMAND]).arg(request.to_string()).env(ORIGINAL, own);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then_some(output.stdout)
}

/// The hook of a plugin by which it is told of a command: all of its words are the first ones of the command.
fn matching<'h>(hooks: &'h Value, command: &str, has_failed: bool) -> Option<&'h str> {
    let begins = |hook: &&str| {
        let mut words = command.split(' ');
        hook.split(' ').all(|word| words.next() == Some(word))
    };
    let of = |key: &str| hooks.get(key)?.as_str()?.split(',').find(begins);
    of("hooks").or_else(|| of("error-hooks").filter(|_| has_failed))
}

/// The lines of a hint; `None` where it is none, or says nothing.
fn lines(template: &str, invoked: &Invoked) -> Option<Vec<String>> {
    let text = if template.contains("{{") {
        let command = json!({"Name": invoked.name, "flags": invoked.values, "args": invoked.words});
        Template::parse_hint(template).and_then(|hint| hint.render(&command)).ok()?
    } else {
        template.to_owned()
    };
    let lines: Vec<String> = text.split('\n').map(harmless).collect();
    let says_something = lines.iter().any(|line| !line.trim().is_empty());
    (says_something && lines.len() <= MOST_LINES).then_some(lines)
}

/// A line without all that does more to a terminal than to write there, be it in colours.
fn harmless(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(next) = rest.chars().next() {
        let (taken, left) = rest.split_at(colours(rest).unwrap_or(next.len_utf8()));
        if taken.len() > next.len_utf8() || !next.is_control() || next == '\t' {
            out.push_str(taken);
        }
        rest = left;
    }
    out
}

/// The length of the command that a text begins with, if that is one for colours (`CSI ... m` of ECMA-48), in bytes.
fn colours(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix(ESCAPE)?.strip_prefix('[')?;
    let rest = numbers.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
    let rest = rest.strip_prefix('m')?;
    Some(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoked() -> Invoked {
        Invoked {
            command: "container run".to_owned(),
            name: "run".to_owned(),
            flags: [("name".to_owned(), String::new())].into(),
            values: [("name".to_owned(), "web".to_owned())].into(),
            words: vec!["image".to_owned()],
        }
    }

    #[test]
    fn hooks_are_the_first_words_of_commands() {
        let hooks = json!({"hooks": "image ls,run", "error-hooks": "build,ps", "other": "pull"});
        for (command, failed, want) in [
            ("image ls", false, Some("image ls")),
            ("image", false, None),
            ("run", true, Some("run")),
            ("runs", false, None),
            ("build -t x", true, Some("build")),
            ("build", false, None),
            ("pull", true, None),
        ] {
            assert_eq!(matching(&hooks, command, failed), want, "{command}");
        }
        assert_eq!(matching(&json!({"hooks": ""}), "run", true), None);
        assert_eq!(matching(&json!({"hooks": 7}), "run", true), None);
        for (command, want) in [
            ("build", "buildx build"),
            ("image build", "buildx build"),
            ("builder du", "buildx du"),
            ("builder", "buildx"),
            ("image ls", "image ls"),
        ] {
            assert_eq!(forwarded(command), want);
        }
    }

    #[test]
    fn values_of_flags_are_not_told() {
        for (word, want) in [
            ("--token=secret", Some("token")),
            ("-t=secret", Some("t")),
            ("--push", Some("push")),
            ("-it", Some("it")),
            ("up", None),
            ("a=b", None),
        ] {
            let want = want.map(|name| (name.to_owned(), String::new()));
            assert_eq!(flag(word), want, "{word}");
        }
    }

    #[test]
    fn a_hint_does_nothing_to_a_terminal() {
        for (line, want) in [
            ("a \x1b[1;36mb\x1b[m \x1b[0mc", "a \x1b[1;36mb\x1b[m \x1b[0mc"),
            ("a\t\x1b[2Jb", "a\t[2Jb"),
            ("\x1b]52;c;aGk=\x07", "]52;c;aGk="),
            ("\x1b]0;title\x1b\\", "]0;title\\"),
            ("\u{9b}2Ja\rb\x08\x7f", "2Jab"),
            ("\x1b", ""),
            ("\x1b[", "["),
            ("\x1b[1", "[1"),
            ("gr\u{fc}n \u{2192} \x1b[32mx", "gr\u{fc}n \u{2192} \x1b[32mx"),
        ] {
            assert_eq!(harmless(line), want, "{line:?}");
        }
        assert_eq!(lines("a\x1b[2J\nb", &invoked()).unwrap(), ["a[2J", "b"]);
    }

    #[test]
    fn a_hint_has_lines() {
        let lines = |text: &str| lines(text, &invoked());
        assert_eq!(lines("a\nb").unwrap(), ["a", "b"]);
        let asking = lines("{{command}} {{flagValue \"name\"}} {{argValue 0}}").unwrap();
        assert_eq!(asking, ["run web image"]);
        let long = "x\n".repeat(MOST_LINES);
        for nothing in ["", " \n ", "{{nothing}}", "{{flagValue \"x\"}}", long.as_str()] {
            assert_eq!(lines(nothing), None, "{nothing}");
        }
    }
}
