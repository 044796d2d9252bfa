//! The stages of a Dockerfile, how they hang together, and which of them are needed.

use std::collections::{BTreeSet, HashMap};

use buildgraph::Source;
use oci::image::Platform;

use super::arguments::{self, Definitions};
use super::base::Base;
use super::env::Env;
use super::names::Counter;
use super::plan::Plan;
use super::stage::{At, Command, Stage};
use super::{Answer, Ask, Next, Options};
use crate::check::{Checks, Config, Rule, text};
use crate::error::Error;
use crate::expand::{Expander, Expansion, Variables};
use crate::ignore::Patterns;
use crate::instruction::{self, Body, Dockerfile, Instruction};
use crate::parse;
use crate::position::Lines;
use crate::problem::Problem;
use crate::suggest::{self, Hint};

/// What an empty base is called.
pub(crate) const SCRATCH: &str = "scratch";
/// So many stages, images and triggers at most.
const MAX_STAGES: usize = 20_000;

/// A round of a conversion.
pub(crate) struct Converter<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) options: &'a Options,
    pub(crate) known: &'a [(Ask, Answer)],
    pub(crate) asks: Vec<Ask>,
    pub(crate) checks: Checks,
    pub(crate) plan: Plan,
    pub(crate) stages: Vec<Stage>,
    pub(crate) by_name: HashMap<String, At>,
    pub(crate) globals: Env,
    pub(crate) definitions: Definitions,
    pub(crate) build_platforms: Vec<Platform>,
    pub(crate) target_platform: Platform,
    /// Directories of named contexts, and the stage that has what is used of each.
    pub(crate) named: Vec<(Source, At)>,
    /// What is used of the build's context.
    pub(crate) context_used: BTreeSet<String>,
    pub(crate) ignore: Option<Patterns>,
    pub(crate) proxies: Vec<String>,
    pub(crate) epoch: Option<i64>,
    /// Those that the target needs.
    pub(crate) needed_stages: BTreeSet<At>,
}

impl<'a> Converter<'a> {
    pub(crate) fn new(
        file: &'a Dockerfile,
        options: &'a Options,
        known: &'a [(Ask, Answer)],
    ) -> Self {
        let mut build_platforms = options.build_platforms.clone();
        if build_platforms.is_empty() {
            build_platforms.push(Platform::native().normalized());
        }
        let target = options.target_platform.clone();
        let target_platform = target.unwrap_or_else(|| build_platforms[0].clone());
        Self {
            file,
            options,
            known,
            asks: Vec::new(),
            checks: Checks::default(),
            plan: Plan::default(),
            stages: Vec::new(),
            by_name: HashMap::new(),
            globals: Env::default(),
            definitions: Definitions::new(),
            build_platforms,
            target_platform,
            named: Vec::new(),
            context_used: BTreeSet::new(),
            ignore: None,
            needed_stages: BTreeSet::new(),
            proxies: arguments::proxies(&options.build_args),
            epoch: None,
        }
    }

    pub(crate) fn run(&mut self, source: &str, parse_error: Option<&Error>) -> Result<Next, Error> {
        let config = match &self.options.checks {
            Some(config) => config.clone(),
            None => Config::of_source(source).map_err(Error::nowhere)?,
        };
        self.checks = Checks::new(config);
        text::check(self.file, &mut self.checks);
        if let Some(error) = parse_error {
            return Err(error.clone());
        }
        if self.file.stages.is_empty() {
            return Err(Error::nowhere(Problem::NoStages));
        }
        text::stage_names(self.file, &mut self.checks);
        text::keywords(self.file, &mut self.checks);
        self.set_globals()?;
        self.set_epoch()?;
        self.set_ignore()?;
        self.add_stages()?;
        let target = self.target()?;
        self.connect()?;
        self.needed_stages = self.needed(target);
        let needed = self.resolve(target)?;
        if !self.asks.is_empty() {
            return Ok(Next::Ask(std::mem::take(&mut self.asks)));
        }
        self.go_through(&needed)?;
        if let Some(problem) = self.checks.error() {
            return Err(Error::nowhere(problem));
        }
        Ok(Next::Done(Box::new(self.finish(target, source)?)))
    }

    pub(crate) fn how(&self) -> Expander {
        Expander::new(self.file.escape)
    }

    fn set_globals(&mut self) -> Result<(), Error> {
        let last = self.file.stages.last().and_then(instruction::Stage::name);
        let target = self.options.target.clone().or(last);
        let given = &self.options.build_args;
        let build = &self.build_platforms[0];
        let automatic =
            arguments::automatic(build, &self.target_platform, target.as_deref(), given);
        let how = self.how();
        self.check_defaults(&automatic, how);
        (self.globals, self.definitions) =
            arguments::globals(automatic, &self.file.globals, given, how)?;
        Ok(())
    }

