//! Build checks: what is allowed and seldom meant (reference, "Build checks").

use std::collections::BTreeSet;

use crate::directive;
use crate::mount::go_bool;
use crate::position::Lines;
use crate::problem::Problem;

mod rule;
pub(crate) mod text;

pub use rule::Rule;
pub use text::is_secret as is_secret_name;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// By which rule.
    pub rule: Rule,
    /// What, for people.
    pub text: String,
    /// Where.
    pub lines: Lines,
}

/// Which checks are made, and what follows from them: `# check=…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// None but experimental ones.
    pub skip_all: bool,
    /// Not these.
    pub skip: BTreeSet<String>,
    /// Experimental ones, too.
    pub experimental_all: bool,
    /// These experimental ones, too.
    pub experimental: BTreeSet<String>,
    /// What is found fails the build.
    pub error: bool,
}

impl Config {
    /// Reads `skip=A,B;error=true;experimental=all`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut config = Self::default();
        if text.trim().is_empty() {
            return Ok(config);
        }
        for option in text.trim().splitn(3, ';') {
            let bad = || Problem::CheckOptions(format!("invalid check option \"{option}\""));
            let (key, value) = option.split_once('=').ok_or_else(bad)?;
            let value = value.trim();
            match key.trim() {
                "skip" => rules(value, &mut config.skip_all, &mut config.skip),
                "experimental" => {
                    rules(value, &mut config.experimental_all, &mut config.experimental);
                }
                "error" => config.error = go_bool(value).ok_or_else(bad)?,
                _ => return Err(bad()),
            }
        }
        Ok(config)
    }

    /// That of a Dockerfile's own directive.
    pub fn of_source(source: &str) -> Result<Self, Problem> {
        Self::parse(&directive::check(source).unwrap_or_default())
    }

    /// With what comments right before an instruction say. What makes no sense is a comment.
    fn with_comments(&self, comments: &[String]) -> Self {
        let mut config = self.clone();
        let found = comments.iter().find_map(|comment| directive::check_in_comment(comment));
        if let Some(more) = found.and_then(|text| Self::parse(&text).ok()) {
            config.skip_all |= more.skip_all;
            config.skip.extend(more.skip);
            config.experimental_all |= more.experimental_all;
            config.experimental.extend(more.experimental);
        }
        config
    }

    fn makes(&self, rule: Rule) -> bool {
        let name = rule.name();
        if rule.is_experimental() {
            return self.experimental_all || self.experimental.contains(name);
        }
        !self.skip_all && !self.skip.contains(name)
    }
}

fn rules(value: &str, all: &mut bool, some: &mut BTreeSet<String>) {
    if value == "all" {
        *all = true;
    } else {
        *some = value.split(',').map(|rule| rule.trim().to_owned()).collect();
    }
}

/// Gathers what checks find.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    config: Config,
    pub(crate) warnings: Vec<Warning>,
}

impl Checks {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, warnings: Vec::new() }
    }

    /// Something was found at an instruction before which there are these comments.
    pub(crate) fn found(&mut self, rule: Rule, comments: &[String], lines: Lines, text: String) {
        if self.config.with_comments(comments).makes(rule) {
            self.warnings.push(Warning { rule, text, lines });
        }
    }

    /// The rules by which something was found, where that is an error.
    pub(crate) fn error(&self) -> Option<Problem> {
        if !self.config.error || self.warnings.is_empty() {
            return None;
        }
        let rules: BTreeSet<&str> = self.warnings.iter().map(|one| one.rule.name()).collect();
        Some(Problem::Checks(rules.into_iter().map(str::to_owned).collect()))
    }
}

#[cfg(test)]
mod tests;
