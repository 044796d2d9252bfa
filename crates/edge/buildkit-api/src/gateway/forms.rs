//! Between the messages of the gateway and what they mean here.

use std::collections::BTreeMap;

use build::{Chain, Extras, FileStat, SaidOf, Solved, SourceMeta, Stated, Sum, SumBy};
use buildgraph::Resolve;
use buildkit::fsutil::Stat;
use buildkit::gateway::{
    self, Attestation, AttestationChain, AttestationKind, Attestations, ChecksumRequest,
    ChecksumResponse, InTotoSubject, InTotoSubjectKind, Ref, RefMap, ResolveSourceGitResponse,
    ResolveSourceHttpResponse, ResolveSourceImageRequest, ResolveSourceImageResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse, SolveResponse,
    checksum_request::ChecksumAlgo, result,
};
use buildkit::pb;
use buildkit::prost_types::Timestamp;
use docker::mode::from_unix;
use dockerfile::ignore::{BadPattern, Filter};
use oci::Digest;
use tonic::Status;

use crate::builds::Job;
use crate::definition::{given_out, of_result};

/// The note of an attestation that only what goes to a registry has it.
const INLINE: &str = "inline-only";
/// And that of what the bill of materials of the result itself is called.
const CORE: &str = "sbom-core";
/// So many bytes of one answer say what leads to results: there may be several, and messages end at 16 MiB.
const GRAPHS: usize = 2 << 20;
/// No more than this may be behind a file for its digest, bytes; as in BuildKit.
const SUFFIX: usize = 4 << 10;
/// The largest part of a file in one answer, in bytes: messages end at 16 MiB.
const FILE: u64 = 15 << 20;

/// What a client is told of results; `with_graphs`: and of what leads to them.
pub(super) fn result(job: &Job, solved: Solved, with_graphs: bool) -> gateway::Result {
    let mut room = if with_graphs { GRAPHS } else { 0 };
    let mut reference = |name: Option<String>| match name {
        Some(name) => {
            let def = Some(given_out(job, &name, &mut room));
            Ref { id: name, def }
        }
        None => Ref::default(),
    };
    let is_one = solved.refs.len() == 1 && solved.refs[0].0.is_empty();
    let told = |one: Stated| {
        let def = Some(of_result(&format!("{}/{}", job.id, one.reference)));
        told(Ref { id: one.reference.clone(), def }, one)
    };
    let attestations = solved.stated.into_iter().map(|(platform, all)| {
        (platform, Attestations { attestation: all.into_iter().map(told).collect() })
    });
    let attestations = attestations.collect();
    let mut refs = solved.refs.into_iter();
    let results = if is_one {
        refs.next().map(|(_, name)| result::Result::Ref(reference(name)))
    } else {
        let refs = refs.map(|(platform, name)| (platform, reference(name))).collect();
        Some(result::Result::Refs(RefMap { refs }))
    };
    gateway::Result { metadata: solved.metadata, attestations, result: results }
}

/// What a client says that its results are.
pub(super) fn solved(result: gateway::Result) -> Result<Solved, Status> {
    let mut attestations = BTreeMap::new();
    for (platform, all) in result.attestations {
        let all = all.attestation.into_iter().map(stated).collect::<Result<_, _>>()?;
        attestations.insert(platform, all);
    }
    let name = |id: String| if id.is_empty() { None } else { Some(id) };
    let refs = match result.result {
        None => Vec::new(),
        Some(result::Result::RefDeprecated(id)) => vec![(String::new(), name(id))],
        Some(result::Result::RefsDeprecated(map)) => {
            map.refs.into_iter().map(|(platform, id)| (platform, name(id))).collect()
        }
        Some(result::Result::Ref(one)) => vec![(String::new(), name(one.id))],
        Some(result::Result::Refs(map)) => {
            map.refs.into_iter().map(|(platform, one)| (platform, name(one.id))).collect()
        }
    };
    let refs = ordered(refs, &result.metadata);
    Ok(Solved { refs, metadata: result.metadata, stated: attestations })
}

