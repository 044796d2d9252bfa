//! Docker's own clients, unchanged: `docker build`, Buildx with its bake files, Compose; and `dhow build`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Sandbox, needs, wait_until};

use super::{Background, Docker, built, carried_out, context, dhow, registry, tidy, write};
use crate::busybox;

/// Two stages, a secret, and a last stage that is nothing but files.
const DOCKERFILE: &str = "\
FROM busybox AS one
RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /n
COPY file /file
FROM scratch AS out
COPY --from=one /file /n /
FROM one
LABEL a=b
";

fn a_context(sandbox: &Sandbox) -> std::path::PathBuf {
    let files = [("Dockerfile", DOCKERFILE), ("file", "hello\n"), ("left/out", "not sent\n")];
    let dir = context(sandbox, "context", &files);
    fs::write(dir.join(".dockerignore"), "left\n").unwrap();
    fs::write(sandbox.work().join("token"), "hush-hush").unwrap();
    dir
}

const SECRET: &str = "id=token,src=../token";

/// The names in an archive.
fn names(sandbox: &Sandbox, archive: &Path) -> BTreeSet<String> {
    let listed = sandbox.sh(&format!("tar -tf {}", archive.display())).success();
    listed.lines().map(|name| name.trim_end_matches('/').to_owned()).collect()
}

/// No file below the engine's directories has the secret.
#[track_caller]
fn no_secret(sandbox: &Sandbox) {
    let found = sandbox.sh(&format!(
        "grep -rl hush-hush {} {} {}/context",
        sandbox.root().display(),
        sandbox.state().display(),
        sandbox.work().display()
    ));
    assert_eq!((found.code, found.stdout.as_str()), (1, ""), "{found:?}");
}

/// Lines without the spaces at their ends.
fn trimmed(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).collect()
}

