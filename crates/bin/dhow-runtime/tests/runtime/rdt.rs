//! Classes of service of resctrl. Machines mostly lack it: then that is what the error says. With the
//! feature `failpoints`, a directory of the test's own takes its place.

use std::path::PathBuf;

use serde_json::json;

use crate::bundle::{Bundle, Ran, bundle};

#[test]
fn without_resctrl_it_is_refused_by_name() {
    let Some(mut b) = bundle("without_resctrl_it_is_refused_by_name") else { return };
    if std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        println!("skipped: without_resctrl_it_is_refused_by_name: this machine has it");
        return;
    }
    b.config["linux"]["intelRdt"] = json!({ "l3CacheSchema": "L3:0=f" });
    b.run().fails("linux.intelRdt cannot be set: resctrl is not mounted on this machine");
    b.assert_nothing_left();
}

/// A bundle, and a directory that looks like resctrl with the class `shared` in it.
fn with_fake(test: &str) -> Option<(Bundle, PathBuf)> {
    if !cfg!(feature = "failpoints") {
        println!("skipped: {test}: needs the feature failpoints");
        return None;
    }
    let b = bundle(test)?;
    let root = b.dir.join("resctrl");
    for class in ["", "shared"] {
        std::fs::create_dir_all(root.join(class).join("mon_groups")).unwrap();
        std::fs::write(root.join(class).join("tasks"), "").unwrap();
        std::fs::write(root.join(class).join("schemata"), "    L3:0=00f\n    MB:0= 50\n").unwrap();
    }
    Some((b, root))
}

impl Bundle {
    fn with(&self, root: &std::path::Path, args: &[&str]) -> Ran {
        self.write();
        Ran::of(&self.command(args).env("DHOW_FAKE_RESCTRL", root).output().unwrap())
    }

    /// `create`, whose container keeps its output open.
    fn create_with(&self, root: &std::path::Path) {
        self.write();
        let status = self
            .command(&["create", "--pid-file", "pid", "c"])
            .env("DHOW_FAKE_RESCTRL", root)
            .stdout(std::process::Stdio::null())
            .stderr(std::fs::File::create(self.dir.join("out")).unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "{}", self.output());
    }

    fn pid(&self) -> String {
        std::fs::read_to_string(self.dir.join("pid")).unwrap() + "\n"
    }
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_container_has_a_class_of_its_own() {
    let Some((mut b, root)) = with_fake("a_container_has_a_class_of_its_own") else { return };
    b.config["linux"]["intelRdt"] = json!({
        "schemata": ["L2:0=3", "L3:1=7"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f",
        "enableMonitoring": true,
    });
    b.args(&["sleep", "1000"]).create_with(&root);
    assert_eq!(read(root.join("c/schemata")), "L3:0=f\nMB:0=20\nL2:0=3\nL3:1=7\n");
    assert_eq!(read(root.join("c/tasks")), b.pid());
    assert_eq!(read(root.join("c/mon_groups/c/tasks")), b.pid());
    b.with(&root, &["start", "c"]).ok();
    // What is executed in it is there as well.
    b.with(&root, &["exec", "c", "true"]).ok();
    assert_eq!(read(root.join("c/tasks")).lines().count(), 2);
    b.with(&root, &["delete", "--force", "c"]).ok();
    assert!(!root.join("c").exists());
    assert!(root.join("shared").exists());
}

#[test]
fn a_named_class_stays() {
    let Some((mut b, root)) = with_fake("a_named_class_stays") else { return };
    b.args(&["sleep", "1000"]);
    for (rdt, class) in [
        // It is there, and nothing is said about it.
        (json!({ "closID": "shared" }), "shared"),
        // It is there, and just like that.
        (
            json!({ "closID": "shared", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50" }),
            "shared",
        ),
        (json!({ "closID": "shared", "enableMonitoring": true }), "shared"),
        // It is not there, and made.
        (json!({ "closID": "new", "schemata": ["L3:0=1"] }), "new"),
        (json!({ "closID": "/" }), ""),
    ] {
        b.config["linux"]["intelRdt"] = rdt;
        b.create_with(&root);
        assert!(read(root.join(class).join("tasks")).ends_with(&b.pid()), "{class}");
        b.with(&root, &["delete", "--force", "c"]).ok();
        assert!(root.join(class).join("tasks").exists());
        assert!(!root.join(class).join("mon_groups/c").exists());
    }
    assert_eq!(read(root.join("new/schemata")), "L3:0=1\n");
    assert_eq!(read(root.join("shared/schemata")), "    L3:0=00f\n    MB:0= 50\n");
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some((mut b, root)) = with_fake("what_does_not_fit_is_refused") else { return };
    for (rdt, why) in [
        (json!({ "closID": "none" }), "linux.intelRdt.closID: `none` does not exist"),
        (
            json!({ "closID": "shared", "memBwSchema": "MB:0=60" }),
            "linux.intelRdt: `MB:0=60` is not what the class `shared` has",
        ),
    ] {
        b.config["linux"]["intelRdt"] = rdt;
        b.with(&root, &["run", "c"]).fails(why);
        b.assert_nothing_left();
    }
    // What was made before a later step failed is gone again.
    b.config["linux"]["intelRdt"] = json!({ "schemata": ["L3:0=1"], "enableMonitoring": true });
    b.config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/false" }] });
    b.with(&root, &["run", "c"]).fails("hook \"/bin/false\": exit status 1");
    assert!(!root.join("c").exists());
}

#[test]
fn killed_at_any_step_its_class_goes_by_force() {
    let Some((mut b, root)) = with_fake("killed_at_any_step_its_class_goes_by_force") else {
        return;
    };
    b.config["linux"]["intelRdt"] = json!({ "schemata": ["L3:0=1"], "enableMonitoring": true });
    b.args(&["sleep", "1000"]).write();
    for name in failpoint::ALL.iter().filter(|name| name.starts_with("resctrl.")) {
        let died = |args: &[&str]| {
            let status = b
                .command(args)
                .env("DHOW_FAKE_RESCTRL", &root)
                .env("DHOW_FAILPOINTS", format!("{name}=kill"))
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status();
            !status.unwrap().success()
        };
        let killed = died(&["create", "c"]) || died(&["delete", "--force", "c"]);
        assert!(killed, "{name} was never passed");
        b.with(&root, &["delete", "--force", "c"]).ok();
        assert!(!root.join("c").exists(), "{name} leaves the class");
        b.assert_nothing_left();
    }
}
