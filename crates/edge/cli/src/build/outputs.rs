//! `--output`, `--load`, `--push`: where a result goes.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use buildkit::control::Exporter;

use crate::args::BuildArgs;
use crate::build::csv;
use crate::build::session::Target;
use crate::error::{Error, Result};

/// What the engine calls the exporter that puts an image among its own.
const ENGINE: &str = "moby";
/// Who asks for files to be removed outside of where we are says so with this.
const DELETE: &str = "buildx.local.delete";

/// Where results go.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) exporters: Vec<Exporter>,
    pub(crate) targets: HashMap<usize, Target>,
    /// These names are pushed when the image is there.
    pub(crate) push: Vec<String>,
}

/// Reads the flags.
pub(crate) fn parse(args: &BuildArgs, entitlements: &[String]) -> Result<Outputs> {
    let mut wanted = Vec::new();
    for text in &args.output {
        wanted.push(one(text)?);
    }
    if args.push {
        match wanted.iter_mut().find(|(kind, _)| kind == "image" || kind == "registry") {
            Some((_, attrs)) => _ = attrs.insert("push".into(), "true".into()),
            None => wanted.push(("registry".into(), BTreeMap::new())),
        }
    }
    let is_engines = |(kind, attrs): &(String, BTreeMap<String, String>)| {
        matches!(kind.as_str(), "image" | "registry" | ENGINE)
            || kind == "docker" && !attrs.contains_key("dest")
    };
    if wanted.is_empty() || args.load && !wanted.iter().any(is_engines) {
        wanted.push(("image".into(), BTreeMap::new()));
    }
    let mut outputs = Outputs::default();
    for (kind, attrs) in wanted {
        outputs.add(&kind, attrs, args, entitlements)?;
    }
    Ok(outputs)
}

/// One `--output`: its type, and all else that it says.
fn one(text: &str) -> Result<(String, BTreeMap<String, String>)> {
    let dest =
        |kind: &str| Ok((kind.to_owned(), BTreeMap::from([("dest".to_owned(), text.to_owned())])));
    let is_path = csv::fields("output", text)?.len() == 1 && !text.starts_with("type=");
    if is_path {
        return if text == "-" { dest("tar") } else { dest("local") };
    }
    let mut attrs = csv::pairs("output", text)?;
    let Some(kind) = attrs.remove("type").filter(|kind| !kind.is_empty()) else {
        return Err(Error::Usage(format!("--output {text}: type is required")));
    };
    Ok((kind, attrs))
}