#[test]
fn docker_build_and_buildx() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("buildx");
    let docker = Docker::start(&sandbox);
    let dir = a_context(&sandbox);
    let run = |args: &[&str]| docker.ok(&dir, args);
    assert!(run(&["buildx", "ls"]).contains("linux/amd64"));
    assert!(run(&["buildx", "inspect", "--bootstrap"]).contains("Status:           running"));
    // What Buildx tells of the builder, so does dhow.
    let address = format!("unix://{}", docker.daemon.socket());
    let ours = |args: &[&str]| sandbox.ok(&[&["-H", &address, "builder"][..], args].concat());
    for line in [&["ls"][..], &["ls", "--no-trunc"], &["inspect"], &["inspect", "--bootstrap"]] {
        assert_eq!(
            trimmed(&ours(line)),
            trimmed(&run(&[&["buildx"][..], line].concat())),
            "{line:?}"
        );
    }
    for format in
        ["json", "{{json . }}", "{{.Name}} {{.DriverEndpoint}} {{.Status}} {{.Platforms}}"]
    {
        let line = ["ls", "--format", format];
        assert_eq!(ours(&line), run(&[&["buildx"][..], &line].concat()), "{format}");
    }
    assert_eq!(ours(&["use", "default"]), "");
    let other = sandbox.dhow(&["-H", &address, "builder", "inspect", "other"]);
    assert_eq!((other.code, other.stderr.trim()), (1, "dhow: no builder \"other\" found"));

    let id = run(&["build", "-q", "-t", "made:1", "--secret", SECRET, "."]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(run(&["run", "--rm", "made:1", "cat", "/file", "/n"]), "hello\n9");
    let more = ["--iidfile", "../iid", "--metadata-file", "../meta.json", "--secret", SECRET];
    run(&[&["buildx", "build", "-t", "made:2"], &more[..], &["."]].concat());
    assert_eq!(fs::read_to_string(sandbox.work().join("iid")).unwrap(), id);
    let text = fs::read_to_string(sandbox.work().join("meta.json")).unwrap();
    let meta: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(meta["containerimage.config.digest"], id.as_str());
    assert_eq!(meta["image.name"], "docker.io/library/made:2");

    // Results as files.
    let build = |more: &[&str]| {
        docker.ok(&dir, &[&["buildx", "build", "--secret", SECRET], more, &["."]].concat())
    };
    build(&["--target", "out", "-o", "../out"]);
    assert_eq!(fs::read_to_string(sandbox.work().join("out/file")).unwrap(), "hello\n");
    build(&["--target", "out", "-o", "type=tar,dest=../out.tar"]);
    let found = names(&sandbox, &sandbox.work().join("out.tar"));
    assert_eq!(found, ["file", "n"].map(str::to_owned).into());
    build(&["-o", "type=oci,dest=../oci.tar"]);
    let found = names(&sandbox, &sandbox.work().join("oci.tar"));
    assert!(found.contains("oci-layout") && found.contains("index.json"), "{found:?}");
    build(&["-o", "type=docker,dest=../docker.tar", "-t", "saved:1"]);
    run(&["rmi", "-f", "made:1", "made:2", "saved:1"]);
    assert!(run(&["load", "-i", "../docker.tar"]).contains("saved:1"));
    assert_eq!(run(&["run", "--rm", "saved:1", "cat", "/n"]), "9");

    // Progress.
    let plain = docker.run(&dir, &["buildx", "build", "--progress=plain", "--secret", SECRET, "."]);
    for line in ["[one 3/3] COPY file /file", "CACHED", "exporting to image", "writing image"] {
        assert!(plain.stderr.contains(line), "{line}: {}", plain.stderr);
    }
    let raw = docker.run(&dir, &["buildx", "build", "--progress=rawjson", "--secret", SECRET, "."]);
    let mut n_vertexes = 0;
    for line in raw.stderr.lines() {
        let one: Value = serde_json::from_str(line).unwrap();
        n_vertexes += one["vertexes"].as_array().map_or(0, Vec::len);
    }
    assert!(n_vertexes > 4, "{}", raw.stderr);

    // Without a build.
    assert!(run(&["buildx", "build", "--check", "."]).contains("no warnings found"));
    assert!(run(&["buildx", "build", "--call", "targets", "."]).contains("out"));
    assert!(run(&["buildx", "build", "--call", "outline", "."]).contains("token"));
    let definition = run(&["buildx", "build", "--call", "convertllb,format=json", "."]);
    let definition: Value = serde_json::from_str(&definition).unwrap();
    // The image, the context, RUN, COPY, and the last, which names the result.
    assert_eq!(definition["def"].as_object().unwrap().len(), 5, "{definition}");
    let about = definition["metadata"].as_object().unwrap();
    let mut called = about.values().map(|one| &one["description"]["llb.customname"]);
    assert!(called.any(|name| name == "[one 3/3] COPY file /file"), "{definition}");
    let dir2 = context(&sandbox, "warned", &[("Dockerfile", "from busybox\nMAINTAINER me\n")]);
    let check = docker.run(&dir2, &["buildx", "build", "--check", "."]);
    assert_eq!(check.code, 1, "{check:?}");
    assert!(check.stdout.contains("MaintainerDeprecated"), "{}", check.stdout);

    // The cache and the history.
    let history = run(&["buildx", "history", "ls", "--format", "{{.Ref}}"]);
    assert!(history.lines().count() >= 8, "{history}");
    assert!(run(&["buildx", "history", "inspect"]).contains("Build Steps"));
    let logs = docker.run(&dir, &["buildx", "history", "logs"]);
    assert!(logs.stderr.contains("COPY") || logs.stdout.contains("COPY"), "{logs:?}");
    // What a record names can be read, as all of it is here.
    build(&["--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "-t", "index:1"]);
    run(&["buildx", "history", "export", "--output", "../bundle"]);
    assert!(fs::metadata(sandbox.work().join("bundle")).unwrap().len() > 0);
    run(&["rmi", "index:1"]);
    run(&["buildx", "history", "rm", "--all"]);
    assert_eq!(run(&["buildx", "history", "ls", "--format", "{{.Ref}}"]), "");
    assert!(run(&["buildx", "du"]).contains("Reclaimable:"));
    no_secret(&sandbox);
    assert!(run(&["buildx", "prune", "-af"]).contains("Total:"));
    assert!(run(&["builder", "prune", "-af"]).contains("Total"));
    let du = run(&["buildx", "du"]);
    assert!(du.lines().any(|line| line.split_whitespace().eq(["Total:", "0B"])), "{du}");
    drop(docker);
    tidy(&sandbox);
    sandbox.finish();
}

const BAKE: &str = r#"
variable "TAG" { default = "v1" }
group "default" { targets = ["app", "files"] }
target "app" {
  secret = ["id=token,src=../token"]
  tags = ["bake-app:${TAG}"]
}
target "files" {
  dockerfile-inline = "FROM scratch\nCOPY --from=app /file /from-app\n"
  contexts = { app = "target:app" }
  output = ["type=local,dest=../baked"]
}
"#;

const COMPOSE: &str = "
services:
  web:
    image: compose-web
    build: { context: ., target: one, secrets: [token] }
  other:
    image: compose-other
    build:
      dockerfile_inline: |
        FROM busybox
        RUN echo inline > /inline
secrets:
  token: { file: ../token }
";

#[test]
fn bake_files_compose_and_named_contexts() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx, Compose);
    let sandbox = busybox("bake");
    let docker = Docker::start(&sandbox);
    let dir = a_context(&sandbox);
    write(&dir, &[("docker-bake.hcl", BAKE), ("compose.yaml", COMPOSE)]);
    let run = |args: &[&str]| docker.ok(&dir, args);
    run(&["buildx", "bake", "--allow=fs.read=..", "--allow=fs.write=..", "-f", "docker-bake.hcl"]);
    assert_eq!(run(&["run", "--rm", "bake-app:v1", "cat", "/file"]), "hello");
    assert_eq!(fs::read_to_string(sandbox.work().join("baked/from-app")).unwrap(), "hello\n");
    run(&["compose", "build"]);
    assert_eq!(run(&["run", "--rm", "compose-web", "cat", "/n"]), "9");
    assert_eq!(run(&["run", "--rm", "compose-other", "cat", "/inline"]), "inline");

    // Contexts by name: a directory, an image.
    context(&sandbox, "named", &[("word", "from the named\n")]);
    let file = "FROM base\nCOPY --from=dir word /word\n";
    let dir2 = context(&sandbox, "contexts", &[("Dockerfile", file)]);
    let contexts =
        ["--build-context", "dir=../named", "--build-context", "base=docker-image://busybox"];
    docker.ok(&dir2, &[&["buildx", "build", "-q", "-t", "named"], &contexts[..], &["."]].concat());
    assert_eq!(run(&["run", "--rm", "named", "cat", "/word"]), "from the named");
    no_secret(&sandbox);
    drop(docker);
    tidy(&sandbox);
    sandbox.finish();
}

