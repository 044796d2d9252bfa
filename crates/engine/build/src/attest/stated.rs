//! What a front end, or a client that is one, says of its results itself: statements in results of the same build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use images::SaidOf;
use oci::Digest;
use serde::Deserialize;
use serde_json::Value;

use super::{Attested, is_plain_name};
use crate::{Build, Error};

/// The largest statement, in bytes, as in BuildKit.
const MAX_BYTES: u64 = 40 << 20;
/// A directory of them has no more.
const MAX_STATEMENTS: usize = 1000;
/// What begins so is said by the builder alone.
const PROVENANCE: &str = "https://slsa.dev/provenance/";

/// What is said of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The result that it is in.
    pub reference: String,
    /// Where in that: a file that is a predicate, or a directory of whole statements.
    pub path: PathBuf,
    /// It is such a directory.
    pub is_bundle: bool,
    /// What kind of predicate it is. Of a directory each says it itself, and this, where it is not empty.
    pub predicate_type: String,
    /// What it is said of; nothing: the result.
    pub subjects: Vec<SaidOf>,
    /// Only what goes to a registry has it.
    pub inline_only: bool,
    /// What the bill of materials of the result itself is called among them, without what is behind a dot; empty: there is
    /// none.
    pub core: String,
}

/// A statement of in-toto.
#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "predicateType")]
    predicate_type: String,
    #[serde(default)]
    subject: Option<Vec<Subject>>,
    #[serde(default)]
    predicate: Value,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    name: String,
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

impl Build {
    /// What a front end says of a result.
    pub(super) async fn stated(&self, all: &[Stated]) -> Result<Vec<Attested>, Error> {
        let mut attested = Vec::new();
        for one in all {
            if one.is_bundle {
                attested.extend(self.bundle(one).await?);
            } else {
                let says = self.statement(&one.reference, &one.path).await?;
                let (kind, subjects) = (one.predicate_type.clone(), one.subjects.clone());
                attested.push(attest(one, &one.path, kind, subjects, says)?);
            }
        }
        let mut names: Vec<&str> = attested.iter().map(|one| one.filename.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => {
                let why = format!("several attestations of one result are called {:?}", two[0]);
                Err(Error::Invalid(why))
            }
            None => Ok(attested),
        }
    }

    async fn bundle(&self, of: &Stated) -> Result<Vec<Attested>, Error> {
        let files = self.read_dir(&of.reference, &of.path).await?;
        if files.len() > MAX_STATEMENTS {
            return Err(Error::Invalid(format!("more than {MAX_STATEMENTS} attestations")));
        }
        let mut all = Vec::new();
        for file in files {
            let path = of.path.join(&file.path);
            let bytes = self.statement(&of.reference, &path).await?;
            let (kind, subjects, says) = read(&bytes, &of.predicate_type)
                .map_err(|why| Error::Invalid(format!("{}: {why}", path.display())))?;
            all.push(attest(of, &path, kind, subjects, says)?);
        }
        Ok(all)
    }

    async fn statement(&self, reference: &str, path: &Path) -> Result<Vec<u8>, Error> {
        let bytes = self.read_file(reference, path, 0, Some(MAX_BYTES + 1)).await?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Error::Invalid(format!("{} exceeds {MAX_BYTES} bytes", path.display())));
        }
        Ok(bytes)
    }
}

fn attest(
    of: &Stated,
    path: &Path,
    predicate_type: String,
    subjects: Vec<SaidOf>,
    says: Vec<u8>,
) -> Result<Attested, Error> {
    if predicate_type.starts_with(PROVENANCE) {
        return Err(Error::Invalid("frontend may not set provenance attestations".into()));
    }
    let filename = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if !is_plain_name(&filename) {
        return Err(Error::Invalid(format!("an attestation in {:?}, which is no file", of.path)));
    }
    let is_core = !of.core.is_empty() && filename.split('.').next() == Some(of.core.as_str());
    Ok(Attested {
        names_files: is_core && predicate_type == bom::PREDICATE,
        predicate_type,
        subjects,
        filename,
        says,
        layers: None,
        inline_only: of.inline_only,
        is_provenance: false,
    })
}

/// The kind, the subjects and the predicate of a statement; `wanted`: of which kind it has to be.
fn read(bytes: &[u8], wanted: &str) -> Result<(String, Vec<SaidOf>, Vec<u8>), String> {
    let read: Statement = serde_json::from_slice(bytes)
        .map_err(|error| format!("cannot decode in-toto statement: {error}"))?;
    if !wanted.is_empty() && read.predicate_type != wanted {
        return Err(format!(
            "bundle entry {} does not match required predicate type {wanted}",
            read.predicate_type
        ));
    }
    let mut subjects = Vec::new();
    for Subject { name, digest } in read.subject.unwrap_or_default() {
        let digests = digest.iter().map(|(kind, hex)| format!("{kind}:{hex}").parse::<Digest>());
        let digests: Result<Vec<_>, _> = digests.collect();
        subjects.push(SaidOf::Other(name, digests.map_err(|error| error.to_string())?));
    }
    let says = serde_json::to_vec(&read.predicate).map_err(|error| error.to_string())?;
    Ok((read.predicate_type, subjects, says))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_taken_apart() {
        let hex = "a".repeat(64);
        let text = format!(
            r#"{{"_type": "x", "predicateType": "t", "predicate": {{"a": 1}},
                "subject": [{{"name": "n", "digest": {{"sha256": "{hex}"}}}}]}}"#
        );
        let (kind, subjects, says) = read(text.as_bytes(), "").unwrap();
        assert_eq!((kind.as_str(), says.as_slice()), ("t", &br#"{"a":1}"#[..]));
        let digest = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(subjects, [SaidOf::Other("n".into(), vec![digest])]);
        assert!(read(text.as_bytes(), "t").is_ok());
        let none = br#"{"predicateType": "t", "subject": null}"#;
        assert_eq!(read(none, "").unwrap(), ("t".into(), vec![], b"null".to_vec()));
        assert!(read(text.as_bytes(), "u").unwrap_err().contains("required predicate type u"));
        for wrong in ["", "[]", "{}", &format!("{text}{text}"), &text.replace(&hex, "b")] {
            assert!(read(wrong.as_bytes(), "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn provenance_is_the_builders_own() {
        let of = Stated {
            reference: "r".into(),
            path: "/a/b.json".into(),
            is_bundle: false,
            predicate_type: String::new(),
            subjects: Vec::new(),
            inline_only: false,
            core: "b".into(),
        };
        let made = |path: &str, kind: &str| {
            attest(&of, Path::new(path), kind.to_owned(), Vec::new(), Vec::new())
        };
        let bill = made("/a/b.json", "https://spdx.dev/Document").unwrap();
        assert_eq!((bill.filename.as_str(), bill.names_files), ("b.json", true));
        assert!(!made("/a/bb.json", "https://spdx.dev/Document").unwrap().names_files);
        assert!(!made("/a/b.json", "https://example.com/a").unwrap().names_files);
        assert!(made("/a/b.json", "https://slsa.dev/provenance/v1").is_err());
        assert!(made("/", "x").is_err() && made("/a/..", "x").is_err());
    }
}
