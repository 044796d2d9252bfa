//! SPDX 2.3 documents (<https://spdx.github.io/spdx-spec/v2.3/>), as JSON.

use std::collections::BTreeMap;

use oci::Digest;
use serde::Serialize;

use crate::licence;
use crate::package::{Kind, Package};
use crate::scan::Scanned;

/// What statements say that such a document is.
pub const PREDICATE: &str = "https://spdx.dev/Document";

const NOTHING: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const ROOT: &str = "SPDXRef-DocumentRoot";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: &'a str,
    #[serde(rename = "documentNamespace")]
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'static str>,
    creation_info: CreationInfo<'a>,
    packages: Vec<OnePackage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<OwnLicence>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
struct CreationInfo<'a> {
    created: &'a str,
    creators: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OnePackage {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
struct ExternalRef {
    #[serde(rename = "referenceCategory")]
    category: &'static str,
    #[serde(rename = "referenceType")]
    kind: &'static str,
    #[serde(rename = "referenceLocator")]
    locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnLicence {
    license_id: String,
    extracted_text: String,
}

#[derive(Serialize)]
struct Relationship {
    #[serde(rename = "spdxElementId")]
    of: &'static str,
    #[serde(rename = "relationshipType")]
    kind: &'static str,
    #[serde(rename = "relatedSpdxElement")]
    to: String,
}

/// The document of what was found in what is called `name`, written by `tool` at the time `created`
/// (`2026-01-31T12:00:00Z`): the same for the same.
pub fn document(
    scanned: &Scanned,
    name: &str,
    tool: &str,
    created: &str,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut licences = Licences::default();
    let mut packages = vec![root(scanned, name)];
    let mut relationships = vec![Relationship { of: DOCUMENT, kind: "DESCRIBES", to: ROOT.into() }];
    for package in &scanned.packages {
        let one = one_package(package, scanned, &mut licences);
        relationships.push(Relationship { of: ROOT, kind: "CONTAINS", to: one.id.clone() });
        packages.push(one);
    }
    let all = serde_json::to_vec(&packages)?;
    // A document's name is its own: what is in it, and when that was so.
    let own = Digest::sha256(&[name.as_bytes(), b"\0", created.as_bytes(), b"\0", &all].concat());
    let document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name,
        namespace: format!("https://spdx.org/spdxdocs/{name}-{}", own.hex()),
        comment: scanned.is_cut.then_some("There are more packages than are listed."),
        creation_info: CreationInfo { created, creators: vec![format!("Tool: {tool}")] },
        packages,
        has_extracted_licensing_infos: licences.own,
        relationships,
    };
    serde_json::to_vec(&document)
}

/// What holds all the others: the tree, by its system.
fn root(scanned: &Scanned, name: &str) -> OnePackage {
    let system = scanned.os.as_ref().map(|os| match &os.name {
        Some(name) => format!("the system is {name}"),
        None => format!("the system is {}", os.distro()),
    });
    OnePackage {
        id: ROOT.into(),
        name: name.to_owned(),
        version_info: None,
        supplier: None,
        download_location: NOTHING,
        files_analyzed: false,
        checksums: Vec::new(),
        homepage: None,
        source_info: system,
        license_concluded: NOTHING,
        license_declared: NOTHING.into(),
        copyright_text: NOTHING,
        summary: None,
        external_refs: Vec::new(),
        primary_package_purpose: Some("CONTAINER"),
    }
}

fn one_package(package: &Package, scanned: &Scanned, licences: &mut Licences) -> OnePackage {
    let url = package.url(scanned.os.as_ref());
    let kind = match package.kind {
        Kind::Deb => "deb",
        Kind::Apk => "apk",
        Kind::Python => "pypi",
        Kind::Npm => "npm",
        Kind::Cargo => "cargo",
    };
    let checksum = package.checksum.clone();
    OnePackage {
        // Made of the URL, which is the same wherever the package is.
        id: format!("SPDXRef-Package-{kind}-{}", &Digest::sha256(url.as_bytes()).hex()[..16]),
        name: package.name.clone(),
        version_info: Some(package.version.clone()),
        supplier: package.supplier.as_ref().map(|name| supplier(package.kind, name)),
        download_location: NOTHING,
        files_analyzed: false,
        checksums: checksum
            .map(|(algorithm, checksum_value)| Checksum { algorithm, checksum_value })
            .into_iter()
            .collect(),
        homepage: package.homepage.clone().filter(|url| is_url(url)),
        source_info: Some(format!("found in {}", package.found_in.join(", "))),
        license_concluded: NOTHING,
        license_declared: package
            .licence
            .as_ref()
            .map_or(NOTHING.into(), |text| licences.name(text)),
        copyright_text: NOTHING,
        summary: package.summary.clone(),
        external_refs: vec![ExternalRef {
            category: "PACKAGE-MANAGER",
            kind: "purl",
            locator: url,
        }],
        primary_package_purpose: None,
    }
}

/// Maintainers of distributions are often several people; elsewhere it is somebody.
fn supplier(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Deb | Kind::Apk => format!("Organization: {name}"),
        Kind::Python | Kind::Npm | Kind::Cargo => format!("Person: {name}"),
    }
}

fn is_url(text: &str) -> bool {
    let is_web = ["http://", "https://"].iter().any(|start| text.starts_with(start));
    is_web && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&byte))
}

/// Licences that SPDX does not name.
#[derive(Default)]
struct Licences {
    own: Vec<OwnLicence>,
    names: BTreeMap<String, String>,
}

impl Licences {
    /// What a licence is called in the document.
    fn name(&mut self, stated: &str) -> String {
        if licence::is_expression(stated) {
            return stated.to_owned();
        }
        if let Some(name) = self.names.get(stated) {
            return name.clone();
        }
        let name = format!("LicenseRef-{}", &Digest::sha256(stated.as_bytes()).hex()[..16]);
        self.names.insert(stated.to_owned(), name.clone());
        self.own.push(OwnLicence { license_id: name.clone(), extracted_text: stated.to_owned() });
        name
    }
}
