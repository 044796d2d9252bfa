//! Images that come and go over a network, from and to registries that do as they should, and others.
//! Whatever fails, the images are as they were, a check finds nothing wrong, and the same succeeds
//! afterwards.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod hostile;
mod once;
mod push;
mod tokens;

// The registry's own tests have a registry that can be told to lie.
#[path = "../../../../service/registry/tests/registry/server.rs"]
#[allow(dead_code, reason = "tests of another crate use it too")]
mod server;
#[path = "../../../../service/registry/tests/registry/shelf.rs"]
#[allow(dead_code, reason = "tests of another crate use it too")]
mod shelf;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use images::{Checking, Images};
use metadata::Db;
use oci::Digest;
use oci::image::{Descriptor, ImageConfig, Manifest, RootFs, media_type};
use registry::{Retry, Settings};
use tarstream::{Entry, Kind, Writer};
use transfer::{Error, Event, Events, Pulled, Request};

use crate::shelf::{Shelf, noise};

/// A root of images that goes when the test ends.
struct Home {
    path: PathBuf,
    images: Arc<Images>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Home {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("dhow-transfer-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self { images: Self::open(&path), path, events: Arc::default() }
    }

    fn open(path: &std::path::Path) -> Arc<Images> {
        let db = Db::open(&path.join("dhow.db")).unwrap();
        Arc::new(Images::open(path, Arc::new(db), &[], None).unwrap())
    }

    fn events(&self) -> Arc<Events> {
        let events = Arc::clone(&self.events);
        Arc::new(move |event| events.lock().unwrap().push(event))
    }

    fn told(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    async fn pull(&self, name: &str) -> Result<Pulled, Error> {
        transfer::pull(&self.images, &request(name), &self.events()).await
    }

    async fn push(&self, name: &str) -> Result<(), Error> {
        transfer::push(&self.images, &request(name), false, &self.events()).await
    }

    /// Nothing is wrong with what is there.
    fn check(&self, when: &str) {
        let checked = self.images.check(Checking::default(), &mut |_| Ok(())).unwrap();
        assert_eq!(checked.findings, [], "{when}");
    }

    fn names(&self) -> Vec<String> {
        let list = self.images.list(&docker::filters::Filters::default()).unwrap();
        list.into_iter().flat_map(|one| one.repo_tags).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Waits for nothing.
fn settings() -> Settings {
    Settings {
        retry: Retry {
            attempts: 2,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(20),
            silence: Duration::from_secs(2),
            ..Retry::default()
        },
        ..Settings::default()
    }
}

fn request(name: &str) -> Request {
    Request {
        reference: name.parse().unwrap(),
        platform: None,
        credentials: None,
        settings: settings(),
    }
}

/// An archive of one file.
fn tar(path: &str, data: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let entry = Entry {
        path: path.into(),
        kind: Kind::File,
        mode: 0o644,
        size: data.len() as u64,
        ..Entry::default()
    };
    writer.append(&entry, &mut &data[..]).unwrap();
    writer.finish().unwrap()
}

/// Puts an image of these layers on a shelf, under a tag.
fn image(shelf: &Shelf, tag: &str, layers: &[Vec<u8>]) -> Descriptor {
    let diffs = layers.iter().map(|layer| oci::DiffId(Digest::sha256(layer))).collect();
    let blobs = layers.iter().map(|layer| shelf.blob(media_type::LAYER, layer)).collect();
    image_of(shelf, tag, blobs, diffs)
}

fn image_of(
    shelf: &Shelf,
    tag: &str,
    layers: Vec<Descriptor>,
    diff_ids: Vec<oci::DiffId>,
) -> Descriptor {
    let config = ImageConfig {
        os: "linux".into(),
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..ImageConfig::default()
    };
    let config = shelf.blob(media_type::CONFIG, &serde_json::to_vec(&config).unwrap());
    let manifest = serde_json::to_vec(&Manifest::new(config, layers)).unwrap();
    shelf.manifest(tag, media_type::MANIFEST, &manifest)
}

/// An error and its causes, as a person sees them.
fn told<T>(result: Result<T, Error>) -> String {
    let Err(error) = result else { panic!("no error") };
    docker::error::chain(&error)
}
