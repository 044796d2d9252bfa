//! Packing what a container changed, and unpacking it as a layer on the same layers.

use super::*;

/// What a shell does in an overlay on a layer with some files.
const CHANGES: &str = "
    echo changed > etc/a; rm etc/b; echo new > etc/new
    chmod 600 etc/mode; chown 5:6 etc/owner
    rm -r old; mkdir old; echo x > old/fresh
    rm -r gone
    ln etc/a etc/second; ln -s /etc/a link
    mkfifo fifo; mknod zero c 1 5
    mv moved moved-away
    mkdir -p empty/dirs; rm was-file; mkdir was-file; rm -r was-dir; echo x > was-dir
    touch -d @7.5 etc/time; setfattr -n user.k -v v etc/new 2>/dev/null || true
";

fn listing(root: &Path) -> Vec<String> {
    let find = Command::new("find")
        .args([".", "-mindepth", "1", "-printf", "%p %y %m %U %G %s %T@ %l %n\n"])
        .current_dir(root)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&find.stdout).into_owned();
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            let mut fields: Vec<_> = line.split(' ').collect();
            if fields[1] == "d" {
                // Size and number of links of a directory are the disk's own affair.
                (fields[5], fields[8]) = ("-", "-");
            }
            fields.join(" ")
        })
        .collect();
    lines.sort();
    lines
}

/// A mount, by a path that other processes can use.
fn path_of(mounted: &std::os::fd::OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    format!("/proc/{}/fd/{}", std::process::id(), mounted.as_raw_fd()).into()
}

/// The layer below.
fn base() -> Vec<u8> {
    archive(&[
        dir("etc"),
        file("etc/a", "a"),
        file("etc/b", "b"),
        file("etc/mode", "m"),
        file("etc/owner", "o"),
        file("etc/time", "t"),
        file("etc/stays", "s"),
        dir("old"),
        file("old/hidden", "x"),
        dir("gone"),
        file("gone/x", "x"),
        file("moved", "x"),
        file("was-file", "x"),
        dir("was-dir"),
        file("was-dir/x", "x"),
    ])
}

#[test]
fn what_a_container_changed_comes_back_as_a_layer() {
    let home = Dir::new("pack");
    let lower = home.0.join("lower");
    let (upper, work) = (home.0.join("upper"), home.0.join("work"));
    for dir in [&lower, &upper, &work] {
        fs::create_dir(dir).unwrap();
    }
    let base = base();
    let options = Options {
        origin: Origin::Layer,
        below: &[],
        whiteouts: Whiteouts::Overlay,
        limits: Limits::default(),
    };
    apply(&mut base.as_slice(), &lower, &options).unwrap();
    let mounted = match mount::overlay(std::slice::from_ref(&lower), Some((&upper, &work)), &[]) {
        Ok(mounted) => mounted,
        Err(error) => {
            println!("skipped: what_a_container_changed_comes_back: {}", chain(&error));
            return;
        }
    };
    let changed =
        Command::new("sh").args(["-ec", CHANGES]).current_dir(path_of(&mounted)).status().unwrap();
    assert!(changed.success());
    let want = listing(&path_of(&mounted));
    drop(mounted);

    let mut packed = Vec::new();
    let stats = pack(&upper, std::slice::from_ref(&lower), &mut packed).unwrap();
    let mut again = Vec::new();
    pack(&upper, std::slice::from_ref(&lower), &mut again).unwrap();
    assert_eq!(packed, again, "the same tree gives the same bytes");
    assert!(stats.n_entries > 15, "{stats:?}");
    // Sealed, it is the same archive whatever it lies on.
    let Unmarked { marked, copied } = unmark(&upper, std::slice::from_ref(&lower)).unwrap();
    assert!(marked.contains(&PathBuf::from("old")), "{marked:?}");
    assert!(copied.contains(&PathBuf::from("etc/mode")), "{copied:?}");
    drop_same(&upper, std::slice::from_ref(&lower), &copied).unwrap();
    let mut elsewhere = Vec::new();
    pack_layer(&upper, &[], &mut elsewhere).unwrap();
    assert_eq!(packed, elsewhere);
    // What it hides may be named instead, which means the same here.
    spell_out(&upper, std::slice::from_ref(&lower), &marked).unwrap();
    let mut named = Vec::new();
    pack_layer(&upper, &[], &mut named).unwrap();
    let has = |text: &[u8]| named.windows(text.len()).any(|part| part == text);
    assert!(has(b"old/.wh.hidden") && !has(b"old/.wh..wh..opq"));
    let mounted = mount::overlay(&[upper.clone(), lower.clone()], None, &[]).unwrap();
    assert_eq!(listing(&path_of(&mounted)), want);
    drop(mounted);

    let layer = home.0.join("layer");
    fs::create_dir(&layer).unwrap();
    let below = [lower.clone()];
    let options = Options {
        origin: Origin::Layer,
        below: &below,
        whiteouts: Whiteouts::Overlay,
        limits: Limits::default(),
    };
    let applied = apply(&mut packed.as_slice(), &layer, &options).unwrap();
    assert_eq!((applied.size, applied.n_entries), (stats.size, stats.n_entries));
    let mounted = mount::overlay(&[layer, lower], None, &[]).unwrap();
    assert_eq!(listing(&path_of(&mounted)), want);
    let read = |name: &str| fs::read_to_string(path_of(&mounted).join(name)).unwrap();
    assert_eq!(read("etc/second"), "changed\n");
    assert_eq!(read("old/fresh"), "x\n");

    // GNU tar reads it too.
    fs::write(home.0.join("a.tar"), &packed).unwrap();
    let list = Command::new("tar").arg("-tf").arg(home.0.join("a.tar")).output().unwrap();
    let names = String::from_utf8_lossy(&list.stdout).into_owned();
    for name in ["etc/", "etc/.wh.b", "old/", "old/.wh..wh..opq", ".wh.gone", ".wh.moved"] {
        assert!(names.lines().any(|line| line == name), "{name} not in {names}");
    }
}

