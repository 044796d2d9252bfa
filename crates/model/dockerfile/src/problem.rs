//! Everything that can be wrong, with its words.

use crate::csv;
use crate::expand::ExpandError;
use crate::quote::Quoted;
use crate::suggest::Hint;

/// What is wrong with a Dockerfile, an instruction of it, or a wish about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Problem {
    // The text.
    #[error("the Dockerfile cannot be empty")]
    Empty,
    #[error("file with no instructions")]
    NoInstructions,
    #[error("dockerfile line greater than max allowed size of 65535")]
    LongLine,
    #[error("a here-document that is not UTF-8")]
    Encoding,
    #[error("invalid escape token '{0}' does not match ` or \\")]
    Escape(String),
    #[error("only one {0} parser directive can be used")]
    DirectiveTwice(String),
    #[error("unterminated heredoc")]
    Heredoc,
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStrings,
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    #[error("Syntax error - can't find = in {q}. Must be of the form: name=value", q = Quoted(.0))]
    NoEquals(String),
    #[error("failed to parse check options: {0}")]
    CheckOptions(String),

    // Instructions.
    #[error("unknown instruction: {0}{1}")]
    UnknownInstruction(String, Hint),
    #[error("no build stage in current context")]
    NoStage,
    #[error("{0} requires at least one argument")]
    AtLeastOne(&'static str),
    #[error("{0} requires exactly one argument")]
    ExactlyOne(&'static str),
    #[error(
        "{0} requires at least two arguments, but only one was provided. \
         Destination could not be determined"
    )]
    NoDestination(&'static str),
    #[error("{0} cannot accept a heredoc as a destination")]
    HeredocDestination(&'static str),
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    #[error(
        "invalid name for build stage: {q}, name can't start with a number or contain symbols",
        q = Quoted(.0)
    )]
    StageName(String),
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChain,
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger(String),
    #[error("onbuild trigger should be a single expression")]
    OnbuildSeveral,
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("SHELL requires the arguments to be in JSON form")]
    ShellForm,
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthNone,
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthCommand,
    #[error("Unknown type {q} in HEALTHCHECK (try CMD)", q = Quoted(.0))]
    HealthType(String),
    #[error("Interval {q} cannot be less than 1ms", q = Quoted(.0))]
    HealthInterval(&'static str),
    #[error("{0}")]
    Duration(String),
    #[error("strconv.ParseInt: parsing {q}: {1}", q = Quoted(.0))]
    Number(String, &'static str),
    #[error("--retries cannot be negative ({0})")]
    Retries(i64),
    #[error("invalid network mode {q}", q = Quoted(.0))]
    Network(String),
    #[error("security {q} is not valid", q = Quoted(.0))]
    Security(String),

    // Flags.
    #[error("arg should start with -- : {0}")]
    NoFlag(String),
    #[error("unknown flag: {0}{1}")]
    UnknownFlag(String, Hint),
    #[error("duplicate flag specified: {0}")]
    FlagTwice(String),
    #[error("missing a value on flag: {0}")]
    FlagValue(String),
    #[error("expecting boolean value for flag {0}, not: {1}")]
    FlagBoolean(String, String),

    // Mounts and devices.
    #[error("failed to parse csv {0}: {1}")]
    Csv(&'static str, csv::Error),
    #[error("'{0}' doesn't support variable expansion, define alias stage instead")]
    MountVariable(&'static str),
    #[error("invalid field '{0}' must be a key=value pair")]
    Field(String),
    #[error("unexpected key '{0}' in '{1}'{2}")]
    Key(String, String, Hint),
    #[error("unexpected key '{0}' for mount type '{1}'")]
    KeyForType(&'static str, &'static str),
    #[error("unsupported mount type {q}{1}", q = Quoted(.0))]
    MountType(String, Hint),
    #[error("unsupported sharing value {q}{1}", q = Quoted(.0))]
    Sharing(String, Hint),
    #[error("invalid value for {0}: {1}")]
    Value(&'static str, String),
    #[error("invalid value {1} for {0}")]
    NumberValue(&'static str, String),
    #[error("{0} not allowed for \"{1}\" type mounts")]
    Ownership(&'static str, &'static str),
    #[error("secret mount should not have a from")]
    SecretFrom,
    #[error("secret mount should not define sharing")]
    SecretSharing,
    #[error("invalid secret mount. one of source, target required")]
    SecretNothing,
    #[error("both source and id can't be set")]
    SecretBoth,
    #[error("invalid cache sharing set for {0} mount")]
    SharingForType(&'static str),
    #[error("ssh does not support source")]
    SshSource,
    #[error("invalid mount target {q}", q = Quoted(.0))]
    MountTarget(String),
    #[error("device name already set to {0}")]
    DeviceName(String),

    // Variables.
    #[error(transparent)]
    Expand(#[from] ExpandError),

    // Stages.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    #[error("failed to parse stage name {q}: {1}", q = Quoted(.0))]
    BaseName(String, reference::Error),
    #[error("empty platform value from expression {0}{1}")]
    EmptyPlatform(String, Hint),
    #[error("failed to parse platform {0}: {1}{2}")]
    Platform(String, String, Hint),
    #[error("target stage {q} could not be found{1}", q = Quoted(.0))]
    Target(String, Hint),
    #[error("circular dependency detected on stage: {0}")]
    Circular(String),
    #[error("invalid stage index {0}")]
    StageIndex(i64),
    #[error("cannot copy from stage {q}, it needs to be defined before current stage {r}", q = Quoted(.0), r = Quoted(.1))]
    CopyFromLater(String, String),
    #[error("cannot mount from stage {q} to {r}, stage needs to be defined before current command", q = Quoted(.0), r = Quoted(.1))]
    MountFromLater(String, String),
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using \
         ARG from global scope as a workaround"
    )]
    FromVariable,

    // What instructions say of the world.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Mode(String),
    #[error("invalid mode {q}", q = Quoted(.0))]
    SymbolicMode(String),
    #[error("checksum can't be specified for COPY")]
    ChecksumCopy,
    #[error("checksum can't be specified for multiple sources")]
    ChecksumSeveral,
    #[error("checksum requires HTTP(S) or Git sources")]
    ChecksumSource,
    #[error("invalid checksum digest format: {0}")]
    Checksum(String),
    #[error("checksum mismatch {q} != {r}", q = Quoted(.0), r = Quoted(.1))]
    ChecksumMismatch(String, String),
    #[error("inconsistent keep-git-dir configuration")]
    KeepGitDir,
    #[error("source can't be a git ref for COPY")]
    CopyGit,
    #[error("source can't be a URL for COPY")]
    CopyUrl,
    #[error("{0}")]
    Git(#[from] crate::git::Error),
    #[error("{0}")]
    Port(String),
    #[error("invalid signal: {0}")]
    Signal(String),
    #[error("invalid context specifier {0} for {1}")]
    ContextSpecifier(String, String),
    #[error("unsupported context source {0} for {1}")]
    ContextSource(String, String),
    #[error("could not parse oci-layout reference {q}: {1}", q = Quoted(.0))]
    Layout(String, String),
    #[error("invalid git context {0}")]
    GitContext(String),
    #[error("invalid SOURCE_DATE_EPOCH: {0}")]
    Epoch(String),
    #[error("{0}")]
    EpochStage(String),
    #[error("{0}: {1}{2}")]
    Image(String, String, Hint),
    #[error("{0}")]
    Graph(#[from] buildgraph::Error),
    #[error("{0}")]
    Option(String),
    #[error("lint violation found for rules: {}", .0.join(", "))]
    Checks(Vec<String>),
    #[error("more than {0} stages")]
    TooManyStages(usize),
    #[error("{0} for {1} is not supported: only Linux is built here")]
    Windows(&'static str, String),
}
