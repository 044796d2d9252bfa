use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use docker::error::chain;
use docker::filters::Filters;
use oci::image::MAX_CONFIG;
use tarstream::{Entry, Kind, Writer};

use super::*;

mod built;
mod check;
mod chunked;
mod convert;
mod crash;
mod explain;
mod gc;
mod hostile;
mod layers;
mod names;
mod platforms;
mod pull;
mod security;
mod serve;
mod unpack;

/// A root of images that goes when the test ends.
pub(crate) struct Home {
    path: PathBuf,
    images: Images,
}

impl Home {
    fn new(name: &str) -> Self {
        Self::with(name, &[])
    }

    /// One with another storage driver.
    fn on(name: &str, driver: Driver) -> Self {
        let home = Self::new(name);
        driver::open(&home.path.join("snapshots"), Some(driver)).unwrap();
        Self { images: open(&home.path, &[]), path: std::mem::take(&mut { home }.path) }
    }

    fn with(name: &str, embedded: &'static [EmbeddedImage]) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-images-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self { images: open(&path, embedded), path }
    }

    fn import(&self, name: &str, archive: &[u8]) -> Image {
        self.import_with(archive, &Import { reference: name.parse().ok(), ..Import::default() })
            .unwrap()
    }

    fn import_with(&self, archive: &[u8], import: &Import) -> Result<Image, Error> {
        self.images.import(&mut { archive }, import, &mut |_| ())
    }

    /// A record of a container made of an image.
    fn container(&self, id: &str, image: &Image) {
        let container = metadata::Container {
            id: id.into(),
            name: format!("name-{id}"),
            image: Some(image.id.clone()),
            snapshot: None,
            auto_remove: false,
            created: 1,
            config: "{}".into(),
        };
        self.images.db.write(|tx| tx.insert_container(&container)).unwrap();
    }

    fn list(&self, filters: &[(&str, &str)]) -> Vec<String> {
        let mut wanted = Filters::default();
        for (key, value) in filters {
            wanted.add(*key, *value);
        }
        let list = self.images.list(&wanted).unwrap();
        let mut names: Vec<_> = list
            .iter()
            .map(|one| one.repo_tags.first().cloned().unwrap_or_else(|| "<none>".into()))
            .collect();
        names.sort();
        names
    }