impl Outputs {
    fn add(
        &mut self,
        kind: &str,
        mut attrs: BTreeMap<String, String>,
        args: &BuildArgs,
        entitlements: &[String],
    ) -> Result<()> {
        let id = self.exporters.len();
        let kind = match kind {
            "registry" => {
                attrs.insert("push".into(), "true".into());
                ENGINE
            }
            "image" => ENGINE,
            "docker" if !attrs.contains_key("dest") => ENGINE,
            other => other,
        };
        if matches!(kind, ENGINE | "oci" | "docker") && !args.tag.is_empty() {
            attrs.entry("name".into()).or_insert_with(|| args.tag.join(","));
        }
        if matches!(kind, ENGINE | "oci" | "docker") && args.squash {
            attrs.entry("squash".into()).or_insert_with(|| "true".into());
        }
        match kind {
            ENGINE => self.engine(&mut attrs)?,
            "local" => {
                let target = directory(&mut attrs, entitlements)?;
                self.targets.insert(id, target);
            }
            "tar" => {
                self.targets.insert(id, file(kind, &mut attrs)?);
            }
            "oci" | "docker" => {
                let is_tar = attrs.get("tar").is_none_or(|value| value != "false");
                if !is_tar {
                    return Err(Error::Unsupported(format!("--output type={kind},tar=false")));
                }
                self.targets.insert(id, file(kind, &mut attrs)?);
            }
            "cacheonly" => {}
            _ => return Err(Error::Usage(format!("--output type={kind}: there is no such type"))),
        }
        if kind != "cacheonly" {
            annotations(&mut attrs, &args.annotation)?;
            self.exporters.push(Exporter { r#type: kind.to_owned(), attrs });
        }
        Ok(())
    }

    /// An image of the engine's. What is pushed, the engine pushes under each of its names: with our
    /// credentials, and with progress as of `dhow push`.
    fn engine(&mut self, attrs: &mut BTreeMap<String, String>) -> Result<()> {
        let is_set =
            |value: Option<&String>| value.is_some_and(|value| value == "true" || value == "1");
        attrs.remove("unpack");
        if !is_set(attrs.get("push")) {
            attrs.remove("push");
            return Ok(());
        }
        // Without a name here there is nothing for us to push.
        if is_set(attrs.get("push-by-digest")) {
            return Ok(());
        }
        attrs.remove("push");
        // What goes to others is compressed, as others have it, and comes with what is attested of it.
        attrs.entry("attestation-inline".into()).or_insert_with(|| "true".into());
        attrs.entry("compression".into()).or_insert_with(|| "gzip".into());
        let names = attrs.get("name").map(String::as_str).unwrap_or_default();
        let names = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
        let before = self.push.len();
        self.push.extend(names);
        if self.push.len() == before {
            return Err(Error::Usage("tag is needed when pushing to registry".into()));
        }
        Ok(())
    }
}

fn directory(attrs: &mut BTreeMap<String, String>, entitlements: &[String]) -> Result<Target> {
    let Some(path) = attrs.remove("dest").filter(|path| !path.is_empty()) else {
        return Err(Error::Usage("dest is required for local exporter".into()));
    };
    if path == "-" {
        return Err(Error::Usage("dest - is no directory: give type=tar".into()));
    }
    let path = PathBuf::from(path);
    let delete = match attrs.remove("mode").as_deref() {
        None | Some("copy") => false,
        Some("delete") => true,
        Some(other) => {
            return Err(Error::Usage(format!("--output mode={other}: give copy or delete")));
        }
    };
    if delete && !is_below_here(&path) && !entitlements.iter().any(|one| one == DELETE) {
        return Err(Error::Usage(format!(
            "--output mode=delete would remove files in {path:?}, which is not below the current \
             directory: add --allow={DELETE}"
        )));
    }
    Ok(Target::Directory { path, delete })
}

/// Whether a path is in the current directory, and is not that directory itself.
fn is_below_here(path: &Path) -> bool {
    let Ok(here) = std::env::current_dir().and_then(|here| here.canonicalize()) else {
        return false;
    };
    let whole = here.join(path);
    if whole.components().any(|part| part == std::path::Component::ParentDir) {
        return false;
    }
    // What is there decides: it may be a link that leads out.
    let mut existing = whole.as_path();
    loop {
        match (existing.canonicalize(), existing.parent()) {
            (Ok(real), _) => {
                let rest = whole.strip_prefix(existing).map(|rest| real.join(rest));
                return rest.is_ok_and(|real| real.starts_with(&here) && real != here);
            }
            (Err(_), Some(parent)) => existing = parent,
            (Err(_), None) => return false,
        }
    }
}

fn file(kind: &str, attrs: &mut BTreeMap<String, String>) -> Result<Target> {
    match attrs.remove("dest").as_deref() {
        Some(path) if !path.is_empty() && path != "-" => Ok(Target::File(path.into())),
        _ if std::io::stdout().is_terminal() => Err(Error::Usage(format!(
            "dest file is required for {kind} exporter. refusing to write to console"
        ))),
        _ => Ok(Target::Stdout),
    }
}

/// `[TYPE[PLATFORM],TYPE:]KEY=VALUE`, as attributes of an exporter (BuildKit's
/// `docs/annotations.md`).
fn annotations(attrs: &mut BTreeMap<String, String>, all: &[String]) -> Result<()> {
    for text in all {
        let wrong = || Error::Usage(format!("--annotation {text}: give [TYPE:]KEY=VALUE"));
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let (types, key) = match key.split_once(':') {
            Some((types, rest)) if is_types(types) => (types, rest),
            _ => ("manifest", key),
        };
        for one in types.split(',') {
            let (kind, platform) = match one.split_once('[') {
                Some((kind, rest)) => (kind, rest.strip_suffix(']').ok_or_else(wrong)?),
                None => (one, ""),
            };
            let platform =
                if platform.is_empty() { String::new() } else { format!("[{platform}]") };
            attrs.insert(format!("annotation-{kind}{platform}.{key}"), value.to_owned());
        }
    }
    Ok(())
}

fn is_types(text: &str) -> bool {
    const TYPES: [&str; 4] = ["manifest", "index", "manifest-descriptor", "index-descriptor"];
    text.split(',').all(|one| TYPES.contains(&one.split('[').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(outputs: &[&str], tags: &[&str], change: impl Fn(&mut BuildArgs)) -> Result<Outputs> {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let mut args = BuildArgs { output: owned(outputs), tag: owned(tags), ..Default::default() };
        change(&mut args);
        parse(&args, &[])
    }

    fn kinds(outputs: &Outputs) -> Vec<&str> {
        outputs.exporters.iter().map(|one| one.r#type.as_str()).collect()
    }

    #[test]
    fn without_a_word_the_engine_has_the_image() {
        let outputs = parsed(&[], &["a", "b:1"], |_| ()).unwrap();
        assert_eq!(kinds(&outputs), ["moby"]);
        assert_eq!(outputs.exporters[0].attrs["name"], "a,b:1");
        let outputs = parsed(&["type=docker"], &[], |_| ()).unwrap();
        assert_eq!(kinds(&outputs), ["moby"]);
    }

    #[test]
    fn a_path_is_a_directory_and_load_comes_beside_it() {
        let outputs = parsed(&["out"], &[], |args| args.load = true).unwrap();
        assert_eq!(kinds(&outputs), ["local", "moby"]);
        assert!(
            matches!(&outputs.targets[&0], Target::Directory { path, delete: false } if path == Path::new("out"))
        );
        assert!(outputs.exporters[0].attrs.is_empty());
    }

    #[test]
    fn what_is_pushed_has_a_name() {
        let outputs = parsed(&[], &["r/a"], |args| args.push = true).unwrap();
        assert_eq!((kinds(&outputs), &outputs.push[..]), (vec!["moby"], &["r/a".to_owned()][..]));
        assert!(parsed(&[], &[], |args| args.push = true).is_err());
    }

    #[test]
    fn files_are_not_removed_where_nobody_expects_it() {
        for path in [".", "/tmp/elsewhere", "../x", "a/../.."] {
            assert!(
                parsed(&[&format!("type=local,mode=delete,dest={path}")], &[], |_| ()).is_err(),
                "{path}"
            );
        }
        assert!(parsed(&["type=local,mode=delete,dest=below/x"], &[], |_| ()).is_ok());
    }

    #[test]
    fn annotations_say_where_they_belong() {
        let with = |text: &str| {
            let text = text.to_owned();
            parsed(&[], &[], move |args| args.annotation = vec![text.clone()])
                .map(|outputs| outputs.exporters[0].attrs.clone())
        };
        assert_eq!(with("a.b:c=d").unwrap()["annotation-manifest.a.b:c"], "d");
        let both = with("index,manifest[linux/amd64]:k=v").unwrap();
        assert_eq!(both["annotation-index.k"], "v");
        assert_eq!(both["annotation-manifest[linux/amd64].k"], "v");
        assert!(with("k").is_err());
    }
}
