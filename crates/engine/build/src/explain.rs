//! Why a step was, or was not, found in the cache: what it is made of now, beside the nearest of what the same
//! instruction was made of before (`made`).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use docker::timestamp::Timestamp;
use edit::Change;
use serde::Serialize;
use serde_json::Value;

use crate::made::{Input, Made, Making};

/// What the name of a status begins with that says so; a client asks for it by [`OPTION`].
pub(crate) const STATUS: &str = "cache: ";
/// The option of the front end.
pub(crate) const OPTION: &str = "dhow.explain";
/// Files that are named; of more only the number is told.
const FILES: usize = 20;
/// Earlier ones of which the files are compared.
const LOOKED_AT: usize = 16;
/// Files that are named in a text.
const SHOWN: usize = 3;
/// As much of a value as is shown in a text, in characters.
const VALUE: usize = 60;

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Reason {
    /// It was found.
    Hit { made: String },
    /// The build was asked not to look for it.
    NoCache,
    /// It was made, and what it made is gone.
    Pruned { made: String },
    /// Nothing like it was ever made, as far as is known.
    New,
    /// Files that it takes.
    Files { of: String, files: Vec<Changed>, more: usize },
    /// Files that it takes, of which it is not known which.
    SomeFiles { of: String },
    /// The value of an argument of the build.
    Argument { name: String, now: Option<String>, was: Option<String> },
    /// The value of another variable.
    Variable { name: String, now: Option<String>, was: Option<String> },
    /// The image that it lies on.
    Base { now: String, was: String },
    /// A step that it works on came out different.
    Upstream { name: String, was: Option<String> },
    /// What it says.
    Instruction { was: String },
    /// One of its options.
    Option { name: String },
    /// Something that it has mounted.
    Mount { target: String },
    /// On what it runs.
    Platform { now: String, was: String },
    /// What is not kept of it.
    Other,
}

/// A file that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Changed {
    path: String,
    change: &'static str,
}

/// The reasons for one step, as they are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Reasons {
    pub(crate) reasons: Vec<Reason>,
}

impl Reasons {
    /// It was found: made at this time, nanoseconds since 1970.
    pub(crate) fn hit(made: i64) -> Self {
        Self { reasons: vec![Reason::Hit { made: time(made) }] }
    }

    /// It was not.
    pub(crate) fn miss(made: &Made, now: &Making, ignores_cache: bool) -> Self {
        let reasons = if ignores_cache { vec![Reason::NoCache] } else { why(made, now) };
        Self { reasons }
    }

    /// In one line.
    pub(crate) fn text(&self) -> String {
        self.reasons.iter().map(Reason::text).collect::<Vec<_>>().join("; ")
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn time(nanoseconds: i64) -> String {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    Timestamp { seconds, nanos: 0 }.to_string()
}

fn why(made: &Made, now: &Making) -> Vec<Reason> {
    let all = made.all();
    if let Some(same) = all.iter().rev().find(|one| one.key == now.key) {
        return vec![Reason::Pruned { made: time(same.time) }];
    }
    let Some(nearest) = nearest(made, &all, now) else { return vec![Reason::New] };
    let mut reasons = differences(made, now, nearest);
    if reasons.is_empty() {
        reasons.push(Reason::Other);
    }
    reasons
}

/// The same kind of step, of the same directory if there is one, with the same text or else in the same place; of
/// several the one that differs in the least, also in files, and of those the last.
fn nearest<'a>(made: &Made, all: &'a [Making], now: &Making) -> Option<&'a Making> {
    let kind = |making: &Making| {
        making.op.as_object().and_then(|op| op.keys().next().cloned()).unwrap_or_default()
    };
    let (label, text) = parts(&now.name);
    let candidates = all.iter().filter_map(|one| {
        let (its_label, its_text) = parts(&one.name);
        let (same_text, same_label) = (its_text == text, its_label == label);
        let is_ours = one.project == now.project;
        let is_near = same_text || same_label && is_ours && !label.is_empty();
        (is_near && kind(one) == kind(now) && one.platform == now.platform)
            .then(|| ((is_ours, same_text, same_label, Reverse(distance(now, one))), one))
    });
    let candidates: Vec<_> = candidates.collect();
    let best = candidates.iter().map(|(rank, _)| *rank).max()?;
    let equal = candidates.iter().rev().filter(|(rank, _)| *rank == best).map(|(_, one)| *one);
    let n_files = |one: &&Making| {
        let pairs = one.files.iter().zip(&now.files);
        let changes = pairs.filter_map(|(was, now)| {
            Some(edit::changes(&made.files(was)?, &made.files(now)?).len())
        });
        changes.sum::<usize>()
    };
    // Listings are long: only of a few they are looked at.
    equal.take(LOOKED_AT).min_by_key(n_files)
}

