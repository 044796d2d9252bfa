//! The commands, as they are typed. Management commands (`dhow container ls`) and their short
//! forms (`dhow ps`) lead to one and the same.
#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

mod build;
mod cdi;
mod container;
mod context;
mod front;
mod image;
mod invoked;
mod manifest;
mod network;
mod pflag;
mod quick;
mod quick_run;
mod registry;
mod secret;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use build::*;
pub(crate) use cdi::*;
pub(crate) use container::*;
pub(crate) use context::*;
pub(crate) use front::{before_help, front, is_built_in, is_help_of_all};
pub(crate) use image::*;
pub(crate) use invoked::{Invoked, invoked};
pub(crate) use manifest::*;
pub(crate) use network::*;
pub(crate) use pflag::{exit_code, go_bool};
pub(crate) use quick::is_short;
pub(crate) use registry::RegistryCommand;
pub use registry::RegistryServeArgs;
pub(crate) use secret::*;

use crate::run_args::RunArgs;

const EXAMPLES: &str = "Examples:
  dhow run hello                          what a container sees of itself
  dhow run --rm -it host sh               this machine's own files, safe to destroy
  dhow run -d --name web -p 8080:80 IMAGE
  dhow ps; dhow logs -f web; dhow exec -it web sh; dhow rm -f web";

/// A container engine in one static binary.
#[derive(Parser, Debug)]
#[command(name = "dhow", version, disable_help_subcommand = true, after_help = EXAMPLES)]
#[command(disable_version_flag = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Print version
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Takes a command line apart, the program's name first.
    ///
    /// # Errors
    ///
    /// It is none, or asks for help: clap's own error, which says so.
    pub(crate) fn of(args: &[OsString]) -> Result<Self, clap::Error> {
        quick::parse(args).map_or_else(|| Self::of_all(args), Ok)
    }

    /// The same with all commands to choose from.
    fn of_all(args: &[OsString]) -> Result<Self, clap::Error> {
        let help = asked_help(args);
        let args = help.as_deref().unwrap_or(args);
        let mut parser = pflag::rules(Self::command());
        let parsed = parser
            .try_get_matches_from_mut(args)
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|err| err.format(&mut parser));
        let Err(err) = parsed else { return parsed };
        if err.kind() == ErrorKind::MissingSubcommand {
            // Flags without a command ask for what there is, as no words at all do.
            return Self::try_parse_from(args.iter().take(1));
        }
        let is_help = |err: &clap::Error| {
            matches!(
                err.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            )
        };
        // The plain parser's help does not tell of values that flags may but need not have.
        match Self::try_parse_from(args) {
            Err(plain) if is_help(&err) && is_help(&plain) => Err(plain),
            _ => Err(err),
        }
    }
}

/// `dhow help COMMAND` as `dhow COMMAND --help`, if it is that, whatever flags go before it. What follows the command
/// is left out: after the image of `run`, `--help` would be the container's.
fn asked_help(args: &[OsString]) -> Option<Vec<OsString>> {
    let (program, rest) = args.split_first()?;
    if !rest.iter().any(|word| word == "help") {
        return None;
    }
    let (_, words) = front(args)?;
    let (_, words) = words.split_first().filter(|(first, _)| *first == "help")?;
    let all = Cli::command();
    let mut command = &all;
    let mut out = vec![program.clone()];
    for word in words.iter().filter(|word| !word.as_encoded_bytes().starts_with(b"-")) {
        out.push(word.clone());
        match command.find_subcommand(word) {
            Some(found) if found.has_subcommands() => command = found,
            _ => break,
        }
    }
    out.push("--help".into());
    Some(out)
}

