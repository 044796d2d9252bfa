//! What of a change of a container takes effect while it runs.
//!
//! Mounts: the supervisor moves them into the container's mount namespace. Devices: the rules of the
//! cgroup, and a node in the container's `/dev`. Labels: there is nothing of them in a container.
//! Variables are their process's own, and come with the next one; so does all else in a user namespace,
//! in which no device can be made, and mounts whose ids are mapped.
//!
//! The bundle follows, so that a container that its supervisor starts again has the same.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use cgroup::Cgroup;
use docker::container::{Changes, DeviceMapping};
use fsroot::Root;
use oci::runtime::{Device, DeviceRule, Mount, Spec};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;
use shim_protocol::{Change, MountChange, Phase, Request};

use crate::accounts::{look_up_in, root_of};
use crate::amend::{self, Told, When, place_of};
use crate::engine::Engine;
use crate::error::At as _;
use crate::intent::Intent;
use crate::merged::Directory;
use crate::mounting::{Mounting, TMPFS, VOLUME};
use crate::record::{Container, Record};
use crate::spec::{self, devices};
use crate::supplies::{self, Bound, Supplies, Who};
use crate::{Error, events, labelling, shim};

impl Engine {
    pub(crate) fn amend_mounts(
        &self,
        container: &mut Container,
        phase: Phase,
        changes: &Changes,
        told: &mut Told,
    ) -> Result<(), Error> {
        let before = container.record.clone();
        let new = amend::mounts(&mut container.record, changes)?;
        let first = container.record.mounts.len() - new.len();
        for mounting in &mut container.record.mounts[first..] {
            self.settle(mounting)?;
        }
        // From here on nobody removes what it names.
        self.begin_update(container, &container.record.mounts[first..])?;
        let made = self.mount_now(container, first, phase, changes, told);
        if made.is_err() {
            container.record = before;
        }
        self.end_update(container)?;
        made
    }

    /// Makes what new mounts need, and mounts them where the container runs. They begin with the `first`.
    fn mount_now(
        &self,
        container: &mut Container,
        first: usize,
        phase: Phase,
        changes: &Changes,
        told: &mut Told,
    ) -> Result<(), Error> {
        for at in first..container.record.mounts.len() {
            if container.record.mounts[at].point.kind == VOLUME {
                self.furnish_volume(container, at)?;
            }
        }
        let mut when = When::Start;
        if phase.is_alive() {
            self.relabel_mounts(container, &container.record.mounts[first..])?;
            let supplies = self.supplies_of(container)?;
            let record = &container.record;
            let label = labelling::labels(record).mount;
            let mounts: Vec<Mount> = (record.mounts[first..].iter())
                .zip(&supplies.bound[first..])
                .map(|(mounting, bound)| labelled(spec::mounts::asked(mounting, bound), &label))
                .collect();
            if record.user_namespace.is_none() && supplies.bound[first..].iter().all(is_plain) {
                when = When::Now;
                let change = MountChange {
                    add: mounts.clone(),
                    remove: changes
                        .mounts_remove
                        .iter()
                        .map(|one| crate::mounting::clean(one))
                        .collect(),
                    supplies: supplies.list,
                };
                let change = Change { mounts: Some(Box::new(change)), ..Change::default() };
                shim::ask(&self.paths().socket(&container.id), &Request::Change(change))?;
                self.patch_bundle(&container.id, |spec| {
                    let gone = |one: &Mount| {
                        changes
                            .mounts_remove
                            .iter()
                            .any(|text| crate::mounting::clean(text) == one.destination)
                    };
                    spec.mounts.retain(|one| !gone(one));
                    spec.mounts.extend(mounts);
                    Ok(())
                })?;
            }
        }
        for text in &changes.mounts_remove {
            told.add(format!("no mount {text}"), when);
        }
        for Mounting { point, .. } in &container.record.mounts[first..] {
            told.add(format!("mount {}", point.destination), when);
        }
        Ok(())
    }

    /// What a container has mounted, with its secrets, as of now.
    fn supplies_of(&self, container: &Container) -> Result<Supplies, Error> {
        let layers = self.layers(container)?;
        let root: Directory = root_of(layers.as_ref())?;
        let Record { config, host, user_namespace, .. } = &container.record;
        let identity = look_up_in(&root, &config.user, &host.group_add)?;
        let inside = user_namespace.clone().unwrap_or_default();
        let who = Who {
            identity: &identity,
            look_up: &|name| supplies::look_up(&root, name),
            inside: &inside,
        };
        let mut supplies = self.supplies(container, &who)?;
        supplies.list.extend(self.give_secrets(container, &mut Spec::default())?);
        Ok(supplies)
    }

