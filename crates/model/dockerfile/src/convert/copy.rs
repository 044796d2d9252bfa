//! COPY and ADD.

use buildgraph::{Action, Checksum, Copy, File, Http, MakeFile, Op, Shown, Source};

use super::contexts::git_source;
use super::history::Layer;
use super::owner;
use super::plan::{Act, Step, internal};
use super::stage::{At, Command};
use super::stages::Converter;
use crate::check::Rule;
use crate::expand::Expander;
use crate::git::GitRef;
use crate::ignore::has_wildcards;
use crate::instruction::{self, CopyFlags, Sources};
use crate::path;
use crate::problem::Problem;

/// What both instructions have, variables replaced.
struct Job {
    is_add: bool,
    sources: Sources,
    flags: CopyFlags,
    parents: bool,
    checksum: String,
    keep_git_dir: Option<bool>,
    unpack: Option<bool>,
    /// What plain sources are in; `None` for a stage that is empty.
    from: Option<Step>,
    /// They are in the build's context.
    is_context: bool,
}

/// Copies on their way to a step.
struct Copies {
    inputs: Vec<Option<Step>>,
    actions: Vec<Action>,
}

impl Copies {
    fn push(&mut self, step: Option<Step>, copy: Copy) {
        self.inputs.push(step);
        let input = self.inputs.len() - 1;
        self.actions.push(Action::Copy(Copy { input, ..copy }));
    }
}

