//! Layers that can also be fetched file by file: eStargz and zstd:chunked. To us they are gzip and
//! zstd, whatever else is in them.

use oci::image::{ImageConfig, Manifest, RootFs};

use super::*;

/// A gzip stream for each piece of the archive, the last with the footer that says where the table of
/// contents is (eStargz).
fn estargz(archive: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in archive.chunks(700) {
        out.extend(gzip(piece));
    }
    let toc = format!("{:016x}", out.len());
    let mut extra = vec![b'S', b'G', 22, 0];
    extra.extend_from_slice(format!("{toc}STARGZ").as_bytes());
    let footer = flate2::GzBuilder::new().extra(extra);
    out.extend(footer.write(Vec::new(), flate2::Compression::none()).finish().unwrap());
    out
}

fn skippable(data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(data.len()).unwrap().to_le_bytes();
    [&0x184D_2A50_u32.to_le_bytes()[..], &size, data].concat()
}

/// A zstd frame for each piece of the archive, then the table of contents and the footer in frames
/// that are to be skipped (zstd:chunked).
fn zstd_chunked(archive: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in archive.chunks(700) {
        out.extend(zstd::encode_all(piece, 3).unwrap());
    }
    let toc = zstd::encode_all(&br#"{"version":1,"entries":[]}"#[..], 3).unwrap();
    out.extend(skippable(&toc));
    let mut footer = [0; 64];
    footer[56..].copy_from_slice(b"GNUlInUx");
    out.extend(skippable(&footer));
    out
}

fn config_of(diff: Digest) -> Vec<u8> {
    let rootfs = RootFs { diff_ids: vec![oci::DiffId(diff)], ..RootFs::default() };
    serde_json::to_vec(&ImageConfig { rootfs, ..ImageConfig::default() }).unwrap()
}

#[test]
fn what_is_chunked_is_read_as_what_it_also_is() {
    let home = Home::new("chunked");
    let long = "x".repeat(5_000);
    let archive = tar(&[
        ("a", "1"),
        ("long", &long),
        ("stargz.index.json", "{\"version\":1,\"entries\":[]}"),
        (".no.prefetch.landmark", "\u{f}"),
    ]);
    for (name, kind, layer, note) in [
        (
            "estargz",
            media_type::LAYER_GZIP,
            estargz(&archive),
            "containerd.io/snapshot/stargz/toc.digest",
        ),
        (
            "zstd",
            media_type::LAYER_ZSTD,
            zstd_chunked(&archive),
            "io.github.containers.zstd-chunked.manifest-checksum",
        ),
    ] {
        let config = config_of(Digest::sha256(&archive));
        let mut descriptor = Descriptor::of(kind, &layer);
        descriptor.annotations.insert(note.into(), Digest::sha256(b"toc").to_string());
        let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), vec![descriptor]);
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let pull = home.images.begin_pull(manifest.clone(), config).unwrap();
        let mut incoming = pull.layers()[0].take().unwrap();
        incoming.write_all(&layer).unwrap();
        incoming.finish().unwrap();
        let name: Reference = format!("r.test/{name}:1").parse().unwrap();
        let digest = Digest::sha256(&manifest);
        let image = home.images.finish_pull(&pull, &name, &digest, &|_, _| ()).unwrap();
        let root = &home.images.snapshots.layer_paths(&image.chain)[0];
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "1", "{name}");
        assert_eq!(fs::read_to_string(root.join("long")).unwrap(), long, "{name}");
        // It goes on as it came, with what makes it more than gzip or zstd.
        let push = home.images.begin_push(&name).unwrap();
        assert_eq!((&push.root.bytes, &push.root.digest), (&manifest, &digest));
        assert_eq!(push.layers[0].annotations.len(), 1);
        home.images.end_push(&push, None).unwrap();
        assert_eq!(home.images.content.read(&push.layers[0].digest, 1 << 20).unwrap(), layer);
    }
    home.check();
}

#[test]
fn other_compressions_are_refused_by_name() {
    let home = Home::new("compressions");
    for (head, want) in [(&b"BZh91AY&SY"[..], "bzip2"), (b"\xfd7zXZ\0\0", "xz")] {
        let load = home.images.load(&mut { head }).unwrap_err();
        assert!(chain(&load).contains(want), "{}", chain(&load));
        assert_eq!(load.class(), Class::Invalid);
        let import = home.import_with(head, &Import::default()).unwrap_err();
        assert!(chain(&import).contains(want), "{}", chain(&import));
    }
    home.check();
}

#[test]
fn a_compressed_archive_of_several_images_is_loaded() {
    let home = Home::new("load-compressed");
    home.import("one:1", &tar(&[("a", "1")]));
    home.import("two:1", &gzip(&tar(&[("b", "2")])));
    let mut saved = Vec::new();
    home.images.save(&["one:1", "two:1"], &mut saved).unwrap();
    let digests =
        ["one:1", "two:1"].map(|name| home.images.details(name).unwrap().descriptor.unwrap());
    for (nth, bytes) in
        [gzip(&saved), zstd::encode_all(&saved[..], 1).unwrap(), saved].into_iter().enumerate()
    {
        let other = Home::new(&format!("load-compressed-{nth}"));
        let loaded = other.images.load(&mut bytes.as_slice()).unwrap();
        assert_eq!(loaded.len(), 2);
        let found =
            ["one:1", "two:1"].map(|name| other.images.details(name).unwrap().descriptor.unwrap());
        assert_eq!(found, digests);
        other.check();
    }
}
