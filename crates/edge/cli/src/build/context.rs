//! Where a build's files and its Dockerfile come from.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::Path;

use dockerfile::git::GitRef;
use tarstream::{SNIFF_BYTES, is_archive};

use crate::args::BuildArgs;
use crate::build::layout;
use crate::build::random_id;
use crate::build::session::{Directory, Store};
use crate::error::{Error, Result};

/// The longest Dockerfile from standard input, in bytes.
const MAX_DOCKERFILE: u64 = 64 << 20;
/// Where a stream of ours is found, as BuildKit has it.
const UPLOAD: &str = "http://buildkit-session/";

/// What a build is made from.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) directories: HashMap<String, Directory>,
    pub(crate) attrs: BTreeMap<String, String>,
    pub(crate) upload: Option<String>,
    pub(crate) read_ahead: Vec<u8>,
    /// Layouts, by the names of their content stores.
    pub(crate) stores: BTreeMap<String, Store>,
    /// What the files that are kept at the builder are known by.
    pub(crate) key: String,
}

/// Looks at the arguments, and at standard input where one of them is `-`.
pub(crate) fn prepare(args: &BuildArgs) -> Result<Context> {
    let mut context = Context::default();
    let file = args.file.as_deref().unwrap_or_default();
    let is_stdin_file = file == "-";
    let where_from = named_context(args)?;
    if is_stdin_file && where_from == "-" {
        let why = "invalid argument: can't use stdin for both build context and dockerfile";
        return Err(Error::Usage(why.into()));
    }
    let path = Path::new(where_from);
    let mut dockerfile = is_stdin_file.then(read_dockerfile).transpose()?;
    if where_from == "-" {
        dockerfile = context.take_stdin(file)?;
    } else if path.is_dir() {
        context.take_directory(path, file)?;
    } else if is_remote(where_from) {
        context.attrs.insert("context".into(), where_from.to_owned());
        if Path::new(file).is_absolute() {
            context.dockerfile_at(Path::new(file));
            context.attrs.insert("dockerfilekey".into(), "dockerfile".into());
        } else if !file.is_empty() && !is_stdin_file {
            context.attrs.insert("filename".into(), file.to_owned());
        }
    } else {
        return Err(Error::Usage(format!(
            "unable to prepare context: path {where_from:?} not found"
        )));
    }
    if let Some(content) = dockerfile {
        context.dockerfile_is(content);
    }
    for text in &args.build_context {
        context.named(text)?;
    }
    Ok(context)
}

/// Whether only the graph is asked for: `graph` stands before the context.
pub(super) fn is_graph(args: &BuildArgs) -> bool {
    matches!(&args.context[..], [graph, _] if graph == "graph")
}

/// The context.
fn named_context(args: &BuildArgs) -> Result<&str> {
    match &args.context[..] {
        [context] => Ok(context),
        [_, context] if is_graph(args) => Ok(context),
        _ => Err(Error::Usage("dhow build takes one context".into())),
    }
}

/// A repository or a file somewhere else.
fn is_remote(text: &str) -> bool {
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    is_http || matches!(GitRef::parse(text), Ok(Some(_)))
}

fn read_dockerfile() -> Result<Vec<u8>> {
    let mut content = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_DOCKERFILE)
        .read_to_end(&mut content)
        .map_err(Error::io("read the Dockerfile from standard input"))?;
    Ok(content)
}

impl Context {
    /// The Dockerfile, where standard input is one.
    fn take_stdin(&mut self, file: &str) -> Result<Option<Vec<u8>>> {
        let mut start = Vec::new();
        let read = std::io::stdin().lock().take(SNIFF_BYTES as u64).read_to_end(&mut start);
        read.map_err(Error::io("read the context from standard input"))?;
        if start.is_empty() {
            let why = "unable to prepare context: standard input is empty";
            return Err(Error::Usage(why.into()));
        }
        if is_archive(&start) {
            let id = random_id()?;
            self.attrs.insert("context".into(), format!("{UPLOAD}{id}"));
            if !file.is_empty() {
                self.attrs.insert("filename".into(), file.to_owned());
            }
            (self.upload, self.read_ahead) = (Some(id), start);
            return Ok(None);
        }
        if !file.is_empty() {
            return Err(Error::Usage(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles".into(),
            ));
        }
        start.extend(read_dockerfile()?);
        self.directories.insert("context".into(), Directory::Empty);
        Ok(Some(start))
    }

