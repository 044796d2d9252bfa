//! Layers on each other: whiteouts, and parents that a layer does not mention.

use super::*;

struct Stack {
    home: Dir,
    /// Lowest first.
    layers: Vec<PathBuf>,
}

impl Stack {
    fn new(name: &str) -> Self {
        Self { home: Dir::new(name), layers: Vec::new() }
    }

    fn add(&mut self, entries: &[(Entry, &str)]) -> &Path {
        let root = self.home.0.join(format!("layer{}", self.layers.len()));
        fs::create_dir(&root).unwrap();
        let below: Vec<_> = self.layers.iter().rev().cloned().collect();
        let options = Options {
            origin: Origin::Layer,
            below: &below,
            whiteouts: Whiteouts::Overlay,
            limits: Limits::default(),
        };
        apply(&mut archive(entries).as_slice(), &root, &options).unwrap();
        self.merge(entries);
        self.layers.push(root);
        &self.layers[self.layers.len() - 1]
    }

    /// The same layer on a whole tree.
    fn merge(&self, entries: &[(Entry, &str)]) {
        let here = |what: &str, n: usize| self.home.0.join(format!("{what}{n}"));
        let n = self.layers.len();
        let (whole, changes) = (here("whole", n), here("changes", n));
        fs::create_dir(&whole).unwrap();
        fs::create_dir(&changes).unwrap();
        let below: Vec<_> = n.checked_sub(1).map(|n| here("whole", n)).into_iter().collect();
        let options = Options {
            origin: Origin::Layer,
            below: &below,
            whiteouts: Whiteouts::Files,
            limits: Limits::default(),
        };
        apply(&mut archive(entries).as_slice(), &changes, &options).unwrap();
        if let [below] = &below[..] {
            tree::copy(below, &whole, tree::Files::Link).unwrap();
        }
        tree::merge(&changes, &whole).unwrap();
    }

    /// All names that the layers together show, as overlayfs sees them. The tree that was merged has
    /// the same files.
    fn shown(&self) -> Option<Vec<String>> {
        let lower: Vec<_> = self.layers.iter().rev().cloned().collect();
        let mounted = match mount::overlay(&lower, None, &[]) {
            Ok(mounted) => mounted,
            Err(error) => {
                println!("skipped: layers on overlayfs: {}", chain(&error));
                return None;
            }
        };
        let all = |root: &Path| {
            // A directory that no layer mentions has the time when it was made.
            let script = "find . -mindepth 1 ! -type d -printf '%p %y %m %U %G %T@ %l\\n' | sort
                find . -mindepth 1 -type d -printf '%p %m %U %G\\n' | sort
                find . -type f -exec cksum {} + | sort";
            let run = Command::new("sh").args(["-ec", script]).current_dir(root).output().unwrap();
            String::from_utf8_lossy(&run.stdout).into_owned()
        };
        let whole = self.home.0.join(format!("whole{}", self.layers.len() - 1));
        assert_eq!(all(&whole), all(&fsroot_path(&mounted)));
        let run = Command::new("find")
            .args([".", "-mindepth", "1"])
            .current_dir(fsroot_path(&mounted))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        let mut names: Vec<_> = text.lines().map(|name| name[2..].to_owned()).collect();
        names.sort();
        Some(names)
    }
}

/// Not `/proc/self`: the one who looks is a child.
fn fsroot_path(fd: &std::os::fd::OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()).into()
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    let mut stack = Stack::new("whiteout");
    stack.add(&[
        dir("a"),
        file("a/one", "1"),
        file("a/two", "2"),
        dir("b"),
        file("b/old", "x"),
        dir("c"),
        file("c/old", "x"),
        file("gone", "x"),
        dir("e"),
        file("e/old", "x"),
    ]);
    stack.add(&[
        file("a/.wh.one", ""),
        file(".wh.gone", ""),
        // Opaque, said after what this layer puts there.
        file("b/new", "x"),
        file("b/.wh..wh..opq", ""),
        // A directory and its own whiteout, in both orders.
        file(".wh.c", ""),
        dir("c"),
        file("c/new", "x"),
        dir("e"),
        file("e/new", "x"),
        file(".wh.e", ""),
        // aufs's own.
        file(".wh..wh.aufs", ""),
        dir(".wh..wh.plnk"),
        // Of what is not there.
        file(".wh.never", ""),
    ]);
    if let Some(shown) = stack.shown() {
        assert_eq!(shown, ["a", "a/two", "b", "b/new", "c", "c/new", "e", "e/new"]);
    }
    stack.add(&[file("gone", "again"), file("c/.wh.new", "")]);
    if let Some(shown) = stack.shown() {
        assert_eq!(shown, ["a", "a/two", "b", "b/new", "c", "e", "e/new", "gone"]);
    }
}

