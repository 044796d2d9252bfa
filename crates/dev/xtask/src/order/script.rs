//! The linker script.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::symbols::Function;

/// Which processes need a function.
pub(super) type Users = BTreeSet<User>;

/// A process, by what it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum User {
    /// The program that a person calls, by the name of the command.
    Command(String),
    /// A container's supervisor.
    Supervisor,
    /// The OCI runtime, and what it becomes.
    Runtime,
}

/// What all matches of a pattern may have more, in bytes, than the functions that are meant.
const SPARE: u64 = 4096;

/// The two that wait for each function that is somewhere else.
const FAST: [&str; 2] = ["run", "exec"];

/// Neighbours in the file, in this order: what a process needs lies in one piece, or in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    OtherCommands,
    Run,
    RunAndExec,
    Exec,
    CommandsAndContainers,
    SupervisorAndRuntime,
    Supervisor,
    Runtime,
}

impl Group {
    fn of(users: &Users) -> Self {
        let is_command = users.iter().any(|user| matches!(user, User::Command(_)));
        let has = |user| users.contains(&user);
        let [run, exec] = FAST.map(|name| has(User::Command(name.to_owned())));
        match (has(User::Supervisor), has(User::Runtime)) {
            (false, false) => match (run, exec) {
                (false, false) => Self::OtherCommands,
                (true, false) => Self::Run,
                (true, true) => Self::RunAndExec,
                (false, true) => Self::Exec,
            },
            _ if is_command => Self::CommandsAndContainers,
            (true, true) => Self::SupervisorAndRuntime,
            (true, false) => Self::Supervisor,
            (false, true) => Self::Runtime,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::OtherCommands => "other commands",
            Self::Run => "run",
            Self::RunAndExec => "run and exec",
            Self::Exec => "exec",
            Self::CommandsAndContainers => "commands, and the processes of a container",
            Self::SupervisorAndRuntime => "supervisor and runtime",
            Self::Supervisor => "supervisor",
            Self::Runtime => "runtime",
        }
    }
}

/// The script for the functions that were `hit`, by their place in `functions`.
pub(super) fn write(functions: &[Function], hit: &BTreeMap<usize, Users>) -> String {
    let mut text = String::from(
        "/* Written by `cargo xtask order`: what the commands that people give most often execute, next to\n   \
         each other. Names that are not there do no harm. */\nSECTIONS {\n  .text.used : {\n",
    );
    for (group, patterns) in groups(functions, hit) {
        let _infallible = writeln!(text, "    /* {} */\n    *(", group.title());
        for pattern in patterns {
            let _infallible = writeln!(text, "      {pattern}");
        }
        text.push_str("    )\n");
    }
    text.push_str("  }\n} INSERT BEFORE .text;\n");
    text
}

fn groups(
    functions: &[Function],
    hit: &BTreeMap<usize, Users>,
) -> BTreeMap<Group, BTreeSet<String>> {
    // How much there is of a name without what changes from build to build, and how much of it is needed.
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for function in functions {
        *sizes.entry(loose(&function.name)).or_default() += function.size;
    }
    let mut needed: BTreeMap<String, (u64, BTreeSet<Group>)> = BTreeMap::new();
    let named = || hit.iter().filter_map(|(nth, users)| Some((functions.get(*nth)?, users)));
    for (function, users) in named() {
        let (size, groups) = needed.entry(loose(&function.name)).or_default();
        *size += function.size;
        groups.insert(Group::of(users));
    }
    let mut patterns: BTreeMap<Group, BTreeSet<String>> = BTreeMap::new();
    for (function, users) in named() {
        let name = loose(&function.name);
        let (size, groups) = &needed[&name];
        let is_clear = groups.len() == 1 && sizes[&name].saturating_sub(*size) <= SPARE;
        let pattern = pattern(if is_clear { &name } else { &function.name });
        patterns.entry(Group::of(users)).or_default().insert(pattern);
    }
    patterns
}

