//! Plugins of Docker's client: programs that are commands. `docker-NAME` in one of a few directories is the
//! command NAME, if it says so when it is asked (`cli-plugins/` of Docker's client). Here `dhow-NAME` is one as
//! well, and comes first. A command of ours is never a plugin's.

mod hooks;
mod nest;
mod run;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Global, Host, args, config};

pub(crate) use hooks::ended;

/// Where plugins are for everybody, as in Docker.
const OF_THE_SYSTEM: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];
/// What the names of the programs begin with, the one that counts more first.
const PREFIXES: [&str; 2] = ["dhow-", "docker-"];
/// What a plugin is asked what it is with.
const METADATA: &str = "docker-cli-plugin-metadata";

/// A program that may be a plugin.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// The command that it is.
    name: String,
    path: PathBuf,
    /// What it says of itself, or why it cannot be used.
    metadata: Result<Metadata, String>,
    /// Programs for the same command, which are passed over.
    shadowed: Vec<PathBuf>,
}

/// What a plugin says of itself.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Metadata {
    #[serde(skip_serializing_if = "String::is_empty")]
    schema_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    vendor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    short_description: String,
    #[serde(rename = "URL", skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
}

impl Plugin {
    /// What is at the first of these paths, and is to be the command `name`.
    fn of(name: &str, mut paths: Vec<PathBuf>) -> Option<Self> {
        if paths.is_empty() {
            return None;
        }
        let path = paths.remove(0);
        let metadata = if !is_name(name) {
            Err(format!("plugin candidate {name:?} did not match \"^[a-z][a-z0-9]*$\""))
        } else if args::is_built_in(name) {
            Err(format!("plugin {name:?} duplicates builtin command"))
        } else {
            ask(&path)
        };
        Some(Self { name: name.to_owned(), path, metadata, shadowed: paths })
    }

    /// As `info` has it in JSON.
    fn value(&self) -> Value {
        let mut value = match &self.metadata {
            Ok(metadata) => json!(metadata),
            Err(why) => json!({"Err": why}),
        };
        value["Name"] = self.name.as_str().into();
        value["Path"] = self.path.to_string_lossy().into();
        if !self.shadowed.is_empty() {
            value["ShadowedPaths"] =
                self.shadowed.iter().map(|path| Value::from(path.to_string_lossy())).collect();
        }
        value
    }
}