    fn take_directory(&mut self, path: &Path, file: &str) -> Result<()> {
        let whole = path.canonicalize().map_err(Error::io(format!("look at {path:?}")))?;
        self.key = whole.display().to_string();
        self.directories.insert("context".into(), Directory::At(whole.clone()));
        match file {
            "-" => {}
            "" => self.dockerfile_at(&whole.join("Dockerfile")),
            url if url.starts_with("http://") || url.starts_with("https://") => {
                return Err(Error::Unsupported(
                    "--file of a URL: fetch it, and give --file -".into(),
                ));
            }
            file => {
                let file = Path::new(file);
                // Beside the current directory, the context is where people look for it.
                let inner = whole.join(file);
                let at = if !file.exists() && inner.exists() { inner } else { file.to_owned() };
                self.dockerfile_at(&at);
            }
        }
        Ok(())
    }

    fn dockerfile_at(&mut self, path: &Path) {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Where there is no `Dockerfile`, one in lower case is taken.
        let lower = name == "Dockerfile" && !path.exists() && directory.join("dockerfile").exists();
        let name = if lower { "dockerfile".to_owned() } else { name };
        self.directories.insert("dockerfile".into(), Directory::At(directory.to_owned()));
        self.attrs.insert("filename".into(), name);
    }

    fn dockerfile_is(&mut self, content: Vec<u8>) {
        let name = "Dockerfile".to_owned();
        self.directories.insert("dockerfile".into(), Directory::Single(name.clone(), content));
        self.attrs.insert("filename".into(), name);
        self.attrs.insert("dockerfilekey".into(), "dockerfile".into());
    }

    /// `NAME=VALUE` of `--build-context`.
    fn named(&mut self, text: &str) -> Result<()> {
        let Some((name, value)) =
            text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
        else {
            return Err(Error::Usage(format!("invalid context value: {text}, expected key=value")));
        };
        let key = format!("context:{name}");
        if value.starts_with("oci-layout://") {
            return self.layout(name, value);
        }
        let is_image = value.starts_with("docker-image://") || value.starts_with("target:");
        if is_image || is_remote(value) && !Path::new(value).is_dir() {
            self.attrs.insert(key, value.to_owned());
            return Ok(());
        }
        let path = Path::new(value);
        if !path.is_dir() {
            return Err(Error::Usage(format!(
                "failed to find local context {name}: {path:?} is no directory"
            )));
        }
        // Not the names that the build's own directories have.
        let local = match name {
            "context" | "dockerfile" => format!("_{name}"),
            other => other.to_owned(),
        };
        self.attrs.insert(key, format!("local:{local}"));
        self.directories.insert(local, Directory::At(path.to_owned()));
        Ok(())
    }
}

impl Context {
    /// `NAME=oci-layout://PATH[:TAG][@DIGEST]`.
    fn layout(&mut self, name: &str, value: &str) -> Result<()> {
        let text = value.strip_prefix("oci-layout://").unwrap_or(value);
        let (place, digest) = match text.rsplit_once('@') {
            Some((place, digest)) => (place, Some(digest)),
            None => (text, None),
        };
        let (path, tag) = match place.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (place, layout::LATEST),
        };
        let digest = match digest {
            Some(digest) => digest.parse::<oci::Digest>().map_err(|error| {
                Error::Usage(format!("--build-context {name}={value}: {error}"))
            })?,
            None => layout::find(Path::new(path), tag)?,
        };
        let id = random_id()?;
        self.attrs.insert(format!("context:{name}"), format!("oci-layout://{id}:{tag}@{digest}"));
        let store = Store { path: path.into(), is_writable: false };
        self.stores.insert(format!("oci:{id}"), store);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_remote_and_paths_are_not() {
        for (text, want) in [
            ("https://example.com/x.git#main:dir", true),
            ("http://example.com/context.tar.gz", true),
            ("git@github.com:a/b.git", true),
            ("./here", false),
            ("dir", false),
        ] {
            assert_eq!(is_remote(text), want, "{text}");
        }
    }

    #[test]
    fn named_contexts_do_not_take_the_names_of_others() {
        let mut context = Context::default();
        context.named("context=.").unwrap();
        context.named("base=docker-image://debian").unwrap();
        assert_eq!(context.attrs["context:context"], "local:_context");
        assert!(context.directories.contains_key("_context"));
        assert_eq!(context.attrs["context:base"], "docker-image://debian");
        assert!(context.named("x").is_err());
        assert!(context.named("x=/not/there").is_err());
    }
}
