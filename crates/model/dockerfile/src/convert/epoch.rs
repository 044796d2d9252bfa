//! `SOURCE_DATE_EPOCH`: the time that a build gives everything. A number, or what has a time of its own: the
//! context, a named context, or a stage that is nothing but one file from elsewhere.

use buildgraph::{Http, Source};

use super::Context;
use super::contexts::git_source;
use super::copy::{file_name, is_url};
use super::env::Env;
use super::stages::{Converter, SCRATCH};
use super::{Answer, Ask};
use crate::error::Error;
use crate::expand::Variables;
use crate::git::GitRef;
use crate::instruction::{Add, Body, Stage};
use crate::problem::Problem;

pub(crate) const NAME: &str = "SOURCE_DATE_EPOCH";

/// What is wrong with a stage that is to say the time.
const NOT_ONE: &str = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD";

impl Converter<'_> {
    pub(crate) fn set_epoch(&mut self) -> Result<(), Error> {
        let given = self.options.build_args.get(NAME).map(String::as_str);
        let value = given.or_else(|| self.globals.get(NAME)).unwrap_or_default().to_owned();
        if value.is_empty() {
            return Ok(());
        }
        self.epoch = match value.parse::<i64>() {
            Ok(seconds) => Some(seconds),
            Err(_) => match self.epoch_source(&value)? {
                Some((source, shown)) => self.time_of(source, shown)?,
                None => None,
            },
        };
        // Where nothing is known of a time, steps see that there is none.
        let text = self.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
        self.globals.set(NAME, &text);
        Ok(())
    }

    /// What the time is that steps see; `None`: nobody asked for one.
    pub(crate) fn epoch_text(&self) -> Option<String> {
        self.globals.get(NAME).map(str::to_owned)
    }

    fn time_of(&mut self, source: Source, shown: String) -> Result<Option<i64>, Error> {
        match self.answer(&Ask::Time { source: Box::new(source), shown }) {
            Some(Answer::Time(time)) => Ok(*time),
            Some(Answer::Failed(why)) => Err(Error::nowhere(Problem::Epoch(why.clone()))),
            _ => Ok(None),
        }
    }

    /// What says the time; `None`: it is there, and has none.
    fn epoch_source(&self, value: &str) -> Result<Option<(Source, String)>, Error> {
        if value == "context" {
            let shown = "[internal] resolve main build context metadata";
            let source = match (&self.options.context_origin, &self.options.context) {
                (Some(origin), _) => Some(origin.clone()),
                (None, Context::Made(source)) => Some(source.clone()),
                (None, Context::Local { .. }) => None,
            };
            return Ok(source.map(|source| (source, shown.into())));
        }
        if let Some(spec) = self.named_context(value, None) {
            let shown = format!("[internal] resolve SOURCE_DATE_EPOCH named context {value}");
            let source = from_elsewhere(&spec, "context", None, "")?;
            return Ok(source.map(|source| (source, shown)));
        }
        let is_it =
            |stage: &&Stage| stage.name().is_some_and(|name| name.eq_ignore_ascii_case(value));
        let Some(stage) = self.file.stages.iter().find(is_it) else {
            return Err(Error::nowhere(Problem::Epoch(value.into())));
        };
        let shown = format!("[internal] resolve SOURCE_DATE_EPOCH source stage {value}");
        let source = self.stage_source(stage);
        Ok(Some((source.map_err(|problem| Error::at(stage.lines, problem))?, shown)))
    }

    /// The one file or repository that a stage is.
    fn stage_source(&self, stage: &Stage) -> Result<Source, Problem> {
        let mut env = self.globals.clone();
        env.unset(NAME);
        if self.how().expand(&stage.base, &env)?.text != SCRATCH {
            return Err(Problem::EpochStage(
                "SOURCE_DATE_EPOCH stage must use FROM scratch".into(),
            ));
        }
        let not_one = || Problem::EpochStage(NOT_ONE.into());
        let mut found = None;
        for one in &stage.instructions {
            match &one.body {
                Body::Arg(arguments) => {
                    for argument in arguments {
                        let given = self.options.build_args.get(&argument.key).cloned();
                        let value = match (given, &argument.value) {
                            (Some(given), _) => given,
                            (None, Some(default)) => self.how().expand(default, &env)?.text,
                            (None, None) => continue,
                        };
                        env.set(&argument.key, &value);
                    }
                }
                Body::Add(_) if found.is_some() => return Err(not_one()),
                Body::Add(add) => found = Some(self.added(add, &env)?),
                _ => {
                    let name = one.text.split_whitespace().next().unwrap_or_default();
                    return Err(Problem::EpochStage(format!(
                        "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported {} instruction",
                        name.to_ascii_lowercase()
                    )));
                }
            }
        }
        found.ok_or_else(not_one)
    }

    fn added(&self, add: &Add, env: &Env) -> Result<Source, Problem> {
        let ([path], []) = (add.sources.paths.as_slice(), add.sources.files.as_slice()) else {
            return Err(Problem::EpochStage(format!("{NOT_ONE} source")));
        };
        let path = self.how().expand(path, env)?.text;
        let checksum = self.how().expand(&add.checksum, env)?.text;
        let source = from_elsewhere(&path, &file_name(&path), add.keep_git_dir, &checksum)?;
        source.ok_or_else(|| {
            let text = "SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD";
            Problem::EpochStage(text.into())
        })
    }
}

/// A repository, or a file behind a URL.
fn from_elsewhere(
    text: &str,
    name: &str,
    keep_git_dir: Option<bool>,
    checksum: &str,
) -> Result<Option<Source>, Problem> {
    if let Some(git) = GitRef::parse(text)?.filter(|git| !git.maybe_local) {
        return Ok(Some(git_source(&git, keep_git_dir, checksum)));
    }
    let sum = Some(buildgraph::Checksum(checksum.to_owned())).filter(|sum| !sum.0.is_empty());
    let http = || Http { url: text.into(), name: name.into(), checksum: sum, ..Http::default() };
    Ok(is_url(text).then(|| Source::Http(http())))
}
