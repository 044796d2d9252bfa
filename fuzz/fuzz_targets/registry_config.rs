//! `config.json` and `X-Registry-Auth`: credentials are for the registry that they are for.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    registry::fuzz::config(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        registry::fuzz::auth_header(text);
        // The same, as it is sent.
        let sent = data_encoding::BASE64URL.encode(bytes);
        registry::fuzz::auth_header(&sent);
    }
});