#[test]
fn the_lowest_layer_has_no_whiteouts() {
    let mut stack = Stack::new("lowest");
    let root = stack.add(&[dir("a"), file("a/.wh.b", ""), file("a/.wh..wh..opq", "")]);
    assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 0);
}

#[test]
fn a_whiteout_does_not_reach_through_a_link() {
    let mut stack = Stack::new("reach");
    stack.add(&[dir("a")]);
    let canary = stack.home.0.join("canary");
    let layer = stack.home.0.join("next");
    fs::create_dir(&layer).unwrap();
    let below = [stack.layers[0].clone()];
    let options = Options {
        origin: Origin::Layer,
        below: &below,
        whiteouts: Whiteouts::Overlay,
        limits: Limits::default(),
    };
    for name in ["d/.wh.secret", "d/.wh..wh..opq"] {
        let bytes = archive(&[symlink("d", canary.to_str().unwrap()), file(name, "")]);
        let _ = apply(&mut bytes.as_slice(), &layer, &options);
        assert_eq!(fs::read_to_string(canary.join("secret")).unwrap(), "secret");
    }
}

#[test]
fn a_parent_that_is_not_mentioned_looks_as_below() {
    let mut stack = Stack::new("implied");
    let mut var = dir("var");
    var.0.mode = 0o2710;
    var.0.uid = 3;
    var.0.mtime.seconds = 11;
    stack.add(&[var, dir("var/lib")]);
    let top = stack.add(&[file("var/lib/new/file", "x")]);
    let found = fs::metadata(top.join("var")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid()), (0o2710, 3));
    assert_eq!(fs::metadata(top.join("var/lib/new")).unwrap().mode() & 0o7777, 0o755);
}

/// Whether these names are one file, in each form of the topmost layer.
fn are_one(stack: &Stack, one: &str, other: &str) -> bool {
    let top = stack.layers.len() - 1;
    let roots = [stack.layers[top].clone(), stack.home.0.join(format!("whole{top}"))];
    let both = roots.map(|root| {
        let file = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
        (file(one).ino(), file(one).dev()) == (file(other).ino(), file(other).dev())
    });
    assert_eq!(both[0], both[1], "{one} and {other}");
    both[0]
}

#[test]
fn a_hard_link_to_a_file_below_brings_it_up() {
    let mut stack = Stack::new("below");
    let mut tool = file("usr/bin/tool", "tool");
    tool.0.mode = 0o4750;
    (tool.0.uid, tool.0.gid) = (5, 6);
    tool.0.mtime = Time { seconds: 77, nanoseconds: 9 };
    tool.0.xattrs.insert(b"user.note".to_vec(), b"hi".to_vec());
    let mut folder = dir("usr");
    folder.0.mode = 0o2711;
    let mut null = (entry(Kind::CharDevice, "null", ""), "");
    null.0.device = (1, 3);
    stack.add(&[
        folder,
        dir("usr/bin"),
        tool,
        symlink("bin", "usr/bin"),
        symlink("up", "/usr/../usr/bin/./"),
        symlink("link", "nowhere"),
        null,
        dir("d"),
        file("d/old", "old"),
        file("later", "below"),
    ]);
    stack.add(&[
        hard_link("tool2", "usr/bin/tool"),
        hard_link("usr/tool3", "bin/tool"),
        hard_link("usr/tool4", "up/tool"),
        hard_link("link2", "link"),
        hard_link("null2", "/null"),
        hard_link("d/old", "d/old"),
        hard_link("later2", "later"),
        file("later", "above"),
    ]);
    for name in ["usr/bin/tool", "usr/tool3", "usr/tool4"] {
        assert!(are_one(&stack, "tool2", name), "{name}");
    }
    assert!(are_one(&stack, "null2", "null") && are_one(&stack, "link2", "link"));
    assert!(!are_one(&stack, "later2", "later"));
    let top = &stack.layers[1];
    let found = fs::metadata(top.join("tool2")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o4750, 5, 6));
    assert_eq!((found.mtime(), found.mtime_nsec(), found.nlink()), (77, 9, 4));
    let mut note = [0; 9];
    let len = rustix::fs::getxattr(top.join("tool2"), "user.note", &mut note[..]);
    assert!(len.is_err() || note.starts_with(b"hi"), "the disk knows attributes, and it has none");
    assert_eq!(fs::metadata(top.join("usr")).unwrap().mode() & 0o7777, 0o2711);
    assert!(
        fs::symlink_metadata(top.join("bin")).is_err(),
        "the link below is followed, not hidden"
    );
    assert_eq!(fs::read_to_string(top.join("later2")).unwrap(), "below");
    // What is below is as it was.
    assert_eq!(fs::metadata(stack.layers[0].join("usr/bin/tool")).unwrap().nlink(), 1);
    if let Some(shown) = stack.shown() {
        assert!(shown.contains(&"bin".to_owned()) && shown.contains(&"usr/tool4".to_owned()));
    }
    // Two layers up, what the one between has is meant.
    stack.add(&[hard_link("last", "usr/tool3"), hard_link("old2", "d/old")]);
    assert!(are_one(&stack, "last", "usr/tool3"));
    stack.shown();
}

