//! Archives of all kinds. What comes of them is what buildx 0.29 with dockerd 28.5 makes of them.

use std::io::Write as _;

use buildgraph::{Identity, Owner};
use tarstream::{Entry, Kind, Writer};

use super::*;

fn add(source: &str, destination: &str) -> Copy {
    Copy { unpack: true, ..like_copy(source, destination) }
}

const ARCHIVE: &str = "
    mkdir -p in/d/e; echo x >in/d/f; ln in/d/f in/d/h; ln -s f in/d/l; chown 3:4 in/d; chmod 700 in/d
    chmod 4755 in/d/f; chmod 711 in; setfattr -n user.k -v v in/d/f; touch -d @1000 in/d/f in/d in
    tar -C in --xattrs -cf a.tar .; rm -r in
";
const UNPACKED: &str =
    "d 700 3:4 d\nd 755 0:0 d/e\nf 4755 0:0 d/f\nf 4755 0:0 d/h\nl 777 0:0 d/l f\n";

#[test]
fn whatever_their_compression() {
    let from = format!(
        "{ARCHIVE} gzip -k a.tar; bzip2 -k a.tar; xz -k a.tar; zstd -q a.tar
         xz -k --check=sha256 --block-size=512 --suffix=.blocks a.tar
         head -c 1024 a.tar | bzip2 >two.bz2; tail -c +1025 a.tar | bzip2 >>two.bz2
         head -c 1024 a.tar | xz >two.xz; tail -c +1025 a.tar | xz >>two.xz"
    );
    let trees = Trees::with("compressions", &from, "");
    for archive in [
        "a.tar",
        "a.tar.gz",
        "a.tar.bz2",
        "a.tar.xz",
        "a.tar.zst",
        "a.tar.blocks",
        "two.bz2",
        "two.xz",
    ] {
        trees.copy(add(archive, "/x")).unwrap();
        assert_eq!(list(&trees.to().join("x")), UNPACKED, "{archive}");
        let look = "stat -c '%a %U %Y' x x/d/f; stat -c '%h %Y' x/d/h; getfattr --only-values -n user.k x/d/h";
        // What the archive says of its root is not said of the destination.
        let want = "755 root 1700000000\n4755 root 1000\n2 1000\nv";
        assert_eq!(sh(&trees.to(), look), want, "{archive}");
        sh(&trees.to(), "rm -r x");
    }
}

#[test]
fn what_is_none_is_copied() {
    let from = format!(
        "{ARCHIVE} echo no >plain; gzip -k plain; bzip2 -k plain; xz -k plain; : >empty; truncate -s 10240 zeros
         head -c 700 a.tar >short; printf BZh9junk >junk.bz2; printf '\\3757zXZ\\0junk' >junk.xz
         printf '\\037\\213junk' >junk.gz; xz -k --format=lzma a.tar; mkdir dir; tar -C dir -cf dir/x.tar ."
    );
    let trees = Trees::with("none", &from, "");
    for plain in [
        "plain",
        "plain.gz",
        "plain.bz2",
        "plain.xz",
        "empty",
        "zeros",
        "junk.bz2",
        "junk.xz",
        "junk.gz",
        "a.tar.lzma",
    ] {
        trees.copy(add(plain, "/p/")).unwrap();
        sh(&trees.0, &format!("cmp from/{plain} to/p/{plain}"));
    }
    // An archive in a directory is no archive that was asked for.
    trees.copy(add("dir", "/d/")).unwrap();
    assert!(trees.to().join("d/x.tar").is_file());
    trees.copy(like_copy("a.tar", "/c/")).unwrap();
    assert!(trees.to().join("c/a.tar").is_file());
}

