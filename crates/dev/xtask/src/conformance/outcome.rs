//! What came of the tests, and what was known before.

use std::collections::BTreeMap;
use std::path::Path;

/// How one test went.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    Passed,
    Skipped(String),
    Failed,
}

/// What came of the tests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many there are; bats says so first.
    planned: Option<usize>,
    /// By name, in the order in which they ran.
    tests: Vec<(String, Ending)>,
}

impl Outcome {
    /// Takes a line of TAP. Whether it is worth showing.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        if let Some(count) = line.strip_prefix("1..") {
            self.planned = count.trim().parse().ok();
            return false;
        }
        let (rest, ok) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
            (Some(rest), _) => (rest, true),
            (_, Some(rest)) => (rest, false),
            // What bats says of one that failed.
            _ => return matches!(self.tests.last(), Some((_, Ending::Failed))),
        };
        let (name, note) = match rest.split_once(" # ") {
            Some((name, note)) => (name, Some(note)),
            None => (rest, None),
        };
        let name = without_time(name.split_once(' ').map_or(name, |(_number, name)| name));
        let result = match (ok, note.and_then(|note| note.strip_prefix("skip"))) {
            (true, Some(why)) => Ending::Skipped(why.trim().to_owned()),
            (true, None) => Ending::Passed,
            (false, _) => Ending::Failed,
        };
        self.tests.push((name.to_owned(), result));
        true
    }

    /// Takes a line of `pytest -v`.
    pub(crate) fn take_pytest(&mut self, line: &str) {
        if let Some((_, rest)) = line.split_once("collected ") {
            let word = |nth: usize| rest.split_whitespace().nth(nth)?.parse::<usize>().ok();
            // `collected 12 items / 2 deselected / 10 selected`
            let chosen =
                rest.rsplit_once("/ ").and_then(|(_, words)| words.strip_suffix(" selected"));
            self.planned = chosen.map_or_else(|| word(0), |number| number.parse().ok());
            return;
        }
        let Some((name, words)) = line.split_once(' ') else { return };
        let Some((_file, name)) = name.split_once(".py::") else { return };
        let ending = match words.split_whitespace().next() {
            // One that was expected to fail: with others it fails, too.
            Some("PASSED" | "XPASS") => Ending::Passed,
            Some("XFAIL") => Ending::Skipped("expected to fail".to_owned()),
            Some("SKIPPED") => {
                let why = words.split_once('(').map_or("", |(_, why)| why);
                Ending::Skipped(why.rsplit_once(')').map_or(why, |(why, _)| why).to_owned())
            }
            Some("FAILED" | "ERROR") => Ending::Failed,
            _ => return,
        };
        // Tidying up after a test is a result of its own: the worse one counts.
        match self.tests.iter_mut().find(|(known, _)| known == name) {
            Some((_, before)) if ending == Ending::Failed => *before = ending,
            Some(_) => {}
            None => self.tests.push((name.to_owned(), ending)),
        }
    }

    /// Takes a line of a table: a test of `suite`, what came of it. The last line of a test counts.
    pub(crate) fn take_table(&mut self, suite: &str, line: &str) {
        let mut words = line.split('\t');
        let (Some(name), Some(what)) = (words.next(), words.next()) else { return };
        let ending = match what {
            "PASS" => Ending::Passed,
            "SKIP" => Ending::Skipped("by itself".to_owned()),
            "FAIL" => Ending::Failed,
            _ => return,
        };
        let name = format!("{suite}/{name}");
        match self.tests.iter_mut().find(|(known, _)| *known == name) {
            Some((_, before)) => *before = ending,
            None => self.tests.push((name, ending)),
        }
    }

    /// Whether all tests have a result.
    pub(crate) fn is_complete(&self) -> bool {
        self.planned.is_some_and(|planned| self.tests.len() >= planned)
    }

    /// The last test with a result.
    pub(crate) fn last(&self) -> Option<&str> {
        self.tests.last().map(|(name, _)| name.as_str())
    }

    fn count(&self, is: impl Fn(&Ending) -> bool) -> usize {
        self.tests.iter().filter(|(_, result)| is(result)).count()
    }

    /// Prints the table. An error when more fails than is known; `whole`: all tests were run.
    pub(crate) fn report(&self, known: &Known, whole: bool) -> Result<(), String> {
        let mut skips: BTreeMap<&str, usize> = BTreeMap::new();
        let mut surprises = 0;
        println!();
        for (name, result) in &self.tests {
            match (result, known.0.get(name)) {
                (Ending::Skipped(why), _) => *skips.entry(why).or_default() += 1,
                (Ending::Failed, Some(why)) => println!("failed, as known: {name}: {why}"),
                (Ending::Failed, None) => {
                    println!("FAILED: {name}");
                    surprises += 1;
                }
                (Ending::Passed, Some(_)) => println!("passes, and is listed as failing: {name}"),
                (Ending::Passed, None) => {}
            }
        }
        for (why, count) in skips {
            println!("skipped ({count}): {why}");
        }
        if whole {
            let ran = |name: &str| self.tests.iter().any(|(test, _)| test == name);
            for name in known.0.keys().filter(|name| !ran(name)) {
                println!("listed as failing, and there is no such test: {name}");
            }
        }
        println!(
            "{} tests: {} passed, {} skipped, {} failed",
            self.tests.len(),
            self.count(|result| *result == Ending::Passed),
            self.count(|result| matches!(result, Ending::Skipped(_))),
            self.count(|result| *result == Ending::Failed),
        );
        match surprises {
            0 => Ok(()),
            n => Err(format!("{n} tests failed that are not known to")),
        }
    }
}

