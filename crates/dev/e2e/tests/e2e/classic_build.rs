//! Building by the older API (`POST /build`), with Docker's client and without.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Sandbox, needs, wait_until};

use crate::busybox;
use crate::docker_client::Daemon;

/// An archive of these files.
pub(crate) fn archive(sandbox: &Sandbox, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let path = sandbox.work().join(name);
    testkit::archive(&path, |tar| {
        for (name, content) in files {
            tar.file(name, 0o644, content.as_bytes());
        }
    });
    path
}

/// The answer to a request: its status, and its lines.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) lines: Vec<Value>,
}

impl Answer {
    /// What it tells, for people.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().filter_map(|line| line["stream"].as_str()).collect()
    }

    /// What went wrong.
    pub(crate) fn error(&self) -> &str {
        let last = self.lines.last().expect("an answer");
        last["errorDetail"]["message"].as_str().or(last["message"].as_str()).unwrap_or_default()
    }

    /// It went well: the image's id.
    #[track_caller]
    pub(crate) fn id(&self) -> String {
        assert_eq!(self.status, 200, "{:?}", self.lines);
        assert_eq!(self.error(), "", "{:?}", self.lines);
        let mut ids = self.lines.iter().filter_map(|line| line["aux"]["ID"].as_str());
        ids.next_back().expect("an id").to_owned()
    }
}

/// A request without a client of Docker's.
pub(crate) fn request(daemon: &Daemon<'_>, path: &str, body: Option<&Path>) -> Command {
    // What a URL may not have as it is.
    let path = path.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
    let mut curl = daemon.command("curl");
    curl.args(["-s", "-g", "-N", "-w", "\n%{http_code}", "-X", "POST", "--unix-socket"]);
    curl.arg(daemon.socket()).arg(format!("http://d/v1.47{path}"));
    if let Some(body) = body {
        curl.args(["-H", "Content-Type: application/x-tar", "--data-binary"]);
        curl.arg(format!("@{}", body.display()));
    }
    curl
}

pub(crate) fn post(daemon: &Daemon<'_>, path: &str, body: Option<&Path>) -> Answer {
    let said = testkit::capture(&mut request(daemon, path, body)).success();
    let (body, status) = said.rsplit_once('\n').unwrap();
    let lines = body.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.map(|line| serde_json::from_str(line).expect("JSON"));
    Answer { status: status.parse().unwrap(), lines: lines.collect() }
}

fn build(daemon: &Daemon<'_>, query: &str, body: &Path) -> Answer {
    post(daemon, &format!("/build?{query}"), Some(body))
}

/// Removes what builds have left, which is more than the world was before.
pub(crate) fn tidy(daemon: Daemon<'_>, images: &[&str]) {
    for image in images {
        daemon.ok(&["rmi", "-f", image]);
    }
    daemon.ok(&["image", "prune", "-f"]);
    daemon.ok(&["builder", "prune", "-af"]);
    assert!(daemon.ok(&["system", "df"]).contains("Build Cache"));
    drop(daemon);
}

