//! Archives: any bytes are read or refused; what was read is written and read again the same; and
//! readers that others wrote see in archives what we do: libarchive in any bytes that both read, Rust's
//! `tar` in what we write.
//!
//! The first byte says whether what follows is an archive, whose headers get their checksums, or a
//! list of entries to write.
#![no_main]

#[path = "common/libarchive.rs"]
mod libarchive;

use std::io::Read;

use libarchive::Seen;
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use tarstream::{Entry, Kind, Limits, Reader, Writer};

/// Small, so that a run stays short.
const LIMITS: Limits = Limits {
    path: 4096,
    pax: 1 << 16,
    sparse: 1000,
    entries: 1000,
    end_mark: tarstream::EndMark::Optional,
};
/// Bytes of all data of a run.
const MOST: u64 = 1 << 20;

/// The type bits of a mode.
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;

#[derive(Arbitrary, Debug)]
struct Given {
    path: Vec<u8>,
    link: Vec<u8>,
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    seconds: i64,
    nanoseconds: u32,
    data: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

type Read1 = (Entry, Vec<u8>);

/// All entries with their data; `None` where the archive is refused, or holds too much.
fn read(archive: &[u8]) -> Option<Vec<Read1>> {
    let mut reader = Reader::with_limits(archive, LIMITS);
    let (mut all, mut total) = (Vec::new(), 0);
    while let Some(entry) = reader.next_entry().ok()? {
        // An empty name is refused by whoever unpacks.
        assert!(!entry.path.contains(&0) && !entry.link.contains(&0));
        assert!(entry.path.len() <= LIMITS.path && entry.link.len() <= LIMITS.path);
        assert!(entry.mode <= 0o7777 && entry.mtime.nanoseconds < 1_000_000_000);
        assert!(entry.kind == Kind::File || entry.size == 0);
        let stored = match &entry.sparse {
            Some(pieces) => {
                let mut end = 0;
                for piece in pieces {
                    assert!(piece.offset >= end, "{pieces:?}");
                    end = piece.offset.checked_add(piece.len).expect("checked");
                }
                assert!(end <= entry.size);
                pieces.iter().map(|piece| piece.len).sum()
            }
            None => entry.size,
        };
        total += stored;
        if total > MOST {
            return None;
        }
        let mut data = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match reader.read_data(&mut buffer).ok()? {
                0 => break,
                n_read => data.extend_from_slice(&buffer[..n_read]),
            }
        }
        assert_eq!(data.len() as u64, stored);
        all.push((entry, data));
    }
    Some(all)
}

/// What the writer takes; `None` where something cannot be said in tar.
fn write(entries: &[Read1]) -> Option<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.append(entry, &mut data.as_slice()).ok()?;
    }
    writer.finish().ok()
}

fn entry(given: &Given) -> Read1 {
    let kind = [
        Kind::File,
        Kind::HardLink,
        Kind::Symlink,
        Kind::CharDevice,
        Kind::BlockDevice,
        Kind::Directory,
        Kind::Fifo,
    ][usize::from(given.kind) % 7];
    let data = if kind == Kind::File { given.data.clone() } else { Vec::new() };
    let plain = |text: &[u8]| text.iter().copied().filter(|byte| *byte != 0).collect::<Vec<u8>>();
    let links = matches!(kind, Kind::HardLink | Kind::Symlink);
    let entry = Entry {
        path: plain(&given.path),
        link: if links { plain(&given.link) } else { Vec::new() },
        kind,
        mode: given.mode & 0o7777,
        uid: given.uid,
        gid: given.gid,
        size: data.len() as u64,
        mtime: tarstream::Time {
            seconds: given.seconds,
            nanoseconds: given.nanoseconds % 1_000_000_000,
        },
        xattrs: given.xattrs.iter().map(|(name, value)| (plain(name), value.clone())).collect(),
        ..Entry::default()
    };
    (entry, data)
}

/// What Rust's `tar` sees: path, link, size, data.
fn others_view(archive: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let mut all = Vec::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let path = entry.path_bytes().into_owned();
        let link = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).expect("data");
        all.push((path, link, data));
    }
    all
}

/// Gives every block that looks like a header its checksum: a mutated one would be none. libarchive
/// takes any file with a sparse map in a GNU header for a sparse one, whatever its type: that is
/// taken away.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        if block[262] == b' ' && block[156] != b'S' {
            block[345..500].fill(0);
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

