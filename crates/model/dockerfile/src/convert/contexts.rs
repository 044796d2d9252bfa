//! Named contexts: what a build puts in place of an image or a stage (`--build-context`).

use std::collections::BTreeMap;

use buildgraph::{Git, Http, Layout, Local, Op, Shown, Source};
use oci::image::{ImageConfig, Platform};
use reference::Reference;

use super::base::Base;
use super::plan::{Act, Step};
use super::stage::{At, empty_image};
use super::stages::{Converter, SCRATCH};
use super::{Answer, Ask};
use crate::git::GitRef;
use crate::problem::Problem;

/// A name as a build's options have it: short, and without the usual tag.
pub(crate) fn plain(name: &str) -> String {
    let short = name.parse::<Reference>().map(|reference| reference.familiar());
    let short = short.unwrap_or_else(|_| name.to_owned());
    short.strip_suffix(":latest").map(str::to_owned).unwrap_or(short)
}

/// The context that is in the place of an image or a stage, for a platform or for all.
pub fn named_context<'a>(
    contexts: &'a BTreeMap<String, String>,
    name: &str,
    platform: &Platform,
) -> Option<&'a String> {
    let name = plain(name);
    if name.eq_ignore_ascii_case(SCRATCH) || name.eq_ignore_ascii_case("context") {
        return None;
    }
    let platform = platform.normalized();
    contexts.get(&format!("{name}::{platform}")).or_else(|| contexts.get(&name))
}

/// A source of git as the graph has it.
pub(crate) fn git_source(git: &GitRef, keep: Option<bool>, checksum: &str) -> Source {
    let checksum = if checksum.is_empty() { &git.checksum } else { checksum };
    Source::Git(Git {
        remote: git.remote.clone(),
        reference: git.reference.clone(),
        subdir: git.subdir.clone(),
        keep_git_dir: git.keep_git_dir.or(keep).unwrap_or(false),
        skip_submodules: git.submodules == Some(false),
        checksum: Some(buildgraph::Checksum(checksum.to_owned())).filter(|sum| !sum.0.is_empty()),
        commit_times: git.mtime == "commit",
        by_commit: git.fetch_by_commit,
        ..Git::default()
    })
}

/// A context, as far as it is known.
enum Found {
    /// It has been asked.
    Unknown,
    /// Its step is there. With its configuration, where it is an image.
    Known(Option<Box<ImageConfig>>),
}

