use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;

mod hostile;

/// All entries of an archive with their data, sparse files filled in.
fn read_all(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    read_with(archive, Limits::default())
}

fn read_with(archive: &[u8], limits: Limits) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut reader = Reader::with_limits(archive, limits);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        let mut buffer = [0; 700];
        loop {
            match reader.read_data(&mut buffer)? {
                0 => break,
                n_read => data.extend_from_slice(&buffer[..n_read]),
            }
        }
        if let Some(map) = &entry.sparse {
            let mut whole = vec![0; entry.size as usize];
            let mut rest = data.as_slice();
            for piece in map {
                let (now, later) = rest.split_at(piece.len as usize);
                whole[piece.offset as usize..][..now.len()].copy_from_slice(now);
                rest = later;
            }
            data = whole;
        }
        all.push((entry, data));
    }
    Ok(all)
}

fn write_all(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.append(entry, &mut data.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

fn file(path: &str, data: &[u8]) -> (Entry, Vec<u8>) {
    let entry =
        Entry { path: path.into(), size: data.len() as u64, mode: 0o644, ..Entry::default() };
    (entry, data.to_vec())
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-tar-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("in")).unwrap();
        Self(path)
    }

    /// What GNU tar makes of the folder `in`.
    fn tar(&self, options: &[&str]) -> Vec<u8> {
        let run = Command::new("tar")
            .args(["-c", "-C"])
            .arg(self.0.join("in"))
            .args(options)
            .args(["--sort=name", "."])
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        run.stdout
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn find<'a>(all: &'a [(Entry, Vec<u8>)], path: &str) -> &'a (Entry, Vec<u8>) {
    all.iter().find(|(entry, _)| entry.path == path.as_bytes()).unwrap_or_else(|| {
        panic!(
            "{path} not in {:?}",
            all.iter().map(|(e, _)| Name(e.path.clone())).collect::<Vec<_>>()
        )
    })
}

#[test]
fn gnu_tars_formats_say_the_same() {
    let dir = Dir::new("formats");
    let root = dir.0.join("in");
    let deep = format!("{}/{}", "d".repeat(90), "e".repeat(100));
    fs::create_dir_all(root.join(&deep)).unwrap();
    fs::write(root.join(&deep).join("f".repeat(80)), "deep").unwrap();
    fs::write(root.join("plain"), "x".repeat(1000)).unwrap();
    fs::hard_link(root.join("plain"), root.join("second")).unwrap();
    std::os::unix::fs::symlink("l".repeat(150), root.join("link")).unwrap();
    Command::new("mkfifo").arg(root.join("fifo")).status().unwrap();
    let weird = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe\n");
    fs::write(root.join(weird), "").unwrap();
    for format in ["gnu", "posix", "oldgnu"] {
        let all = read_all(&dir.tar(&["--format", format])).unwrap();
        let long = format!("./{deep}/{}", "f".repeat(80));
        assert_eq!(find(&all, &long).1, b"deep", "{format}");
        assert_eq!(find(&all, "./plain").1.len(), 1000);
        let second = &find(&all, "./second").0;
        assert_eq!((second.kind, second.link.as_slice()), (Kind::HardLink, &b"./plain"[..]));
        assert_eq!(find(&all, "./link").0.link, "l".repeat(150).as_bytes());
        assert_eq!(find(&all, "./fifo").0.kind, Kind::Fifo);
        assert!(all.iter().any(|(entry, _)| entry.path == b"./\xff\xfe\n"));
        assert_eq!(find(&all, "./").0.kind, Kind::Directory);
        let nanoseconds = find(&all, "./plain").0.mtime.nanoseconds;
        assert_eq!(nanoseconds != 0, format == "posix");
    }
    for format in ["v7", "ustar"] {
        fs::remove_dir_all(root.join("d".repeat(90))).ok();
        fs::remove_file(root.join("link")).ok();
        fs::remove_file(root.join("fifo")).ok();
        let all = read_all(&dir.tar(&["--format", format])).unwrap();
        assert_eq!(find(&all, "./plain").1.len(), 1000, "{format}");
    }
}

#[test]
fn every_way_to_write_a_sparse_file() {
    use std::os::unix::fs::FileExt as _;
    let dir = Dir::new("sparse");
    let mut want = vec![0; 3_000_000];
    let sparse = fs::File::create(dir.0.join("in/sparse")).unwrap();
    sparse.set_len(want.len() as u64).unwrap();
    // Enough pieces for several blocks of map.
    for n in 0..60 {
        sparse.write_all_at(b"data", n * 45_056).unwrap();
        want[n as usize * 45_056..][..4].copy_from_slice(b"data");
    }
    fs::write(dir.0.join("in/zafter"), "after").unwrap();
    for options in [
        &["--format=gnu", "--sparse"][..],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
    ] {
        let archive = dir.tar(options);
        assert!(archive.len() < 500_000, "{options:?} is not sparse");
        let all = read_all(&archive).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        let (entry, data) = find(&all, "./sparse");
        assert_eq!(entry.sparse.as_ref().unwrap().len(), 60);
        assert!(*data == want, "{options:?}");
        assert_eq!(find(&all, "./zafter").1, b"after");
    }
}