/// Results in the order in which their platforms are named: a map has none.
fn ordered(
    mut refs: Vec<(String, Option<String>)>,
    metadata: &BTreeMap<String, Vec<u8>>,
) -> Vec<(String, Option<String>)> {
    let said = metadata.get("refs.platforms").map(Vec::as_slice).unwrap_or_default();
    let said: serde_json::Value = serde_json::from_slice(said).unwrap_or_default();
    let names: Vec<&str> = said["Platforms"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(|platform| platform["ID"].as_str())
        .collect();
    refs.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
    refs
}

/// What is said of a result, as clients are told of it.
fn told(reference: Ref, of: Stated) -> Attestation {
    let subject = |one: SaidOf| match one {
        SaidOf::Itself => InTotoSubject::default(),
        SaidOf::Other(name, digests) => InTotoSubject {
            kind: InTotoSubjectKind::Raw.into(),
            digest: digests.iter().map(ToString::to_string).collect(),
            name,
        },
    };
    let kind = if of.is_bundle { AttestationKind::Bundle } else { AttestationKind::InToto };
    let inline = of.inline_only.then(|| (INLINE.to_owned(), b"true".to_vec()));
    let core = (!of.core.is_empty()).then(|| (CORE.to_owned(), of.core.into_bytes()));
    Attestation {
        kind: kind.into(),
        metadata: inline.into_iter().chain(core).collect(),
        r#ref: Some(reference),
        path: of.path.to_string_lossy().into_owned(),
        in_toto_predicate_type: of.predicate_type,
        in_toto_subjects: of.subjects.into_iter().map(subject).collect(),
    }
}

/// What a client says of a result itself.
fn stated(from: Attestation) -> Result<Stated, Status> {
    let is_bundle = match AttestationKind::try_from(from.kind) {
        Ok(AttestationKind::InToto) => false,
        Ok(AttestationKind::Bundle) => true,
        Err(_) => {
            return Err(Status::invalid_argument(format!("an attestation of kind {}", from.kind)));
        }
    };
    let reference = from.r#ref.map(|one| one.id).unwrap_or_default();
    if reference.is_empty() {
        return Err(Status::invalid_argument("no available content for attestation"));
    }
    let inline_only = match from.metadata.get(INLINE).map(Vec::as_slice) {
        None | Some(b"false" | b"0") => false,
        Some(b"true" | b"1") => true,
        Some(_) => return Err(Status::invalid_argument("non-bool value for inline-only")),
    };
    let core = from.metadata.get(CORE).map(|core| String::from_utf8_lossy(core).into_owned());
    let core = core.unwrap_or_default();
    let subjects = from.in_toto_subjects.into_iter().map(said_of).collect::<Result<_, _>>()?;
    Ok(Stated {
        reference,
        path: from.path.into(),
        is_bundle,
        predicate_type: from.in_toto_predicate_type,
        subjects,
        inline_only,
        core,
    })
}

fn said_of(from: InTotoSubject) -> Result<SaidOf, Status> {
    match InTotoSubjectKind::try_from(from.kind) {
        Ok(InTotoSubjectKind::Self_) => Ok(SaidOf::Itself),
        Ok(InTotoSubjectKind::Raw) => {
            let digest = |text: &String| {
                text.parse::<Digest>().map_err(|error| Status::invalid_argument(error.to_string()))
            };
            let digests = from.digest.iter().map(digest).collect::<Result<_, _>>()?;
            Ok(SaidOf::Other(from.name, digests))
        }
        Err(_) => Err(Status::invalid_argument(format!("a subject of kind {}", from.kind))),
    }
}

pub(super) fn stat(found: &FileStat) -> Stat {
    use std::os::unix::ffi::OsStrExt;

    Stat {
        path: found.path.as_os_str().as_bytes().to_vec(),
        mode: from_unix(found.mode),
        uid: found.uid,
        gid: found.gid,
        size: i64::try_from(found.size).unwrap_or(i64::MAX),
        mod_time: found.modified,
        linkname: found.link.as_os_str().as_bytes().to_vec(),
        ..Stat::default()
    }
}

pub(crate) fn platform(platform: &pb::Platform) -> oci::image::Platform {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    oci::image::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: some(&platform.variant),
        os_version: some(&platform.os_version),
        os_features: platform.os_features.clone(),
    }
}

/// How an image is resolved: BuildKit's `local` looks here first; what is here is taken by default.
pub(super) fn resolve(mode: &str) -> Resolve {
    if mode == "pull" { Resolve::Pull } else { Resolve::Default }
}

