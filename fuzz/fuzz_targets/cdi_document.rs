//! CDI specifications: any bytes are refused in one line or read, as JSON and as YAML; what was read
//! is written and read again the same, and changes a container's configuration the same way twice.
#![no_main]

use cdi::{Catalog, DeviceFile, Document, File, FileKind, Syntax};
use libfuzzer_sys::fuzz_target;
use oci::runtime::{Process, Spec};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for syntax in [Syntax::Json, Syntax::Yaml] {
        match Document::parse(text, syntax) {
            Ok(document) => read(&document),
            Err(error) => assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error:?}"),
        }
    }
});

fn read(document: &Document) {
    let text = document.print();
    assert_eq!(Document::parse(&text, Syntax::Json).as_ref().ok(), Some(document), "{text}");
    // JSON is YAML, so the other reader has to see the same.
    assert_eq!(Document::parse(&text, Syntax::Yaml).as_ref().ok(), Some(document), "{text}");

    let file = File { path: "file".into(), rank: 0, document: document.clone() };
    let catalog = Catalog::new(vec![file]);
    let names: Vec<_> = catalog.entries().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names.len(), document.devices.len(), "{text}");
    let edits = catalog.resolve(&names).expect("they are there");
    let mut lookup = |_: &str| Ok(DeviceFile { kind: FileKind::Char, major: 1, minor: 3 });
    let mut spec = Spec { process: Some(Process::default()), ..Spec::default() };
    if edits.apply(&mut spec, &mut lookup).is_err() {
        return;
    }
    let (devices, mounts) = (spec.linux.clone().unwrap_or_default().devices, spec.mounts.clone());
    edits.apply(&mut spec, &mut lookup).expect("it could be done before");
    assert_eq!(spec.linux.unwrap_or_default().devices.len(), devices.len(), "{text}");
    assert_eq!(spec.mounts.len(), mounts.len(), "{text}");
}
