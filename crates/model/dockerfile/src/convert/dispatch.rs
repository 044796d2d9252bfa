//! Going through a stage, instruction by instruction.

use std::collections::BTreeSet;

use buildgraph::{Action, File, MakeDirectory, Op, Shown};
use docker::timestamp::Timestamp;

use super::env::{self, Env};
use super::epoch;
use super::history::{self, Layer};
use super::plan::{Act, range};
use super::stage::{At, Command, with_path};
use super::stages::Converter;
use super::{arguments, names, owner, ports};
use crate::call::Definition;
use crate::check::{Rule, text};
use crate::error::Error;
use crate::expand::{Expander, Variables};
use crate::instruction::{Argument, Body, Command as Line, Instruction, Pair};
use crate::path;
use crate::position::Lines;
use crate::problem::Problem;
use crate::quote;
use crate::suggest;

impl Converter<'_> {
    pub(crate) fn go_through(&mut self, needed: &BTreeSet<At>) -> Result<(), Error> {
        for at in 0..self.stages.len() {
            if !needed.contains(&at) || self.stages[at].is_done {
                continue;
            }
            self.begin(at);
            for command in std::mem::take(&mut self.stages[at].commands) {
                let lines = command.instruction.lines;
                self.dispatch(at, &command).map_err(|problem| Error::at(lines, problem))?;
                self.stages[at].commands.push(command);
            }
            self.stages[at].is_done = true;
            self.mark_scanned(at);
        }
        Ok(())
    }

    fn begin(&mut self, at: At) {
        if let Some(base) = self.stages[at].base {
            let base = self.stages[base].clone();
            self.stages[at].start_from(&base);
        }
        let target = self.target_platform.clone();
        let stage = &mut self.stages[at];
        stage.platform.get_or_insert(target);
        with_path(&mut stage.image);
        for line in &stage.image.config.env {
            let (name, value) = env::split(line);
            stage.env.set(name, value);
        }
        if !stage.image.config.working_dir.is_empty() {
            let dir = path::absolute("/", &stage.image.config.working_dir, false);
            stage.image.config.working_dir = dir;
        }
    }

    /// Which stages a bill of materials is to be made of, beside the result.
    fn mark_scanned(&mut self, at: At) {
        let stage = &self.stages[at];
        let is_on = |name: &str| {
            let own = stage.arguments.iter().rfind(|one| one.key == name);
            let value = own.and_then(|one| one.value.as_deref()).or(self.globals.get(name));
            let value = value.unwrap_or_default();
            crate::mount::go_bool(value).unwrap_or_else(|| {
                value.split(',').any(|one| !one.is_empty() && one == stage.counter.stage)
            })
        };
        let (context, own) = (is_on(arguments::NOT_IN_ENV[0]), is_on(arguments::NOT_IN_ENV[1]));
        self.stages[at].scans_context = context;
        self.stages[at].is_scanned = own;
    }

    pub(crate) fn created(&self) -> Option<String> {
        self.epoch.map(|seconds| Timestamp { seconds, nanos: 0 }.to_string())
    }

    pub(crate) fn note(&mut self, at: At, text: String, layer: Layer) {
        let created = self.created();
        history::add(&mut self.stages[at].image, text, layer, created.as_deref());
    }

    /// Replaces variables, with a warning for those that are not there.
    pub(crate) fn expand(
        &mut self,
        at: At,
        one: &Instruction,
        how: Expander,
        word: &str,
    ) -> Result<String, Problem> {
        let env = &self.stages[at].env;
        let found = how.expand(word, env)?;
        let arguments = &self.stages[at].arguments;
        let unknown = found.unmatched.iter().filter(|name| {
            arguments.iter().all(|argument| argument.key != **name)
                && !arguments::NOT_IN_ENV.contains(&name.as_str())
        });
        let mut warnings = Vec::new();
        for name in unknown {
            let hint = match suggest::nearest(name, env.names()).0 {
                Some(near) => format!(" (did you mean ${near}?)"),
                None => String::new(),
            };
            warnings.push(format!("Usage of undefined variable '${name}'{hint}"));
        }
        for text in warnings {
            self.checks.found(Rule::UndefinedVar, &one.comments, one.lines, text);
        }
        Ok(found.text)
    }

    fn dispatch(&mut self, at: At, command: &Command) -> Result<(), Problem> {
        let one = &command.instruction;
        let how = self.how();
        match &one.body {
            Body::Add(add) => self.add_files(at, command, add)?,
            Body::Copy(copy) => self.copy_files(at, command, copy)?,
            Body::Run(run) => self.run_program(at, command, run)?,
            Body::Arg(arguments) => self.argument(at, one, arguments)?,
            Body::Env(pairs) => self.variables(at, one, pairs)?,
            Body::Label(pairs) => self.labels(at, one, pairs)?,
            Body::Workdir(dir) => {
                let dir = self.expand(at, one, how, dir)?;
                self.workdir(at, command, &dir);
            }
            Body::User(user) => {
                let user = self.expand(at, one, how, user)?;
                self.note(at, format!("USER {user}"), Layer::No);
                self.stages[at].image.config.user = user;
            }
            Body::Volume(volumes) => self.volumes(at, one, volumes)?,
            Body::Expose(words) => self.expose(at, one, words)?,
            Body::Stopsignal(signal) => {
                let signal = self.expand(at, one, how, signal)?;
                oci::signal::parse(&signal).map_err(|_| Problem::Signal(signal.clone()))?;
                self.note(at, format!("STOPSIGNAL {signal}"), Layer::No);
                self.stages[at].image.config.stop_signal = Some(signal);
            }
            Body::Maintainer(who) => {
                self.note(at, format!("MAINTAINER {who}"), Layer::No);
                self.stages[at].image.author = Some(who.clone());
            }
            Body::Onbuild(text) => self.stages[at].image.config.on_build.push(text.clone()),
            Body::Shell(words) => {
                self.note(at, format!("SHELL {}", quote::list(words)), Layer::No);
                self.stages[at].image.config.shell = Some(words.clone());
            }
            Body::Cmd(line) => self.cmd(at, one, line),
            Body::Entrypoint(line) => self.entrypoint(at, one, line),
            Body::Healthcheck(check) => {
                let before = self.stages[at].health.replace(one.lines);
                self.check_once(one, before);
                self.note(at, history::health(check), Layer::No);
                self.stages[at].image.config.healthcheck = Some(check.clone());
            }
        }
        Ok(())
    }

    fn argument(
        &mut self,
        at: At,
        one: &Instruction,
        arguments: &[Argument],
    ) -> Result<(), Problem> {
        let mut words = Vec::new();
        for argument in arguments {
            self.check_secret("ARG", &argument.key, one);
            let mut argument = argument.clone();
            let mut is_global = false;
            if let Some(given) = self.options.build_args.get(&argument.key) {
                argument.value = Some(given.clone());
                if argument.key == epoch::NAME {
                    argument.value = self.epoch_text().or(argument.value);
                }
            } else if let Some(default) = &argument.value {
                argument.value = Some(self.expand(at, one, self.how(), default)?);
            } else if let Some(global) = self.globals.get(&argument.key) {
                argument.value = Some(global.into());
                is_global = true;
            }
            let stage = &mut self.stages[at];
            let is_seen = !arguments::NOT_IN_ENV.contains(&argument.key.as_str());
            if let Some(value) = argument.value.as_deref().filter(|_| is_seen) {
                stage.env.set(&argument.key, value);
            }
            if !is_global {
                let definition = Definition {
                    value: argument.value.clone().unwrap_or_default(),
                    description: argument.description.clone(),
                    uses: BTreeSet::new(),
                    lines: one.lines,
                };
                stage.taken.defined.insert(argument.key.clone(), definition);
            }
            stage.taken.used.insert(argument.key.clone());
            words.push(match &argument.value {
                Some(value) => format!("{}={value}", argument.key),
                None => argument.key.clone(),
            });
            stage.arguments.push(argument);
        }
        self.note(at, format!("ARG {}", words.join(" ")), Layer::No);
        Ok(())
    }

    /// All pairs with their variables replaced by what they were before the instruction.
    fn pairs(
        &mut self,
        at: At,
        one: &Instruction,
        pairs: &[Pair],
    ) -> Result<Vec<(String, String)>, Problem> {
        let how = self.how();
        let mut out = Vec::new();
        for pair in pairs {
            let key = self.expand(at, one, how, &pair.key)?;
            out.push((key, self.expand(at, one, how, &pair.value)?));
        }
        if pairs.iter().any(|pair| pair.legacy) {
            let name = &one.keyword;
            let text = format!(
                "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
            );
            self.checks.found(Rule::LegacyKeyValueFormat, &one.comments, one.lines, text);
        }
        Ok(out)
    }

    fn variables(&mut self, at: At, one: &Instruction, pairs: &[Pair]) -> Result<(), Problem> {
        let mut text = String::from("ENV");
        for (key, value) in self.pairs(at, one, pairs)? {
            self.check_secret("ENV", &key, one);
            text += &format!(" {key}={value}");
            let stage = &mut self.stages[at];
            stage.env.set(&key, &value);
            env::set_in_image(&mut stage.image.config.env, &key, &value);
        }
        self.note(at, text, Layer::No);
        Ok(())
    }

    fn labels(&mut self, at: At, one: &Instruction, pairs: &[Pair]) -> Result<(), Problem> {
        let mut text = String::from("LABEL");
        for (key, value) in self.pairs(at, one, pairs)? {
            text += &format!(" {key}={value}");
            self.stages[at].image.config.labels.insert(key, value);
        }
        self.note(at, text, Layer::No);
        Ok(())
    }

    fn volumes(&mut self, at: At, one: &Instruction, volumes: &[String]) -> Result<(), Problem> {
        let how = self.how();
        let mut all = Vec::new();
        for volume in volumes {
            let volume = self.expand(at, one, how, volume)?;
            if volume.is_empty() {
                return Err(Problem::EmptyVolume);
            }
            all.push(volume);
        }
        self.note(at, format!("VOLUME {}", quote::list(&all)), Layer::No);
        self.stages[at].image.config.volumes.extend(all);
        Ok(())
    }

    fn expose(&mut self, at: At, one: &Instruction, words: &[String]) -> Result<(), Problem> {
        let how = self.how();
        let mut all = Vec::new();
        for word in words {
            for text in how.expand(word, &self.stages[at].env)?.words {
                let found = ports::parse(&text)?;
                if found.odd_case {
                    let text = format!(
                        "Defined protocol '{text}' in EXPOSE instruction should be lowercase"
                    );
                    self.checks.found(Rule::ExposeProtoCasing, &one.comments, one.lines, text);
                }
                if found.has_host {
                    let text = format!(
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'"
                    );
                    self.checks.found(Rule::ExposeInvalidFormat, &one.comments, one.lines, text);
                }
                all.extend(found.ports);
            }
        }
        self.note(at, format!("EXPOSE {}", quote::list(&all)), Layer::No);
        self.stages[at].image.config.exposed_ports.extend(all);
        Ok(())
    }

    fn workdir(&mut self, at: At, command: &Command, dir: &str) {
        let one = &command.instruction;
        if !self.stages[at].has_workdir && !dir.starts_with('/') {
            let text = format!(
                "Relative workdir {} can have unexpected results if the base image changes",
                quote::Quoted(dir)
            );
            self.checks.found(Rule::WorkdirRelativePath, &one.comments, one.lines, text);
        }
        let new = path::absolute(self.stages[at].dir(), dir, false);
        let stage = &mut self.stages[at];
        stage.has_workdir = true;
        stage.image.config.working_dir.clone_from(&new);
        let mut layer = Layer::No;
        if new != "/" {
            layer = Layer::Yes;
            let shown = self.shown(at, command, &one.text, format!("WORKDIR {new}"));
            let make = MakeDirectory {
                path: new.clone(),
                mode: 0o755,
                parents: true,
                owner: owner::owner(&self.stages[at].image.config.user),
                time: self.epoch.map(|seconds| seconds.saturating_mul(1_000_000_000)),
            };
            let file = File { actions: vec![Action::MakeDirectory(make)] };
            let inputs = vec![self.stages[at].step];
            let step = self.plan.add(Act::Op(Box::new(Op::File(file))), inputs, shown);
            self.stages[at].step = Some(step);
        }
        self.note(at, format!("WORKDIR {new}"), layer);
    }

    /// What is shown of the next step of a stage: an instruction, variables replaced.
    pub(crate) fn shown(
        &mut self,
        at: At,
        command: &Command,
        text: &str,
        created_by: String,
    ) -> Shown {
        let how = self.how();
        let stage = &mut self.stages[at];
        let name = names::text(text, how, &stage.env);
        let platform = stage.platform.clone();
        let prefix = stage.counter.next(platform.as_ref(), &stage.env, command.is_trigger);
        let lines = vec![range(command.instruction.lines)];
        Shown { name: prefix + &name, created_by, lines, ..Shown::default() }
    }

    /// The shell form: what runs it stands before the command.
    pub(crate) fn with_shell(&self, at: At, text: &str) -> Vec<String> {
        let image = &self.stages[at].image;
        let usual: &[&str] =
            if image.os == "windows" { &["cmd", "/S", "/C"] } else { &["/bin/sh", "-c"] };
        let usual = || usual.iter().map(|&word| word.to_owned()).collect();
        let shell = image.config.shell.clone();
        let mut words = shell.filter(|words| !words.is_empty()).unwrap_or_else(usual);
        words.push(text.into());
        words
    }

    fn line(&mut self, at: At, one: &Instruction, line: &Line) -> Vec<String> {
        match line {
            Line::Exec(words) => words.clone(),
            Line::Shell(text) => {
                let shell = &self.stages[at].image.config.shell;
                if shell.as_ref().is_none_or(Vec::is_empty) {
                    let text = format!(
                        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                        one.keyword
                    );
                    self.checks.found(Rule::JSONArgsRecommended, &one.comments, one.lines, text);
                }
                self.with_shell(at, text)
            }
        }
    }

    fn cmd(&mut self, at: At, one: &Instruction, line: &Line) {
        let before = self.stages[at].cmd.replace(one.lines);
        self.check_once(one, before);
        let words = self.line(at, one, line);
        self.note(at, format!("CMD {}", quote::quoted_list(&words)), Layer::No);
        let config = &mut self.stages[at].image.config;
        config.cmd = Some(words).filter(|words| !words.is_empty());
        config.args_escaped = true;
    }

    fn entrypoint(&mut self, at: At, one: &Instruction, line: &Line) {
        let before = self.stages[at].entrypoint.replace(one.lines);
        self.check_once(one, before);
        let words = self.line(at, one, line);
        self.note(at, format!("ENTRYPOINT {}", quote::quoted_list(&words)), Layer::No);
        let stage = &mut self.stages[at];
        stage.image.config.entrypoint = Some(words).filter(|words| !words.is_empty());
        // A base's command was for its own entry point.
        if stage.cmd.is_none() {
            stage.image.config.cmd = None;
        }
    }

    fn check_once(&mut self, one: &Instruction, before: Option<Lines>) {
        let Some(before) = before else { return };
        let text = format!(
            "Multiple {} instructions should not be used in the same stage because only the last one will be used",
            one.keyword
        );
        self.checks.found(Rule::MultipleInstructionsDisallowed, &one.comments, before, text);
    }

    fn check_secret(&mut self, instruction: &str, key: &str, one: &Instruction) {
        if text::is_secret(key) {
            let text = format!(
                "Do not use ARG or ENV instructions for sensitive data ({instruction} {})",
                quote::Quoted(key)
            );
            self.checks.found(Rule::SecretsUsedInArgOrEnv, &one.comments, one.lines, text);
        }
    }

    pub(crate) fn env(&self, at: At) -> &Env {
        &self.stages[at].env
    }
}
