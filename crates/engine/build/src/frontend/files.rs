//! The files that a front end reads: the Dockerfile, and what is left out of the context.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use buildgraph::{
    Action, Checksum, Copy, File, Graph, Http, Local, Op, Remove, Shown, Source, VertexIdx,
};
use dockerfile::convert::Context;
use dockerfile::git::GitRef;
use tarstream::{SNIFF_BYTES, is_archive};

use crate::build::Asked;
use crate::request::FrontendRequest;
use crate::source::UPLOAD;
use crate::{Build, Error};

/// What says what is left out.
const IGNORE: &str = ".dockerignore";
/// What a client says that has no directory of a name (BuildKit's `session/filesync`).
const NO_DIRECTORY: &str = "no access allowed to dir";
/// The options that say in which session a directory of the client's is.
const SESSION: &str = "local-sessionid:";
/// The option that gives a build a time.
const EPOCH: &str = "build-arg:SOURCE_DATE_EPOCH";
/// No Dockerfile is larger.
const MAX_DOCKERFILE: u64 = 10 << 20;

/// What was read.
#[derive(Debug)]
pub(super) struct Files {
    /// The Dockerfile's name, as it was asked for.
    pub(super) filename: String,
    /// What is in it.
    pub(super) dockerfile: Vec<u8>,
    /// What is in `.dockerignore`, or what takes its place; none: there is none.
    pub(super) ignore: Option<Vec<u8>>,
    /// Why nobody knows whether there is one. It is no matter to who takes nothing from the context.
    pub(super) no_ignore: Option<Error>,
}

/// A context that is no directory of the client's.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    /// What it was made of: what is behind the URL, the repository.
    pub(super) origin: Source,
    /// What is built from.
    pub(super) context: Source,
    /// Where the Dockerfile is.
    pub(super) dockerfile: Source,
    /// What it is called there, where that is not for the build to say.
    pub(super) filename: Option<String>,
}

/// What a file that is a context is called until it is known what it is.
const CONTEXT: &str = "context";

/// The context, where it is not a directory of the client's: a repository, or a file behind a URL, which is
/// an archive or a Dockerfile.
pub(super) async fn outside(
    build: &Build,
    request: &FrontendRequest,
) -> Result<Option<Outside>, Error> {
    let Some(context) = request.options.get("context").filter(|context| !context.is_empty()) else {
        return Ok(given(request));
    };
    let git = GitRef::parse(context).map_err(|error| Error::Invalid(error.to_string()))?;
    if let Some(git) = git {
        // As in BuildKit: a build that has a time wants those of a checkout to be the same each time.
        let has_time = request.options.get(EPOCH).is_some_and(|epoch| !epoch.is_empty());
        let context = Source::Git(buildgraph::Git {
            remote: git.remote,
            reference: git.reference,
            subdir: git.subdir,
            keep_git_dir: git.keep_git_dir.unwrap_or_default(),
            skip_submodules: git.submodules == Some(false),
            checksum: (!git.checksum.is_empty()).then_some(Checksum(git.checksum)),
            token_secret: "GIT_AUTH_TOKEN".into(),
            header_secret: "GIT_AUTH_HEADER".into(),
            ssh: "default".into(),
            commit_times: git.mtime == "commit" || (has_time && git.mtime.is_empty()),
            by_commit: git.fetch_by_commit,
            ..buildgraph::Git::default()
        });
        let (origin, dockerfile) = (context.clone(), context.clone());
        return Ok(Some(Outside { origin, context, dockerfile, filename: None }));
    }
    if context.starts_with("http://") || context.starts_with("https://") {
        return behind_url(build, request, context).await.map(Some);
    }
    Err(Error::Invalid(format!("invalid context {context}")))
}

/// A context that is a result of the same build, with its Dockerfile, unless that is a directory of the client's.
fn given(request: &FrontendRequest) -> Option<Outside> {
    let result = |name: &str| request.inputs.get(name).cloned().map(Source::Result);
    let option = |key: &str| request.options.get(key).filter(|value| !value.is_empty());
    let context = result("context")?;
    let dockerfile = result(option("dockerfilekey").map_or("dockerfile", String::as_str));
    let filename = option("filename").map_or("Dockerfile", String::as_str);
    let local = || {
        let follow = vec![filename.to_owned(), format!("{filename}.dockerignore")];
        Source::Local(Local { follow, ..local_of(&request.options, "dockerfile") })
    };
    let dockerfile = dockerfile.unwrap_or_else(local);
    Some(Outside { origin: context.clone(), context, dockerfile, filename: None })
}

