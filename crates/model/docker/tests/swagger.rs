//! The types against the API description: each definition, with every field filled, must survive
//! being read and written.
//!
//! `swagger-v1.55.json` was generated from Docker's `swagger.yaml` (Apache-2.0): one value per
//! definition, with a sample in each property. What we leave out on purpose is listed with its
//! reason; a field that is misspelt, or new, fails.

#![allow(missing_docs, reason = "a test")]

use std::collections::BTreeSet;

use docker::{container, event, exec, image, network, progress, stats, system, volume};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Fields we do not have: paths in a definition.
const LEFT_OUT: &[&str] = &[
    // The description has it among Resources; dockerd has it in HostConfig only, and so do we.
    "Resources.Init",
    "ContainerUpdateRequest.Init",
    // Signatures are not verified.
    "ImageInspect.Identity.Signature",
    "ImageInspect.Manifests.ImageData.Identity.Signature",
    "ImageSummary.Manifests.ImageData.Identity.Signature",
    // Swarm.
    "Volume.ClusterVolume",
    "VolumeCreateRequest.ClusterVolumeSpec",
    "VolumeListResponse.Volumes.ClusterVolume",
    "Network.Peers",
    "NetworkInspect.Peers",
    "NetworkSummary.Peers",
    "SystemInfo.Swarm.Cluster",
    "SystemInfo.Swarm.Managers",
    "SystemInfo.Swarm.Nodes",
    "SystemInfo.Swarm.RemoteManagers.Addr",
    "SystemInfo.Swarm.RemoteManagers.NodeID",
    // Other engines' parts.
    "SystemInfo.Containerd",
    "SystemInfo.NRI",
    // Windows.
    "ContainerStatsResponse.memory_stats.commitbytes",
    "ContainerStatsResponse.memory_stats.commitpeakbytes",
    "ContainerStatsResponse.memory_stats.privateworkingset",
    "ContainerStatsResponse.networks.key.endpoint_id",
    "ContainerStatsResponse.networks.key.instance_id",
    // Nobody sends it: the description's own leftovers.
    "SystemVersion.Components.Details",
];

fn missing(path: &str, want: &Value, got: &Value, into: &mut BTreeSet<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            for (key, want) in want {
                let path = format!("{path}.{key}");
                match got.get(key) {
                    Some(got) => missing(&path, want, got, into),
                    None => _ = into.insert(path),
                }
            }
        }
        (Value::Array(want), Value::Array(got)) => {
            for (want, got) in want.iter().zip(got) {
                missing(path, want, got, into);
            }
        }
        (want, got) if want == got => {}
        _ => _ = into.insert(path.to_owned()),
    }
}

/// Compares one definition with the type that stands for it.
fn check<T: Serialize + DeserializeOwned>(all: &Value, name: &str, into: &mut BTreeSet<String>) {
    let want = &all[name];
    let read: T = match serde_json::from_value(want.clone()) {
        Ok(read) => read,
        Err(err) => {
            into.insert(format!("{name}: {err}"));
            return;
        }
    };
    missing(name, want, &serde_json::to_value(&read).unwrap_or_default(), into);
}

