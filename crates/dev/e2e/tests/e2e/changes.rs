//! `diff`, beside what a look at all files before and after tells.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use testkit::{Catalogue, Sandbox, catalogue, needs};

use crate::actor::Actor;
use crate::docker_client::Daemon;
use crate::generate::Dice;
use crate::{busybox, pid};

/// Where everything happens: nothing is mounted below it.
const PLACE: &str = "place";

/// Lets so many things happen in a container, and looks at it before and after.
fn happen(
    sandbox: &Sandbox,
    name: &str,
    dice: &mut Dice,
    n_things: usize,
) -> (Catalogue, Catalogue, String) {
    let root = PathBuf::from(format!("/proc/{}/root/{PLACE}", pid(sandbox, name)));
    let before = catalogue(&root);
    let mut actor = Actor { dice, root: root.clone(), log: Vec::new() };
    for _ in 0..n_things {
        actor.act();
    }
    let log = actor.log.join("\n");
    (before, catalogue(&root), log)
}

/// As JSON has it.
fn shown(path: &Path) -> String {
    format!("/{PLACE}/{}", path.to_string_lossy())
}

/// What must be told of, by its letter, and what may be.
fn expected(before: &Catalogue, after: &Catalogue) -> [BTreeSet<String>; 4] {
    let is_directory =
        |of: &Catalogue, path: &Path| of.get(path).is_some_and(|one| one.kind == 'd');
    let parent = |path: &Path| path.parent().map(Path::to_path_buf).unwrap_or_default();
    let added: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    // What was below something that is gone is not told of.
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let gone: Vec<_> = gone.filter(|path| is_directory(after, &parent(path))).collect();
    let both: Vec<_> = after.keys().filter(|path| before.contains_key(*path)).collect();
    // Not what it is linked with; and the time of a directory is told by what is in it.
    let differ = |path: &Path| {
        let (mut one, mut other) = (before[path].clone(), after[path].clone());
        for one in [&mut one, &mut other] {
            (one.linked, one.data) = (None, Vec::new());
            if one.kind == 'd' {
                (one.mtime, one.size) = ((0, 0), 0);
            }
        }
        one != other
    };
    let changed: BTreeSet<_> = both.iter().filter(|path| differ(path)).map(|p| shown(p)).collect();
    let all = |paths: &[&PathBuf]| paths.iter().map(|path| shown(path)).collect::<BTreeSet<_>>();
    [all(&added), all(&gone), changed, all(&both)]
}

#[test]
fn what_is_told_is_what_has_changed() {
    needs!(Root, Netns, Busybox, Curl);
    let sandbox = busybox("changes");
    let seeds = std::env::var("DHOW_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for seed in 0..seeds {
        let mut dice = Dice::new(seed + 21_000);
        let start = |name: &str, image: &str, script: &str| {
            sandbox.ok(&["run", "-d", "--name", name, image, "sh", "-c", script]);
        };
        // Many directories with something in them: what happens to those is the most various.
        let made = format!(
            "mkdir /{PLACE}; cd /{PLACE}; for a in 1 2 3 4 5 6 7 8 9; do for b in x y; do \
             mkdir -p d$a/$b; for f in 1 2 3; do echo $f >d$a/f$f; echo $f >d$a/$b/f$f; done; \
             done; done; touch ready; sleep 600"
        );
        start("first", "busybox", &made);
        let ready = format!("test -e /{PLACE}/ready");
        testkit::wait_until("it has made its files", || {
            sandbox.dhow(&["exec", "first", "sh", "-c", &ready]).code == 0
        });
        happen(&sandbox, "first", &mut dice, 15);
        sandbox.ok(&["commit", "first", "second:1"]);
        start("second", "second:1", "sleep 600");
        let (before, mut after, log) = happen(&sandbox, "second", &mut dice, 40);
        // No layer has sockets: where a root is a copy, they are not told of either.
        let sockets = after.iter().filter(|(_, one)| one.kind == 's');
        let sockets: BTreeSet<String> = sockets.map(|(path, _)| shown(path)).collect();
        after.retain(|_, one| one.kind != 's');

        let daemon = Daemon::start(&sandbox);
        let mut curl = sandbox.command("curl");
        curl.args(["-sf", "--unix-socket", daemon.socket()]);
        curl.arg("http://d/v1.51/containers/second/changes");
        let told = testkit::capture(&mut curl).success();
        drop(daemon);
        let told: Vec<serde_json::Value> = serde_json::from_str(&told).unwrap();
        let of = |kind: u64| -> BTreeSet<String> {
            let those = told.iter().filter(|one| one["Kind"] == kind);
            let paths = those.map(|one| one["Path"].as_str().unwrap().to_owned());
            let inside = format!("/{PLACE}/");
            paths.filter(|path| path.starts_with(&inside) && !sockets.contains(path)).collect()
        };
        let (modified, added, deleted) = (of(0), of(1), of(2));
        let [want_added, want_gone, changed, both] = expected(&before, &after);
        let odd = |what: &str, one: &BTreeSet<String>, other: &BTreeSet<String>| {
            let rest: Vec<_> = one.difference(other).collect();
            assert!(rest.is_empty(), "{seed}: {what}: {rest:#?}\n{log}");
        };
        odd("added, and not told", &want_added, &added);
        odd("told as added, and not", &added, &want_added);
        odd("gone, and not told", &want_gone, &deleted);
        odd("told as gone, and not", &deleted, &want_gone);
        odd("changed, and not told", &changed, &modified);
        odd("told as changed, and not there before and after", &modified, &both);
        sandbox.ok(&["rm", "-f", "first", "second"]);
        sandbox.ok(&["rmi", "second:1"]);
    }
    sandbox.finish();
}
