//! From what happens, at once and in any order, to instructions that are told of one after the other.
//!
//! A step of the builder's comes from an instruction, by its lines; what steps say is held until their
//! instruction's turn. Instructions that only change the configuration have no step: whether they were "in the
//! cache" is seen by what comes after them.

mod pulls;

use std::collections::{BTreeSet, HashMap};

use ::build::{Error, Event, Recipe, Step, VertexState};
use docker::progress::Message;
use dockerfile::instruction::Body;
use oci::Digest;

use super::parameters::Parameters;
use super::{Gone, Out};
use crate::error::chain;

/// Variables that every build may be given.
const PREDEFINED: [&str; 12] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
    "SOURCE_DATE_EPOCH",
    "BUILDKIT_INLINE_CACHE",
];

/// What is written before and after what comes from standard error.
const RED: [&str; 2] = ["\u{1b}[91m", "\u{1b}[0m"];

/// An instruction.
#[derive(Clone, Debug, Default)]
struct Line {
    text: String,
    /// Where it is: the first line and the last.
    at: (u32, u32),
    /// Which stage it is of, among those that are told of.
    stage: usize,
    kind: Kind,
    /// The steps that come from it.
    steps: Vec<Step>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// `ARG` before all stages.
    Global,
    /// `FROM`, with what it starts from.
    From { base: String, name: Option<String> },
    #[default]
    Other,
}

impl Line {
    /// What its stage is called, where it begins one.
    fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::From { name, .. } => name.as_deref(),
            _ => None,
        }
    }
}

/// Says which layer is on top of what a step has made.
pub(super) type Layers<'a> = &'a (dyn Fn(&Digest) -> Option<String> + Send + Sync);

/// What was heard of a step.
#[derive(Debug, Default)]
struct Heard {
    state: VertexState,
    /// The container, until it was told.
    container: Option<String>,
    logs: Vec<(u8, String)>,
    has_container: Option<String>,
}

/// Tells.
#[derive(Debug)]
pub(super) struct Teller {
    is_quiet: bool,
    tells_removal: bool,
    no_cache: bool,
    lines: Vec<Line>,
    /// Of which of them it is told, and whether it was begun.
    at: usize,
    is_begun: bool,
    /// Which steps there are is known.
    is_solved: bool,
    heard: HashMap<Digest, Heard>,
    /// What the last instruction has come to.
    id: String,
    /// What stages have come to, by their names and numbers.
    stages: HashMap<String, String>,
    /// All steps of the present stage were in the cache.
    all_cached: bool,
    /// Images whose pull was told of.
    pulling: BTreeSet<Digest>,
}

impl Teller {
    pub(super) fn new(asked: &Parameters, recipe: &Recipe) -> Self {
        Self {
            is_quiet: asked.is_quiet,
            tells_removal: asked.tells_removal,
            no_cache: asked.no_cache,
            lines: lines(asked, recipe),
            at: 0,
            is_begun: false,
            is_solved: false,
            heard: HashMap::new(),
            id: String::new(),
            stages: HashMap::new(),
            all_cached: true,
            pulling: BTreeSet::new(),
        }
    }

    /// These steps are on the way to the result.
    pub(super) fn know(&mut self, steps: &[Step]) {
        for step in steps {
            let Some(first) = step.lines.first() else { continue };
            let is_of = |line: &&mut Line| {
                line.kind != Kind::Global && (line.at.0..=line.at.1).contains(&first.start)
            };
            if let Some(line) = self.lines.iter_mut().find(is_of) {
                line.steps.push(step.clone());
            }
        }
    }

    /// All of them are known.
    pub(super) fn solved(&mut self) {
        self.is_solved = true;
    }

