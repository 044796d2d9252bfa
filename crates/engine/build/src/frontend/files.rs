//! The files that a front end reads: the Dockerfile, and what is left out of the context.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use buildgraph::{Checksum, Graph, Local, Op, Shown, Source};
use dockerfile::convert::Context;
use dockerfile::git::GitRef;

use crate::{Build, Error};

/// No Dockerfile is larger.
const MAX_DOCKERFILE: u64 = 10 << 20;

/// What was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// The Dockerfile's name, as it was asked for.
    pub(super) filename: String,
    /// What is in it.
    pub(super) dockerfile: Vec<u8>,
    /// What is in `.dockerignore`, or what takes its place; none: there is none.
    pub(super) ignore: Option<Vec<u8>>,
}

/// The context, where it is not a directory of the client's: a repository, or a file behind a URL.
pub(super) fn outside(options: &BTreeMap<String, String>) -> Result<Option<Source>, Error> {
    let Some(context) = options.get("context").filter(|context| !context.is_empty()) else {
        return Ok(None);
    };
    let git = GitRef::parse(context).map_err(|error| Error::Invalid(error.to_string()))?;
    if let Some(git) = git {
        return Ok(Some(Source::Git(buildgraph::Git {
            remote: git.remote,
            reference: git.reference,
            subdir: git.subdir,
            keep_git_dir: git.keep_git_dir.unwrap_or_default(),
            skip_submodules: git.submodules == Some(false),
            checksum: (!git.checksum.is_empty()).then_some(Checksum(git.checksum)),
            token_secret: "GIT_AUTH_TOKEN".into(),
            header_secret: "GIT_AUTH_HEADER".into(),
            ssh: "default".into(),
        })));
    }
    if context.starts_with("http://") || context.starts_with("https://") {
        return Err(Error::NotYet("a URL as the context of a build".into()));
    }
    Err(Error::Invalid(format!("invalid context {context}")))
}

/// Reads them where the options say that they are.
pub(super) async fn read(
    build: &Build,
    options: &BTreeMap<String, String>,
    context: &Context,
) -> Result<Files, Error> {
    let given = |key: &str, usual: &str| {
        let value = options.get(key).filter(|value| !value.is_empty());
        value.map_or_else(|| usual.to_owned(), Clone::clone)
    };
    let filename = given("filename", "Dockerfile");
    let own = format!("{filename}.dockerignore");
    let local = Local {
        name: given("dockerfilekey", "dockerfile"),
        include: vec![filename.clone(), own.clone(), filename.to_lowercase()],
        ..Local::default()
    };
    let source = match context {
        // The Dockerfile is in it, unless somebody says otherwise.
        Context::Made(source) if !options.contains_key("dockerfilekey") => source.clone(),
        _ => Source::Local(local),
    };
    let shown = format!("[internal] load build definition from {filename}");
    let directory = bring(build, source, &shown);
    let dockerfile = match read_one(build, &directory, &filename).await? {
        Some(bytes) => bytes,
        None => match read_one(build, &directory, &filename.to_lowercase()).await? {
            Some(bytes) if filename == "Dockerfile" => bytes,
            _ => return Err(missing(&filename)),
        },
    };
    let ignore = match (read_one(build, &directory, &own).await?, context) {
        (Some(bytes), _) => Some(bytes),
        (None, Context::Made(_)) => read_one(build, &directory, ".dockerignore").await?,
        (None, Context::Local { name, .. }) => {
            ignore_of(build, name, "[internal] load .dockerignore").await?
        }
    };
    Ok(Files { filename, dockerfile, ignore })
}

/// What is left out of a directory of the client's.
pub(super) async fn ignore_of(
    build: &Build,
    name: &str,
    shown: &str,
) -> Result<Option<Vec<u8>>, Error> {
    let local =
        Local { name: name.to_owned(), include: vec![".dockerignore".into()], ..Local::default() };
    let directory = bring(build, Source::Local(local), shown);
    read_one(build, &directory, ".dockerignore").await
}

fn missing(filename: &str) -> Error {
    let why = format!("failed to read dockerfile: open {filename}: no such file or directory");
    Error::NotFound(why)
}

/// A directory, by a name.
fn bring(build: &Build, source: Source, shown: &str) -> String {
    let mut graph = Graph::default();
    let shown = Shown { name: shown.into(), ..Shown::default() };
    match graph.add(Op::Source(source), Vec::new(), None, false, shown) {
        Ok(vertex) => build.reference(Arc::new(graph), vertex),
        // A source has no inputs that could be wrong.
        Err(_) => String::new(),
    }
}

/// A file of it; `None` where there is none. What is no regular file is an error.
async fn read_one(build: &Build, directory: &str, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let found = build.read_file(directory, Path::new(name), 0, Some(MAX_DOCKERFILE + 1)).await;
    match found {
        Ok(bytes) if bytes.len() as u64 > MAX_DOCKERFILE => {
            Err(Error::Invalid(format!("{name} is larger than {MAX_DOCKERFILE} bytes")))
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::Sys(error)) if error.errno() == rustix::io::Errno::NOENT => Ok(None),
        Err(error) => Err(error),
    }
}