/// In how much two differ, without a look at files.
fn distance(now: &Making, was: &Making) -> usize {
    let inputs = now.inputs.iter().zip(&was.inputs);
    let files = now.files.iter().zip(&was.files);
    usize::from(now.op != was.op)
        + inputs.filter(|(now, was)| now.identity != was.identity).count()
        + now.inputs.len().abs_diff(was.inputs.len())
        + files.filter(|(now, was)| now.digest != was.digest).count()
        + now.files.len().abs_diff(was.files.len())
}

/// `[build 2/5] RUN make`: `build 2/5`, `RUN make`.
fn parts(name: &str) -> (&str, &str) {
    name.strip_prefix('[').and_then(|rest| rest.split_once("] ")).unwrap_or(("", name))
}

fn differences(made: &Made, now: &Making, was: &Making) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if now.platform != was.platform {
        reasons.push(Reason::Platform { now: now.platform.clone(), was: was.platform.clone() });
    }
    operation(&mut reasons, now, was);
    let by_content: Vec<usize> = now.files.iter().map(|files| files.input).collect();
    for (at, input) in now.inputs.iter().enumerate() {
        let before = was.inputs.get(at);
        // What is taken by content makes no difference otherwise, but for the root.
        if (at == 0 || !by_content.contains(&at))
            && before.is_none_or(|before| before.identity != input.identity)
        {
            reasons.push(lies_on(input, before));
        }
    }
    for (at, files) in now.files.iter().enumerate() {
        let Some(before) = was.files.get(at).filter(|before| before.digest != files.digest) else {
            continue;
        };
        let of = now.inputs.get(files.input).map(|input| input.name.clone()).unwrap_or_default();
        let listed = made.files(before).zip(made.files(files));
        let changes = listed.map(|(before, after)| edit::changes(&before, &after));
        reasons.push(match changes.filter(|changes| !changes.is_empty()) {
            None => Reason::SomeFiles { of },
            Some(changes) => changed(of, &changes),
        });
    }
    reasons
}

fn lies_on(now: &Input, was: Option<&Input>) -> Reason {
    match was {
        Some(was) if now.is_image || was.is_image => {
            Reason::Base { now: now.name.clone(), was: was.name.clone() }
        }
        _ => Reason::Upstream {
            name: now.name.clone(),
            was: was.map(|was| was.name.clone()).filter(|was| *was != now.name),
        },
    }
}

fn changed(of: String, changes: &BTreeMap<String, Change>) -> Reason {
    // A directory that is new, or gone, says all of what is in it.
    let says_more = |path: &str, change: Change| {
        path.char_indices().filter(|(_, c)| *c == '/').any(|(at, _)| {
            matches!(change, Change::Added | Change::Removed)
                && changes.get(&path[..at]) == Some(&change)
        })
    };
    let tops: Vec<_> = changes.iter().filter(|(path, change)| !says_more(path, **change)).collect();
    let file = |(path, change): &(&String, &Change)| Changed {
        path: path.trim_start_matches('/').to_owned(),
        change: match change {
            Change::Content => "content",
            Change::Mode => "mode",
            Change::Owner => "owner",
            Change::Added => "added",
            Change::Removed => "removed",
        },
    };
    let files = tops.iter().take(FILES).map(file).collect();
    Reason::Files { of, files, more: tops.len().saturating_sub(FILES) }
}

/// Parts of what a program is run with that are no options of a step.
const NO_OPTIONS: [&str; 3] = ["args", "env", "mounts"];