#[test]
fn what_was_moved_away_and_back_is_no_change() {
    let home = Dir::new("same");
    let place = |name: &str| {
        let path = home.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let [base, top, upper, work] = ["base", "top", "upper", "work"].map(place);
    for dir in ["only", "more", "hidden"] {
        fs::create_dir(base.join(dir)).unwrap();
    }
    for name in ["a", "b", "only/a", "more/a", "more/mode", "hidden/a"] {
        fs::write(base.join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("a", base.join("more/link")).unwrap();
    // The upper one of the layers counts.
    fs::write(top.join("b"), "other").unwrap();
    let lower = [top, base];
    let mounted = match mount::overlay(&lower, Some((&upper, &work)), &[]) {
        Ok(mounted) => mounted,
        Err(error) => {
            println!("skipped: what_was_moved_away_and_back: {}", chain(&error));
            return;
        }
    };
    let script = "
        for name in a b only/a more/a more/link; do mv $name away; mv away $name; done
        chmod 600 more/mode; echo new > more/new
        mv hidden/a away; rm -r hidden; mkdir hidden; mv away hidden/a
    ";
    let changed =
        Command::new("sh").args(["-ec", script]).current_dir(path_of(&mounted)).status().unwrap();
    assert!(changed.success());
    let files = |mounted: &std::os::fd::OwnedFd| {
        let all = listing(&path_of(mounted)).into_iter();
        all.filter(|line| line.split(' ').nth(1) != Some("d")).collect::<Vec<_>>()
    };
    let want = files(&mounted);
    drop(mounted);

    let time = fs::metadata(upper.join("more")).unwrap().modified().unwrap();
    let Unmarked { marked, copied } = unmark(&upper, &lower).unwrap();
    drop_same(&upper, &lower, &copied).unwrap();
    // Of a directory that hides what is below, all is its own.
    for (name, is_there) in [
        ("a", false),
        ("b", false),
        ("only", false),
        ("more/a", false),
        ("more/mode", true),
        ("more/new", true),
        ("hidden/a", true),
    ] {
        assert_eq!(fs::symlink_metadata(upper.join(name)).is_ok(), is_there, "{name}: {copied:?}");
    }
    assert_eq!(fs::metadata(upper.join("more")).unwrap().modified().unwrap(), time);
    spell_out(&upper, &lower, &marked).unwrap();
    let all = [&[upper][..], &lower].concat();
    let mounted = mount::overlay(&all, None, &[]).unwrap();
    assert_eq!(files(&mounted), want);
}

#[test]
fn what_was_changed_in_a_tree_comes_back_as_a_layer() {
    let home = Dir::new("pack-tree");
    let place = |name: &str| {
        let path = home.0.join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (lower, now, changes, again) =
        (place("lower"), place("now"), place("changes"), place("again"));
    let options = |below| Options {
        origin: Origin::Layer,
        below,
        whiteouts: Whiteouts::Files,
        limits: Limits::default(),
    };
    apply(&mut base().as_slice(), &lower, &options(&[])).unwrap();
    tree::copy(&lower, &now, tree::Files::Copy).unwrap();
    let changed = Command::new("sh").args(["-ec", CHANGES]).current_dir(&now).status().unwrap();
    assert!(changed.success());
    let want = listing(&now);

    let compare = |before, now| {
        tree::compare(&tree::Compare { before, now, since: None, ignored: None }).unwrap()
    };
    let found = compare(Some(&lower), &now);
    let mut packed = Vec::new();
    let stats = pack_changes(&now, &found, &mut packed).unwrap();
    assert_eq!(stats.n_entries, found.len() as u64);
    let below = [lower.clone()];
    apply(&mut packed.as_slice(), &changes, &options(&below)).unwrap();
    tree::copy(&lower, &again, tree::Files::Link).unwrap();
    tree::merge(&changes, &again).unwrap();
    // What was linked with the layer below has more names.
    let own = |lines: Vec<String>| -> Vec<String> {
        lines.iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(own(listing(&again)), own(want));
    assert_eq!(compare(Some(&now), &again), []);
    assert_eq!(fs::read_to_string(lower.join("etc/a")).unwrap(), "a", "what is below stays");

    let text = String::from_utf8_lossy(&packed);
    for (name, is_there) in [
        ("etc/.wh.b", true),
        (".wh.gone", true),
        ("old/.wh.hidden", true),
        ("etc/stays", false),
        (".wh.was-dir", false),
    ] {
        assert_eq!(text.contains(&format!("{name}\0")), is_there, "{name}");
    }
}

#[test]
fn what_cannot_be_said_in_an_archive_is_an_error() {
    let home = Dir::new("cannot");
    let upper = home.root();
    fs::create_dir(upper.join("d")).unwrap();
    let redirect = rustix::fs::setxattr(
        upper.join("d"),
        "trusted.overlay.redirect",
        b"/other",
        rustix::fs::XattrFlags::empty(),
    );
    if redirect.is_ok() {
        let error = pack(&upper, &[], &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("content in another layer"), "{error}");
    }
    let error = pack(&home.0.join("none"), &[], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Root { .. }));
}

#[test]
fn sockets_are_left_out_and_odd_names_kept() {
    let home = Dir::new("odd");
    let upper = home.root();
    let _socket = std::os::unix::net::UnixListener::bind(upper.join("socket")).unwrap();
    let odd = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\n");
    fs::write(upper.join(odd), "x").unwrap();
    fs::write(upper.join("n".repeat(200)), "x").unwrap();
    let mut packed = Vec::new();
    assert_eq!(pack(&upper, &[], &mut packed).unwrap().n_entries, 2);
    let next = Dir::new("odd-next");
    next.apply(&packed, Origin::Archive).unwrap();
    assert!(next.root().join(odd).exists());
}

/// Does something when the first byte is written.
struct Meanwhile<F: FnMut()> {
    act: Option<F>,
    written: Vec<u8>,
}

impl<F: FnMut()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(mut act) = self.act.take() {
            act();
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn packed_while(home: &Dir, act: impl FnMut()) -> (Result<Packed, Error>, Vec<u8>) {
    let mut out = Meanwhile { act: Some(act), written: Vec::new() };
    // Each piece at once, for there to be a first one.
    let result = crate::pack::pack(&home.root(), &[], &mut out);
    (result, out.written)
}

#[test]
fn a_container_may_go_on_while_it_is_packed() {
    let home = Dir::new("goes-on");
    let at = |name: &str| home.root().join(name);
    let fill = || {
        for name in ["a", "b", "c", "d/in", "e"] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), "content").unwrap();
        }
        let _there = fs::hard_link(at("b"), at("z"));
    };
    fill();
    // What vanishes is left out, and its other name is a file then.
    let (result, bytes) = packed_while(&home, || {
        fs::remove_file(at("b")).unwrap();
        fs::remove_dir_all(at("d")).unwrap();
    });
    result.unwrap();
    let next = Dir::new("goes-on-next");
    next.apply(&bytes, Origin::Archive).unwrap();
    for (name, is_there) in [("a", true), ("b", false), ("c", true), ("d", false), ("z", true)] {
        assert_eq!(next.root().join(name).exists(), is_there, "{name}");
    }
    // A file that grows has the size that it had.
    fill();
    let (result, bytes) = packed_while(&home, || fs::write(at("a"), "content and more").unwrap());
    result.unwrap();
    let next = Dir::new("goes-on-grown");
    next.apply(&bytes, Origin::Archive).unwrap();
    assert_eq!(fs::read_to_string(next.root().join("a")).unwrap(), "content");
    // One that shrinks cannot be said.
    fill();
    let (result, _) = packed_while(&home, || fs::write(at("a"), "c").unwrap());
    let error = result.unwrap_err().to_string();
    assert!(error.contains("became shorter while it was read; pause"), "{error}");
}

/// A link is reached as what it is, not by the path to it: who changes a directory on that path meanwhile would have
/// another's attributes packed, and with the root before it, it may be too long for a call.
#[test]
fn a_link_at_the_end_of_a_long_path_has_its_attributes() {
    use rustix::fs::{Mode, OFlags, XattrFlags};
    let home = Dir::new("pack-long");
    let upper = home.root();
    let (directory, link) = ("d".repeat(255), "l".repeat(250));
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(&upper, flags, Mode::empty()).unwrap();
    for _ in 0..15 {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&here, directory.as_str(), mode).unwrap();
        here = rustix::fs::openat(&here, directory.as_str(), flags, Mode::empty()).unwrap();
    }
    rustix::fs::symlinkat("nowhere", &here, link.as_str()).unwrap();
    let place = fsroot::fd_path(&here).join(&link);
    rustix::fs::lsetxattr(&place, "trusted.note", b"noted", XattrFlags::empty()).unwrap();

    let mut packed = Vec::new();
    let stats = pack(&upper, &[], &mut packed).unwrap();
    assert_eq!(stats.n_entries, 16);
    let has = |text: &[u8]| packed.windows(text.len()).any(|part| part == text);
    assert!(has(b"SCHILY.xattr.trusted.note=noted\n"));
}

#[test]
fn a_socket_hides_what_was_there() {
    let home = Dir::new("socket");
    let lower = home.0.join("lower");
    fs::create_dir_all(lower.join("d")).unwrap();
    fs::write(lower.join("d/file"), "x").unwrap();
    fs::create_dir(home.root().join("d")).unwrap();
    for name in ["d/file", "d/new"] {
        drop(std::os::unix::net::UnixListener::bind(home.root().join(name)).unwrap());
    }
    let mut packed = Vec::new();
    pack(&home.root(), &[lower], &mut packed).unwrap();
    let text = String::from_utf8_lossy(&packed);
    assert!(text.contains("d/.wh.file\0") && !text.contains("new"), "{text}");
}

/// In a user namespace overlayfs keeps its attributes as users'.
#[test]
fn an_overlay_of_a_user_namespace_is_packed_as_any_other() {
    testkit::needs!(Overlay, UserNamespace);
    if !mount::in_user_namespace() {
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("tests::packing::an_overlay_of_a_user_namespace_is_packed_as_any_other")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
        return;
    }
    let home = Dir::new("user-overlay");
    let place = |name: &str| {
        let path = home.0.join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (lower, upper, work, layer) =
        (place("lower"), place("upper"), place("work"), place("layer"));
    let base =
        archive(&[dir("d"), file("d/old", "x"), file("f", "x"), dir("e"), file("e/stays", "x")]);
    let options = |below| Options {
        origin: Origin::Layer,
        below,
        whiteouts: Whiteouts::Overlay,
        limits: Limits::default(),
    };
    apply(&mut base.as_slice(), &lower, &options(&[])).unwrap();
    let below = [lower.clone()];
    let mounted = mount::overlay(&below, Some((&upper, &work)), &[]).unwrap();
    let script = "rm -r d; mkdir d; echo x >d/new; rm f; chmod 700 e; echo x >e/new";
    let changed = Command::new("sh").args(["-ec", script]).current_dir(path_of(&mounted)).status();
    assert!(changed.unwrap().success());
    let want = listing(&path_of(&mounted));
    drop(mounted);
    let mut packed = Vec::new();
    pack(&upper, &below, &mut packed).unwrap();
    let text = String::from_utf8_lossy(&packed);
    assert!(text.contains("d/.wh..wh..opq\0") && text.contains(".wh.f\0"), "{text}");
    assert!(!text.contains("overlay."), "{text}");
    apply(&mut packed.as_slice(), &layer, &options(&below)).unwrap();
    let mounted = mount::overlay(&[layer, lower], None, &[]).unwrap();
    assert_eq!(listing(&path_of(&mounted)), want);
}