/// A name without bats's ` in 12ms`.
fn without_time(name: &str) -> &str {
    match name.rsplit_once(" in ") {
        Some((name, time)) if time.strip_suffix("ms").is_some_and(is_number) => name,
        _ => name,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Tests that are known to fail, and why.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<String, String>);

impl Known {
    /// Reads the list: `NAME`, a tab, why. What follows `dhow-runtime only:` does not hold for
    /// another runtime. None is known where there is no list.
    pub(crate) fn read(path: &Path, ours: bool) -> Result<Self, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text, ours)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{path:?}: {error}")),
        }
    }

    fn parse(text: &str, ours: bool) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('\t'));
        let holds = |(_, why): &(&str, &str)| ours || !why.starts_with("dhow-runtime only:");
        Self(pairs.filter(holds).map(|(name, why)| (name.to_owned(), why.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pytest_is_understood() {
        let mut outcome = Outcome::default();
        outcome.take_pytest("collected 4 items / 1 deselected / 3 selected");
        outcome.take_pytest("tests/integration/a_test.py::A::test_a PASSED   [ 33%]");
        outcome.take_pytest("tests/integration/a_test.py::A::test_a ERROR    [ 33%]");
        outcome.take_pytest("tests/integration/a_test.py::A::test_b SKIPPED (not (here)) [ 66%]");
        assert!(!outcome.is_complete());
        outcome.take_pytest("tests/integration/a_test.py::test_c XPASS");
        assert!(outcome.is_complete());
        let endings: Vec<&Ending> = outcome.tests.iter().map(|(_, ending)| ending).collect();
        let skipped = Ending::Skipped("not (here)".to_owned());
        assert_eq!(endings, [&Ending::Failed, &skipped, &Ending::Passed]);
    }

    #[test]
    fn the_last_result_of_a_test_counts() {
        let mut outcome = Outcome::default();
        for line in ["TestA\tFAIL\thung", "TestB\tNONE\t", "TestA\tPASS\t1.0", "TestC\tSKIP\t0"] {
            outcome.take_table("image", line);
        }
        let skipped = Ending::Skipped("by itself".to_owned());
        assert_eq!(
            outcome.tests,
            [("image/TestA".to_owned(), Ending::Passed), ("image/TestC".to_owned(), skipped)]
        );
    }

    #[test]
    fn a_run_is_understood() {
        let mut outcome = Outcome::default();
        assert!(!outcome.take("1..3"));
        assert!(outcome.take("ok 1 runc run [a # b] in 12ms"));
        assert!(!outcome.take("# of no interest"));
        assert!(outcome.take("ok 2 events in 3ms # skip test requires cgroups_v2"));
        assert!(!outcome.is_complete());
        assert!(outcome.take("not ok 3 spec in a file"));
        assert!(outcome.take("#   `false' failed"));
        assert!(outcome.is_complete());
        let skipped = Ending::Skipped("test requires cgroups_v2".to_owned());
        assert_eq!(outcome.tests[1], ("events".to_owned(), skipped));
        assert_eq!(outcome.tests[2], ("spec in a file".to_owned(), Ending::Failed));
        let list = "# words\nspec in a file\tdhow-runtime only: it is so\n";
        assert!(outcome.report(&Known::parse(list, true), true).is_ok());
        assert!(outcome.report(&Known::parse(list, false), true).is_err());
    }
}
