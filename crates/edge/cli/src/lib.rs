//! The command line: turns what is typed into requests of the Docker Engine API, and the answers
//! into what a person or a script reads.
//!
//! It knows nothing of engines. Where one is, it is told by an [`Endpoint`]: behind a socket, or in
//! this very process.
//!
//! # Exit codes
//!
//! `run`, `start -a`, `attach` and `exec` end with the program's own code; `run` with 125 for an
//! error of the engine, 126 for a program that cannot be run, 127 for one that is not found. All
//! others end with 0, or 1 when something went wrong. A flag that is not known or has a value that it
//! cannot have is 125 everywhere, a template that is none is 64 in `inspect`.
#![forbid(unsafe_code)]

#[macro_use]
mod output;

mod almost;
mod api_socket;
mod archive;
mod args;
mod board;
mod build;
mod builder;
mod cdi;
mod check;
mod client;
mod config;
mod containers;
mod contexts;
mod cp;
mod debug;
mod df;
mod dial;
mod error;
mod explain;
mod explain_container;
mod format;
mod gc;
mod images;
mod inspect;
mod install;
mod list;
mod manifest;
mod networks;
mod platforms;
mod plugins;
mod progress;
mod prune;
mod ps;
mod registry;
mod request;
mod run;
mod run_args;
mod search;
mod secrets;
mod ssh;
mod stats;
mod stream;
mod system;
mod terminal;
mod tls;
mod volumes;

use std::ffi::OsString;
use std::path::PathBuf;

pub use args::{DaemonArgs, Global, RegistryServeArgs};
pub use client::{Endpoint, Secure};
pub use ssh::Remote;
pub use tls::usual_certificates;

use args::{
    CdiCommand, Cli, Command, ContainerCommand, ContainerGroup, ImageCommand, ImageCommon,
    ImageGroup, NetworkCommand, RegistryCommand, SecretCommand, SystemCommand, VolumeCommand,
};
use client::Client;
use error::{Error, Result};

/// Answers one who has connected to the engine in this process, until that one leaves.
pub type Serve = Box<dyn Fn(tokio::net::UnixStream) -> tokio::task::JoinHandle<()>>;

/// What the rest of the program does for the command line.
pub trait Host {
    /// Opens the engine in this process. `starts`: to create a container and start it at once. The error is
    /// one line for people.
    fn engine(&self, global: &Global, starts: bool) -> std::result::Result<Endpoint, String>;
    /// Where the daemon of this engine listens, if there is one.
    fn socket(&self, global: &Global) -> PathBuf;
    /// Opens the engine in this process for those who come over a socket. The error is one line for people.
    fn serve(&self, global: &Global) -> std::result::Result<Serve, String>;
    /// Serves the API until a signal ends it. The error is one line for people.
    fn daemon(
        &self,
        global: &Global,
        args: &DaemonArgs,
    ) -> impl Future<Output = std::result::Result<(), String>>;
    /// Serves the images as a registry until a signal ends it. The error is one line for people.
    fn registry(
        &self,
        global: &Global,
        args: &RegistryServeArgs,
    ) -> impl Future<Output = std::result::Result<(), String>>;
}

/// Whether a command line, the program's name first, is that of a command that scripts call by the hundred, and
/// that is over in a moment or waits for a container.
#[must_use]
pub fn is_short(args: &[OsString]) -> bool {
    args::is_short(args)
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The code to exit with.
    pub code: i32,
    /// It did what it had to, by calls of the engine alone: what else this process does is of no use any more.
    pub is_simple: bool,
}

/// Runs one command line, the program's name first, and returns its exit code. `entered_ns` is the
/// time at which the program was entered, in nanoseconds since 1970.
pub async fn main(args: Vec<OsString>, host: &impl Host, entered_ns: u64) -> Ended {
    let cli = match Cli::of(&args) {
        Ok(cli) => cli,
        Err(err) => {
            let plugin = plugins::instead(&args, host).await;
            let code = plugin.unwrap_or_else(|| refuse(&err, &args));
            return Ended { code, is_simple: false };
        }
    };
    let is_simple = cli.command.is_simple();
    let is_run =
        matches!(cli.command, Command::Run(_) | Command::ContainerGroup(ContainerGroup::Run(_)));
    let done = dispatch(cli, host, entered_ns).await;
    let is_simple = is_simple && matches!(done, Ok(_) | Err(Error::Exit(_)));
    let (code, why) = match done {
        Ok(code) | Err(Error::Exit(code)) => (code, String::new()),
        Err(err) => {
            eprintln!("dhow: {err}");
            let code = if is_run { err.run_exit_code() } else { err.exit_code() };
            (code, err.to_string())
        }
    };
    plugins::ended(&args, code, &why);
    Ended { code, is_simple }
}

