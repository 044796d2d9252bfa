//! What is attested of results: where they come from (SLSA provenance), and what is in them (SBOM).
//!
//! Options and forms are BuildKit's (`docs/attestations`), so that what reads its statements reads ours.

mod files;
mod generator;
mod hidden;
mod materials;
mod provenance;
mod purl;
mod requests;
mod sbom;
mod stated;
mod steps;
mod walk;

use std::collections::BTreeMap;

use images::{SaidOf, StepLayers};
use oci::ChainId;

use crate::export::Solved;
use crate::{Build, Error};

use provenance::predicate;

pub(crate) use files::beside;
pub(crate) use hidden::Secrets;
pub(crate) use purl::of_image;
pub use stated::Stated;
pub(crate) use walk::each_name;

/// What is to be attested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attestations {
    pub(crate) provenance: Option<Provenance>,
    /// Bills of materials, too.
    pub(crate) sbom: Option<Sbom>,
}

/// How bills of materials are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sbom {
    /// The image that writes them; empty: the builder itself.
    pub(crate) generator: String,
    /// What that is told besides.
    pub(crate) parameters: BTreeMap<String, String>,
}

/// How provenance is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provenance {
    /// With build arguments, secrets' names, steps, and the Dockerfile.
    pub(crate) is_max: bool,
    pub(crate) version: Version,
    /// The builder's name, as who asks has it.
    pub(crate) builder: String,
    /// What who asks says: the same build gives the same result.
    pub(crate) reproducible: bool,
    /// What cannot say all that it is made of is not made.
    pub(crate) complete_materials: bool,
    /// Only what goes to a registry has it: clients ask for this unasked.
    pub(crate) inline_only: bool,
    /// What its file is called, where a result is files.
    pub(crate) filename: String,
}

/// What is said of a result, without whom it is said of.
#[derive(Clone, Debug)]
pub(crate) struct Attested {
    pub(crate) predicate_type: String,
    /// What it is said of; nothing: the result.
    pub(crate) subjects: Vec<SaidOf>,
    /// What its file is called, where the result is files.
    pub(crate) filename: String,
    pub(crate) says: Vec<u8>,
    /// Layers that it names, where it is of an image.
    pub(crate) layers: Option<StepLayers>,
    /// Only what goes to a registry has it.
    pub(crate) inline_only: bool,
    /// Of the builder itself, and no bill of materials.
    pub(crate) is_provenance: bool,
    /// It is a bill of materials that says of files in which layer they are.
    pub(crate) names_files: bool,
}

/// What the history of builds is told of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Its platform; empty: there is one result for all.
    pub platform: String,
    /// What kind of predicate it is.
    pub predicate_type: &'static str,
    /// The predicate, JSON.
    pub says: Vec<u8>,
}

impl Build {
    /// The provenance of results, most of it, whatever is attested of them elsewhere: for the history of builds.
    /// Of a result of which it cannot be said there is none.
    pub fn recorded(&self, solved: &Solved) -> Vec<Recorded> {
        let asked = self.shared.request.attestations.provenance.as_ref();
        let builder = asked.map(|how| how.builder.clone()).unwrap_or_default();
        let how = Provenance { builder, ..Provenance::most() };
        let of = |(platform, reference): &(String, Option<String>)| {
            let says = predicate(&self.shared, &how, reference.as_ref()?, &[]).ok()?.0;
            let (platform, predicate_type) = (platform.clone(), how.version.predicate_type());
            Some(Recorded { platform, predicate_type, says })
        };
        solved.refs.iter().filter_map(of).collect()
    }

    /// What is to be said of a result, of these layers.
    pub(crate) async fn attested(
        &self,
        reference: &str,
        chain: &[ChainId],
        stated: &[Stated],
    ) -> Result<Vec<Attested>, Error> {
        let asked = &self.shared.request.attestations;
        let mut all = self.stated(stated).await?;
        // Who has looked by itself says what is in it.
        if let Some(how) = &asked.sbom
            && !all.iter().any(|one| one.predicate_type == bom::PREDICATE)
        {
            all.extend(match how.generator.as_str() {
                "" => self.bills(reference).await?,
                _ => Box::pin(self.generated(how, reference)).await?,
            });
        }
        if let Some(how) = &asked.provenance {
            let (says, layers) = predicate(&self.shared, how, reference, chain)?;
            all.push(Attested {
                predicate_type: how.version.predicate_type().to_owned(),
                subjects: Vec::new(),
                filename: how.filename.clone(),
                says,
                layers,
                inline_only: how.inline_only,
                is_provenance: true,
                names_files: false,
            });
        }
        Ok(all)
    }
}

/// A version of the predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V02,
    V1,
}

impl Version {
    pub(crate) fn predicate_type(self) -> &'static str {
        match self {
            Self::V02 => "https://slsa.dev/provenance/v0.2",
            Self::V1 => "https://slsa.dev/provenance/v1",
        }
    }
}

impl Attestations {
    /// What a front end's options ask for: `attest:TYPE`, `build-arg:BUILDKIT_ATTEST_TYPE`.
    ///
    /// # Errors
    ///
    /// It is something that nobody knows, or that is not made here: it is named.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut asked = Self::default();
        for (key, value) in options {
            let kind = key.strip_prefix("attest:");
            let kind = kind.or_else(|| key.strip_prefix("build-arg:BUILDKIT_ATTEST_"));
            let Some(kind) = kind.map(str::to_lowercase) else { continue };
            let fields = dockerfile::csv_fields(value)
                .map_err(|error| Error::Invalid(format!("failed to parse {kind}: {error}")))?;
            let has = |what: &str| fields.iter().any(|field| field == what);
            match kind.as_str() {
                "provenance" | "sbom" if has("disabled=true") => {}
                "provenance" => asked.provenance = Some(Provenance::of(&fields)?),
                "sbom" => asked.sbom = Some(Sbom::of(&fields)?),
                _ => return Err(Error::Invalid(format!("unknown attestation type {kind:?}"))),
            }
        }
        Ok(asked)
    }
}

