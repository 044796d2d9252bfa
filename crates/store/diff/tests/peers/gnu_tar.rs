//! GNU tar, with all that it can bring back; and archives of GNU tar, bsdtar and Python.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use testkit::{Catalogue, catalogue, differences};

use crate::generate::{self, Dice, Format};
use crate::{Scratch, unpack};

/// All that GNU tar can bring back of an archive.
pub(crate) fn extract(archive: &Path, root: &Path) -> Output {
    Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--same-owner", "--numeric-owner"])
        .args(["--acls", "--xattrs", "--xattrs-include=*", "--delay-directory-restore"])
        .arg("--warning=no-timestamp")
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(root)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn by_gnu_tar(archive: &Path, root: &Path) {
    let output = extract(archive, root);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Both unpack the archive. In what they differ.
fn compared(home: &Scratch, archive: &[u8], name: &str) -> Vec<String> {
    let path = home.0.join(format!("{name}.tar"));
    std::fs::write(&path, archive).unwrap();
    let (ours, theirs) = (home.dir(&format!("{name}-ours")), home.dir(&format!("{name}-gnu")));
    by_gnu_tar(&path, &theirs);
    unpack(archive, &ours).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    differences(&catalogue(&theirs), &catalogue(&ours))
}

#[test]
fn generated_archives_come_out_as_gnu_tar_makes_them() {
    testkit::needs!(Root);
    let home = Scratch::new("generated");
    let seeds = std::env::var("DHOW_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    for format in [Format::Ustar, Format::Gnu, Format::Pax] {
        for seed in 0..seeds {
            let mut dice = Dice::new(seed);
            let nodes = generate::nodes(&mut dice, format, 150);
            let archive = generate::archive(&mut dice, format, &nodes);
            let name = format!("{format:?}-{seed}");
            let found = compared(&home, &archive, &name);
            assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
            for end in ["ours", "gnu"] {
                std::fs::remove_dir_all(home.0.join(format!("{name}-{end}"))).unwrap();
            }
        }
    }
}

/// One of everything that a tree can hold.
const EVERYTHING: &str = r#"
    umask 022; mkdir -p d/e empty-dir; echo one >d/a; ln d/a second; ln d/a d/e/third; chmod 4751 d/a
    ln -s ../nowhere link; chown -h 5:6 link; touch -h -d @3.25 link; ln link linked-link
    truncate -s 5M sparse; printf x | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none
    printf '\001' >"$(printf 'odd\n\377')"; : >empty; chown 7:8 empty; chmod 0 empty
    long=$(printf 'n%.0s' $(seq 200)); mkdir -p $long/$long; echo deep >$long/$long/file
    ln -s $long$long long-link; chmod 1777 d/e; mkfifo fifo; chmod 640 fifo
    mknod c c 1 3; mknod b b 7 200; chown 9:9 c; chown 3000000000:2097152 second
    chmod 6755 second
    setfattr -n user.k -v v d; setfattr -hn trusted.t -v v c
    setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 sparse
    acl=0x0200000001000600ffffffff020006007011010004000000ffffffff10000600ffffffff20000000ffffffff
    setfattr -n system.posix_acl_access -v $acl empty
    setfattr -n system.posix_acl_default -v $acl d/e
    touch -d @1.000000007 d/a; touch -d @2.5 d/e; touch -d @9.000000001 d; touch -d @-77 empty-dir
    touch -d @4.000000004 .
"#;

/// What does not fit into eleven octal digits, of a few bytes.
const HUGE: &str = "truncate -s 9G huge; printf end | dd of=huge bs=1 seek=9000000000 conv=notrunc \
     status=none; touch -d @4.000000004 huge .";

/// What no format holds is taken away: bsdtar writes no time before 1970 without PAX, and as the mode
/// of a file with an access list what its group may do; Python knows no second name of a link.
const PLAIN: &str = "rm -f huge linked-link; touch -d @7 empty-dir; touch -d @4.000000004 .
    setfattr -x system.posix_acl_access empty 2>/dev/null || true";

fn sh(dir: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Another program that writes archives.
struct Writer {
    name: &'static str,
    command: &'static str,
    keeps: Keeps,
}

/// What an archive of a writer's can hold.
#[derive(Clone, Copy)]
struct Keeps {
    nanoseconds: bool,
    xattrs: bool,
    holes: bool,
}

const ALL: Keeps = Keeps { nanoseconds: true, xattrs: true, holes: true };
const LITTLE: Keeps = Keeps { nanoseconds: false, xattrs: false, holes: false };

const WRITERS: [Writer; 8] = [
    Writer {
        name: "gnu-posix",
        command: "tar --format=posix --acls --xattrs --xattrs-include=* -Sc .",
        keeps: ALL,
    },
    Writer {
        name: "gnu-sparse-0.0",
        command: "tar --format=posix --acls --xattrs --xattrs-include=* --sparse-version=0.0 -Sc .",
        keeps: ALL,
    },
    Writer {
        name: "gnu-sparse-0.1",
        command: "tar --format=posix --acls --xattrs --xattrs-include=* --sparse-version=0.1 -Sc .",
        keeps: ALL,
    },
    Writer {
        name: "gnu",
        command: "tar --format=gnu -Sc .",
        keeps: Keeps { holes: true, ..LITTLE },
    },
    Writer { name: "bsdtar-pax", command: "bsdtar --format=pax --acls --xattrs -cf - .", keeps: ALL },
    Writer { name: "bsdtar-gnutar", command: "bsdtar --format=gnutar -cf - .", keeps: LITTLE },
    Writer {
        name: "python-pax",
        command: "python3 -c 'import sys,tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode=\"w|\", format=tarfile.PAX_FORMAT) as t: t.add(\".\")'",
        // Its times are floating point numbers.
        keeps: LITTLE,
    },
    Writer {
        name: "python-gnu",
        command: "python3 -c 'import sys,tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode=\"w|\", format=tarfile.GNU_FORMAT) as t: t.add(\".\")'",
        keeps: LITTLE,
    },
];

#[test]
fn archives_of_others_come_out_as_they_went_in() {
    testkit::needs!(Root);
    let home = Scratch::new("others");
    let source = home.dir("source");
    sh(&source, EVERYTHING);
    for Writer { name, command, keeps } in &WRITERS {
        let program = command.split(' ').next().unwrap();
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
        if !found.unwrap().status.success() {
            testkit::skip(program, "it is not there");
            continue;
        }
        sh(&source, if keeps.holes { HUGE } else { PLAIN });
        let wanted = as_kept(catalogue(&source), *keeps);
        let written = Command::new("sh").args(["-ec", command]).current_dir(&source).output();
        let written = written.unwrap();
        assert!(written.status.success(), "{name}: {}", String::from_utf8_lossy(&written.stderr));
        let found = compared(&home, &written.stdout, name);
        assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
        let ours = as_kept(catalogue(&home.0.join(format!("{name}-ours"))), *keeps);
        let found = differences(&wanted, &ours);
        assert!(found.is_empty(), "{name}, beside its source:\n{}", found.join("\n"));
    }
}

/// Without what an archive of this writer's cannot hold.
fn as_kept(mut all: Catalogue, keeps: Keeps) -> Catalogue {
    for one in all.values_mut() {
        if !keeps.nanoseconds {
            one.mtime.1 = 0;
        }
        if !keeps.xattrs {
            one.xattrs.clear();
        }
        if !keeps.holes {
            one.data.clear();
        }
    }
    all
}