/// An agent with one key: where it listens.
fn agent(sandbox: &Sandbox) -> (Background, std::path::PathBuf) {
    let socket = sandbox.work().join("agent.sock");
    let mut command = sandbox.command("ssh-agent");
    command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stderr(Stdio::null());
    let agent = Background(command.spawn().unwrap());
    // The socket is there before it is listened on.
    wait_until("the agent listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let script = format!(
        "cd {} && ssh-keygen -q -t ed25519 -N '' -C a-key -f key && SSH_AUTH_SOCK={} ssh-add key",
        sandbox.work().display(),
        socket.display()
    );
    sandbox.sh(&script).success();
    (agent, socket)
}

/// Whether there is an agent; a busybox has no program to ask it.
const KEYS: &str = "FROM busybox\nRUN --mount=type=ssh,required=true test -S \"$SSH_AUTH_SOCK\"\n";

#[test]
fn an_agent_is_forwarded() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx, Ssh);
    let sandbox = busybox("build-ssh");
    let docker = Docker::start(&sandbox);
    let (keeper, socket) = agent(&sandbox);
    let dir = context(&sandbox, "ssh", &[("Dockerfile", KEYS)]);
    let given = format!("default={}", socket.display());
    let missing = docker.run(&dir, &["buildx", "build", "."]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.stderr.contains("unset ssh forward key default"), "{}", missing.stderr);
    docker.ok(&dir, &["buildx", "build", "--no-cache", "--ssh", &given, "."]);
    built(&sandbox, &dir, &["--no-cache", "--ssh", &given]);
    drop(docker);
    tidy(&sandbox);
    drop(keeper);
    sandbox.finish();
}

#[test]
fn results_go_to_a_registry_with_a_password() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("build-push");
    let server = registry(&sandbox);
    let docker = Docker::start(&sandbox);
    let dir = context(&sandbox, "push", &[("Dockerfile", "FROM busybox\nRUN echo x > /x\n")]);
    let push = |name: &str| docker.run(&dir, &["buildx", "build", "--push", "-t", name, "."]);
    let refused = push("localhost:5000/me/app:1");
    assert_eq!(refused.code, 1, "{refused:?}");
    let login = "login -u user --password-stdin localhost:5000";
    let host = docker.daemon.socket();
    let script = format!("echo secret | docker-client -H unix://{host} {login}");
    sandbox.sh(&script).success();
    let pushed = push("localhost:5000/me/app:1");
    assert_eq!(pushed.code, 0, "{}", pushed.stderr);
    built(&sandbox, &dir, &["--push", "-t", "localhost:5000/me/app:2"]);
    for tag in ["1", "2"] {
        let name = format!("localhost:5000/me/app:{tag}");
        docker.ok(&dir, &["rmi", "-f", &name]);
        docker.ok(&dir, &["pull", "-q", &name]);
        assert_eq!(docker.ok(&dir, &["run", "--rm", &name, "cat", "/x"]), "x");
    }
    // What is not here comes from there, also for a client that asks for what is here first.
    docker.ok(&dir, &["rmi", "-f", "localhost:5000/me/app:2"]);
    let on_it = [("Dockerfile", "FROM localhost:5000/me/app:2\nRUN test -e /x\n")];
    let on_it = context(&sandbox, "on-it", &on_it);
    docker.ok(&on_it, &["buildx", "build", "."]);
    drop(docker);
    tidy(&sandbox);
    drop(server);
    sandbox.finish();
}