#[test]
fn attributes_come_along() {
    let dir = Dir::new("xattr");
    let file = dir.0.join("in/file");
    fs::write(&file, "").unwrap();
    let set = Command::new("setfattr").args(["-n", "user.k", "-v", "v\n=w"]).arg(&file).status();
    if !set.is_ok_and(|status| status.success()) {
        println!("skipped: attributes_come_along: no setfattr, or no attributes on this disk");
        return;
    }
    let all = read_all(&dir.tar(&["--xattrs", "--format=posix"])).unwrap();
    assert_eq!(find(&all, "./file").0.xattrs[&b"user.k"[..]], b"v\n=w");
}

#[test]
fn the_writer_is_deterministic_and_read_by_gnu_tar() {
    let long = "x".repeat(120) + "/" + &"y".repeat(120);
    let mut entries = vec![
        file("a", b"hello"),
        file(&long, &[7; 513]),
        (
            Entry { path: b"d/".to_vec(), kind: Kind::Directory, mode: 0o1777, ..Entry::default() },
            vec![],
        ),
        (
            Entry {
                path: b"l".to_vec(),
                kind: Kind::Symlink,
                link: vec![b'z'; 300],
                ..Entry::default()
            },
            vec![],
        ),
        (
            Entry {
                path: b"h".to_vec(),
                kind: Kind::HardLink,
                link: b"a".to_vec(),
                ..Entry::default()
            },
            vec![],
        ),
    ];
    entries[0].0.uid = 3_000_000;
    entries[0].0.mtime = Time { seconds: -5, nanoseconds: 250_000_000 };
    entries[0].0.xattrs.insert(b"user.k".to_vec(), vec![0, 10, 255]);
    let archive = write_all(&entries);
    assert_eq!(archive, write_all(&entries));
    assert_eq!(read_all(&archive).unwrap(), entries);

    let dir = Dir::new("writer");
    fs::write(dir.0.join("a.tar"), &archive).unwrap();
    let list = Command::new("tar").arg("-tf").arg(dir.0.join("a.tar")).output().unwrap();
    let want = format!("a\n{long}\nd/\nl\nh\n");
    assert_eq!(String::from_utf8_lossy(&list.stdout), want, "{list:?}");
}

#[test]
fn data_that_is_not_read_is_skipped() {
    let archive = write_all(&[file("a", &[1; 2000]), file("b", b"b")]);
    let mut reader = Reader::new(archive.as_slice());
    reader.next_entry().unwrap();
    let mut some = [0; 10];
    assert_eq!(reader.read_data(&mut some).unwrap(), 10);
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"b");
    assert!(reader.next_entry().unwrap().is_none());
}

#[test]
fn wherever_an_archive_is_cut_it_is_truncated() {
    let long = "x".repeat(300);
    let whole = write_all(&[file("first", &[1; 700]), file(&long, b"second")]);
    let required = Limits { end_mark: EndMark::Required, ..Limits::default() };
    for len in 0..whole.len() - BLOCK {
        let error = read_with(&whole[..len], required).unwrap_err();
        match len {
            1..BLOCK => assert!(matches!(error, Error::NotAHeader { offset: 0 }), "{len}: {error}"),
            _ => assert!(matches!(error, Error::Truncated { .. }), "{len}: {error}"),
        }
    }
    let error = read_all(&whole[..1000]).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the archive is truncated: it ends in the data of "first"; make or fetch it again"#
    );
    assert_eq!(read_all(&whole[..1536]).unwrap().len(), 1, "between two entries");
    assert!(read_all(&whole[..2560]).is_err(), "after an extended header");
    assert_eq!(read_all(&whole[..512 + 700]).unwrap().len(), 1, "with the last byte of a file");
    assert!(read_all(&whole[..512 + 701]).is_err(), "in what fills its last block");
}

/// Name and data.
type PathAndData = (Vec<u8>, Vec<u8>);

/// Name, type and data.
type PeerEntry = (Vec<u8>, u8, Vec<u8>);

