use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use crate::{Archive, Entry, Error};

/// A file to be packed, and what is said of it.
#[derive(Clone)]
struct Given {
    path: &'static str,
    data: Vec<u8>,
    method: u16,
    flags: u16,
    made_by: u16,
    attributes: u32,
}

fn given(path: &'static str, data: &[u8]) -> Given {
    let attributes = 0o100_644 << 16;
    Given { path, data: data.to_vec(), method: 8, flags: 0, made_by: 0x0314, attributes }
}

/// An archive of these files.
fn pack(files: &[Given]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for file in files {
        let packed = if file.method == 8 {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&file.data).unwrap();
            encoder.finish().unwrap()
        } else {
            file.data.clone()
        };
        let mut crc = Crc::new();
        crc.update(&file.data);
        let offset = archive.len() as u32;
        let n_name = (file.path.len() as u16).to_le_bytes();
        // Version, flags, method, time and date.
        let numbers = [20, file.flags, file.method, 0, 0x21].map(u16::to_le_bytes).concat();
        let sizes = [crc.sum(), packed.len() as u32, file.data.len() as u32];
        let sizes = sizes.map(u32::to_le_bytes).concat();
        for part in [&b"PK\x03\x04"[..], &numbers, &sizes, &n_name, &[0; 2]] {
            archive.extend_from_slice(part);
        }
        archive.extend_from_slice(file.path.as_bytes());
        archive.extend_from_slice(&packed);
        let made_by = file.made_by.to_le_bytes();
        for part in [&b"PK\x01\x02"[..], &made_by, &numbers, &sizes, &n_name, &[0; 8]] {
            directory.extend_from_slice(part);
        }
        directory.extend_from_slice(&file.attributes.to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(file.path.as_bytes());
    }
    let (offset, n_bytes) = (archive.len() as u32, directory.len() as u32);
    let n_files = (files.len() as u16).to_le_bytes();
    archive.extend_from_slice(&directory);
    let (n_bytes, offset) = (n_bytes.to_le_bytes(), offset.to_le_bytes());
    for part in [&b"PK\x05\x06\0\0\0\0"[..], &n_files, &n_files, &n_bytes, &offset, &[0; 2]] {
        archive.extend_from_slice(part);
    }
    archive
}

/// All regular files of an archive.
fn unpack(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let archive = Archive::parse(bytes)?;
    let files = archive.entries().iter().filter(|entry| entry.is_file);
    let name = |entry: &Entry| String::from_utf8(entry.path.clone()).unwrap();
    files.map(|entry| Ok((name(entry), archive.data(entry, 1 << 20)?))).collect()
}

fn why(bytes: &[u8]) -> String {
    unpack(bytes).unwrap_err().to_string()
}

#[test]
fn files_are_read_however_they_are_packed() {
    let (text, zeros) = (b"some text".to_vec(), vec![0_u8; 70_000]);
    let files = [
        given("a/b.txt", &text),
        Given { method: 0, ..given("stored", &text) },
        given("zeros", &zeros),
        given("", b""),
    ];
    let want = [("a/b.txt", &text), ("stored", &text), ("zeros", &zeros), ("", &Vec::new())];
    let want = want.map(|(path, data)| (path.to_owned(), data.clone()));
    let mut archive = pack(&files);
    assert_eq!(unpack(&archive).unwrap(), want);
    // With a comment, which has nothing to say.
    let end = archive.len() - 2;
    archive[end..].copy_from_slice(&5_u16.to_le_bytes());
    archive.extend_from_slice(b"hello");
    assert_eq!(unpack(&archive).unwrap(), want);
    assert!(unpack(&pack(&[])).unwrap().is_empty());
}

#[test]
fn what_is_no_regular_file_is_known() {
    let kinds = |made_by: u16, attributes: u32, path: &'static str| {
        let bytes = pack(&[Given { made_by, attributes, ..given(path, b"") }]);
        Archive::parse(&bytes).unwrap().entries()[0].is_file
    };
    for unix in [0x0300, 0x1300] {
        assert!(kinds(unix, 0o100_600 << 16, "a") && kinds(unix, 0o600 << 16, "a"));
        assert!(!kinds(unix, 0o040_700 << 16, "a") && !kinds(unix, 0o120_777 << 16, "a"));
    }
    for fat in [0x0000, 0x0b00, 0x0e00] {
        assert!(kinds(fat, 0x20, "a") && !kinds(fat, 0x10, "a"));
    }
    assert!(kinds(0x0700, 0x10, "a") && !kinds(0x0300, 0o100_600 << 16, "a/"));
}

