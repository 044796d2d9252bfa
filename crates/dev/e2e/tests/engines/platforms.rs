//! Images of several platforms, between us, Docker and Podman.

use crate::machine::Machine;

const AT: &str = "localhost:5000/me";

/// Docker and Podman pull what we put together, and we what Podman does; each platform is what it was.
#[test]
fn an_index_of_ours_is_dockers_and_podmans_and_the_other_way_round() {
    let Some(m) = Machine::new("platforms") else { return };
    m.bring(&testkit::dhow_program(), "dhow");
    let d = "/image/dhow --root /var/lib/containers/dhow --state /run/dhow";
    let served = "/image/dhow --root /var/lib/containers/served --state /run/served";
    m.daemon("registry", &format!("{served} registry serve"), "true </dev/tcp/127.0.0.1/5000");
    m.daemon("dockerd", "dockerd", "docker info");
    m.podman("");
    // The other one says that it is for another machine, and runs all the same.
    m.ok(&format!(
        "{d} import /image/busybox.tar {AT}/app:own
         {d} import --platform linux/s390x -m other /image/busybox.tar {AT}/app:other
         {d} push -q {AT}/app:own; {d} push -q {AT}/app:other"
    ));
    let made = m.ok(&format!(
        "{d} manifest create {AT}/app:1 {AT}/app:own {AT}/app:other >/dev/null
         {d} manifest push {AT}/app:1"
    ));
    let id = |engine: &str, name: &str, more: &str| {
        let id = m.ok(&format!("{engine} image inspect {more} -f '{{{{.Id}}}}' {name}"));
        id.trim_start_matches("sha256:").to_owned()
    };
    let own = id(d, &format!("{AT}/app:own"), "");
    let other = id(d, &format!("{AT}/app:other"), "");
    let list = format!("{AT}/app:1");
    for engine in ["docker", "P"] {
        let tls = if engine == "P" { "--tls-verify=false" } else { "" };
        m.ok(&format!("{engine} pull -q {tls} {list}"));
        assert_eq!(id(engine, &list, ""), own, "{engine}");
        let called = m.ok(&format!("{engine} image inspect -f '{{{{json .RepoDigests}}}}' {list}"));
        assert!(called.contains(&made), "{engine}: {called} {made}");
        m.ok(&format!("{engine} pull -q {tls} --platform linux/s390x {list}"));
        assert_eq!(id(engine, &list, ""), other, "{engine}");
    }
    // Both clients read the same list, and each pushes what the other has put together.
    assert!(m.ok(&format!("docker manifest inspect --insecure {list}")).contains("s390x"));
    m.ok(&format!(
        "docker tag {list} {AT}/app:schema2; docker push -q {AT}/app:schema2
         docker manifest create --insecure {AT}/app:2 {AT}/app:schema2
         {d} manifest create --amend {AT}/app:2 {AT}/app:own"
    ));
    let pushed = m.ok(&format!("{d} manifest push --purge {AT}/app:2"));
    m.ok(&format!("{d} pull -q {AT}/app:2; {d} pull -q --platform linux/s390x {AT}/app:2"));
    assert_eq!(id(d, &format!("{AT}/app:2"), "--platform linux/s390x"), other);
    let digest = m.ok(&format!("{d} image inspect -f '{{{{.Descriptor.digest}}}}' {AT}/app:2"));
    assert_eq!(digest, pushed);

    // What is saved of an index Docker loads: the image that it can run.
    m.ok(&format!("docker rmi -f {list}; {d} pull -q {list}; {d} save {list} | docker load -q"));
    assert_eq!(id("docker", &list, ""), own);
    // Podman's own list, with both images in it.
    m.ok(&format!(
        "P rmi -f {list}; P manifest create list
         P manifest add --tls-verify=false list docker://{AT}/app:own
         P manifest add --tls-verify=false list docker://{AT}/app:other
         P manifest push -q --tls-verify=false --all list docker://{AT}/pod:1"
    ));
    m.ok(&format!("{d} run --rm --network none --platform linux/s390x -q {AT}/pod:1 true"));
    assert_eq!(id(d, &format!("{AT}/pod:1"), "--platform linux/s390x"), other);
    for engine in [d, served] {
        assert!(m.ok(&format!("{engine} system check")).ends_with("all is right"));
    }
    m.finish();
}