/// A file behind a URL: an archive is unpacked, anything else is a Dockerfile, alone in its context.
async fn behind_url(build: &Build, request: &FrontendRequest, url: &str) -> Result<Outside, Error> {
    let http = Source::Http(Http { url: url.into(), name: CONTEXT.into(), ..Http::default() });
    let file = bring(build, http.clone(), "[internal] load remote build context");
    let start = build.read_file(&file, Path::new(CONTEXT), 0, Some(SNIFF_BYTES as u64)).await?;
    let is_upload = url.starts_with(UPLOAD);
    let is_dockerfile = !(is_archive(&start) || request.is_classic && is_upload);
    if is_dockerfile {
        let filename = Some(CONTEXT.to_owned());
        let (origin, dockerfile) = (http.clone(), http.clone());
        return Ok(Outside { origin, context: http, dockerfile, filename });
    }
    let mut graph = Graph::default();
    let shown = |name: &str| Shown { name: name.into(), ..Shown::default() };
    let nothing = graph.add(Op::File(File::default()), vec![], None, false, shown("nothing"))?;
    let origin = http.clone();
    let archive = graph.add(Op::Source(http), vec![], None, false, shown("archive"))?;
    let copy = Copy {
        input: 1,
        source: format!("/{CONTEXT}"),
        destination: "/".into(),
        create_destination: true,
        unpack: true,
        has_to_unpack: true,
        ..Copy::default()
    };
    let file = File { actions: vec![Action::Copy(copy)] };
    let name = shown("[internal] unpack build context");
    // Nothing at all is an archive of nothing.
    let unpacked = if start.is_empty() {
        nothing
    } else {
        graph.add(Op::File(file), vec![nothing, archive], None, false, name)?
    };
    let unpacked = match request.options.get("contextsubdir").map(String::as_str) {
        None | Some("" | "/") => unpacked,
        Some(subdir) => {
            let part = File { actions: vec![Action::Copy(part(subdir))] };
            let name = shown("[internal] part of build context");
            graph.add(Op::File(part), vec![nothing, unpacked], None, false, name)?
        }
    };
    let graph = Arc::new(graph);
    let all = build.reference(Arc::clone(&graph), unpacked);
    // What is wrong with the archive is said before anything else is looked for in it.
    build.evaluate(&all).await?;
    let dockerfile = Source::Result(all.clone());
    let context = match without(build, request, &all).await? {
        Some(removed) => Source::Result(reduced(build, &graph, unpacked, &removed)?),
        None => dockerfile.clone(),
    };
    Ok(Outside { origin, context, dockerfile, filename: None })
}

/// What is in a directory, as all that there is.
fn part(directory: &str) -> Copy {
    Copy {
        input: 1,
        source: format!("/{}", directory.trim_start_matches('/')),
        destination: "/".into(),
        contents_only: true,
        create_destination: true,
        follow_links: true,
        ..Copy::default()
    }
}

/// What the older API takes away from a context: of the Dockerfile and `.dockerignore` what the latter names.
/// All else in it its clients have left out.
async fn without(
    build: &Build,
    request: &FrontendRequest,
    all: &str,
) -> Result<Option<Vec<String>>, Error> {
    if !request.is_classic {
        return Ok(None);
    }
    let Some(text) = read_one(build, all, IGNORE).await? else { return Ok(None) };
    let patterns = dockerfile::ignore::Patterns::new(&dockerfile::ignore::read(&text));
    let patterns = patterns.map_err(|error| Error::Invalid(format!("{IGNORE}: {error}")))?;
    let filename = request.options.get("filename").map_or("Dockerfile", String::as_str);
    let both = [IGNORE, filename.trim_start_matches("./").trim_start_matches('/')];
    let removed = both.into_iter().filter(|name| patterns.matches(name)).map(str::to_owned);
    Ok(Some(removed.collect::<Vec<_>>()).filter(|removed| !removed.is_empty()))
}

/// A context without these files.
fn reduced(
    build: &Build,
    graph: &Graph,
    all: VertexIdx,
    removed: &[String],
) -> Result<String, Error> {
    let mut graph = graph.clone();
    let remove = |path: &String| {
        Action::Remove(Remove { path: path.clone(), may_be_missing: true, ..Remove::default() })
    };
    let file = File { actions: removed.iter().map(remove).collect() };
    let name = "[internal] leave out of build context".into();
    let shown = Shown { name, ..Shown::default() };
    let rest = graph.add(Op::File(file), vec![all], None, false, shown)?;
    Ok(build.reference(Arc::new(graph), rest))
}

