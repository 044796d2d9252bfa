//! Headers that registries send: refused or read; what is read leads to nobody else.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| registry::fuzz::headers(bytes));
