//! Checks of what is written, before anything is expanded.

use std::collections::BTreeSet;

use super::{Checks, Rule};
use crate::instruction::{Body, Dockerfile, Instruction, Stage};
use crate::position::Lines;

/// All of them, in the order in which BuildKit comes by them.
pub(crate) fn check(file: &Dockerfile, checks: &mut Checks) {
    for lines in &file.empty_continuations {
        checks.found(Rule::NoEmptyContinuation, &[], *lines, "Empty continuation line".into());
    }
    for one in &file.globals {
        instruction(one, checks);
    }
    for stage in &file.stages {
        from(stage, checks);
        for one in &stage.instructions {
            instruction(one, checks);
        }
    }
}

fn instruction(one: &Instruction, checks: &mut Checks) {
    match &one.body {
        Body::Maintainer(_) => {
            let text = "Maintainer instruction is deprecated in favor of using label";
            checks.found(Rule::MaintainerDeprecated, &one.comments, one.lines, text.into());
        }
        Body::Arg(arguments) => {
            let keys: Vec<&str> = arguments.iter().map(|one| one.key.as_str()).collect();
            described("ARG", &keys, &one.comments, one.lines, checks);
        }
        _ => {}
    }
}

fn from(stage: &Stage, checks: &mut Checks) {
    let Some((keyword, name)) = &stage.named else { return };
    let mut found = |rule, text| checks.found(rule, &stage.comments, stage.lines, text);
    if *name != name.to_lowercase() {
        found(Rule::StageNameCasing, format!("Stage name '{name}' should be lowercase"));
    }
    let from = &stage.keyword;
    let matches = match casing(from) {
        Casing::Lower => *keyword == keyword.to_lowercase(),
        Casing::Upper => *keyword == keyword.to_uppercase(),
        // The keyword itself is the fault then.
        Casing::Mixed => true,
    };
    if !matches {
        let text = format!("'{keyword}' and '{from}' keywords' casing do not match");
        found(Rule::FromAsCasing, text);
    }
    described("FROM", &[&name.to_lowercase()], &stage.comments, stage.lines, checks);
}

/// The last comment before a definition is to be of it.
fn described(
    instruction: &str,
    keys: &[&str],
    comments: &[String],
    lines: Lines,
    checks: &mut Checks,
) {
    let (Some(last), Some(first)) = (comments.last(), keys.first()) else { return };
    if keys.contains(&last.split(' ').next().unwrap_or_default()) {
        return;
    }
    let key = if keys.len() > 1 { "<arg_key>" } else { first };
    let text =
        format!("Comment for {instruction} should follow the format: `# {key} <description>`");
    checks.found(Rule::InvalidDefinitionDescription, comments, lines, text);
}

#[derive(PartialEq)]
enum Casing {
    Lower,
    Upper,
    Mixed,
}

fn casing(word: &str) -> Casing {
    match word {
        word if word == word.to_lowercase() => Casing::Lower,
        word if word == word.to_uppercase() => Casing::Upper,
        _ => Casing::Mixed,
    }
}

/// Names of stages: none twice, none that means something else.
pub(crate) fn stage_names(file: &Dockerfile, checks: &mut Checks) {
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = stage.name() else { continue };
        // These two come without the comments' wishes, as in BuildKit.
        if matches!(name.as_str(), "context" | "scratch") {
            let text =
                format!("Stage name should not use the same name as reserved stage \"{name}\"");
            checks.found(Rule::ReservedStageName, &[], stage.lines, text);
        }
        if !seen.insert(name.clone()) {
            let text = format!("Duplicate stage name \"{name}\", stage names should be unique");
            checks.found(Rule::DuplicateStageName, &[], stage.lines, text);
        }
    }
}

/// Keywords: all as most are.
pub(crate) fn keywords(file: &Dockerfile, checks: &mut Checks) {
    let keywords = || {
        file.stages.iter().flat_map(|stage| {
            let of_instruction = |one: &'_ Instruction| (one.keyword.clone(), one.lines);
            std::iter::once((stage.keyword.clone(), stage.lines))
                .chain(stage.instructions.iter().map(of_instruction))
        })
    };
    let count = |wanted| keywords().filter(|(word, _)| casing(word) == wanted).count();
    let mostly_lower = count(Casing::Lower) > count(Casing::Upper);
    for (word, lines) in keywords() {
        let (wanted, name) = if mostly_lower {
            (word.to_lowercase(), "lowercase")
        } else {
            (word.to_uppercase(), "uppercase")
        };
        if word != wanted {
            let text =
                format!("Command '{word}' should match the case of the command majority ({name})");
            checks.found(Rule::ConsistentInstructionCasing, &[], lines, text);
        }
    }
}

/// Whether a variable's name says that its value is secret.
pub fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const OPEN: [&str; 3] = ["public", "file", "version"];
    let name = name.to_lowercase();
    let has = |words: &[&str]| name.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&OPEN)
}