impl Converter<'_> {
    /// The context of this name, for a platform or for all.
    pub(crate) fn named_context(&self, name: &str, platform: Option<&Platform>) -> Option<String> {
        let platform = platform.unwrap_or(&self.target_platform);
        named_context(&self.options.contexts, name, platform).cloned()
    }

    /// `is_base`: a stage starts from it; otherwise it is there in place of one.
    pub(crate) fn use_context(
        &mut self,
        at: At,
        name: &str,
        spec: &str,
        platform: &Platform,
        is_base: bool,
    ) -> Result<Base, Problem> {
        let invalid = || Problem::ContextSpecifier(spec.into(), name.into());
        let (kind, rest) = spec.split_once(':').ok_or_else(invalid)?;
        let found = match kind {
            "docker-image" => {
                self.image_context(at, name, rest.trim_start_matches('/'), platform)?
            }
            "oci-layout" => {
                self.layout_context(at, name, rest.trim_start_matches('/'), platform)?
            }
            "local" => self.local_context(at, name, rest, platform)?,
            "input" => self.input_context(at, name, rest)?,
            _ => self.remote_context(at, name, spec, kind)?,
        };
        let Found::Known(image) = found else { return Ok(Base::Unknown) };
        let stage = &mut self.stages[at];
        match image {
            Some(image) => {
                let image = *image;
                stage.base_image = Some(image.clone()).filter(|_| is_base);
                if !is_base && !image.os.is_empty() && !image.architecture.is_empty() {
                    stage.platform = Some(Platform {
                        os: image.os.clone(),
                        architecture: image.architecture.clone(),
                        variant: image.variant.clone(),
                        os_version: image.os_version.clone(),
                        ..Platform::default()
                    });
                }
                stage.image =
                    ImageConfig { created: None, comment: None, docker_version: None, ..image };
            }
            None => stage.image = empty_image(platform),
        }
        if is_base || stage.platform.is_none() {
            stage.platform = Some(platform.clone());
        }
        Ok(Base::Known)
    }

    fn add_context(&mut self, at: At, source: Source, platform: Option<Platform>, name: String) {
        let shown = Shown { name, ..Shown::default() };
        let act = Act::Op(Box::new(Op::Source(source)));
        let step = self.plan.add_on(act, Vec::new(), platform, false, shown);
        self.stages[at].step = Some(step);
    }

    fn image_context(
        &mut self,
        at: At,
        name: &str,
        image: &str,
        platform: &Platform,
    ) -> Result<Found, Problem> {
        if image == SCRATCH {
            return Ok(Found::Known(None));
        }
        let reference = image.parse::<Reference>();
        let reference = reference.map_err(|error| Problem::BaseName(image.into(), error))?;
        let reference = reference.with_default_tag();
        let shown = format!("[context {name}] load metadata for {reference}");
        let ask =
            Ask::Image { reference: reference.to_string(), platform: platform.clone(), shown };
        match self.answer(&ask) {
            Some(Answer::Image { config, digest, id }) => {
                let full = match digest {
                    Some(digest) => format!("{}@{digest}", reference.clone().without_digest()),
                    None => reference.to_string(),
                };
                let shown = Shown { name: format!("[context {name}] {full}"), ..Shown::default() };
                let (digest, id) = (digest.clone(), id.clone());
                self.add_image(at, &reference, digest, id, platform, shown);
                Ok(Found::Known(Some(config.clone())))
            }
            Some(Answer::Other(source)) => self.other_context(at, name, image, source, platform),
            Some(Answer::Failed(why)) => Err(failed(image, why)),
            _ => Ok(Found::Unknown),
        }
    }

    /// What is used in the place of an image, which is none: a context as if the build had named that.
    fn other_context(
        &mut self,
        at: At,
        name: &str,
        image: &str,
        source: &Source,
        platform: &Platform,
    ) -> Result<Found, Problem> {
        let mut source = source.clone();
        let from = match &mut source {
            Source::Local(local) => return self.local_context(at, name, &local.name, platform),
            Source::Git(git) => git.remote.clone(),
            Source::Http(http) => {
                if http.name.is_empty() {
                    http.name = "context".into();
                }
                http.url.clone()
            }
            _ => return Err(failed(image, "what is in its place is no context")),
        };
        self.add_context(at, source, None, format!("[context {name}] {from}"));
        Ok(Found::Known(None))
    }

    fn layout_context(
        &mut self,
        at: At,
        name: &str,
        text: &str,
        platform: &Platform,
    ) -> Result<Found, Problem> {
        let bad = |why: &str| Problem::Layout(text.into(), why.into());
        let (store, digest) = text.split_once('@').ok_or_else(|| bad("it has no digest"))?;
        let digest: oci::Digest =
            digest.parse().map_err(|error: oci::digest::ParseError| bad(&error.to_string()))?;
        let store = store.split(':').next().unwrap_or(store).to_owned();
        let ask = Ask::Layout {
            store: store.clone(),
            digest: digest.clone(),
            platform: platform.clone(),
            shown: format!("[context {name}] load metadata for {name}@{digest}"),
        };
        match self.answer(&ask) {
            Some(Answer::Image { config, digest: found, id }) => {
                let digest = found.clone().unwrap_or(digest);
                let source = Source::Layout(Layout {
                    store,
                    name: name.into(),
                    digest,
                    id: id.clone(),
                    layers: None,
                });
                let shown = format!("[context {name}] OCI load from client");
                self.add_context(at, source, Some(platform.clone()), shown);
                Ok(Found::Known(Some(config.clone())))
            }
            Some(Answer::Failed(why)) => Err(failed(name, why)),
            _ => Ok(Found::Unknown),
        }
    }

    fn local_context(
        &mut self,
        at: At,
        name: &str,
        local: &str,
        platform: &Platform,
    ) -> Result<Found, Problem> {
        let ask = Ask::Ignore {
            local: local.into(),
            shown: format!("[context {name}] load .dockerignore"),
        };
        let exclude = match self.answer(&ask) {
            Some(Answer::Ignore(patterns)) => patterns.clone(),
            Some(Answer::Failed(why)) => return Err(failed(name, why)),
            _ => return Ok(Found::Unknown),
        };
        let key = named_context(&self.options.shared_keys, name, platform);
        let source = Source::Local(Local {
            shared_key: match key.map(String::as_str) {
                None | Some("") => format!("context:{name}"),
                Some(key) => format!("context:{name}-{key}"),
            },
            exclude,
            ..self.options.local(local)
        });
        let place = self.named.len();
        self.named.push((source, at));
        let shown =
            Shown { name: format!("[context {name}] load from client"), ..Shown::default() };
        let step: Step = self.plan.add(Act::Named(place), Vec::new(), shown);
        self.stages[at].step = Some(step);
        self.stages[at].named = Some(place);
        Ok(Found::Known(None))
    }

    fn input_context(&mut self, at: At, name: &str, input: &str) -> Result<Found, Problem> {
        match self.answer(&Ask::Input { name: input.into() }) {
            Some(Answer::Input { result, config }) => {
                let source = Source::Result(result.clone());
                self.add_context(at, source, None, format!("[context {name}] {input}"));
                Ok(Found::Known(config.clone()))
            }
            Some(Answer::Failed(why)) => Err(failed(name, why)),
            _ => Ok(Found::Unknown),
        }
    }

    fn remote_context(
        &mut self,
        at: At,
        name: &str,
        spec: &str,
        kind: &str,
    ) -> Result<Found, Problem> {
        if let Some(git) = GitRef::parse(spec)? {
            let shown = format!("[internal] load git source {spec}");
            self.add_context(at, git_source(&git, None, ""), None, shown);
            return Ok(Found::Known(None));
        }
        match kind {
            "http" | "https" => {
                let http = Http { url: spec.into(), name: "context".into(), ..Http::default() };
                self.add_context(at, Source::Http(http), None, format!("[context {name}] {spec}"));
                Ok(Found::Known(None))
            }
            "git" => Err(Problem::GitContext(spec.into())),
            _ => Err(Problem::ContextSource(kind.into(), name.into())),
        }
    }
}

fn failed(name: &str, why: &str) -> Problem {
    Problem::Image(name.into(), why.into(), crate::suggest::Hint(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{Conversion, Next, Options};

    #[test]
    fn a_directory_is_known_again_by_its_own_key() {
        let key = |keys: &[(&str, &str)]| {
            let options = Options {
                contexts: [("b".to_owned(), "local:dir".to_owned())].into(),
                shared_keys: keys.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
                ..Options::default()
            };
            let mut conversion = Conversion::new(b"FROM scratch\nCOPY --from=b /f /", options);
            let Ok(Next::Ask(asks)) = conversion.round().next else { panic!("it asks nothing") };
            for ask in asks {
                conversion.give(ask, Answer::Ignore(Vec::new()));
            }
            let Ok(Next::Done(built)) = conversion.round().next else { panic!("it asks again") };
            let found = built.graph.vertices().find_map(|(_, vertex)| match &vertex.op {
                Op::Source(Source::Local(local)) => Some(local.shared_key.clone()),
                _ => None,
            });
            found.unwrap()
        };
        assert_eq!(key(&[]), "context:b");
        assert_eq!(key(&[("b", "src")]), "context:b-src");
        assert_eq!(key(&[("c", "src")]), "context:b");
    }
}
