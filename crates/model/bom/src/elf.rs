//! One section of an ELF file, by its name.

use std::io::{Read, Seek, SeekFrom};

/// A section's bytes at most.
const LONGEST: u64 = 16 << 20;
/// Sections of a file at most.
const SECTIONS: u64 = 4096;
/// The table of their names at most, in bytes.
const NAMES: u64 = 1 << 20;

/// The form of a file: 32 bits or 64, and which byte comes first.
#[derive(Clone, Copy)]
struct Form {
    is_64: bool,
    is_big: bool,
}

#[derive(Clone, Copy, Default)]
struct Section {
    name: u64,
    offset: u64,
    size: u64,
}

/// The section `name` of a file; `None`: it is no ELF file, has none, or makes no sense.
pub(crate) fn section(file: &mut (impl Read + Seek), name: &[u8]) -> Option<Vec<u8>> {
    let mut head = [0; 64];
    read_at(file, 0, &mut head[..52])?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let form = match (head[4], head[5]) {
        (class @ (1 | 2), data @ (1 | 2)) => Form { is_64: class == 2, is_big: data == 2 },
        _ => return None,
    };
    if form.is_64 {
        read_at(file, 0, &mut head)?;
    }
    let (table, entry_size, n_entries, names_at) = if form.is_64 {
        (
            form.number(&head, 40, 8),
            form.number(&head, 58, 2),
            form.number(&head, 60, 2),
            form.number(&head, 62, 2),
        )
    } else {
        (
            form.number(&head, 32, 4),
            form.number(&head, 46, 2),
            form.number(&head, 48, 2),
            form.number(&head, 50, 2),
        )
    };
    let least = if form.is_64 { 64 } else { 40 };
    if table == 0 || entry_size < least || n_entries > SECTIONS || names_at >= n_entries {
        return None;
    }
    let entry_size = usize::try_from(entry_size).ok()?;
    let mut bytes = vec![0; entry_size.checked_mul(usize::try_from(n_entries).ok()?)?];
    read_at(file, table, &mut bytes)?;
    let all: Vec<Section> = bytes.chunks_exact(entry_size).map(|one| form.section(one)).collect();
    let names = all.get(usize::try_from(names_at).ok()?)?;
    let names = read(file, *names, NAMES)?;
    let is_it = |one: &&Section| {
        let start = usize::try_from(one.name).ok();
        let rest = start.and_then(|start| names.get(start..)).unwrap_or_default();
        rest.split(|byte| *byte == 0).next() == Some(name)
    };
    read(file, *all.iter().find(is_it)?, LONGEST)
}

impl Form {
    fn number(self, bytes: &[u8], at: usize, width: usize) -> u64 {
        let Some(bytes) = bytes.get(at..at + width) else { return 0 };
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.is_big { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
    }

    fn section(self, entry: &[u8]) -> Section {
        let (offset, size) = if self.is_64 { ((24, 8), (32, 8)) } else { ((16, 4), (20, 4)) };
        Section {
            name: self.number(entry, 0, 4),
            offset: self.number(entry, offset.0, offset.1),
            size: self.number(entry, size.0, size.1),
        }
    }
}

fn read(file: &mut (impl Read + Seek), section: Section, most: u64) -> Option<Vec<u8>> {
    if section.size > most {
        return None;
    }
    // What a header says is no reason to ask for memory: it is read as far as the file goes.
    file.seek(SeekFrom::Start(section.offset)).ok()?;
    let mut bytes = Vec::new();
    file.take(section.size).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == section.size).then_some(bytes)
}

fn read_at(file: &mut (impl Read + Seek), offset: u64, bytes: &mut [u8]) -> Option<()> {
    file.seek(SeekFrom::Start(offset)).ok()?;
    file.read_exact(bytes).ok()
}
