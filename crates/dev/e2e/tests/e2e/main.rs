//! dhow from the outside. Each test has an engine of its own, in a network and a mount namespace
//! that stand for its host, and fails for anything that it leaves behind.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod api;
mod api_compared;
mod api_details;
mod attest;
mod bad_input;
mod build;
mod build_cache;
mod build_contexts;
mod build_output;
mod cdi;
mod changes;
mod check;
mod classic_build;
mod cli_contexts;
mod cli_plugins;
mod cp;
mod debian;
mod debug;
mod docker_client;
mod docker_scripts;
mod events;
mod exec;
mod exit_codes;
mod explain;
mod formats;
mod full_disk;
mod health;
mod hello;
mod host_image;
mod images_bad_input;
mod init;
mod install;
mod isolation;
mod killed_anywhere;
mod lifecycle;
mod limits;
mod links;
mod llb;
mod logs;
mod mounts;
mod network;
mod network_live;
mod network_parents;
mod ours;
mod prune;
mod registry;
mod registry_serve;
mod restart;
mod resume;
mod rootfs;
mod rootless;
mod runtimes;
mod scoped_sockets;
mod secrets;
mod security;
mod settings;
mod steps;
mod storage;
mod storms;
mod streams;
mod tcp;
mod terminal;
mod update;
mod upgrade;
mod userns;
mod volumes;

// The tests of layers have trees of everything, and what may happen to them.
#[path = "../../../../store/diff/tests/peers/actor.rs"]
mod actor;
#[path = "../../../../store/diff/tests/peers/generate.rs"]
#[allow(dead_code, reason = "tests of another crate use it too")]
mod generate;
// The registry client's own tests have a registry that can be told to lie.
#[path = "../../../../service/registry/tests/registry/server.rs"]
#[allow(dead_code, reason = "tests of another crate use it too")]
mod server;
#[path = "../../../../service/registry/tests/registry/shelf.rs"]
#[allow(dead_code, reason = "tests of another crate use it too")]
mod shelf;

use serde_json::Value;
use testkit::Sandbox;

/// An engine with the image `busybox`, whose first container has come and gone.
fn busybox(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name);
    sandbox.import("busybox");
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    sandbox.baseline();
    sandbox
}

/// What `dhow inspect` says of one object.
#[track_caller]
fn inspect(sandbox: &Sandbox, name: &str) -> Value {
    let text = sandbox.ok(&["inspect", name]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    list[0].clone()
}

/// The init of a running container.
#[track_caller]
fn pid(sandbox: &Sandbox, name: &str) -> i64 {
    let pid = inspect(sandbox, name)["State"]["Pid"].as_i64().expect("a pid");
    assert!(pid > 0, "{name} does not run");
    pid
}
