//! Package databases: any bytes, taken for a file of every kind, are no package or packages whose URLs and document are
//! well formed, and the same twice.
#![no_main]

use std::io::Cursor;

use bom::{Interest, MOST_PACKAGES, Scan, Scanned, document};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const TIME: &str = "2026-01-31T12:00:00Z";
const KINDS: [Interest; 7] = [
    Interest::OsRelease,
    Interest::Dpkg,
    Interest::Apk,
    Interest::Python,
    Interest::Npm,
    Interest::NpmLock,
    Interest::CargoLock,
];

fuzz_target!(|bytes: &[u8]| {
    let found = scan(bytes);
    assert_eq!(found, scan(bytes));
    assert!(found.packages.len() <= MOST_PACKAGES);
    for package in &found.packages {
        let url = package.url(found.os.as_ref());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@?=&%".contains(&byte);
        assert!(url.starts_with("pkg:") && url.bytes().all(plain), "{url}");
        assert!(!package.name.is_empty() && !package.version.is_empty(), "{package:?}");
    }
    let written = document(&found, "sbom", "fuzz", TIME).expect("it is JSON");
    let read: Value = serde_json::from_slice(&written).expect("it is JSON");
    assert_eq!(read["packages"].as_array().map(Vec::len), Some(found.packages.len() + 1));
});

fn scan(bytes: &[u8]) -> Scanned {
    let mut scan = Scan::default();
    for kind in KINDS {
        scan.file("file", kind, bytes);
    }
    scan.program("program", &mut Cursor::new(bytes));
    scan.finish()
}
