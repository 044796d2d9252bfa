//! What came of the tests, by name.

use std::path::Path;

use super::Test;
use crate::unsteady;

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    /// With the lines that say what was lacking: `NAME: WHY`.
    Skipped(Vec<String>),
    Failed,
}

/// What is known so far.
#[derive(Debug)]
pub(crate) struct Outcome {
    names: Vec<String>,
    fates: Vec<Option<Fate>>,
    /// Those that failed first and passed when they were run again.
    unsteady: Vec<String>,
    /// What was found in the guest when all had run.
    left: Vec<String>,
    /// The test whose output is being read, how it ended, and that output.
    current: Option<(usize, bool, String, Vec<String>)>,
    /// The guest has said that all have run.
    pub(crate) ended: bool,
}

impl Outcome {
    pub(crate) fn new(tests: &[Test]) -> Self {
        Self {
            names: tests.iter().map(|test| format!("{} {}", test.of, test.name)).collect(),
            fates: vec![None; tests.len()],
            unsteady: Vec::new(),
            left: Vec::new(),
            current: None,
            ended: false,
        }
    }

    /// Takes one line of what the guest says.
    pub(crate) fn take(&mut self, line: &str) {
        let Some(word) = line.strip_prefix('@') else {
            if let Some((_, _, _, output)) = &mut self.current {
                output.push(line.strip_prefix(' ').unwrap_or(line).to_owned());
            }
            return;
        };
        self.close();
        let mut words = word.split(' ');
        match words.next() {
            Some("") => {
                let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
                if let (Some(test), Some(status), Some(time)) = (number(), number(), number())
                    && test < self.fates.len()
                {
                    let time = format!("[{:4}.{:02}s]", time / 100, time % 100);
                    self.current = Some((test, status == 0, time, Vec::new()));
                }
            }
            Some("begin") => println!("guest: Linux {}", words.collect::<Vec<_>>().join(" ")),
            Some("left") => self.left.push(words.collect::<Vec<_>>().join(" ")),
            Some("end") => self.ended = true,
            _ => println!("guest: {line}"),
        }
    }

    /// The output of a test is whole.
    fn close(&mut self) {
        let Some((test, passed, time, output)) = self.current.take() else { return };
        let skips: Vec<String> = output
            .iter()
            .filter_map(|line| line.trim_start().strip_prefix("skipped: "))
            .map(str::to_owned)
            .collect();
        let name = &self.names[test];
        let fate = match (passed, skips.is_empty()) {
            (false, _) => Fate::Failed,
            (true, true) => Fate::Passed,
            (true, false) => Fate::Skipped(skips),
        };
        match &fate {
            Fate::Passed => println!("PASS {time} {name}"),
            Fate::Skipped(why) => println!("SKIP {time} {name}: {}", why.join("; ")),
            Fate::Failed => {
                println!("FAIL {time} {name}");
                for line in &output {
                    println!("    {line}");
                }
            }
        }
        self.fates[test] = Some(fate);
    }

    /// Those that failed. Without those that did not run: if the guest broke down, it is to be known.
    pub(crate) fn failed(&self, tests: &[Test]) -> Vec<Test> {
        let failed = |(test, fate): (&Test, &Option<Fate>)| {
            matches!(fate, Some(Fate::Failed)).then(|| test.clone())
        };
        tests.iter().zip(&self.fates).filter_map(failed).collect()
    }

    /// Takes what became of those that failed when they were run `again`.
    pub(crate) fn replace(&mut self, again: Self) {
        for (name, fate) in again.names.into_iter().zip(again.fates) {
            let Some(nth) = self.names.iter().position(|one| *one == name) else { continue };
            if matches!(fate, Some(Fate::Passed | Fate::Skipped(_))) {
                self.fates[nth] = fate;
                self.unsteady.push(name);
            }
        }
        self.left.extend(again.left);
        self.ended &= again.ended;
    }

