//! The engine itself: what all calls share.

use std::fs::DirBuilder;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use cgroup::Hierarchy;
use images::{Driver, EmbeddedImage, Images};
use metadata::Db;
use network::Networks;
use shim_protocol::Status;

use crate::ahead::Ahead;
use crate::cgroups::Home;
use crate::error::{At as _, is_out_of_space};
use crate::lock::{Lock, shim_lives};
use crate::network_lock::NetworkLock;
use crate::paths::Paths;
use crate::record::{Container, LastRecord};
use crate::settings::Settings;
use crate::shim::Pending;
use crate::spec::resources::Machine;
use crate::{Error, machine};

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where what lasts is kept: `/var/lib/dhow`.
    pub root: PathBuf,
    /// Where what may vanish at a reboot is kept: `/run/dhow`.
    pub state: PathBuf,
    /// dhow's own program, which is also the supervisor.
    pub exe: PathBuf,
    /// The images that are part of it.
    pub embedded: &'static [EmbeddedImage],
    /// The storage driver that the root is to have, or has. `None`: what works best, or what it has.
    pub driver: Option<Driver>,
    /// What an administrator has set.
    pub settings: Settings,
    /// A container is to be created and started at once: its supervisor may be started ahead.
    pub starts: bool,
}

/// The containers of one root. Any number of them, in any number of processes, may be open at
/// once: none holds anything in memory that matters to another.
#[derive(Debug)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) exe: PathBuf,
    pub(crate) embedded: &'static [EmbeddedImage],
    pub(crate) images: Arc<Images>,
    pub(crate) networks: Networks,
    pub(crate) machine: OnceLock<Machine>,
    pub(crate) home: OnceLock<Home>,
    pub(crate) trees: OnceLock<Hierarchy>,
    settings: RwLock<Arc<Settings>>,
    /// Supervisors that this process started: to be waited for when they end.
    pub(crate) children: Mutex<Vec<Child>>,
    pub(crate) ahead: Mutex<Option<Ahead>>,
    /// See [`Engine::keep_program`].
    kept: OnceLock<OwnedFd>,
}

/// What those need who wait, on threads of their own.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) paths: Paths,
    pub(crate) db: Arc<Db>,
    pub(crate) pending: Pending,
    /// What [`Shared::find`] has read. The database is asked each time all the same.
    last: LastRecord,
}

impl Engine {
    /// Opens the engine of a root, and cleans up behind processes that died. Makes the folders
    /// where there are none.
    pub fn open(config: EngineConfig) -> Result<Self, Error> {
        let absolute = |path: &Path| std::path::absolute(path).at("resolve", path);
        let paths = Paths { root: absolute(&config.root)?, state: absolute(&config.state)? };
        // As Docker's: a container's user may pass through to a bind mount below, not look around.
        make_dir(&paths.root, 0o711)?;
        make_dir(&paths.containers(), 0o710)?;
        make_dir(&paths.state, 0o711)?;
        make_dir(&paths.runs(), 0o710)?;
        make_dir(&paths.state.join("networks"), 0o711)?;
        NetworkLock::make(&paths.network_locks())?;
        make_dir(&paths.runtime(), 0o700)?;
        make_dir(&paths.secrets(), 0o700)?;
        // What cannot be started now can neither be later, and is told then. An ordinary user's supervisors
        // leave for other namespaces than this process's.
        let ahead = config.starts && !rootless::is_rootless();
        let ahead = ahead.then(|| Ahead::start(&config.exe, &paths)).and_then(Result::ok);
        let db = Arc::new(Db::open(&paths.root.join("dhow.db"))?);
        let images = Images::open(&paths.root, Arc::clone(&db), config.embedded, config.driver)?;
        let images = Arc::new(images);
        let networks = Networks::new(paths.prefix(), &paths.state);
        let mut networks = networks.with(config.settings.networks()?);
        if rootless::is_rootless() {
            networks = networks.of_user(&paths.state, &config.exe);
        }
        networks.ensure_predefined(&db)?;
        let engine = Self {
            shared: Arc::new(Shared {
                paths,
                db,
                pending: Pending::default(),
                last: LastRecord::default(),
            }),
            exe: config.exe,
            embedded: config.embedded,
            images,
            networks,
            machine: OnceLock::new(),
            home: OnceLock::new(),
            trees: OnceLock::new(),
            settings: RwLock::new(Arc::new(config.settings)),
            children: Mutex::default(),
            ahead: Mutex::new(ahead),
            kept: OnceLock::new(),
        };
        match engine.recover() {
            // What was left stays until there is room to note that it has gone; meanwhile a person can
            // look, and make room.
            Err(err) if is_out_of_space(&err) => {}
            recovered => recovered?,
        }
        Ok(engine)
    }

