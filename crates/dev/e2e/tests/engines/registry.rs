//! `dhow registry serve`, for the clients of other engines.

use crate::machine::Machine;

const NAME: &str = "localhost:5000/me/app";

/// What Docker pushes, Podman pulls, and the other way round.
#[test]
fn docker_and_podman_push_to_it_and_pull_from_it() {
    let Some(m) = Machine::new("registry") else { return };
    m.bring(&testkit::dhow_program(), "dhow");
    let dhow = "/image/dhow --root /var/lib/served --state /run/served";
    m.daemon("registry", &format!("{dhow} registry serve"), "true </dev/tcp/127.0.0.1/5000");
    m.daemon("dockerd", "dockerd", "docker info");
    m.podman("");
    let id = |engine: &str, tag: &str| {
        let id = m.ok(&format!("{engine} image inspect -f '{{{{.Id}}}}' {NAME}:{tag}"));
        id.trim_start_matches("sha256:").to_owned()
    };
    m.ok(&format!("docker import /image/busybox.tar {NAME}:1"));
    let made = id("docker", "1");
    m.ok(&format!("docker push -q {NAME}:1; docker rmi {NAME}:1; docker pull -q {NAME}:1"));
    assert_eq!(id("docker", "1"), made);
    // Docker pushes its own kind of manifest; the image is the same everywhere.
    assert_eq!(id(dhow, "1"), made);
    m.ok(&format!("P pull -q --tls-verify=false {NAME}:1"));
    assert_eq!(id("P", "1"), made);
    m.ok(&format!("P tag {NAME}:1 {NAME}:2; P push -q --tls-verify=false {NAME}:2"));
    m.ok(&format!("docker pull -q {NAME}:2; {dhow} run --rm --network none {NAME}:2 true"));
    assert_eq!(id("docker", "2"), id(dhow, "2"));
    assert!(m.ok(&format!("{dhow} system check")).ends_with("all is right"));
    m.finish();
}