fn operation(reasons: &mut Vec<Reason>, now: &Making, was: &Making) {
    if now.op == was.op {
        return;
    }
    let both = now.op.get("Exec").zip(was.op.get("Exec"));
    let Some((exec, before)) = both else {
        reasons.push(Reason::Instruction { was: parts(&was.name).1.to_owned() });
        return;
    };
    if exec["args"] != before["args"] {
        let words = before["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let words: Vec<&str> = words.collect();
        let was = match words[..] {
            ["/bin/sh", "-c", ref command @ ..] => command.join(" "),
            _ => words.join(" "),
        };
        reasons.push(Reason::Instruction { was });
    }
    variables(reasons, now, was, &exec["env"], &before["env"]);
    mounts(reasons, &exec["mounts"], &before["mounts"]);
    for (name, value) in exec.as_object().into_iter().flatten() {
        if !NO_OPTIONS.contains(&name.as_str()) && before[name] != *value {
            reasons.push(Reason::Option { name: name.replace('_', "-") });
        }
    }
}

fn variables(
    reasons: &mut Vec<Reason>,
    making: &Making,
    earlier: &Making,
    now: &Value,
    was: &Value,
) {
    fn all(list: &Value) -> BTreeMap<&str, &str> {
        let lines = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.map(|line| line.split_once('=').unwrap_or((line, ""))).collect()
    }
    let (now, was) = (all(now), all(was));
    let names: std::collections::BTreeSet<&str> = now.keys().chain(was.keys()).copied().collect();
    for name in names {
        let (now, was) = (now.get(name), was.get(name));
        if now == was {
            continue;
        }
        let is_argument = is_argument(&making.created_by, name, now)
            || is_argument(&earlier.created_by, name, was);
        let own = |value: Option<&&str>| value.map(|value| (*value).to_owned());
        let (name, now, was) = (name.to_owned(), own(now), own(was));
        reasons.push(if is_argument {
            Reason::Argument { name, now, was }
        } else {
            Reason::Variable { name, now, was }
        });
    }
}

/// Whether a variable is among those that the history names before a command: `RUN |1 A=b /bin/sh -c make`.
fn is_argument(created_by: &str, name: &str, value: Option<&&str>) -> bool {
    let (Some(rest), Some(value)) = (created_by.strip_prefix("RUN |"), value) else { return false };
    rest.contains(&format!(" {name}={value} "))
}

fn mounts(reasons: &mut Vec<Reason>, now: &Value, was: &Value) {
    fn all(list: &Value) -> BTreeMap<&str, &Value> {
        let all = list.as_array().into_iter().flatten();
        all.filter_map(|mount| Some((mount["target"].as_str()?, mount))).collect()
    }
    let (now, was) = (all(now), all(was));
    let targets: std::collections::BTreeSet<&str> = now.keys().chain(was.keys()).copied().collect();
    for target in targets.into_iter().filter(|target| now.get(target) != was.get(target)) {
        reasons.push(Reason::Mount { target: target.to_owned() });
    }
}

fn cut(text: &str) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(VALUE) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

impl Reason {
    fn text(&self) -> String {
        let value = |what: &str, name: &str, now: &Option<String>, was: &Option<String>| {
            let shown = |value: &str| format!("{:?}", cut(value));
            match (now, was) {
                (Some(now), Some(was)) => {
                    format!("the {what} {name} is {}, was {}", shown(now), shown(was))
                }
                (Some(now), None) => format!("the {what} {name} is new: {}", shown(now)),
                (None, was) => {
                    let was = was.as_deref().unwrap_or_default();
                    format!("the {what} {name} is gone, was {}", shown(was))
                }
            }
        };
        match self {
            Self::Hit { made } => format!("made before, at {made}"),
            Self::NoCache => "the build was asked not to use the cache".into(),
            Self::Pruned { made } => {
                format!("it was made before, at {made}, and has been removed from the cache since")
            }
            Self::New => "it was never made here".into(),
            Self::Files { of, files, more } => files_text(of, files, *more),
            Self::SomeFiles { of } => format!("files of {of} that it takes changed"),
            Self::Argument { name, now, was } => value("argument", name, now, was),
            Self::Variable { name, now, was } => value("variable", name, now, was),
            Self::Base { now, was } if now == was => {
                format!("its base {now} came out different")
            }
            Self::Base { now, was } => format!("its base is {now}, was {was}"),
            Self::Upstream { name, was: None } => {
                format!("it builds on {name}, which came out different")
            }
            Self::Upstream { name, was: Some(was) } => {
                format!("it builds on {name} now, before on {was}")
            }
            Self::Instruction { was } => format!("it says something else, was: {}", cut(was)),
            Self::Option { name } => format!("its {name} changed"),
            Self::Mount { target } => format!("its mount at {target} changed"),
            Self::Platform { now, was } => format!("it is for {now}, was for {was}"),
            Self::Other => "something changed that is not kept of it".into(),
        }
    }
}

fn files_text(of: &str, files: &[Changed], more: usize) -> String {
    let one = |file: &Changed| {
        let path = &file.path;
        match file.change {
            "added" => format!("{path} is new"),
            "removed" => format!("{path} is gone"),
            "mode" => format!("the mode of {path} changed"),
            "owner" => format!("the owner of {path} changed"),
            _ => format!("{path} changed"),
        }
    };
    let mut shown: Vec<String> = files.iter().take(SHOWN).map(one).collect();
    match files.len().saturating_sub(SHOWN) + more {
        0 => {}
        n => shown.push(format!("and {n} more")),
    }
    let list = shown.join(", ");
    // The context goes without saying.
    if of.contains("load build context") { list } else { format!("of {of}: {list}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn making(name: &str, base: &str, env: &[&str]) -> Making {
        let args = ["/bin/sh", "-c", name];
        let env: Vec<&str> = env.to_vec();
        Making {
            key: format!("{name} {base} {env:?}"),
            name: format!("[2/3] RUN {name}"),
            created_by: "RUN |1 A=1 /bin/sh -c x # buildkit".into(),
            op: serde_json::json!({ "Exec": { "args": args, "env": env, "mounts": [], "user": "" } }),
            inputs: vec![Input { name: "b:1".into(), is_image: true, identity: base.into() }],
            ..Making::default()
        }
    }

    fn told(before: &[Making], now: &Making) -> String {
        let made = Made::open(std::path::Path::new("/nonexistent"));
        let nearest = nearest(&made, before, now);
        let reasons = nearest.map_or(vec![Reason::New], |one| differences(&made, now, one));
        Reasons { reasons }.text()
    }

    #[test]
    fn the_nearest_of_earlier_ones_is_compared_with() {
        let now = making("make", "x", &["A=1", "P=q"]);
        assert_eq!(told(&[], &now), "it was never made here");
        let other = making("make", "y", &["A=2", "P=r"]);
        let near = making("make", "x", &["A=3", "P=q"]);
        let last = making("make", "z", &["A=4", "P=q"]);
        let all = [near, other, last];
        assert_eq!(told(&all, &now), "the argument A is \"1\", was \"3\"");
        let based = making("make", "w", &["A=4", "P=q"]);
        assert_eq!(told(&all, &based), "its base b:1 came out different");
        let renamed = making("make -j2", "x", &["A=3", "P=q"]);
        assert_eq!(told(&all, &renamed), "it says something else, was: make");
        let variable = making("make", "z", &["A=4", "P=s"]);
        assert_eq!(told(&all, &variable), "the variable P is \"s\", was \"q\"");
    }

    #[test]
    fn files_are_named() {
        let changes = [
            ("src", Change::Added),
            ("src/a", Change::Added),
            ("b", Change::Content),
            ("c", Change::Mode),
            ("d", Change::Removed),
        ];
        let changes = changes.map(|(path, change)| (path.to_owned(), change)).into();
        let reason = changed("[internal] load build context".into(), &changes);
        let text = reason.text();
        assert_eq!(text, "b changed, the mode of c changed, d is gone, and 1 more");
        let json = serde_json::to_value(&reason).unwrap();
        assert_eq!(json["kind"], "files");
        assert_eq!(json["files"][3], serde_json::json!({ "path": "src", "change": "added" }));
    }
}
