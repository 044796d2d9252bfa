//! What several engines needed for the same jobs, as a page and a picture.

use std::fmt::Write as _;
use std::path::Path;

use super::engine::{Engine, Sample};
use super::measure::Samples;
use super::{plot, report};

/// What all needed.
pub(super) struct Measured {
    /// What was done, in this order.
    titles: Vec<String>,
    /// Who did it, and their versions.
    names: Vec<(&'static str, String)>,
    /// The job's number, who did it, and what it took.
    samples: Vec<(usize, &'static str, Sample)>,
    left_out: Vec<String>,
}

impl Measured {
    pub(super) fn new(titles: Vec<String>, engines: &[Engine], left_out: Vec<String>) -> Self {
        let names = engines.iter().map(|engine| (engine.name(), engine.version())).collect();
        Self { titles, names, samples: Vec::new(), left_out }
    }

    /// Notes that somebody cannot do a job; false.
    pub(super) fn leave_out(&mut self, engine: &Engine, job: usize, why: &str) -> bool {
        self.left_out.push(format!("{}, {}: {why}", engine.name(), self.titles[job]));
        false
    }

    /// Notes how one time went; whether it went well.
    pub(super) fn note(
        &mut self,
        engine: &Engine,
        job: usize,
        done: Result<Sample, String>,
    ) -> bool {
        match done {
            Ok(sample) => {
                let (seconds, peak) = (sample.seconds, sample.peak >> 10);
                let name = engine.name();
                eprintln!("{name}, {}: {seconds:.2} s, {peak} MiB", self.titles[job]);
                self.samples.push((job, name, sample));
                true
            }
            Err(why) => self.leave_out(engine, job, &why),
        }
    }

    /// Writes `docs/bench/FILE.md` and `FILE.svg`.
    pub(super) fn write(
        &self,
        root: &Path,
        file: &str,
        title: &str,
        intro: &str,
        times: usize,
    ) -> Result<(), String> {
        let page = self.page(file, title, intro, times);
        for (name, text) in
            [(format!("{file}.md"), &page), (format!("{file}.svg"), &self.picture())]
        {
            let path = root.join("docs/bench").join(name);
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        println!("{page}\nwritten to docs/bench");
        Ok(())
    }

    fn of(&self, job: usize, name: &str) -> impl Iterator<Item = Sample> {
        let those = self.samples.iter().filter(move |(one, who, _)| *one == job && *who == name);
        those.map(|(_, _, sample)| *sample)
    }

    /// The times of one job, of all who do it.
    fn times_of(&self, job: usize) -> Vec<(String, Samples)> {
        let of = |name: &str| {
            let seconds: Vec<f64> = self.of(job, name).map(|sample| sample.seconds).collect();
            (!seconds.is_empty()).then(|| (name.to_owned(), Samples::new(seconds)))
        };
        self.names.iter().filter_map(|(name, _)| of(name)).collect()
    }

    fn picture(&self) -> String {
        let all: Vec<_> = self
            .titles
            .iter()
            .enumerate()
            .map(|(job, title)| (title.clone(), self.times_of(job)))
            .collect();
        let groups: Vec<_> =
            all.iter().map(|(title, samples)| (title.clone(), samples.as_slice())).collect();
        plot::svg(&groups)
    }

    fn page(&self, file: &str, title: &str, intro: &str, times: usize) -> String {
        let mut page = format!(
            "# {title}\n\n\
             Written by `cargo xtask bench {file}`. Milliseconds, medians of {times} times, in turns \
             and in one run. Ratios are what counts.\n\n\
             {intro}\n\n\
             ![Medians]({file}.svg)\n\n{}\n\n",
            report::machine()
        );
        for (name, version) in self.names.iter().filter(|(name, _)| *name != "floor") {
            let _ = writeln!(page, "- {name}: {version}");
        }
        for (job, title) in self.titles.iter().enumerate() {
            let samples = self.times_of(job);
            let _ = writeln!(page, "\n## {title}\n\n{}", report::rows(&samples, "dhow"));
        }
        page.push_str(
            "\n## Memory\n\nThe most that the command and the daemon had together (resident), MiB.\n\n",
        );
        let names: Vec<_> = self.names.iter().map(|(name, _)| *name).collect();
        let _ = writeln!(page, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
        for (job, title) in self.titles.iter().enumerate() {
            let peak = |name: &&str| {
                let most = self.of(job, name).map(|sample| sample.peak).max();
                most.map_or(String::new(), |kib| (kib >> 10).to_string())
            };
            let peaks: Vec<_> = names.iter().map(peak).collect();
            let _ = writeln!(page, "| {title} | {} |", peaks.join(" | "));
        }
        if !self.left_out.is_empty() {
            page.push_str("\n## Left out\n\n");
            for why in &self.left_out {
                let _ = writeln!(page, "- {why}");
            }
        }
        page
    }
}
