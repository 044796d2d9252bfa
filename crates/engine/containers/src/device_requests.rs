//! Devices asked for by name or by what they can do: `--device VENDOR/CLASS=NAME` and `--gpus`.
//!
//! Both are CDI devices in the end. Docker's own answer to `--gpus` was NVIDIA's hook; a machine that
//! has a specification of its GPUs needs none.

use cdi::{Catalog, Name};
use devices::Specifications;
use docker::container::DeviceRequest;
use oci::runtime::Spec;

use crate::Error;
use crate::engine::Engine;

/// The driver that takes CDI names.
const CDI: &str = "cdi";
/// The kinds that GPUs have, those of the first vendor that has a specification are meant.
const GPU_KINDS: [(&str, &str); 3] =
    [("nvidia", "nvidia.com/gpu"), ("amd", "amd.com/gpu"), ("intel", "intel.com/gpu")];
/// What a GPU can be asked to do. A specification brings all that the driver has.
const GPU_CAPABILITIES: [&str; 8] =
    ["gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display"];
/// [`DeviceRequest::count`] for all there are.
const ALL: i64 = -1;

/// Holds that the requests make sense, whatever devices there are.
pub(crate) fn check(requests: &[DeviceRequest]) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Invalid(why.to_owned()));
    for request in requests {
        if request.driver == CDI {
            if request.count != 0 {
                return refuse("unexpected count in CDI device request");
            }
            if !request.options.is_empty() {
                return refuse("unexpected options in CDI device request");
            }
            continue;
        }
        if request.count != 0 && !request.device_ids.is_empty() {
            return refuse("cannot set both Count and DeviceIDs on device request");
        }
        if request.count < ALL {
            return refuse("the count of a device request is -1 for all, or a number of devices");
        }
        if !request.options.is_empty() {
            return refuse("a device request for a GPU has no options");
        }
        if !is_for_gpu(request) {
            return Err(no_driver(request));
        }
    }
    Ok(())
}

impl Engine {
    /// Changes `spec` for the devices that are asked for.
    pub(crate) fn give_devices(
        &self,
        requests: &[DeviceRequest],
        spec: &mut Spec,
    ) -> Result<(), Error> {
        if requests.is_empty() {
            return Ok(());
        }
        let all = self.device_specifications();
        let names = names(requests, &all.catalog)?;
        let failed = |err: &cdi::Error| {
            // The file that has it may be one of those that cannot be read.
            let why = all.problems.iter().map(|one| format!("; \"{}\": {}", one.path, one.why));
            let why: String = why.collect();
            Error::Invalid(format!("CDI device injection failed: {err}{why}"))
        };
        let edits = all.catalog.resolve(&names).map_err(|err| failed(&err))?;
        edits.apply(spec, &mut devices::look).map_err(|err| failed(&err))
    }

    /// The machine's specifications of devices, as they are now.
    pub fn device_specifications(&self) -> Specifications {
        Specifications::load(&self.settings().cdi_dirs())
    }
}

/// The names of all devices that are asked for.
fn names(requests: &[DeviceRequest], catalog: &Catalog) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for request in requests {
        if request.driver == CDI {
            names.extend(request.device_ids.iter().cloned());
        } else {
            names.extend(gpus(request, catalog)?);
        }
    }
    Ok(names)
}

/// The names of the GPUs that are asked for.
fn gpus(request: &DeviceRequest, catalog: &Catalog) -> Result<Vec<String>, Error> {
    let is_of = |name: &Name, kind: &str| name.kind.to_string() == kind;
    let here = |kind: &str| catalog.entries().any(|(name, _)| is_of(name, kind));
    let mut kinds = GPU_KINDS
        .iter()
        .filter(|(driver, _)| request.driver.is_empty() || request.driver == *driver)
        .map(|(_, kind)| *kind);
    let Some(kind) = kinds.find(|kind| here(kind)) else {
        return Err(no_driver(request));
    };
    if !request.device_ids.is_empty() {
        let full = |id: &String| if Name::is_one(id) { id.clone() } else { format!("{kind}={id}") };
        return Ok(request.device_ids.iter().map(full).collect());
    }
    // Those that are called by their number: a GPU may have more names.
    let mut numbered: Vec<(u32, String)> = catalog
        .entries()
        .filter(|(name, _)| is_of(name, kind))
        .filter_map(|(name, _)| Some((name.device.parse().ok()?, name.to_string())))
        .collect();
    numbered.sort();
    let all = format!("{kind}=all");
    if request.count == ALL && catalog.entries().any(|(name, _)| name.to_string() == all) {
        return Ok(vec![all]);
    }
    let count = usize::try_from(request.count).unwrap_or(numbered.len());
    if count > numbered.len() {
        return Err(Error::Invalid(format!(
            "{count} GPUs are asked for, and the CDI specifications of {kind} have {}",
            numbered.len()
        )));
    }
    Ok(numbered.into_iter().take(count).map(|(_, name)| name).collect())
}