#[test]
fn dockers_client_builds_without_buildkit() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Docker);
    let sandbox = busybox("classic");
    let daemon = Daemon::start(&sandbox);
    let context = sandbox.work().join("context");
    fs::create_dir_all(context.join("sub")).unwrap();
    fs::write(context.join("sub/file"), "hello").unwrap();
    fs::write(context.join("left-out"), "x").unwrap();
    fs::write(context.join(".dockerignore"), "left-out\nDockerfile\n").unwrap();
    let dockerfile = "ARG base=busybox\nFROM $base AS one\nARG word\nRUN echo $word > /word; \\\n  \
                      echo told; echo err >&2\nFROM busybox\nCOPY --from=one /word /\nCOPY . /all\n\
                      ENV A=b\nLABEL l=\"m n\"\nRUN test ! -e /all/left-out\nWORKDIR /all\n\
                      CMD [\"cat\", \"/word\", \"sub/file\"]\n";
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let place = context.display().to_string();
    let docker = |args: &[&str]| {
        let all = [&["build", "-t", "made", "-t", "other:1", "--build-arg", "word=w"][..], args];
        let mut command = daemon.docker_command(&all.concat());
        testkit::capture(command.arg(&place).env("DOCKER_BUILDKIT", "0"))
    };
    let first = docker(&[]).success();
    for line in [
        "Step 1/12 : ARG base=busybox\nStep 2/12 : FROM $base AS one\n ---> ",
        "Step 4/12 : RUN echo $word > /word;   echo told; echo err >&2\n ---> Running in ",
        "told\n\u{1b}[91merr\n\u{1b}[0m ---> Removed intermediate container ",
        "\nSuccessfully built ",
        "\nSuccessfully tagged made:latest\nSuccessfully tagged other:1\n",
    ] {
        assert!(first.contains(line), "{line:?} in {first}");
    }
    assert!(!first.contains("Using cache"), "{first}");
    assert_eq!(daemon.ok(&["run", "--rm", "other:1"]), "w\nhello");
    let config = daemon.ok(&["inspect", "-f", "{{json .Config}}", "made"]);
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["Labels"], json!({ "l": "m n" }));
    // What the client keeps from us of the Dockerfile that it has in .dockerignore.
    let files = daemon.ok(&["run", "--rm", "made", "find", "/all", "-type", "f"]);
    assert_eq!(files, "/all/.dockerignore\n/all/sub/file");
    let again = docker(&[]).success();
    assert_eq!(again.matches(" ---> Using cache").count(), 9, "{again}");
    let tail = |text: &str| text.rsplit_once("Successfully built").unwrap().1.to_owned();
    assert_eq!(tail(&again), tail(&first));
    let fresh = docker(&["--no-cache"]).success();
    assert!(!fresh.contains("Using cache") && fresh.contains("told\n"), "{fresh}");
    let quiet = docker(&["-q"]).success();
    assert_eq!(quiet.trim(), daemon.ok(&["inspect", "-f", "{{.Id}}", "made"]));
    let target = docker(&["--target", "one"]).success();
    assert!(target.contains("Step 4/4 : RUN"), "{target}");
    // A Dockerfile beside the context, and one that comes alone.
    let beside = sandbox.work().join("Beside");
    fs::write(&beside, "FROM busybox\nCOPY . /all\n").unwrap();
    docker(&["-f", beside.to_str().unwrap()]).success();
    let files = daemon.ok(&["run", "--rm", "made", "ls", "-A", "/all"]);
    assert_eq!(files, ".dockerignore\nsub");
    let shell = format!(
        "printf 'FROM busybox\\nRUN exit 7\\n' | DOCKER_BUILDKIT=0 docker -H unix://{} build -",
        daemon.socket()
    );
    let failed = sandbox.sh(&shell);
    assert_eq!(failed.code, 7, "{failed:?}");
    let words = "The command '/bin/sh -c exit 7' returned a non-zero code: 7";
    assert!(failed.stderr.contains(words), "{failed:?}");
    tidy(daemon, &["made", "other:1"]);
    sandbox.finish();
}

#[test]
fn archives_come_in_any_form() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Docker, Curl);
    let sandbox = busybox("classic-forms");
    let daemon = Daemon::start(&sandbox);
    let dockerfile = "FROM scratch\nCOPY a /a\n";
    let plain = archive(&sandbox, "plain.tar", &[("Dockerfile", dockerfile), ("a", "1")]);
    let id = build(&daemon, "t=made", &plain).id();
    let pack = format!(
        "cd {} && gzip -k plain.tar && bzip2 -k plain.tar && xz -k plain.tar && \
         if command -v zstd >/dev/null; then zstd -q plain.tar; fi",
        sandbox.work().display()
    );
    sandbox.sh(&pack).success();
    for form in ["gz", "bz2", "xz", "zst"] {
        let packed = sandbox.work().join(format!("plain.tar.{form}"));
        if packed.exists() {
            assert_eq!(build(&daemon, "", &packed).id(), id, "{form}");
        }
    }
    // Nobody else's: the stream is not kept when the build has ended.
    let kept =
        sandbox.sh(&format!("find {}/build -name context -type f", sandbox.root().display()));
    assert_eq!(kept.success(), "");
    tidy(daemon, &["made"]);
    sandbox.finish();
}