    /// Keeps this program in a form that no container can write, for the supervisors that this process starts: they
    /// are this program as well, whatever became of its file, but can have it in such a form by its path alone, or
    /// as a copy for each container. For a process that stays; best as long as the path leads to the program.
    pub fn keep_program(&self) {
        // Where it cannot be had, supervisors do as they can.
        if let Ok(exe) = sys::overlaid_exe() {
            // Once is enough.
            let _kept = self.kept.set(exe.file);
        }
    }

    /// Where a supervisor finds what is kept.
    pub(crate) fn kept_exe(&self) -> Option<PathBuf> {
        let fd = self.kept.get()?.as_raw_fd();
        Some(format!("/proc/{}/fd/{fd}", std::process::id()).into())
    }

    /// The images.
    pub fn images(&self) -> &Arc<Images> {
        &self.images
    }

    /// Whether containers are confined by `AppArmor` here.
    #[must_use]
    pub fn confines_by_apparmor(&self) -> bool {
        apparmor::is_usable()
    }

    /// The networks.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.shared.db
    }

    /// The same, for those who keep it.
    pub fn shared_db(&self) -> &Arc<Db> {
        &self.shared.db
    }

    /// Where what lasts is kept.
    pub fn root(&self) -> &Path {
        &self.shared.paths.root
    }

    /// Where what may vanish at a reboot is kept.
    pub fn state(&self) -> &Path {
        &self.shared.paths.state
    }

    /// What an administrator has set.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes other settings from now on. What is set for networks counts once the engine is opened again.
    ///
    /// # Errors
    ///
    /// Something is set to what it cannot be; then all stays as it was.
    pub fn set_settings(&self, settings: Settings) -> Result<(), Error> {
        settings.check()?;
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        Ok(())
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.shared.paths
    }

    pub(crate) fn machine(&self) -> &Machine {
        self.machine.get_or_init(|| machine::look(self.has_cgroups(), self.hierarchy().ok()))
    }

    /// The container that a person means.
    pub(crate) fn find(&self, wanted: &str) -> Result<Container, Error> {
        self.shared.find(wanted)
    }

    /// The container that a person means, held against changes by others.
    pub(crate) fn find_locked(&self, wanted: &str) -> Result<(Container, Lock), Error> {
        let id = self.find(wanted)?.id;
        let gone = || Error::NoContainer(wanted.to_owned());
        let lock = Lock::wait(&self.paths().data(&id))?.ok_or_else(gone)?;
        // It may have been renamed, or removed, while we waited.
        Ok((self.find(&id).map_err(|_| gone())?, lock))
    }

    /// Where a container is in its life. One whose supervisor was killed is cleaned up first, and started
    /// again if its restart policy says so.
    pub(crate) fn status(&self, id: &str) -> Result<Status, Error> {
        let status = self.shared.status(id)?;
        if !self.shared.lost_its_shim(id, &status)? {
            return Ok(status);
        }
        // Whoever has the lock is about to find out, too.
        match Lock::attempt(&self.paths().data(id))? {
            Some(lock) => {
                self.mend(id, &lock)?;
                self.shared.status(id)
            }
            None => Ok(status),
        }
    }

    /// The same, for who has the container's lock, and decides what becomes of it.
    pub(crate) fn status_locked(&self, id: &str, lock: &Lock) -> Result<Status, Error> {
        let status = self.shared.status(id)?;
        if self.shared.lost_its_shim(id, &status)? {
            self.recover_lost(id, lock)?;
            return self.shared.status(id);
        }
        Ok(status)
    }

    /// Collects supervisors that have ended.
    pub(crate) fn reap(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

impl Shared {
    pub(crate) fn find(&self, wanted: &str) -> Result<Container, Error> {
        if wanted.is_empty() {
            return Err(Error::Invalid("invalid name or ID supplied: \"\"".into()));
        }
        match self.db.read(|tx| tx.find_container(wanted)) {
            Ok(row) => self.last.container(row),
            Err(metadata::Error::NotFound { .. }) if wanted.contains('/') => {
                self.find_linked(wanted)
            }
            Err(metadata::Error::NotFound { .. }) => Err(Error::NoContainer(wanted.to_owned())),
            Err(metadata::Error::Ambiguous { prefix, .. }) => {
                Err(Error::Invalid(format!("multiple IDs found with provided prefix: {prefix}")))
            }
            Err(err) => Err(err.into()),
        }
    }

    pub(crate) fn status(&self, id: &str) -> Result<Status, Error> {
        let data = self.paths.data(id);
        Status::load(&data).at("read", &data.join("status.json"))
    }

    /// Whether the status says that it runs, and nobody watches over it any more.
    pub(crate) fn lost_its_shim(&self, id: &str, status: &Status) -> Result<bool, Error> {
        if !status.phase.is_alive() || shim_lives(&self.paths.run(id))? {
            return Ok(false);
        }
        // It may have ended in this moment: the status is written before the lock is let go.
        let status = self.status(id)?;
        Ok(status.phase.is_alive())
    }
}

/// Makes a folder and those above it, if it is not there.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(path).at("mkdir", path)
}
