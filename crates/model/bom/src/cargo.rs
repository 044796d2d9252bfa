//! Rust's packages: lock files, and what cargo-auditable has put into programs.

use std::io::Read;

use serde::Deserialize;

use crate::package::{Kind, Package};

/// A list in a program at most, in bytes, unpacked.
const LONGEST: u64 = 16 << 20;

/// The packages of a `Cargo.lock`, which Cargo writes itself: one `name = "value"` a line.
pub(crate) fn locked(whole: &str, path: &str, give: &mut dyn FnMut(Package)) {
    let mut one = Locked::default();
    let mut is_package = false;
    for line in whole.lines().map(str::trim) {
        if line.starts_with('[') {
            if let Some(package) = std::mem::take(&mut one).package(path) {
                give(package);
            }
            is_package = line == "[[package]]";
        } else if let (true, Some((key, value))) = (is_package, line.split_once(" = ")) {
            let Some(value) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
            else {
                continue;
            };
            match key {
                "name" => value.clone_into(&mut one.name),
                "version" => value.clone_into(&mut one.version),
                "checksum" => value.clone_into(&mut one.checksum),
                _ => {}
            }
        }
    }
    if let Some(package) = one.package(path) {
        give(package);
    }
}

#[derive(Default)]
struct Locked {
    name: String,
    version: String,
    checksum: String,
}

impl Locked {
    fn package(self, path: &str) -> Option<Package> {
        let mut package = Package::new(Kind::Cargo, &self.name, &self.version, path)?;
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        package.checksum =
            is_digest(&self.checksum).then(|| ("SHA256", self.checksum.to_lowercase()));
        Some(package)
    }
}

#[derive(Deserialize)]
struct Audited {
    packages: Vec<AuditedPackage>,
}

#[derive(Deserialize)]
struct AuditedPackage {
    name: String,
    version: String,
    /// `build`: it is no part of the program.
    #[serde(default)]
    kind: Option<String>,
}

/// The packages that a program was built of: the section `.dep-v0`, JSON in a zlib stream.
pub(crate) fn audited(section: &[u8], path: &str, give: &mut dyn FnMut(Package)) {
    let mut json = Vec::new();
    let stream = flate2::read::ZlibDecoder::new(section);
    if stream.take(LONGEST + 1).read_to_end(&mut json).is_err() || json.len() as u64 > LONGEST {
        return;
    }
    let Ok(list) = serde_json::from_slice::<Audited>(&json) else { return };
    let of_program = list.packages.iter().filter(|one| one.kind.as_deref() != Some("build"));
    for one in of_program {
        if let Some(package) = Package::new(Kind::Cargo, &one.name, &one.version, path) {
            give(package);
        }
    }
}
