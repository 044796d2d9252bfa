//! The image: the same bytes in every run.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use oci::image::{
    ANNOTATION_REF_NAME, Config, Descriptor, ImageConfig, Index, Manifest, Platform, RootFs,
    media_type,
};
use oci::{DiffId, Digest};

use super::place::{BASE, FULL, Place};
use crate::shell::run;

/// What it is, for the page.
pub(super) const WORDS: &str = "The image: about 610 MB of files in four layers, 305 MB packed with \
    gzip: 4,000 files of up to 60 kB, 1,000 of up to 400 kB, 8 of 25 MB, 10,000 of up to 16 kB; text \
    of random words, and some bytes that nothing packs.";

/// Sizes of the files of each layer: how many, from, to.
const LAYERS: [(usize, u64, u64); 4] = [
    (4000, 500, 60_000),
    (1000, 1000, 400_000),
    (8, 25_000_000, 25_000_001),
    (10_000, 200, 16_000),
];

/// Makes it and gives it to the registry, whole and without its top layer.
pub(super) fn make(place: &Place) -> Result<(), String> {
    let layout = place.path("layout");
    let failed = |error: std::io::Error| format!("{}: {error}", layout.display());
    std::fs::create_dir_all(layout.join("blobs/sha256")).map_err(failed)?;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let words: Vec<Vec<u8>> = (0..4000)
        .map(|_| (0..dice.between(3, 10)).map(|_| b'a' + dice.between(0, 26) as u8).collect())
        .collect();
    let mut layers = Vec::new();
    for (number, sizes) in LAYERS.into_iter().enumerate() {
        let files = place.path("files");
        fill(&files, number, sizes, &words, &mut dice).map_err(failed)?;
        layers.push(pack(&files, &layout)?);
        crate::bench::disk::remove(&files)?;
    }
    let mut index = Index::new(Vec::new());
    for (tag, n_layers) in [("base", layers.len() - 1), ("full", layers.len())] {
        let mut manifest = image(&layout, &layers[..n_layers]).map_err(failed)?;
        manifest.annotations.insert(ANNOTATION_REF_NAME.to_owned(), tag.to_owned());
        index.manifests.push(manifest);
    }
    std::fs::write(layout.join("index.json"), json(&index)).map_err(failed)?;
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .map_err(failed)?;
    for (tag, name) in [("base", BASE), ("full", FULL[0])] {
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]);
        copy.arg(format!("oci:{}:{tag}", layout.display())).arg(format!("docker://{name}"));
        run(&mut copy)?;
    }
    crate::bench::disk::remove(&layout)
}

/// One image of these layers, in the layout.
fn image(layout: &Path, layers: &[(Descriptor, DiffId)]) -> std::io::Result<Descriptor> {
    let native = Platform::native();
    let config = ImageConfig {
        architecture: native.architecture,
        os: native.os,
        config: Config {
            cmd: Some(vec!["true".to_owned()]),
            env: vec!["PATH=/bin".to_owned()],
            ..Config::default()
        },
        rootfs: RootFs {
            diff_ids: layers.iter().map(|(_, diff)| diff.clone()).collect(),
            ..RootFs::default()
        },
        ..ImageConfig::default()
    };
    let put = |kind: &str, bytes: &[u8]| {
        let descriptor = Descriptor::of(kind, bytes);
        std::fs::write(blob(layout, &descriptor.digest), bytes).map(|()| descriptor)
    };
    let config = put(media_type::CONFIG, &json(&config))?;
    let layers = layers.iter().map(|(layer, _)| layer.clone()).collect();
    put(media_type::MANIFEST, &json(&Manifest::new(config, layers)))
}

fn blob(layout: &Path, digest: &Digest) -> std::path::PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The files of one layer; with the lowest a shell.
fn fill(
    files: &Path,
    number: usize,
    (n_files, from, to): (usize, u64, u64),
    words: &[Vec<u8>],
    dice: &mut Dice,
) -> std::io::Result<()> {
    for file_idx in 0..n_files {
        let folder = files.join(format!("data{number}/{}", file_idx % 97));
        if file_idx < 97 {
            std::fs::create_dir_all(&folder)?;
        }
        let size = dice.between(from, to);
        std::fs::write(folder.join(file_idx.to_string()), content(size as usize, words, dice))?;
    }
    if number == 0 {
        std::fs::create_dir(files.join("bin"))?;
        let shell = crate::shell::find("busybox").unwrap_or_else(|| "/bin/busybox".into());
        std::fs::copy(shell, files.join("bin/busybox"))?;
        for name in ["sh", "true"] {
            symlink("busybox", files.join("bin").join(name))?;
        }
    }
    Ok(())
}

/// About half of it can be packed.
fn content(size: usize, words: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 4096);
    while bytes.len() < size {
        if dice.between(0, 16) == 0 {
            (0..512).for_each(|_| bytes.extend(dice.next().to_le_bytes()));
        } else {
            for _ in 0..600 {
                bytes.extend(&words[dice.between(0, words.len() as u64) as usize]);
                bytes.push(b' ');
            }
        }
    }
    bytes.truncate(size);
    bytes
}

/// The layer that these files are, as a blob of the layout.
fn pack(files: &Path, layout: &Path) -> Result<(Descriptor, DiffId), String> {
    let (plain, packed) = (layout.join("layer.tar"), layout.join("layer.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-cf"]);
    run(tar.arg(&plain).arg("-C").arg(files).arg("."))?;
    run(Command::new("gzip").args(["-6nk"]).arg(&plain))?;
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let diff = DiffId(Digest::sha256(&read(&plain)?));
    let layer = Descriptor::of(media_type::LAYER_GZIP, &read(&packed)?);
    let place = blob(layout, &layer.digest);
    std::fs::rename(&packed, &place).map_err(|error| format!("{}: {error}", place.display()))?;
    std::fs::remove_file(&plain).map_err(|error| format!("{}: {error}", plain.display()))?;
    std::io::stderr().write_all(b".").map_err(|error| error.to_string())?;
    Ok((layer, diff))
}

/// xorshift64: the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// At least `from`, less than `to`.
    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }
}
