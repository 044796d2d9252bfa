//! Making a container: its record, its folder, its writable layer. Nothing runs yet.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use docker::{CreateRequest, CreateResponse};
use images::RootKind;
use oci::image::Platform;
use snapshot::Key;

use crate::engine::Engine;
use crate::error::At as _;
use crate::intent::Intent;
use crate::mounting::{IMAGE, MountedImage, Mounting, VOLUME};
use crate::record::{Container, Record};
use crate::relabelling::Relabel;
use crate::spec::namespaces::{Mode, mode};
use crate::userns::{self, Wanted};
use crate::{Error, attachment, clock, definition, events, log_driver, name, secret_mounts};

/// How often a name that was not asked for is tried.
const MAX_NAMES: u32 = 100;

/// How a container is made, besides what its request says.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateOptions<'a> {
    /// Of the image for this platform; absent: this machine's, or the one that there is.
    pub platform: Option<&'a Platform>,
    /// What is mounted read-only is so alone, without what is mounted below it.
    pub shallow_read_only: bool,
}

impl Engine {
    /// Makes a container of `request`. Without a name it gets one.
    pub fn create(
        &self,
        name: Option<&str>,
        request: CreateRequest,
    ) -> Result<CreateResponse, Error> {
        self.create_with(name, request, CreateOptions::default())
    }

    /// The same in another way than usual.
    pub fn create_with(
        &self,
        name: Option<&str>,
        request: CreateRequest,
        how: CreateOptions<'_>,
    ) -> Result<CreateResponse, Error> {
        let wanted = name.filter(|name| !name.is_empty()).map(name::check).transpose()?;
        let CreateRequest { mut config, mut host_config, mut networking_config } = request;
        // Two names for one network.
        if let Some(settings) = networking_config.endpoints_config.remove("default") {
            networking_config.endpoints_config.entry("bridge".into()).or_insert(settings);
        }
        if config.image.is_empty() {
            definition::program(&config)?;
        }
        // A container's own image is its only one: nothing in the image's labels or annotations
        // decides how it runs.
        let image = self.images.resolve_for(&config.image, how.platform)?;
        log_driver::fill(&mut host_config.log_config, &self.settings());
        let has_work_dir = !config.working_dir.is_empty();
        let exposes = !config.exposed_ports.is_empty();
        definition::merge(&mut config, definition::defaults(&image));
        self.settings().fill(&mut host_config, self.machine())?;
        let mut warnings = definition::check(&config, &mut host_config, self.machine())?;
        if exposes {
            definition::check_exposed(&host_config)?;
        }
        warnings.extend(other_platform(&image, how.platform));
        warnings.extend(Self::network_warning(&host_config));
        if definition::size(&host_config)?.is_some() && image.root == RootKind::Host {
            let why =
                "storage option size: what a container of the host's root writes is in memory";
            return Err(Error::Invalid(why.into()));
        }
        if host_config.runtime.is_empty() {
            host_config.runtime = self.default_runtime();
        }
        self.runtime(&host_config.runtime)?;
        self.pin_joined(&mut host_config)?;
        self.ask_for_labels(&mut host_config)?;
        let links = self.resolve_links(&host_config)?;
        // Shown as they are now, whatever those are called that they lead to.
        host_config.links = docker::List::NIL;
        let id = self.next_id()?;
        definition::fill(&mut config, &mut host_config, &id);
        let others = self.mounts_of_others(&host_config.volumes_from)?;
        let mut mounts = definition::mounts(&config, &host_config, others)?;
        if how.shallow_read_only {
            let asked_for = host_config.binds.len() + host_config.mounts.len();
            mounts.iter_mut().take(asked_for).for_each(Mounting::set_shallow);
        }
        for mounting in &mut mounts {
            self.settle(mounting)?;
        }
        secret_mounts::check(&host_config, &mounts)?;
        attachment::check(&config, &host_config, &networking_config.endpoints_config)?;
        self.check_addresses(&networking_config.endpoints_config)?;

        // Where networks are named and the mode names none of them, these alone are joined.
        let unplugged =
            attachment::leaves_out_main(&host_config, &networking_config.endpoints_config);
        let reports = definition::reports(&config.image, self.embedded);
        let mut container = Container {
            id,
            name: String::new(),
            image: (image.root == RootKind::Layers).then(|| image.id.clone()),
            created: clock::now(),
            record: Record {
                image_id: image.id.to_string(),
                manifest: image.manifest.clone(),
                host_root: image.root == RootKind::Host,
                chain: image.chain.clone(),
                reports,
                config,
                host: host_config,
                endpoints: networking_config.endpoints_config,
                unplugged,
                mounts,
                links,
                ..Record::default()
            },
        };
        self.insert(&mut container, wanted)?;
        match self.furnish(&mut container, has_work_dir) {
            Ok(()) => {}
            Err(err) => {
                // What was made so far goes again; the first error is the one that matters.
                return Err(match self.discard_all(&container) {
                    Ok(()) => err,
                    Err(undo) => Error::Undo { first: Box::new(err), undo: Box::new(undo) },
                });
            }
        }
        self.emit(&events::container("create", &container));
        Ok(CreateResponse { id: container.id, warnings: warnings.into() })
    }

