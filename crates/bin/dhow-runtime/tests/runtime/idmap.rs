//! Id-mapped mounts: of tmpfs, made in a mount namespace of the test's own.

use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Ran, bundle};

/// In `source`: a file of 0, one of 1:2, and below it another tmpfs with a file of 0.
const MOUNTS: &str = "mount -t tmpfs -o mode=755 tmpfs source && cd source && echo x > zero && \
     echo x > one && chown 1:2 one && mkdir below && mount -t tmpfs -o mode=755 tmpfs below && \
     echo x > below/zero && cd .. && exec \"$@\"";

fn prepared(test: &str) -> Option<Bundle> {
    let b = bundle(test)?;
    std::fs::create_dir(b.dir.join("source")).unwrap();
    Some(b)
}

fn run(b: &Bundle) -> Ran {
    b.write();
    let runtime = b.command(&["run", "c"]);
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", MOUNTS, "sh"]);
    command.arg(runtime.get_program()).args(runtime.get_args()).current_dir(&b.dir);
    Ran::of(&command.output().unwrap())
}

fn ids(inside: u32, outside: u32, size: u32) -> Value {
    json!([{ "containerID": inside, "hostID": outside, "size": size }])
}

/// Mounts `source` on `/m` with these options and maps.
fn mount(b: &mut Bundle, options: &[&str], maps: Option<(Value, Value)>) {
    let mut mount = json!({ "destination": "/m", "source": "source", "options": options });
    if let Some((uid, gid)) = maps {
        mount["uidMappings"] = uid;
        mount["gidMappings"] = gid;
    }
    b.mount(mount);
}

fn user_namespace(b: &mut Bundle, first: u32) {
    b.namespace("user", None);
    for field in ["uidMappings", "gidMappings"] {
        b.config["linux"][field] = ids(0, first, 65_536);
    }
    std::os::unix::fs::chown(b.rootfs(), Some(first), Some(first)).unwrap();
    for entry in std::fs::read_dir(b.rootfs()).unwrap() {
        std::os::unix::fs::chown(entry.unwrap().path(), Some(first), Some(first)).unwrap();
    }
}

const SHOW: &str = "stat -c '%n %u:%g' /m/zero /m/one /m/below/zero";

#[test]
fn its_own_maps_lead_from_the_file_system_to_the_host() {
    testkit::needs!(IdMappedTmpfs);
    let Some(mut b) = prepared("its_own_maps_lead_from_the_file_system_to_the_host") else {
        return;
    };
    b.script(&format!(
        "{SHOW}; touch /m/new 2>&1; chown 5001:6002 /m/zero && stat -c %u:%g /m/zero"
    ));
    mount(&mut b, &["rbind"], Some((ids(0, 5000, 10), ids(0, 6000, 10))));
    // Not the one below; and who writes must be one of the ids.
    assert_eq!(
        run(&b).out,
        "/m/zero 5000:6000\n/m/one 5001:6002\n/m/below/zero 0:0\n\
         touch: /m/new: Value too large for defined data type\n5001:6002\n"
    );
}

#[test]
fn ridmap_maps_what_is_below_as_well() {
    testkit::needs!(IdMappedTmpfs);
    let Some(mut b) = prepared("ridmap_maps_what_is_below_as_well") else { return };
    b.script(SHOW);
    mount(&mut b, &["rbind", "ridmap"], Some((ids(0, 5000, 10), ids(0, 6000, 10))));
    assert_eq!(run(&b).ok(), "/m/zero 5000:6000\n/m/one 5001:6002\n/m/below/zero 5000:6000\n");
    // Ids without a map are nobody's.
    b.config["mounts"].as_array_mut().unwrap().pop();
    mount(&mut b, &["rbind", "idmap"], Some((ids(1, 7001, 1), ids(2, 7002, 1))));
    assert_eq!(run(&b).ok(), "/m/zero 65534:65534\n/m/one 7001:7002\n/m/below/zero 0:0\n");
}

