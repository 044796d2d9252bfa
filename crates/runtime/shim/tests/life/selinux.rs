//! Labels of `SELinux`: in the guest of `cargo xtask vm --selinux`.

use std::path::Path;

use serde_json::json;
use shim_protocol::Attach;

use crate::Case;
use crate::container::{Container, read_all, unframe};

pub(crate) const CASES: &[Case] = &[(
    "selinux::all_in_the_root_has_the_containers_label",
    all_in_the_root_has_the_containers_label,
)];

const PROCESS: &str = "system_u:system_r:container_t:s0:c1,c2";
const FILES: &str = "system_u:object_r:container_file_t:s0:c1,c2";

fn all_in_the_root_has_the_containers_label() {
    if !Path::new("/sys/fs/selinux/context").exists() {
        println!("skipped: Selinux: no SELinux, or no policy");
        return;
    }
    // What an image brings it can read and execute; it writes, and what it has written is its own.
    let mut it = Container::new(
        "tr -d '\\000' </proc/self/attr/current; echo; echo x >/made && cat /made; \
         grep ' / overlay ' /proc/mounts | grep -o 'context=[^ ]*s0:c1,c2'",
    );
    FILES.clone_into(&mut it.config.mount_label);
    it.spec["process"]["selinuxLabel"] = json!(PROCESS);
    it.spec["linux"]["mountLabel"] = json!(FILES);
    let client = it.launch_attached(Attach { stdin: false, stdout: true, stderr: true });
    let (out, err) = unframe(&read_all(&client));
    assert_eq!((out, err), (format!("{PROCESS}\nx\ncontext=\"{FILES}\n"), String::new()));
    assert_eq!(it.join(), 0);
    let mut label = vec![0; 256];
    let len = rustix::fs::getxattr(it.upper().join("made"), "security.selinux", &mut label[..]);
    label.truncate(len.unwrap());
    assert_eq!(String::from_utf8_lossy(&label).trim_end_matches('\0'), FILES);
}
