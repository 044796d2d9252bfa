//! The engine for the command line: in this process, or behind sockets.

pub(crate) use docker::error::chain;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cli::{DaemonArgs, Endpoint, Global, RegistryServeArgs, Serve};
use containers::{Engine, EngineConfig, Settings};
use docker_api::{Api, Builds, Tls};
use images::{Driver, EmbeddedImage};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::builder::Building;
use crate::listening::Listening;
use crate::places::Places;
use crate::{collector, embedded, validate};

/// What the binary carries.
const EMBEDDED: &[EmbeddedImage] =
    &[EmbeddedImage { reference: "hello:latest", layout: embedded::HELLO }];
/// Between the command line and the engine in one process, in bytes.
const STREAM_BYTES: usize = 64 * 1024;
/// This very program, whatever became of its name since it was started.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What the rest of the program does for the command line.
pub(crate) struct Host {
    /// Of whoever started this process.
    pub(crate) places: Places,
}

impl Host {
    fn open(&self, global: &Global, starts: bool) -> Result<Engine, String> {
        let settings = Settings::load(&self.places.settings()).map_err(|err| chain(&err))?;
        let (root, state) = (self.places.root(global), self.places.state(global));
        open_with(root, state, driver(global)?, settings, starts)
    }
}

impl cli::Host for Host {
    fn engine(&self, global: &Global, starts: bool) -> Result<Endpoint, String> {
        let mut api = api(Arc::new(self.open(global, starts)?), Vec::new());
        api.alone = true;
        Ok(Endpoint::InProcess(Arc::new(move || {
            let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
            tokio::spawn(docker_api::serve(api.clone(), theirs));
            ours
        })))
    }

    fn socket(&self, global: &Global) -> PathBuf {
        self.places.socket(global)
    }

    fn serve(&self, global: &Global) -> Result<Serve, String> {
        let api = api(Arc::new(self.open(global, false)?), Vec::new());
        Ok(Box::new(move |stream| tokio::spawn(docker_api::serve(api.clone(), stream))))
    }

    async fn daemon(&self, global: &Global, args: &DaemonArgs) -> Result<(), String> {
        if args.validate {
            let file = args.config_file.clone().unwrap_or_else(|| self.places.settings());
            return validate::judge(args, &file);
        }
        // Who is asked to read its settings again before it has opened anything does so afterwards.
        let hangups = caught(SignalKind::hangup())?;
        let policies = collector::Policies::of(args, &self.places.settings())?;
        // Before anything else is opened.
        let usual = self.places.socket(global);
        let listening = Listening::of(args, &self.places.settings(), &usual)?;
        let mut listeners = listening.inherit()?;
        let state = self.places.state(global);
        let settings = settings(&self.places.settings(), args.userns_remap.as_ref())?;
        settings.check().map_err(|err| chain(&err))?;
        let driver = driver(global)?;
        let engine = Arc::new(open_with(self.places.root(global), state, driver, settings, false)?);
        engine.keep_program();
        listeners.extend(listening.bind()?);
        let mut warnings = Vec::new();
        for warning in listeners.iter().filter_map(docker_api::Listener::warning) {
            eprintln!("dhow: warning: {warning}");
            warnings.push(format!("WARNING: {warning}"));
        }
        let mut beside = JoinSet::new();
        beside.spawn(collector::run(Arc::clone(&engine), policies));
        let (file, remap) = (self.places.settings(), args.userns_remap.clone());
        beside.spawn(reloads(Arc::clone(&engine), file, remap, listening.tls(), hangups));
        let starting = Arc::clone(&engine);
        beside.spawn_blocking(move || bring_up(&starting));
        docker_api::listen(api(engine, warnings), listeners, ended()?)
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
        let engine = self.open(global, false)?;
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

/// The API of an engine, with a builder behind it.
fn api(engine: Arc<Engine>, warnings: Vec<String>) -> Api {
    let upgrades = Arc::new(Building::new(Arc::clone(&engine)));
    let (builds, warnings) = (Builds::default(), warnings.into());
    Api { engine, upgrades: Some(upgrades), builds, warnings, alone: false }
}

/// What the file says, and the flag that wins over it.
pub(crate) fn settings(file: &Path, userns_remap: Option<&String>) -> Result<Settings, String> {
    let mut settings = Settings::load(file).map_err(|err| chain(&err))?;
    if let Some(remap) = userns_remap {
        settings.userns_remap.clone_from(remap);
    }
    Ok(settings)
}

/// Reads the settings and the certificates again at each SIGHUP; one that is wrong changes nothing.
async fn reloads(
    engine: Arc<Engine>,
    file: PathBuf,
    userns_remap: Option<String>,
    tls: Option<Tls>,
    mut hangups: Signal,
) {
    while hangups.recv().await.is_some() {
        let (engine, file, remap) = (Arc::clone(&engine), file.clone(), userns_remap.clone());
        let tls = tls.clone();
        let reading = tokio::task::spawn_blocking(move || {
            if let Some(Err(err)) = tls.as_ref().map(Tls::reload) {
                eprintln!("dhow: the certificates stay as they were: {}", chain(&err));
            }
            let settings = settings(&file, remap.as_ref())?;
            let registries = registry::Settings::of_this_machine(&|name| std::env::var(name).ok());
            let registries = registries.map_err(|err| chain(&err))?;
            docker_api::reload(&engine, settings, &registries).map_err(|err| chain(&err))
        });
        match reading.await.unwrap_or_else(|err| Err(err.to_string())) {
            Ok(()) => eprintln!("dhow: the settings were read again"),
            Err(err) => eprintln!("dhow: the settings stay as they were: {err}"),
        }
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
    let removed = open_again(root, state)
        .and_then(|engine| engine.internal_remove(id).map_err(|err| chain(&err)));
    match removed {
        Ok(()) => 0,
        Err(err) => {
            eprintln!("dhow: remove {id}: {err}");
            1
        }
    }
}

/// Opens an engine for what a supervisor has become: in an ordinary user's engine that is in its
/// namespaces already.
fn open_again(root: PathBuf, state: PathBuf) -> Result<Engine, String> {
    let places = if rootless::Place::of(&state).exists() {
        rootless::join(&state).map_err(|err| chain(&err))?;
        Places::of_user(rustix::process::geteuid().as_raw())
    } else {
        Places::of_system()
    };
    let settings = Settings::load(&places.settings()).map_err(|err| chain(&err))?;
    open_with(root, state, None, settings, false)
}

fn open_with(
    root: PathBuf,
    state: PathBuf,
    driver: Option<Driver>,
    settings: Settings,
    starts: bool,
) -> Result<Engine, String> {
    let exe = OWN_PROGRAM.into();
    let config = EngineConfig { root, state, exe, embedded: EMBEDDED, driver, settings, starts };
    Engine::open(config).map_err(|err| chain(&err))
}

fn driver(global: &Global) -> Result<Option<Driver>, String> {
    let from_environment = || std::env::var("DHOW_STORAGE_DRIVER").ok();
    let name = global.storage_driver.clone().or_else(from_environment);
    let name = name.filter(|name| !name.is_empty());
    name.map(|name| name.parse()).transpose().map_err(|err: images::Error| chain(&err))
}

fn caught(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|err| format!("catch signals: {err}"))
}

/// Turns true when a signal asks the daemon to end. Containers go on.
fn ended() -> Result<watch::Receiver<bool>, String> {
    let (sender, receiver) = watch::channel(false);
    let (mut interrupt, mut terminate) =
        (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let _ = sender.send(true);
    });
    Ok(receiver)
}