#[test]
fn a_hard_link_to_what_is_hidden_is_refused() {
    let mut stack = Stack::new("below-hidden");
    let canary = stack.home.0.join("canary");
    let out = symlink("out", canary.to_str().unwrap().to_owned().leak());
    let files = ["gone", "opaque/old", "removed/deep/old", "replaced/old", "here/old", "own/old"];
    let mut entries: Vec<_> = files.into_iter().map(|name| file(name, "x")).collect();
    entries.extend([dir("only"), out, symlink("circle", "circle/x"), symlink("dots", "../../..")]);
    stack.add(&entries);
    stack.add(&[
        file(".wh.gone", ""),
        file("opaque/.wh..wh..opq", ""),
        file(".wh.removed", ""),
        file("replaced", "a file now"),
    ]);
    for (before, target, why) in [
        (None, "gone", "neither in the archive nor in the layers below"),
        (None, "opaque/old", "neither in the archive"),
        (None, "removed/deep/old", "neither in the archive"),
        (None, "replaced/old", "neither in the archive"),
        (None, "none", "neither in the archive"),
        (None, "here/old/er", "neither in the archive"),
        (None, "only", "a directory"),
        (None, "out/secret", "neither in the archive"),
        (None, "circle/y", "neither in the archive"),
        (None, "dots/canary/secret", "neither in the archive"),
        (Some(file("here/.wh.old", "")), "here/old", "neither in the archive"),
        (Some(file("own/.wh..wh..opq", "")), "own/old", "neither in the archive"),
    ] {
        for whiteouts in [Whiteouts::Overlay, Whiteouts::Files] {
            let below: Vec<_> = match whiteouts {
                Whiteouts::Overlay => stack.layers.iter().rev().cloned().collect(),
                Whiteouts::Files => vec![stack.home.0.join("whole1")],
            };
            let layer = stack.home.0.join("next");
            fs::create_dir(&layer).unwrap();
            let limits = Limits::default();
            let options = Options { origin: Origin::Layer, below: &below, whiteouts, limits };
            let mut entries: Vec<_> = before.clone().into_iter().collect();
            entries.push(hard_link("new", target));
            let error = apply(&mut archive(&entries).as_slice(), &layer, &options).unwrap_err();
            assert!(chain(&error).contains(why), "{target}: {}", chain(&error));
            assert!(fs::symlink_metadata(layer.join("new")).is_err(), "{target}");
            fs::remove_dir_all(&layer).unwrap();
        }
    }
}

#[test]
fn what_is_brought_up_counts() {
    let mut stack = Stack::new("below-size");
    stack.add(&[file("large", "0123456789"), file("other", "0123456789")]);
    let layer = stack.home.0.join("next");
    fs::create_dir(&layer).unwrap();
    let options = Options {
        origin: Origin::Layer,
        below: &stack.layers,
        whiteouts: Whiteouts::Overlay,
        limits: Limits { files: 19, ..Limits::default() },
    };
    let links = [hard_link("a", "large"), hard_link("b", "large"), hard_link("c", "other")];
    let error = apply(&mut archive(&links).as_slice(), &layer, &options).unwrap_err();
    assert!(matches!(error, Error::TooLarge { max: 19 }), "{error:?}");
    fs::remove_dir_all(&layer).unwrap();
    fs::create_dir(&layer).unwrap();
    let applied = apply(&mut archive(&links[..2]).as_slice(), &layer, &options).unwrap();
    assert_eq!(applied.size, 10);
}

#[test]
fn many_opaque_marks_cost_no_more_than_their_number() {
    let mut stack = Stack::new("many");
    stack.add(&[dir("a")]);
    let mut entries = Vec::new();
    let mut path = String::new();
    for n in 0..300 {
        path.push_str("d/");
        entries.push(dir(&path));
        for _ in 0..10 {
            entries.push(file(&format!("{path}.wh..wh..opq"), ""));
        }
        entries.push(file(&format!("{path}f{n}"), "x"));
    }
    let start = std::time::Instant::now();
    stack.add(&entries);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

/// In a user namespace overlayfs keeps its attributes as users'.
#[test]
fn whiteouts_hide_in_a_user_namespace_too() {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]);
    if !command.arg("true").status().is_ok_and(|status| status.success()) {
        println!("skipped: whiteouts_hide_in_a_user_namespace_too: no user namespaces");
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("tests::layers::whiteouts_hide_what_is_below_and_nothing_else")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    assert!(!text.contains("skipped"), "{text}");
}
