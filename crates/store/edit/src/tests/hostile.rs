//! Trees that want out, or want us to wait.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};

use buildgraph::{Identity, MakeDirectory, MakeFile, Owner, Remove};

use super::*;

/// Nothing takes longer than this, whatever is there.
fn soon<T>(run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    assert!(start.elapsed() < Duration::from_secs(20));
    result
}

#[test]
fn links_lead_nowhere_but_inside() {
    let out = "ln -s ../canary up; ln -s \"$(cd ..; pwd)/canary\" abs; ln -s ../../../../../../../../../.. deep
               ln -s .. dotdot; ln -s loop loop";
    let trees = Trees::with("links-out", out, out);
    let canary = trees.0.join("canary");
    for source in ["up", "abs", "deep/../canary", "dotdot/canary", "dotdot/dotdot/canary", "loop"] {
        assert!(trees.copy(like_copy(source, "/got")).is_err(), "{source}");
        assert!(trees.digest(&like_copy(source, "/got")).is_err(), "{source}");
        assert!(!trees.to().join("got").exists(), "{source}");
    }
    sh(&trees.from(), "echo dead >f; mkdir d; echo dead >d/canary");
    for destination in ["up", "abs", "dotdot/canary", "deep/canary", "../canary", "/../../canary"] {
        _ = trees.copy(like_copy("f", destination));
        _ = trees.copy(like_copy("d", destination));
        let make =
            MakeFile { path: destination.into(), data: b"dead".to_vec(), ..MakeFile::default() };
        _ = trees.apply(Action::MakeFile(make));
        let path = destination.to_owned();
        let make = MakeDirectory { path, mode: 0o755, parents: true, ..MakeDirectory::default() };
        _ = trees.apply(Action::MakeDirectory(make));
        let remove = Remove { path: destination.into(), may_be_missing: true, wildcards: true };
        _ = trees.apply(Action::Remove(remove));
        assert_eq!(fs::read_to_string(&canary).unwrap(), "sings", "{destination}");
    }
    assert_eq!(
        trees.copy(like_copy("f", "/loop")).unwrap_err(),
        "lstat /loop: Too many levels of symbolic links (os error 40)"
    );
}

#[test]
fn special_files_are_never_opened() {
    let special = "mkfifo fifo; mknod zero c 1 5; mkdir d; mkfifo d/fifo";
    let trees =
        Trees::with("special", special, &format!("{special}; mkdir etc; mkfifo etc/passwd"));
    soon(|| {
        for name in ["fifo", "zero"] {
            let add = Copy { unpack: true, ..like_copy(name, "/x/") };
            trees.digest(&add).unwrap();
            trees.copy(add).unwrap();
            trees.digest(&like_copy("d", "/")).unwrap();
            let make = MakeFile { path: name.into(), data: b"x".to_vec(), ..MakeFile::default() };
            let error = trees.apply(Action::MakeFile(make)).unwrap_err();
            assert_eq!(error, format!("/{name} is not a regular file"));
        }
        sh(&trees.from(), "touch f");
        let owner = Some(Owner { user: Some(Identity::Name("me".into())), group: None });
        let mut copy = Copy { owner, ..like_copy("f", "/f") };
        let error = trees.copy(copy.clone()).unwrap_err();
        assert_eq!(error, "/etc/passwd is not a regular file");
        // Longer than any list: 4 GiB of nothing, and a link to what never ends.
        sh(&trees.to(), "rm etc/passwd; truncate -s 4G etc/passwd");
        assert_eq!(trees.copy(copy.clone()).unwrap_err(), "/etc/passwd exceeds 10485760 bytes");
        sh(&trees.to(), "rm etc/passwd; ln -s ../zero etc/passwd");
        assert_eq!(trees.copy(copy.clone()).unwrap_err(), "/etc/passwd is not a regular file");
        copy.owner = None;
        trees.copy(copy).unwrap();
    });
    let list = trees.list();
    assert!(list.contains("p 644 0:0 x/fifo\n") && list.contains("c 644 0:0 x/zero\n"), "{list}");
}

#[test]
fn odd_names_and_deep_directories() {
    let files = "touch \"$(printf 'new\\nline')\" \"$(printf 'not\\377utf8')\" ' ' '*'";
    let trees = Trees::with("odd", files, "");
    let name = "0".repeat(250);
    let mut here = rustix::fs::open(trees.from(), OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..60 {
        rustix::fs::mkdirat(&here, &name, Mode::from_raw_mode(0o755)).unwrap();
        here = rustix::fs::openat(&here, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    rustix::fs::openat(&here, "bottom", flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::fs::linkat(&here, "bottom", &here, "other", AtFlags::empty()).unwrap();
    trees.copy(like_copy("/", "/")).unwrap();
    let copy = like_copy("/", "/");
    let (from, to) = (Root::open(&trees.from()).unwrap(), Root::open(&trees.to()).unwrap());
    let of = |root| digest(root, &copy, &mut Memo::new()).unwrap();
    // The links of one file that no path leads to become two files.
    assert_ne!(of(&from), of(&to));
    rustix::fs::unlinkat(&here, "other", AtFlags::empty()).unwrap();
    let other = rustix::fs::openat(&here, "other", flags, Mode::from_raw_mode(0o644)).unwrap();
    drop(other);
    assert_eq!(of(&from), of(&to));
    let remove = Remove { path: "/0*".into(), may_be_missing: false, wildcards: true };
    trees.apply(Action::Remove(remove)).unwrap();
    assert_eq!(sh(&trees.to(), "ls | wc -l").trim(), "5");
    from.remove_all(&name).unwrap();
}

/// Three hundred directories deep, and a thread that goes on exchanging a directory in the middle, and a file,
/// for links that lead out.
#[test]
fn a_swapper_gets_nothing_out_or_in() {
    let trees = Trees::with(
        "swapper",
        "p=d; for i in $(seq 300); do p=$p/x; done; mkdir -p $p; echo inside >$p/f; mkdir s; echo inside >s/f",
        "mkdir -p s",
    );
    let secret = trees.0.join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("f"), "secret").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for tree in [trees.from(), trees.to()] {
            let (done, secret) = (&done, &secret);
            scope.spawn(move || {
                let (real, aside) = (tree.join("s"), tree.join("aside"));
                while !done.load(Ordering::Relaxed) {
                    _ = fs::rename(&real, &aside);
                    _ = symlink(secret, &real);
                    _ = fs::remove_file(&real);
                    _ = fs::rename(&aside, &real);
                }
            });
        }
        for _ in 0..300 {
            _ = trees.copy(like_copy("s", "/got"));
            _ = trees.copy(like_copy("/s/f", "/s/g"));
            _ = trees.copy(like_copy("s/*", "/s/"));
            _ = trees.digest(&like_copy("s", "/got"));
            let make =
                MakeFile { path: "/s/made".into(), data: b"x".to_vec(), ..MakeFile::default() };
            _ = trees.apply(Action::MakeFile(make));
            let remove = Remove { path: "/s/f".into(), may_be_missing: true, wildcards: false };
            _ = trees.apply(Action::Remove(remove));
        }
        done.store(true, Ordering::Relaxed);
    });
    trees.copy(like_copy("d", "/deep")).unwrap();
    assert_eq!(sh(&secret, "cat *; ls"), "secretf\n");
    assert_eq!(sh(&trees.to(), "grep -r secret . || :"), "");
    assert_eq!(sh(&trees.to(), "find deep -name f -exec cat {} +"), "inside\n");
}