impl Converter<'_> {
    pub(crate) fn add_files(
        &mut self,
        at: At,
        command: &Command,
        add: &instruction::Add,
    ) -> Result<(), Problem> {
        let how = self.how();
        let (sources, flags) = self.expanded(at, command, &add.sources, &add.flags)?;
        let job = Job {
            is_add: true,
            sources,
            flags,
            parents: false,
            checksum: self.expand(at, &command.instruction, how, &add.checksum)?,
            keep_git_dir: add.keep_git_dir,
            unpack: add.unpack,
            from: None,
            is_context: true,
        };
        self.carry_out(at, command, &job)
    }

    pub(crate) fn copy_files(
        &mut self,
        at: At,
        command: &Command,
        copy: &instruction::Copy,
    ) -> Result<(), Problem> {
        let (sources, flags) = self.expanded(at, command, &copy.sources, &copy.flags)?;
        let source = command.sources.first().copied();
        if let Some(source) = source {
            if !self.stages[source].is_done {
                let stage = self.stages[at].counter.stage.clone();
                return Err(Problem::CopyFromLater(copy.from.clone(), stage));
            }
            for one in &sources.paths {
                self.use_path(source, &path::join(&["/", one]));
            }
        }
        let job = Job {
            is_add: false,
            sources,
            flags,
            parents: copy.parents,
            checksum: String::new(),
            keep_git_dir: None,
            unpack: None,
            from: source.and_then(|source| self.stages[source].step),
            is_context: source.is_none(),
        };
        self.carry_out(at, command, &job)
    }

    fn expanded(
        &mut self,
        at: At,
        command: &Command,
        sources: &Sources,
        flags: &CopyFlags,
    ) -> Result<(Sources, CopyFlags), Problem> {
        let how = self.how();
        let one = &command.instruction;
        let flags = CopyFlags {
            chown: self.expand(at, one, how, &flags.chown)?,
            chmod: self.expand(at, one, how, &flags.chmod)?,
            ..flags.clone()
        };
        let mut sources = sources.clone();
        for word in &mut sources.paths {
            *word = self.expand(at, one, how, word)?;
        }
        sources.destination = self.expand(at, one, how, &sources.destination)?;
        // Quotes in a file are quotes, and its escape is always the same.
        let how = Expander { plain_quotes: true, ..Expander::new('\\') };
        for file in &mut sources.files {
            file.content = file.text();
            file.chomp = false;
            if file.expand {
                file.content = self.expand(at, one, how, &file.content)?;
            }
        }
        Ok((sources, flags))
    }

    /// The step of the build's context.
    pub(crate) fn context_step(&mut self) -> Step {
        self.plan.add(Act::Context, Vec::new(), internal("load build context"))
    }

    /// Something of a directory is wanted.
    pub(crate) fn use_path(&mut self, at: At, one: &str) {
        let at = self.stages[at].named.and_then(|place| self.named.get(place)).map(|named| named.1);
        if let Some(at) = at {
            self.stages[at].used.insert(one.into());
        }
    }

    fn carry_out(&mut self, at: At, command: &Command, job: &Job) -> Result<(), Problem> {
        owner::check_mode(&job.flags.chmod)?;
        check_checksum(job)?;
        let history = history_text(job);
        let shown = self.shown(at, command, &command.instruction.text, history.clone());
        let destination = destination(self.stages[at].dir(), &job.sources.destination);
        let plain = Copy {
            destination,
            owner: owner::owner(&job.flags.chown),
            mode: job.flags.chmod.clone(),
            create_destination: true,
            exclude: job.flags.exclude.clone(),
            ..Copy::default()
        };
        let is_linked = job.flags.link && job.flags.chmod.is_empty();
        let below = self.stages[at].step;
        let root = if is_linked { None } else { below };
        let mut copies = Copies { inputs: vec![root], actions: Vec::new() };
        for source in &job.sources.paths {
            let git = GitRef::parse(source)?.filter(|git| !git.maybe_local);
            if let Some(git) = git {
                self.copy_git(job, &git, &plain, &shown, &mut copies)?;
            } else if source.starts_with("http://") || source.starts_with("https://") {
                self.copy_url(job, source, &plain, &shown, &mut copies)?;
            } else {
                self.copy_path(command, job, source, &plain, &mut copies);
            }
        }
        for file in &job.sources.files {
            let name = format!("/{}", path::base(&file.name));
            let make = MakeFile {
                path: name.clone(),
                mode: 0o644,
                data: file.content.clone().into_bytes(),
                time: self.epoch.map(|seconds| seconds.saturating_mul(1_000_000_000)),
                ..MakeFile::default()
            };
            let made = File { actions: vec![Action::MakeFile(make)] };
            let shown = internal("preparing inline document");
            let step = self.plan.add(Act::Op(Box::new(Op::File(made))), Vec::new(), shown);
            copies.push(Some(step), Copy { source: name, ..plain.clone() });
        }
        self.put(at, command, copies, is_linked, shown);
        self.note(at, history, Layer::Yes);
        Ok(())
    }

    fn put(
        &mut self,
        at: At,
        command: &Command,
        copies: Copies,
        is_linked: bool,
        mut shown: Shown,
    ) {
        let ignore_cache = self.stages[at].ignore_cache;
        let below = self.stages[at].step;
        let act = Act::Op(Box::new(Op::File(File { actions: copies.actions })));
        if is_linked {
            let group = format!("{at}.{}", self.stages[at].counter.at);
            shown.group = Some((group, shown.name.clone()));
        }
        let own = self.plan.add_on(act, copies.inputs, None, ignore_cache, shown.clone());
        let step = match below.filter(|_| is_linked) {
            None => own,
            Some(below) => {
                let text = format!("LINK {}", command.instruction.text);
                let stage = &self.stages[at];
                let platform = stage.platform.as_ref();
                let prefix = stage.counter.same(platform, &stage.env, command.is_trigger);
                let name = prefix + &super::names::text(&text, self.how(), self.env(at));
                let shown = Shown { name, ..shown };
                let act = Act::Op(Box::new(Op::Merge));
                self.plan.add_on(act, vec![Some(below), Some(own)], None, ignore_cache, shown)
            }
        };
        self.stages[at].step = Some(step);
    }

    fn copy_git(
        &mut self,
        job: &Job,
        git: &GitRef,
        plain: &Copy,
        shown: &Shown,
        copies: &mut Copies,
    ) -> Result<(), Problem> {
        if !job.is_add {
            return Err(Problem::CopyGit);
        }
        if let (Some(own), Some(other)) = (job.keep_git_dir, git.keep_git_dir)
            && own != other
        {
            return Err(Problem::KeepGitDir);
        }
        let sums = (job.checksum.as_str(), git.checksum.as_str());
        if !sums.0.is_empty() && !sums.1.is_empty() && sums.0 != sums.1 {
            return Err(Problem::ChecksumMismatch(sums.0.into(), sums.1.into()));
        }
        let source = git_source(git, job.keep_git_dir, &job.checksum);
        let act = Act::Op(Box::new(Op::Source(source)));
        let step =
            self.plan.add(act, Vec::new(), Shown { created_by: String::new(), ..shown.clone() });
        let copy = Copy { source: "/".into(), contents_only: true, ..plain.clone() };
        copies.push(Some(step), copy);
        Ok(())
    }

    fn copy_url(
        &mut self,
        job: &Job,
        url: &str,
        plain: &Copy,
        shown: &Shown,
        copies: &mut Copies,
    ) -> Result<(), Problem> {
        if !job.is_add {
            return Err(Problem::CopyUrl);
        }
        let checksum = match job.checksum.as_str() {
            "" => None,
            text => {
                let parsed = text.parse::<oci::Digest>();
                parsed.map_err(|error| Problem::Checksum(error.to_string()))?;
                Some(Checksum(text.into()))
            }
        };
        let name = file_name(url);
        let http = Http { url: url.into(), checksum, name: name.clone(), ..Http::default() };
        let act = Act::Op(Box::new(Op::Source(Source::Http(http))));
        let step =
            self.plan.add(act, Vec::new(), Shown { created_by: String::new(), ..shown.clone() });
        let unpack = job.unpack.unwrap_or(false);
        copies.push(Some(step), Copy { source: format!("/{name}"), unpack, ..plain.clone() });
        Ok(())
    }

    fn copy_path(
        &mut self,
        command: &Command,
        job: &Job,
        source: &str,
        plain: &Copy,
        copies: &mut Copies,
    ) {
        let step = if job.is_context {
            self.check_ignored(command, job, source);
            self.context_used.insert(path::join(&["/", source]));
            Some(self.context_step())
        } else {
            job.from
        };
        let copy = Copy {
            source: path::join(&["/", source]),
            follow_links: true,
            contents_only: true,
            wildcards: true,
            may_be_empty: true,
            unpack: job.unpack.unwrap_or(job.is_add),
            ..plain.clone()
        };
        if !job.parents {
            return copies.push(step, copy);
        }
        // What stands before `/./` does not come along.
        let (base, inside) = source.split_once("/./").unwrap_or(("", source));
        let base = path::join(&["/", base]);
        let inside = path::join(&["/", inside]);
        let may_be_empty = has_wildcards(&base) || has_wildcards(&inside);
        let source = format!("{}/.{inside}", base.trim_end_matches('/'));
        copies.push(step, Copy { source, parents: true, may_be_empty, ..copy });
    }

    fn check_ignored(&mut self, command: &Command, job: &Job, source: &str) {
        let Some(patterns) = self.ignore.as_ref().filter(|one| !one.has_exceptions()) else {
            return;
        };
        let source = path::clean(source);
        // The root itself is no path that could be left out; all that is in it can be.
        let is_root = matches!(source.as_str(), "." | "/");
        let ignores_all = || patterns.each().any(|(text, _)| matches!(text, "*" | "**" | "**/*"));
        let is_ignored =
            if is_root { ignores_all() } else { patterns.matches(source.trim_start_matches('/')) };
        if !is_ignored {
            return;
        }
        let name = if job.is_add { "Add" } else { "Copy" };
        let text =
            format!("Attempting to {name} file \"{source}\" that is excluded by .dockerignore");
        let one = &command.instruction;
        self.checks.found(Rule::CopyIgnoredFile, &one.comments, one.lines, text);
    }
}

