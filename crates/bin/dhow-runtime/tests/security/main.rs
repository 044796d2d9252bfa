//! Attacks on the runtime: each published defect of a container runtime, tried on this one.
//!
//! A test bears the number that `docs/security.md` gives its row. It passes when the attack fails;
//! what happens on a runtime that has the defect is said in its comment. Attacks that race with the
//! runtime go on for `DHOW_RACE_SECONDS` each (one and a half by default), and `DHOW_TEST_RUNTIME`
//! names another runtime to be attacked instead, to see a test fail.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod attacker;
#[path = "../runtime/bundle.rs"]
#[allow(dead_code, reason = "the other tests use all of it")]
mod bundle;
mod canary;
mod code;
mod race;

mod cgroups;
mod descriptors;
mod devices;
mod hooks;
mod identity;
mod input;
mod joining;
mod masks;
mod mounts;
mod procfs;
mod seccomp;