impl Provenance {
    /// All of it, as it is where nothing else is said.
    fn most() -> Self {
        Self {
            is_max: true,
            version: Version::V1,
            builder: String::new(),
            reproducible: false,
            complete_materials: false,
            inline_only: false,
            filename: "provenance.json".into(),
        }
    }

    fn of(fields: &[String]) -> Result<Self, Error> {
        let mut how = Self::most();
        for field in fields.iter().filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let flag = || match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                _ => Err(Error::Invalid(format!("failed to parse {key} flag {value:?}"))),
            };
            match (key, value) {
                // Buildx repeats it.
                ("type", "provenance") => {}
                ("mode", "max" | "full") => how.is_max = true,
                ("mode", "min") => how.is_max = false,
                ("mode", _) => return Err(Error::Invalid(format!("invalid mode {value:?}"))),
                ("version", "v1") => how.version = Version::V1,
                ("version", "v0.2") => how.version = Version::V02,
                ("version", _) => {
                    let why = format!("invalid provenance SLSA version: {value}");
                    return Err(Error::Invalid(why));
                }
                ("builder-id", id) => id.clone_into(&mut how.builder),
                ("reproducible", _) => how.reproducible = flag()?,
                ("complete-materials", _) => how.complete_materials = flag()?,
                ("inline-only", _) => how.inline_only = flag()?,
                ("filename", name) if is_plain_name(name) => name.clone_into(&mut how.filename),
                ("filename", _) => {
                    return Err(Error::Invalid(format!(
                        "invalid filename {value:?} of provenance"
                    )));
                }
                ("disabled" | "capture-usage", _) => {
                    if flag()? {
                        return Err(Error::NotYet(format!("provenance with {key}=true")));
                    }
                }
                _ => return Err(Error::NotYet(format!("provenance with {key}"))),
            }
        }
        Ok(how)
    }
}

impl Sbom {
    fn of(fields: &[String]) -> Result<Self, Error> {
        let mut how = Self::default();
        for field in fields.iter().filter(|field| !field.is_empty()) {
            match field.split_once('=').unwrap_or((field, "")) {
                ("type", "sbom") | ("disabled", "false") => {}
                ("generator", image) => image.clone_into(&mut how.generator),
                (key, value) if is_variable(key) => {
                    how.parameters.insert(key.to_owned(), value.to_owned());
                }
                (key, _) => return Err(Error::Invalid(format!("an SBOM with {key:?}"))),
            }
        }
        // The builder's own has none.
        match how.parameters.keys().next() {
            Some(key) if how.generator.is_empty() => {
                Err(Error::NotYet(format!("an SBOM with {key}, without a generator of its own,")))
            }
            _ => Ok(how),
        }
    }
}

/// What a variable can be called.
fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A name in a directory, and nowhere else.
fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str) -> Result<Option<Provenance>, String> {
        let asked = Attestations::of(&[(key.to_owned(), value.to_owned())].into());
        asked.map(|asked| asked.provenance).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_known_or_refused_by_name() {
        let usual = of("attest:provenance", "type=provenance").unwrap().unwrap();
        assert!(usual.is_max && usual.version == Version::V1 && !usual.reproducible);
        let least = "mode=min,version=v0.2,builder-id=https://x,reproducible=true";
        let least = of("build-arg:BUILDKIT_ATTEST_PROVENANCE", least).unwrap().unwrap();
        assert!(!least.is_max && least.version == Version::V02 && least.reproducible);
        assert_eq!(least.builder, "https://x");
        assert_eq!(of("attest:provenance", "mode=max,disabled=true"), Ok(None));
        let unasked = of("attest:provenance", "mode=min,inline-only=true").unwrap().unwrap();
        assert!(unasked.inline_only && !unasked.is_max && unasked.filename == "provenance.json");
        assert_eq!(of("attest:provenance", "filename=p.json").unwrap().unwrap().filename, "p.json");
        assert_eq!(of("build-arg:OTHER", "mode=x"), Ok(None));
        for (wrong, why) in [
            ("mode=some", "mode"),
            ("version=v3", "v3"),
            ("reproducible=perhaps", "perhaps"),
            ("capture-usage=true", "capture-usage"),
            ("other=1", "other"),
            ("filename=../x", "../x"),
        ] {
            assert!(of("attest:provenance", wrong).unwrap_err().contains(why), "{wrong}");
        }
        let bill = |value: &str| {
            let asked = Attestations::of(&[("attest:sbom".to_owned(), value.to_owned())].into());
            asked.map(|asked| asked.sbom).map_err(|error| error.to_string())
        };
        for usual in ["", "type=sbom", "generator=,disabled=false"] {
            assert_eq!(bill(usual), Ok(Some(Sbom::default())), "{usual}");
        }
        assert_eq!(bill("disabled=true"), Ok(None));
        let how = bill("type=sbom,generator=me/scan:1,LEVEL=7").unwrap().unwrap();
        assert_eq!((how.generator.as_str(), how.parameters["LEVEL"].as_str()), ("me/scan:1", "7"));
        assert!(bill("LEVEL=1").unwrap_err().contains("LEVEL"));
        assert!(bill("generator=x,A B=1").unwrap_err().contains("A B"));
        assert!(of("attest:other", "").unwrap_err().contains("other"));
    }
}