/// What goes before the command.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Engine to connect to (unix:///PATH, tcp://HOST:PORT, ssh://[USER@]HOST); without it, none is needed
    #[arg(short = 'H', long)]
    pub host: Option<String>,
    /// Where config.json and contexts are [env: DOCKER_CONFIG] [default: .docker in the home directory]
    #[arg(long, value_name = "DIRECTORY")]
    pub config: Option<PathBuf>,
    /// Connect to the engine of a context of Docker's client [env: DOCKER_CONTEXT]
    #[arg(short = 'c', long, value_name = "NAME", conflicts_with = "host")]
    pub context: Option<String>,
    /// Tell of every request to the engine, and its answer
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// How much is told ("debug", "info", "warn", "error", "fatal"); debug is the same as --debug
    #[arg(short = 'l', long, value_name = "LEVEL", value_parser = ["debug", "info", "warn", "error", "fatal"])]
    pub log_level: Option<String>,
    /// Speak TLS to an engine on TCP, and verify it; Docker's client does not verify it with this alone
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub tls: Option<bool>,
    /// Speak TLS to an engine on TCP, and verify it [env: DOCKER_TLS_VERIFY]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub tlsverify: Option<bool>,
    /// Whose certificates an engine may have [default: ca.pem in DOCKER_CERT_PATH, or ~/.docker]
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// The certificate to be known by [default: cert.pem there]
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// The key of this certificate [default: key.pem there]
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// Where images, containers and volumes are kept [env: DHOW_ROOT] [default: /var/lib/dhow, or dhow in XDG_DATA_HOME]
    #[arg(long)]
    pub root: Option<PathBuf>,
    /// Where sockets and all that may vanish at a reboot are kept [env: DHOW_STATE] [default: /run/dhow, or dhow in XDG_RUNTIME_DIR]
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// How a new root keeps layers: overlay2, btrfs or copy [env: DHOW_STORAGE_DRIVER] [default: what works]
    #[arg(long, value_name = "NAME")]
    pub storage_driver: Option<String>,
}

/// A command.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Create and run a new container from an image
    #[command(
        after_help = "Example:\n  dhow run --rm -it --memory 512m --cpus 0.5 debian:base bash"
    )]
    Run(Box<RunArgs>),
    #[command(flatten)]
    Container(ContainerCommand),
    /// Manage containers
    #[command(name = "container", subcommand)]
    ContainerGroup(ContainerGroup),
    #[command(flatten)]
    Image(ImageCommand),
    /// Manage images
    #[command(name = "image", subcommand)]
    ImageGroup(ImageGroup),
    /// Build an image from a Dockerfile
    #[command(
        after_help = "Examples:\n  dhow build -t app:1 .\n  dhow build -o out --target bin https://example.com/app.git#main"
    )]
    Build(Box<BuildArgs>),
    /// Manage builds
    #[command(subcommand, visible_alias = "buildx")]
    Builder(BuilderCommand),
    /// Manage networks
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Manage volumes
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Manage secrets: what containers have in memory only
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Manage contexts: engines under names, shared with Docker's client
    #[command(subcommand)]
    Context(ContextCommand),
    /// Manage the engine
    #[command(subcommand)]
    System(SystemCommand),
    /// Return low-level information on containers, images, networks and volumes
    Inspect(InspectArgs),
    /// Search a registry for images
    #[command(after_help = "Example:\n  dhow search --filter is-official=true --limit 5 debian")]
    Search(SearchArgs),
    /// Manage manifests and manifest lists, at a registry
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// Authenticate to a registry
    #[command(
        after_help = "Example:\n  dhow login --username me --password-stdin registry.example.com < token"
    )]
    Login(LoginArgs),
    /// Log out from a registry
    Logout {
        /// The registry; Docker Hub where there is none
        server: Option<String>,
    },
    /// Show version information
    Version(FormatArg),
    /// Display system-wide information
    Info(FormatArg),
    /// Get real time events from the engine
    Events(EventsArgs),
    /// Serve the Docker Engine API on a socket
    #[command(after_help = "Example:\n  dhow daemon &\n  docker -H unix:///run/dhow/dhow.sock ps")]
    Daemon(DaemonArgs),
    /// Be a registry
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Devices for containers: list them, describe this machine's GPUs
    #[command(subcommand)]
    Cdi(CdiCommand),
}

/// `inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Format output using a Go template, or `json`
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Verbose output for diagnostics, of networks
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Only inspect objects of the given type (container, image, network, volume)
    #[arg(long)]
    pub(crate) r#type: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) objects: Vec<String>,
}

/// `... prune`.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Filter what is removed
    #[arg(long)]
    pub(crate) filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
    /// All that is unused, not only what is dangling or anonymous
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// A lone `--format`.
#[derive(Args, Debug)]
pub(crate) struct FormatArg {
    /// Format output using a Go template, or `json`
    #[arg(short, long)]
    pub(crate) format: Option<String>,
}

