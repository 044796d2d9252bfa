//! What a stage starts from: nothing, an image, or a context that has its name.

use buildgraph::{Image, Op, Shown, Source};
use oci::Digest;
use oci::image::{ImageConfig, Platform};
use reference::Reference;

use super::env::Env;
use super::plan::{Act, range};
use super::stage::{At, empty_image};
use super::stages::{Converter, SCRATCH};
use super::{Answer, Ask};
use crate::check::Rule;
use crate::problem::Problem;
use crate::suggest;

/// Images that people mean.
const COMMON: [&str; 7] = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];

/// Whether it is known.
pub(crate) enum Base {
    NotNeeded,
    /// It has been asked.
    Unknown,
    Known,
}

impl Converter<'_> {
    pub(crate) fn find_base(&mut self, at: At, is_needed: bool) -> Result<Base, Problem> {
        let stage = &self.stages[at];
        if let Some(context) = stage.context.clone() {
            if !is_needed {
                return Ok(Base::NotNeeded);
            }
            let name = stage.name.clone().unwrap_or_default();
            let platform = stage.platform.clone().unwrap_or_else(|| self.target_platform.clone());
            let name = super::contexts::plain(&name);
            return self.use_context(at, &name, &context, &platform, false);
        }
        if stage.base_name == SCRATCH {
            let platform = self.target_platform.clone();
            let stage = &mut self.stages[at];
            stage.image = empty_image(&platform);
            stage.platform = Some(platform);
            return Ok(Base::Known);
        }
        let written = stage.base_name.clone();
        let reference = written.parse::<Reference>();
        let reference = reference.map_err(|error| Problem::BaseName(written.clone(), error))?;
        if !is_needed {
            return Ok(Base::NotNeeded);
        }
        let platform = stage.platform.clone().unwrap_or_else(|| self.target_platform.clone());
        let reference = reference.with_default_tag();
        if let Some(context) = self.named_context(&reference.to_string(), Some(&platform)) {
            let name = super::contexts::plain(&written);
            return self.use_context(at, &name, &context, &platform, true);
        }
        self.use_image(at, &written, &reference, platform)
    }

    fn use_image(
        &mut self,
        at: At,
        written: &str,
        reference: &Reference,
        platform: Platform,
    ) -> Result<Base, Problem> {
        let multi =
            if self.options.multi_platform { format!("{platform} ") } else { String::new() };
        let shown = format!("[{multi}internal] load metadata for {reference}");
        let ask =
            Ask::Image { reference: reference.to_string(), platform: platform.clone(), shown };
        let (config, digest, id) = match self.answer(&ask) {
            Some(Answer::Image { config, digest, id }) => (config, digest.clone(), id.clone()),
            Some(Answer::Failed(why)) => {
                let names = self.stage_names();
                let known = names.iter().map(String::as_str).chain(COMMON);
                let hint = suggest::nearest(written, known);
                return Err(Problem::Image(written.into(), why.clone(), hint));
            }
            // As in BuildKit, it can be that of a context alone.
            Some(Answer::Other(_)) => {
                let why = format!("what is in the place of {reference} is no image");
                return Err(Problem::Image(written.into(), why, suggest::Hint(None)));
            }
            _ => return Ok(Base::Unknown),
        };
        let is_implicit =
            self.stages[at].platform.is_none() && self.options.target_platform.is_none();
        let platform = if is_implicit { self.detected(config, &platform) } else { platform };
        self.stages[at].image = (**config).clone();
        let image = &mut self.stages[at].image;
        // What `import` and `commit` noted is of the base alone.
        (image.created, image.comment, image.docker_version) = (None, None, None);
        self.stages[at].base_image = Some((**config).clone());
        if is_empty(config) {
            self.stages[at].platform = Some(platform);
            return Ok(Base::Known);
        }
        let full = match &digest {
            Some(digest) => format!("{}@{digest}", reference.clone().without_digest()),
            None => reference.to_string(),
        };
        let lines = self.stages[at].lines;
        let is_foreign = self.stages[at].is_foreign;
        let counter = &mut self.stages[at].counter;
        let prefix = counter.next(Some(&platform), &Env::default(), false);
        let name = format!("{prefix}FROM {full}");
        let lines = lines.filter(|_| !is_foreign);
        let shown =
            Shown { name, lines: lines.map(range).into_iter().collect(), ..Shown::default() };
        self.add_image(at, reference, digest, id, &platform, shown);
        self.check_base_platform(at, written, &platform);
        self.stages[at].platform = Some(platform);
        Ok(Base::Known)
    }

    pub(crate) fn add_image(
        &mut self,
        at: At,
        reference: &Reference,
        digest: Option<Digest>,
        id: Option<Digest>,
        platform: &Platform,
        shown: Shown,
    ) {
        let reference = reference.to_string();
        let resolve = self.options.resolve;
        let source = Source::Image(Image { digest, id, ..Image::named(reference, resolve) });
        let act = Act::Op(Box::new(Op::Source(source)));
        let step = self.plan.add_on(act, Vec::new(), Some(platform.clone()), false, shown);
        self.stages[at].step = Some(step);
    }

    /// Where nobody said for which platform, an image may say it.
    fn detected(&self, image: &ImageConfig, wanted: &Platform) -> Platform {
        let is_of = |platform: &Platform| {
            platform.os == image.os && platform.architecture == image.architecture
        };
        if is_of(wanted) {
            return wanted.clone();
        }
        self.build_platforms.iter().find(|one| is_of(one)).unwrap_or(wanted).clone()
    }

    fn check_base_platform(&mut self, at: At, written: &str, expected: &Platform) {
        let image = &self.stages[at].image;
        if image.os == expected.os && image.architecture == expected.architecture {
            return;
        }
        let actual = Platform {
            os: image.os.clone(),
            architecture: image.architecture.clone(),
            variant: image.variant.clone(),
            ..Platform::default()
        };
        let text = format!(
            "Base image {written} was pulled with platform \"{}\", expected \"{}\" for current build",
            actual.normalized(),
            expected.normalized()
        );
        if let Some(lines) = self.stages[at].lines {
            self.checks.found(Rule::InvalidBaseImagePlatform, &[], lines, text);
        }
    }
}

/// An image without layers: nothing is brought for it.
fn is_empty(image: &ImageConfig) -> bool {
    image.rootfs.diff_ids.is_empty() && image.history.iter().all(|entry| entry.empty_layer)
}