    pub(crate) fn amend_devices(
        &self,
        container: &mut Container,
        phase: Phase,
        changes: &Changes,
        told: &mut Told,
    ) -> Result<(), Error> {
        let before = container.record.clone();
        let gone = amend::device_mappings(&mut container.record, changes)?;
        self.begin_update(container, &[])?;
        let live = phase.is_up() && container.record.user_namespace.is_none();
        let made = if live { self.devices_now(container, &gone, changes) } else { Ok(()) };
        if made.is_err() {
            container.record = before;
        }
        self.end_update(container)?;
        made?;
        let when = if live { When::Now } else { When::Start };
        for path in &changes.devices_remove {
            told.add(format!("no device {path}"), when);
        }
        for mapping in &changes.devices {
            told.add(format!("device {}", place_of(mapping)), when);
        }
        Ok(())
    }

    fn devices_now(
        &self,
        container: &Container,
        gone: &[DeviceMapping],
        changes: &Changes,
    ) -> Result<(), Error> {
        let mapped = |mappings: &[DeviceMapping]| -> Result<Vec<(Device, DeviceRule)>, Error> {
            let all = mappings.iter().map(devices::mapped).collect::<Result<Vec<_>, _>>()?;
            Ok(all.into_iter().flatten().collect())
        };
        let come = mapped(&changes.devices)?;
        // Devices of the host may have gone meanwhile: then there is no rule to find.
        let gone: Vec<(Device, DeviceRule)> =
            gone.iter().filter_map(|one| devices::mapped(one).ok()).flatten().collect();
        let mut rules = Vec::new();
        let privileged = container.record.host.privileged;
        self.patch_bundle(&container.id, |spec| {
            let linux = spec.linux.get_or_insert_default();
            linux.devices.retain(|one| !gone.iter().any(|(device, _)| device.path == one.path));
            linux.devices.extend(come.iter().map(|(device, _)| device.clone()));
            let resources = linux.resources.get_or_insert_default();
            if !privileged {
                resources.devices.retain(|one| !gone.iter().any(|(_, rule)| rule == one));
                resources.devices.extend(come.iter().map(|(_, rule)| rule.clone()));
            }
            rules = plan::device_rules(resources)?;
            Ok(())
        })?;
        let cgroup = Cgroup::open(self.hierarchy()?, &self.cgroup_path(container))?;
        cgroup
            .apply(&cgroup::Resources { devices: Some(rules), ..cgroup::Resources::default() })?;
        let root = root_of_process(self.status(&container.id)?.pid)?;
        for (device, _) in &gone {
            remove_node(&root, &device.path)?;
        }
        come.iter().try_for_each(|(device, _)| make_node(&root, device))
    }

    /// Variables and labels.
    pub(crate) fn amend_words(
        &self,
        container: &mut Container,
        phase: Phase,
        changes: &Changes,
        told: &mut Told,
    ) -> Result<(), Error> {
        let before = container.record.clone();
        amend::variables(&mut container.record, changes)?;
        amend::labels(&mut container.record, changes)?;
        if container.record == before {
            return Ok(());
        }
        self.begin_update(container, &[])?;
        if phase.is_alive() {
            let attributes = Some(events::attributes(container));
            let change = Change { attributes, ..Change::default() };
            shim::ask(&self.paths().socket(&container.id), &Request::Change(change))?;
            self.patch_bundle(&container.id, |spec| {
                let Some(process) = &mut spec.process else { return Ok(()) };
                process.env.retain(|entry| {
                    !changes.env_remove.iter().any(|name| entry.split('=').next() == Some(name))
                });
                process.env = spec::merge_env(&changes.env, &process.env);
                Ok(())
            })?;
        }
        self.end_update(container)?;
        for name in &changes.env_remove {
            told.add(format!("no variable {name}"), When::Start);
        }
        for entry in &changes.env {
            let name = entry.split('=').next().unwrap_or_default();
            told.add(format!("variable {name}"), When::Start);
        }
        for key in &changes.labels_remove {
            told.add(format!("no label {key}"), When::Now);
        }
        for key in changes.labels.keys() {
            told.add(format!("label {key}"), When::Now);
        }
        Ok(())
    }

