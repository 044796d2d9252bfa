//! What clients send to the registry of our own: ranges, queries, paths, passwords.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use registry_api::fuzz;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Range(&'a str, u64),
    Query(&'a str),
    Path(&'a str, &'a str, Option<&'a str>),
    Passwords(&'a str, &'a [u8]),
}

fuzz_target!(|input: Input| match input {
    Input::Range(text, size) => fuzz::ranges(text, size),
    Input::Query(text) => fuzz::query(text),
    Input::Path(path, own, on_behalf) => fuzz::paths(path, own, on_behalf),
    Input::Passwords(file, header) => fuzz::passwords(file, header),
});
