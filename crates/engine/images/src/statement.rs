//! Statements of in-toto: what is attested of something, and of what.

use std::collections::BTreeMap;

use oci::Digest;
use oci::image::Descriptor;
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

/// What is to be said of an image.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// What kind of predicate it is (`https://slsa.dev/provenance/v1`).
    pub predicate_type: String,
    /// The predicate, JSON.
    pub says: Vec<u8>,
    /// Layers that it names.
    pub layers: Option<StepLayers>,
    /// What it is said of; nothing: what it lies beside.
    pub subjects: Vec<SaidOf>,
    /// It is the image's bill of materials, and says of files in which layer they are.
    pub names_files: bool,
}

/// What something is said of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaidOf {
    /// What it lies beside.
    Itself,
    /// Something else: its name, and its digests.
    Other(String, Vec<Digest>),
}

/// What a statement names: each a name with its digests; `itself` is what it lies beside.
fn named(subjects: &[SaidOf], itself: &[(String, Digest)]) -> Vec<(String, Vec<Digest>)> {
    let itself = || itself.iter().map(|(name, digest)| (name.clone(), vec![digest.clone()]));
    if subjects.is_empty() {
        return itself().collect();
    }
    let mut all = Vec::new();
    for subject in subjects {
        match subject {
            SaidOf::Itself => all.extend(itself()),
            SaidOf::Other(name, digests) => all.push((name.clone(), digests.clone())),
        }
    }
    all
}

/// Layers that a predicate names, which are known only when the image is made.
#[derive(Clone, Debug, Default)]
pub struct StepLayers {
    /// The object in it that has them, as `layers`: a JSON pointer.
    pub place: String,
    /// By the names of steps: how many of the image's layers were there after it.
    pub steps: BTreeMap<String, usize>,
}

impl Said {
    /// The predicate, with the layers that it names, which are among these, lowest first.
    pub(crate) fn with_layers(&self, all: &[Descriptor]) -> Result<Value, Error> {
        let mut says = parse(&self.says)?;
        let Some(StepLayers { place, steps }) = &self.layers else { return Ok(says) };
        if let Some(Value::Object(place)) = says.pointer_mut(place) {
            let of = |(step, n): (&String, &usize)| Some((step.clone(), [all.get(..*n)?]));
            let named: BTreeMap<_, _> = steps.iter().filter_map(of).collect();
            place.insert("layers".into(), serde_json::json!(named));
        }
        Ok(says)
    }
}

fn parse(says: &[u8]) -> Result<Value, Error> {
    if says.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(says)
        .map_err(|error| Error::Invalid(format!("what is attested of the image: {error}")))
}

/// A statement: `says`, JSON, of the kind `predicate`; of `subjects`, or of what it lies beside, each a name and a
/// digest.
pub fn statement(
    predicate: &str,
    says: &[u8],
    subjects: &[SaidOf],
    itself: &[(String, Digest)],
) -> Result<Vec<u8>, Error> {
    of(predicate, parse(says)?, subjects, itself)
}

pub(crate) fn of(
    predicate: &str,
    says: Value,
    subjects: &[SaidOf],
    itself: &[(String, Digest)],
) -> Result<Vec<u8>, Error> {
    let named = named(subjects, itself);
    let subject = named.iter().map(|(name, digests)| Subject {
        name,
        digest: digests.iter().map(|one| (one.algorithm().name(), one.hex())).collect(),
    });
    let whole = Statement {
        kind: STATEMENT_TYPE,
        predicate_type: predicate,
        subject: subject.collect(),
        says,
    };
    to_json("what is attested of the image", &whole)
}