    /// Something has happened.
    pub(super) async fn take(
        &mut self,
        event: Event,
        layers: Layers<'_>,
        out: &Out,
    ) -> Result<(), Gone> {
        match event {
            Event::Vertex(state) => {
                let Some(digest) = state.digest.clone() else { return Ok(()) };
                self.heard.entry(digest).or_default().state = state;
            }
            Event::Log(log) => {
                let text = String::from_utf8_lossy(&log.data).into_owned();
                self.heard.entry(log.vertex).or_default().logs.push((log.stream, text));
            }
            Event::Container { vertex, id } => {
                let heard = self.heard.entry(vertex).or_default();
                heard.has_container = Some(id.clone());
                heard.container = Some(id);
            }
            Event::Status(status) => return self.pull(&status, out).await,
            Event::Pulled(pulled) => return self.pulled(&pulled, out).await,
            Event::Warning(_) => return Ok(()),
        }
        self.advance(layers, out).await
    }

    /// Tells of all instructions whose turn it is.
    pub(super) async fn advance(&mut self, layers: Layers<'_>, out: &Out) -> Result<(), Gone> {
        while self.at < self.lines.len() {
            self.begin(out).await?;
            if self.lines[self.at].kind == Kind::Global {
                self.go_on();
                continue;
            }
            if !self.is_solved {
                return Ok(());
            }
            let is_done = self.follow(out).await?;
            // What the last one has come to is known when there is an image.
            if !is_done || self.at + 1 == self.lines.len() {
                return Ok(());
            }
            let Some(cached) = self.is_cached(self.at) else { return Ok(()) };
            let id = self.outcome(layers);
            self.end(cached, id, out).await?;
        }
        Ok(())
    }

    /// The line that an instruction begins with.
    async fn begin(&mut self, out: &Out) -> Result<(), Gone> {
        if std::mem::replace(&mut self.is_begun, true) || self.is_quiet {
            return Ok(());
        }
        let (at, total) = (self.at + 1, self.lines.len());
        let text = format!("Step {at}/{total} : {}", self.lines[self.at].text);
        out.send(&Message::stream(text)).await?;
        out.send(&Message::stream("\n")).await
    }