#[test]
fn what_is_wrong_is_said() {
    let archive = pack(&[given("file", b"data"), given("file2", b"more")]);
    let directory = archive.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let last = archive.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    let end = archive.len() - 22;
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = archive.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    for (bytes, want) in [
        (Vec::new(), "it has no directory"),
        (archive[..archive.len() - 1].to_vec(), "it has no directory"),
        ([&archive[..], &archive[end..]].concat(), "its directory is not where its end says"),
        ([b"x", &archive[..]].concat(), "its directory is not where its end says"),
        (with(0, b"X"), "something is before its first file"),
        (with(directory, b"X"), "its directory is damaged"),
        (with(directory + 28, &[0xff, 0xff]), "its directory is damaged"),
        (with(directory + 42, &[1]), "two of its files overlap"),
        (with(directory + 42, &[0, 0, 1]), "a file is not where its directory says"),
        (with(directory + 46, b"FILE"), "a file has two names"),
        (with(directory + 24, &[3]), "a file is described in two ways"),
        (with(directory + 20, &[0xff, 0xff]), "two of its files overlap"),
        (with(last + 20, &[0xff, 0xff]), "a file is not where its directory says"),
        (with(8, &[0]), "a file is described in two ways"),
        (with(14, &[0]), "a file is described in two ways"),
        (with(18, &[0]), "a file is described in two ways"),
        (with(22, &[0]), "a file is described in two ways"),
        (with(6, &[1]), "a file is described in two ways"),
        (with(end + 4, &[1]), "it is one part of several"),
        (with(end + 8, &[1, 0, 1]), "its directory has more in it than its end says"),
        (with(end + 8, &[3, 0, 3]), "its directory is damaged"),
        (with(end + 8, &[0xff; 4]), "it is as large as zip64"),
        (with(end + 16, &[0xff; 4]), "it is as large as zip64"),
    ] {
        assert_eq!(why(&bytes), format!("zip: not a valid zip file: {want}"));
    }
    let mut bytes = with(14, b"crc!");
    bytes[directory + 16..directory + 20].copy_from_slice(b"crc!");
    assert_eq!(why(&bytes), "zip: checksum error");
    let mut bytes = with(22, &[3]);
    bytes[directory + 24] = 3;
    let want = "zip: not a valid zip file: a file is not as large as its directory says";
    assert_eq!(why(&bytes), want);
    // Nothing deflated begins like that.
    let data = archive.windows(4).position(|four| four == b"file").unwrap() + 4;
    assert_eq!(why(&with(data, &[0xff])), "zip: inflate");
    let of = |file: Given| why(&pack(&[file]));
    assert_eq!(of(Given { flags: 1, ..given("a", b"x") }), "zip: encrypted");
    assert_eq!(
        of(Given { method: 12, ..given("a", b"x") }),
        "zip: unsupported compression algorithm 12"
    );
}

#[test]
fn two_ends_are_one_too_many() {
    let archive = pack(&[given("file", b"data")]);
    let end = archive.len() - 22;
    // A comment that is itself the end of a directory.
    let mut twice = archive.clone();
    twice[end + 20] = 22;
    twice.extend_from_slice(&archive[end..]);
    assert_eq!(why(&twice), "zip: not a valid zip file: it has two directories");
}

#[test]
fn nothing_is_larger_than_it_may_be() {
    let bytes = pack(&[given("zeros", &vec![0; 1 << 20])]);
    let archive = Archive::parse(&bytes).unwrap();
    let entry = &archive.entries()[0];
    assert_eq!(archive.data(entry, 1 << 20).unwrap().len(), 1 << 20);
    let refused = archive.data(entry, (1 << 20) - 1).unwrap_err();
    assert_eq!(refused.to_string(), "zip: more than 1048575 bytes");
    // Nor than it says: no more of it is inflated.
    let directory = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let mut small = bytes.clone();
    for at in [22, directory + 24] {
        small[at..at + 4].copy_from_slice(&10_u32.to_le_bytes());
    }
    assert!(why(&small).ends_with("a file is not as large as its directory says"));
}

#[test]
fn what_is_said_after_a_file_may_be_left_open_before_it() {
    let mut bytes = pack(&[Given { flags: 8, ..given("file", b"data") }]);
    bytes[14..26].fill(0);
    assert_eq!(unpack(&bytes).unwrap(), [("file".to_owned(), b"data".to_vec())]);
    // As where a field of zip64's has the sizes.
    bytes[18..26].fill(0xff);
    assert_eq!(unpack(&bytes).unwrap().len(), 1);
    bytes[14] = 1;
    assert_eq!(why(&bytes), "zip: not a valid zip file: a file is described in two ways");
}

#[test]
fn files_share_neither_their_bytes_nor_a_name() {
    let twice = pack(&[given("file", b"data"), given("file", b"more")]);
    let want = "zip: not a valid zip file: two of its files have one name";
    assert_eq!(why(&twice), want);
    // The second one is the first one once more: a small archive would be as much to inflate as one likes.
    let mut shared = twice;
    let last = shared.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    shared[last + 42..last + 46].fill(0);
    assert_eq!(why(&shared), "zip: not a valid zip file: two of its files overlap");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, at: usize, byte: u8) {
        let _ = unpack_any(&bytes);
        let mut archive = pack(&[given("file", b"data"), given("file2", b"more")]);
        let at = at % archive.len();
        archive[at] = byte;
        let _ = unpack_any(&archive);
    }
}

/// The same with any names.
fn unpack_any(bytes: &[u8]) -> Result<usize, Error> {
    let archive = Archive::parse(bytes)?;
    let mut n_bytes = 0;
    for entry in archive.entries() {
        n_bytes += archive.data(entry, 1 << 20)?.len();
    }
    Ok(n_bytes)
}