/// `network ls` and `volume ls`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Filter output based on conditions provided
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only display names or ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `dhow system ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum SystemCommand {
    /// Display system-wide information
    Info(FormatArg),
    /// Get real time events from the engine
    Events(EventsArgs),
    /// Check images, layers, containers and volumes for what is damaged, missing or left over
    ///
    /// Reads every blob and compares every unpacked layer with its archive. Safe beside containers
    /// that run. Exits with 0 if all is right, and with 1 if something is wrong.
    #[command(after_help = "Example:\n  dhow system check || dhow system check --repair")]
    Check(CheckArgs),
    /// Have systemd start the daemon with the machine, and with the first call of its socket
    ///
    /// Writes dhow.socket and dhow.service to /etc/systemd/system, enables and starts them. Containers whose
    /// restart policy says so are started with the machine then.
    #[command(after_help = "Example:\n  dhow system install --dry-run")]
    Install(InstallArgs),
    /// Take back what `system install` did; containers go on
    Uninstall(InstallArgs),
    /// Connect the engine's socket to standard input and output, for clients that come over ssh
    DialStdio,
    /// Show disk usage
    #[command(after_help = "Example:\n  dhow system df --format 'table {{.Type}}\\t{{.Size}}'")]
    Df(DfArgs),
    /// Remove unused data
    #[command(
        after_help = "Example:\n  dhow system prune --all --filter until=720h --filter 'label!=keep'"
    )]
    Prune(SystemPruneArgs),
}

/// `system install` and `system uninstall`.
#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    /// Only print what would be written and called
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `system df`.
#[derive(Args, Debug)]
pub(crate) struct DfArgs {
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// `system prune`.
#[derive(Args, Debug)]
pub(crate) struct SystemPruneArgs {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Provide filter values (label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME)
    #[arg(long)]
    pub(crate) filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    pub(crate) volumes: bool,
}

/// `system check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Remove what nothing needs, unpack changed layers again, and drop damaged blobs, so that the
    /// next pull fetches them; what a container may need is left alone
    #[arg(long)]
    pub(crate) repair: bool,
    /// Only look whether everything is there: hash no blobs, compare no layers
    #[arg(long)]
    pub(crate) quick: bool,
    /// Format output using a Go template, or `json`: one line for each finding
    #[arg(short, long)]
    pub(crate) format: Option<String>,
}

/// `events`.
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Filter output based on conditions provided
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long)]
    pub(crate) until: Option<String>,
}

/// `daemon`.
#[derive(Args, Clone, Debug, Default)]
pub struct DaemonArgs {
    /// Judge the settings, and start nothing
    #[arg(long)]
    pub validate: bool,
    /// The file of settings to judge [default: /etc/dhow/daemon.json, or what DHOW_CONFIG names]
    #[arg(long, value_name = "FILE", requires = "validate")]
    pub config_file: Option<PathBuf>,
    /// Where to listen: unix:///PATH, tcp://ADDRESS:PORT, or fd:// for the sockets of systemd; may be given several
    /// times, also as "hosts" in /etc/dhow/daemon.json
    #[arg(short = 'H', long, visible_alias = "host", value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Listen on one more socket, which allows less than all: ADDRESS,allow=GROUP with info, list, inspect, stats,
    /// logs, events, files, lifecycle, exec, create, images, networks, volumes, system, or read for the first
    /// six; also label=KEY=VALUE and container=NAME for some containers alone, and for PATH in place of ADDRESS
    /// group=NAME and mode=0660; may be given several times
    #[arg(long, value_name = "ADDRESS,allow=GROUP")]
    pub socket: Vec<String>,
    /// Speak TLS on ports (also as "tls" in /etc/dhow/daemon.json, like the next four); false: not to do so is meant,
    /// also where others than this machine reach them
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub tls: Option<bool>,
    /// Speak TLS, and let in who has a certificate of these authorities; false: TLS, and let in who comes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub tlsverify: Option<bool>,
    /// The authorities of clients' certificates [default: ca.pem in DOCKER_CERT_PATH, or ~/.docker]
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// The certificate of this daemon [default: cert.pem there]; read again at SIGHUP
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// The key of this certificate [default: key.pem there]
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// Remove unused images from time to time, such as
    /// max-age=30d,max-size=20GB,min-free=10%,filter=label!=keep,every=1h
    /// (also as "image-gc" in /etc/dhow/daemon.json), or off; without it, those that have no name and were
    /// not used for 30 days, while less than a tenth of the disk is free
    #[arg(long, value_name = "POLICY")]
    pub image_gc: Option<String>,
    /// Remove containers that do not run from time to time, such as max-age=7d,filter=label!=keep (also as
    /// "container-gc" in /etc/dhow/daemon.json), or off; without it, those that have a generated name and
    /// ended 30 days ago, while less than a tenth of the disk is free
    #[arg(long, value_name = "POLICY")]
    pub container_gc: Option<String>,
    /// Give containers that do not say otherwise a user namespace with the subordinate ids of this
    /// USER[:GROUP] (also as "userns-remap" in /etc/dhow/daemon.json); default is dockremap
    #[arg(long, value_name = "USER")]
    pub userns_remap: Option<String>,
}
