//! The published attacks on what unpacks images, tried on us: `docs/security-images.md`. Each test makes
//! the attack and passes when it fails: a canary beside the store does not notice.

use std::os::unix::fs::PermissionsExt as _;

use testkit::{Catalogue, catalogue, differences};

use super::layers::layout;
use super::pull::Remote;
use super::*;

/// What attacks want to get at, in the root's folder.
struct Canary {
    path: PathBuf,
    before: Catalogue,
}

impl Canary {
    fn new(home: &Home) -> Self {
        let path = home.path.join("canary");
        fs::create_dir_all(path.join("dir")).unwrap();
        fs::write(path.join("secret"), "secret").unwrap();
        fs::set_permissions(path.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let before = catalogue(&path);
        Self { path, before }
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let found = differences(&self.before, &catalogue(&self.path));
        assert!(found.is_empty(), "{what}: {}", found.join("\n"));
    }
}

type Given = (Entry, &'static str);

fn entry(kind: Kind, path: &str, link: &str) -> Given {
    let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
    (Entry { path: path.into(), kind, link: link.into(), mode, ..Entry::default() }, "")
}

fn dir(path: &str) -> Given {
    entry(Kind::Directory, path, "")
}

fn file(path: &str) -> Given {
    let (one, data) = (entry(Kind::File, path, "").0, "evil");
    (Entry { size: data.len() as u64, mode: 0o4777, uid: 9, ..one }, data)
}

fn symlink(path: &str, target: &str) -> Given {
    entry(Kind::Symlink, path, target)
}

fn hard_link(path: &str, target: &str) -> Given {
    entry(Kind::HardLink, path, target)
}

fn open_dir(path: &str) -> Given {
    (Entry { mode: 0o777, uid: 9, ..dir(path).0 }, "")
}

fn layer(entries: &[Given]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.append(entry, &mut data.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

/// Layers of one image, lowest first.
type Layers = Vec<Vec<Given>>;

/// Attacks by a layer's links, names and types, with the ways to say where the canary is.
fn corpus(canary: &Path) -> Vec<(&'static str, Layers)> {
    let absolute = canary.to_str().unwrap();
    let mut all: Vec<(&'static str, Layers)> = Vec::new();
    // From snapshots/new/NAME/fs, and from other depths.
    let up = format!("{}canary", "../".repeat(4));
    for at in [absolute, &up, "../canary", "../../../../../../canary"] {
        let secret = format!("{at}/secret");
        all.extend([
            ("a name", vec![vec![file(&format!("{at}/new"))]]),
            ("dots inside", vec![vec![file(&format!("a/../{at}/new"))]]),
            ("a link on the way", vec![vec![symlink("d", at), file("d/new"), open_dir("d/dir")]]),
            ("a link in another layer", vec![vec![symlink("d", at)], vec![file("d/new")]]),
            ("a link below a link", vec![vec![symlink("d", at), symlink("d/l", "x")]]),
            ("links in a row", vec![vec![symlink("a", "b"), symlink("b", at), file("a/new")]]),
            ("over a link", vec![vec![symlink("f", &secret), file("f")]]),
            ("over a link below", vec![vec![symlink("f", &secret)], vec![file("f")]]),
            ("a hard link", vec![vec![hard_link("h", &secret), file("h")]]),
            (
                "a hard link to a link",
                vec![vec![symlink("s", &secret), hard_link("h", "s"), file("h")]],
            ),
            ("a hard link behind a link", vec![vec![symlink("d", at), hard_link("h", "d/secret")]]),
            (
                "a hard link in two layers",
                vec![vec![symlink("d", at)], vec![hard_link("h", "d/secret")]],
            ),
            ("a directory over a link", vec![vec![symlink("d", at), open_dir("d"), file("d/new")]]),
            (
                "one over a link to a directory",
                vec![vec![symlink("d", &format!("{at}/dir")), open_dir("d")]],
            ),
            (
                "one over a link below",
                vec![vec![symlink("d", at)], vec![open_dir("d"), file("d/new")]],
            ),
            (
                "deep behind a link",
                vec![vec![symlink("d", at), file("d/new/er/f"), open_dir("d/x")]],
            ),
            ("a fifo behind a link", vec![vec![symlink("d", at), entry(Kind::Fifo, "d/p", "")]]),
            ("the root as a link", vec![vec![symlink("./", at), file("new")]]),
            ("the root as a link 2", vec![vec![symlink(".", at), file("new")]]),
            ("the root as a link 3", vec![vec![symlink("/", at), file("new")]]),
            (
                "a whiteout behind a link",
                vec![vec![dir("a")], vec![symlink("d", at), file("d/.wh.secret")]],
            ),
            ("one in two layers", vec![vec![symlink("d", at)], vec![file("d/.wh.secret")]]),
            (
                "an opaque mark behind a link",
                vec![vec![symlink("d", at)], vec![file("d/.wh..wh..opq")]],
            ),
            (
                "a whiteout of what is above",
                vec![vec![dir("a")], vec![file("a/.wh..."), file(".wh...")]],
            ),
            ("a whiteout of dots", vec![vec![dir("a")], vec![file("a/.wh.../b"), file("a/.wh..")]]),
            (
                "a long whiteout that is forged",
                vec![vec![dir("a")], vec![file(".wh..wh..long.x"), file(".wh.a")]],
            ),
        ]);
    }
    all
}

/// The whole corpus, by a way into the store. Whatever comes of it, the canary is as it was, and no
/// record names what is not there.
fn attack(driver: Driver, name: &str, way: fn(&Home, &[Vec<u8>])) {
    testkit::needs!(Root);
    let home = Home::on(&format!("security-{name}-{driver}"), driver);
    let canary = Canary::new(&home);
    for (what, layers) in corpus(&canary.path) {
        let layers: Vec<_> = layers.iter().map(|entries| layer(entries)).collect();
        way(&home, &layers);
        canary.check(what);
        // What was loaded can be run on, and goes again.
        if let Ok(image) = home.images.resolve("many:1") {
            let key = "one".parse().unwrap();
            home.images.snapshots.prepare(&key, &image.chain).unwrap();
            canary.check(what);
            home.images.snapshots.remove(&key).unwrap();
            home.images.remove("many:1", true, &|_| false).unwrap();
            canary.check(what);
        }
    }
    home.images.sweep().unwrap();
    // Layers of a pull that failed are held for a while: what is there is whole.
    super::crash::nothing_is_wrong(&home.images, name);
    canary.check("in the end");
}

fn by_load(home: &Home, layers: &[Vec<u8>]) {
    let _refused = home.images.load(&mut layout(layers).as_slice());
}

#[test]
fn e01_links_in_layers_lead_nowhere() {
    attack(Driver::Overlay, "load", by_load);
}

#[test]
fn e01_links_in_layers_lead_nowhere_in_whole_trees() {
    attack(Driver::Copy, "load", by_load);
}

#[test]
fn e02_an_imported_archive_leads_nowhere() {
    attack(Driver::Overlay, "import", |home, layers| {
        let import = Import { reference: "many:1".parse().ok(), ..Import::default() };
        for layer in layers {
            let _refused = home.import_with(layer, &import);
        }
    });
}

#[test]
fn e07_a_pulled_layer_leads_nowhere() {
    attack(Driver::Overlay, "pull", |home, layers| {
        let _refused = Remote::of(layers.to_vec()).pull_into(&home.images, "many:1");
    });
}

#[test]
fn e03_no_program_decompresses() {
    let home = Home::new("security-xz");
    for (start, name) in [(&b"\xfd7zXZ\0"[..], "xz"), (b"BZh9", "bzip2"), (b"]\0\0\x80\0", "lzma")]
    {
        let mut bytes = start.to_vec();
        bytes.resize(2000, 7);
        let error = home.images.load(&mut layout(&[bytes.clone()]).as_slice()).unwrap_err();
        assert!(chain(&error).contains(&format!("compressed with {name}")), "{}", chain(&error));
        let error = home.images.load(&mut bytes.as_slice()).unwrap_err();
        assert!(chain(&error).contains(&format!("compressed with {name}")), "{}", chain(&error));
    }
    home.images.sweep().unwrap();
    home.check();
}

/// A layout whose descriptors have this digest in one place.
fn with_digest(place: &str, digest: &str) -> Vec<u8> {
    let good = layout(&[tar(&[("a", "x")])]);
    let mut reader = tarstream::Reader::new(good.as_slice());
    let mut files = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = vec![0; entry.size as usize];
        let mut n_read = 0;
        while n_read < data.len() {
            n_read += reader.read_data(&mut data[n_read..]).unwrap();
        }
        files.push((String::from_utf8(entry.path).unwrap(), String::from_utf8(data).unwrap()));
    }
    // The document is another one then: all that name it are told.
    let replace = |text: &str, from: &str| text.replacen(from, digest, 1);
    let at = |text: &str| {
        let start = text.find("sha256:").unwrap();
        text[start..start + 71].to_owned()
    };
    let is = |data: &str, what: &str| match what {
        "index" => data.contains("\"manifests\""),
        "config" => data.contains("diff_ids"),
        _ => data.contains("\"layers\":"),
    };
    let (document, key) = place.split_once('.').unwrap_or((place, ""));
    for (path, data) in &mut files {
        if !is(data, document) {
            continue;
        }
        let from = data.find(key).map_or(0, |start| start + key.len());
        let changed = format!("{}{}", &data[..from], replace(&data[from..], &at(&data[from..])));
        let (old, new) = (Digest::sha256(data.as_bytes()), Digest::sha256(changed.as_bytes()));
        *path = path.replace(old.hex(), new.hex());
        *data = changed;
    }
    let files: Vec<_> = files.iter().map(|(path, data)| (path.as_str(), data.as_str())).collect();
    tar(&files)
}

#[test]
fn e04_what_is_no_digest_is_refused() {
    let home = Home::new("security-digests");
    let canary = Canary::new(&home);
    let odd = [
        "sha256:../../../canary/secret",
        "sha256:../../canary/secret",
        "../../canary",
        "/etc/passwd",
        "sha256:",
        "sha256:abc",
        "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85g",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855ff",
        "",
    ];
    for place in ["index", "manifest", "manifest.\"layers\"", "config"] {
        for digest in odd {
            let error = home.images.load(&mut with_digest(place, digest).as_slice());
            let error = chain(&error.unwrap_err());
            assert!(!error.contains("canary/secret\": "), "{place} {digest}: {error}");
            canary.check(digest);
        }
    }
    home.images.sweep().unwrap();
    home.check();
    assert!(home.list(&[]).is_empty());
}

#[test]
fn e05_no_mode_is_changed_behind_a_link() {
    // Parts of the corpus, by name, so that they are not lost from it.
    let home = Home::new("security-modes");
    let canary = Canary::new(&home);
    let at = canary.path.to_str().unwrap();
    for entries in [
        vec![symlink("f", &format!("{at}/secret")), file("f")],
        vec![symlink("d", &format!("{at}/dir")), open_dir("d")],
        vec![hard_link("f", &format!("{at}/secret")), file("f")],
        vec![symlink("d", at), open_dir("d/dir")],
        vec![symlink("d", at), dir("x"), symlink("x", at), open_dir("x/dir")],
    ] {
        by_load(&home, &[layer(&entries)]);
        canary.check(&format!("{entries:?}"));
    }
}

#[test]
fn e06_the_root_is_a_directory() {
    let home = Home::new("security-root");
    let canary = Canary::new(&home);
    for name in ["./", ".", "/", "//", "././"] {
        for kind in [Kind::Symlink, Kind::File, Kind::Fifo, Kind::CharDevice, Kind::HardLink] {
            let mut one = entry(kind, name, canary.path.to_str().unwrap());
            one.0.device = (1, 3);
            let bytes = layout(&[layer(&[one, file("new")])]);
            let error = chain(&home.images.load(&mut bytes.as_slice()).unwrap_err());
            assert!(
                error.contains("is the root") || error.contains("hard link"),
                "{name}: {error}"
            );
            canary.check(name);
        }
    }
    // No name at all.
    let mut bytes = layer(&[file("x")]);
    bytes[0] = 0;
    let sum: u32 = bytes[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| match at {
            148..156 => 32,
            _ => u32::from(*byte),
        })
        .sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let error = chain(&home.images.load(&mut layout(&[bytes]).as_slice()).unwrap_err());
    assert!(error.contains("has no name"), "{error}");
}

#[test]
fn e09_links_in_an_archive_of_images_are_no_documents() {
    let home = Home::new("security-layout");
    let canary = Canary::new(&home);
    fs::write(canary.path.join("secret"), "{}").unwrap();
    let canary = Canary { before: catalogue(&canary.path), ..canary };
    let secret = canary.path.join("secret");
    for kind in [Kind::Symlink, Kind::HardLink] {
        for name in ["index.json", "manifest.json", "oci-layout", "blobs/sha256/x"] {
            let (link, _) = entry(kind, name, secret.to_str().unwrap());
            let mut writer = Writer::new(Vec::new());
            writer.append(&link, &mut std::io::empty()).unwrap();
            let error = home.images.load(&mut writer.finish().unwrap().as_slice());
            let error = chain(&error.unwrap_err());
            assert!(!error.contains("no image for"), "{name} was read: {error}");
            canary.check(name);
        }
    }
    // Names of files and attributes without end are errors, and the next load works.
    for len in [256, 4097, 65_536] {
        let name = "n".repeat(len);
        by_load(&home, &[layer(&[file(&name)])]);
        let mut one = file("f");
        one.0.xattrs.insert([b"user.", name.as_bytes()].concat(), b"v".to_vec());
        by_load(&home, &[layer(&[one])]);
        let mut one = file("f");
        one.0.xattrs.insert(b"user.v".to_vec(), vec![7; len * 4]);
        by_load(&home, &[layer(&[one])]);
    }
    home.images.load(&mut layout(&[layer(&[file("f")])]).as_slice()).unwrap();
    home.images.sweep().unwrap();
    home.check();
}

#[test]
fn e16_attributes_that_hide_are_not_taken() {
    testkit::needs!(Root);
    let home = Home::new("security-attributes");
    let mut one = dir("d");
    for name in ["opaque", "redirect", "metacopy", "whiteout", "origin"] {
        one.0.xattrs.insert(format!("trusted.overlay.{name}").into_bytes(), b"y".to_vec());
        one.0.xattrs.insert(format!("user.overlay.{name}").into_bytes(), b"y".to_vec());
    }
    one.0.xattrs.insert(b"trusted.overlay.overlay.opaque".to_vec(), b"y".to_vec());
    let lower = layer(&[dir("d"), file("d/stays")]);
    home.images.load(&mut layout(&[lower, layer(&[one])]).as_slice()).unwrap();
    let image = home.images.resolve("many:1").unwrap();
    let top = &home.images.snapshots.layer_paths(&image.chain)[1];
    let found = catalogue(top);
    assert!(found[Path::new("d")].xattrs.is_empty(), "{}", found[Path::new("d")]);
    let null = entry(Kind::CharDevice, "hidden", "");
    let error = home.images.load(&mut layout(&[layer(&[null])]).as_slice()).unwrap_err();
    assert!(chain(&error).contains("number 0:0"), "{}", chain(&error));
}

/// So many files, directories and attributes that whoever kept them would need more memory than this.
const MOST_MEMORY: u64 = 256 << 20;

/// The child half of the next test.
#[test]
fn child_that_loads_a_bomb() {
    let Some(root) = std::env::var_os("DHOW_TEST_BOMB") else { return };
    let root = PathBuf::from(root);
    let images = open(&root, &[]);
    let archive = fs::read(root.join("bomb")).unwrap();
    let _loaded = images.load(&mut archive.as_slice());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    fs::write(root.join("peak"), (peak << 10).to_string()).unwrap();
}

/// Names of 255 bytes, 15 deep.
fn deep(n: usize) -> String {
    let part =
        |level: usize| format!("{n:04}{}", char::from(b'a' + level as u8).to_string().repeat(251));
    (0..15).map(part).collect::<Vec<_>>().join("/")
}

#[test]
fn e17_a_bomb_needs_little_memory() {
    testkit::needs!(Root);
    let mut sparse = layer(&[file("sparse")]);
    // Ten terabytes of nothing, in the old GNU way.
    sparse[257..265].copy_from_slice(b"ustar  \0");
    sparse[156] = b'S';
    sparse[124..136].copy_from_slice(b"00000000000\0");
    sparse.drain(512..1024);
    sparse[386..398].copy_from_slice(b"\x80\0\0\0\0\0\x0a\0\0\0\0\0");
    sparse[398..410].copy_from_slice(b"00000000000\0");
    sparse[483..495].copy_from_slice(b"\x80\0\0\0\0\0\x0a\0\0\0\0\0");
    sparse[345..386].fill(0);
    seal(&mut sparse[..512]);
    let bombs: Vec<(&str, Vec<u8>)> = vec![
        ("files", gzip(&layer(&(0..10_000).map(|n| file(&format!("f{n}"))).collect::<Vec<_>>()))),
        ("directories", gzip(&layer(&(0..300).map(|n| dir(&deep(n))).collect::<Vec<_>>()))),
        ("attributes", {
            let mut one = file("f");
            one.0.xattrs =
                (0..200).map(|n| (format!("user.{n}").into_bytes(), vec![b'v'; 5000])).collect();
            gzip(&layer(&vec![one; 100]))
        }),
        ("sparse", sparse),
    ];
    for (what, bytes) in bombs {
        let home = Home::new(&format!("security-bomb-{what}"));
        fs::write(home.path.join("bomb"), layout(&[bytes])).unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::security::child_that_loads_a_bomb"])
            .env("DHOW_TEST_BOMB", &home.path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{what}: {output:?}");
        let peak: u64 = fs::read_to_string(home.path.join("peak")).unwrap().parse().unwrap();
        assert!(peak < MOST_MEMORY, "{what}: {} MiB", peak >> 20);
        home.images.sweep().unwrap();
        home.check();
    }
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn e19_broken_streams_hold_nothing_up() {
    let home = Home::new("security-streams");
    let good = layer(&[file("a"), file("b")]);
    let packed = gzip(&good);
    for cut in [1, 5, 11, packed.len() / 2, packed.len() - 1] {
        assert!(home.images.load(&mut layout(&[packed[..cut].to_vec()]).as_slice()).is_err());
        let mut corrupt = packed.clone();
        corrupt[cut] ^= 0x55;
        // Some bits of a header say nothing that matters.
        by_load(&home, &[corrupt]);
        let _gone = home.images.remove("many:1", true, &|_| false);
    }
    for cut in [3, 700, good.len() / 2] {
        assert!(
            home.images.load(&mut layout(&[good[..cut].to_vec()]).as_slice()).is_err(),
            "{cut}"
        );
    }
    home.images.load(&mut layout(&[good]).as_slice()).unwrap();
    home.images.sweep().unwrap();
    home.check();
}

#[test]
fn e24_an_image_that_says_little_has_a_history() {
    let home = Home::new("security-history");
    let bytes = layer(&[file("a")]);
    let diff = Digest::sha256(&bytes);
    let rootfs = format!(r#""rootfs":{{"type":"layers","diff_ids":["{diff}"]}}"#);
    for config in [
        format!("{{{rootfs}}}"),
        format!(r#"{{{rootfs},"history":null}}"#),
        format!(r#"{{{rootfs},"history":[{{}}]}}"#),
        format!(r#"{{{rootfs},"history":[{{}},{{}},{{"empty_layer":true}},{{}}]}}"#),
        format!(r#"{{{rootfs},"created":"never","config":null}}"#),
        format!(r#"{{{rootfs},"created":"","config":{{"Env":null,"Labels":null}}}}"#),
    ] {
        let list = r#"[{"Config":"c","RepoTags":["many:1"],"Layers":["l"]}]"#;
        let text = std::str::from_utf8(&bytes).unwrap();
        let archive = tar(&[("manifest.json", list), ("c", &config), ("l", text)]);
        match home.images.load(&mut archive.as_slice()) {
            Ok(_) => {
                home.images.history("many:1").unwrap();
                home.images.remove("many:1", true, &|_| false).unwrap();
            }
            Err(error) => assert_eq!(error.class(), Class::Invalid, "{config}: {}", chain(&error)),
        }
    }
    home.images.sweep().unwrap();
    home.check();
}

/// A header, and zeros without end.
struct Endless {
    head: std::io::Cursor<Vec<u8>>,
    n_read: u64,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut n_read = self.head.read(buffer)?;
        if n_read == 0 {
            buffer.fill(b' ');
            n_read = buffer.len();
        }
        self.n_read += n_read as u64;
        Ok(n_read)
    }
}

#[test]
fn e25_documents_have_an_end() {
    let home = Home::new("security-endless");
    for name in ["index.json", "manifest.json", "oci-layout", "repositories"] {
        let mut head = layer(&[(entry(Kind::File, name, "").0, "")])[..512].to_vec();
        // Eight GiB, less one byte.
        head[124..136].copy_from_slice(b"77777777777\0");
        seal(&mut head);
        let mut endless = Endless { head: std::io::Cursor::new(head), n_read: 0 };
        let error = home.images.load(&mut endless).unwrap_err();
        assert!(endless.n_read < 64 << 20, "{name}: {} bytes; {}", endless.n_read, chain(&error));
    }
    home.images.sweep().unwrap();
    home.check();
}

#[test]
fn e26_what_fails_leaves_no_descriptor() {
    let home = Home::new("security-descriptors");
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let bad = [
        layer(&[file("../x")]),
        layer(&[symlink("d", "/"), file("d/../../x")]),
        gzip(&layer(&[file("a")]))[..20].to_vec(),
        b"\xfd7zXZ\0".to_vec(),
        vec![1; 600],
    ];
    let attack = || {
        for bytes in &bad {
            let bytes = layout(&[layer(&[file("good")]), bytes.clone()]);
            assert!(home.images.load(&mut bytes.as_slice()).is_err());
        }
    };
    attack();
    let before = count("fd");
    for _ in 0..40 {
        attack();
    }
    assert_eq!(count("fd"), before, "descriptors");
    home.images.sweep().unwrap();
    home.check();
}
