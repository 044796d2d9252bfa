//! The builder: what all builds of a process share.

use std::collections::HashSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use containers::Engine;
use devices::Emulation;
use images::Images;
use metadata::Db;
use oci::{ChainId, Digest};
use snapshot::Key;

use crate::cache::{Cache, let_go_of_dead};
use crate::client::Client;
use crate::error::At as _;
use crate::event::Progress;
use crate::jobs::Jobs;
use crate::made::Made;
use crate::request::{Entitlements, Request};
use crate::store::Store;
use crate::{Build, Error, caches};

/// Carries out builds on one engine. Any number of them, in any number of processes, may do so at once.
#[derive(Debug)]
pub struct Builder {
    pub(crate) engine: Arc<Engine>,
    pub(crate) settings: registry::Settings,
    pub(crate) cache: Cache,
    pub(crate) store: Store,
    pub(crate) made: Made,
    pub(crate) jobs: Jobs,
    pub(crate) empty: PathBuf,
    /// Whom the proxies of programs believe.
    pub(crate) trust: Arc<egress::Trust>,
    /// For which architectures programs can be run.
    pub(crate) emulation: Emulation,
}

impl Builder {
    /// A builder for the images and containers of an engine. `settings` is how registries are reached.
    /// Cleans up behind builders that died.
    pub fn new(engine: Arc<Engine>, settings: registry::Settings) -> Result<Arc<Self>, Error> {
        let db = Arc::clone(engine.shared_db());
        let store = Store::open(engine.root(), Arc::clone(&db))?;
        let empty = store.empty()?;
        let made = store.made();
        let cache = Cache::new(Arc::clone(engine.images()), Arc::clone(&db));
        sweep(engine.images(), &db)?;
        caches::sweep(&store.file(""))?;
        let (jobs, trust, emulation) = Default::default();
        Ok(Arc::new(Self { engine, settings, cache, store, made, jobs, empty, trust, emulation }))
    }

    /// Whether builds may be allowed this here.
    ///
    /// # Errors
    ///
    /// The machine's configuration (`builder.entitlements`) does not let them.
    pub fn may_grant(&self, wanted: Entitlements) -> Result<(), Error> {
        let may = self.engine.settings().builder.entitlements;
        for (wanted, may, entitlement) in [
            (wanted.network_host, may.network_host, "network.host"),
            (wanted.insecure, may.security_insecure, "security.insecure"),
            (wanted.devices, may.device, "device"),
        ] {
            if wanted && !may {
                return Err(Error::NotGranted(entitlement));
            }
        }
        Ok(())
    }

    /// Begins a build. When it is dropped, all that it has under way ends.
    pub fn begin(
        self: &Arc<Self>,
        request: Request,
        client: Arc<dyn Client>,
        progress: Progress,
    ) -> Build {
        Build::new(Arc::clone(self), request, client, progress)
    }

    /// The layers of images, each for those on top of which it lies. What is not here has none.
    pub(crate) fn layers_of(&self, images: &[Digest]) -> HashSet<ChainId> {
        let of = |id: &Digest| self.images().resolve(&id.to_string()).ok().map(|found| found.chain);
        images.iter().filter_map(of).flatten().collect()
    }

    pub(crate) fn images(&self) -> &Arc<Images> {
        self.engine.images()
    }

    /// A folder for sockets that steps have mounted.
    pub(crate) fn sockets(&self) -> Result<PathBuf, Error> {
        let path = self.engine.state().join("build");
        DirBuilder::new().recursive(true).mode(0o700).create(&path).at("mkdir", &path)?;
        Ok(path)
    }

    /// A name for a snapshot of ours: after our death it is known whose it was.
    pub(crate) fn snapshot_key() -> Result<Key, Error> {
        Ok(format!("build-{}", snapshot::unique_name()).parse()?)
    }
}

/// Removes the snapshots of builders that died, and lets go of what they held.
fn sweep(images: &Images, db: &Db) -> Result<(), Error> {
    for key in images.snapshots().keys()? {
        let Some(name) = key.as_str().strip_prefix("build-") else { continue };
        if !snapshot::maker_lives(name) {
            images.snapshots().remove(&key)?;
        }
    }
    let_go_of_dead(db)
}
