//! The devices that a step asks for, by the names that CDI gives them: which are meant, and whether a build may have them
//! that was not given devices (`--allow device`).

use buildgraph::Exec;

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

/// The first device that is not for every build, or that is missing and has to be there; `None`: all may be had.
pub(super) fn refused(build: &Shared, exec: &Exec) -> Option<String> {
    if exec.devices.is_empty() {
        return None;
    }
    let all = build.builder.engine.device_specifications();
    for device in &exec.devices {
        let found = all.catalog.meant(&device.name);
        if found.is_empty() && !device.optional {
            return Some(device.name.clone());
        }
        for (name, entry) in found {
            if !entry.annotation(FOR_ALL).is_some_and(is_true) {
                return Some(name.to_string());
            }
        }
    }
    None
}
