//! Contexts, which dhow and Docker's client share, and engines behind ssh.

use crate::busybox;
use crate::docker_client::Daemon;
use crate::docker_scripts::same;
use testkit::{Sandbox, needs, wait_until};

/// Stands for ssh: notes what it is given, and runs the command on this machine, as who knows nothing of ours.
const SSH: &str = r#"#!/bin/sh
echo "$*" >> "$HOME/ssh.log"
while [ "$1" != -- ]; do shift; done
if [ "$2" = nowhere ]; then echo "ssh: Could not resolve hostname" >&2; exit 255; fi
shift 2
unset DOCKER_HOST DOCKER_CONTEXT
export DOCKER_CONFIG=/nowhere
# As with ssh, who ends this ends no more than the pipes of what is there.
sh -c "$*"
"#;

/// Puts this ssh, and dhow as `docker`, before all other programs.
fn with_ssh(sandbox: &Sandbox) {
    let bin = sandbox.work().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join("text"), SSH).unwrap();
    // A copy that no process of ours had open for writing, which could not be run.
    let (place, dhow) = (bin.display(), testkit::dhow_program());
    sandbox
        .sh(&format!(
            "cd {place} && cp text ssh && chmod 755 ssh && rm text && ln -s {} docker",
            dhow.display()
        ))
        .success();
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    sandbox.set_env("PATH", &format!("{place}:{usual}"));
}

fn ssh_log(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.work().join("ssh.log")).unwrap_or_default()
}

