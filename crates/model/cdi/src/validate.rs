//! What a file's values may be.

use std::collections::BTreeSet;

use crate::document::{DeviceNode, Document, Edits, Hook, IntelRdt, Mount, NetDevice};
use crate::{Error, Kind, name};

/// The most that all annotations of a thing may be, bytes.
const MAX_ANNOTATIONS: usize = 256 << 10;
/// `prestart` is deprecated in the runtime specification, and still in vendors' files.
const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A place in a file, for errors: printed only when there is one.
struct At<'a>(&'a dyn Fn() -> String);

impl At<'_> {
    fn bad(&self, field: &str, why: &'static str, value: &str) -> Error {
        let place = (self.0)();
        let field = if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") };
        Error::Invalid { field, why, value: value.to_owned() }
    }

    /// Holds that `value` can be a string of C, and is not empty.
    fn text(&self, field: &str, value: &str) -> Result<(), Error> {
        if value.is_empty() {
            return Err(self.bad(field, "empty", value));
        }
        self.no_nul(field, value)
    }

    fn no_nul(&self, field: &str, value: &str) -> Result<(), Error> {
        if value.contains('\0') { Err(self.bad(field, "a NUL byte", value)) } else { Ok(()) }
    }

    fn absolute(&self, field: &str, value: &str) -> Result<(), Error> {
        self.text(field, value)?;
        if !value.starts_with('/') {
            return Err(self.bad(field, "not an absolute path", value));
        }
        // In the container it would still be below its root; a file that says so is not what a
        // vendor wrote.
        if value.split('/').any(|part| part == "..") {
            return Err(self.bad(field, "a path with ..", value));
        }
        Ok(())
    }
}

pub(crate) fn document(document: &Document) -> Result<(), Error> {
    document.kind.parse::<Kind>()?;
    annotations(&document.annotations, &At(&String::new))?;
    edits(&document.container_edits, &At(&|| "containerEdits".into()))?;
    if document.devices.is_empty() {
        return Err(At(&String::new).bad("devices", "none", ""));
    }
    let mut names = BTreeSet::new();
    for (at, device) in document.devices.iter().enumerate() {
        let place = || format!("devices[{at}]");
        let place = At(&place);
        if !name::is_device(&device.name) {
            return Err(place.bad("name", "not the name of a device", &device.name));
        }
        if !names.insert(&device.name) {
            return Err(place.bad("name", "another device has it", &device.name));
        }
        annotations(&device.annotations, &place)?;
        if device.container_edits.is_empty() {
            return Err(place.bad("containerEdits", "empty", ""));
        }
        edits(&device.container_edits, &At(&|| format!("devices[{at}].containerEdits")))?;
    }
    Ok(())
}

fn annotations(all: &std::collections::BTreeMap<String, String>, at: &At<'_>) -> Result<(), Error> {
    if all.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_ANNOTATIONS {
        return Err(at.bad("annotations", "more than 256 kB", ""));
    }
    match all.keys().find(|key| key.is_empty()) {
        Some(key) => Err(at.bad("annotations", "a name that is empty", key)),
        None => Ok(()),
    }
}

fn edits(edits: &Edits, at: &At<'_>) -> Result<(), Error> {
    for (index, entry) in edits.env.iter().enumerate() {
        let field = format!("env[{index}]");
        at.text(&field, entry)?;
        if entry.find('=').is_none_or(|equals| equals == 0) {
            return Err(at.bad(&field, "not NAME=VALUE", entry));
        }
    }
    let nested = |list: &'static str, index: usize| format!("{}.{list}[{index}]", (at.0)());
    for (index, node) in edits.device_nodes.iter().enumerate() {
        device_node(node, &At(&|| nested("deviceNodes", index)))?;
    }
    for (index, mounted) in edits.mounts.iter().enumerate() {
        mount(mounted, &At(&|| nested("mounts", index)))?;
    }
    for (index, one) in edits.hooks.iter().enumerate() {
        hook(one, &At(&|| nested("hooks", index)))?;
    }
    let mut taken = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in edits.net_devices.iter().enumerate() {
        net_device(device, &mut taken, &At(&|| nested("netDevices", index)))?;
    }
    if let Some(rdt) = &edits.intel_rdt {
        intel_rdt(rdt, &At(&|| format!("{}.intelRdt", (at.0)())))?;
    }
    Ok(())
}

fn device_node(node: &DeviceNode, at: &At<'_>) -> Result<(), Error> {
    at.absolute("path", &node.path)?;
    if !node.host_path.is_empty() {
        at.absolute("hostPath", &node.host_path)?;
    }
    if !matches!(node.kind.as_str(), "" | "b" | "c" | "u" | "p") {
        return Err(at.bad("type", "not one of b, c, u, p", &node.kind));
    }
    let known = node.permissions.bytes().all(|byte| b"rwm".contains(&byte));
    if !known && node.permissions != "none" {
        return Err(at.bad("permissions", "not of r, w, m", &node.permissions));
    }
    if node.file_mode.is_some_and(|mode| mode > 0o7777) {
        return Err(at.bad("fileMode", "more than 07777", &format!("{:?}", node.file_mode)));
    }
    for (field, number) in [("major", node.major), ("minor", node.minor)] {
        if let Some(number) = number
            && u32::try_from(number).is_err()
        {
            return Err(at.bad(field, "not the number of a device", &number.to_string()));
        }
    }
    Ok(())
}

fn mount(mount: &Mount, at: &At<'_>) -> Result<(), Error> {
    // For a file system that is not a bind mount it may be a word: `tmpfs`.
    at.text("hostPath", &mount.host_path)?;
    at.absolute("containerPath", &mount.container_path)?;
    at.no_nul("type", &mount.kind)?;
    mount.options.iter().try_for_each(|option| at.text("options", option))
}

fn hook(hook: &Hook, at: &At<'_>) -> Result<(), Error> {
    if !HOOKS.contains(&hook.hook_name.as_str()) {
        return Err(at.bad("hookName", "not a point of a container's life", &hook.hook_name));
    }
    at.absolute("path", &hook.path)?;
    hook.args.iter().try_for_each(|arg| at.no_nul("args", arg))?;
    for entry in &hook.env {
        at.text("env", entry)?;
        if entry.find('=').is_none_or(|equals| equals == 0) {
            return Err(at.bad("env", "not NAME=VALUE", entry));
        }
    }
    match hook.timeout {
        Some(seconds) if seconds <= 0 => {
            Err(at.bad("timeout", "not above zero", &seconds.to_string()))
        }
        _ => Ok(()),
    }
}

fn net_device<'a>(
    device: &'a NetDevice,
    taken: &mut (BTreeSet<&'a str>, BTreeSet<&'a str>),
    at: &At<'_>,
) -> Result<(), Error> {
    at.text("hostInterfaceName", &device.host_interface_name)?;
    at.text("name", &device.name)?;
    if !taken.0.insert(&device.host_interface_name) {
        return Err(at.bad("hostInterfaceName", "named twice", &device.host_interface_name));
    }
    if !taken.1.insert(&device.name) {
        return Err(at.bad("name", "named twice", &device.name));
    }
    Ok(())
}

fn intel_rdt(rdt: &IntelRdt, at: &At<'_>) -> Result<(), Error> {
    // A directory below /sys/fs/resctrl.
    let id = &rdt.clos_id;
    let dots = id == "." || id == "..";
    if dots || id.len() > 4096 || id.contains(['/', '\n', '\0']) {
        return Err(at.bad("closID", "not the name of a directory", id));
    }
    Ok(())
}
