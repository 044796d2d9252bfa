//! Processes that are killed at every step. Afterwards nothing is half there, and the same command
//! succeeds.

use std::process::{Command, Stdio};

use snapshot::Mounts;

use super::platforms::Made;
use super::pull::Remote;
use super::serve::{HERE, Pushed, a_day_later};
use super::*;

const ROOT: &str = "DHOW_TEST_ROOT";
const WHAT: &str = "DHOW_TEST_WHAT";

fn archive() -> Vec<u8> {
    tar(&[("a", "x"), ("dir/b", "y")])
}

/// An image of two layers, as a registry has it.
fn remote() -> Remote {
    Remote::new(&[&[("old", "x")], &[("a", "1"), ("dir/b", "2")]])
}

/// An index of this machine's image and another one.
fn two() -> Made {
    Made::index(&["linux/s390x", &format!("linux/{}", host::platform().architecture)])
}

/// What the child does.
fn act(home: &Path, images: &Images, what: &str) -> Result<(), Error> {
    let import = Import { reference: "new:1".parse().ok(), created: Some(1), ..Import::default() };
    match what {
        "import" => images.import(&mut archive().as_slice(), &import, &mut |_| ()).map(drop),
        "load" => images.load(&mut fs::read(home.join("saved.tar")).unwrap().as_slice()).map(drop),
        "load-index" => images.load(&mut two().archive("two:1", &[]).as_slice()).map(drop),
        "remove-index" => images.remove("two:1", false, &|_| false).map(drop),
        "remove-platform" => {
            let other = ["linux/s390x".parse().unwrap()];
            images.remove_platforms("two:1", &other, false, &|_| false).map(drop)
        }
        "remove" => images.remove("old:1", false, &|_| false).map(drop),
        "tag" => images.tag("old:1", "other:1"),
        "pull" => remote().pull_into(images, "r.test/a/b:1").map(drop),
        "push" => {
            let name = "old:1".parse().unwrap();
            let push = images.begin_push(&name)?;
            images.end_push(&push, Some(&name))
        }
        "commit" => {
            let commit = Commit { reference: "made:1".parse().ok(), ..Commit::default() };
            let base = images.resolve("old:1")?;
            let upper = home.join("upper");
            let mounts = match images.snapshots.form() {
                snapshot::Form::Own => {
                    Mounts::Overlay { lower: Vec::new(), work: upper.clone(), upper }
                }
                snapshot::Form::Whole => {
                    let before = images.snapshots.layer_paths(&base.chain).pop();
                    Mounts::Directory { root: upper, before, since: (0, 0) }
                }
            };
            images.commit(&mounts, None, Some(&base.id), &commit).map(drop)
        }
        "gc" => {
            let policy =
                docker::gc::Policy::parse("max-age=1d", docker::gc::Subject::Images).unwrap();
            images.gc(&policy, false).map(drop)
        }
        "prune" => {
            let mut filters = Filters::default();
            filters.add("dangling", "false");
            images.prune(&filters, &[]).map(drop)
        }
        "serve" => {
            Pushed::new(&archive()).push(images, HERE, "1");
            Ok(())
        }
        "unserve" => images.drop_manifest(HERE, &pushed_digest()).map(drop),
        other => panic!("{other}"),
    }
}

fn pushed_digest() -> Digest {
    Digest::sha256(&Pushed::new(&archive()).manifest)
}

fn root_of_child() -> PathBuf {
    std::env::var_os(ROOT).unwrap().into()
}

/// The child half of the next test.
#[test]
fn child_that_acts() {
    let Ok(what) = std::env::var(WHAT) else { return };
    let images = open(&root_of_child(), &[]);
    act(&root_of_child(), &images, &what).unwrap();
}

fn run_child(home: &Home, what: &str, failpoints: &str) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::child_that_acts"])
        .env(ROOT, &home.path)
        .env(WHAT, what)
        .env("DHOW_FAILPOINTS", failpoints)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

/// Walks over every step of the store's, and has the child die at it, or the step fail. Afterwards a
/// check finds nothing wrong, and the same command succeeds.
fn walk(driver: Driver, what: &str, n_steps: usize) {
    let maker = Home::on(&format!("crash-maker-{driver}-{what}"), driver);
    maker.import("new:1", &gzip(&archive()));
    let mut saved = Vec::new();
    maker.images.save(&["new:1"], &mut saved).unwrap();

    let points = failpoint::ALL.iter().filter(|name| {
        name.starts_with("content.") || name.starts_with("snapshot.") || name.starts_with("images.")
    });
    let mut n_met = 0;
    for point in points {
        for action in ["kill", "error"] {
            if what.ends_with("serve") && action == "error" {
                continue; // The same steps, in the same order.
            }
            let home = Home::on(&format!("crash-{driver}-{what}-{action}-{point}"), driver);
            fs::write(home.path.join("saved.tar"), &saved).unwrap();
            fs::create_dir(home.path.join("upper")).unwrap();
            fs::write(home.path.join("upper/new"), "x").unwrap();
            let old = home.import("old:1", &tar(&[("old", "x")]));
            if what == "gc" {
                super::gc::used(&home, &old, 40);
            }
            if what == "remove-index" || what == "remove-platform" {
                home.images.load(&mut two().archive("two:1", &[]).as_slice()).unwrap();
            }
            if what == "unserve" {
                Pushed::new(&archive()).push(&home.images, HERE, "1");
            }
            let status = run_child(&home, what, &format!("{point}={action}"));
            if status.success() {
                continue; // This step is not on the way.
            }
            n_met += 1;
            let images = open(&home.path, &[]);
            images.sweep().unwrap();
            if what == "serve" {
                // What a push counts on is held, layers that nobody knows of with it.
                a_day_later(&home);
            }
            nothing_is_wrong(&images, &format!("{what} after {point}={action}"));
            match act(&home.path, &home.images, what) {
                Ok(()) => {}
                // It was done already, all but the last step.
                Err(Error::NoImage(_)) if what.starts_with("remove") => {}
                Err(Error::NotProvided { .. }) if what == "remove-platform" => {}
                Err(error) => panic!("{what} after {point}={action}: {}", chain(&error)),
            }
            nothing_is_wrong(&images, &format!("{what} again after {point}={action}"));
            home.check();
        }
    }
    assert!(n_met >= n_steps, "only {n_met} steps of {what} were met");
}