#[test]
fn dhow_makes_contexts_as_dockers_client_does() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("contexts-same");
    let daemon = Daemon::start(&sandbox);
    let begin = [
        "context use default",
        "context rm -f one two",
        "context create one --docker host=tcp://127.0.0.1:1 --description 'the first'",
    ];
    let show = "{{.Name}} {{.Endpoints.docker.Host}} {{.Endpoints.docker.SkipTLSVerify}}";
    let shown = format!("context inspect -f '{show}' one");
    for line in [
        "context create two --docker host=unix:///x",
        "context create two --docker host=unix:///x --docker skip-tls-verify=true",
        "context create two",
        "context create two --from one --description d",
        "context create two --docker from=one",
        "context create two --docker host=",
        "context create two --from nothing",
        "context create two --from one --docker host=unix:///x",
        "context create two --docker foo=1",
        "context create two --docker ''",
        "context create two --docker host=bad",
        "context create two --docker host=unix:///x,skip-tls-verify=maybe",
        "context create two --docker ca=/nowhere/ca.pem",
        "context create one --docker host=unix:///x",
        "context create x --docker host=unix:///x",
        "context create a/b --docker host=unix:///x",
        "context create default --docker host=unix:///x",
        "context create",
        "context update one --description other",
        "context update one --docker host=unix:///y",
        "context update nothing",
        "context update default --description x",
        "context rm one nothing two default",
        "context rm -f nothing",
        "context rm default",
        "context rm",
        "context use one",
        "context use nothing",
        "context use default",
        "context use",
        "context export nothing -",
        "context export one /nowhere/file",
        "context import two /nowhere/file",
        "context import one /etc/hostname",
        "context import two /etc/passwd",
        "context show",
        "context ls -q",
        "context ls --format '{{.Name}} {{.DockerEndpoint}} {{.Current}}'",
        &shown,
    ] {
        same(&sandbox, &daemon, &begin, line);
    }
    // What the one has made is the other's.
    let docker = |line: &[&str]| testkit::capture(sandbox.command("docker").args(line)).success();
    docker(&["context", "use", "default"]);
    docker(&["context", "rm", "-f", "two"]);
    let host = format!("host=unix://{}", daemon.socket());
    sandbox.ok(&["context", "create", "ours", "--docker", &host, "--description", "of dhow"]);
    let inspect = ["context", "inspect", "-f", show, "ours"];
    assert_eq!(docker(&inspect).trim_end(), format!("ours unix://{} false", daemon.socket()));
    assert_eq!(docker(&["-c", "ours", "version", "-f", "{{.Client.Context}}"]), "ours\n");
    let file = sandbox.work().join("ours.dockercontext").display().to_string();
    for (export, import) in [("docker", "dhow"), ("dhow", "docker"), ("dhow", "dhow")] {
        let run = |client: &str, line: &[&str]| match client {
            "docker" => docker(line),
            _ => sandbox.ok(line),
        };
        run(export, &["context", "export", "ours", &file]);
        run(import, &["context", "import", "copy", &file]);
        let copy = ["context", "inspect", "-f", "{{.Name}} {{.Endpoints.docker.Host}}", "copy"];
        let want = format!("copy unix://{}", daemon.socket());
        assert_eq!((docker(&copy).trim_end(), sandbox.ok(&copy)), (want.as_str(), want.clone()));
        sandbox.ok(&["context", "rm", "copy"]);
        std::fs::remove_file(&file).unwrap();
    }
    // A zip archive, too, which neither makes.
    sandbox.ok(&["context", "export", "ours", &file]);
    let zip = sandbox.work().join("ours.zip").display().to_string();
    let work = sandbox.work();
    let pack = format!(
        "cd {} && mkdir packed && cd packed && bsdtar -xf {file} && \
         bsdtar --format zip -cf {zip} meta.json tls",
        work.display()
    );
    sandbox.sh(&pack).success();
    docker(&["context", "import", "theirs", &zip]);
    sandbox.ok(&["context", "import", "copy", &zip]);
    for name in ["theirs", "copy"] {
        let inspect = ["context", "inspect", "-f", "{{.Endpoints.docker.Host}}", name];
        assert_eq!(sandbox.ok(&inspect), format!("unix://{}", daemon.socket()), "{name}");
        sandbox.ok(&["context", "rm", name]);
    }
    std::fs::remove_file(&file).unwrap();
    // Which one is followed is said once, for both.
    sandbox.ok(&["context", "use", "ours"]);
    assert_eq!(
        (docker(&["context", "show"]).as_str(), sandbox.ok(&["context", "show"])),
        ("ours\n", "ours".into())
    );
    assert_eq!(sandbox.ok(&["version", "-f", "{{.Client.Context}}"]), "ours");
    docker(&["context", "use", "one"]);
    assert_eq!(sandbox.ok(&["context", "show"]), "one");
    let refused = sandbox.dhow(&["ps"]);
    assert!(refused.code == 1 && refused.stderr.contains("tcp://127.0.0.1:1"), "{refused:?}");
    let in_use = sandbox.dhow(&["context", "rm", "one"]);
    assert!(in_use.code == 1 && in_use.stderr.contains("is in use, set -f flag"), "{in_use:?}");
    sandbox.ok(&["context", "rm", "-f", "one"]);
    // Where no engine is named, it is this process again, which is none to be told to others.
    assert_eq!(sandbox.ok(&["context", "show"]), "default");
    let nowhere = sandbox.dhow(&["context", "create", "again"]);
    assert!(nowhere.code == 1 && nowhere.stderr.contains("has no address"), "{nowhere:?}");
    sandbox.ok(&["context", "rm", "ours"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn an_engine_behind_ssh() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("ssh");
    with_ssh(&sandbox);
    let far = ["-H", "ssh://me@far:22"];
    let of = |line: &[&'static str]| [&far[..], line].concat();
    // With a daemon, which those who join and those who start meet in. Nobody says where it is.
    let daemon = Daemon::start(&sandbox);
    assert_eq!(sandbox.ok(&of(&["run", "--rm", "busybox", "echo", "hi"])), "hi");
    assert!(
        ssh_log(&sandbox)
            .lines()
            .all(|line| line
                == "-o ConnectTimeout=30 -T -l me -p 22 -- far docker system dial-stdio")
    );
    assert_eq!(sandbox.dhow(&of(&["run", "--rm", "busybox", "sh", "-c", "exit 5"])).code, 5);
    sandbox.set_env("DHOW", testkit::dhow_program().to_str().unwrap());
    let through = "echo through | $DHOW -H ssh://far run --rm -i busybox cat";
    assert_eq!(sandbox.sh(through).success(), "through\n");
    // By a context, named or followed.
    sandbox.ok(&["context", "create", "far", "--docker", "host=ssh://me@far:22"]);
    assert_eq!(sandbox.ok(&["-c", "far", "version", "-f", "{{.Client.Context}}"]), "far");
    sandbox.ok(&["context", "use", "far"]);
    assert_eq!(sandbox.ok(&["ps", "-q"]), "");
    sandbox.ok(&["context", "rm", "-f", "far"]);
    // By the path of a socket there.
    let address = format!("ssh://far{}", daemon.socket());
    sandbox.set_env("DOCKER_HOST", &address);
    assert_eq!(sandbox.ok(&["ps", "-q"]), "");
    let last = ssh_log(&sandbox).lines().last().unwrap().to_owned();
    let want = format!("docker --host unix://{} system dial-stdio", daemon.socket());
    assert!(last.ends_with(&want), "{last}");
    sandbox.unset_env("DOCKER_HOST");
    drop(daemon);
    // Where it does not get there it says why, and an odd name is nobody's.
    let nowhere = sandbox.dhow(&["-H", "ssh://nowhere", "ps"]);
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert!(nowhere.stderr.contains("stderr=ssh: Could not resolve hostname"), "{nowhere:?}");
    let before = ssh_log(&sandbox);
    for odd in ["ssh://-oProxyCommand=x", "ssh://a;b", "ssh://me:pw@far", "ssh://"] {
        let refused = sandbox.dhow(&["-H", odd, "ps"]);
        assert_eq!(refused.code, 1, "{odd}: {refused:?}");
        assert!(refused.stderr.contains("ssh host connection is not valid"), "{odd}: {refused:?}");
    }
    assert_eq!(ssh_log(&sandbox), before);
    sandbox.finish();
}

/// Several connections belong to one command: who is attached by one sees what another starts.
#[test]
fn an_engine_behind_ssh_without_a_daemon() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("ssh-alone");
    with_ssh(&sandbox);
    let of = |line: &[&'static str]| [&["-H", "ssh://far"][..], line].concat();
    assert_eq!(sandbox.ok(&of(&["ps", "-q"])), "");
    let socket = sandbox.state().join("dhow-dial/engine.sock");
    wait_until("it has left", || !socket.exists());
    // Its lock stays.
    sandbox.baseline();
    for _ in 0..3 {
        assert_eq!(sandbox.ok(&of(&["run", "--rm", "busybox", "echo", "hi"])), "hi");
    }
    let many = sandbox.ok(&of(&["run", "--rm", "busybox", "seq", "20000"]));
    assert_eq!(many.lines().count(), 20000);
    assert_eq!(sandbox.dhow(&of(&["run", "--rm", "busybox", "sh", "-c", "exit 5"])).code, 5);
    sandbox.set_env("DHOW", testkit::dhow_program().to_str().unwrap());
    let through = "echo through | $DHOW -H ssh://far run --rm -i busybox cat";
    assert_eq!(sandbox.sh(through).success(), "through\n");
    sandbox.ok(&of(&["run", "-d", "--name", "web", "busybox", "sleep", "600"]));
    assert_eq!(sandbox.ok(&of(&["exec", "web", "echo", "inside"])), "inside");
    sandbox.ok(&of(&["rm", "-f", "web"]));
    wait_until("it has left", || !socket.exists());
    sandbox.finish();
}
