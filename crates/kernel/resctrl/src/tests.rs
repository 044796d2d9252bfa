use super::*;

/// A directory of the test's own that behaves like resctrl as far as files go.
struct Fake(Resctrl);

impl Fake {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("dhow-resctrl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("info")).unwrap();
        std::fs::create_dir_all(root.join("mon_groups")).unwrap();
        for file in ["schemata", "tasks"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        std::fs::write(root.join("info/last_cmd_status"), "ok\n").unwrap();
        Self(Resctrl { root, fake: true })
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.root.join(path)).unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0.root);
    }
}

#[test]
fn a_class_is_made_told_what_it_gets_and_removed() {
    let fake = Fake::new("class");
    let resctrl = &fake.0;
    assert!(!resctrl.exists("a"));
    resctrl.create("a").unwrap();
    resctrl.create("a").unwrap();
    assert!(resctrl.exists("a"));
    resctrl.write_schema("a", "L3:0=f").unwrap();
    resctrl.write_schema("a", "MB:0=20").unwrap();
    assert_eq!(resctrl.schemata("a").unwrap(), "L3:0=f\nMB:0=20\n");
    resctrl.create_monitor("a", "m").unwrap();
    resctrl.assign("a", Some("m"), 7).unwrap();
    assert_eq!(
        (fake.read("a/tasks"), fake.read("a/mon_groups/m/tasks")),
        ("7\n".into(), "7\n".into())
    );
    resctrl.remove_monitor("a", "m").unwrap();
    resctrl.remove("a").unwrap();
    resctrl.remove("a").unwrap();
    assert!(!resctrl.exists("a"));
}

#[test]
fn the_default_class_is_the_root() {
    let fake = Fake::new("root");
    assert!(fake.0.exists(""));
    fake.0.assign("", None, 8).unwrap();
    assert_eq!(fake.read("tasks"), "8\n");
}

#[test]
fn an_error_has_the_kernels_words() {
    let fake = Fake::new("words");
    std::fs::write(fake.0.root.join("info/last_cmd_status"), "mask f0f has gaps\n").unwrap();
    let error = fake.0.write_schema("none", "L3:0=f0f").unwrap_err();
    assert!(error.to_string().ends_with(r#""L3:0=f0f") (mask f0f has gaps)"#), "{error}");
}

#[test]
fn the_mount_is_found_by_its_type() {
    let mountinfo = "22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw\n\
                     23 1 0:21 / /sys/fs/resctrl rw,relatime shared:6 master:1 - resctrl resctrl rw\n";
    assert_eq!(mount_point(mountinfo.as_bytes()).unwrap(), Path::new("/sys/fs/resctrl"));
    assert_eq!(mount_point(mountinfo.replace("resctrl", "tmpfs").as_bytes()), None);
}