/// Whether any of the sets of capabilities is one that a GPU has.
fn is_for_gpu(request: &DeviceRequest) -> bool {
    let known = |set: &[String]| {
        let is_gpu = set.iter().any(|word| word == "gpu" || word == "nvidia");
        is_gpu && set.iter().all(|word| GPU_CAPABILITIES.contains(&word.as_str()))
    };
    let driver = request.driver.as_str();
    let has_driver = driver.is_empty() || GPU_KINDS.iter().any(|(name, _)| *name == driver);
    has_driver && request.capabilities.iter().any(|set| known(set))
}

fn no_driver(request: &DeviceRequest) -> Error {
    let sets: Vec<String> =
        request.capabilities.iter().map(|set| format!("[{}]", set.join(" "))).collect();
    let hint = if is_for_gpu(request) {
        " (no CDI specification has a GPU: for NVIDIA's, dhow cdi generate --output /etc/cdi/nvidia.json)"
    } else {
        ""
    };
    Error::Invalid(format!(
        "could not select device driver {:?} with capabilities: [{}]{hint}",
        request.driver,
        sets.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use cdi::{Document, File, Syntax};

    use super::*;

    fn catalog(kind: &str, devices: &[&str]) -> Catalog {
        let devices: Vec<_> = devices
            .iter()
            .map(|name| serde_json::json!({"name": name, "containerEdits": {"env": ["A=b"]}}))
            .collect();
        let text = serde_json::json!({"cdiVersion": "1.1.0", "kind": kind, "devices": devices})
            .to_string();
        let document = Document::parse(&text, Syntax::Json).unwrap();
        Catalog::new(vec![File { path: "file".into(), rank: 0, document }])
    }

    fn gpu(count: i64, ids: &[&str]) -> DeviceRequest {
        DeviceRequest {
            count,
            device_ids: ids.iter().map(|&id| id.to_owned()).collect(),
            capabilities: vec![vec!["gpu".to_owned()].into()].into(),
            ..DeviceRequest::default()
        }
    }

    #[test]
    fn gpus_by_count_number_and_id() {
        let nvidia = catalog("nvidia.com/gpu", &["10", "2", "0", "GPU-a", "all"]);
        let amd = catalog("amd.com/gpu", &["1", "0"]);
        let ask = |request: &DeviceRequest, catalog| {
            check(std::slice::from_ref(request))
                .and_then(|()| names(std::slice::from_ref(request), catalog))
                .map(|names| names.join(" "))
                .map_err(|err| err.to_string())
        };
        for (request, catalog, want) in [
            (gpu(-1, &[]), &nvidia, Ok("nvidia.com/gpu=all")),
            (gpu(-1, &[]), &amd, Ok("amd.com/gpu=0 amd.com/gpu=1")),
            (gpu(2, &[]), &nvidia, Ok("nvidia.com/gpu=0 nvidia.com/gpu=2")),
            (gpu(0, &[]), &nvidia, Ok("")),
            (
                gpu(0, &["GPU-a", "nvidia.com/gpu=2"]),
                &nvidia,
                Ok("nvidia.com/gpu=GPU-a nvidia.com/gpu=2"),
            ),
            (
                gpu(4, &[]),
                &nvidia,
                Err("4 GPUs are asked for, and the CDI specifications of nvidia.com/gpu have 3"),
            ),
            (gpu(1, &["0"]), &nvidia, Err("cannot set both Count and DeviceIDs on device request")),
            (
                gpu(-2, &[]),
                &nvidia,
                Err("the count of a device request is -1 for all, or a number of devices"),
            ),
            (
                DeviceRequest { driver: "nvidia".into(), ..gpu(1, &[]) },
                &amd,
                Err(
                    "could not select device driver \"nvidia\" with capabilities: [[gpu]] (no CDI specification has a GPU: for NVIDIA's, dhow cdi generate --output /etc/cdi/nvidia.json)",
                ),
            ),
            (
                DeviceRequest { driver: "tpu".into(), ..gpu(1, &[]) },
                &nvidia,
                Err("could not select device driver \"tpu\" with capabilities: [[gpu]]"),
            ),
            (
                DeviceRequest {
                    capabilities: vec![vec!["gpu".to_owned(), "fly".to_owned()].into()].into(),
                    ..gpu(1, &[])
                },
                &nvidia,
                Err("could not select device driver \"\" with capabilities: [[gpu fly]]"),
            ),
            (DeviceRequest { driver: "cdi".into(), ..gpu(0, &["x/y=z"]) }, &nvidia, Ok("x/y=z")),
            (
                DeviceRequest { driver: "cdi".into(), ..gpu(1, &[]) },
                &nvidia,
                Err("unexpected count in CDI device request"),
            ),
        ] {
            assert_eq!(ask(&request, catalog), want.map(str::to_owned).map_err(str::to_owned));
        }
    }
}
