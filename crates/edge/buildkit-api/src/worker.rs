//! What clients want to know of the builder: its one worker, and its features.

use build::Device;
use buildkit::{apicaps::ApiCap, types};
use oci::image::Platform;
use serde_json::json;

/// What the API says of its builder.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    /// Its id: the same as long as the engine's root is.
    pub id: String,
    /// How its layers are kept: `overlayfs`.
    pub snapshotter: String,
    /// The address of the machine, as containers see it (`host-gateway`); empty: none.
    pub host_gateway: String,
}

/// What it offers to steps: as it is when somebody asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offers {
    /// The devices that they may ask for.
    pub(crate) devices: Vec<Device>,
    /// What they can be run for, the machine's own first: `linux/amd64`.
    pub(crate) platforms: Vec<Platform>,
}

impl Worker {
    /// The same for front ends that are images, as JSON: a list of one.
    pub(crate) fn json(&self, offers: Offers) -> String {
        let platforms = offers.platforms.clone();
        let record = self.record(offers);
        let version = version();
        let devices: Vec<_> = record
            .cdi_devices
            .iter()
            .map(|device| {
                json!({
                    "name": device.name,
                    "autoAllow": device.auto_allow,
                    "annotations": device.annotations,
                    "onDemand": device.on_demand,
                })
            })
            .collect();
        let one = json!({
            "id": record.id,
            "labels": record.labels,
            "platforms": platforms,
            "gcPolicy": [],
            "buildkitVersion": {
                "package": version.package, "version": version.version, "revision": version.revision,
            },
            "cdiDevices": devices,
        });
        json!([one]).to_string()
    }

    /// All of it, with what it offers now.
    pub(crate) fn record(&self, offers: Offers) -> types::WorkerRecord {
        let labels = [
            // Clients take this one for: images may have several platforms, and attestations; layouts
            // can be exported, caches too, and a push is one step.
            ("org.mobyproject.buildkit.worker.snapshotter", self.snapshotter.as_str()),
            ("org.mobyproject.buildkit.worker.executor", "dhow"),
            ("org.mobyproject.buildkit.worker.moby.host-gateway-ip", self.host_gateway.as_str()),
        ];
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        types::WorkerRecord {
            id: self.id.clone(),
            labels: labels.map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            platforms: offers.platforms.iter().map(llb::platform).collect(),
            gc_policy: Vec::new(),
            buildkit_version: Some(version()),
            cdi_devices: offers.devices.into_iter().map(device).collect(),
        }
    }
}

/// What front ends call the builder where they tell of something that it lacks.
pub(crate) const PRODUCT: &str = "dhow";

/// Who we are.
pub(crate) fn version() -> types::BuildkitVersion {
    types::BuildkitVersion {
        package: "dhow".to_owned(),
        version: build::BUILDKIT.to_owned(),
        revision: env!("CARGO_PKG_VERSION").to_owned(),
        dockerfile_version: build::DOCKERFILE.to_owned(),
    }
}

fn device(device: Device) -> types::CdiDevice {
    types::CdiDevice {
        name: device.name,
        auto_allow: device.is_for_all,
        annotations: device.annotations,
        on_demand: false,
    }
}

/// Features of the gateway service (`frontend/gateway/pb/caps.go`).
const GATEWAY: &[&str] = &[
    "solve.base",
    "resolveimage",
    "resolveimage.resolvemode",
    "readfile",
    "return",
    "returnmap",
    "readdir",
    "statfile",
    "importcaches",
    "proto.refarray",
    "reference.output",
    "reference.attestations",
    "frontend.inputs",
    "gateway.solve.metadata",
    "frontend.caps",
    "gateway.solve.evaluate",
    "gateway.evaluate",
    "gateway.warnings",
    "gateway.exec",
    "gateway.exec.extrahosts",
    "gateway.exec.filesystem",
    "gateway.exec.signals",
    "gateway.exec.secretenv",
    "source.metaresolver",
    "source.metaresolver.image.attestations",
    "source.metaresolver.http.checksumrequest",
];

/// Features of the builder that a client asks for, beside those of definitions (`solver/pb/caps.go`).
const BUILDER: &[&str] = &[
    "exporter.image.annotations",
    "exporter.image.attestations",
    "exporter.multiple",
    "exporter.session",
    "exporter.sourcedateepoch",
    "gc.freespacefilter",
    "source.policy",
    "source.policy.session",
];

/// The features of the gateway service, and of the builder.
pub(crate) fn features() -> (Vec<ApiCap>, Vec<ApiCap>) {
    let all = |ids: &[&str]| {
        ids.iter()
            .map(|&id| ApiCap { id: id.to_owned(), enabled: true, ..ApiCap::default() })
            .collect()
    };
    (all(GATEWAY), all(&[llb::CAPS, BUILDER].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_offers_is_told_to_clients_and_front_ends() {
        let annotations = [("a".to_owned(), "b".to_owned())].into();
        let name = "vendor.com/thing=open".to_owned();
        let devices = vec![Device { name, is_for_all: true, annotations }];
        let platforms =
            ["linux/amd64", "linux/arm/v7"].map(|text| text.parse::<Platform>().unwrap());
        let offers = Offers { devices, platforms: platforms.into() };
        let worker = Worker::default();
        let record = worker.record(offers.clone());
        let told = record.platforms.iter();
        let told: Vec<_> = told.map(|one| (&*one.architecture, &*one.variant)).collect();
        assert_eq!(told, [("amd64", ""), ("arm", "v7")]);
        assert_eq!(record.cdi_devices[0].name, "vendor.com/thing=open");
        assert!(record.cdi_devices[0].auto_allow);
        let text: serde_json::Value = serde_json::from_str(&worker.json(offers)).unwrap();
        assert_eq!(
            text[0]["platforms"],
            json!([{"architecture": "amd64", "os": "linux"},
                {"architecture": "arm", "os": "linux", "variant": "v7"}])
        );
        assert_eq!(
            text[0]["cdiDevices"][0],
            json!({"name": "vendor.com/thing=open", "autoAllow": true, "annotations": {"a": "b"},
                "onDemand": false})
        );
    }
}
