//! Statements of in-toto: what is attested of something, and of what.

use std::collections::BTreeMap;

use oci::Digest;
use serde::Serialize;
use serde_json::Value;

use crate::Error;
use crate::install::to_json;

/// What a statement says that it is.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    subject: Vec<Subject<'a>>,
    #[serde(rename = "predicate")]
    says: Value,
}

#[derive(Serialize)]
struct Subject<'a> {
    name: &'a str,
    digest: BTreeMap<&'static str, &'a str>,
}

/// A statement about `subjects`, each a name and a digest: `says`, JSON, of the kind `predicate`.
pub fn statement(
    predicate: &str,
    says: &[u8],
    subjects: &[(String, Digest)],
) -> Result<Vec<u8>, Error> {
    let says: Value = serde_json::from_slice(says)
        .map_err(|error| Error::Invalid(format!("what is attested of the image: {error}")))?;
    let subject = subjects.iter().map(|(name, digest)| Subject {
        name,
        digest: BTreeMap::from([(digest.algorithm().name(), digest.hex())]),
    });
    let whole = Statement {
        kind: STATEMENT_TYPE,
        predicate_type: predicate,
        subject: subject.collect(),
        says,
    };
    to_json("what is attested of the image", &whole)
}
