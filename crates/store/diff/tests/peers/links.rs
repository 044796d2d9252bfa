//! A layer of hard links to files of the layer below, beside what GNU tar makes of it in a tree.

use std::path::{Path, PathBuf};

use diff::Whiteouts;
use tarstream::{Entry, Kind, Writer};
use testkit::{catalogue, differences};

use crate::changes::{count, laid_over, options, shown, sorted_out};
use crate::generate::{self, Dice, Format};
use crate::gnu_tar::extract;
use crate::{Scratch, unpack};

/// What can be linked to, of one name: of several, only the one that is linked to comes into the
/// layer, as with overlayfs.
fn files_of(root: &Path) -> Vec<PathBuf> {
    let all = catalogue(root).into_iter();
    let files = all.filter(|(_, one)| one.kind != 'd' && one.linked.is_none());
    files.map(|(path, _)| path).collect()
}

#[test]
fn links_to_what_is_below_are_as_gnu_tar_makes_them() {
    testkit::needs!(Root, Overlay);
    for seed in 0..count() {
        let home = Scratch::new(&format!("links-{seed}"));
        let mut dice = Dice::new(seed + 700);
        let nodes = generate::nodes(&mut dice, Format::Pax, 80);
        let base = generate::archive(&mut dice, Format::Pax, &nodes);
        let (lower, layer, theirs) = (home.dir("lower"), home.dir("layer"), home.dir("gnu"));
        unpack(&base, &lower).unwrap();
        let files = files_of(&lower);

        let mut writer = Writer::new(Vec::new());
        for nth in 0..25 {
            use std::os::unix::ffi::OsStrExt as _;
            let entry = Entry {
                path: format!("new-{nth}").into_bytes(),
                link: dice.of(&files).as_os_str().as_bytes().to_vec(),
                kind: Kind::HardLink,
                ..Entry::default()
            };
            writer.append(&entry, &mut &b""[..]).unwrap();
        }
        let links = writer.finish().unwrap();
        for (name, bytes) in [("base", &base), ("links", &links)] {
            let path = home.0.join(format!("{name}.tar"));
            std::fs::write(&path, bytes).unwrap();
            let output = extract(&path, &theirs);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let below = [lower.clone()];
        diff::apply(&mut links.as_slice(), &layer, &options(&below, Whiteouts::Overlay)).unwrap();

        let wanted = sorted_out(catalogue(&theirs));
        let found = differences(&wanted, &shown(&[layer, lower.clone()]));
        assert!(found.is_empty(), "overlay {seed}:\n{}", found.join("\n"));
        let found = differences(&wanted, &laid_over(&home, &lower, &links));
        assert!(found.is_empty(), "whole {seed}:\n{}", found.join("\n"));
    }
}
