//! Instructions and stages, as they are written: variables are not replaced yet.

use oci::image::Healthcheck;

use crate::directive::Directive;
use crate::heredoc::Heredoc;
use crate::mount::{Device, RawMount};
use crate::position::Lines;
pub use crate::split::Pair;

/// A Dockerfile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dockerfile {
    /// The lines that speak to the parser.
    pub directives: Vec<Directive>,
    /// The character that takes away the meaning of the next one.
    pub escape: char,
    /// `ARG`s before the first stage.
    pub globals: Vec<Instruction>,
    /// The stages.
    pub stages: Vec<Stage>,
    /// Where instructions go on after an empty line.
    pub empty_continuations: Vec<Lines>,
}

/// A stage: a `FROM`, and what follows up to the next one.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// `FROM` as it is written.
    pub keyword: String,
    /// What it starts from: an image, a stage, `scratch`, with variables.
    pub base: String,
    /// `--platform`, with variables.
    pub platform: Option<String>,
    /// `AS` and the name, both as they are written.
    pub named: Option<(String, String)>,
    /// The instruction as text.
    pub text: String,
    /// Where the instruction is.
    pub lines: Lines,
    /// Comments right before it.
    pub comments: Vec<String>,
    /// What is done.
    pub instructions: Vec<Instruction>,
}

impl Stage {
    /// The name, small, as others name it.
    pub fn name(&self) -> Option<String> {
        self.named.as_ref().map(|(_, name)| name.to_lowercase())
    }

    /// What a comment right before it says of it: `# NAME TEXT`.
    pub fn description(&self) -> Option<String> {
        self.name().and_then(|name| described(&self.comments, &name))
    }
}

/// What comments say of a name.
pub(crate) fn described(comments: &[String], name: &str) -> Option<String> {
    let of = |comment: &String| comment.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    comments.iter().find_map(of)
}

/// An instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Its name as it is written.
    pub keyword: String,
    /// It as text, here-documents not included.
    pub text: String,
    /// Where it is.
    pub lines: Lines,
    /// Comments right before it.
    pub comments: Vec<String>,
    /// What it says.
    pub body: Body,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Files, archives, URLs and repositories into the image.
    Add(Box<Add>),
    /// Variables of the build.
    Arg(Vec<Argument>),
    /// What a container runs, or the entry point's arguments.
    Cmd(Command),
    /// Files into the image.
    Copy(Box<Copy>),
    /// What a container runs.
    Entrypoint(Command),
    /// Variables.
    Env(Vec<Pair>),
    /// Ports, sorted.
    Expose(Vec<String>),
    /// How to see whether a container is well.
    Healthcheck(Healthcheck),
    /// Notes.
    Label(Vec<Pair>),
    /// Who made it.
    Maintainer(String),
    /// An instruction for builds that start from the image, as text.
    Onbuild(String),
    /// A program that is run.
    Run(Box<Run>),
    /// What the shell form runs in.
    Shell(Vec<String>),
    /// What `stop` sends.
    Stopsignal(String),
    /// As whom programs run.
    User(String),
    /// Directories that become volumes.
    Volume(Vec<String>),
    /// Where programs run.
    Workdir(String),
}

/// A variable of the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub key: String,
    /// Its value where the build gives it none.
    pub value: Option<String>,
    /// What a comment right before it says of it.
    pub description: Option<String>,
}

/// A command, in one of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// For a shell.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

/// A program that is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What.
    pub command: Command,
    /// Its here-documents.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`.
    pub mounts: Vec<RawMount>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub insecure: bool,
    /// `--device`.
    pub devices: Vec<Device>,
}

/// `--network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// As the build says.
    #[default]
    Default,
    /// None.
    None,
    /// The machine's.
    Host,
}

/// What is copied, and where to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// Paths, patterns, URLs.
    pub paths: Vec<String>,
    /// Files that stand in the Dockerfile.
    pub files: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
}

/// What COPY and ADD have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CopyFlags {
    /// `--chown`.
    pub chown: String,
    /// `--chmod`.
    pub chmod: String,
    /// `--link`.
    pub link: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
}

/// COPY.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copy {
    /// What and where to.
    pub sources: Sources,
    /// How.
    pub flags: CopyFlags,
    /// `--from`; empty: the build's context.
    pub from: String,
    /// `--parents`.
    pub parents: bool,
}

/// ADD.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Add {
    /// What and where to.
    pub sources: Sources,
    /// How.
    pub flags: CopyFlags,
    /// `--checksum`.
    pub checksum: String,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`.
    pub unpack: Option<bool>,
}
