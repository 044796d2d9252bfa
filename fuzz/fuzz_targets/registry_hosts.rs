//! `hosts.toml`: refused with its line, or somebody to ask.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| registry::fuzz::hosts(text));
