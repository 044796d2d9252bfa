//! Archives that want to write elsewhere. The canary must not notice, and the error names the
//! entry.

use super::*;

/// Makes entries for a canary's relative and absolute path.
type Make = fn(&str, &str) -> Vec<(Entry, &'static str)>;
/// The same for its absolute path.
type MakeSimple = fn(&str) -> Vec<(Entry, &'static str)>;

/// What is wrong, the archive, the end of the error, and whether a layer of an image may do it
/// (inside its root).
#[test]
fn what_leads_out_of_the_root_is_refused() {
    let canary = "../canary";
    let absolute = |home: &Dir| home.0.join("canary").to_str().unwrap().to_owned();
    let out = "leads out of the root";
    let cases: &[(&str, Make, &str, bool)] = &[
        ("dots", |c, _| vec![file(&format!("{c}/f"), "x")], out, false),
        ("dots inside", |_, _| vec![file("a/../../canary/f", "x")], out, false),
        ("harmless dots", |_, _| vec![file("a/../f", "x")], out, false),
        ("dots as directory", |_, _| vec![dir("..")], out, false),
        ("absolute", |_, a| vec![file(&format!("{a}/f"), "x")], "absolute name", true),
        ("link out", |c, _| vec![symlink("d", c), file("d/f", "x")], out, true),
        ("absolute link", |_, a| vec![symlink("d", a), file("d/f", "x")], out, true),
        ("link to root", |_, _| vec![symlink("d", "/"), file("d/canary/f", "x")], out, true),
        ("link up and down", |_, _| vec![symlink("d", "../root"), file("d/f", "x")], out, true),
        (
            "links in a row",
            |_, _| vec![symlink("a", "b"), symlink("b", ".."), file("a/canary/f", "x")],
            out,
            true,
        ),
        ("directory behind link", |c, _| vec![symlink("d", c), dir("d/new")], out, true),
        ("deep behind link", |c, _| vec![symlink("d", c), file("d/x/y/f", "x")], out, true),
        (
            "device behind link",
            |c, _| vec![symlink("d", c), (entry(Kind::Fifo, "d/fifo", ""), "")],
            out,
            true,
        ),
        ("link behind link", |c, _| vec![symlink("d", c), symlink("d/l", "x")], out, true),
        (
            "hard link by dots",
            |c, _| vec![hard_link("f", &format!("{c}/secret"))],
            "outside the root",
            false,
        ),
        (
            "absolute hard link",
            |_, a| vec![hard_link("f", &format!("{a}/secret"))],
            "outside the root",
            true,
        ),
        (
            "hard link behind link",
            |c, _| vec![symlink("d", c), hard_link("f", "d/secret")],
            "outside the root",
            true,
        ),
        (
            "hard link to nothing",
            |_, _| vec![hard_link("f", "none")],
            "is not in the archive",
            false,
        ),
        ("hard link to root", |_, _| vec![hard_link("f", "./")], "a directory", false),
        (
            "hard link to directory",
            |_, _| vec![dir("d"), hard_link("f", "d")],
            "a directory",
            false,
        ),
        ("root as link", |c, _| vec![symlink("./", c)], "is the root", false),
        ("root as link 2", |c, _| vec![symlink(".", c)], "is the root", false),
        ("root as link 3", |c, _| vec![symlink("/", c)], "is the root", false),
        ("root as file", |_, _| vec![file(".", "x")], "is the root", false),
        ("root as fifo", |_, _| vec![(entry(Kind::Fifo, "./", ""), "")], "is the root", false),
        ("file as parent", |_, _| vec![file("f", "x"), file("f/g", "x")], "no directory", false),
        (
            "dangling parent",
            |_, _| vec![symlink("l", "none"), file("l/g", "x")],
            "no directory",
            false,
        ),
        ("loop", |_, _| vec![symlink("l", "l"), file("l/g", "x")], "no directory", false),
        ("whiteout of dots", |_, _| vec![file(".wh...", "")], "whiteout of nothing", false),
        ("whiteout of dot", |_, _| vec![file("a/.wh..", "")], "whiteout of nothing", false),
        ("whiteout of nothing", |_, _| vec![file(".wh.", "")], "whiteout of nothing", false),
        (
            "whiteout as device",
            |_, _| vec![(entry(Kind::CharDevice, "w", ""), "")],
            "number 0:0",
            false,
        ),
    ];
    for (what, make, why, layer_may) in cases {
        for origin in [Origin::Archive, Origin::Layer] {
            let home = Dir::new("hostile");
            let bytes = archive(&make(canary, &absolute(&home)));
            match home.apply(&bytes, origin) {
                Err(error) => {
                    let error = chain(&error);
                    let fits = error.contains(why) || origin == Origin::Layer && *layer_may;
                    assert!(fits, "{what}, {origin:?}: {error}");
                    assert!(error.contains("entry \""), "{what}: {error}");
                }
                Ok(_) => assert!(origin == Origin::Layer && *layer_may, "{what}, {origin:?}"),
            }
            home.check_canary(what);
        }
    }
}

/// Entries that point out of the root, and a later one that would act on what they point to.
#[test]
fn nothing_is_followed_at_the_end() {
    let cases: &[(&str, MakeSimple)] = &[
        ("file over link", |c| vec![symlink("f", &format!("{c}/secret")), file("f", "evil")]),
        ("directory over link", |c| {
            let mut open = dir("d");
            open.0.mode = 0o777;
            vec![symlink("d", &format!("{c}/dir")), open, file("d/f", "x")]
        }),
        ("link over link", |c| vec![symlink("f", c), symlink("f", "x")]),
        ("hard link to link", |c| {
            vec![symlink("s", &format!("{c}/secret")), hard_link("h", "s"), file("h", "evil")]
        }),
        ("fifo over link", |c| vec![symlink("f", c), (entry(Kind::Fifo, "f", ""), "")]),
    ];
    for (what, make) in cases {
        for origin in [Origin::Archive, Origin::Layer] {
            let home = Dir::new("follow");
            let canary = home.0.join("canary");
            let bytes = archive(&make(canary.to_str().unwrap()));
            home.apply(&bytes, origin).unwrap_or_else(|error| panic!("{what}: {}", chain(&error)));
            home.check_canary(what);
        }
    }
}

#[test]
fn a_cut_or_corrupt_archive_is_one_clear_error() {
    let bytes = archive(&[file("first", "hello"), file("second", "world")]);
    let packed = gzip(&bytes);
    let mut corrupt = packed.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xff;
    let zstd = zstd::encode_all(bytes.as_slice(), 3).unwrap();
    let no_end = &bytes[..bytes.len() - 1024];
    for (what, bytes, want) in [
        ("cut", &bytes[..1300], "truncated: it ends after \"first\""),
        ("cut in data", &bytes[..514], "truncated: it ends in the data of \"first\""),
        ("no end mark", no_end, "truncated: it ends after \"second\""),
        ("cut gzip", &packed[..packed.len() - 9], "truncated"),
        ("cut gzip early", &packed[..12], "truncated"),
        ("corrupt gzip", &corrupt, "read the archive"),
        ("cut zstd", &zstd[..zstd.len() - 5], "truncated"),
        ("text", b"this is not an archive, it is a text that goes on", "not a tar archive"),
        ("zeros missing", &[1; 2048], "not a tar archive"),
        ("nothing", b"", "the archive is empty"),
        ("xz", b"\xfd7zXZ\0...........", "compressed with xz"),
        ("bzip2", b"BZh91AY&SY......", "compressed with bzip2"),
    ] {
        let home = Dir::new("cut");
        let error = chain(&home.apply(bytes, Origin::Archive).unwrap_err());
        assert!(error.contains(want), "{what}: {error}");
    }
    let home = Dir::new("no-end-layer");
    home.apply(no_end, Origin::Layer).unwrap();
}

#[test]
fn bombs_are_bounded() {
    let home = Dir::new("bomb");
    let limits = Limits { stream: 100_000, ratio: 5_000, files: 1 << 20 };
    let options =
        Options { origin: Origin::Archive, below: &[], whiteouts: Whiteouts::Overlay, limits };
    let zeros = "0".repeat(200_000);
    let big = Entry { size: zeros.len() as u64, ..entry(Kind::File, "zeros", "") };
    let packed = gzip(&archive(&[(big, &zeros)]));
    let error = apply(&mut packed.as_slice(), &home.root(), &options).unwrap_err();
    assert!(chain(&error).contains("more than 100000 bytes"), "{}", chain(&error));

    let error = home.apply(&sparse_bomb(), Origin::Archive).unwrap_err();
    assert!(chain(&error).contains("more than"), "{}", chain(&error));
}

/// A sparse file of 2^62 bytes without any data.
fn sparse_bomb() -> Vec<u8> {
    let record = |key: &str, value: &str| {
        let rest = key.len() + value.len() + 3;
        let len = rest + 2;
        assert_eq!(len.to_string().len(), 2);
        format!("{len} {key}={value}\n")
    };
    let records = record("GNU.sparse.size", "4611686018427387904")
        + &record("GNU.sparse.map", "4611686018427387904,0");
    let header = |kind: u8, size: usize| {
        let mut block = archive(&[file("bomb", "")])[..512].to_vec();
        block[156] = kind;
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    };
    let mut data = records.clone().into_bytes();
    data.resize(512, 0);
    [header(b'x', records.len()), data, header(b'0', 0), vec![0; 1024]].concat()
}

#[test]
fn deep_and_long_names_are_errors_or_files() {
    let home = Dir::new("deep");
    let deep = "d/".repeat(1500) + "f";
    home.apply(&archive(&[file(&deep, "x")]), Origin::Archive).unwrap();
    for len in [256, 4000] {
        let error = home.apply(&archive(&[file(&"n".repeat(len), "x")]), Origin::Archive);
        let error = chain(&error.unwrap_err());
        assert!(error.len() < 400 && error.contains("File name too long"), "{error}");
    }
    let error = home.apply(&archive(&[file(&"n/".repeat(3000), "x")]), Origin::Archive);
    assert!(chain(&error.unwrap_err()).contains("larger than the 4096"));
}

#[test]
fn attributes_of_overlayfs_are_left_out() {
    let home = Dir::new("smuggled");
    let mut evil = dir("d");
    evil.0.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    evil.0.xattrs.insert(b"user.overlay.redirect".to_vec(), b"/".to_vec());
    home.apply(&archive(&[evil]), Origin::Layer).unwrap();
    let mut value = [0; 9];
    let path = home.root().join("d");
    for name in ["trusted.overlay.opaque", "user.overlay.redirect"] {
        assert!(rustix::fs::getxattr(&path, name, &mut value[..]).is_err(), "{name}");
    }
    for len in [0, 256, 65_536] {
        let mut odd = dir("e");
        let name = [b"user.".to_vec(), vec![b'x'; len]].concat();
        odd.0.xattrs.insert(name, b"v".to_vec());
        // An error that names the entry, or a disk without attributes.
        if let Err(error) = home.apply(&archive(&[odd]), Origin::Layer) {
            assert!(chain(&error).contains("entry \"e\""), "{}", chain(&error));
        }
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    /// Names that meet each other often, some of which lead out.
    fn name() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            8 => Just("a"), 8 => Just("b"), 4 => Just("c"), 2 => Just(".."), 1 => Just("."),
            2 => Just("canary"), 2 => Just("secret"), 1 => Just(".wh.a"), 1 => Just(".wh..wh..opq"),
            1 => Just("dir"), 1 => Just("root"),
        ];
        (any::<bool>(), prop::collection::vec(part, 1..4), 0u8..6).prop_map(
            |(slash, parts, prefix)| {
                let end = if slash { "/" } else { "" };
                let start = match prefix {
                    0 => "/",
                    1 => "./",
                    2 => "CANARY/",
                    _ => "",
                };
                format!("{start}{}{end}", parts.join("/"))
            },
        )
    }

    fn any_entry() -> impl Strategy<Value = (Kind, String, String)> {
        let kind = prop_oneof![
            3 => Just(Kind::File), 3 => Just(Kind::Directory), 4 => Just(Kind::Symlink),
            3 => Just(Kind::HardLink), 1 => Just(Kind::Fifo), 1 => Just(Kind::CharDevice),
        ];
        (kind, name(), name())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever an archive holds, nothing outside of the root changes. (In a real root there
        /// would be no `canary` beside it; here links find it.)
        #[test]
        fn nothing_outside_changes(
            entries in prop::collection::vec(any_entry(), 1..14),
            is_layer in any::<bool>(),
            is_overlay in any::<bool>(),
        ) {
            let home = Dir::new("random");
            let canary = home.0.join("canary").to_str().unwrap().to_owned();
            let entries: Vec<_> = entries
                .iter()
                .map(|(kind, path, link)| {
                    let [path, link] = [path, link].map(|text| text.replace("CANARY", &canary));
                    let size = if *kind == Kind::File { 4 } else { 0 };
                    let made = Entry { size, mode: 0o777, uid: 9, ..entry(*kind, &path, &link) };
                    (made, "evil")
                })
                .collect();
            let origin = if is_layer { Origin::Layer } else { Origin::Archive };
            let below = [home.root()];
            let options = Options {
                origin,
                below: if is_layer { &below } else { &[] },
                whiteouts: if is_overlay { Whiteouts::Overlay } else { Whiteouts::Files },
                limits: Limits::default(),
            };
            let applied = apply(&mut archive(&entries).as_slice(), &home.root(), &options);
            home.check_canary("random");
            if applied.is_ok() && !is_overlay {
                // What was unpacked can always be laid over something.
                let below = Dir::new("random-below");
                fs::create_dir(below.root().join("a")).unwrap();
                std::os::unix::fs::symlink("../canary", below.root().join("b")).unwrap();
                tree::merge(&home.root(), &below.root()).unwrap();
                below.check_canary("random");
                home.check_canary("random");
            }
        }
    }
}
