//! What a bus sends, and values as people write them: read, or refused; and what was read is written
//! and read again as the same.
#![no_main]

use dbus::{HEADER, Message, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = bytes.first_chunk::<HEADER>() {
        let _ = Message::length(header);
    }
    if let Ok(message) = Message::decode(bytes) {
        let again = message.encode().expect("what was read can be written");
        let second = Message::decode(&again).expect("what was written can be read");
        assert_eq!(second.encode().as_ref(), Ok(&again));
    }
    if let Ok(words) = std::str::from_utf8(bytes) {
        let _ = text::parse(words);
        let _ = dbus::Type::parse_all(words);
    }
});
