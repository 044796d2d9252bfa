//! `buildah run --runtime` and `buildah build --runtime`, which call the runtime without a daemon.

use crate::machine::{Machine, TTY};

fn buildah(name: &str) -> Option<Machine> {
    let machine = Machine::new(&format!("buildah-{name}"))?;
    machine.ok(
        r#"set -e
mkdir -p /etc/containers
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json
printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
podman import -q /image/busybox.tar busybox
buildah from --name c localhost/busybox"#,
    );
    Some(machine)
}

const RUN: &str = "buildah run --runtime /usr/local/bin/dhow-runtime --isolation oci";

#[test]
fn what_buildah_runs_ends_as_it_should() {
    let Some(m) = buildah("run") else { return };
    let said = m.run(&format!("{RUN} c -- sh -c 'echo built; exit 3'"));
    assert_eq!((said.stdout.as_str(), said.code), ("built\n", 3));
    assert!(!said.stderr.contains("warning"), "{}", said.stderr);
    assert_eq!(m.ok(&format!("{RUN} --user nobody c -- id -u")), "65534");
    let caps = m.ok(&format!("{RUN} --cap-drop all c -- grep CapEff /proc/self/status"));
    assert_eq!(caps, "CapEff:\t0000000000000000");
    assert_eq!(m.ok(&format!("{RUN} -v /image:/v:ro c -- ls /v")), "busybox.tar");
    assert_eq!(m.ok(&format!("{RUN} --network none c -- ip -o link")).lines().count(), 1);
    m.ok(&format!("{RUN} --user nobody --mount type=tmpfs,dst=/t c -- touch /t/x"));
    m.shows(&format!("{RUN} -t c -- {TTY}"), "/dev/pts/0");
    let missing = m.run(&format!("{RUN} c -- no-such-program"));
    assert!(missing.stderr.contains("executable file not found in $PATH"), "{}", missing.stderr);
    m.ok("buildah rm c");
    m.finish();
}

#[test]
fn buildah_builds_with_it() {
    let Some(m) = buildah("build") else { return };
    m.ok(r"mkdir /tmp/f; printf 'FROM localhost/busybox\nRUN echo built >/f && id -u\nUSER nobody\nWORKDIR /w\nRUN id -u >/tmp/u\nCMD cat /f\n' >/tmp/f/Dockerfile");
    m.ok("buildah build --runtime /usr/local/bin/dhow-runtime --isolation oci -t built /tmp/f");
    m.ok("buildah from --name d localhost/built");
    assert_eq!(m.ok(&format!("{RUN} d -- cat /f /tmp/u")), "built\n65534");
    m.ok("buildah rm c d");
    m.finish();
}
