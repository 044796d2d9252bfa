//! The engine for the command line: in this process, or behind sockets.

pub(crate) use docker::error::chain;
use std::path::PathBuf;
use std::sync::Arc;

use cli::{DaemonArgs, Endpoint, Global, RegistryServeArgs};
use containers::{Engine, EngineConfig, Settings};
use docker_api::{Api, Listener};
use images::{Driver, EmbeddedImage};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{collector, embedded};

/// What the binary carries.
const EMBEDDED: &[EmbeddedImage] =
    &[EmbeddedImage { reference: "hello:latest", layout: embedded::HELLO }];
/// Between the command line and the engine in one process, in bytes.
const STREAM_BYTES: usize = 64 * 1024;
/// This very program, whatever became of its name since it was started.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The address that means the sockets of a socket unit.
const FROM_SYSTEMD: &str = "fd://";

/// What the rest of the program does for the command line.
pub(crate) struct Host;

impl cli::Host for Host {
    fn engine(&self, global: &Global) -> Result<Endpoint, String> {
        let engine = Arc::new(open(root(global), state(global), driver(global)?)?);
        let api = Api { engine, upgrades: None };
        Ok(Endpoint::InProcess(Arc::new(move || {
            let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
            tokio::spawn(docker_api::serve(api.clone(), theirs));
            ours
        })))
    }

    async fn daemon(&self, global: &Global, args: &DaemonArgs) -> Result<(), String> {
        let policy = collector::policy(args.image_gc.as_deref(), &settings())?;
        // Before anything else is opened.
        let mut listeners = if args.listen.iter().any(|address| address == FROM_SYSTEMD) {
            Listener::inherited().map_err(|err| chain(&err))?
        } else {
            Vec::new()
        };
        let state = state(global);
        let mut settings = Settings::load(&settings()).map_err(|err| chain(&err))?;
        if let Some(remap) = &args.userns_remap {
            settings.userns_remap.clone_from(remap);
        }
        let driver = driver(global)?;
        let engine = Arc::new(open_with(root(global), state.clone(), driver, settings)?);
        let addresses = if args.listen.is_empty() {
            vec![format!("unix://{}", state.join("dhow.sock").display())]
        } else {
            args.listen.clone()
        };
        for address in addresses.iter().filter(|address| *address != FROM_SYSTEMD) {
            listeners.push(Listener::bind(address).map_err(|err| chain(&err))?);
        }
        for socket in &args.socket {
            listeners.push(Listener::bind_limited(socket).map_err(|err| chain(&err))?);
        }
        for address in &addresses {
            eprintln!("dhow: serving the Docker Engine API on {address}");
        }
        for socket in &args.socket {
            eprintln!("dhow: serving a part of it on {socket}");
        }
        let mut beside = JoinSet::new();
        beside.spawn(collector::run(Arc::clone(&engine), policy));
        let starting = Arc::clone(&engine);
        beside.spawn_blocking(move || bring_up(&starting));
        docker_api::listen(Api { engine, upgrades: None }, listeners, ended()?)
            .await
            .map_err(|err| chain(&err))
    }

    async fn registry(&self, global: &Global, args: &RegistryServeArgs) -> Result<(), String> {
        let config = registry_api::Config {
            listen: args.listen.clone(),
            name: args.name.clone(),
            writable: (args.writable || args.read_only).then_some(args.writable),
            tls: args.tls_cert.clone().zip(args.tls_key.clone()),
            htpasswd: args.htpasswd.clone(),
        };
        let engine = open(root(global), state(global), driver(global)?)?;
        let images = Arc::clone(engine.images());
        let registry = registry_api::Registry::bind(images, &config).map_err(|err| chain(&err))?;
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        eprintln!(
            "dhow: a registry on {scheme}://{}, called {}, to {}",
            registry.address(),
            registry.name(),
            if registry.is_writable() { "pull from and push to" } else { "pull from" },
        );
        for warning in registry.warnings() {
            eprintln!("dhow: warning: {warning}");
        }
        registry.serve(ended()?).await.map_err(|err| chain(&err))
    }
}

/// Starts the containers that are to run; what could not be started is told on standard error.
fn bring_up(engine: &Engine) {
    match engine.bring_up() {
        Ok(failed) => {
            for (name, err) in failed {
                eprintln!("dhow: start container {name}: {}", chain(&err));
            }
        }
        Err(err) => eprintln!("dhow: start containers: {}", chain(&err)),
    }
}

/// Removes a container that has ended, as its supervisor's last deed.
pub(crate) fn remove(root: PathBuf, state: PathBuf, id: &str) -> i32 {
    let removed = open(root, state, None)
        .and_then(|engine| engine.internal_remove(id).map_err(|err| chain(&err)));
    match removed {
        Ok(()) => 0,
        Err(err) => {
            eprintln!("dhow: remove {id}: {err}");
            1
        }
    }
}

fn open(root: PathBuf, state: PathBuf, driver: Option<Driver>) -> Result<Engine, String> {
    let settings = Settings::load(&settings()).map_err(|err| chain(&err))?;
    open_with(root, state, driver, settings)
}

fn open_with(
    root: PathBuf,
    state: PathBuf,
    driver: Option<Driver>,
    settings: Settings,
) -> Result<Engine, String> {
    let exe = OWN_PROGRAM.into();
    let config = EngineConfig { root, state, exe, embedded: EMBEDDED, driver, settings };
    Engine::open(config).map_err(|err| chain(&err))
}

/// Where the engine's settings are.
fn settings() -> PathBuf {
    place(None, "DHOW_CONFIG", Settings::FILE)
}

fn root(global: &Global) -> PathBuf {
    place(global.root.as_ref(), "DHOW_ROOT", "/var/lib/dhow")
}

fn driver(global: &Global) -> Result<Option<Driver>, String> {
    let from_environment = || std::env::var("DHOW_STORAGE_DRIVER").ok();
    let name = global.storage_driver.clone().or_else(from_environment);
    let name = name.filter(|name| !name.is_empty());
    name.map(|name| name.parse()).transpose().map_err(|err: images::Error| chain(&err))
}

fn state(global: &Global) -> PathBuf {
    place(global.state.as_ref(), "DHOW_STATE", "/run/dhow")
}

/// Of the flag, the environment and the default, the first that says something.
fn place(flag: Option<&PathBuf>, variable: &str, default: &str) -> PathBuf {
    let from_environment = || std::env::var_os(variable).filter(|path| !path.is_empty());
    flag.cloned()
        .or_else(|| from_environment().map(PathBuf::from))
        .unwrap_or_else(|| default.into())
}

/// Turns true when a signal asks the daemon to end. Containers go on.
fn ended() -> Result<watch::Receiver<bool>, String> {
    let (sender, receiver) = watch::channel(false);
    let catch = |kind| signal(kind).map_err(|err| format!("catch signals: {err}"));
    let (mut interrupt, mut terminate) =
        (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let _ = sender.send(true);
    });
    Ok(receiver)
}
