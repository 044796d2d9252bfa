//! From edits to an OCI specification.

use oci::runtime::{Device, DeviceRule, Hooks, IntelRdt, Linux, Mount, NetDevice, Process, Spec};

use crate::Error;
use crate::document::{self, DeviceNode, Edits};

/// What kind a device file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A block device.
    Block,
    /// A character device.
    Char,
    /// A named pipe.
    Fifo,
}

/// What the machine's file system says of a device file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFile {
    /// What it is.
    pub kind: FileKind,
    /// The major number; 0 for pipes.
    pub major: u32,
    /// The minor number; 0 for pipes.
    pub minor: u32,
}

impl Edits {
    /// Changes `spec`. `lookup` tells what the device file at a path of the host is; the error's
    /// text says why it is none.
    ///
    /// # Errors
    /// A device file that is not as the edits say. `spec` is then changed in part.
    pub fn apply(
        &self,
        spec: &mut Spec,
        lookup: &mut dyn FnMut(&str) -> Result<DeviceFile, String>,
    ) -> Result<(), Error> {
        if let Some(process) = &mut spec.process {
            self.apply_process(process);
        }
        let owner = spec.process.as_ref().map(|process| (process.user.uid, process.user.gid));
        for node in &self.device_nodes {
            add_device(spec.linux.get_or_insert_default(), node, owner, lookup)?;
        }
        if !self.net_devices.is_empty() {
            let linux = spec.linux.get_or_insert_default();
            linux.net_devices.extend(self.net_devices.iter().map(|device| {
                let inside = NetDevice { name: device.name.clone() };
                (device.host_interface_name.clone(), inside)
            }));
        }
        for mount in &self.mounts {
            spec.mounts.retain(|there| !same_path(&there.destination, &mount.container_path));
            spec.mounts.push(Mount {
                destination: mount.container_path.clone(),
                kind: mount.kind.clone(),
                source: mount.host_path.clone(),
                options: mount.options.clone(),
                ..Mount::default()
            });
        }
        if !self.mounts.is_empty() {
            // What is mounted below another mount has to come after it.
            spec.mounts.sort_by_key(|mount| parts(&mount.destination).count());
        }
        for hook in &self.hooks {
            add_hook(spec.hooks.get_or_insert_default(), hook);
        }
        if let Some(rdt) = &self.intel_rdt {
            spec.linux.get_or_insert_default().intel_rdt = Some(IntelRdt {
                clos_id: rdt.clos_id.clone(),
                schemata: rdt.schemata.clone(),
                l3_cache_schema: rdt.l3_cache_schema.clone(),
                mem_bw_schema: rdt.mem_bw_schema.clone(),
                enable_monitoring: rdt.enable_monitoring,
            });
        }
        Ok(())
    }

    fn apply_process(&self, process: &mut Process) {
        for entry in &self.env {
            let name = entry.split('=').next().unwrap_or_default();
            let named =
                |there: &String| there.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
            match process.env.iter_mut().find(|there| named(there)) {
                Some(there) => there.clone_from(entry),
                None => process.env.push(entry.clone()),
            }
        }
        for &gid in &self.additional_gids {
            if gid != 0 && !process.user.additional_gids.contains(&gid) {
                process.user.additional_gids.push(gid);
            }
        }
    }

    /// Adds `more` to these.
    pub(crate) fn append(&mut self, more: &Self) {
        self.env.extend_from_slice(&more.env);
        self.device_nodes.extend_from_slice(&more.device_nodes);
        self.net_devices.extend_from_slice(&more.net_devices);
        self.hooks.extend_from_slice(&more.hooks);
        self.mounts.extend_from_slice(&more.mounts);
        self.additional_gids.extend_from_slice(&more.additional_gids);
        if more.intel_rdt.is_some() {
            self.intel_rdt.clone_from(&more.intel_rdt);
        }
    }
}

fn add_device(
    linux: &mut Linux,
    node: &DeviceNode,
    owner: Option<(u32, u32)>,
    lookup: &mut dyn FnMut(&str) -> Result<DeviceFile, String>,
) -> Result<(), Error> {
    let source = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let bad = |why: String| Error::DeviceFile { path: source.clone(), why };
    // A pipe has no numbers; what has its type and its numbers needs no file on the host.
    let told = match node.kind.as_str() {
        "" => false,
        "p" => true,
        _ => node.major.is_some_and(|number| number > 0),
    };
    let (kind, major, minor) = if told {
        (node.kind.clone(), node.major, node.minor)
    } else {
        let found = lookup(source).map_err(bad)?;
        let (kind, numbered) = match found.kind {
            FileKind::Block => ("b", true),
            FileKind::Char => ("c", true),
            FileKind::Fifo => ("p", false),
        };
        let alike = match node.kind.as_str() {
            "" => true,
            "u" => kind == "c",
            wanted => wanted == kind,
        };
        if !alike {
            return Err(bad(format!("it is of type {kind}, and should be {}", node.kind)));
        }
        let number = |number: u32| numbered.then_some(i64::from(number));
        (kind.to_owned(), number(found.major), number(found.minor))
    };
    // As the reference implementation: who runs the container's program owns its devices.
    let named = |given: Option<u32>, id: Option<u32>| given.or(id.filter(|&id| id > 0));
    linux.devices.retain(|there| !same_path(&there.path, &node.path));
    linux.devices.push(Device {
        kind: kind.clone(),
        path: node.path.clone(),
        major,
        minor,
        file_mode: node.file_mode,
        uid: named(node.uid, owner.map(|(uid, _)| uid)),
        gid: named(node.gid, owner.map(|(_, gid)| gid)),
    });
    let access = match node.permissions.as_str() {
        "" => "rwm",
        "none" => return Ok(()),
        access => access,
    };
    if kind != "p" {
        linux.resources.get_or_insert_default().devices.push(DeviceRule {
            allow: true,
            kind: if kind == "u" { "c".into() } else { kind },
            major,
            minor,
            access: access.to_owned(),
        });
    }
    Ok(())
}

fn add_hook(hooks: &mut Hooks, hook: &document::Hook) {
    let list = match hook.hook_name.as_str() {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        _ => &mut hooks.poststop,
    };
    list.push(oci::runtime::Hook {
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        timeout: hook.timeout,
    });
}

/// The parts of a path that mean something.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

fn same_path(one: &str, other: &str) -> bool {
    parts(one).eq(parts(other))
}
