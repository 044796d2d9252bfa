//! Variables in the order in which they were set last.

use crate::expand::Variables;

/// Variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Env(Vec<(String, String)>);

impl Env {
    /// Sets one: it is the last one then.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.0.push((name.into(), value.into()));
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.0.retain(|(own, _)| own != name);
    }

    /// `NAME=VALUE`, as programs get them.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl Variables for Env {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// `NAME=VALUE` as two; one without a value has an empty one.
pub(crate) fn split(line: &str) -> (&str, &str) {
    line.split_once('=').unwrap_or((line, ""))
}

/// Sets one of an image: where it is already, it stays there.
pub(crate) fn set_in_image(env: &mut Vec<String>, name: &str, value: &str) {
    let line = format!("{name}={value}");
    match env.iter_mut().find(|line| split(line).0 == name) {
        Some(known) => *known = line,
        None => env.push(line),
    }
}