/// Another digest of a file that is wanted.
fn sum(asked: &ChecksumRequest) -> Result<Sum, Status> {
    let invalid = |why: String| Err(Status::invalid_argument(why));
    if asked.suffix.len() > SUFFIX {
        return invalid(format!("http checksum request suffix exceeds max size {SUFFIX}"));
    }
    let by = match ChecksumAlgo::try_from(asked.algo) {
        Ok(ChecksumAlgo::Sha256) => SumBy::Sha256,
        Ok(ChecksumAlgo::Sha384) => SumBy::Sha384,
        Ok(ChecksumAlgo::Sha512) => SumBy::Sha512,
        Err(_) => return invalid(format!("unsupported checksum algorithm {}", asked.algo)),
    };
    Ok(Sum { by, suffix: asked.suffix.clone() })
}

/// What of a source is to be known besides.
pub(crate) fn extras(asked: &ResolveSourceMetaRequest) -> Result<Extras, Status> {
    let wanted = asked.http.as_ref().and_then(|http| http.checksum_request.as_ref());
    let image = asked.image.as_ref();
    let is_wanted = |image: &&ResolveSourceImageRequest| {
        image.attestation_chain || !image.resolve_attestations.is_empty()
    };
    Ok(Extras {
        objects: asked.git.as_ref().is_some_and(|git| git.return_object),
        statements: image.filter(is_wanted).map(|image| image.resolve_attestations.clone()),
        sum: wanted.map(sum).transpose()?,
    })
}

/// What is said of an image, as it is told.
fn chain(found: Chain) -> AttestationChain {
    let blob = |(of, data): (oci::image::Descriptor, Vec<u8>)| {
        let descriptor = gateway::Descriptor {
            media_type: of.media_type,
            digest: of.digest.to_string(),
            size: i64::try_from(of.size).unwrap_or(i64::MAX),
            annotations: of.annotations,
        };
        (descriptor.digest.clone(), gateway::Blob { descriptor: Some(descriptor), data })
    };
    AttestationChain {
        root: found.root.to_string(),
        image_manifest: found.image.to_string(),
        attestation_manifest: found.statements.map(|one| one.to_string()).unwrap_or_default(),
        signature_manifests: found.signature.iter().map(ToString::to_string).collect(),
        blobs: found.blobs.into_iter().map(blob).collect(),
    }
}

/// What a source is, as it is told.
pub(crate) fn described(meta: SourceMeta, with_config: bool) -> ResolveSourceMetaResponse {
    let mut response = ResolveSourceMetaResponse::default();
    match meta {
        SourceMeta::Nothing => {}
        SourceMeta::Image(digest, config, found) => {
            let config = if with_config { config } else { Vec::new() };
            let digest = digest.to_string();
            let image = ResolveSourceImageResponse {
                digest,
                config,
                attestation_chain: found.map(|one| chain(*one)),
            };
            response.image = Some(image);
        }
        SourceMeta::Git { name, checksum, commit, objects } => {
            response.git = Some(ResolveSourceGitResponse {
                checksum,
                r#ref: name,
                commit_checksum: commit,
                commit_object: objects.0,
                tag_object: objects.1,
            });
        }
        SourceMeta::Http { checksum, name, modified, sum } => {
            let seconds = modified.and_then(|modified| i64::try_from(modified).ok());
            response.http = Some(ResolveSourceHttpResponse {
                checksum,
                filename: name,
                last_modified: seconds.map(|seconds| Timestamp { seconds, nanos: 0 }),
                checksum_response: sum.map(|(digest, suffix)| ChecksumResponse { digest, suffix }),
            });
        }
    }
    response
}

/// What people are shown while a source is looked at.
pub(crate) fn shown(name: &str, op: &pb::SourceOp) -> String {
    if name.is_empty() {
        format!("resolve {}", llb::shown(&op.identifier))
    } else {
        name.to_owned()
    }
}

/// The part of a file that is asked for: from where, and how much of it.
pub(super) fn range(asked: Option<gateway::FileRange>) -> Result<(u64, u64), Status> {
    let asked = asked.unwrap_or_default();
    let number =
        |n: i64| u64::try_from(n).map_err(|_| Status::invalid_argument("a range before 0"));
    let length = match number(asked.length)? {
        0 => FILE,
        length => length.min(FILE),
    };
    Ok((number(asked.offset)?, length))
}

