//! `manifest`: indexes that are put together here and pushed. As with Docker's client, all of it is
//! between the command line and the registry, and the engine knows nothing of it.

mod indent;
mod shelf;

use oci::image::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};
use reference::Reference;
use registry::{Document, Error as Failure, Hosts, Keys, Registry, Settings};
use serde_json::{Value, json};

use crate::args::{
    ManifestAnnotateArgs, ManifestCommand, ManifestCreateArgs, ManifestInspectArgs,
    ManifestPushArgs, ReferrersArgs,
};
use crate::config;
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};
use crate::registry::refused;

use shelf::{Entry, Shelf};

const REFERRERS: &[Column] = &[
    Column { field: "Digest", header: "DIGEST" },
    Column { field: "ArtifactType", header: "ARTIFACT TYPE" },
    Column { field: "Size", header: "SIZE" },
];
const MORE: &[Column] = &[
    Column { field: "MediaType", header: "MEDIA TYPE" },
    Column { field: "Annotations", header: "ANNOTATIONS" },
];

/// `manifest ...`.
pub(crate) async fn manifest(command: ManifestCommand) -> Result<i32> {
    let shelf = Shelf::beside(&config::file());
    match command {
        ManifestCommand::Create(args) => create(&shelf, &args).await,
        ManifestCommand::Annotate(args) => annotate(&shelf, &args),
        ManifestCommand::Inspect(args) => inspect(&shelf, &args).await,
        ManifestCommand::Push(args) => push(&shelf, &args).await,
        ManifestCommand::Rm { lists } => rm(&shelf, &lists),
        ManifestCommand::Referrers(args) => referrers(&args).await,
    }
}

fn parse(what: &str, name: &str) -> Result<Reference> {
    let parsed: std::result::Result<Reference, _> = name.parse();
    let named =
        parsed.map_err(|err| Error::Usage(format!("error parsing name for {what} {name}: {err}")));
    Ok(named?.with_default_tag())
}

/// Whom to ask for `reference`, as when it is pulled.
fn hosts_of(reference: &Reference, insecure: bool) -> Result<Hosts> {
    let domain = reference.domain();
    let mut settings =
        Settings::of_this_machine(&|name| std::env::var(name).ok()).map_err(|err| refused(&err))?;
    if insecure {
        settings.insecure.push(domain.to_owned());
    }
    let keys = Keys::read(&config::file()).and_then(|keys| keys.of(domain));
    let keys = keys.map_err(|err| refused(&err))?;
    Hosts::of(&settings, domain, keys.as_ref()).map_err(|err| refused(&err))
}

/// Tells of a host that is passed by.
fn tell_passed(host: &Registry, error: &Failure) {
    eprintln!("{host} is passed by: {}", human::printable(&error.to_string()));
}

/// A manifest at its registry, with what it runs on.
async fn fetch(reference: &Reference, insecure: bool) -> Result<(Document, Option<Entry>)> {
    let hosts = hosts_of(reference, insecure)?;
    let document = hosts.manifest(reference, &tell_passed).await.map_err(|err| refused(&err))?;
    if media_type::is_index(&document.media_type) {
        return Ok((document, None));
    }
    let entry = entry(&hosts, reference, &document).await?;
    Ok((document, Some(entry)))
}

async fn entry(hosts: &Hosts, reference: &Reference, document: &Document) -> Result<Entry> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::Usage(format!("{}: not an image: {why}", reference.familiar()))
    };
    let manifest = Manifest::parse(&document.bytes).map_err(|err| wrong(&err))?;
    let mut platform = Platform::default();
    if manifest.is_image() {
        let config = hosts.small_blob(reference.path(), &manifest.config, 0, &tell_passed).await;
        let config = config.map_err(|err| refused(&err))?;
        let config = ImageConfig::parse(&config).map_err(|err| wrong(&err))?;
        platform = Platform {
            architecture: config.architecture,
            os: config.os,
            os_version: config.os_version,
            os_features: Vec::new(),
            variant: config.variant,
        };
    }
    let size = document.bytes.len() as u64;
    let mut descriptor = Descriptor::new(&document.media_type, document.digest.clone(), size);
    descriptor.platform = Some(platform);
    Ok(Entry { reference: reference.to_string(), descriptor, raw: document.bytes.to_vec() })
}