/// Says why a command line cannot be used, or what it asks for: the exit code.
fn refuse(err: &clap::Error, args: &[OsString]) -> i32 {
    // Where this cannot be printed, nothing can.
    let _ = err.print();
    if args::is_help_of_all(err, args) {
        if let Some(directory) = args::before_help(args).and_then(|global| global.config) {
            config::set_directory(&directory);
        }
        let plugins = plugins::listed();
        if err.use_stderr() { eprint!("{plugins}") } else { print!("{plugins}") }
    }
    args::exit_code(err)
}

async fn dispatch(cli: Cli, host: &impl Host, entered_ns: u64) -> Result<i32> {
    let Cli { global, command, .. } = cli;
    if let Some(directory) = &global.config {
        config::set_directory(directory);
    }
    if let Command::Daemon(args) = &command {
        if let Some(flag) = of_a_client(&global) {
            let why = format!(
                "{flag} before the command is for clients: `dhow daemon --help` says what goes after `daemon`"
            );
            return Err(Error::Usage(why));
        }
        return host.daemon(&global, args).await.map(|()| 0).map_err(Error::Usage);
    }
    if let Command::Registry(RegistryCommand::Serve(args)) = &command {
        if global.host.is_some() {
            let why = "`registry serve` serves the images of this machine: leave -H out";
            return Err(Error::Usage(why.into()));
        }
        return host.registry(&global, args).await.map(|()| 0).map_err(Error::Usage);
    }
    match &command {
        Command::System(SystemCommand::Install(args)) => return install::install(&global, args),
        Command::System(SystemCommand::Uninstall(args)) => return install::uninstall(args),
        _ => {}
    }
    if let Command::Manifest(command) = command {
        return manifest::manifest(command).await;
    }
    if let Command::Cdi(CdiCommand::Generate(args)) = &command {
        return cdi::generate(args);
    }
    if let Command::Context(command) = &command {
        return contexts::run(&global, command);
    }
    if matches!(command, Command::System(SystemCommand::DialStdio)) && is_own_engine(&global) {
        return dial::meet(&global, host).await;
    }
    // One that joins another's network starts as any other: what is made ahead would be in vain.
    let starts = match &command {
        Command::Run(args) | Command::ContainerGroup(ContainerGroup::Run(args)) => {
            args.container.has_own_network()
        }
        _ => false,
    };
    let endpoint = endpoint(&contexts::followed(&global)?, host, starts)?;
    let client = Client::new(endpoint, said(&global, host)?).await?;
    let done = by_engine(&client, command, entered_ns).await;
    almost::told(&client, done).await
}

