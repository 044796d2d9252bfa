use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-tree-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sh(dir: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One of everything that a tree can hold.
const EVERYTHING: &str = "
    umask 022
    mkdir -p d/e; echo one >d/a; ln d/a second; ln d/a d/e/third; chmod 4751 d/a
    ln -s ../nowhere link; chown -h 5:6 link; touch -h -d @3.25 link
    truncate -s 5M sparse; printf x | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none
    printf '\\001' >$(printf 'odd\\n\\377'); : >empty; chown 7:8 empty; chmod 0 empty
    chmod 1777 d/e; touch -d @1.000000007 d/a; touch -d @2.5 d/e; touch -d @9.000000001 d
";

const AS_ROOT: &str = "
    mkfifo fifo; chmod 640 fifo; mknod c c 1 3; mknod b b 7 200; chown 9:9 c
    setfattr -n user.k -v v d; setfattr -hn trusted.t -v v link
    # A capability, and access lists, as the kernel keeps them.
    setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 d/e/third
    acl=0x0200000001000600ffffffff020006000700000004000000ffffffff10000600ffffffff20000000ffffffff
    setfattr -n system.posix_acl_access -v $acl empty
    setfattr -n system.posix_acl_default -v $acl d/e
    touch -d @1.000000007 d/a; touch -d @2.5 d/e; touch -d @9.000000001 d
";

/// All that can be known of a tree, but for disk addresses: as tar tells it, and links, holes and
/// nanoseconds.
fn listing(dir: &Path) -> String {
    sh(
        dir,
        "find . -printf '%p %y %m %U %G %T@ %l %n\\n' | awk '{if ($2 == \"d\") $NF=\"\"; print}' |
        sort; find . -print0 | sort -z | xargs -0 getfattr -hd -m - 2>/dev/null;
        find . -type f -exec cksum {} + | sort; stat -c %b sparse",
    )
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn make_everything(dir: &Path) {
    sh(dir, EVERYTHING);
    if is_root() {
        sh(dir, AS_ROOT);
    } else {
        println!("skipped: devices, capabilities, owners: not run by root");
    }
    sh(dir, "touch -d @4.000000004 .");
}

#[test]
fn a_copy_is_the_same_in_everything() {
    if !is_root() {
        println!("skipped: a_copy_is_the_same_in_everything: not run by root");
        return;
    }
    let home = Scratch::new("copy");
    let (from, to, linked) = (home.dir("from"), home.dir("to"), home.dir("linked"));
    make_everything(&from);
    let before = listing(&from);
    copy(&from, &to, Files::Copy).unwrap();
    assert_eq!(listing(&to), before);
    assert_eq!(listing(&from), before, "the source stays as it was");
    let same = |path: &str| {
        let of = |dir: &Path| {
            let found = fs::metadata(dir.join(path)).unwrap();
            found.ino()
        };
        (of(&from) == of(&to), of(&from) == of(&linked))
    };
    copy(&from, &linked, Files::Link).unwrap();
    assert_eq!(same("d/a"), (false, true));
    assert_eq!(same("fifo"), (false, true));
    assert_eq!(same("d"), (false, false));
    assert_eq!(compared(&from, &to, None), "");
    assert_eq!(compared(&from, &linked, None), "");
}

/// The bytes of a file are the same, and its holes stay, whether the kernel copies them or we do.
#[test]
fn bytes_come_either_way() {
    let home = Scratch::new("bytes");
    let dir = home.dir("d");
    sh(
        &dir,
        "head -c 300000 /dev/urandom >full; truncate -s 3M hole
         printf x | dd of=hole bs=1 seek=1000000 conv=notrunc status=none",
    );
    for in_kernel in [true, false] {
        let mut ways = Ways { reflinks: false, in_kernel };
        for name in ["full", "hole"] {
            let (from, to) = (dir.join(name), dir.join(format!("{name}-{in_kernel}")));
            let source = OwnedFd::from(fs::File::open(&from).unwrap());
            let target = OwnedFd::from(fs::File::create(&to).unwrap());
            let found = rustix::fs::fstat(&source).unwrap();
            copy_bytes(&source, &target, &found, &mut ways).unwrap();
            assert_eq!(fs::read(&to).unwrap(), fs::read(&from).unwrap(), "{name} {in_kernel}");
        }
        let blocks = fs::metadata(dir.join(format!("hole-{in_kernel}"))).unwrap().blocks();
        assert!(blocks < 1000, "{blocks} of 6144");
        assert!(in_kernel || !ways.in_kernel, "what failed once is not tried again");
    }
}

fn compared(before: &Path, now: &Path, since: Option<Time>) -> String {
    let what = Compare { before: Some(before), now, since, ignored: None };
    let one = |change: Change| {
        let kind = match change.kind {
            Kind::Modified => 'C',
            Kind::Added => 'A',
            Kind::Deleted => 'D',
        };
        format!("{kind} {}", change.path.display())
    };
    compare(&what).unwrap().into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The time of a file that is made now, from which on changes are looked for.
fn stamp(home: &Scratch) -> Time {
    let path = home.0.join("stamp");
    fs::write(&path, "x").unwrap();
    let found = fs::metadata(&path).unwrap();
    (found.ctime(), found.ctime_nsec())
}

#[test]
fn what_was_changed_is_found_and_no_more() {
    for (script, want) in [
        ("true", ""),
        ("echo x >new", "A new"),
        ("rm a", "D a"),
        ("rm -r d", "D d"),
        ("mkdir -p n/m", "A n, A n/m"),
        ("chmod 600 a", "C a"),
        ("touch -d @77 d/x", "C d, C d/x"),
        // Everything that stat(2) says is as before.
        ("printf 2 >b; touch -d @5 b", "C b"),
        ("printf 2 >t; touch -d @5 t; mv t b", "C b"),
        ("ln -sf w link; touch -h -d @5 link", "C link"),
        ("setfattr -n user.k -v v a", "C a"),
        // In a file that was moved nothing says that it is another one.
        ("mv b t; mv same b; mv t same", "C b, C same"),
        ("mv d t; mv dd d; mv t dd; touch -d @5 d dd", "C d, C d/x, C dd, C dd/x"),
        // Names of one file go together.
        ("ln a d/l; touch -d @5 d", "C a, C d, A d/l"),
        ("ln h1 h3", "C h1, C h2, A h3"),
        ("chmod 600 h2", "C h1, C h2"),
        ("cp -p h1 t; mv t h1", "C h1, C h2"),
        ("rm h2", "D h2"),
        ("rm h1; echo z >h1", "C h1"),
        ("rm -r d; echo x >d", "C d"),
        ("rm a; mkdir a; echo x >a/y", "C a, A a/y"),
    ] {
        let home = Scratch::new("changes");
        let (before, now) = (home.dir("before"), home.dir("now"));
        let made =
            "mkdir d dd; printf 1 >b; printf 2 >same; echo a >a; printf 1 >d/x; printf 3 >dd/x
            echo h >h1; ln h1 h2; ln -s v link; touch -h -d @5 * d/* dd/* ; touch -d @5 d dd .";
        sh(&before, made);
        copy(&before, &now, Files::Copy).unwrap();
        // Coarse clocks tick every few milliseconds.
        std::thread::sleep(Duration::from_millis(12));
        let since = stamp(&home);
        sh(&now, script);
        assert_eq!(compared(&before, &now, Some(since)), want, "{script}");
        assert_eq!(compared(&before, &now, None), want, "{script}, without a time");
    }
}

#[test]
fn mount_points_and_sockets_are_nobodys() {
    let home = Scratch::new("ignored");
    let (before, now, ignored) = (home.dir("before"), home.dir("now"), home.dir("ignored"));
    sh(&ignored, "mkdir dev etc proc; : >etc/hosts; ln -s /proc/mounts etc/mtab");
    sh(
        &now,
        "mkdir dev etc proc; : >etc/hosts; echo x >dev/new; : >other; ln -s /proc/mounts etc/mtab",
    );
    let _socket = std::os::unix::net::UnixListener::bind(now.join("socket")).unwrap();
    let what = Compare { before: Some(&before), now: &now, since: None, ignored: Some(&ignored) };
    let paths: Vec<_> = compare(&what).unwrap().into_iter().map(|one| one.path).collect();
    assert_eq!(paths, ["dev", "dev/new", "other"].map(PathBuf::from));
    sh(&now, "echo 1.2.3.4 x >etc/hosts");
    assert_eq!(compare(&what).unwrap().len(), 5, "one that was filled is a change");
}

#[test]
fn changes_are_laid_over_as_an_overlay_shows_them() {
    let home = Scratch::new("merge");
    let (below, tree, changes) = (home.dir("below"), home.dir("tree"), home.dir("changes"));
    sh(
        &below,
        "mkdir -p keep/deep gone opaque/sub was-dir; echo 1 >keep/a; echo 1 >keep/b; echo 1 >gone/x
         echo 1 >opaque/old; echo 1 >opaque/sub/old; echo 1 >was-dir/x; echo 1 >was-file; ln -s keep ln
         echo 1 >keep/deep/x; touch -d @5 keep keep/deep",
    );
    copy(&below, &tree, Files::Link).unwrap();
    sh(
        &changes,
        "mkdir -p keep opaque was-file new/in ln; echo 2 >keep/a; : >keep/.wh.b; : >.wh.gone
         : >opaque/.wh..wh..opq; echo 2 >opaque/new; echo 2 >was-dir; echo 2 >was-file/x
         echo 2 >new/in/x; : >new/in/.wh.nothing; : >new/.wh..wh..opq; echo 2 >ln/x; : >.wh.not-there
         chmod 700 keep; touch -d @6 new/in new; touch -d @7 keep; chmod 711 .; touch -d @8 .",
    );
    let before = sh(&below, "cat keep/a was-file was-dir/x; find . | wc -l");
    merge(&changes, &tree).unwrap();
    assert_eq!(
        sh(&tree, "find . ! -type d -printf '%p %y\\n' | sort"),
        "./keep/a f\n./keep/deep/x f\n./ln/x f\n./new/in/x f\n./opaque/new f\n./was-dir f\n./was-file/x f\n"
    );
    assert_eq!(sh(&tree, "cat keep/a was-dir was-file/x"), "2\n2\n2\n");
    assert_eq!(
        sh(&tree, "stat -c '%n %a %Y' keep keep/deep new new/in ."),
        "keep 700 7\nkeep/deep 755 5\nnew 755 6\nnew/in 755 6\n. 711 8\n"
    );
    assert_eq!(sh(&below, "cat keep/a was-file was-dir/x; find . | wc -l"), before);
}
