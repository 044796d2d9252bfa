//! Zip archives: any bytes are read or refused, and no file is larger than it may be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zip::{Archive, Error};

const MOST: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Ok(archive) = Archive::parse(bytes) else { return };
    let mut left = MOST;
    for entry in archive.entries() {
        let Ok(data) = archive.data(entry, left) else { return };
        let n_bytes = data.len() as u64;
        assert!(n_bytes <= left);
        if let Some(less) = n_bytes.checked_sub(1) {
            assert!(matches!(archive.data(entry, less), Err(Error::TooLarge { .. })));
        }
        assert_eq!(archive.data(entry, n_bytes).ok(), Some(data));
        left -= n_bytes;
    }
});