#[test]
fn what_is_wrong_is_said_in_dockers_words() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Docker, Curl);
    let sandbox = busybox("classic-bad");
    let daemon = Daemon::start(&sandbox);
    let good =
        archive(&sandbox, "good", &[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "1")]);
    let of = |text: &str| archive(&sandbox, "one", &[("Dockerfile", text)]);
    let wrong = |query: &str, body: &Path, status: u16, words: &str| {
        let answer = build(&daemon, query, body);
        assert_eq!((answer.status, answer.error()), (status, words), "{query} {:?}", answer.lines);
    };
    wrong("dockerfile=x/D", &good, 500, "Cannot locate specified Dockerfile: x/D");
    wrong("dockerfile=../D", &good, 500, "forbidden path outside the build context: ../D ()");
    wrong("squash=1", &good, 400, "squash is only supported with experimental mode");
    wrong("version=3", &good, 400, "invalid version \"3\"");
    wrong("target=zz", &good, 400, "target stage \"zz\" could not be found");
    wrong("isolation=hyperv", &good, 400, "unsupported isolation: \"hyperv\"");
    let digest = format!("t=a@sha256:{}", "0".repeat(64));
    wrong(&digest, &good, 500, "build tag cannot contain a digest");
    wrong("buildargs={", &good, 400, "error reading build args: unexpected end of JSON input");
    wrong("remote=foo", &good, 500, "remoteURL (foo) could not be recognized as URL");
    wrong("extrahosts=x", &good, 400, "bad format for add-host: \"x\"");
    wrong("", &of(""), 400, "the Dockerfile (Dockerfile) cannot be empty");
    wrong("", &of("# x\n"), 400, "failed to parse Dockerfile: file with no instructions");
    wrong("", &of("RUN x\n"), 400, "no build stage in current context");
    let unknown = "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)";
    wrong("", &of("FROM scratch\nFOO x\n"), 400, unknown);
    let nothing = "No image was generated. Is your Dockerfile empty?";
    wrong("", &of("FROM scratch\n"), 200, nothing);
    let absent = "COPY failed: file not found in build context or excluded by .dockerignore: stat \
                  nothere: file does not exist";
    wrong("", &of("FROM scratch\nCOPY nothere /\n"), 200, absent);
    let bytes = fs::read(&good).unwrap();
    for (name, bytes) in [
        ("garbage", b"this is no archive".repeat(100)),
        ("short", bytes[..700].to_vec()),
        ("packed", b"\x1f\x8b\x08 no gzip at all".to_vec()),
    ] {
        let path = sandbox.work().join(name);
        fs::write(&path, bytes).unwrap();
        let answer = build(&daemon, "", &path);
        assert_eq!(answer.status, 500, "{name}: {:?}", answer.lines);
        assert!(answer.error().contains("failed to unpack"), "{name}: {:?}", answer.lines);
    }
    let failing = of("FROM busybox\nRUN echo before; exit 3\nRUN echo never\n");
    let answer = build(&daemon, "", &failing);
    let text = answer.text();
    assert!(text.ends_with("before\n") && !text.contains("Step 3/3"), "{text}");
    let detail = &answer.lines.last().unwrap()["errorDetail"];
    let words = "The command '/bin/sh -c echo before; exit 3' returned a non-zero code: 3";
    assert_eq!(*detail, json!({ "code": 3, "message": words }));
    let absent = of("FROM busybox\nRUN [\"/no/such\"]\n");
    let answer = build(&daemon, "", &absent);
    assert!(answer.error().contains("no such file or directory"), "{:?}", answer.lines);
    assert_eq!(daemon.ok(&["images", "-q", "--filter", "dangling=true"]), "");
    tidy(daemon, &[]);
    sandbox.finish();
}