/// What names of a directory are asked for; `None`: all.
pub(super) fn pattern(text: &str) -> Result<Option<Filter>, Status> {
    let wrong = |error: BadPattern| Status::invalid_argument(error.to_string());
    (!text.is_empty()).then(|| Filter::new(&[text], &[]).map_err(wrong)).transpose()
}

pub(super) fn entries(files: &[FileStat], pattern: Option<&Filter>) -> Vec<Stat> {
    let is_wanted = |file: &&FileStat| {
        pattern.is_none_or(|pattern| pattern.wants(&file.path.to_string_lossy()))
    };
    files.iter().filter(is_wanted).map(stat).collect()
}

/// What a call for results is answered.
pub(super) fn answer(result: gateway::Result) -> SolveResponse {
    SolveResponse { r#ref: String::new(), result: Some(result) }
}

/// The same for front ends that know of results only as names.
pub(super) fn older(result: gateway::Result, by_map: bool) -> Result<SolveResponse, Status> {
    let older = match result.result {
        Some(result::Result::Ref(one)) => Some(result::Result::RefDeprecated(one.id)),
        Some(result::Result::Refs(map)) if by_map => {
            let refs = map.refs.into_iter().map(|(platform, one)| (platform, one.id)).collect();
            Some(result::Result::RefsDeprecated(gateway::RefMapDeprecated { refs }))
        }
        Some(_) => {
            let text = "solve did not return default result: there are several";
            return Err(Status::invalid_argument(text));
        }
        None => None,
    };
    let name = match &older {
        Some(result::Result::RefDeprecated(name)) if !by_map => name.clone(),
        _ => String::new(),
    };
    let result = Some(gateway::Result { result: older, ..result });
    Ok(SolveResponse { r#ref: name, result })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Attestation {
        Attestation {
            kind: AttestationKind::InToto.into(),
            metadata: [(INLINE, "true"), (CORE, "a")]
                .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
                .into(),
            r#ref: Some(Ref { id: "r".into(), def: None }),
            path: "/a.json".into(),
            in_toto_predicate_type: "https://example.com/a".into(),
            in_toto_subjects: vec![
                InTotoSubject::default(),
                InTotoSubject {
                    kind: InTotoSubjectKind::Raw.into(),
                    digest: vec![Digest::sha256(b"x").to_string()],
                    name: "x".into(),
                },
            ],
        }
    }

    /// Of two images of an index for Windows only the version may differ.
    #[test]
    fn a_platform_keeps_the_version_of_its_system() {
        let asked = pb::Platform {
            architecture: "amd64".into(),
            os: "windows".into(),
            os_version: "10.0.20348.1006".into(),
            ..pb::Platform::default()
        };
        let read = platform(&asked);
        assert_eq!(read.to_string(), "windows(10.0.20348.1006)/amd64");
        assert_eq!((read.variant.clone(), llb::platform(&read)), (None, asked));
    }

    #[test]
    fn what_is_said_of_a_result_comes_back_as_it_was() {
        let read = stated(said()).unwrap();
        assert!(read.inline_only && !read.is_bundle);
        let other = SaidOf::Other("x".into(), vec![Digest::sha256(b"x")]);
        assert_eq!(read.subjects, [SaidOf::Itself, other]);
        assert_eq!(told(Ref { id: "r".into(), def: None }, read), said());
    }

    #[test]
    fn other_digests_of_a_file() {
        let asked = |algo, len| sum(&ChecksumRequest { algo, suffix: vec![7; len] });
        let found = asked(ChecksumAlgo::Sha384.into(), SUFFIX).unwrap();
        assert_eq!(found, Sum { by: SumBy::Sha384, suffix: vec![7; SUFFIX] });
        assert!(asked(0, SUFFIX + 1).is_err() && asked(3, 0).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(stated(Attestation { r#ref: None, ..said() }).is_err());
        assert!(stated(Attestation { kind: 7, ..said() }).is_err());
        let metadata = [(INLINE.to_owned(), b"perhaps".to_vec())].into();
        assert!(stated(Attestation { metadata, ..said() }).is_err());
        let mut wrong = said();
        wrong.in_toto_subjects[1].digest = vec!["sha256:x".into()];
        assert!(stated(wrong).is_err());
    }
}