/// Whether a command may be called so.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Has a program say what it is.
fn ask(path: &Path) -> Result<Metadata, String> {
    let mut command = Command::new(path);
    command.arg(METADATA).stdin(Stdio::null()).stderr(Stdio::null());
    let failed = |why: String| format!("failed to fetch metadata: {why}");
    let output = command.output().map_err(|err| failed(err.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    read(&output.stdout)
}

/// What a program has said, if it makes it a plugin.
fn read(text: &[u8]) -> Result<Metadata, String> {
    let read = serde_json::from_slice(text).and_then(|mut all: Value| {
        config::without_nulls(&mut all);
        serde_json::from_value(all)
    });
    let metadata: Metadata = read.map_err(|err| format!("invalid metadata: {err}"))?;
    check_schema(&metadata.schema_version)?;
    if metadata.vendor.is_empty() {
        return Err("plugin metadata does not define a vendor".to_owned());
    }
    Ok(metadata)
}

fn check_schema(version: &str) -> Result<(), String> {
    let what = format!("plugin SchemaVersion {version:?}");
    let major = version.split_once('.').and_then(|(major, _)| major.parse::<u32>().ok());
    match major {
        _ if version.is_empty() => Err("plugin SchemaVersion version cannot be empty".to_owned()),
        Some(0 | 1) => Ok(()),
        Some(_) => Err(format!("{what} is not supported: must be lower than 2.0.0")),
        None => Err(format!("{what} has wrong format: must be <major>.<minor>.<patch>")),
    }
}

/// Where plugins are looked for, the directory that counts most first.
fn directories() -> Vec<PathBuf> {
    let mut all = config::get().cli_plugins_extra_dirs.clone();
    all.push(config::directory().join("cli-plugins"));
    all.extend(OF_THE_SYSTEM.iter().map(PathBuf::from));
    all
}

/// The programs that would be the command `name`, the one that is it first.
fn programs(name: &str, directories: &[PathBuf]) -> Vec<PathBuf> {
    if !is_name(name) {
        return Vec::new();
    }
    let places = directories.iter().flat_map(|directory| {
        PREFIXES.iter().map(move |prefix| directory.join(format!("{prefix}{name}")))
    });
    places.filter(|path| path.is_file()).collect()
}

/// The plugin that is to be the command `name`.
fn find(name: &str, directories: &[PathBuf]) -> Option<Plugin> {
    Plugin::of(name, programs(name, directories))
}

/// All that are there, by name. A directory that cannot be read has none.
fn all(directories: &[PathBuf]) -> Vec<Plugin> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for directory in directories {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        // Of a directory, what begins with the first prefix is before the other, whatever order it has.
        names.sort_by_key(|name| !name.starts_with(PREFIXES[0]));
        for file in names {
            let name = PREFIXES.iter().find_map(|prefix| file.strip_prefix(prefix));
            let path = directory.join(&file);
            if let Some(name) = name.filter(|_| path.is_file()) {
                found.entry(name.to_owned()).or_default().push(path);
            }
        }
    }
    found.into_iter().filter_map(|(name, paths)| Plugin::of(&name, paths)).collect()
}

/// All plugins as `info` has them in JSON.
pub(crate) fn values() -> Vec<Value> {
    all(&directories()).iter().map(Plugin::value).collect()
}

/// All plugins as `info` has them in words; empty where there are none.
pub(crate) fn told() -> String {
    let mut text = String::new();
    for plugin in all(&directories()) {
        match &plugin.metadata {
            Ok(Metadata { short_description, vendor, version, .. }) => text.push_str(&format!(
                " {}: {short_description} ({vendor})\n  Version: {version}\n  Path: {}\n",
                plugin.name,
                plugin.path.display()
            )),
            Err(why) => text.push_str(&format!(" {}: {why}\n", plugin.path.display())),
        }
    }
    if text.is_empty() { text } else { format!("Plugins of the command line:\n{text}") }
}

/// All plugins as the help lists them; empty where there are none.
pub(crate) fn listed() -> String {
    list(&all(&directories()))
}

fn list(plugins: &[Plugin]) -> String {
    let mut usable = Vec::new();
    let mut unusable = Vec::new();
    for plugin in plugins {
        match &plugin.metadata {
            Ok(metadata) if metadata.hidden => {}
            Ok(metadata) => usable.push((&plugin.name, metadata.short_description.as_str())),
            Err(why) => unusable.push((&plugin.name, why.as_str())),
        }
    }
    let width = plugins.iter().map(|plugin| plugin.name.len() + 1).max().unwrap_or(0);
    let mut text = String::new();
    for (header, mark, plugins) in [("Plugins", "*", usable), ("Invalid Plugins", "", unusable)] {
        if plugins.is_empty() {
            continue;
        }
        text.push_str(&format!("\n{header}:\n"));
        for (name, about) in plugins {
            let name = format!("{name}{mark}");
            text.push_str(&format!("  {name:<width$}  {about}\n"));
        }
    }
    text
}

/// The command that a command line asks for, or asks to be told of.
fn asked(words: &[OsString]) -> Option<&str> {
    match words {
        [help, name, ..] if help == "help" => name.to_str(),
        [name, ..] => name.to_str(),
        [] => None,
    }
}

/// The flags before the command and the words of a command line that a plugin of this name may be for.
fn split(arguments: &[OsString]) -> Option<(Global, Vec<OsString>)> {
    let (global, words) = args::front(arguments)?;
    if asked(&words).is_none_or(args::is_built_in) {
        return None;
    }
    if let Some(directory) = &global.config {
        config::set_directory(directory);
    }
    Some((global, words))
}

/// What goes before the command, where that is a plugin's, and the plugin would find the engine in this
/// process.
pub(crate) fn own_engine(arguments: &[OsString]) -> Option<Global> {
    let (global, words) = split(arguments)?;
    let is_there = || asked(&words).is_some_and(|name| !programs(name, &directories()).is_empty());
    let is_only_told_of = words.first().is_some_and(|word| word == "help");
    (!is_only_told_of && crate::is_own_engine(&global) && is_there()).then_some(global)
}

/// Runs the plugin that a command line is for whose command is none of ours: the exit code. `None`: there is
/// no such plugin; of one that cannot be used the reason is told.
pub(crate) async fn instead(arguments: &[OsString], host: &impl Host) -> Option<i32> {
    let (global, words) = split(arguments)?;
    let plugin = asked(&words).and_then(|name| find(name, &directories()))?;
    if let Err(why) = &plugin.metadata {
        eprintln!("dhow: {}: {why}", plugin.path.display());
        return None;
    }
    let own = arguments.first().map_or(OsStr::new("dhow"), OsString::as_os_str);
    match run::run(own, &plugin.path, &global, &words, host).await {
        Ok(code) => {
            hooks::ended_plugin(arguments, &words, code);
            Some(code)
        }
        Err(err) => {
            eprintln!("dhow: {err}");
            Some(err.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"SchemaVersion": "0.1.0", "Vendor": "v", "Version": "1",
        "ShortDescription": "Say hello", "URL": null}"#;

    /// Written by another process: what a process of ours has open for writing, for however short, cannot be run.
    fn program(path: &Path, says: &str) {
        let script =
            format!("#!/bin/sh\n[ \"$1\" = {METADATA} ] || exit 3\ncat <<'EOF'\n{says}\nEOF\n");
        let mut write = Command::new("sh");
        write.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(path).arg(script);
        assert!(write.status().unwrap().success());
    }

    #[test]
    fn what_a_program_has_to_say() {
        let good = read(GOOD.as_bytes()).unwrap();
        assert_eq!((good.vendor.as_str(), good.short_description.as_str()), ("v", "Say hello"));
        for (text, want) in [
            ("", "invalid metadata"),
            ("7", "invalid metadata"),
            ("{}", "cannot be empty"),
            (r#"{"SchemaVersion": "1"}"#, "wrong format"),
            (r#"{"SchemaVersion": "2.0.0", "Vendor": "v"}"#, "lower than 2.0.0"),
            (r#"{"SchemaVersion": "0.1.0"}"#, "does not define a vendor"),
        ] {
            let why = read(text.as_bytes()).unwrap_err();
            assert!(why.contains(want), "{text}: {why}");
        }
        assert!(read(br#"{"SchemaVersion": "1.2.0", "Vendor": "v"}"#).is_ok());
    }

    #[test]
    fn programs_are_found_by_their_names() {
        let base = std::env::temp_dir().join(format!("dhow-plugins-{}", std::process::id()));
        let directories = [base.join("a"), base.join("b"), base.join("none")];
        for directory in &directories[..2] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let [a, b, _] = &directories;
        program(&b.join("docker-hello"), GOOD);
        program(&a.join("docker-hello"), GOOD);
        program(&a.join("dhow-hello"), GOOD);
        program(
            &b.join("docker-only"),
            r#"{"SchemaVersion": "0.1.0", "Vendor": "v", "Hidden": true}"#,
        );
        program(&a.join("docker-ps"), GOOD);
        program(&a.join("docker-no-name"), GOOD);
        program(&a.join("other"), GOOD);
        std::fs::write(b.join("docker-plain"), "no program").unwrap();
        std::fs::create_dir_all(b.join("docker-directory")).unwrap();
        std::os::unix::fs::symlink("nowhere", b.join("docker-broken")).unwrap();

        let hello = find("hello", &directories).unwrap();
        assert_eq!(hello.path, a.join("dhow-hello"));
        assert_eq!(hello.shadowed, [a.join("docker-hello"), b.join("docker-hello")]);
        assert_eq!(hello.value()["ShortDescription"], "Say hello");
        assert!(find("only", &directories).unwrap().metadata.is_ok());
        for name in ["directory", "broken", "nothing", "no-name", "../a", ""] {
            assert!(find(name, &directories).is_none(), "{name}");
        }
        let found = all(&directories);
        let shown: Vec<(&str, bool)> =
            found.iter().map(|one| (one.name.as_str(), one.metadata.is_ok())).collect();
        assert_eq!(
            shown,
            [("hello", true), ("no-name", false), ("only", true), ("plain", false), ("ps", false)]
        );
        let text = list(&found);
        assert!(
            text.starts_with("\nPlugins:\n  hello*    Say hello\n\nInvalid Plugins:\n"),
            "{text}"
        );
        assert!(text.contains("  ps        plugin \"ps\" duplicates builtin command\n"), "{text}");
        assert!(!text.contains("only") && list(&[]).is_empty(), "{text}");
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn a_command_of_ours_is_no_plugins() {
        let of = |line: &str| {
            split(&line.split(' ').map(OsString::from).collect::<Vec<_>>()).map(|(_, words)| words)
        };
        assert!(
            of("dhow ps").is_none() && of("dhow help ps").is_none() && of("dhow help").is_none()
        );
        assert_eq!(of("dhow compose up").unwrap(), ["compose", "up"]);
        assert_eq!(of("dhow -D help compose").unwrap(), ["help", "compose"]);
    }
}