/// Reads them where the options say that they are.
pub(super) async fn read(
    build: &Build,
    request: &FrontendRequest,
    outside: Option<&Outside>,
    context: &Context,
) -> Result<Files, Error> {
    let options = &request.options;
    let given = |key: &str, usual: &str| {
        let value = options.get(key).filter(|value| !value.is_empty());
        value.map_or_else(|| usual.to_owned(), Clone::clone)
    };
    let has_own = options.get("dockerfilekey").is_some_and(|key| !key.is_empty());
    let fixed = outside.filter(|_| !has_own).and_then(|outside| outside.filename.clone());
    let filename = fixed.unwrap_or_else(|| given("filename", "Dockerfile"));
    let own = format!("{filename}.dockerignore");
    let mut source = place(request, outside);
    if let Source::Local(local) = &mut source {
        // With what they are links to.
        local.follow = vec![filename.clone(), own.clone(), filename.to_lowercase()];
    }
    let shown = format!("[internal] load build definition from {filename}");
    let directory = bring(build, source, &shown);
    let dockerfile = match read_one(build, &directory, &filename).await? {
        Some(bytes) => bytes,
        None => match read_one(build, &directory, &filename.to_lowercase()).await? {
            Some(bytes) if filename == "Dockerfile" => bytes,
            _ => return Err(missing(&filename)),
        },
    };
    let found = match (read_one(build, &directory, &own).await?, context) {
        (Some(bytes), _) => Ok(Some(bytes)),
        (None, Context::Made(_)) => Ok(read_one(build, &directory, IGNORE).await?),
        (None, Context::Local { name, .. }) => {
            ignore_of(build, options, name, "[internal] load .dockerignore").await
        }
    };
    let (ignore, no_ignore) = match found {
        Ok(ignore) => (ignore, None),
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        Err(error) => (None, Some(error)),
    };
    Ok(Files { filename, dockerfile, ignore, no_ignore })
}

/// Where the Dockerfile is: in the context, unless somebody says otherwise, in an input, or with the client.
fn place(request: &FrontendRequest, outside: Option<&Outside>) -> Source {
    let key = request.options.get("dockerfilekey").filter(|key| !key.is_empty());
    let name = key.map_or("dockerfile", String::as_str);
    match (outside, request.inputs.get(name)) {
        (Some(outside), _) if key.is_none() => outside.dockerfile.clone(),
        (None, Some(result)) => Source::Result(result.clone()),
        _ => Source::Local(local_of(&request.options, name)),
    }
}

/// What was asked, with where all that was looked for.
pub(super) fn asked(
    request: &FrontendRequest,
    outside: Option<&Outside>,
    context: &Context,
) -> Asked {
    let (options, inputs) = (request.options.clone(), request.inputs.clone());
    let mut asked = Asked { options, inputs, ..Asked::default() };
    match (outside, context) {
        (Some(outside), _) => asked.sources.push(outside.context.clone()),
        (None, Context::Local { name, .. }) => asked.locals.push(name.clone()),
        (None, Context::Made(_)) => {}
    }
    let dockerfile = place(request, outside);
    match &dockerfile {
        Source::Local(local) => asked.locals.push(local.name.clone()),
        source => asked.sources.push(source.clone()),
    }
    asked.dockerfile = Some(dockerfile);
    asked
}

/// What is left out of a directory of the client's.
pub(super) async fn ignore_of(
    build: &Build,
    options: &BTreeMap<String, String>,
    name: &str,
    shown: &str,
) -> Result<Option<Vec<u8>>, Error> {
    let local = Local { include: vec![IGNORE.into()], ..local_of(options, name) };
    let directory = bring(build, Source::Local(local), shown);
    match read_one(build, &directory, IGNORE).await {
        // Nobody says that there is such a directory. Whoever takes something from it is told so.
        Err(error) if docker::error::chain(&error).contains(NO_DIRECTORY) => Ok(None),
        found => found,
    }
}

/// A directory of the client's, in the session that the options say has it.
fn local_of(options: &BTreeMap<String, String>, name: &str) -> Local {
    let mut local = Local { name: name.to_owned(), ..Local::default() };
    if let Some(session) = options.get(&format!("{SESSION}{name}")) {
        local.set_session(session);
    }
    local
}

fn missing(filename: &str) -> Error {
    Error::NoDockerfile(filename.to_owned())
}

/// A directory, by a name.
pub(crate) fn bring(build: &Build, source: Source, shown: &str) -> String {
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