#[test]
fn what_is_in_the_way_and_who_owns_it() {
    let cases = [
        ("mkdir -m 700 n; touch n/x", "/n", "d 700 0:0 n\n*f 644 0:0 n/x\n"),
        ("touch n", "/n", "mkdir /n: Not a directory (os error 20)"),
        ("mkdir n real; ln -s ../real n/d", "/n", "d 755 0:0 n\n*d 755 0:0 real\n"),
        ("mkdir n; touch n/d", "/n/", "d 755 0:0 n\n*"),
        ("mkdir -p n/d/f/g", "/n/", "d 755 0:0 n\n*"),
        ("ln -s n m", "/m", "l 777 0:0 m n\nd 755 0:0 n\n*"),
    ];
    for (n, (to, destination, want)) in cases.into_iter().enumerate() {
        let trees = Trees::with(&format!("way-{n}"), ARCHIVE, to);
        let got =
            trees.copy(add("a.tar", destination)).map_or_else(|error| error, |()| trees.list());
        let below: String = UNPACKED
            .lines()
            .map(|line| {
                let mut fields = line.splitn(4, ' ');
                let mut next = || fields.next().unwrap();
                format!("{} {} {} n/{}\n", next(), next(), next(), next())
            })
            .collect();
        assert_eq!(got, want.replace('*', &below), "{to}");
    }
    let owner = Some(Owner { user: Some(Identity::Id(5)), group: Some(Identity::Id(6)) });
    let trees = Trees::with("owned", ARCHIVE, "");
    trees.copy(Copy { owner, ..add("a.tar", "/o") }).unwrap();
    assert_eq!(
        sh(&trees.to(), "find o -printf '%U:%G\n' | sort -u; stat -c %a o/d/f"),
        "5:6\n4755\n"
    );
}

fn entry(kind: Kind, path: &str, link: &str) -> Entry {
    let (path, link) = (path.as_bytes().to_vec(), link.as_bytes().to_vec());
    let size = if kind == Kind::File { 4 } else { 0 };
    Entry { path, kind, link, mode: 0o644, size, ..Entry::default() }
}

fn write(path: &Path, entries: &[Entry]) {
    let mut writer = Writer::new(Vec::new());
    for entry in entries {
        writer.append(entry, &mut &b"dead"[..]).unwrap();
    }
    fs::File::create(path).unwrap().write_all(&writer.finish().unwrap()).unwrap();
}

/// Rows E01, E02, H21: whatever an archive says, and whatever links are where it goes.
#[test]
fn nothing_leads_out() {
    let trees =
        Trees::with("archives-out", "", "mkdir -p n etc; echo mine >etc/passwd; ln -s /etc n/in");
    sh(&trees.to(), "ln -s \"$(cd ..; pwd)\" n/out; ln -s ../.. n/up");
    let file = |path: &str| entry(Kind::File, path, "");
    let link = |path: &str, target: &str| entry(Kind::Symlink, path, target);
    let hard = |path: &str, target: &str| entry(Kind::HardLink, path, target);
    let outside = trees.0.join("canary").display().to_string();
    for entries in [
        vec![file("../canary")],
        vec![file("../../../canary")],
        vec![file("out/canary"), file("up/canary"), file("up/../canary")],
        vec![link("l", "../.."), file("l/canary")],
        vec![link("l", &trees.0.display().to_string()), file("l/canary")],
        vec![hard("h", "../../canary"), file("h")],
        vec![hard("h", &outside), file("h")],
        vec![hard("h", "up/canary"), file("h")],
        vec![link("l", "/etc/passwd"), file("l")],
        vec![file("in/passwd")],
    ] {
        write(&trees.from().join("a.tar"), &entries);
        _ = trees.copy(add("a.tar", "/n/"));
        assert_eq!(fs::read_to_string(trees.to().join("etc/passwd")).unwrap(), "mine\n");
        assert_eq!(fs::read_to_string(trees.0.join("canary")).unwrap(), "sings");
    }
}

#[test]
fn bombs_and_broken_ones_end() {
    let trees = Trees::with(
        "bombs",
        "mkdir in; head -c 3M /dev/urandom >in/f; tar -C in -cf a.tar f
         for c in gzip bzip2 xz; do $c -k a.tar; done
         for c in gz bz2 xz; do head -c 2M a.tar.$c >cut.$c; done
         xz -k --lzma2=dict=1GiB --suffix=.wide a.tar",
        "",
    );
    for cut in ["cut.gz", "cut.bz2", "cut.xz"] {
        let result = trees.copy(add(cut, "/n"));
        let is_copied = trees.to().join("n").is_file();
        assert!(
            is_copied || result.is_err_and(|error| error.starts_with("failed to unpack /cut")),
            "{cut}"
        );
        sh(&trees.to(), "rm -r n");
    }
    // What wants more memory than we give is no archive to us.
    trees.copy(add("a.tar.wide", "/w")).unwrap();
    assert!(trees.to().join("w").is_file());
}
