//! The types against a real `dockerd`: what it sent must come out again as it went in, nil lists as
//! `null`, empty ones as `[]`, and what it left out left out.

#![allow(missing_docs, reason = "a test")]

use std::collections::BTreeSet;

use docker::{container, event, image, network, stats, system, volume};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What `dockerd` 28.5 (API v1.51) has and v1.55 has not, or we have not: the server adds it for
/// old versions.
const GONE: &[&str] = &[
    // Removed in v1.52.
    "container-inspect.NetworkSettings.Bridge",
    "container-inspect.NetworkSettings.EndpointID",
    "container-inspect.NetworkSettings.Gateway",
    "container-inspect.NetworkSettings.GlobalIPv6Address",
    "container-inspect.NetworkSettings.GlobalIPv6PrefixLen",
    "container-inspect.NetworkSettings.HairpinMode",
    "container-inspect.NetworkSettings.IPAddress",
    "container-inspect.NetworkSettings.IPPrefixLen",
    "container-inspect.NetworkSettings.IPv6Gateway",
    "container-inspect.NetworkSettings.LinkLocalIPv6Address",
    "container-inspect.NetworkSettings.LinkLocalIPv6PrefixLen",
    "container-inspect.NetworkSettings.MacAddress",
    "container-inspect.NetworkSettings.SecondaryIPAddresses",
    "container-inspect.NetworkSettings.SecondaryIPv6Addresses",
    "container-inspect.Config.OnBuild",
    "image-inspect.Config.OnBuild",
    "info.KernelMemoryTCP",
    // Not ours.
    "info.Containerd",
];

/// What we have and `dockerd` leaves out: an image's configuration is a subset of a container's.
const ADDED: &[&str] = &[
    "image-inspect.Config.AttachStderr",
    "image-inspect.Config.AttachStdin",
    "image-inspect.Config.AttachStdout",
    "image-inspect.Config.Domainname",
    "image-inspect.Config.Hostname",
    "image-inspect.Config.Image",
    "image-inspect.Config.OpenStdin",
    "image-inspect.Config.StdinOnce",
    "image-inspect.Config.Tty",
];

fn compare(path: &str, theirs: &Value, ours: &Value, into: &mut BTreeSet<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
            for key in keys {
                let path = format!("{path}.{key}");
                match (theirs.get(key), ours.get(key)) {
                    (Some(theirs), Some(ours)) => compare(&path, theirs, ours, into),
                    (Some(_), None) if GONE.contains(&path.as_str()) => {}
                    (None, Some(_)) if ADDED.contains(&path.as_str()) => {}
                    (theirs, ours) => {
                        into.insert(format!("{path}: theirs {theirs:?}, ours {ours:?}"));
                    }
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (theirs, ours) in theirs.iter().zip(ours) {
                compare(path, theirs, ours, into);
            }
        }
        (theirs, ours) if theirs == ours => {}
        (theirs, ours) => _ = into.insert(format!("{path}: theirs {theirs}, ours {ours}")),
    }
}

fn check<T: Serialize + DeserializeOwned>(name: &str, json: &str, into: &mut BTreeSet<String>) {
    let read = serde_json::from_str::<Value>(json)
        .and_then(|theirs| Ok((serde_json::from_value::<T>(theirs.clone())?, theirs)))
        .and_then(|(read, theirs)| Ok((serde_json::to_value(&read)?, theirs)));
    match read {
        Ok((ours, theirs)) => compare(name, &theirs, &ours, into),
        Err(err) => _ = into.insert(format!("{name}: {err}")),
    }
}

#[test]
fn what_dockerd_sends_survives() {
    let mut wrong = BTreeSet::new();
    macro_rules! check {
        ($($name:literal: $ty:ty,)*) => {
            $(check::<$ty>($name, include_str!(concat!("dockerd-28.5/", $name, ".json")), &mut wrong);)*
        };
    }
    check! {
        "container-inspect": docker::ContainerInspect,
        "containers": Vec<docker::ContainerSummary>,
        "top": container::TopResponse,
        "stats": stats::Stats,
        "images": Vec<image::Summary>,
        "image-inspect": image::Inspect,
        "history": Vec<image::History>,
        "network": network::Inspect,
        "networks": Vec<network::Inspect>,
        "volumes": volume::ListResponse,
        "df": system::DiskUsage,
        "info": system::Info,
        "version": system::Version,
        "events": Vec<event::Message>,
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