    /// Whose namespaces are joined is known by its id, whatever it is called later. Whose network it is
    /// may be unknown until the start, as in Docker.
    fn pin_joined(&self, host: &mut docker::HostConfig) -> Result<(), Error> {
        let pin = |text: &mut String| {
            let Mode::Container(other) = mode(text) else { return Ok(()) };
            *text = format!("container:{}", self.find(other)?.id);
            Ok(())
        };
        for text in [&mut host.pid_mode, &mut host.ipc_mode] {
            // Not as something that is missing: a client would look for the image.
            pin(text).map_err(|err: Error| Error::Invalid(err.to_string()))?;
        }
        match pin(&mut host.network_mode) {
            Err(Error::NoContainer(_)) => Ok(()),
            pinned => pinned,
        }
    }

    /// Writes the row and the intent, with a name that nobody has.
    fn insert(&self, container: &mut Container, wanted: Option<&str>) -> Result<(), Error> {
        for attempt in 0..MAX_NAMES {
            container.name = match wanted {
                Some(name) => name.to_owned(),
                None => name::generate(attempt)?,
            };
            failpoint::hit("engine.create").at("record", self.root())?;
            let inserted = self.shared.db.write(|tx| {
                // Here nobody else can be about to take the same ids.
                let others = match userns::wanted(&container.record.host.userns_mode)? {
                    Wanted::Auto(_) => tx.containers()?,
                    _ => Vec::new(),
                };
                let others: Vec<Container> =
                    others.into_iter().map(Container::from_row).collect::<Result<_, _>>()?;
                container.record.user_namespace =
                    self.user_namespace(&container.record.host, &others)?;
                if container.record.host_root && container.record.user_namespace.is_some() {
                    let why = "a container of the host's root with a user namespace of its own";
                    return Err(Error::NotYet(why.into()));
                }
                self.choose_labels(container, tx)?;
                let row = container.to_row()?;
                // From here on its layers are in use; until here somebody may have removed it.
                if let Some(image) = &row.image
                    && tx.image(image)?.is_none()
                {
                    return Err(images::Error::NoImage(image.to_string()).into());
                }
                Intent::Create.begin(tx, &container.id)?;
                tx.insert_container(&row)?;
                for image in container.record.mounts.iter().filter_map(|one| one.image.as_ref()) {
                    if tx.image(&image.id)?.is_none() {
                        return Err(images::Error::NoImage(image.id.to_string()).into());
                    }
                    tx.mount_image(&container.id, &image.id)?;
                }
                Ok::<_, Error>(())
            });
            match inserted {
                Err(Error::Metadata(metadata::Error::InUse { holder, .. })) => {
                    if wanted.is_some() {
                        return Err(Error::NameInUse { name: container.name.clone(), holder });
                    }
                }
                inserted => {
                    inserted?;
                    failpoint::hit("engine.recorded").at("record", self.root())?;
                    return Ok(());
                }
            }
        }
        Err(Error::Conflict("no free name was found: give one".into()))
    }