    /// Counts. An error for a test that failed, that did not run, or that was skipped though
    /// `allowed` (names, one a line) does not have what it lacks, and for whatever was left behind.
    pub(crate) fn summarise(&self, tests: &[Test], allowed: &Path) -> Result<(), String> {
        let list = std::fs::read_to_string(allowed)
            .map_err(|error| format!("{}: {error}", allowed.display()))?;
        let allowed: Vec<&str> =
            list.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
        let mut wrong = Vec::new();
        let (mut passed, mut skipped) = (0, 0);
        for (name, fate) in self.names.iter().zip(&self.fates) {
            match fate {
                Some(Fate::Passed) => passed += 1,
                Some(Fate::Skipped(why)) => {
                    skipped += 1;
                    let lacks =
                        |why: &String| why.split(": ").next().unwrap_or_default().to_owned();
                    if !why.iter().all(|why| allowed.contains(&lacks(why).as_str())) {
                        wrong.push(format!("may not be skipped here: {name}"));
                    }
                }
                Some(Fate::Failed) => wrong.push(format!("failed: {name}")),
                None => wrong.push(format!("did not run: {name}")),
            }
        }
        wrong.extend(self.left.iter().map(|what| format!("left behind: {what}")));
        for line in &wrong {
            println!("{line}");
        }
        println!(
            "in the guest: {} tests, {passed} passed, {skipped} skipped, {} wrong",
            tests.len(),
            wrong.len()
        );
        if !self.ended {
            return Err("the guest ended before its tests".to_owned());
        }
        unsteady::judge(&self.unsteady)?;
        if wrong.is_empty() { Ok(()) } else { Err(format!("{} wrong in the guest", wrong.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str) -> Test {
        Test { program: 0, of: "p::t".into(), name: name.into() }
    }

    #[test]
    fn results_are_counted_by_name_and_nothing_passes_by_not_running() {
        let tests = ["a", "b", "c", "d"].map(test);
        let mut outcome = Outcome::new(&tests);
        for line in [
            "noise",
            "@begin 6.1",
            "@ 1 0 250",
            " skipped: Nft: none",
            "",
            "@ 0 0 1",
            " hi",
            "@ 2 101 7",
            " thread panicked",
            "@ 9 0 1",
            "@left /sys/fs/cgroup/dhow-x",
            "@end",
        ] {
            outcome.take(line);
        }
        assert_eq!(outcome.fates[0], Some(Fate::Passed));
        assert_eq!(outcome.fates[1], Some(Fate::Skipped(vec!["Nft: none".into()])));
        assert_eq!(outcome.fates[2], Some(Fate::Failed));
        assert_eq!(outcome.fates[3], None);
        assert!(outcome.ended);
        let list = std::env::temp_dir().join(format!("dhow-xtask-skips-{}", std::process::id()));
        std::fs::write(&list, "# none\nNft\n").unwrap();
        // One failed, one did not run, one left something.
        let counted = outcome.summarise(&tests, &list);
        std::fs::remove_file(&list).unwrap();
        assert_eq!(counted.unwrap_err(), "3 wrong in the guest");
    }

    #[test]
    fn one_that_passes_when_it_is_run_again_is_unsteady() {
        let tests = ["a", "b"].map(test);
        let mut outcome = Outcome::new(&tests);
        for line in ["@ 0 0 1", "@ 1 101 7", "@end"] {
            outcome.take(line);
        }
        let failed = outcome.failed(&tests);
        assert_eq!(failed.len(), 1);
        let mut again = Outcome::new(&failed);
        for line in ["@ 0 0 5", "@end"] {
            again.take(line);
        }
        outcome.replace(again);
        assert_eq!(outcome.fates, [Some(Fate::Passed), Some(Fate::Passed)]);
        assert_eq!(outcome.unsteady, ["p::t b"]);
        assert!(outcome.ended);
    }
}
