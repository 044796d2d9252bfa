//! Files, directories and links that are made, and what is removed.

use buildgraph::{Identity, MakeDirectory, MakeFile, Owner, Remove, Symlink};

use super::*;

fn owner() -> Owner {
    Owner { user: Some(Identity::Id(5)), group: Some(Identity::Id(6)) }
}

#[test]
fn files() {
    let trees =
        Trees::with("files", "", "mkdir d; echo longer >d/old; chmod 600 d/old; ln -s d/x l");
    let make = |path: &str| MakeFile {
        path: path.into(),
        mode: 0o664,
        data: b"new".to_vec(),
        owner: Some(owner()),
        time: None,
    };
    for path in ["/d/new", "d/old", "/l", "../../up"] {
        trees.apply(Action::MakeFile(make(path))).unwrap();
    }
    assert_eq!(
        trees.list(),
        "d 755 0:0 d\nf 664 5:6 d/new\nf 600 5:6 d/old\nf 664 5:6 d/x\nl 777 0:0 l d/x\nf 664 5:6 up\n"
    );
    assert_eq!(fs::read(trees.to().join("d/old")).unwrap(), b"new");
    assert_eq!(sh(&trees.to(), "stat -c %Y d/new d/old"), "1700000000\n1700000000\n");
    let at = MakeFile { time: Some(9_000_000_000), ..make("/d/new") };
    trees.apply(Action::MakeFile(at)).unwrap();
    assert_eq!(sh(&trees.to(), "stat -c %Y d/new"), "9\n");
    for (path, want) in [
        ("/no/such", "open /no/such: No such file or directory (os error 2)"),
        ("/d", "open /d: Is a directory (os error 21)"),
    ] {
        assert_eq!(trees.apply(Action::MakeFile(make(path))).unwrap_err(), want);
    }
}

#[test]
fn directories() {
    let trees = Trees::with("directories", "", "mkdir -m 700 there; touch file; ln -s real link");
    let make = |path: &str, parents| {
        let owner = Some(owner());
        Action::MakeDirectory(MakeDirectory {
            path: path.into(),
            mode: 0o775,
            parents,
            owner,
            time: None,
        })
    };
    for (path, parents) in [
        ("/a/b/c", true),
        ("/there", true),
        ("/there", false),
        ("/there/in", false),
        ("/link/x", true),
        ("/file", false),
    ] {
        trees.apply(make(path, parents)).unwrap();
    }
    assert_eq!(
        trees.list(),
        "d 775 5:6 a\nd 775 5:6 a/b\nd 775 5:6 a/b/c\nf 644 0:0 file\nl 777 0:0 link real\n\
         d 775 5:6 real\nd 775 5:6 real/x\nd 700 0:0 there\nd 775 5:6 there/in\n"
    );
    assert_eq!(sh(&trees.to(), "stat -c %Y a a/b | sort -u"), "1700000000\n");
    for (path, parents, want) in [
        ("/x/y", false, "open /x/y: No such file or directory (os error 2)"),
        ("/file", true, "mkdir /file: Not a directory (os error 20)"),
        ("/file/x", true, "mkdir /file/x: Not a directory (os error 20)"),
    ] {
        assert_eq!(trees.apply(make(path, parents)).unwrap_err(), want);
    }
}

#[test]
fn links() {
    let trees = Trees::with("links", "", "touch there");
    let make = |path: &str, target: &str| {
        let (path, target) = (path.into(), target.into());
        Action::Symlink(Symlink { target, path, owner: Some(owner()), time: Some(7_000_000_000) })
    };
    trees.apply(make("/l", "/any/where")).unwrap();
    assert_eq!(trees.list(), "l 777 5:6 l /any/where\nf 644 0:0 there\n");
    assert_eq!(sh(&trees.to(), "stat -c %Y l"), "7\n");
    let error = trees.apply(make("/there", "x")).unwrap_err();
    assert_eq!(error, "symlink /there: File exists (os error 17)");
}

#[test]
fn removing() {
    let trees = Trees::with(
        "removing",
        "",
        "mkdir -p d/e keep; touch d/a d/e/b keep/f 1.txt 2.txt 3.md; ln -s keep l; ln -s no dangling
         ln -s ../keep d/out",
    );
    let remove = |path: &str, may_be_missing, wildcards| {
        Action::Remove(Remove { path: path.into(), may_be_missing, wildcards })
    };
    for (path, may_be_missing, wildcards) in [
        ("/d", false, false),
        ("l", false, false),
        ("/dangling", false, false),
        ("/*.txt", false, true),
        ("/none*", false, true),
        ("/none", true, false),
        ("/none/x", true, true),
    ] {
        trees.apply(remove(path, may_be_missing, wildcards)).unwrap();
    }
    assert_eq!(trees.list(), "f 644 0:0 3.md\nd 755 0:0 keep\nf 644 0:0 keep/f\n");
    let error = trees.apply(remove("/none", false, false)).unwrap_err();
    assert_eq!(error, "stat /none: No such file or directory (os error 2)");
    for root in ["/", "..", "/..", "keep/../..", "."] {
        let error = trees.apply(remove(root, true, false)).unwrap_err();
        assert_eq!(error, "rmPath: invalid empty path", "{root}");
    }
}