#[test]
fn every_field_of_the_description_is_known() {
    let all: Value = serde_json::from_str(include_str!("swagger-v1.55.json")).unwrap();
    let mut found = BTreeSet::new();
    macro_rules! check {
        ($($name:literal: $ty:ty,)*) => { $(check::<$ty>(&all, $name, &mut found);)* };
    }
    check! {
        "ContainerConfig": docker::ContainerConfig,
        "HostConfig": docker::HostConfig,
        "Resources": docker::Resources,
        "NetworkingConfig": docker::NetworkingConfig,
        "ContainerCreateRequest": docker::CreateRequest,
        "ContainerCreateResponse": docker::CreateResponse,
        "ContainerInspectResponse": docker::ContainerInspect,
        "ContainerSummary": docker::ContainerSummary,
        "ContainerUpdateRequest": container::UpdateRequest,
        "ContainerUpdateResponse": container::UpdateResponse,
        "ContainerStatsResponse": stats::Stats,
        "ContainerTopResponse": container::TopResponse,
        "ContainerWaitResponse": container::WaitResponse,
        "ContainersPrune": container::PruneResponse,
        "FilesystemChange": container::FilesystemChange,
        "ExecCreateRequest": exec::CreateRequest,
        "ExecStartRequest": exec::StartRequest,
        "ExecInspect": exec::Inspect,
        "ImageInspect": image::Inspect,
        "ImageSummary": image::Summary,
        "ImageHistoryResponseItem": image::History,
        "ImageDeleteResponseItem": image::DeleteResponse,
        "ImagesPrune": image::PruneResponse,
        "Volume": volume::Volume,
        "VolumeCreateRequest": volume::CreateRequest,
        "VolumeListResponse": volume::ListResponse,
        "VolumesPrune": volume::PruneResponse,
        "Network": network::Inspect,
        "NetworkInspect": network::Inspect,
        "NetworkSummary": network::Inspect,
        "NetworkCreateRequest": network::CreateRequest,
        "NetworkCreateResponse": network::CreateResponse,
        "NetworkConnectRequest": network::ConnectRequest,
        "NetworkDisconnectRequest": network::DisconnectRequest,
        "NetworksPrune": network::PruneResponse,
        "EndpointSettings": docker::EndpointSettings,
        "SystemVersion": system::Version,
        "SystemInfo": system::Info,
        "BuildCache": system::BuildCache,
        "EventMessage": event::Message,
        "ErrorResponse": docker::ErrorResponse,
        "IDResponse": docker::IdResponse,
        "CreateImageInfo": progress::Message,
        "PushImageInfo": progress::Message,
        "BuildInfo": progress::Message,
        "ErrorDetail": progress::ErrorDetail,
    }
    let known: BTreeSet<String> = LEFT_OUT.iter().map(|path| (*path).to_owned()).collect();
    let new: Vec<_> = found.difference(&known).collect();
    let stale: Vec<_> = known.difference(&found).collect();
    assert!(new.is_empty() && stale.is_empty(), "new: {new:#?}\nno longer left out: {stale:#?}");
}

/// Keys in lower case, where they are a struct's.
fn lower(value: &Value) -> Value {
    match value {
        Value::Object(all) if all.contains_key("key") && all.len() == 1 => {
            Value::Object(all.iter().map(|(key, value)| (key.clone(), lower(value))).collect())
        }
        Value::Object(all) => {
            let all = all.iter().map(|(key, value)| (key.to_lowercase(), lower(value)));
            Value::Object(all.collect())
        }
        Value::Array(all) => Value::Array(all.iter().map(lower).collect()),
        other => other.clone(),
    }
}

#[test]
fn every_field_of_a_request_is_found_in_any_case() {
    fn check<T: Serialize + DeserializeOwned>(all: &Value, name: &str) {
        let mut text = lower(&all[name]).to_string().into_bytes();
        docker::fold_keys(&mut text);
        let show = |value: Value| {
            let read: T = serde_json::from_value(value).unwrap();
            serde_json::to_value(&read).unwrap()
        };
        let got = show(serde_json::from_slice(&text).unwrap());
        assert_eq!(got, show(all[name].clone()), "{name}");
    }
    let all: Value = serde_json::from_str(include_str!("swagger-v1.55.json")).unwrap();
    check::<docker::CreateRequest>(&all, "ContainerCreateRequest");
    check::<container::UpdateRequest>(&all, "ContainerUpdateRequest");
    check::<docker::ContainerConfig>(&all, "ContainerConfig");
    check::<exec::CreateRequest>(&all, "ExecCreateRequest");
    check::<exec::StartRequest>(&all, "ExecStartRequest");
    check::<network::CreateRequest>(&all, "NetworkCreateRequest");
    check::<network::ConnectRequest>(&all, "NetworkConnectRequest");
    check::<network::DisconnectRequest>(&all, "NetworkDisconnectRequest");
    check::<volume::CreateRequest>(&all, "VolumeCreateRequest");
}
