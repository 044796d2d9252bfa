use std::os::fd::AsFd as _;
use std::path::PathBuf;

use super::*;

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-volume-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn who_died_holds_nothing() {
    let scratch = Scratch::new("dead");
    let holders = Holders::lock(&scratch.0).unwrap();
    for (name, text) in [
        ("number", "4194305\n1:x\n/mnt"),
        ("other", &format!("{}\n1:x\n/mnt", std::process::id())),
        ("half", "12\n"),
        ("empty", ""),
    ] {
        std::fs::write(scratch.0.join(name), text).unwrap();
    }
    assert!(holders.living().unwrap().is_empty());
    let left: Vec<_> = std::fs::read_dir(&scratch.0).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    holders.add("me", "/somewhere".as_ref()).unwrap();
    let living = holders.living().unwrap();
    assert_eq!(living.len(), 1);
    assert_eq!(living[0].target, PathBuf::from("/somewhere"));
    // Nothing is mounted there, so there is nothing to take a copy of.
    assert!(living[0].copy().unwrap().is_none());
    holders.remove("me").unwrap();
    holders.remove("me").unwrap();
    assert!(holders.living().unwrap().is_empty());
}

#[test]
fn a_password_is_in_no_error() {
    let options = ["username=me", "password=secret"].map(str::to_owned).to_vec();
    let kind = "no-such-file-system".to_owned();
    let err = FileSystem { kind, device: "//nas/share".into(), options }.open().unwrap_err();
    let text = err.to_string();
    assert!(text.contains("mount //nas/share"), "{text}");
    assert!(text.contains("password=****") && !text.contains("secret"), "{text}");
}

#[test]
fn a_directory_is_what_it_is() {
    let scratch = Scratch::new("directory");
    std::fs::write(scratch.0.join("file"), "x").unwrap();
    let here = std::fs::File::open("/proc/self/ns/mnt").unwrap();
    let namespaces = Namespaces { host: here.as_fd(), own: here.as_fd(), directory: "/".as_ref() };
    let source = Source::Directory { path: scratch.0.clone() };
    let Ok(tree) = source.open(&namespaces, "/".as_ref(), "") else {
        println!("skipped: a_directory_is_what_it_is: no right to mount");
        return;
    };
    let root = fsroot::Root::from_fd(tree);
    assert!(root.exists("file").unwrap());
}
