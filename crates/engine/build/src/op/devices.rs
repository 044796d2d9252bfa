//! The devices that a step asks for, by the names that CDI gives them: which are meant, and whether a build may have them
//! that was not given devices (`--allow device`).

use std::collections::BTreeMap;

use buildgraph::Exec;

use crate::Builder;
use crate::build::Shared;
use crate::guest::is_true;

/// With this annotation whoever describes a device lets every build have it; BuildKit's name for it.
const FOR_ALL: &str = "org.mobyproject.buildkit.device.autoallow";

/// The devices that are meant, in full, each once. One that may be missing, and is, is left out.
pub(super) fn meant(build: &Shared, exec: &Exec) -> Vec<String> {
    let mut names = Vec::new();
    if exec.devices.is_empty() {
        return names;
    }
    let all = build.builder.engine.device_specifications();
    for device in &exec.devices {
        let found = all.catalog.meant(&device.name);
        if found.is_empty() && !device.optional {
            // The engine says what is wrong with it.
            names.push(device.name.clone());
        }
        for (name, _) in found {
            let name = name.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The devices that are not for every build, or that are missing and have to be there; none: all may be had.
pub(super) fn refused(build: &Shared, exec: &Exec) -> Vec<String> {
    let mut refused = Vec::new();
    if exec.devices.is_empty() {
        return refused;
    }
    let all = build.builder.engine.device_specifications();
    for device in &exec.devices {
        let found = all.catalog.meant(&device.name);
        if found.is_empty() && !device.optional {
            refused.push(device.name.clone());
        }
        let not_for_all = found.iter().filter(|(_, entry)| !is_for_all(entry.annotation(FOR_ALL)));
        refused.extend(not_for_all.map(|(name, _)| name.to_string()));
    }
    refused
}

fn is_for_all(annotation: Option<&str>) -> bool {
    annotation.is_some_and(is_true)
}

/// A device that steps may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `VENDOR/CLASS=NAME`.
    pub name: String,
    /// Every build may have it.
    pub is_for_all: bool,
    /// What is noted of it and of all devices of its file.
    pub annotations: BTreeMap<String, String>,
}

impl Builder {
    /// The devices that steps may ask for, by their names. The files are read anew.
    pub fn devices(&self) -> Vec<Device> {
        let all = self.engine.device_specifications();
        let devices = all.catalog.entries().map(|(name, entry)| {
            let mut annotations = entry.file.document.annotations.clone();
            annotations.extend(entry.device().annotations.clone());
            let is_for_all = is_for_all(entry.annotation(FOR_ALL));
            Device { name: name.to_string(), is_for_all, annotations }
        });
        devices.collect()
    }
}