/// `manifest create`.
async fn create(shelf: &Shelf, args: &ManifestCreateArgs) -> Result<i32> {
    let list = parse("manifest list", &args.list)?;
    if shelf.has(&list)? && !args.amend {
        let why = "refusing to amend an existing manifest list with no --amend flag";
        return Err(Error::Usage(why.into()));
    }
    let mut entries = Vec::new();
    for name in &args.manifests {
        let reference = parse("manifest", name)?;
        let (_, entry) = fetch(&reference, args.insecure).await?;
        entries.push(entry.ok_or_else(|| Error::Usage(format!("{name} is a manifest list")))?);
    }
    // Nothing is kept of a list of which something does not exist.
    for entry in &entries {
        shelf.put(&list, entry)?;
    }
    println!("Created manifest list {list}");
    Ok(0)
}

/// `manifest annotate`.
fn annotate(shelf: &Shelf, args: &ManifestAnnotateArgs) -> Result<i32> {
    let list = parse("manifest list", &args.list)?;
    let manifest = parse("manifest", &args.manifest)?;
    if !shelf.has(&list)? {
        return Err(no_such(&args.list));
    }
    let Some(mut entry) = shelf.get(&list, &manifest)? else {
        return Err(Error::Usage(format!(
            "manifest for image {} does not exist in {}",
            args.manifest, args.list
        )));
    };
    let platform = entry.descriptor.platform.get_or_insert_with(Platform::default);
    if let Some(os) = &args.os {
        platform.os.clone_from(os);
    }
    if let Some(architecture) = &args.arch {
        platform.architecture.clone_from(architecture);
    }
    for feature in &args.os_features {
        if !platform.os_features.contains(feature) {
            platform.os_features.push(feature.clone());
        }
    }
    if args.variant.is_some() {
        platform.variant.clone_from(&args.variant);
    }
    if args.os_version.is_some() {
        platform.os_version.clone_from(&args.os_version);
    }
    check(platform)?;
    shelf.put(&list, &entry)?;
    Ok(0)
}

/// Go's names alone: others find no machine.
fn check(platform: &Platform) -> Result<()> {
    if oci::image::platform::is_known(platform) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "manifest entry for image has unsupported os/arch combination: {}/{}",
        platform.os, platform.architecture
    )))
}

fn no_such(name: &str) -> Error {
    Error::Usage(format!("No such manifest: {name}"))
}

/// The index of a list that was put together here.
fn index(entries: &[Entry]) -> Index {
    let is_oci = entries.iter().all(|entry| entry.descriptor.media_type == media_type::MANIFEST);
    let mut index = Index::new(entries.iter().map(|entry| entry.descriptor.clone()).collect());
    if !is_oci {
        index.media_type = Some(media_type::DOCKER_INDEX.into());
    }
    index
}

fn bytes_of(index: &Index) -> Result<Vec<u8>> {
    let compact = serde_json::to_vec(index);
    let compact = compact.map_err(|err| Error::Usage(format!("write the manifest list: {err}")))?;
    Ok(indent::indent(&compact, "   "))
}

/// `manifest inspect`.
async fn inspect(shelf: &Shelf, args: &ManifestInspectArgs) -> Result<i32> {
    let (list, name) = match args.names.as_slice() {
        [list, name] => (Some(parse("manifest list", list)?), name),
        [name] => (None, name),
        _ => return Err(Error::Usage("give one name, or a list and a name".into())),
    };
    let reference = parse("manifest", name)?;
    if let Some(list) = &list {
        let entry = shelf.get(list, &reference)?.ok_or_else(|| no_such(name))?;
        return print_one(&entry, args.verbose);
    }
    let entries = shelf.all(&reference)?;
    if !entries.is_empty() {
        if args.verbose {
            return print_all(&entries);
        }
        print_bytes(&bytes_of(&index(&entries))?);
        return Ok(0);
    }
    let (document, entry) = fetch(&reference, args.insecure).await?;
    match entry {
        Some(entry) => print_one(&entry, args.verbose),
        None if args.verbose => {
            let entries = entries_of(&document, &reference, args.insecure).await?;
            print_all(&entries)
        }
        None => {
            print_bytes(&indent::indent(&document.bytes, "   "));
            Ok(0)
        }
    }
}

/// The manifests of an index at a registry.
async fn entries_of(
    document: &Document,
    reference: &Reference,
    insecure: bool,
) -> Result<Vec<Entry>> {
    let index = Index::parse(&document.bytes)
        .map_err(|err| Error::Usage(format!("{}: {err}", reference.familiar())))?;
    let hosts = hosts_of(reference, insecure)?;
    let mut entries = Vec::new();
    for descriptor in index.manifests {
        let name = reference.clone().with_digest(descriptor.digest.clone());
        let document = hosts.manifest(&name, &tell_passed).await.map_err(|err| refused(&err))?;
        let reference = name.to_string();
        entries.push(Entry { reference, descriptor, raw: document.bytes.to_vec() });
    }
    Ok(entries)
}

fn print_bytes(bytes: &[u8]) {
    println!("{}", String::from_utf8_lossy(bytes).trim_end());
}

