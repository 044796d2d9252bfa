//! RUN.

use buildgraph::{
    Action, Device, Exec, File, MakeFile, Mount as Mounted, MountKind, Network, Op, SecretVariable,
    Security, Sharing,
};

use super::env::Env;
use super::history::{self, Layer};
use super::names;
use super::plan::{Act, Step, internal, range};
use super::stage::{At, Command};
use super::stages::Converter;
use crate::expand::Expander;
use crate::heredoc;
use crate::instruction::{self, Command as Line, Run};
use crate::mount::{self, Mount, MountType};
use crate::path;
use crate::problem::Problem;

/// Where a here-document that is a program of its own is.
const PIPES: &str = "/dev/pipes/";

/// A RUN on its way to a step.
struct Program {
    exec: Exec,
    inputs: Vec<Option<Step>>,
}

impl Program {
    fn input(&mut self, step: Option<Step>) -> usize {
        self.inputs.push(step);
        self.inputs.len() - 1
    }
}

impl Converter<'_> {
    pub(crate) fn run_program(
        &mut self,
        at: At,
        command: &Command,
        run: &Run,
    ) -> Result<(), Problem> {
        let how = self.how();
        let mut mounts = Vec::new();
        for raw in &run.mounts {
            let one = &command.instruction;
            mounts.push(raw.resolve(|value| self.expand(at, one, how, value))?);
        }
        // Programs may use anything.
        self.use_path(at, "/");
        let mut program = Program { exec: self.exec(at, run), inputs: vec![self.stages[at].step] };
        let mut text = command.instruction.text.clone();
        program.exec.args = self.command_line(at, run, &mut program, &mut text);
        self.add_mounts(at, command, mounts, &mut program)?;
        let secrets = program.exec.secrets.iter().map(|one| one.name.as_str());
        let name = self.run_name(at, &text, secrets);
        let stage = &mut self.stages[at];
        let history = history::run(&program.exec.args, &stage.arguments, &stage.env);
        let platform = stage.platform.clone();
        let prefix = stage.counter.next(platform.as_ref(), &stage.env, command.is_trigger);
        let shown = buildgraph::Shown {
            name: prefix + &name,
            created_by: history.clone(),
            lines: vec![range(command.instruction.lines)],
            ..buildgraph::Shown::default()
        };
        let ignore_cache = stage.ignore_cache;
        let act = Act::Op(Box::new(Op::Exec(program.exec)));
        let step = self.plan.add_on(act, program.inputs, platform, ignore_cache, shown);
        self.stages[at].step = Some(step);
        self.note(at, history, Layer::Yes);
        Ok(())
    }

    /// The instruction as it is shown: quotes stay, and what comes from a secret is not there.
    fn run_name<'a>(&self, at: At, text: &str, secrets: impl Iterator<Item = &'a str>) -> String {
        let how = Expander { raw_quotes: true, keep_unset: true, ..self.how() };
        let mut env: Env = self.env(at).clone();
        for name in secrets {
            env.set(name, "****");
        }
        names::text(text, how, &env)
    }

    fn exec(&self, at: At, run: &Run) -> Exec {
        let options = self.options;
        let device =
            |one: &mount::Device| Device { name: one.name.clone(), optional: !one.required };
        Exec {
            env: self.env(at).lines(),
            proxy_env: self.proxies.clone(),
            cwd: self.stages[at].dir().into(),
            user: self.stages[at].image.config.user.clone(),
            hostname: options.hostname.clone(),
            network: match run.network {
                instruction::Network::Default => options.network,
                instruction::Network::None => Network::None,
                instruction::Network::Host => Network::Host,
            },
            security: if run.insecure { Security::Insecure } else { Security::Sandbox },
            hosts: options.hosts.clone(),
            ulimits: options.ulimits.clone(),
            limits: options.limits.clone(),
            shm_size: options.shm_size,
            cgroup_parent: options.cgroup_parent.clone(),
            devices: options
                .devices
                .iter()
                .cloned()
                .chain(run.devices.iter().map(device))
                .collect(),
            ..Exec::default()
        }
    }

    /// What is run. A here-document by itself is the script, or, with `#!`, a program.
    fn command_line(
        &mut self,
        at: At,
        run: &Run,
        program: &mut Program,
        shown: &mut String,
    ) -> Vec<String> {
        let text = match &run.command {
            Line::Exec(words) => return words.clone(),
            Line::Shell(text) => text,
        };
        let Some(first) = run.heredocs.first() else { return self.with_shell(at, text) };
        if !matches!(heredoc::of_word(text), Ok(Some(_))) {
            let mut script = text.clone();
            for one in &run.heredocs {
                script += &format!("\n{}{}", one.content, one.name);
            }
            return self.with_shell(at, &script);
        }
        *shown += &format!(" ({})", summary(&first.content));
        let script = first.text();
        if !script.starts_with("#!") {
            return self.with_shell(at, &script);
        }
        let name = path::base(&first.name).to_owned();
        let make = MakeFile {
            path: format!("/{name}"),
            mode: 0o755,
            data: script.into_bytes(),
            time: self.epoch.map(|seconds| seconds.saturating_mul(1_000_000_000)),
            ..MakeFile::default()
        };
        let file = File { actions: vec![Action::MakeFile(make)] };
        let shown = internal("preparing inline document");
        let step = self.plan.add(Act::Op(Box::new(Op::File(file))), Vec::new(), shown);
        let input = program.input(Some(step));
        program.exec.mounts.push(Mounted {
            target: PIPES.into(),
            readonly: true,
            kind: MountKind::Bind { input, source: "/".into() },
        });
        // The shell starts it, as BuildKit has it.
        self.with_shell(at, &format!("{PIPES}{name}"))
    }

    fn add_mounts(
        &mut self,
        at: At,
        command: &Command,
        mounts: Vec<Mount>,
        program: &mut Program,
    ) -> Result<(), Problem> {
        for (idx, mount) in mounts.into_iter().enumerate() {
            match mount.kind {
                MountType::Secret => self.add_secret(at, command, &mount, program)?,
                MountType::Ssh => self.add_agent(at, command, &mount, program)?,
                MountType::Bind | MountType::Cache | MountType::Tmpfs => {
                    let source = command.sources.get(idx).copied();
                    self.add_mount(at, mount, source, program)?;
                }
            }
        }
        Ok(())
    }

    fn add_mount(
        &mut self,
        at: At,
        mount: Mount,
        source: Option<At>,
        program: &mut Program,
    ) -> Result<(), Problem> {
        let target = path::absolute(self.stages[at].dir(), &mount.target, false);
        let target = path::clean(&target);
        if target == "/" {
            return Err(Problem::MountTarget(target));
        }
        let from = source.filter(|_| !mount.from.is_empty());
        if from.is_some_and(|from| !self.stages[from].is_done) {
            return Err(Problem::MountFromLater(mount.from, mount.target));
        }
        let inside = path::join(&["/", &mount.source]);
        let kind = match mount.kind {
            MountType::Tmpfs => {
                let size = u64::try_from(mount.size).ok().filter(|size| *size > 0);
                MountKind::Tmpfs { size }
            }
            MountType::Cache => {
                let step = from.and_then(|from| {
                    self.use_path(from, &inside);
                    self.stages[from].step
                });
                self.cache(&mount, step, inside, program)
            }
            _ => {
                let step = if let Some(from) = from {
                    self.use_path(from, &inside);
                    self.stages[from].step
                } else {
                    self.context_used.insert(inside.clone());
                    Some(self.context_step())
                };
                MountKind::Bind { input: program.input(step), source: inside }
            }
        };
        program.exec.mounts.push(Mounted { target, readonly: mount.readonly, kind });
        Ok(())
    }

    fn cache(
        &self,
        mount: &Mount,
        step: Option<Step>,
        source: String,
        program: &mut Program,
    ) -> MountKind {
        let own = path::clean(&mount.target);
        let id = if mount.id.is_empty() { &own } else { &mount.id };
        MountKind::Cache {
            id: format!("{}/{id}", self.options.cache_namespace),
            sharing: match mount.sharing {
                None | Some(mount::Sharing::Shared) => Sharing::Shared,
                Some(mount::Sharing::Private) => Sharing::Private,
                Some(mount::Sharing::Locked) => Sharing::Locked,
            },
            from: step.map(|step| program.input(Some(step))),
            source,
            mode: mount.mode.unwrap_or(0o755),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        }
    }

    fn add_secret(
        &mut self,
        at: At,
        command: &Command,
        mount: &Mount,
        program: &mut Program,
    ) -> Result<(), Problem> {
        let given = if mount.source.is_empty() { &mount.id } else { &mount.source };
        let id = match given.as_str() {
            "" if mount.target.is_empty() => return Err(Problem::SecretNothing),
            "" => path::base(&mount.target).to_owned(),
            id => id.to_owned(),
        };
        let here = (mount.required, command.instruction.lines);
        self.stages[at].taken.secrets.entry(id.clone()).or_insert(here);
        let optional = !mount.required;
        let target = match (mount.target.as_str(), &mount.env) {
            ("", Some(_)) => None,
            ("", None) => Some(format!("/run/secrets/{}", path::base(&id))),
            (target, _) => Some(path::absolute(self.stages[at].dir(), target, false)),
        };
        if let Some(name) = &mount.env {
            let (id, name) = (id.clone(), name.clone());
            // Named like the secret, where it is given without a value.
            let name = if name.is_empty() { id.clone() } else { name };
            program.exec.secrets.push(SecretVariable { id, name, optional });
        }
        let Some(target) = target else { return Ok(()) };
        let kind = MountKind::Secret {
            id,
            optional,
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(0o400),
        };
        program.exec.mounts.push(Mounted { target, readonly: true, kind });
        Ok(())
    }

    fn add_agent(
        &mut self,
        at: At,
        command: &Command,
        mount: &Mount,
        program: &mut Program,
    ) -> Result<(), Problem> {
        if !mount.source.is_empty() {
            return Err(Problem::SshSource);
        }
        let id = if mount.id.is_empty() { "default" } else { &mount.id };
        let here = (mount.required, command.instruction.lines);
        self.stages[at].taken.agents.entry(id.into()).or_insert(here);
        let number = program.exec.mounts.iter();
        let number = number.filter(|one| matches!(one.kind, MountKind::Ssh { .. })).count();
        let target = match mount.target.as_str() {
            "" => format!("/run/buildkit/ssh_agent.{number}"),
            target => path::absolute(self.stages[at].dir(), target, false),
        };
        let kind = MountKind::Ssh {
            id: id.into(),
            optional: !mount.required,
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(0o600),
        };
        // Programs find the first by this, unless they were told of another.
        let env = &mut program.exec.env;
        if number == 0 && !env.iter().any(|one| one.starts_with("SSH_AUTH_SOCK=")) {
            env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        program.exec.mounts.push(Mounted { target, readonly: true, kind });
        Ok(())
    }
}

/// The first line of a here-document, with dots where there are more.
fn summary(text: &str) -> String {
    let mut lines = text.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { format!("{first}...") } else { first.into() }
}