/// The commands that an engine does.
async fn by_engine(client: &Client, command: Command, entered_ns: u64) -> Result<i32> {
    match command {
        Command::Run(args) | Command::ContainerGroup(ContainerGroup::Run(args)) => {
            run::run(client, *args, entered_ns).await
        }
        Command::Container(command) | Command::ContainerGroup(ContainerGroup::Common(command)) => {
            container(client, command, entered_ns).await
        }
        Command::ContainerGroup(ContainerGroup::Ls(args)) => ps::ps(client, &args).await,
        Command::ContainerGroup(ContainerGroup::Inspect(args)) => {
            inspect::inspect(client, &args, Some("container")).await
        }
        Command::ContainerGroup(ContainerGroup::Explain(args)) => {
            explain_container::explain(client, &args).await
        }
        Command::ContainerGroup(ContainerGroup::Gc(args)) => {
            gc::gc(client, &args, gc::What::Containers).await
        }
        Command::ContainerGroup(ContainerGroup::Prune(args)) => {
            prune::prune(client, &args, "containers").await
        }
        Command::Image(command) => match command {
            ImageCommand::Images(args) => images::list(client, &args).await,
            ImageCommand::Rmi(args) => images::rmi(client, &args).await,
            ImageCommand::Common(command) => image(client, command).await,
        },
        Command::ImageGroup(command) => match command {
            ImageGroup::Build(args) => build::build(client, &args).await,
            ImageGroup::Ls(args) => images::list(client, &args).await,
            ImageGroup::Rm(args) => images::rmi(client, &args).await,
            ImageGroup::Inspect(args) => inspect::image(client, &args).await,
            ImageGroup::Prune(args) => prune::prune(client, &args, "images").await,
            ImageGroup::Explain(args) => explain::explain(client, &args).await,
            ImageGroup::Convert(args) => images::convert(client, &args).await,
            ImageGroup::Gc(args) => gc::gc(client, &args, gc::What::Images).await,
            ImageGroup::Common(command) => image(client, command).await,
        },
        Command::Build(args) => build::build(client, &args).await,
        Command::Builder(command) => builder::run(client, command).await,
        Command::Network(command) => network(client, command).await,
        Command::Volume(command) => volume(client, command).await,
        Command::Secret(SecretCommand::Create(args)) => secrets::create(client, args).await,
        Command::Secret(SecretCommand::Ls(args)) => secrets::list(client, &args).await,
        Command::Secret(SecretCommand::Inspect { args, pretty: true }) => {
            secrets::pretty(client, &args.objects).await
        }
        Command::Secret(SecretCommand::Inspect { args, pretty: false }) => {
            inspect::inspect(client, &args, Some("secret")).await
        }
        Command::Secret(SecretCommand::Update { label, label_rm, secret }) => {
            secrets::update(client, &secret, &label, &label_rm).await
        }
        Command::Secret(SecretCommand::Rm { secrets }) => secrets::rm(client, &secrets).await,
        Command::System(SystemCommand::Info(args)) | Command::Info(args) => {
            system::info(client, &args).await
        }
        Command::System(SystemCommand::Events(args)) | Command::Events(args) => {
            system::events(client, &args).await
        }
        Command::System(SystemCommand::DialStdio) => dial::stdio(client).await,
        Command::System(SystemCommand::Check(args)) => check::check(client, &args).await,
        Command::System(SystemCommand::Df(args)) => df::df(client, &args).await,
        Command::System(SystemCommand::Prune(args)) => prune::system(client, &args).await,
        Command::Search(args) => search::search(client, &args).await,
        Command::Login(args) => registry::login(client, &args).await,
        Command::Logout { server } => registry::logout(server.as_deref()),
        Command::Inspect(args) => inspect::inspect(client, &args, None).await,
        Command::Version(args) => system::version(client, &args).await,
        Command::Cdi(CdiCommand::List { format }) => cdi::list(client, format.as_deref()).await,
        Command::Daemon(_)
        | Command::Registry(_)
        | Command::Manifest(_)
        | Command::Cdi(_)
        | Command::Context(_)
        | Command::System(SystemCommand::Install(_) | SystemCommand::Uninstall(_)) => Ok(0),
    }
}

async fn container(client: &Client, command: ContainerCommand, entered_ns: u64) -> Result<i32> {
    match command {
        ContainerCommand::Create(args) => run::create(client, *args, entered_ns).await,
        ContainerCommand::Start(args) => run::start(client, args).await,
        ContainerCommand::Attach(args) => run::attach(client, args).await,
        ContainerCommand::Debug(args) => debug::debug(client, args).await,
        ContainerCommand::Exec(args) => run::exec(client, args).await,
        ContainerCommand::Ps(args) => ps::ps(client, &args).await,
        ContainerCommand::Logs(args) => containers::logs(client, &args).await,
        ContainerCommand::Stop(args) => containers::stop(client, &args, "stop").await,
        ContainerCommand::Restart(args) => containers::stop(client, &args, "restart").await,
        ContainerCommand::Kill(args) => containers::kill(client, &args).await,
        ContainerCommand::Rm(args) => containers::rm(client, &args).await,
        ContainerCommand::Wait(names) => containers::wait(client, &names.containers).await,
        ContainerCommand::Stats(args) => stats::stats(client, &args).await,
        ContainerCommand::Top(args) => containers::top(client, &args).await,
        ContainerCommand::Pause(names) => {
            containers::simple(client, &names.containers, "pause").await
        }
        ContainerCommand::Unpause(names) => {
            containers::simple(client, &names.containers, "unpause").await
        }
        ContainerCommand::Rename { container, new_name } => {
            containers::rename(client, &container, &new_name).await
        }
        ContainerCommand::Port { container, port } => {
            containers::port(client, &container, port.as_deref()).await
        }
        ContainerCommand::Diff { container } => containers::diff(client, &container).await,
        ContainerCommand::Update(args) => containers::update(client, &args).await,
        ContainerCommand::Commit(args) => images::commit(client, &args).await,
        ContainerCommand::Cp(args) => cp::copy(client, &args).await,
        ContainerCommand::Export { output, container } => {
            let path = format!("/containers/{}/export", client::encode(&container));
            archive::fetch(client, &path, output.as_deref()).await
        }
    }
}