/// What libarchive sees is what we do, where both read the whole.
fn compare(bytes: &[u8], ours: &[Read1]) {
    let Some(theirs) = libarchive::read(bytes, MOST as usize) else { return };
    for (nth, (entry, data)) in ours.iter().enumerate() {
        let shown = || format!("{nth}: {entry:?}\n{theirs:?}");
        let Some(seen) = theirs.get(nth) else { panic!("they have fewer: {}", shown()) };
        if differs_on_purpose(entry, seen) {
            return;
        }
        assert_eq!(entry.path, seen.path, "{}", shown());
        match entry.kind {
            Kind::HardLink => assert_eq!(seen.link, Some((true, entry.link.clone())), "{}", shown()),
            Kind::Symlink => {
                // One that leads nowhere it does not tell from none; unpacking it is an error.
                let link = seen.link.clone().unwrap_or_default();
                assert_eq!(link, (false, entry.link.clone()), "{}", shown());
            }
            Kind::File => {
                assert_eq!((seen.kind, seen.size), (S_IFREG, entry.size), "{}", shown());
                let pieces = entry.sparse.clone();
                let whole = || vec![tarstream::Segment { offset: 0, len: entry.size }];
                let (mut from, mut want) = (0, Vec::new());
                for piece in pieces.unwrap_or_else(whole) {
                    let len = piece.len as usize;
                    add(&mut want, piece.offset, &data[from..from + len]);
                    from += len;
                }
                let mut found = Vec::new();
                for (offset, block) in &seen.data {
                    add(&mut found, *offset, block);
                }
                assert_eq!(found, want, "{}", shown());
            }
            _ => {}
        }
    }
    assert_eq!(theirs.len(), ours.len(), "they have more: {ours:?}\n{theirs:?}");
}

/// Adds a piece, to the one before it where it goes on.
fn add(pieces: &mut Vec<(u64, Vec<u8>)>, offset: u64, block: &[u8]) {
    match pieces.last_mut() {
        _ if block.is_empty() => {}
        Some((at, data)) if *at + data.len() as u64 == offset => data.extend_from_slice(block),
        _ => pieces.push((offset, block.to_vec())),
    }
}

/// Where libarchive is known to see something else. From there on the two are not compared.
fn differs_on_purpose(entry: &Entry, seen: &Seen) -> bool {
    // What it has a doubt about.
    seen.is_odd
        // A name with a slash at the end is a directory for it, whatever the type says.
        || entry.kind == Kind::File && entry.path.ends_with(b"/") && seen.kind == S_IFDIR
        // It may take what follows a link for the link's data.
        || entry.kind == Kind::HardLink && seen.size > 0
}

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let written = if first % 2 == 0 {
        let bytes = sealed(rest);
        let Some(mut entries) = read(&bytes) else { return };
        compare(&bytes, &entries);
        // Holes are written as zeros.
        for (entry, data) in &mut entries {
            if let Some(pieces) = entry.sparse.take() {
                if entry.size > MOST {
                    return;
                }
                let mut whole = vec![0; entry.size as usize];
                let mut from = 0;
                for piece in pieces {
                    let (at, len) = (piece.offset as usize, piece.len as usize);
                    whole[at..at + len].copy_from_slice(&data[from..from + len]);
                    from += len;
                }
                *data = whole;
            }
        }
        entries
    } else {
        let given = Vec::<Given>::arbitrary_take_rest(Unstructured::new(rest));
        given.unwrap_or_default().iter().map(entry).collect()
    };
    let Some(archive) = write(&written) else { return };
    let Some(again) = read(&archive) else {
        // Names that are empty, or longer than the limits.
        let odd = |(entry, _): &Read1| {
            entry.path.is_empty()
                || entry.path.len() > LIMITS.path
                || entry.link.len() > LIMITS.path
                || entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
                    > LIMITS.pax / 4
        };
        assert!(written.iter().any(odd) || written.len() > 1000, "refused: {written:?}");
        return;
    };
    assert_eq!(again, written);
    assert_eq!(write(&again).as_ref(), Some(&archive), "the same bytes for the same entries");
    // That one takes a line break for the end of a record.
    let is_odd = |text: &[u8]| text.contains(&b'\n');
    if written.iter().any(|(entry, _)| {
        is_odd(&entry.path)
            || is_odd(&entry.link)
            || entry.xattrs.iter().any(|(name, value)| is_odd(name) || is_odd(value))
    }) {
        return;
    }
    let want: Vec<_> = written
        .iter()
        .map(|(entry, data)| (entry.path.clone(), entry.link.clone(), data.clone()))
        .collect();
    assert_eq!(others_view(&archive), want);
});