    /// Writes the record of a container that is about to change, and that it is. The images of mounts that
    /// are `new` are held from then on.
    fn begin_update(&self, container: &Container, new: &[Mounting]) -> Result<(), Error> {
        let config = container.config_json()?;
        failpoint::hit("engine.update").at("record", self.root())?;
        self.shared.db.write(|tx| {
            tx.set_container_config(&container.id, &config)?;
            for image in new.iter().filter_map(|one| one.image.as_ref()) {
                if tx.image(&image.id)?.is_none() {
                    return Err(images::Error::NoImage(image.id.to_string()).into());
                }
                tx.mount_image(&container.id, &image.id)?;
            }
            Intent::Update.begin(tx, &container.id)
        })?;
        failpoint::hit("engine.updated").at("record", self.root())?;
        Ok(())
    }

    /// Writes the record as it is after all.
    fn end_update(&self, container: &Container) -> Result<(), Error> {
        let config = container.config_json()?;
        failpoint::hit("engine.amend").at("record", self.root())?;
        self.shared.db.write(|tx| {
            tx.set_container_config(&container.id, &config)?;
            Intent::Update.end(tx, &container.id)
        })?;
        failpoint::hit("engine.amended").at("record", self.root())?;
        Ok(())
    }

    /// A process died at one of those. What was not done comes with the next start: the record has it,
    /// but for the directory of a volume that was not made yet.
    pub(crate) fn settle_amendments(&self, container: &Container) -> Result<(), Error> {
        let mut container = container.clone();
        for at in 0..container.record.mounts.len() {
            let point = &container.record.mounts[at].point;
            if point.kind == VOLUME && point.source.is_empty() {
                self.furnish_volume(&mut container, at)?;
            }
        }
        self.save_record(&container)
    }

    /// Changes what the runtime reads when the container's supervisor starts it again.
    fn patch_bundle(
        &self,
        id: &str,
        change: impl FnOnce(&mut Spec) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = self.paths().run(id).join("bundle/config.json");
        let bytes = match fs::read(&path) {
            // It has ended in this moment.
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.at("read", &path)?,
        };
        let mut spec: Spec =
            serde_json::from_slice(&bytes).map_err(io::Error::from).at("parse", &path)?;
        change(&mut spec)?;
        let bytes = serde_json::to_vec(&spec).map_err(io::Error::from).at("write", &path)?;
        let beside = path.with_extension("json.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside).at("open", &beside)?;
        file.write_all(&bytes).at("write", &beside)?;
        fs::rename(&beside, &path).at("rename", &path)
    }
}

/// The same with a label for what is made anew. At a start the runtime does this.
fn labelled(mut mount: Mount, label: &str) -> Mount {
    if mount.kind == TMPFS && !label.is_empty() {
        mount.options.push(format!("context={label}"));
    }
    mount
}

/// Whether it can be mounted as it is.
fn is_plain(bound: &Bound) -> bool {
    bound.maps.is_none()
}

/// The root of a container that runs, with all that is mounted in it.
fn root_of_process(pid: i32) -> Result<Root, Error> {
    let path = format!("/proc/{pid}/root");
    let path = Path::new(&path);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Root::from_fd(rustix::fs::open(path, flags, Mode::empty()).at("open", path)?))
}

fn make_node(root: &Root, device: &Device) -> Result<(), Error> {
    let path = Path::new(&device.path);
    let kind = if device.kind == "b" { FileType::BlockDevice } else { FileType::CharacterDevice };
    let number = |number: Option<i64>| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    if let Some(parent) = path.parent() {
        root.mkdir_all(parent, Mode::from_raw_mode(0o755))?;
    }
    let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666));
    match root.mknod(path, kind, mode, makedev(number(device.major), number(device.minor))) {
        Err(err) if err.errno() == Errno::EXIST => return Ok(()),
        made => made?,
    }
    let (directory, name) = root.parent(path)?;
    let owner = (Uid::from_raw(device.uid.unwrap_or(0)), Gid::from_raw(device.gid.unwrap_or(0)));
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(&directory, &name, Some(owner.0), Some(owner.1), nofollow)
        .at("chown", path)?;
    // The umask took some of it away.
    rustix::fs::chmodat(&directory, &name, mode, AtFlags::empty()).at("chmod", path)
}

/// Removes a device's file; one of another kind is the container's own.
fn remove_node(root: &Root, path: &str) -> Result<(), Error> {
    let path = Path::new(path);
    let Ok((directory, name)) = root.parent(path) else { return Ok(()) };
    let Ok(stat) = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) else {
        return Ok(());
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::BlockDevice && kind != FileType::CharacterDevice {
        return Ok(());
    }
    rustix::fs::unlinkat(&directory, &name, AtFlags::empty()).at("unlink", path)
}