    /// What the steps of the present instruction say. Whether all of them have ended.
    async fn follow(&mut self, out: &Out) -> Result<bool, Gone> {
        let digests: Vec<Digest> =
            self.lines[self.at].steps.iter().map(|step| step.digest.clone()).collect();
        for digest in digests {
            let heard = self.heard.entry(digest).or_default();
            let (container, logs) = (heard.container.take(), std::mem::take(&mut heard.logs));
            let is_done = heard.state.completed.is_some() && heard.state.error.is_empty();
            if !self.is_quiet {
                if let Some(id) = container {
                    let text = format!(" ---> Running in {}\n", short(&id));
                    out.send(&Message::stream(text)).await?;
                }
                for (stream, text) in logs {
                    let text =
                        if stream == 2 { format!("{}{text}{}", RED[0], RED[1]) } else { text };
                    out.send(&Message::stream(text)).await?;
                }
            }
            if !is_done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether an instruction was in the cache; `None`: that is not known yet.
    fn is_cached(&self, at: usize) -> Option<bool> {
        let line = &self.lines[at];
        if let Kind::From { .. } = line.kind {
            return Some(false);
        }
        if self.no_cache {
            return Some(false);
        }
        let cached = |line: &Line| line.steps.iter().all(|step| self.state(step).cached);
        if !line.steps.is_empty() {
            return Some(cached(line));
        }
        let after = self.lines[at..].iter().take_while(|other| other.stage == line.stage);
        let mut after = after.filter(|other| !other.steps.is_empty());
        match after.next() {
            Some(next) if next.steps.iter().all(|step| self.state(step).started.is_some()) => {
                Some(cached(next))
            }
            Some(_) => None,
            None if self.lines.last().is_some_and(|last| last.stage == line.stage) => None,
            None => Some(self.all_cached),
        }
    }

    fn state(&self, step: &Step) -> VertexState {
        self.heard.get(&step.digest).map(|heard| heard.state.clone()).unwrap_or_default()
    }

    /// What the present instruction has come to: an image, a layer, or what it says.
    fn outcome(&self, layers: Layers<'_>) -> String {
        let line = &self.lines[self.at];
        if let Kind::From { base, .. } = &line.kind {
            let image = line.steps.iter().rev().find_map(|step| step.image.as_ref());
            let image = image.map(ToString::to_string);
            return image
                .or_else(|| self.stages.get(&base.to_lowercase()).cloned())
                .unwrap_or_default();
        }
        let layer = line.steps.iter().rev().find_map(|step| layers(&step.digest));
        match layer {
            Some(layer) => layer,
            None => Digest::sha256(format!("{} {}", self.id, line.text).as_bytes()).to_string(),
        }
    }

    /// Tells how the present instruction ended, and goes on to the next one.
    async fn end(&mut self, cached: bool, id: String, out: &Out) -> Result<(), Gone> {
        let line = &self.lines[self.at];
        let container = line.steps.iter().rev().find_map(|step| {
            self.heard.get(&step.digest).and_then(|heard| heard.has_container.clone())
        });
        let (stage, is_from) = (line.stage, matches!(line.kind, Kind::From { .. }));
        self.all_cached = is_from || (self.all_cached && cached);
        let name = self.lines.iter().filter(|line| line.stage == stage).find_map(Line::name);
        if let Some(name) = name {
            self.stages.insert(name.to_owned(), id.clone());
        }
        if !self.is_quiet {
            if let Some(container) = container.filter(|_| self.tells_removal && !cached) {
                let text = format!(" ---> Removed intermediate container {}\n", short(&container));
                out.send(&Message::stream(text)).await?;
            }
            if cached && !is_from {
                out.send(&Message::stream(" ---> Using cache\n")).await?;
            }
            out.send(&Message::stream(format!(" ---> {}\n", short(&id)))).await?;
        }
        self.id = id;
        self.go_on();
        Ok(())
    }

    fn go_on(&mut self) {
        self.at += 1;
        self.is_begun = false;
    }

    /// Whether an image would be of nothing at all, which the older builder does not make.
    pub(super) fn is_of_nothing(&self) -> bool {
        let last = self.lines.last().map(|line| &line.kind);
        matches!(last, Some(Kind::From { base, .. }) if base == "scratch")
    }

    /// There is an image: what is left is told.
    pub(super) async fn finish(
        &mut self,
        image: &str,
        was_here: bool,
        layers: Layers<'_>,
        out: &Out,
    ) -> Result<(), Gone> {
        self.is_solved = true;
        while self.at < self.lines.len() {
            self.begin(out).await?;
            self.follow(out).await?;
            let is_last = self.at + 1 == self.lines.len();
            let is_from = matches!(self.lines[self.at].kind, Kind::From { .. });
            let id = if is_last && !is_from { image.to_owned() } else { self.outcome(layers) };
            let cached = self.is_cached(self.at).unwrap_or(was_here);
            self.end(cached, id, out).await?;
        }
        Ok(())
    }

    /// It has failed: what comes before the instruction that did is told, and the latter begun. Its text.
    pub(super) async fn fail(
        &mut self,
        error: &Error,
        layers: Layers<'_>,
        out: &Out,
    ) -> Result<String, Gone> {
        let Some(failed) = self.culprit(error) else { return Ok(String::new()) };
        self.is_solved = true;
        while self.at < failed {
            self.begin(out).await?;
            if self.lines[self.at].kind == Kind::Global {
                self.go_on();
                continue;
            }
            self.follow(out).await?;
            let id = self.outcome(layers);
            let cached = self.is_cached(self.at).unwrap_or(false);
            self.end(cached, id, out).await?;
        }
        self.begin(out).await?;
        self.follow(out).await?;
        Ok(self.lines[failed].text.clone())
    }

    /// The instruction that an error is of, if it was not told of already.
    fn culprit(&self, error: &Error) -> Option<usize> {
        let is_of = |line: &Line| match error {
            Error::Vertex { digest, .. } => line.steps.iter().any(|step| step.digest == *digest),
            Error::Dockerfile { lines, .. } => {
                lines.iter().any(|one| (line.at.0..=line.at.1).contains(&one.start))
            }
            _ => false,
        };
        let found = self.lines.iter().position(is_of)?;
        (found >= self.at).then_some(found)
    }
}

/// The instructions that are told of, in their order.
fn lines(asked: &Parameters, recipe: &Recipe) -> Vec<Line> {
    let Ok(file) = dockerfile::parse(&recipe.source.data) else { return Vec::new() };
    let mut lines = Vec::new();
    for global in &file.globals {
        let at = (global.lines.first, global.lines.last);
        let text = global.text.clone();
        lines.push(Line { text, at, kind: Kind::Global, ..Line::default() });
    }
    for (stage, written) in file.stages.iter().enumerate() {
        if !recipe.stages.contains(&stage) {
            continue;
        }
        let at = (written.lines.first, written.lines.last);
        let (base, name) = (written.base.clone(), written.name());
        let kind = Kind::From { base, name };
        let text = written.text.clone();
        lines.push(Line { text, at, stage, kind, steps: Vec::new() });
        for instruction in &written.instructions {
            let at = (instruction.lines.first, instruction.lines.last);
            let text = instruction.text.clone();
            lines.push(Line { text, at, stage, ..Line::default() });
        }
    }
    if !asked.labels.is_empty() {
        let pairs: Vec<String> =
            asked.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let text = format!("LABEL {}", pairs.join(" "));
        let stage = lines.last().map_or(0, |line: &Line| line.stage);
        lines.push(Line { text, stage, ..Line::default() });
    }
    lines
}

/// Build arguments that no instruction asks for.
pub(super) fn unused(asked: &Parameters, recipe: &Recipe) -> Vec<String> {
    let Ok(file) = dockerfile::parse(&recipe.source.data) else { return Vec::new() };
    let all = file.stages.iter().flat_map(|stage| &stage.instructions).chain(&file.globals);
    let declared: BTreeSet<&str> = all
        .filter_map(|instruction| match &instruction.body {
            Body::Arg(arguments) => Some(arguments.iter().map(|one| one.key.as_str())),
            _ => None,
        })
        .flatten()
        .collect();
    let given = asked.arguments.keys().map(String::as_str);
    let unused = given.filter(|name| !declared.contains(name) && !PREDEFINED.contains(name));
    unused.map(str::to_owned).collect()
}

/// The twelve digits that people are shown of an id.
pub(super) fn short(id: &str) -> String {
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}

/// What went wrong, as it is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    /// The exit code of a program.
    pub(super) code: i64,
}

/// In `dockerd`'s words; `instruction` is what failed, if it was one.
pub(super) fn words(error: &Error, instruction: &str) -> Failure {
    let plain = |message: String| Failure { message, code: 0 };
    match error {
        Error::Vertex { source, .. } | Error::Shared(source) => words(source, instruction),
        Error::Exit { why, ran: false, .. } if !instruction.is_empty() => plain(why.clone()),
        Error::Exit { command, code, .. } if !instruction.is_empty() => Failure {
            message: format!("The command '{command}' returned a non-zero code: {code}"),
            code: i64::from(*code),
        },
        Error::Edit(why) | Error::Missing { source: why, .. }
            if why.is_not_found() && !instruction.is_empty() =>
        {
            let name = instruction.split_whitespace().next().unwrap_or_default().to_uppercase();
            let path = why.missing().unwrap_or_default();
            let path = path.trim_start_matches('/');
            plain(format!(
                "{name} failed: file not found in build context or excluded by .dockerignore: \
                 stat {path}: file does not exist"
            ))
        }
        other => plain(chain(other)),
    }
}

#[cfg(test)]
#[path = "teller_tests.rs"]
mod tests;
