//! Processes that are killed at every step. Afterwards nothing is half there, and the same command
//! succeeds.

use std::process::{Command, Stdio};

use super::serve::{HERE, Pushed, a_day_later};
use super::*;

const ROOT: &str = "DHOW_TEST_ROOT";
const WHAT: &str = "DHOW_TEST_WHAT";

fn archive() -> Vec<u8> {
    tar(&[("a", "x"), ("dir/b", "y")])
}

/// What the child does.
fn act(images: &Images, what: &str) -> Result<(), Error> {
    let import = Import { reference: "new:1".parse().ok(), created: Some(1), ..Import::default() };
    match what {
        "import" => images.import(&mut archive().as_slice(), &import, &mut |_| ()).map(drop),
        "load" => images
            .load(&mut fs::read(root_of_child().join("saved.tar")).unwrap().as_slice())
            .map(drop),
        "remove" => images.remove("old:1", false, &|_| false).map(drop),
        "tag" => images.tag("old:1", "other:1"),
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
    act(&images, &what).unwrap();
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

#[test]
fn killed_anywhere_everything_is_whole() {
    killed_anywhere(Driver::Overlay, &["import", "load", "remove", "tag", "serve", "unserve"]);
}

#[test]
fn killed_anywhere_everything_is_whole_of_copies() {
    killed_anywhere(Driver::Copy, &["load", "remove"]);
}

fn killed_anywhere(driver: Driver, acts: &[&str]) {
    let maker = Home::on("crash-maker", driver);
    maker.import("new:1", &gzip(&archive()));
    let mut saved = Vec::new();
    maker.images.save(&["new:1"], &mut saved).unwrap();

    let points = failpoint::ALL.iter().filter(|name| {
        name.starts_with("content.") || name.starts_with("snapshot.") || name.starts_with("images.")
    });
    let mut n_killed = 0;
    for point in points {
        for &what in acts {
            for action in ["kill", "error"] {
                if what.ends_with("serve") && action == "error" {
                    continue; // The same steps, in the same order.
                }
                let home = Home::on(&format!("crash-{driver}-{what}-{action}-{point}"), driver);
                fs::write(home.path.join("saved.tar"), &saved).unwrap();
                home.import("old:1", &tar(&[("old", "x")]));
                if what == "unserve" {
                    Pushed::new(&archive()).push(&home.images, HERE, "1");
                }
                let status = run_child(&home, what, &format!("{point}={action}"));
                if status.success() {
                    continue; // This step is not on the way.
                }
                n_killed += 1;
                let images = open(&home.path, &[]);
                images.sweep().unwrap();
                if what == "serve" {
                    // What a push counts on is held, layers that nobody knows of with it.
                    a_day_later(&home);
                }
                home.check();
                match act_again(&home, what) {
                    Ok(()) => {}
                    // It was done already, all but the last step.
                    Err(Error::NoImage(_)) if what == "remove" => {}
                    Err(error) => panic!("{what} after {point}={action}: {}", chain(&error)),
                }
                home.check();
                fs::remove_file(home.path.join("saved.tar")).unwrap();
            }
        }
    }
    assert!(n_killed > 10 * acts.len(), "only {n_killed} steps were met");
}

fn act_again(home: &Home, what: &str) -> Result<(), Error> {
    if what == "load" {
        let saved = fs::read(home.path.join("saved.tar")).unwrap();
        return home.images.load(&mut saved.as_slice()).map(drop);
    }
    act(&home.images, what)
}

#[test]
fn killed_while_its_driver_is_chosen_a_root_is_whole() {
    for point in ["images.driver", "images.driver-chosen"] {
        for action in ["kill", "error"] {
            let home = Home::new(&format!("crash-driver-{action}-{point}"));
            fs::remove_dir_all(home.path.join("snapshots")).unwrap();
            assert!(!run_child(&home, "import", &format!("{point}={action}")).success());
            let images = open(&home.path, &[]);
            images.sweep().unwrap();
            act(&images, "import").unwrap();
            home.check();
        }
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