#[test]
fn it_tells_while_it_goes_on_and_ends_with_its_client() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Docker, Curl);
    let sandbox = busybox("classic-end");
    let daemon = Daemon::start(&sandbox);
    let script = "FROM busybox\nRUN echo first; sleep 600\n";
    let body = archive(&sandbox, "slow", &[("Dockerfile", script)]);
    let begin = |query: &str| {
        let mut curl = request(&daemon, &format!("/build?{query}"), Some(&body));
        let mut child = curl.stdout(Stdio::piped()).spawn().unwrap();
        let mut heard = String::new();
        let out = child.stdout.as_mut().unwrap();
        let mut byte = [0];
        while !heard.contains("\"first\\n\"") {
            assert_eq!(out.read(&mut byte).unwrap(), 1, "{heard}");
            heard.push(char::from(byte[0]));
        }
        child
    };
    let folders = || fs::read_dir(sandbox.root().join("containers")).unwrap().count();
    let mut child = begin("");
    assert_eq!(folders(), 1);
    // nsenter has become curl.
    child.kill().unwrap();
    child.wait().unwrap();
    let since = Instant::now();
    wait_until("the step is gone", || folders() == 0);
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    // By its id.
    let child = begin("buildid=abc");
    assert_eq!(post(&daemon, "/build/cancel?id=other", None).status, 200);
    assert_eq!(folders(), 1);
    assert_eq!(post(&daemon, "/build/cancel?id=abc", None).status, 200);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("context canceled"), "{said}");
    wait_until("the step is gone", || folders() == 0);
    assert_eq!(post(&daemon, "/build/cancel", None).error(), "build ID not provided");
    tidy(daemon, &[]);
    sandbox.finish();
}

#[test]
fn caches_are_shown_and_pruned() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Docker, Curl);
    let sandbox = busybox("classic-cache");
    let daemon = Daemon::start(&sandbox);
    let script = "FROM busybox\nRUN head -c 100000 /dev/zero > /zeros\nRUN echo > /x\n";
    let body = archive(&sandbox, "some", &[("Dockerfile", script)]);
    build(&daemon, "t=made", &body).id();
    let list = |version: &str, query: &str| {
        let mut curl = daemon.command("curl");
        curl.args(["-s", "--unix-socket", daemon.socket()]);
        curl.arg(format!("http://d/{version}/system/df{query}"));
        let text = testkit::capture(&mut curl).success();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let old = list("v1.47", "?type=build-cache");
    let records = old["BuildCache"].as_array().unwrap();
    let run = records.iter().find(|one| one["Description"].as_str().unwrap().contains("zeros"));
    let run = run.expect("a record of the step");
    assert_eq!((&run["Type"], &run["Shared"]), (&json!("regular"), &json!(true)));
    assert!(run["Size"].as_i64().unwrap() >= 100_000, "{run}");
    let new = list("v1.55", "?type=build-cache&verbose=1");
    let usage = &new["BuildCacheUsage"];
    assert_eq!(usage["TotalCount"], json!(records.len()));
    assert_eq!(usage["Items"].as_array().unwrap().len(), records.len());
    // What an image has stays, unless all is to go.
    let id = run["ID"].as_str().unwrap();
    let gone = post(&daemon, "/build/prune", None);
    assert!(!gone.lines[0].to_string().contains(id), "{:?}", gone.lines);
    let filters = |text: &str| format!("/build/prune?all=1&filters={text}");
    let other = post(&daemon, &filters("{\"type\":[\"exec.cachemount\"]}"), None);
    assert_eq!(other.lines[0], json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }));
    let young = post(&daemon, &filters("{\"until\":[\"1h\"]}"), None);
    assert_eq!(young.lines[0]["CachesDeleted"], Value::Null);
    let wrong = post(&daemon, &filters("{\"colour\":[\"red\"]}"), None);
    assert_eq!(wrong.status, 400);
    let one = post(&daemon, &filters(&format!("{{\"id\":[\"{id}\"]}}")), None);
    assert_eq!(one.lines[0]["CachesDeleted"], json!([id]));
    build(&daemon, "t=made", &body).id();
    assert!(daemon.ok(&["system", "df", "-v"]).contains("Build cache usage:"));
    let pruned = daemon.ok(&["system", "prune", "-af"]);
    assert!(pruned.contains("Deleted build cache objects:"), "{pruned}");
    assert_eq!(list("v1.47", "?type=build-cache")["BuildCache"], json!([]));
    drop(daemon);
    // The image that was there before was pruned as well.
    sandbox.import("busybox");
    sandbox.baseline();
    sandbox.finish();
}