fn print_one(entry: &Entry, verbose: bool) -> Result<i32> {
    if verbose {
        print_bytes(&indent::indent(&entry.to_json()?, "\t"));
    } else {
        print_bytes(&indent::indent(&entry.raw, "\t"));
    }
    Ok(0)
}

fn print_all(entries: &[Entry]) -> Result<i32> {
    let mut all = b"[".to_vec();
    for (nth, entry) in entries.iter().enumerate() {
        if nth > 0 {
            all.push(b',');
        }
        all.extend(entry.to_json()?);
    }
    all.push(b']');
    print_bytes(&indent::indent(&all, "\t"));
    Ok(0)
}

/// `manifest push`: the manifests of other repositories are taken over by the registry, then the
/// list is pushed. Prints its digest.
async fn push(shelf: &Shelf, args: &ManifestPushArgs) -> Result<i32> {
    let list = parse("manifest list", &args.list)?;
    let entries = shelf.all(&list)?;
    if entries.is_empty() {
        return Err(Error::Usage(format!("{} not found", args.list)));
    }
    let hosts = hosts_of(&list, args.insecure)?;
    let registry = hosts.for_push().map_err(|err| refused(&err))?;
    let repository = registry.repository(list.path());
    for entry in &entries {
        let from: Reference = entry.reference.parse().map_err(|err| {
            Error::Usage(format!("the list names {:?}, which is no name: {err}", entry.reference))
        })?;
        if from.domain() != list.domain() {
            return Err(Error::Usage(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                from.domain(),
                list.domain()
            )));
        }
        check(entry.descriptor.platform.as_ref().unwrap_or(&Platform::default()))?;
        if from.path() == list.path() {
            continue;
        }
        let manifest = Manifest::parse(&entry.raw)
            .map_err(|err| Error::Usage(format!("{}: {err}", entry.reference)))?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let taken = repository.take_over(blob, from.path()).await;
            if !taken.map_err(|err| refused(&err))? {
                return Err(Error::Usage(format!(
                    "failed to mount blob {} to {}: the registry does not take it from {}",
                    blob.digest,
                    list.familiar_name(),
                    from.familiar_name()
                )));
            }
        }
        let (digest, kind) = (&entry.descriptor.digest, &entry.descriptor.media_type);
        let bytes = entry.raw.clone().into();
        let put = repository.put_manifest(&digest.to_string(), kind, bytes).await;
        put.map_err(|err| refused(&err))?;
        let name = list.clone().with_digest(digest.clone());
        println!("Pushed ref {name} with digest: {digest}");
    }
    let index = index(&entries);
    let bytes = bytes_of(&index)?;
    let digest = oci::Digest::sha256(&bytes);
    let kind = index.media_type.as_deref().unwrap_or(media_type::INDEX);
    let tag = list.tag().unwrap_or(reference::DEFAULT_TAG);
    let put = repository.put_manifest(tag, kind, bytes.into()).await;
    put.map_err(|err| refused(&err))?;
    if args.purge {
        shelf.remove(&list)?;
    }
    println!("{digest}");
    Ok(0)
}

/// `manifest rm`.
fn rm(shelf: &Shelf, lists: &[String]) -> Result<i32> {
    let mut code = 0;
    for name in lists {
        let list = parse("manifest list", name)?;
        if !shelf.remove(&list)? {
            eprintln!("dhow: {}", no_such(name));
            code = 1;
        }
    }
    Ok(code)
}

/// `manifest referrers`.
async fn referrers(args: &ReferrersArgs) -> Result<i32> {
    let reference = parse("image", &args.name)?;
    let hosts = hosts_of(&reference, args.insecure)?;
    let digest = if let Some(digest) = reference.digest() {
        digest.clone()
    } else {
        let document = hosts.manifest(&reference, &tell_passed).await;
        document.map_err(|err| refused(&err))?.digest
    };
    let kind = args.artifact_type.as_deref();
    let found = hosts.referrers(reference.path(), &digest, kind, &tell_passed).await;
    let found = found.map_err(|err| refused(&err))?;
    let rows: Vec<Value> = found
        .iter()
        .map(|one| {
            let digest = one.digest.to_string();
            let short = digest.get(..19).unwrap_or(&digest);
            json!({
                "Digest": if args.no_trunc { &digest } else { short },
                "ArtifactType": human::printable(one.artifact_type.as_deref().unwrap_or("<none>")),
                "Size": human::size(one.size as i64),
                "MediaType": human::printable(&one.media_type),
                "Annotations": one.annotations,
            })
        })
        .collect();
    list::print(args.format.as_deref(), REFERRERS, MORE, &rows)
}
