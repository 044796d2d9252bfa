//! Archives with a few wrong bytes. What both take must be the same to both: a reader that takes data
//! for a header, or the other way round, sees other files than the next one.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use testkit::{Catalogue, catalogue, differences};

use crate::generate::{self, Dice, Format, seal};
use crate::gnu_tar::extract;
use crate::{Scratch, unpack};

const BLOCK: usize = 512;

/// Changes some bytes of headers, which get their checksum, and of extended headers.
fn mutate(dice: &mut Dice, archive: &mut [u8]) {
    let is_header = |block: &[u8]| block[257..262] == *b"ustar";
    let headers: Vec<usize> = archive
        .chunks_exact(BLOCK)
        .enumerate()
        .filter(|(_, block)| is_header(block))
        .map(|(nth, _)| nth * BLOCK)
        .collect();
    for _ in 0..=dice.below(3) {
        let at = *dice.of(&headers);
        let is_extended = matches!(archive[at + 156], b'x' | b'L' | b'K');
        if is_extended && dice.one_in(2) {
            let inside = at + BLOCK + dice.below(80) as usize;
            archive[inside] = *dice.of(b"0123456789 =\n\0axz.");
            continue;
        }
        let fields =
            [0, 100, 108, 116, 124, 130, 134, 136, 156, 157, 257, 263, 329, 345, 386, 482, 483];
        let field = at + *dice.of(&fields) + dice.below(3) as usize;
        let byte = dice.below(256) as u8;
        archive[field] = *dice.of(&[byte, b'0', b'1', b'7', b' ', 0, 0x80, 0xff, b'/', b'.']);
        let block = archive[at..at + BLOCK].first_chunk_mut().expect("a block");
        seal(block);
    }
}

/// Directories that the archive does not mention have the time of unpacking.
fn without_new_times(root: &Path) -> Catalogue {
    let mut all = catalogue(root);
    let now = std::fs::metadata(root).unwrap().ctime();
    for one in all.values_mut().filter(|one| one.kind == 'd' && now - one.mtime.0 < 60) {
        one.mtime = (0, 0);
    }
    all
}

/// GNU tar makes a directory of a file whose name ends with a slash, and now and then leaves a directory
/// that is said twice as it was said first.
fn differs_on_purpose(mut archive: &[u8]) -> bool {
    let mut reader = tarstream::Reader::new(&mut archive);
    let mut dirs = HashSet::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let path: PathBuf = Path::new(OsStr::from_bytes(&entry.path)).components().collect();
        let is_odd = match entry.kind {
            tarstream::Kind::File => entry.path.ends_with(b"/"),
            tarstream::Kind::Directory => !dirs.insert(path),
            _ => false,
        };
        if is_odd {
            return true;
        }
    }
    false
}

#[test]
fn mutated_archives_are_taken_as_gnu_tar_takes_them_or_refused() {
    testkit::needs!(Root);
    let home = Scratch::new("mutated");
    let count = std::env::var("DHOW_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150);
    let first = std::env::var("DHOW_FIRST_SEED").ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    let (mut n_both, mut wrong) = (0, Vec::new());
    for seed in first..first + count {
        let mut dice = Dice::new(seed + 1000);
        let format = *dice.of(&[Format::Ustar, Format::Gnu, Format::Pax]);
        let nodes = generate::nodes(&mut dice, format, 8);
        let mut archive = generate::archive(&mut dice, format, &nodes);
        mutate(&mut dice, &mut archive);
        let (ours, theirs) = (home.dir("ours"), home.dir("theirs"));
        if unpack(&archive, &ours).is_ok() && !differs_on_purpose(&archive) {
            let path = home.0.join("a.tar");
            std::fs::write(&path, &archive).unwrap();
            let output = extract(&path, &theirs);
            // What it only warns of is something else to it: a name that it cuts, for one.
            if output.status.success() && output.stderr.is_empty() {
                n_both += 1;
                let [theirs, ours] = [&theirs, &ours].map(|root| without_new_times(root));
                let found = differences(&theirs, &ours);
                if !found.is_empty() {
                    wrong.push(format!("{format:?} {seed}:\n{}", found.join("\n")));
                }
            }
        }
        for dir in [ours, theirs] {
            std::fs::remove_dir_all(dir).unwrap();
        }
    }
    println!("{n_both} of {count} were taken by both");
    assert!(n_both >= count / 10, "only {n_both} were taken by both");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
