//! What a digest is of.

use std::time::Duration;

use super::*;

const TREE: &str = "mkdir -p d/e; echo a >d/a; echo b >d/e/b; ln -s a d/l; mkfifo d/p";

#[test]
fn what_is_part_of_it_and_what_is_not() {
    let trees = Trees::with("parts", TREE, "");
    let copy = like_copy("/d", "/x/");
    let first = trees.digest(&copy).unwrap();
    for same in [
        "touch -d @5 d/a d/e d; touch -h -d @6 d/l",
        "cp -a d d2; rm -r d; mv d2 d",
        "chmod 700 d; chown 5:6 d",
        "touch beside",
    ] {
        sh(&trees.from(), same);
        assert_eq!(trees.digest(&copy).unwrap(), first, "{same}");
    }
    let mut all = vec![first];
    for other in [
        "echo A >d/a",
        "chmod 600 d/a",
        "chown 1 d/a",
        "chgrp 1 d/e",
        "chmod 700 d/e",
        "mv d/a d/b",
        "ln -snf b d/l",
        "chown -h 3 d/l",
        "setfattr -n user.k -v v d/b",
        "setfattr -n user.k -v w d/e",
        "rm d/p; touch d/p",
        "mkdir d/new",
        "mv d/new d/e",
        "ln d/b d/c",
        "rm d/c; cp -a d/b d/c",
        "truncate -s 1M d/c",
    ] {
        sh(&trees.from(), other);
        all.push(trees.digest(&copy).unwrap());
    }
    let n = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), n);
}

#[test]
fn names_count_as_far_as_they_come_along() {
    let trees = Trees::with("names", "mkdir a b; echo x >a/f; echo x >b/f; echo x >b/g", "");
    let digest = |source: &str| trees.digest(&like_copy(source, "/")).unwrap();
    assert_eq!(digest("/a"), digest("b/../a/"));
    assert_eq!(digest("/a/f"), digest("/b/f"));
    assert_ne!(digest("/b/f"), digest("/b/g"));
    assert_ne!(digest("/a"), digest("/b"));
    assert_eq!(digest("/a/*"), digest("/b/f*"));
    assert_eq!(digest("/a/n*"), digest("/b/n*"));
    let whole = |source: &str| {
        trees.digest(&Copy { contents_only: false, ..like_copy(source, "/") }).unwrap()
    };
    assert_ne!(whole("/a"), whole("/b"));
    assert_eq!(trees.digest(&like_copy("/none", "/")).unwrap_err(), "\"/none\": not found");
    assert_eq!(trees.digest(&like_copy("/a/f/x", "/")).unwrap_err(), "\"/a/f/x\": not found");
    let from = Root::open(&trees.from()).unwrap();
    let path = |path: &str| digest_path(&from, Path::new(path), &mut Memo::new()).unwrap();
    sh(&trees.from(), "rm b/g; ln -s b l");
    assert_eq!((path("/a"), path("l")), (path("b"), path("/b")));
    assert_ne!(path("/"), path("/a"));
}

/// Nothing that was changed in the same tick of the clock is taken for known.
#[test]
fn a_memo_is_never_wrong() {
    let trees = Trees::with("memo", "for i in $(seq 50); do echo $i >f$i; done", "");
    let from = Root::open(&trees.from()).unwrap();
    let copy = like_copy("/", "/");
    let path = trees.0.join("memo");
    let fresh = || digest(&from, &copy, &mut Memo::new()).unwrap();
    // What was written just now is not trusted.
    let mut memo = Memo::load(&path);
    sh(&trees.from(), "echo new >f1");
    assert_eq!(digest(&from, &copy, &mut memo).unwrap(), fresh());
    sh(&trees.from(), "echo nEw >f1");
    assert_eq!(digest(&from, &copy, &mut memo).unwrap(), fresh());
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(digest(&from, &copy, &mut memo).unwrap(), fresh());
    assert_eq!(memo.len(), 50);
    memo.save(&path).unwrap();

    let mut memo = Memo::load(&path);
    assert_eq!(memo.len(), 50);
    let known = fresh();
    assert_eq!(digest(&from, &copy, &mut memo).unwrap(), known);
    sh(&trees.from(), "echo other >f3; touch -d @9 f3");
    assert_eq!(digest(&from, &copy, &mut memo).unwrap(), fresh());
    assert_ne!(fresh(), known);

    // One that is not whole knows nothing.
    let mut bytes = fs::read(&path).unwrap();
    bytes[60] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(Memo::load(&path).is_empty());
    fs::write(&path, &bytes[..20]).unwrap();
    assert!(Memo::load(&path).is_empty());
    assert!(Memo::load(&trees.0.join("none")).is_empty());
}

/// A memo that was told something wrong says so again: it is what is asked, not the file.
#[test]
fn what_is_known_is_not_read() {
    let trees = Trees::with("known", "echo 1 >a; echo 2 >b", "");
    std::thread::sleep(Duration::from_millis(60));
    let from = Root::open(&trees.from()).unwrap();
    let mut memo = Memo::new();
    let first = digest(&from, &like_copy("/", "/"), &mut memo).unwrap();
    assert_eq!(digest(&from, &like_copy("/", "/"), &mut memo).unwrap(), first);
    memo.lie();
    assert_ne!(digest(&from, &like_copy("/", "/"), &mut memo).unwrap(), first);
    sh(&trees.from(), "chmod 600 a; chmod 644 a; chmod 600 b; chmod 644 b");
    assert_eq!(digest(&from, &like_copy("/", "/"), &mut memo).unwrap(), first);
}

#[test]
fn what_differs_between_two_trees_is_named() {
    let trees = Trees::with("listing", TREE, "");
    let listed = || {
        let root = Root::open(&trees.from()).unwrap();
        let (_, listing) = listed(&root, &like_copy("/d", "/x/"), &mut Memo::new()).unwrap();
        listing.text().unwrap().to_owned()
    };
    let before = listed();
    assert_eq!(changes(&before, &before), [].into());
    sh(
        &trees.from(),
        "touch -d @5 d/a; echo B >d/e/b; ln -snf e d/l; chmod 600 d/p; chown 7 d/e; rm d/a; echo x >'d/a\n\\'",
    );
    let changed = changes(&before, &listed());
    let shown = changed.iter().map(|(path, change)| (path.trim_start_matches('/'), *change));
    let want = [
        ("d/a", Change::Removed),
        ("d/a\\x0a\\x5c", Change::Added),
        ("d/e", Change::Owner),
        ("d/e/b", Change::Content),
        ("d/l", Change::Content),
        ("d/p", Change::Mode),
    ];
    assert_eq!(shown.collect::<Vec<_>>(), want);
}
