//! Images that go through the archives and the layouts of other programs, and come back.

use testkit::{catalogue, differences};

use crate::machine::Machine;

/// Where the store is: not in the machine's own overlay.
const ROOT: &str = "/var/lib/containers/dhow";

/// A machine in which `D` is dhow, with the image `app:1` of two layers: the upper one adds, hides,
/// links and changes. With its id.
fn machine(name: &str) -> Option<(Machine, String)> {
    let m = Machine::new(name)?;
    m.bring(&testkit::dhow_program(), "dhow");
    m.ok(&format!(
        r#"cat >/usr/local/bin/D <<'SH'
#!/bin/sh
exec /image/dhow --root {ROOT} --state /run/dhow "$@"
SH
chmod +x /usr/local/bin/D
D import --change 'ENV A=b' /image/busybox.tar app:base"#
    ));
    let change = "echo new >/new; ln /new /linked; chmod 4711 /new; ln -s new /soft; mkfifo /pipe; \
                  mkdir -p /dir/deep; chown 5:6 /dir; touch -d @1000000000 /dir/deep; rm /etc/group";
    m.ok(&format!("D run --name c1 --network none app:base sh -c '{change}'"));
    m.ok(r#"D commit --change 'CMD ["cat", "/new"]' c1 app:1; D rm c1"#);
    let id = id(&m, "D");
    Some((m, id))
}

/// What `app:1` is called by an engine.
fn id(m: &Machine, engine: &str) -> String {
    let id = m.ok(&format!("{engine} image inspect -f '{{{{.Id}}}}' app:1"));
    id.trim_start_matches("sha256:").to_owned()
}

/// Loads what `how` writes, into a store without the image.
fn load(m: &Machine, how: &str) -> String {
    m.ok("D rmi app:1");
    m.ok(&format!("set -o pipefail; {how} | D load -q"));
    assert_eq!(m.ok("D run --rm --network none app:1"), "new", "{how}");
    id(m, "D")
}

#[test]
fn docker_loads_what_is_saved_and_the_other_way_round() {
    let Some((m, made)) = machine("archives-docker") else { return };
    m.daemon("dockerd", "dockerd", "docker info");
    m.ok("D save app:1 app:base >/tmp/ours.tar; docker load -q </tmp/ours.tar");
    assert_eq!(id(&m, "docker"), made);
    assert_eq!(m.ok("docker run --rm --network none app:1"), "new");
    assert_eq!(
        m.ok("docker run --rm --network none app:1 sh -c 'echo $A; ls /etc/group 2>&1'; true")
            .lines()
            .next(),
        Some("b")
    );
    assert_eq!(load(&m, "docker save app:1"), made);
    // As schema 2 it is the same image, under another manifest.
    m.ok("docker rmi -f app:1; D image convert --to docker app:1 app:docker; D rmi app:1; D save app:docker | docker load -q");
    m.ok("docker tag app:docker app:1; D image convert --to oci app:docker app:1");
    assert_eq!(id(&m, "docker"), made);
    assert_eq!(id(&m, "D"), made);
    assert_eq!(load(&m, "docker save app:1 app:base | gzip"), made);
    // The same image gives the same archive, to the byte, by whichever way it came.
    m.ok("docker save app:1 app:base | D load -q; D save app:1 app:base >/tmp/again.tar");
    m.ok("D rmi app:1 app:base; D load -q -i /tmp/ours.tar; D save app:1 app:base | cmp - /tmp/ours.tar");
    assert!(m.ok("D system check").ends_with("all is right"));
    m.finish();
}

#[test]
fn podman_loads_what_is_saved_and_the_other_way_round() {
    let Some((m, made)) = machine("archives-podman") else { return };
    m.podman("");
    m.ok("D save app:1 | P load -q");
    assert_eq!(id(&m, "P"), made);
    // As Docker's archive the configuration is written anew, and that makes the id.
    let as_dockers = load(&m, "P save --format docker-archive app:1");
    assert_eq!(load(&m, "P save --format docker-archive app:1"), as_dockers);
    assert_eq!(load(&m, "P save --format oci-archive app:1"), made);
    assert!(m.ok("D system check").ends_with("all is right"));
    m.finish();
}

#[test]
fn umoci_and_skopeo_read_what_is_saved_and_the_store_itself() {
    let Some((m, made)) = machine("archives-layout") else { return };
    let tag = "org.opencontainers.image.ref.name";
    m.ok("mkdir /tmp/layout /tmp/exported; D save app:1 | tar -x -C /tmp/layout");
    let name =
        m.ok(&format!(r#"grep -o '"{tag}":"[^"]*"' /tmp/layout/index.json | cut -d '"' -f 4"#));
    m.ok(&format!("umoci unpack --image '/tmp/layout:{name}' /tmp/bundle"));
    m.ok("D create --name x1 --network none app:1; D export x1 | tar -x --same-owner -p -C /tmp/exported; D rm x1");
    // An export has what the engine mounts over: those are not in the image.
    let mounted = [
        "dev",
        "proc",
        "sys",
        "etc/hostname",
        "etc/hosts",
        "etc/resolv.conf",
        "etc/mtab",
        ".dockerenv",
    ];
    let tree = |path: &str| {
        let mut all = catalogue(&m.path(path));
        all.retain(|name, _| !mounted.iter().any(|mounted| name.starts_with(mounted)));
        // Its time is that of whoever put something there last.
        all.remove(std::path::Path::new(""));
        all.remove(std::path::Path::new("etc"));
        // As Docker's, an export knows whole seconds; the layer knows all of a time.
        for item in all.values_mut() {
            item.mtime.1 = 0;
        }
        all
    };
    let found = differences(&tree("tmp/exported"), &tree("tmp/bundle/rootfs"));
    assert!(found.is_empty(), "{}", found.join("\n"));

    // What umoci makes of it is an image too; it has kept the old one's name.
    m.ok("echo more >/tmp/bundle/rootfs/more; umoci repack --image /tmp/layout:app-2 /tmp/bundle");
    m.ok("tar -c -C /tmp/layout . | D load -q");
    m.ok("skopeo --insecure-policy copy -q oci:/tmp/layout:app-2 oci-archive:/tmp/two.tar:app:2; D load -q -i /tmp/two.tar");
    assert_eq!(m.ok("D run --rm --network none app:2 cat /more"), "more");

    // The store as it lies on the disk.
    let changed = id(&m, "D");
    assert_ne!(changed, made);
    let full = "docker.io/library/app:1";
    m.ok(&format!(
        "skopeo --insecure-policy copy -q oci:{ROOT}/content:{full} oci-archive:/tmp/s.tar:app:1"
    ));
    assert_eq!(load(&m, "cat /tmp/s.tar"), changed);
    assert!(m.ok("D system check").ends_with("all is right"));
    m.finish();
}