/// A name for all builds: without the hash, which says of what crate and for what types a function is.
fn loose(name: &str) -> String {
    let hash = |at: usize| {
        let digits = name.get(at + 3..at + 19)?;
        let is_hash = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hash && name[at + 19..].starts_with('E')).then_some(at + 3)
    };
    let end = name.match_indices("17h").find_map(|(at, _)| hash(at));
    end.map_or_else(|| name.to_owned(), |end| format!("{}*", &name[..end]))
}

/// The sections of a name. The compiler puts `.text.unlikely` before what is rarely executed, and after a
/// name what tells it from its namesakes in other units; the standard library's crates have a number of
/// each compiler's.
fn pattern(name: &str) -> String {
    let name = name.split(".llvm.").next().unwrap_or(name);
    if !name.starts_with("_ZN") && !name.starts_with("_R") {
        return format!(".text.{name}");
    }
    let mut parts = name.split("Cs");
    let mut text = format!(".text*{}", parts.next().unwrap_or_default());
    for part in parts {
        let number = part.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let is_number = name.starts_with("_R") && part[number..].starts_with('_');
        text.push_str(if is_number { "Cs*" } else { "Cs" });
        text.push_str(if is_number { &part[number..] } else { part });
    }
    if text.ends_with('*') { text } else { text + "*" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, size: u64) -> Function {
        Function { address: 0, size, name: name.to_owned() }
    }

    fn command(name: &str) -> User {
        User::Command(name.to_owned())
    }

    #[test]
    fn what_changes_from_build_to_build_is_left_out() {
        let name = "_ZN3cli3run17h0123456789abcdefE.llvm.123";
        assert_eq!(loose(name), "_ZN3cli3run17h*");
        assert_eq!(pattern(&loose(name)), ".text*_ZN3cli3run17h*");
        assert_eq!(pattern(name), ".text*_ZN3cli3run17h0123456789abcdefE*");
        assert_eq!(loose("sqlite3Step"), "sqlite3Step");
        assert_eq!(pattern("sqlite3Step"), ".text.sqlite3Step");
        assert_eq!(loose("_ZN3a17hello3runE"), "_ZN3a17hello3runE");
        assert_eq!(
            pattern("_RNvMs_NtCsjrHSEGnQ3l9_3std4pathNtB4_4Path4_new"),
            ".text*_RNvMs_NtCs*_3std4pathNtB4_4Path4_new*"
        );
    }

    #[test]
    fn they_are_grouped_by_who_needs_them() {
        let functions =
            ["a", "b", "c", "d", "e", "f", "g", "h", "unused"].map(|name| function(name, 1));
        let users = [
            vec![command("ps"), command("images")],
            vec![command("run"), command("ps")],
            vec![command("run"), command("exec")],
            vec![command("exec")],
            vec![command("run"), User::Runtime],
            vec![User::Supervisor, User::Runtime],
            vec![User::Supervisor],
            vec![User::Runtime],
        ];
        let hit = users.into_iter().map(|users| users.into_iter().collect()).enumerate().collect();
        let text = write(&functions, &hit);
        let names: String =
            text.lines().filter_map(|line| line.strip_prefix("      .text.")).collect();
        assert_eq!(names, "abcdefgh");
        assert!(text.ends_with("} INSERT BEFORE .text;\n"), "{text}");
    }

    /// `poll` is there for each task: its name without the hash would bring them all.
    #[test]
    fn namesakes_are_told_apart_where_they_are_much() {
        let name = |nth| format!("_ZN5tokio4poll17h000000000000000{nth}E");
        let all = |size| [function(&name(1), 10), function(&name(2), size)];
        let hit = BTreeMap::from([(0, Users::from([command("run")]))]);
        let patterns = |size| groups(&all(size), &hit).into_values().next().unwrap();
        assert_eq!(patterns(100).first().unwrap(), ".text*_ZN5tokio4poll17h*");
        assert_eq!(patterns(10_000).first().unwrap(), ".text*_ZN5tokio4poll17h0000000000000001E*");
        let hit =
            BTreeMap::from([(0, Users::from([command("run")])), (1, Users::from([User::Runtime]))]);
        assert_eq!(groups(&all(10), &hit).len(), 2);
    }
}