    /// Bases are to make sense also where a build gives no argument.
    fn check_defaults(&mut self, automatic: &Env, how: Expander) {
        let none = std::collections::BTreeMap::new();
        let defaults = arguments::globals(automatic.clone(), &self.file.globals, &none, how);
        let Ok((defaults, _)) = defaults else { return };
        for stage in &self.file.stages {
            let Ok(found) = how.expand(&stage.base, &defaults) else { return };
            if found.text.parse::<reference::Reference>().is_err() {
                let text = format!(
                    "Default value for ARG {} results in empty or invalid base image name",
                    stage.base
                );
                self.checks.found(Rule::InvalidDefaultArgInFrom, &[], stage.lines, text);
            }
        }
    }

    fn set_ignore(&mut self) -> Result<(), Error> {
        let patterns = Patterns::new(&self.options.ignore);
        let patterns = patterns.map_err(|bad| Error::nowhere(Problem::Option(bad.to_string())))?;
        self.ignore = Some(patterns).filter(|patterns| !patterns.is_empty());
        Ok(())
    }

    /// What is known of something; where nothing is, it is asked.
    pub(crate) fn answer(&mut self, ask: &Ask) -> Option<&'a Answer> {
        let known: &'a [(Ask, Answer)] = self.known;
        let found = known.iter().find(|(known, _)| known == ask).map(|(_, answer)| answer);
        if found.is_none() && !self.asks.contains(ask) {
            self.asks.push(ask.clone());
        }
        found
    }

    fn add_stages(&mut self) -> Result<(), Error> {
        for (at, written) in self.file.stages.iter().enumerate() {
            let stage = self.new_stage(at, written)?;
            self.add(stage);
        }
        Ok(())
    }

    fn new_stage(&mut self, at: usize, written: &instruction::Stage) -> Result<Stage, Error> {
        let lines = written.lines;
        let here = |problem| Error::at(lines, problem);
        let found = self.how().expand(&written.base, &self.globals);
        let found = found.map_err(|error| here(error.into()))?;
        self.check_unmatched_in_from(&found, written);
        if found.text.is_empty() {
            return Err(here(Problem::BlankBase(written.base.clone())));
        }
        let mut used = found.matched;
        let platform = match &written.platform {
            Some(text) => Some(self.stage_platform(text, written, &mut used)?),
            None => None,
        };
        let name = written.name();
        let mut stage = Stage {
            base_name: found.text,
            lines: Some(lines),
            description: written.description(),
            platform,
            ignore_cache: self.options.no_cache.is_of(name.as_deref()),
            ..Stage::default()
        };
        stage.taken.defined = self.definitions.clone();
        stage.taken.used = used;
        stage.counter = Counter {
            stage: name.clone().unwrap_or_else(|| format!("stage-{at}")),
            with_platform: self.options.multi_platform,
            ..Counter::default()
        };
        if let Some(name) = &name {
            stage.context = self.named_context(name, stage.platform.as_ref());
        }
        stage.name = name;
        let command = |instruction: &Instruction| Command {
            instruction: instruction.clone(),
            sources: Vec::new(),
            is_trigger: false,
        };
        stage.commands = written.instructions.iter().map(command).collect();
        Ok(stage)
    }

    fn stage_platform(
        &mut self,
        text: &str,
        written: &instruction::Stage,
        used: &mut BTreeSet<String>,
    ) -> Result<Platform, Error> {
        let here = |problem| Error::at(written.lines, problem);
        let found = self.how().expand(text, &self.globals);
        let found = found.map_err(|error| here(error.into()))?;
        self.check_unmatched_in_from(&found, written);
        self.check_platform(text, &found, written);
        let names = self.globals.names();
        let near = |name: &String| suggest::nearest(name, names.iter().copied()).0;
        let hint = || Hint(found.unmatched.iter().find_map(near));
        if found.text.is_empty() {
            return Err(here(Problem::EmptyPlatform(text.into(), hint())));
        }
        let platform = found.text.parse::<Platform>();
        let platform = platform
            .map_err(|error| here(Problem::Platform(text.into(), error.to_string(), hint())))?;
        used.extend(found.matched);
        Ok(platform)
    }

    fn check_unmatched_in_from(&mut self, found: &Expansion, written: &instruction::Stage) {
        for name in &found.unmatched {
            let defined = self.definitions.keys().map(String::as_str);
            let known: BTreeSet<&str> = defined.chain(self.globals.names()).collect();
            if known.contains(name.as_str()) {
                continue;
            }
            let hint = suggest::nearest(name, known);
            let text = format!("FROM argument '{name}' is not declared{hint}");
            let rule = Rule::UndefinedArgInFrom;
            self.checks.found(rule, &written.comments, written.lines, text);
        }
    }

    fn check_platform(&mut self, text: &str, found: &Expansion, written: &instruction::Stage) {
        let target = "TARGETPLATFORM";
        let is_target = found.matched.len() == 1
            && found.unmatched.is_empty()
            && found.matched.contains(target)
            && self.globals.get(target) == Some(&found.text);
        let mut warn = |rule, text| self.checks.found(rule, &written.comments, written.lines, text);
        if is_target {
            let text = format!(
                "Setting platform to predefined {text} in FROM is redundant as this is the default behavior"
            );
            warn(Rule::RedundantTargetPlatform, text);
        }
        if !found.matched.is_empty() || !found.unmatched.is_empty() {
            return;
        }
        let Ok(platform) = found.text.parse::<Platform>() else { return };
        let name = written.name().unwrap_or_default();
        if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
            let text =
                format!("FROM --platform flag should not use constant value \"{}\"", found.text);
            warn(Rule::FromPlatformFlagConstDisallowed, text);
        }
    }

    fn add(&mut self, mut stage: Stage) -> At {
        let at = self.stages.len();
        if stage.context.is_none() {
            stage.base = self.by_name.get(&stage.base_name).copied();
        }
        if let Some(base) = stage.base {
            let mut taken = self.stages[base].taken.clone();
            taken.used.extend(std::mem::take(&mut stage.taken.used));
            stage.taken = taken;
        }
        let from_image = stage.base.is_none() && stage.base_name != SCRATCH;
        let counts = |command: &&Command| {
            let body = &command.instruction.body;
            matches!(body, Body::Add(_) | Body::Copy(_) | Body::Run(_) | Body::Workdir(_))
        };
        let total = usize::from(from_image) + stage.commands.iter().filter(counts).count();
        stage.counter.total = if stage.is_foreign { 0 } else { total };
        if let Some(name) = &stage.name {
            self.by_name.insert(name.clone(), at);
        }
        self.stages.push(stage);
        at
    }

    /// An image that something is taken from.
    pub(crate) fn add_foreign(&mut self, name: &str, lines: Lines) -> Result<At, Problem> {
        if self.stages.len() >= MAX_STAGES {
            return Err(Problem::TooManyStages(MAX_STAGES));
        }
        let stage = Stage {
            base_name: name.into(),
            is_foreign: true,
            lines: Some(lines),
            ..Stage::default()
        };
        Ok(self.add(stage))
    }

    fn target(&self) -> Result<At, Error> {
        let Some(wanted) = self.options.target.as_deref().filter(|name| !name.is_empty()) else {
            return Ok(self.stages.len() - 1);
        };
        let found = self.by_name.get(&wanted.to_lowercase()).copied();
        found.ok_or_else(|| {
            let names = self.stages.iter().map(|stage| stage.counter.stage.as_str());
            let hint = suggest::nearest(wanted, names);
            Error::nowhere(Problem::Target(wanted.into(), hint))
        })
    }

    /// Looks up what is needed, with the triggers of what it starts from, which may need more.
    fn resolve(&mut self, target: At) -> Result<BTreeSet<At>, Error> {
        loop {
            let needed = if self.options.all_stages {
                (0..self.stages.len()).collect()
            } else {
                self.needed(target)
            };
            for at in 0..self.stages.len() {
                self.resolve_base(at, needed.contains(&at))?;
            }
            let mut has_more = false;
            for at in &needed {
                has_more |= self.add_triggers(*at)?;
            }
            if !has_more {
                return Ok(needed);
            }
            self.refuse_circles()?;
        }
    }

    /// Whether the triggers take from anything.
    fn add_triggers(&mut self, at: At) -> Result<bool, Error> {
        let stage = &self.stages[at];
        if stage.has_triggers || !(stage.is_resolved || stage.base.is_some()) || stage.is_done {
            return Ok(false);
        }
        let texts: Vec<String> = match stage.base {
            Some(base) => self.stages[base]
                .commands
                .iter()
                .filter_map(|command| match &command.instruction.body {
                    Body::Onbuild(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            None => stage.image.config.on_build.clone(),
        };
        let lines = stage.lines.unwrap_or(Lines::one(1));
        let mut commands = Vec::new();
        let mut takes = Vec::new();
        for text in texts {
            let parsed = parse::parse_trigger(&text).map_err(|error| error.moved(lines))?;
            let instruction = Instruction { lines, ..parsed };
            let sources = self.sources(&instruction);
            let sources = sources.map_err(|problem| Error::at(lines, problem))?;
            takes.extend(sources.iter().map(|source| (*source, lines)));
            commands.push(Command { instruction, sources, is_trigger: true });
        }
        let has_sources = !takes.is_empty();
        let stage = &mut self.stages[at];
        stage.has_triggers = true;
        stage.takes.extend(takes);
        stage.image.config.on_build.clear();
        stage.counter.total += commands.len();
        commands.append(&mut stage.commands);
        stage.commands = commands;
        Ok(has_sources)
    }

    fn resolve_base(&mut self, at: At, is_needed: bool) -> Result<(), Error> {
        let stage = &self.stages[at];
        if stage.base.is_some() || stage.is_resolved || stage.is_done {
            return Ok(());
        }
        let lines = stage.lines.unwrap_or(Lines::one(1));
        let found = self.find_base(at, is_needed);
        match found.map_err(|problem| Error::at(lines, problem))? {
            Base::NotNeeded | Base::Unknown => {}
            Base::Known => {
                let stage = &mut self.stages[at];
                stage.is_resolved = true;
                stage.is_done = stage.is_foreign || stage.context.is_some();
            }
        }
        Ok(())
    }

    /// Names for suggestions.
    pub(crate) fn stage_names(&self) -> Vec<String> {
        let names = self.stages.iter().map(|stage| stage.counter.stage.clone());
        names.filter(|name| !name.is_empty()).collect()
    }
}