/// Whoever presses Ctrl-C waits no second, and nothing is left: no process, no mount, no hold.
#[test]
fn a_build_is_broken_off() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("build-cancel");
    let file = "FROM busybox\nRUN trap '' TERM INT; echo it-runs; sleep 600\nRUN true\n";
    let dir = context(&sandbox, "cancel", &[("Dockerfile", file)]);
    let docker = Docker::start(&sandbox);
    let runs = sandbox.state().join("containers");
    let is_running = || fs::read_dir(&runs).is_ok_and(|mut entries| entries.next().is_some());
    let commands = [
        docker.command(&dir, &["buildx", "build", "--progress=plain", "."]),
        sandbox.dhow_command(&["build", "--progress=plain", dir.to_str().unwrap()]),
    ];
    for mut command in commands {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("the step runs", || is_running() && sandbox.runs("sleep 600"));
        let begun = Instant::now();
        sandbox.sh(&format!("kill -INT {}", child.id()));
        wait_until("the step is gone", || !is_running());
        let took = begun.elapsed();
        let status = child.wait().unwrap();
        assert!(!status.success(), "{status}");
        // Less than a second, on a machine that has nothing else to do.
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    let count = format!(
        "import sqlite3; print(sqlite3.connect('{}/dhow.db').execute(\"SELECT count(*) FROM \
         pull_holds WHERE holder LIKE 'build-%'\").fetchone()[0])",
        sandbox.root().display()
    );
    let held = || testkit::capture(sandbox.command("python3").args(["-c", &count])).success();
    wait_until("nothing is held", || held().trim() == "0");
    drop(docker);
    tidy(&sandbox);
    sandbox.finish();
}

/// Cached builds are over before their client has asked how they go: it is told all the same.
#[test]
fn a_build_that_is_over_at_once_is_told_of() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("build-quick");
    let dir = context(&sandbox, "quick", &[("Dockerfile", "FROM busybox\nRUN echo x > /x\n")]);
    let docker = Docker::start(&sandbox);
    docker.ok(&dir, &["build", "-q", "."]);
    for _ in 0..4 {
        let mut all: Vec<_> = (0..6)
            .map(|_| {
                let mut command = docker.command(&dir, &["build", "--progress=plain", "."]);
                command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in all.drain(..) {
            let output = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && told.contains("CACHED"), "{told}");
        }
    }
    drop(docker);
    tidy(&sandbox);
    sandbox.finish();
}

/// Only what changed is done again, and a context brings only what is wanted.
#[test]
fn dhow_build_itself() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("dhow-build");
    let dir = a_context(&sandbox);
    let token = format!("id=token,src={}", sandbox.work().join("token").display());
    let out = sandbox.work().join("files").display().to_string();
    let told = built(&sandbox, &dir, &["--secret", &token, "-t", "made"]);
    assert_eq!(carried_out(&told).len(), 2, "{told}");
    assert_eq!(sandbox.ok(&["run", "--rm", "made", "cat", "/n"]), "9");
    let told = built(&sandbox, &dir, &["--secret", &token, "-t", "made"]);
    assert_eq!(carried_out(&told), [""; 0], "{told}");
    fs::write(dir.join("file"), "changed\n").unwrap();
    fs::write(dir.join("left/out"), "changed, too\n").unwrap();
    let told = built(&sandbox, &dir, &["--secret", &token, "--target", "out", "-o", &out]);
    assert_eq!(carried_out(&told).len(), 2, "{told}");
    assert_eq!(fs::read_to_string(format!("{out}/file")).unwrap(), "changed\n");
    assert!(dhow(&sandbox, &dir, &["--check"]).stdout.contains("no warnings found"));
    no_secret(&sandbox);
    tidy(&sandbox);
    sandbox.finish();
}