#[test]
fn steps_have_the_limits_networks_and_hosts_of_the_build() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Docker, Curl, MemoryCgroup);
    let sandbox = busybox("classic-limits");
    let daemon = Daemon::start(&sandbox);
    let of = |run: &str| {
        archive(&sandbox, "limits", &[("Dockerfile", &format!("FROM busybox\nRUN {run}\n"))])
    };
    let ulimits = "ulimits=[{\"Name\":\"nofile\",\"Soft\":77,\"Hard\":88}]";
    let said = build(&daemon, ulimits, &of("ulimit -n; ulimit -Hn"));
    assert!(said.text().contains("77\n88\n"), "{:?}", said.lines);
    let cpus = build(&daemon, "cpusetcpus=0", &of("grep Cpus_allowed_list /proc/self/status"));
    assert!(cpus.text().contains("Cpus_allowed_list:\t0\n"), "{:?}", cpus.lines);
    let shm = build(&daemon, "shmsize=4194304", &of("df -k /dev/shm | tail -1")).text();
    assert!(shm.contains(" 4096 "), "{shm}");
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || \
                 cat /sys/fs/cgroup/memory.max";
    let memory = build(&daemon, "memory=67108864&memswap=67108864", &of(limit));
    assert!(memory.text().contains("67108864\n"), "{:?}", memory.lines);
    let parent = format!("cgroupparent=/{}/of-builds", sandbox.engine_name());
    let place = build(&daemon, &parent, &of("cat /proc/self/mountinfo /proc/self/cgroup"));
    place.id();
    // As with containers, it stays for whoever named it.
    let below = format!("-depth -type d -path '*/{}/of-builds*'", sandbox.engine_name());
    assert_ne!(sandbox.sh(&format!("find /sys/fs/cgroup {below}")).success(), "");
    let all = format!("-depth -type d -path '*/{}*'", sandbox.engine_name());
    let hosts = "extrahosts=one.test:10.1.2.3&extrahosts=gate.test:host-gateway";
    let said = build(&daemon, hosts, &of("grep test /etc/hosts")).text();
    let gateway =
        daemon.ok(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"]);
    assert!(said.contains("10.1.2.3\tone.test\n"), "{said}");
    assert!(said.contains(&format!("{gateway}\tgate.test\n")), "{said}");
    let own = sandbox.work().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("Dockerfile"), "FROM busybox\nRUN grep gate /etc/hosts\n").unwrap();
    let place = own.display().to_string();
    let host = ["--add-host", "gate.test:host-gateway", "--progress", "plain", &place];
    let built = sandbox.dhow(&[&["build"][..], &host].concat());
    assert!(built.stderr.contains(&format!("{gateway}\tgate.test\n")), "{}", built.stderr);
    fs::remove_dir_all(sandbox.root().join("build-history")).unwrap();
    // A network of one's own, and names in it.
    daemon.ok(&["network", "create", "web"]);
    daemon.ok(&["run", "-d", "--name", "peer", "--network", "web", "busybox", "sleep", "600"]);
    build(&daemon, "networkmode=web", &of("ping -c1 -W2 peer")).id();
    let links = of("ls /sys/class/net | tr '\\n' ' '; hostname");
    assert!(build(&daemon, "networkmode=none", &links).text().contains("\nlo "));
    let joined = build(&daemon, "networkmode=container:peer", &of("cat /etc/hosts")).text();
    let peer = daemon.ok(&["inspect", "-f", "{{.Config.Hostname}}", "peer"]);
    assert!(joined.contains(&format!("\t{peer}\n")), "{joined}");
    let host = build(&daemon, "networkmode=host", &of("ls /sys/class/net")).text();
    assert!(host.contains("lo\n") && !host.contains("eth0"), "{host}");
    assert_eq!(build(&daemon, "networkmode=nonet", &of("true")).error(), "network nonet not found");
    daemon.ok(&["rm", "-f", "peer"]);
    daemon.ok(&["network", "rm", "web"]);
    sandbox.sh(&format!("find /sys/fs/cgroup {all} -exec rmdir {{}} +"));
    tidy(daemon, &[]);
    sandbox.finish();
}
