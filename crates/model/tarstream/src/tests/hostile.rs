//! Archives that were made to deceive. Each was, in some reader, an advisory.

use super::*;

/// A raw archive, put together header by header.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn header(mut self, kind: u8, path: &[u8], change: impl FnOnce(&mut [u8; BLOCK])) -> Self {
        let mut block = [0; BLOCK];
        block[..path.len()].copy_from_slice(path);
        block[100..108].copy_from_slice(b"0000644\0");
        block[124..136].copy_from_slice(b"00000000000\0");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut block);
        header::seal(&mut block);
        self.0.extend_from_slice(&block);
        self
    }

    fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn sized(self, kind: u8, path: &[u8], data: &[u8]) -> Self {
        self.header(kind, path, |block| set_size(block, data.len() as u64)).data(data)
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            pax::write_record(&mut data, key.as_bytes(), value.as_bytes());
        }
        self.sized(b'x', b"PaxHeaders/x", &data)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 2 * BLOCK]);
        self.0
    }
}

fn set_size(block: &mut [u8; BLOCK], size: u64) {
    assert!(number::write_octal(&mut block[124..136], size));
}

fn names(archive: &[u8]) -> Vec<String> {
    let all = read_all(archive).unwrap();
    all.iter().map(|(entry, _)| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

fn refused(archive: &[u8], why: &str) {
    let error = match read_all(archive) {
        Err(error) => error.to_string(),
        Ok(all) => panic!("should be refused ({why}): {all:?}"),
    };
    assert!(error.contains(why), "{error} should say {why}");
}

/// An archive inside a file must stay inside, whichever size is believed.
#[test]
fn a_size_in_the_extended_header_counts() {
    let inner = Raw::default().sized(b'0', b"smuggled", b"x").end();
    let size = inner.len().to_string();
    for stated in [0, 512, inner.len() as u64] {
        let archive = Raw::default()
            .pax(&[("size", &size)])
            .header(b'0', b"outer.tar", |block| set_size(block, stated))
            .data(&inner)
            .sized(b'0', b"after", b"")
            .end();
        assert_eq!(names(&archive), ["outer.tar", "after"], "header says {stated}");
    }
}

#[test]
fn a_size_counts_for_the_entry_only_and_not_for_headers_between() {
    let long = vec![b'n'; 200];
    let archive = Raw::default()
        .pax(&[("size", "3")])
        .sized(b'L', b"././@LongLink", &long)
        .header(b'0', b"short", |_| {})
        .data(b"abc")
        .header(b'0', b"next", |_| {})
        .end();
    let all = read_all(&archive).unwrap();
    assert_eq!(all[0].0.path, long);
    assert_eq!(all[0].1, b"abc");
    assert_eq!((all[1].0.path.as_slice(), all[1].0.size), (&b"next"[..], 0));
}

#[test]
fn entries_without_data_have_none_whatever_their_size_says() {
    for kind in *b"123456" {
        let archive = Raw::default()
            .header(kind, b"a", |block| set_size(block, 512))
            .sized(b'0', b"b", b"data")
            .end();
        assert_eq!(names(&archive), ["a", "b"], "type {}", char::from(kind));
    }
}

#[test]
fn what_readers_would_take_differently_is_refused() {
    let entry = |raw: Raw| raw.sized(b'0', b"f", b"").end();
    let twice = Raw::default().pax(&[("path", "a")]).pax(&[("path", "b")]);
    refused(&entry(twice), "two extended headers");
    let names = Raw::default().pax(&[("path", "a")]).sized(b'L', b"L", b"b");
    refused(&entry(names), "a second name that differs");
    for key in ["size", "path", "linkpath", "GNU.sparse.size"] {
        let mut data = Vec::new();
        pax::write_record(&mut data, key.as_bytes(), b"1");
        refused(&entry(Raw::default().sized(b'g', b"g", &data)), "a global header sets");
    }
    for (kind, at, byte) in [(b'x', 262, 1), (b'L', 257, 0), (b'0', 263, b' ')] {
        let archive = Raw::default().header(kind, b"f", |block| {
            block[at] = byte;
            block[345] = b'p';
        });
        refused(&archive.end(), "a header of no known format");
    }
    refused(&Raw::default().sized(b'Z', b"f", b"").end(), "unknown type `Z`");
}

/// An incremental backup has names there, and V7 knew directories by their name alone.
#[test]
fn what_follows_a_directory_is_no_data() {
    for (kind, name) in [(b'D', &b"d"[..]), (0, b"d/")] {
        let archive = Raw::default().sized(kind, name, b"names").sized(b'0', b"f", b"x").end();
        let all = read_all(&archive).unwrap();
        assert_eq!((all[0].0.kind, all[0].1.as_slice()), (Kind::Directory, &b""[..]));
        assert_eq!((all[1].0.path.as_slice(), all[1].1.as_slice()), (&b"f"[..], &b"x"[..]));
    }
}

/// GNU tar reads a long name on to its NUL, others as far as its size says.
#[test]
fn a_long_name_ends_where_it_says() {
    let entry = |size: u64, name: &[u8]| {
        let raw = Raw::default().header(b'L', b"L", |block| {
            block[257..265].copy_from_slice(b"ustar  \0");
            set_size(block, size);
        });
        raw.data(name).sized(b'0', b"short", b"").end()
    };
    let long = vec![b'n'; 200];
    for size in [200, 201, 210] {
        assert_eq!(read_all(&entry(size, &long)).unwrap()[0].0.path, long, "{size}");
    }
    refused(&entry(100, &long), "a name that is longer than its size");
}

/// Some take a header for ustar whatever its version.
#[test]
fn a_device_in_a_header_of_no_known_version_is_refused() {
    let device = |version: &[u8; 2]| {
        Raw::default().header(b'3', b"null", |block| {
            block[263..265].copy_from_slice(version);
            block[329..345].copy_from_slice(b"0000001\x000000003\0");
        })
    };
    refused(&device(b"01").end(), "a header of no known format");
    assert_eq!(read_all(&device(b"00").end()).unwrap()[0].0.device, (1, 3));
}

#[test]
fn numbers_that_are_none_are_refused() {
    let with = |records: &[(&str, &str)]| Raw::default().pax(records).sized(b'0', b"f", b"").end();
    refused(&with(&[("size", "-1")]), "malformed size");
    refused(&with(&[("size", "9223372036854775808")]), "malformed size");
    refused(&with(&[("size", "1 ")]), "malformed size");
    refused(&with(&[("uid", "4294967296")]), "malformed owner");
    refused(&with(&[("mtime", "now")]), "malformed time");
    refused(&with(&[("LIBARCHIVE.xattr.user.x", "*")]), "malformed extended attribute");
    refused(&with(&[("SCHILY.xattr.", "x")]), "malformed extended attribute");
    let raw = |range: std::ops::Range<usize>, bytes: &[u8]| {
        let archive = Raw::default().header(b'0', b"f", |block| {
            block[range.start..][..bytes.len()].copy_from_slice(bytes);
        });
        archive.end()
    };
    refused(&raw(124..136, &[0xff; 12]), "malformed size");
    refused(&raw(124..136, b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "malformed size");
    refused(&raw(124..136, b"0000000000x\0"), "malformed size");
    refused(&raw(108..116, &[0xff; 8]), "malformed owner");
    refused(&raw(124..136, b"77777777777\0"), "truncated");
}

#[test]
fn limits_hold_before_memory_is_taken() {
    let huge =
        |kind, path: &[u8]| Raw::default().header(kind, path, |b| set_size(b, 1 << 32)).end();
    refused(&huge(b'x', b"x"), "its extended header is larger than");
    refused(&huge(b'g', b"g"), "its extended header is larger than");
    refused(&huge(b'L', b"L"), "its name is larger than");
    refused(&huge(b'K', b"K"), "its name is larger than");
    let long = "n".repeat(5000);
    let archive = Raw::default().pax(&[("path", &long)]).sized(b'0', b"f", b"").end();
    refused(&archive, "its name is larger than the 4096");
    let limits = Limits { entries: 2, ..Limits::default() };
    let three = write_all(&[file("a", b""), file("b", b""), file("c", b"")]);
    assert!(matches!(read_with(&three, limits), Err(Error::Limit { .. })));
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let sparse = |records: &[(&str, &str)], data: &[u8]| {
        Raw::default().pax(records).sized(b'0', b"f", data).end()
    };
    let one_0 = |data: &[u8]| {
        let records =
            [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "10")];
        // The map fills whole blocks.
        let mut padded = data.to_vec();
        padded.resize(data.len().max(BLOCK), 0);
        sparse(&records, &padded)
    };
    refused(&one_0(b"2147483648\n"), "its sparse map is larger than");
    refused(&one_0(b"18446744073709551615\n"), "its sparse map is larger than");
    refused(&one_0(b"1\n0\n"), "malformed sparse map");
    refused(&one_0(b"x\n"), "malformed sparse map");
    refused(&one_0(&[b'1'; 600]), "malformed sparse map");
    refused(&one_0(b""), "malformed sparse map");
    let mut covered = b"2\n0\n5\n10\n0\n".to_vec();
    refused(&one_0(&covered), "covers 5 bytes, but it has 0");
    covered.resize(BLOCK, 0);
    covered.extend_from_slice(b"12345");
    let all = read_all(&one_0(&covered)).unwrap();
    assert_eq!(all[0].1, b"12345\0\0\0\0\0");

    let map = |map: &str, data: &[u8]| {
        sparse(&[("GNU.sparse.size", "10"), ("GNU.sparse.map", map)], data)
    };
    refused(&map("0", b""), "an offset without a length");
    refused(&map("0,5", b"12345"), "ends at byte 5, but it has 10");
    refused(&map("0,5,9,0", b"12345"), "ends at byte 9, but it has 10");
    refused(&map("0,5,3,5", b"1234567890"), "out of order");
    refused(&map("6,5", b"12345"), "goes beyond its end");
    refused(&map("0,a", b""), "malformed sparse map");
    refused(&sparse(&[("GNU.sparse.map", "0,1")], b"1"), "without a size");
    refused(&sparse(&[("GNU.sparse.major", "2"), ("GNU.sparse.size", "1")], b""), "unknown format");
    refused(
        &sparse(&[("GNU.sparse.size", "9"), ("GNU.sparse.numbytes", "0")], b""),
        "malformed sparse map",
    );
    // A file of ten terabytes that has no data at all is fine, and small.
    let hole = sparse(
        &[("GNU.sparse.size", "10995116277760"), ("GNU.sparse.map", "10995116277760,0")],
        b"",
    );
    let mut reader = Reader::new(hole.as_slice());
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!((entry.size, entry.sparse), (10 << 40, Some(vec![])));
    refused(&Raw::default().sized(b'S', b"f", b"").end(), "a header that has no map");
}

#[test]
fn an_old_gnu_map_without_end_is_bounded() {
    let mut archive = Raw::default().header(b'S', b"f", |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        block[482] = 1;
    });
    for _ in 0..6000 {
        let mut block = [0; BLOCK];
        for field in block[..504].chunks_exact_mut(12) {
            number::write_octal(field, 0);
        }
        block[504] = 1;
        archive.0.extend_from_slice(&block);
    }
    refused(&archive.end(), "its sparse map is larger than");
}

#[test]
fn a_name_with_odd_bytes_is_printed_safely() {
    let name = Name(b"a\n\x1b[31m\xff\"".to_vec());
    assert_eq!(name.to_string(), r#""a\n\u{1b}[31m\xff\"""#);
    assert!(Name(vec![b'a'; 5000]).to_string().len() < 300);
}