    /// Makes what the record names: the folder, the writable layer, the volumes, and the working directory
    /// where the container has one of its own.
    fn furnish(&self, container: &mut Container, has_work_dir: bool) -> Result<(), Error> {
        let data = self.paths().data(&container.id);
        failpoint::hit("engine.mkdir").at("mkdir", &data)?;
        DirBuilder::new().mode(0o710).create(&data).at("mkdir", &data)?;
        failpoint::hit("engine.made").at("mkdir", &data)?;
        if !container.record.host_root {
            let key: Key = container.id.parse()?;
            let snapshots = self.images.snapshots();
            snapshots.prepare(&key, &container.record.chain)?;
            if let Some(bytes) = definition::size(&container.record.host)? {
                snapshots.limit(&key, bytes)?;
            }
        }
        self.hold_secrets(container)?;
        let mut changed = false;
        for at in 0..container.record.mounts.len() {
            if container.record.mounts[at].point.kind == VOLUME {
                self.furnish_volume(container, at)?;
                changed = true;
            }
        }
        if has_work_dir {
            self.make_work_dir(container)?;
        }
        let config = changed.then(|| container.config_json()).transpose()?;
        failpoint::hit("engine.create-end").at("record", &data)?;
        self.shared.db.write(|tx| {
            if let Some(config) = &config {
                tx.set_container_config(&container.id, config)?;
            }
            Intent::Create.end(tx, &container.id)
        })?;
        failpoint::hit("engine.created").at("record", &data)?;
        Ok(())
    }

    /// Gives a mount what has to be known of it before there is a record: from then on nobody removes
    /// what it names.
    pub(crate) fn settle(&self, mounting: &mut Mounting) -> Result<(), Error> {
        match mounting.point.kind.as_str() {
            VOLUME if mounting.point.name.is_empty() => mounting.point.name = name::hex::<32>()?,
            IMAGE if mounting.image.is_none() => {
                // Not as one that is missing: a client would pull the container's own.
                let image = self.images.resolve(&mounting.point.name).map_err(|err| {
                    Error::Invalid(format!("invalid mount config for type \"image\": {err}"))
                })?;
                if image.root == RootKind::Host {
                    let why = "the host's own root cannot be mounted as an image: use a bind mount";
                    return Err(Error::Invalid(why.into()));
                }
                mounting.point.source = image.id.to_string();
                mounting.image = Some(MountedImage { id: image.id, chain: image.chain });
            }
            _ => {}
        }
        Ok(())
    }

    /// What `--volumes-from` names: `CONTAINER[:ro|rw]`.
    fn mounts_of_others(&self, names: &[String]) -> Result<Vec<Mounting>, Error> {
        let mut all = Vec::new();
        for text in names {
            let (wanted, mode) = text.rsplit_once(':').unwrap_or((text, ""));
            if !matches!(mode, "" | "ro" | "rw" | "z" | "Z") {
                return Err(Error::Invalid(format!("invalid mode: {mode}")));
            }
            let other = self.find(wanted).map_err(|err| Error::Invalid(err.to_string()))?;
            for mut mounting in other.record.mounts {
                if mounting.point.kind == crate::mounting::TMPFS {
                    continue;
                }
                if mode == "ro" && mounting.point.rw {
                    mounting.point.rw = false;
                    for option in &mut mounting.options {
                        if option == "rw" {
                            "rro".clone_into(option);
                        }
                    }
                }
                // What is anonymous stays so: it goes with the last container that has it.
                mounting.copy_up = false;
                // What is another's alone stays so.
                mounting.relabel = mounting.relabel.filter(|one| *one == Relabel::Shared);
                // Of several for one place the last counts.
                all.retain(|one: &Mounting| one.point.destination != mounting.point.destination);
                all.push(mounting);
            }
        }
        Ok(all)
    }
}

/// That nobody has asked for a platform, and the image's is not this machine's.
fn other_platform(image: &images::Image, asked: Option<&Platform>) -> Option<String> {
    let own = images::host_platform();
    let found = Platform {
        architecture: image.config.architecture.clone(),
        os: image.config.os.clone(),
        variant: image.config.variant.clone(),
        ..Platform::default()
    };
    let says_nothing = found.os.is_empty() || found.architecture.is_empty();
    if asked.is_some() || says_nothing || own.distance(&found).is_some() {
        return None;
    }
    Some(format!(
        "The requested image's platform ({found}) does not match the detected host platform \
         ({own}) and no specific platform was requested"
    ))
}