pub(crate) fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

fn check_checksum(job: &Job) -> Result<(), Problem> {
    if job.checksum.is_empty() {
        return Ok(());
    }
    let [source] = job.sources.paths.as_slice() else { return Err(Problem::ChecksumSeveral) };
    if is_url(source) || GitRef::parse(source)?.is_some() {
        return Ok(());
    }
    Err(Problem::ChecksumSource)
}

/// The instruction as the history has it: some of its flags, and its words.
fn history_text(job: &Job) -> String {
    let mut words = vec![if job.is_add { "ADD".to_owned() } else { "COPY".to_owned() }];
    if job.parents {
        words.push("--parents".into());
    }
    for (name, value) in [("chown", &job.flags.chown), ("chmod", &job.flags.chmod)] {
        if !value.is_empty() {
            words.push(format!("--{name}={value}"));
        }
    }
    words.extend(job.sources.paths.iter().cloned());
    words.extend(job.sources.files.iter().map(|file| format!("<<{}", file.name)));
    words.push(job.sources.destination.clone());
    format!("{} # buildkit", words.join(" "))
}

/// An absolute path, which ends in `/` where it is to be a directory.
fn destination(dir: &str, path: &str) -> String {
    let path = if matches!(path, "." | "") { "./" } else { path };
    path::absolute(dir, path, true)
}

/// The name of a file behind a URL: the last part of its path.
pub(crate) fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match rest.split_once('/').map(|(_, path)| path::base(path)) {
        None | Some("." | ".." | "/" | "") => "__unnamed__".into(),
        Some(name) => name.into(),
    }
}