async fn image(client: &Client, command: ImageCommon) -> Result<i32> {
    match command {
        ImageCommon::Import(args) => images::import(client, &args).await,
        ImageCommon::Tag { source, target } => images::tag(client, &source, &target).await,
        ImageCommon::History(args) => images::history(client, &args).await,
        ImageCommon::Save { output, platform, images } => {
            let names: Vec<String> = images.iter().map(|name| client::encode(name)).collect();
            let platforms = platforms::query("platform", &platform)?;
            let path = format!("/images/get?names={}{platforms}", names.join("&names="));
            archive::fetch(client, &path, output.as_deref()).await
        }
        ImageCommon::Load { input, platform, quiet } => {
            archive::load(client, input.as_deref(), &platform, quiet).await
        }
        ImageCommon::Pull(args) => registry::pull(client, &args).await,
        ImageCommon::Push(args) => registry::push(client, &args).await,
    }
}

async fn network(client: &Client, command: NetworkCommand) -> Result<i32> {
    match command {
        NetworkCommand::Create(args) => networks::create(client, args).await,
        NetworkCommand::Ls(args) => networks::list(client, &args).await,
        NetworkCommand::Inspect(args) => inspect::inspect(client, &args, Some("network")).await,
        NetworkCommand::Rm { force, networks } => networks::rm(client, &networks, force).await,
        NetworkCommand::Connect(args) => networks::connect(client, args).await,
        NetworkCommand::Disconnect { force, network, container } => {
            networks::disconnect(client, &network, container, force).await
        }
        NetworkCommand::Prune(args) => prune::prune(client, &args, "networks").await,
    }
}

async fn volume(client: &Client, command: VolumeCommand) -> Result<i32> {
    match command {
        VolumeCommand::Create { driver, label, opt, name_flag, name } => {
            volumes::create(client, name.or(name_flag), driver, &label, &opt).await
        }
        VolumeCommand::Ls(args) => volumes::list(client, &args).await,
        VolumeCommand::Inspect(args) => inspect::inspect(client, &args, Some("volume")).await,
        VolumeCommand::Rm { force, volumes } => volumes::rm(client, &volumes, force).await,
        VolumeCommand::Prune(args) => prune::prune(client, &args, "volumes").await,
        VolumeCommand::Update { label, label_rm, availability, volume } => {
            volumes::update(client, &volume, &label, &label_rm, availability.is_some()).await
        }
        VolumeCommand::Rename { volume, new_name } => {
            volumes::rename(client, &volume, &new_name).await
        }
        VolumeCommand::Clone(args) => volumes::copy(client, args, false).await,
        VolumeCommand::Snapshot(args) => volumes::copy(client, args, true).await,
        VolumeCommand::Backup { output, volume } => {
            let path = format!("/dhow/volumes/{}/archive", client::encode(&volume));
            archive::fetch(client, &path, output.as_deref()).await
        }
        VolumeCommand::Restore { input, label, opt, volume } => {
            volumes::restore(client, input.as_deref(), &volume, &label, &opt).await
        }
    }
}

/// What goes before the command, if the command is one that needs the engine in this process, or a plugin
/// that may. `None` also where the command line is none: [`main`] says why.
pub fn own_engine(args: &[OsString]) -> Option<Global> {
    let Ok(Cli { global, command, .. }) = Cli::of(args) else { return plugins::own_engine(args) };
    if let Some(directory) = &global.config {
        config::set_directory(directory);
    }
    let elsewhere = match &command {
        Command::Daemon(_) | Command::Registry(RegistryCommand::Serve(_)) => false,
        Command::System(SystemCommand::Install(_) | SystemCommand::Uninstall(_))
        | Command::Manifest(_)
        | Command::Context(_)
        | Command::Cdi(CdiCommand::Generate(_)) => true,
        _ => !is_own_engine(&global),
    };
    (!elsewhere).then_some(global)
}