/// What the `tar` crate makes of an archive.
fn peer(archive: &[u8]) -> std::io::Result<Vec<PeerEntry>> {
    let mut all = Vec::new();
    for entry in tar::Archive::new(Cursor::new(archive)).entries()? {
        let mut entry = entry?;
        let mut data = Vec::new();
        entry.read_to_end(&mut data)?;
        let path = entry.path_bytes().into_owned();
        all.push((path, entry.header().entry_type().as_byte(), data));
    }
    Ok(all)
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let kind = prop_oneof![
        Just(Kind::File),
        Just(Kind::HardLink),
        Just(Kind::Symlink),
        Just(Kind::Directory),
        Just(Kind::Fifo)
    ];
    // The other reader takes a new line in a long name for the end of the name.
    let name = prop_oneof!["[a-z/]{1,20}", "[a-z/]{90,260}", "[^\u{0}\n]{1,40}"];
    let attributes = prop::collection::btree_map("user\\.[a-z]{1,9}", any::<Vec<u8>>(), 0..3);
    let data = prop::collection::vec(any::<u8>(), 0..1500);
    let who = (any::<u32>(), any::<u32>(), 0u32..0o10000);
    (kind, name.clone(), name, who, any::<i32>(), 0u32..1_000_000_000, attributes, data).prop_map(
        |(kind, path, link, (uid, gid, mode), seconds, nanoseconds, xattrs, data)| {
            let data = if kind == Kind::File { data } else { Vec::new() };
            let is_link = matches!(kind, Kind::HardLink | Kind::Symlink);
            let entry = Entry {
                path: path.into_bytes(),
                kind,
                link: if is_link { link.into_bytes() } else { Vec::new() },
                mode,
                uid,
                gid,
                size: data.len() as u64,
                mtime: Time { seconds: seconds.into(), nanoseconds },
                xattrs: xattrs.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect(),
                ..Entry::default()
            };
            (entry, data)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in prop::collection::vec(any_entry(), 0..6)) {
        let archive = write_all(&entries);
        prop_assert_eq!(read_all(&archive).unwrap(), entries.clone());
        let peers = peer(&archive).unwrap();
        prop_assert_eq!(peers.len(), entries.len());
        for ((path, kind, data), (entry, wanted)) in peers.iter().zip(&entries) {
            prop_assert_eq!(path, &entry.path);
            prop_assert_eq!(*kind, kind_byte(entry.kind));
            prop_assert_eq!(data, wanted);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let _ = read_all(&bytes);
    }

    /// An archive with some bytes changed: where we and the other reader both take it, it says the
    /// same to both.
    #[test]
    fn a_changed_archive_says_the_same_to_all(
        entries in prop::collection::vec(any_entry(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        blocks in any::<bool>(),
    ) {
        let mut archive = write_all(&entries);
        for (place, byte) in changes {
            let place = place.index(archive.len());
            archive[place] = byte;
            if blocks {
                // Make the header's sum right again, so that the change gets through.
                let start = place / BLOCK * BLOCK;
                let block: &mut [u8; BLOCK] = (&mut archive[start..start + BLOCK]).try_into().unwrap();
                if block[257..262] == *b"ustar" {
                    header::seal(block);
                }
            }
        }
        if let (Ok(ours), Ok(theirs)) = (read_all(&archive), peer(&archive)) {
            let ours: Vec<PathAndData> = ours.into_iter().map(|(entry, data)| (entry.path, data)).collect();
            if ours.iter().any(|(path, _)| path.contains(&b'\n')) {
                return Ok(()); // Again the new line in a long name.
            }
            if theirs.iter().any(|(_, kind, data)| *kind != b'0' && !data.is_empty()) {
                return Ok(()); // They read data of links and directories, as GNU and Go do not.
            }
            let theirs: Vec<PathAndData> = theirs.into_iter().map(|(path, _, data)| (path, data)).collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}

/// The archives of a folder of real files, read by both.
#[test]
fn a_real_tree_says_the_same_to_all() {
    let source = Path::new("/usr/share/doc");
    if !source.is_dir() {
        println!("skipped: a_real_tree_says_the_same_to_all: no {}", source.display());
        return;
    }
    for format in ["gnu", "posix", "ustar"] {
        let run = Command::new("tar")
            .args(["-c", "--format", format, "-C", "/usr/share", "--exclude=*[1-9]", "doc"])
            .output()
            .unwrap();
        let ours = read_all(&run.stdout).unwrap();
        let theirs = peer(&run.stdout).unwrap();
        assert_eq!(ours.len(), theirs.len());
        for ((entry, data), (path, kind, wanted)) in ours.iter().zip(&theirs) {
            assert_eq!((&entry.path, kind_byte(entry.kind)), (path, *kind));
            assert!(data == wanted);
        }
    }
}

/// Takes so many bytes, and no more.
struct Short(Vec<u8>, usize);

impl std::io::Write for Short {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() > self.1 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_eleven_octal_digits_cannot_say_is_in_a_record() {
    let mut big = file("big", b"").0;
    for (size, is_large) in [((1_u64 << 33) - 1, false), (1 << 33, true), (9 << 40, true)] {
        big.size = size;
        let mut out = Short(Vec::new(), 4096);
        let error = Writer::new(&mut out).append(&big, &mut std::io::repeat(7)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        let record = format!(" size={size}\n").into_bytes();
        assert_eq!(out.0.windows(record.len()).any(|part| part == record), is_large, "{size}");
        let mut reader = Reader::new(out.0.as_slice());
        assert_eq!(reader.next_entry().unwrap().unwrap().size, size);
    }
}
