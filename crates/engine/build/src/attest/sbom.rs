//! Bills of materials: what package databases in a result say is there. It is looked at by the builder itself, and by no
//! image that would have to be pulled and run.

use std::io::Read as _;

use bom::{Interest, Scan, Scanned};
use docker::timestamp::Timestamp;
use fsroot::Root;

use super::Attested;
use super::walk::{Found, walk};
use crate::cache::now;
use crate::error::At as _;
use crate::tell::phase;
use crate::{Build, Error};

/// Who says so.
const TOOL: &str = concat!("dhow-", env!("CARGO_PKG_VERSION"));

impl Build {
    /// The bills of a result: its own, and those of what the Dockerfile says is to be looked at besides.
    pub(super) async fn bills(&self, reference: &str) -> Result<Vec<Attested>, Error> {
        let mut all = vec![("sbom".to_owned(), Some(reference.to_owned()))];
        for (name, of) in self.shared.scanned(reference) {
            all.push((format!("sbom-{name}"), of));
        }
        let created = self.shared.stated_epoch(Some(reference)).unwrap_or(now() / 1_000_000_000);
        let created = Timestamp::from_nanos(created.saturating_mul(1_000_000_000)).to_string();
        let mut bills = Vec::new();
        for (name, of) in all {
            let scanned = match of {
                Some(of) => {
                    let work = Box::pin(self.look(&of, scan));
                    phase(&self.shared, &format!("generating {name} with dhow"), work).await?
                }
                None => Scanned::default(),
            };
            let says = bom::document(&scanned, &name, TOOL, &created)
                .map_err(|error| Error::Invalid(format!("{name}: {error}")))?;
            bills.push(Attested {
                predicate_type: bom::PREDICATE.to_owned(),
                subjects: Vec::new(),
                filename: format!("{name}.spdx.json"),
                says,
                layers: None,
                inline_only: false,
                is_provenance: false,
                names_files: false,
            });
        }
        Ok(bills)
    }
}

/// What is in a tree.
fn scan(tree: &Root) -> Result<Scanned, Error> {
    let mut scan = Scan::default();
    walk(tree, &mut |found| {
        let is_executable = found.stat.st_mode & 0o111 != 0;
        let Some(path) = found.path.to_str() else { return Ok(()) };
        match Interest::of(path, is_executable) {
            None => {}
            Some(Interest::Program) => {
                let mut file = found.open().at("open", found.path)?;
                scan.program(path, &mut file);
            }
            Some(interest) => {
                if let Some(bytes) = read(found, interest.most())? {
                    scan.file(path, interest, &bytes);
                }
            }
        }
        Ok(())
    })?;
    Ok(scan.finish())
}

/// A whole file; `None`: it is longer than such files are.
fn read(found: &Found<'_>, most: u64) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = Vec::new();
    let file = found.open().at("open", found.path)?;
    file.take(most + 1).read_to_end(&mut bytes).at("read", found.path)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}
