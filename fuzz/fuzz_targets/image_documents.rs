//! Manifests, indexes, configurations and descriptors: any bytes are refused or read, one document is
//! of one kind, and what was read is written and read again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::image::{ImageConfig, Index, Manifest};

fn again<T: serde::Serialize + PartialEq + std::fmt::Debug>(
    value: &T,
    parse: impl Fn(&[u8]) -> Option<T>,
) {
    let text = serde_json::to_vec(value).expect("it is JSON");
    assert_eq!(parse(&text).as_ref(), Some(value), "{}", String::from_utf8_lossy(&text));
}

fuzz_target!(|bytes: &[u8]| {
    let manifest = Manifest::parse(bytes);
    let index = Index::parse(bytes);
    // A registry that serves one thing as another is refused by at least one reader (CVE-2021-41190).
    assert!(manifest.is_err() || index.is_err());
    if let Ok(manifest) = &manifest {
        again(manifest, |text| Manifest::parse(text).ok());
    }
    if let Ok(index) = &index {
        again(index, |text| Index::parse(text).ok());
    }
    if let Ok(config) = ImageConfig::parse(bytes) {
        again(&config, |text| ImageConfig::parse(text).ok());
    }
    for error in [manifest.err(), index.err()].into_iter().flatten() {
        // One line for a person, whatever is in the document.
        assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error:?}");
    }
});