/// Whether the engine is this process.
fn is_own_engine(global: &Global) -> bool {
    address(global).is_none() && contexts::current(global) == contexts::DEFAULT
}

/// The first flag that is of no use to who is the engine, and has another meaning there: it is not to be passed over.
fn of_a_client(global: &Global) -> Option<&'static str> {
    let given = [
        ("--host", global.host.is_some()),
        ("--context", global.context.is_some()),
        ("--debug", global.debug),
        ("--log-level", global.log_level.is_some()),
        ("--tls", global.tls.is_some()),
        ("--tlsverify", global.tlsverify.is_some()),
        ("--tlscacert", global.tlscacert.is_some()),
        ("--tlscert", global.tlscert.is_some()),
        ("--tlskey", global.tlskey.is_some()),
    ];
    given.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
}

/// How an engine is spoken to.
fn said(global: &Global, host: &impl Host) -> Result<client::Said> {
    let version = std::env::var("DOCKER_API_VERSION").ok();
    let version = version.map(|version| version.trim_start_matches('v').to_owned());
    let version = version.filter(|version| !version.is_empty());
    if let Some(version) = version.as_deref().filter(|version| !is_version(version)) {
        return Err(Error::Usage(format!("DOCKER_API_VERSION {version:?}: give one such as 1.41")));
    }
    Ok(client::Said {
        context: contexts::current(global),
        socket: host.socket(global),
        headers: config::get().http_headers.clone(),
        debug: global.debug || global.log_level.as_deref() == Some("debug"),
        version,
    })
}

fn is_version(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

/// `-H`, else `DOCKER_HOST`.
fn address(global: &Global) -> Option<String> {
    let environment = || std::env::var("DOCKER_HOST").ok();
    let given = global.host.clone().or_else(environment);
    given.filter(|address| !address.is_empty())
}

/// Where the engine is: `-H`, else `DOCKER_HOST`, else this process.
fn endpoint(global: &Global, host: &impl Host, starts: bool) -> Result<Endpoint> {
    let Some(address) = address(global) else {
        return host.engine(global, starts).map_err(Error::Usage);
    };
    if let Some(path) = address.strip_prefix("unix://") {
        return Ok(Endpoint::Unix(PathBuf::from(path)));
    }
    if let Some(address) = address.strip_prefix("tcp://") {
        return tls::endpoint(global, address);
    }
    if address.starts_with("ssh://") {
        let remote = ssh::Remote::parse(&address).map_err(Error::Usage)?;
        return Ok(Endpoint::Ssh(Box::new(remote)));
    }
    let right = "unix:///PATH, tcp://HOST:PORT or ssh://[USER@]HOST";
    Err(Error::Usage(format!("invalid host {address:?}: give {right}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn how_an_engine_is_reached_is_not_how_one_listens() {
        let of = |args: &[&str]| of_a_client(&Cli::try_parse_from(args).unwrap().global);
        let own = ["dhow", "daemon", "-H", "tcp://127.0.0.1:1", "--tlsverify", "--tlscacert", "c"];
        assert_eq!(of(&own), None);
        assert_eq!(of(&["dhow", "-H", "tcp://127.0.0.1:1", "daemon"]), Some("--host"));
        assert_eq!(of(&["dhow", "--tlsverify", "daemon"]), Some("--tlsverify"));
        assert_eq!(of(&["dhow", "--tlskey", "k", "daemon"]), Some("--tlskey"));
        assert_eq!(of(&["dhow", "-D", "daemon"]), Some("--debug"));
    }

    #[test]
    fn what_follows_the_image_is_the_containers() {
        let cli = Cli::try_parse_from([
            "dhow", "run", "--rm", "-it", "-h", "box", "debian", "ls", "-l", "--rm=x",
        ])
        .unwrap();
        let Command::Run(args) = cli.command else { panic!("not run") };
        assert_eq!(args.container.image_and_command, ["debian", "ls", "-l", "--rm=x"]);
        assert_eq!(args.container.hostname, "box");
        assert_eq!((args.container.rm, args.container.tty), (Some(true), Some(true)));
    }
}
