//! A stage as it is gone through.

use std::collections::BTreeSet;

use oci::image::{ImageConfig, Platform, RootFs};

use super::env::Env;
use super::names::Counter;
use super::plan::Step;
use crate::call::Taken;
use crate::instruction::{Argument, Instruction};
use crate::position::Lines;

/// The place of a stage, or of an image that something is copied from.
pub(crate) type At = usize;

/// Where programs are looked for.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An instruction, with the stages that it takes from.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) instruction: Instruction,
    /// Of COPY one at most; of RUN one for each mount.
    pub(crate) sources: Vec<At>,
    /// It is a trigger of what the stage starts from.
    pub(crate) is_trigger: bool,
}

/// A stage, or an image that something is copied from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    /// The name by which others name it.
    pub(crate) name: Option<String>,
    /// What it starts from, variables replaced.
    pub(crate) base_name: String,
    /// The stage that it starts from.
    pub(crate) base: Option<At>,
    /// A context that is there in its place.
    pub(crate) context: Option<String>,
    /// It is no stage of the Dockerfile.
    pub(crate) is_foreign: bool,
    pub(crate) lines: Option<Lines>,
    pub(crate) description: Option<String>,
    pub(crate) commands: Vec<Command>,
    /// What it takes from, and where that is said.
    pub(crate) takes: Vec<(At, Lines)>,
    pub(crate) platform: Option<Platform>,
    pub(crate) image: ImageConfig,
    pub(crate) base_image: Option<ImageConfig>,
    /// What it consists of so far; none: nothing.
    pub(crate) step: Option<Step>,
    pub(crate) env: Env,
    /// What it is known to start from has been looked up.
    pub(crate) is_resolved: bool,
    /// All its instructions have been gone through.
    pub(crate) is_done: bool,
    /// The triggers of the stage that it starts from are among its commands.
    pub(crate) has_triggers: bool,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) counter: Counter,
    pub(crate) ignore_cache: bool,
    /// It said where it works by an absolute path.
    pub(crate) has_workdir: bool,
    pub(crate) cmd: Option<Lines>,
    pub(crate) entrypoint: Option<Lines>,
    pub(crate) health: Option<Lines>,
    pub(crate) taken: Taken,
    pub(crate) is_scanned: bool,
    pub(crate) scans_context: bool,
    /// What of it is used by others, where it is a directory of the client.
    pub(crate) used: BTreeSet<String>,
    /// The place of its directory among those of the client.
    pub(crate) named: Option<usize>,
}

impl Stage {
    /// Where programs work.
    pub(crate) fn dir(&self) -> &str {
        match self.image.config.working_dir.as_str() {
            "" => "/",
            dir => dir,
        }
    }

    /// What it starts from is a stage: it is as that is now.
    pub(crate) fn start_from(&mut self, base: &Self) {
        self.step = base.step;
        self.platform.clone_from(&base.platform);
        self.image = base.image.clone();
        self.image.config.on_build.clear();
        self.base_image.clone_from(&base.base_image);
        self.named = base.named;
        self.has_workdir = base.has_workdir;
        self.arguments.clone_from(&base.arguments);
        self.env = base.env.clone();
    }
}

/// The configuration of nothing.
pub(crate) fn empty_image(platform: &Platform) -> ImageConfig {
    let mut image = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        rootfs: RootFs::default(),
        ..ImageConfig::default()
    };
    image.config.working_dir = "/".into();
    with_path(&mut image);
    image
}

/// A path to look for programs, where an image says none. Windows has one of its own.
pub(crate) fn with_path(image: &mut ImageConfig) {
    if image.os == "windows" {
        return;
    }
    let has_path = image.config.env.iter().any(|line| super::env::split(line).0 == "PATH");
    if !has_path {
        image.config.env.push(PATH.into());
    }
}