pub(super) fn nothing_is_wrong(images: &Images, when: &str) {
    let checked = images.check(Checking::default(), &mut |_| Ok(())).unwrap();
    assert_eq!(checked.findings, [], "{when}");
    assert_eq!(checked.summary.skipped, [""; 0], "{when}");
}

#[test]
fn killed_anywhere_in_an_import_everything_is_whole() {
    walk(Driver::Overlay, "import", 20);
}

#[test]
fn killed_anywhere_in_a_load_everything_is_whole() {
    walk(Driver::Overlay, "load", 20);
}

#[test]
fn killed_anywhere_in_a_pull_everything_is_whole() {
    walk(Driver::Overlay, "pull", 20);
}

#[test]
fn killed_anywhere_in_a_push_everything_is_whole() {
    walk(Driver::Overlay, "push", 6);
    // What the dead have held is let go of by the next.
    let home = Home::new("crash-push-held");
    home.import("old:1", &tar(&[("old", "x")]));
    let status = run_child(&home, "push", "images.push-held=kill");
    assert!(!status.success());
    let holders = || home.images.db.read(metadata::Read::holders).unwrap();
    assert_eq!(holders().len(), 1);
    act(&home.path, &home.images, "push").unwrap();
    assert_eq!(holders(), [""; 0]);
}

#[test]
fn killed_anywhere_in_a_commit_everything_is_whole() {
    walk(Driver::Overlay, "commit", 20);
}

#[test]
fn killed_anywhere_in_a_removal_everything_is_whole() {
    walk(Driver::Overlay, "remove", 10);
}

#[test]
fn killed_anywhere_with_several_platforms_everything_is_whole() {
    walk(Driver::Overlay, "load-index", 20);
    walk(Driver::Overlay, "remove-index", 10);
    walk(Driver::Overlay, "remove-platform", 4);
}

#[test]
fn killed_anywhere_in_a_prune_everything_is_whole() {
    walk(Driver::Overlay, "prune", 10);
}

#[test]
fn killed_anywhere_in_a_collection_everything_is_whole() {
    walk(Driver::Overlay, "gc", 10);
}

#[test]
fn killed_anywhere_in_a_tagging_everything_is_whole() {
    walk(Driver::Overlay, "tag", 5);
}

#[test]
fn killed_anywhere_in_a_push_to_us_everything_is_whole() {
    walk(Driver::Overlay, "serve", 10);
    walk(Driver::Overlay, "unserve", 5);
}

#[test]
fn killed_anywhere_everything_is_whole_of_copies() {
    walk(Driver::Copy, "load", 20);
    walk(Driver::Copy, "commit", 20);
    walk(Driver::Copy, "remove", 10);
}

#[test]
fn killed_anywhere_everything_is_whole_of_subvolumes() {
    testkit::needs!(Root, Btrfs);
    let disk = testkit::Disk { kind: "btrfs", mkfs: &[], options: "noatime", size: 512 };
    let name = "tests::crash::killed_anywhere_everything_is_whole_of_subvolumes";
    if disk.again(name).is_some() {
        walk(Driver::Btrfs, "load", 20);
        walk(Driver::Btrfs, "remove", 10);
    }
}

#[test]
fn several_at_once_lose_nothing() {
    let home = Home::new("at-once");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let home = &home;
            scope.spawn(move || {
                let images = open(&home.path, &[]);
                for n in 0..5 {
                    let name = format!("t{thread}:{n}");
                    let shared = tar(&[("shared", &n.to_string())]);
                    let import = Import { reference: name.parse().ok(), ..Import::default() };
                    images.import(&mut shared.as_slice(), &import, &mut |_| ()).unwrap();
                    images.resolve(&name).unwrap();
                    if n % 2 == 0 {
                        images.remove(&name, false, &|_| false).unwrap();
                    }
                    images.sweep().unwrap();
                }
            });
        }
    });
    home.images.sweep().unwrap();
    home.check();
    assert_eq!(home.list(&[]).len(), 8);
}