#[test]
fn the_containers_own_maps_make_the_hosts_files_the_containers() {
    testkit::needs!(IdMappedTmpfs);
    let name = "the_containers_own_maps_make_the_hosts_files_the_containers";
    let Some(mut b) = prepared(name) else { return };
    user_namespace(&mut b, 100_000);
    b.script(&format!("{SHOW}; echo new > /m/new && stat -c %u:%g /m/new"));
    mount(&mut b, &["rbind", "idmap"], None);
    assert_eq!(run(&b).ok(), "/m/zero 0:0\n/m/one 1:2\n/m/below/zero 65534:65534\n0:0\n");
    b.config["mounts"].as_array_mut().unwrap().pop();
    mount(&mut b, &["rbind", "ridmap"], None);
    assert_eq!(run(&b).ok(), "/m/zero 0:0\n/m/one 1:2\n/m/below/zero 0:0\n0:0\n");
    // Maps of its own count from the host, not from the container.
    b.config["mounts"].as_array_mut().unwrap().pop();
    mount(&mut b, &["rbind", "idmap"], Some((ids(0, 100_007, 10), ids(0, 100_008, 10))));
    b.script(SHOW);
    assert_eq!(run(&b).ok(), "/m/zero 7:8\n/m/one 8:10\n/m/below/zero 65534:65534\n");
}

#[test]
fn a_joined_user_namespace_lends_its_maps() {
    testkit::needs!(IdMappedTmpfs);
    let Some(mut first) = prepared("a_joined_user_namespace_lends_its_maps") else { return };
    let Some(mut b) = prepared("a_joined_user_namespace_lends_its_maps") else { return };
    user_namespace(&mut first, 100_000);
    let pid = first.args(&["sleep", "1000"]).start();
    user_namespace(&mut b, 100_000);
    for field in ["uidMappings", "gidMappings"] {
        b.config["linux"].as_object_mut().unwrap().remove(field);
    }
    b.namespace("user", Some(&format!("/proc/{pid}/ns/user"))).script(SHOW);
    mount(&mut b, &["rbind", "ridmap"], None);
    assert_eq!(run(&b).ok(), "/m/zero 0:0\n/m/one 1:2\n/m/below/zero 0:0\n");
}

#[test]
fn several_mounts_have_maps_of_their_own() {
    testkit::needs!(IdMappedTmpfs);
    let Some(mut b) = prepared("several_mounts_have_maps_of_their_own") else { return };
    for (to, first) in [("/a", 5000), ("/b", 6000), ("/c", 0)] {
        let mut one =
            json!({ "destination": to, "source": "source/zero", "options": ["bind", "ro"] });
        if first > 0 {
            one["uidMappings"] = ids(0, first, 1);
            one["gidMappings"] = ids(0, first, 1);
        }
        b.mount(one);
    }
    b.script("stat -c '%n %u:%g' /a /b /c; echo > /a");
    let ran = run(&b);
    assert_eq!(ran.out, "/a 5000:5000\n/b 6000:6000\n/c 0:0\n", "{}", ran.err);
    assert!(ran.err.contains("Read-only file system"), "{}", ran.err);
}

#[test]
fn what_cannot_be_mapped_is_named_with_its_file_system() {
    let name = "what_cannot_be_mapped_is_named_with_its_file_system";
    let Some(mut b) = prepared(name) else { return };
    let good = b.config.clone();
    let maps = ids(0, 5000, 10);
    b.mount(json!({ "destination": "/m", "source": "/proc", "options": ["bind", "idmap"],
        "uidMappings": maps, "gidMappings": maps }));
    b.write();
    b.call(&["create", "c"]).fails(
        "mounts[4].source: \"/proc\" cannot be id-mapped: the file system is proc; it, or one \
         mounted below it, does not support that in this kernel: mount_setattr(",
    );
    for (mount, why) in [
        (
            json!({ "destination": "/m", "source": "source", "options": ["bind", "idmap"] }),
            "mounts[4].options have `idmap` without mappings or a user namespace",
        ),
        (
            json!({ "destination": "/m", "source": "source", "options": ["bind"], "uidMappings": maps }),
            "mounts[4].uidMappings and gidMappings must be there together",
        ),
        (
            json!({ "destination": "/m", "type": "tmpfs", "uidMappings": maps, "gidMappings": maps }),
            "mounts[4].uidMappings need a bind mount",
        ),
        (
            json!({ "destination": "/m", "source": "source", "options": ["bind", "idmap"],
                "uidMappings": ids(0, 5000, 0), "gidMappings": maps }),
            "mounts[4].uidMappings[0]: `0 5000 0` maps nothing",
        ),
    ] {
        b.config = good.clone();
        b.mount(mount);
        b.write();
        b.call(&["create", "c"]).fails(why);
        b.assert_nothing_left();
    }
}