    /// Everything that a record names is there and whole, and nothing else is.
    fn check(&self) {
        let images = &self.images;
        let (rows, layers, used, tags) = images
            .db
            .read(|tx| Ok::<_, Error>((tx.images()?, tx.layers()?, tx.used_blobs()?, tx.tags()?)))
            .unwrap();
        for row in &rows {
            let image = images.get(&row.id).unwrap();
            images.content.read(&row.id, MAX_CONFIG as u64).unwrap();
            for layer in &image.chain {
                assert!(images.snapshots.has_layer(layer).unwrap(), "{layer}");
            }
        }
        for blob in &used {
            let mut reader = images.content.reader(blob).unwrap();
            std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        }
        let blobs: BTreeSet<_> =
            images.content.list().unwrap().into_iter().map(|(digest, _)| digest).collect();
        assert_eq!(blobs, used.into_iter().collect::<BTreeSet<_>>(), "blobs");
        let unpacked: BTreeSet<_> = images.snapshots.layers().unwrap().into_iter().collect();
        let known: BTreeSet<_> = layers.into_iter().map(|row| row.chain).collect();
        assert_eq!(unpacked, known, "layers");
        for folder in ["content/ingest", "snapshots/new", "snapshots/trash"] {
            let left: Vec<_> = fs::read_dir(self.path.join(folder)).unwrap().collect();
            assert!(left.is_empty(), "{folder}: {left:?}");
        }
        assert!(images.notes().unwrap().is_empty());
        let index = fs::read(self.path.join("content/index.json")).unwrap();
        let index = Index::parse(&index).unwrap();
        let in_index: BTreeSet<_> = index
            .manifests
            .iter()
            .filter_map(|one| one.annotations.get("io.containerd.image.name").cloned())
            .collect();
        let tagged: BTreeSet<_> = tags.into_iter().map(|tag| tag.reference).collect();
        assert_eq!(in_index, tagged, "index.json");
        let manifests: BTreeSet<_> = index.manifests.iter().map(|one| one.digest.clone()).collect();
        let (targets, within, tags) = images
            .db
            .read(|tx| Ok::<_, Error>((tx.targets()?, tx.images_of_targets()?, tx.tags()?)))
            .unwrap();
        let by_itself = |row: &metadata::Image| {
            let named = |tag: &metadata::Tag| tag.image == row.id && tag.target.is_none();
            tags.iter().any(named) || !within.iter().any(|one| one.manifest == row.manifest)
        };
        let alone = rows.iter().filter(|row| by_itself(row)).map(|row| row.manifest.clone());
        let wanted: BTreeSet<_> = alone.chain(targets.into_iter().map(|one| one.digest)).collect();
        assert_eq!(manifests, wanted, "index.json");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn open(path: &Path, embedded: &'static [EmbeddedImage]) -> Images {
    let db = Db::open(&path.join("dhow.db")).unwrap();
    Images::open(path, Arc::new(db), embedded, None).unwrap()
}

/// An archive of these files.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, data) in files {
        let kind = if path.ends_with('/') { Kind::Directory } else { Kind::File };
        let entry = Entry {
            path: (*path).into(),
            kind,
            mode: 0o755,
            size: data.len() as u64,
            ..Entry::default()
        };
        writer.append(&entry, &mut data.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_archive_becomes_an_image() {
    let home = Home::new("import");
    let archive = gzip(&tar(&[("bin/", ""), ("bin/sh", "#!"), ("etc/passwd", "root")]));
    let import = Import {
        reference: "debian:base".parse().ok(),
        changes: vec!["CMD [\"sh\"]".into(), "ENV A=b".into()],
        message: Some("mine".into()),
        ..Import::default()
    };
    let mut seen = 0;
    let image = home.images.import(&mut archive.as_slice(), &import, &mut |n| seen = n).unwrap();
    assert_eq!(seen, archive.len() as u64);
    assert_eq!(image.size, 6);
    home.check();

    let found = home.images.resolve("debian:base").unwrap();
    assert_eq!(found.id, image.id);
    assert_eq!(found.config.config.cmd, Some(vec!["sh".into()]));
    assert_eq!(found.config.comment.as_deref(), Some("mine"));
    assert_eq!(found.config.architecture, oci::image::Platform::native().architecture);
    let root = &home.images.snapshots.layer_paths(&found.chain)[0];
    assert_eq!(fs::read_to_string(root.join("etc/passwd")).unwrap(), "root");
    // The blob is what was given, to the byte.
    let layers = home.images.db.read(|tx| tx.image_layers(&image.id)).unwrap();
    assert_eq!(home.images.content.read(&layers[0].blob, 1 << 20).unwrap(), archive);
}

#[test]
fn an_import_that_fails_leaves_nothing() {
    let home = Home::new("fails");
    let archive = tar(&[("a", "x"), ("b", "y")]);
    let import = Import { reference: "x".parse().ok(), ..Import::default() };
    for (what, bytes, want) in [
        ("truncated", archive[..1030].to_vec(), "truncated"),
        ("cut gzip", gzip(&archive)[..30].to_vec(), "truncated"),
        ("out", tar(&[("a", "x"), ("../../etc/cron.d/x", "x")]), "leads out of the root"),
        ("absolute", tar(&[("/etc/passwd", "x")]), "absolute name"),
        ("empty", Vec::new(), "the archive is empty"),
    ] {
        let error = home.import_with(&bytes, &import).unwrap_err();
        assert_eq!(error.class(), Class::Invalid, "{what}");
        assert!(chain(&error).contains(want), "{what}: {}", chain(&error));
        home.check();
    }
    let changes = vec!["RUN x".into()];
    let error = home.import_with(&archive, &Import { changes, ..import.clone() }).unwrap_err();
    assert_eq!(error.to_string(), "RUN is not a valid change command");
    let reference = "host".parse().ok();
    assert!(home.import_with(&archive, &Import { reference, ..import }).is_err());
    home.check();
    assert!(home.list(&[]).is_empty());
}

#[test]
fn the_same_archive_twice_is_one_layer() {
    let home = Home::new("twice");
    let archive = tar(&[("a", "x")]);
    let one = home.import("one", &archive);
    let two = home.import("two", &archive);
    assert_ne!(one.id, two.id, "made at another time");
    assert_eq!(one.chain, two.chain);
    assert_eq!(home.images.snapshots.layers().unwrap().len(), 1);
    home.check();
    let no = |_: &str| false;
    home.images.remove("one", false, &no).unwrap();
    home.check();
    assert!(home.images.resolve("two").is_ok());
    home.images.remove("two", false, &no).unwrap();
    home.check();
    assert!(home.images.snapshots.layers().unwrap().is_empty());
    assert!(home.images.content.list().unwrap().is_empty());
}

#[test]
fn a_rootfs_archive_is_unpacked_once() {
    let home = Home::new("rootfs");
    let path = home.path.join("rootfs.tar");
    fs::write(&path, tar(&[("a", "x")])).unwrap();
    let one = home.images.rootfs_archive(&path).unwrap();
    assert!(one.reference.is_none());
    home.check();
    let two = home.images.rootfs_archive(&path).unwrap();
    assert_eq!(one, two);
    // Known by the file's numbers alone: nothing is read.
    let numbers = home.images.db.read(Read::used_blobs).unwrap();
    assert_eq!(numbers.len(), 3);
    fs::write(&path, tar(&[("a", "other")])).unwrap();
    let three = home.images.rootfs_archive(&path).unwrap();
    assert_ne!(one.id, three.id);
    home.check();
    let error = home.images.rootfs_archive(&home.path).unwrap_err();
    assert!(error.to_string().contains("is a directory: give an archive"), "{error}");
    let error = home.images.rootfs_archive(&home.path.join("none")).unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    let error = home.images.rootfs_archive(Path::new("/dev/null")).unwrap_err();
    assert_eq!(chain(&error), "root file system \"/dev/null\": the archive is empty");
}

#[test]
fn the_machine_itself_is_an_image() {
    let home = Home::new("host");
    let host = home.images.resolve("host").unwrap();
    assert_eq!((host.root, host.chain.len()), (RootKind::Host, 0));
    assert_eq!(home.images.get(&host.id).unwrap(), host);
    let archive = tar(&[("a", "x")]);
    home.import("x", &archive);
    let error = home.images.tag("x", "host").unwrap_err();
    assert!(error.to_string().contains("choose another name"), "{error}");
    home.images.tag("x", "host:mine").unwrap();
    assert!(home.images.details("host").is_ok());
}

#[test]
fn what_was_deleted_by_hand_is_unpacked_again() {
    let home = Home::new("again");
    let image = home.import("x", &tar(&[("a", "x")]));
    let root = home.images.snapshots.layer_paths(&image.chain)[0].clone();
    fs::remove_dir_all(root.parent().unwrap()).unwrap();
    home.images.resolve("x").unwrap();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "x");
    home.check();
}

#[test]
fn a_saved_image_comes_back_to_the_byte() {
    let home = Home::new("save");
    let one = home.import("one:1", &gzip(&tar(&[("a", "x")])));
    home.import("me/two", &tar(&[("b", "y")]));
    home.images.tag("one:1", "one:again").unwrap();
    let mut saved = Vec::new();
    home.images.save(&["one:1", "one:again", "me/two"], &mut saved).unwrap();
    let mut again = Vec::new();
    home.images.save(&["one:1", "one:again", "me/two"], &mut again).unwrap();
    assert_eq!(saved, again);

    for (name, bytes) in [("load", saved.clone()), ("load-gz", gzip(&saved))] {
        let other = Home::new(name);
        let loaded = other.images.load(&mut bytes.as_slice()).unwrap();
        assert_eq!(loaded.len(), 3);
        other.check();
        assert_eq!(other.list(&[]), ["me/two:latest", "one:1"]);
        let there = other.images.resolve("one:again").unwrap();
        assert_eq!((&there.id, &there.manifest), (&one.id, &one.manifest));
        let mut third = Vec::new();
        other.images.save(&["one:1", "one:again", "me/two"], &mut third).unwrap();
        assert_eq!(third, saved);
    }
}

#[test]
fn an_embedded_image_unpacks_itself() {
    let maker = Home::new("embed-maker");
    let mut layouts = Vec::new();
    for content in ["old", "new"] {
        let labels = Import {
            changes: vec!["LABEL dev.dhow.hello=1".into()],
            reference: "made".parse().ok(),
            created: Some(0),
            ..Import::default()
        };
        maker.import_with(&tar(&[("hello", content)]), &labels).unwrap();
        let mut saved = Vec::new();
        maker.images.save(&["made"], &mut saved).unwrap();
        layouts.push(saved);
    }
    let embed = |layout: &Vec<u8>| -> &'static [EmbeddedImage] {
        let layout: &'static [u8] = layout.clone().leak();
        vec![EmbeddedImage { reference: "hello:latest", layout }].leak()
    };
    let home = Home::with("embed", embed(&layouts[0]));
    assert!(home.list(&[]).is_empty());
    let old = home.images.resolve("hello").unwrap();
    assert_eq!(home.images.resolve("docker.io/library/hello:latest").unwrap().id, old.id);
    home.check();
    assert_eq!(home.list(&[]), ["hello:latest"]);

    // A newer program brings a newer image.
    let newer = open(&home.path, embed(&layouts[1]));
    let new = newer.resolve("hello").unwrap();
    assert_ne!(new.id, old.id);
    // But a name that a person gave away stays given.
    home.import("mine", &tar(&[("x", "x")]));
    home.images.tag("mine", "hello").unwrap();
    let mine = newer.resolve("hello").unwrap();
    assert_eq!(mine.id, home.images.resolve("mine").unwrap().id);
    home.check();
    assert!(home.images.resolve("hello:other").is_err());
}
