//! Labels of `SELinux`. The guest of `cargo xtask vm --selinux` has a policy by which a process reaches the files
//! whose categories it has, and no others.

use serde_json::json;

use crate::bundle::bundle;

const PROCESS: &str = "system_u:system_r:container_t:s0:c1,c2";
const FILES: &str = "system_u:object_r:container_file_t:s0:c1,c2";
const OF_ANOTHER: &str = "system_u:object_r:container_file_t:s0:c3,c4";

#[test]
fn a_label_is_the_programs_and_its_files() {
    if !testkit::Need::Selinux.is_met() {
        return;
    }
    let Some(mut b) = bundle("a_label_is_the_programs_and_its_files") else { return };
    selinux::relabel(&b.rootfs(), FILES).unwrap();
    for (name, label) in [("own", FILES), ("other", OF_ANOTHER)] {
        let path = b.dir.join(name);
        std::fs::write(&path, format!("{name}\n")).unwrap();
        selinux::relabel(&path, label).unwrap();
        b.mount(json!({
            "destination": format!("/{name}"), "type": "bind", "source": path, "options": ["bind"],
        }));
    }
    b.mount(json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue" }));
    b.config["process"]["selinuxLabel"] = json!(PROCESS);
    b.config["linux"]["mountLabel"] = json!(FILES);
    let current = "tr -d '\\000' </proc/self/attr/current; echo";
    let tries = format!("{current}; cat /own; cat /other 2>/dev/null || echo refused");
    let confined = format!("{PROCESS}\nown\nrefused\n");
    assert_eq!(b.script(&tries).run().ok(), confined);
    // What is made for it has its label, what covers directories among it.
    let mounted = "awk '/context=/{print $2}' /proc/mounts";
    let places = b.script(mounted).run().ok();
    for place in ["/dev", "/dev/pts", "/sys/firmware"] {
        assert!(places.lines().any(|line| line == place), "{place}: {places}");
    }
    let pid = b.args(&["sleep", "1000"]).start();
    assert_eq!(b.call(&["exec", "c", "sh", "-c", &tries]).ok(), confined);
    let other = PROCESS.replace("c1,c2", "c1");
    let asked = ["exec", "--process-label", &other, "c", "sh", "-c", current];
    // With one of the categories it may not even execute what has both.
    b.call(&asked).fails("ermission denied");
    let queue = format!("/proc/{pid}/root/dev/mqueue");
    let mut label = vec![0; 256];
    let len = rustix::fs::getxattr(queue, "security.selinux", &mut label[..]).unwrap();
    label.truncate(len);
    assert_eq!(String::from_utf8_lossy(&label).trim_end_matches('\0'), FILES);
    b.call(&["delete", "--force", "c"]).ok();
    // Without a label it is what the runtime is.
    b.config["process"].as_object_mut().unwrap().remove("selinuxLabel");
    assert!(!b.script(current).run().ok().contains("container_t"));
    b.config["process"]["selinuxLabel"] = json!("system_u:system_r:no_such_t:s0");
    b.args(&["true"]).run().fails("process.selinuxLabel: system_u:system_r:no_such_t:s0");
}
