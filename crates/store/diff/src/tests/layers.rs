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
