//! docker-py's own integration tests, run against an engine's socket.
//!
//! Nothing of them is kept here: they come from the Python package index, as the last source
//! distribution that holds them. The images that they name are made of Debian's busybox, are in the
//! engine before the tests begin, and are served by a registry of ours that stands for `docker.io`.
//! Everything runs in a PID, mount and network namespace of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cgroup::{Cgroup, Hierarchy};

use super::outcome::{Known, Outcome};
use super::suite::{self, shell};
use crate::shell::{cargo, run};
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask conformance docker-py [--dhow PATH] [--socket PATH] [--api VERSION] [FILTER]

  --dhow PATH    the program to test (default: dhow, built now)
  --socket PATH  another engine, which listens there and is left as the tests leave it: dockerd
  --api VERSION  the version of the API that the tests speak (default: the engine's newest)
  FILTER         as pytest's -k";

/// The last version whose source distribution holds its tests.
const VERSION: &str = "7.0.0";

const PACKAGES: &[&str] =
    &["busybox-static", "iproute2", "python3", "python3-venv", "tar", "util-linux"];

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    dhow: Option<PathBuf>,
    socket: Option<PathBuf>,
    api: Option<String>,
    filter: Option<String>,
}

impl Options {
    fn new(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--dhow" => options.dhow = Some(suite::path(arg, &mut args, USAGE)?),
                "--socket" => options.socket = Some(suite::path(arg, &mut args, USAGE)?),
                "--api" => options.api = Some(suite::value(arg, &mut args, USAGE)?.clone()),
                filter if !filter.starts_with('-') && options.filter.is_none() => {
                    options.filter = Some(filter.to_owned());
                }
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

/// Fetches what is missing, runs the tests, and compares with the list of what is known to fail.
pub(super) fn docker_py(args: &[String]) -> Result<(), String> {
    let options = Options::new(args)?;
    if !rustix::process::geteuid().is_root() {
        return Err("the tests make containers as root".to_owned());
    }
    let root = Workspace::load()?.root;
    let work = root.join("target/conformance/docker-py");
    suite::make(&work)?;
    suite::install(PACKAGES)?;
    get(&work)?;
    let engine = work.join("engine");
    let _absent = std::fs::remove_dir_all(&engine);
    suite::make(&engine)?;
    let mut command = match &options.socket {
        Some(socket) => there(socket),
        None => here(&options.dhow.clone().map_or_else(|| build(&root), Ok)?),
    };
    command
        .env("WORK", &work)
        .env("FILTER", options.filter.as_deref().unwrap_or_default())
        .env_remove("DOCKER_TEST_API_VERSION")
        .envs(options.api.iter().map(|version| ("DOCKER_TEST_API_VERSION", version)))
        .current_dir(work.join("source"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let outcome = watch(command);
    tidy_up(&engine.join("root"))?;
    let outcome = outcome?;
    let _kept = std::fs::remove_dir_all(&engine);
    let list = root.join(format!("tests/conformance/docker-py-{VERSION}.txt"));
    // What is known is known of dhow.
    let known = if options.socket.is_none() { Known::read(&list, true)? } else { Known::default() };
    outcome.report(&known, options.filter.is_none())
}

pub(super) fn build(root: &Path) -> Result<PathBuf, String> {
    run(&mut cargo(root, &["build", "-p", "dhow"]))?;
    crate::test::built(root, "dhow")
}

/// The source distribution, a Python environment for it, and the images' root file system.
fn get(work: &Path) -> Result<(), String> {
    if !work.join("source/tests").is_dir() {
        println!("fetching docker-py {VERSION}");
        shell(work, &FETCH.replace("VERSION", VERSION))?;
    }
    if !work.join("rootfs.tar").is_file() {
        shell(work, ROOTFS)?;
    }
    Ok(())
}

/// The libraries are those of the version's time: later ones of requests and urllib3 know no
/// `http+docker:`.
const FETCH: &str = r"
rm -rf venv source new && python3 -m venv venv && mkdir new && cd new
../venv/bin/pip -q --disable-pip-version-check install \
    'requests<2.32' 'urllib3<2.1' 'pytest<8' pytest-timeout websocket-client paramiko packaging
../venv/bin/pip -q --disable-pip-version-check download --no-deps --no-binary :all: docker==VERSION
tar -xf docker-VERSION.tar.gz && mv docker-VERSION ../source && cd .. && rm -rf new
";

/// As the images of busybox and Alpine: the programs, and the users that the tests name.
pub(super) const ROOTFS: &str = r#"
rm -rf rootfs && mkdir rootfs && cd rootfs
mkdir -p bin dev etc home lib proc root sys tmp usr/bin usr/sbin var/opt var/spool/mail var/www
chmod 1777 tmp; chmod 700 root
cp "$(command -v busybox)" bin/busybox
for applet in $(busybox --list); do test -e "bin/$applet" || ln -s busybox "bin/$applet"; done
cat > etc/passwd <<'END'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
postgres:x:70:70:postgres:/var/lib/postgresql:/bin/sh
nobody:x:65534:65534:nobody:/home:/bin/false
END
cat > etc/group <<'END'
root:x:0:
daemon:x:1:
bin:x:2:
postgres:x:70:
users:x:100:
nobody:x:65534:
END
# A layer that no other image has.
tar --owner=0 --group=0 -cf ../hello.tar bin/busybox bin/echo
tar --owner=0 --group=0 -cf ../rootfs.tar.new . && cd .. && rm -rf rootfs
mv rootfs.tar.new rootfs.tar
"#;

/// pytest, with the files that are about Swarm and plugins left out.
const TESTS: &str = r#"
rm -rf contexts
files=$(ls tests/integration/*_test.py | grep -vE '(swarm|service|node|config|secret|plugin)s?_test')
"$WORK/venv/bin/python" -m pytest -v --color=no --timeout 120 -p no:cacheprovider \
    ${FILTER:+-k "$FILTER"} $files 2>&1
"#;

/// An engine that listens already; it is in the network namespace of who calls.
fn there(socket: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", TESTS]).env("DOCKER_HOST", format!("unix://{}", socket.display()));
    command
}

/// An engine of ours, with a registry, in namespaces that stand for its host.
fn here(dhow: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.args(["sh", "-c", &format!("{ENGINE}{TESTS}{END}")]).env("DHOW", dhow);
    command
}

/// Whoever asks `docker.io` asks our registry: `hosts.toml`, in an `/etc` that only these see.
pub(super) const ENGINE: &str = r#"
export DHOW_ROOT="$WORK/engine/root" DHOW_STATE="$WORK/engine/state" HOME="$WORK/engine"
unset DOCKER_HOST
ip link set lo up
# As on any machine with systemd.
mount --make-rshared /
mount -t tmpfs tmpfs "$WORK/engine" && mkdir "$WORK/engine/etc" "$WORK/engine/etc.work" || exit
mount -t overlay etc -o "lowerdir=/etc,upperdir=$WORK/engine/etc,workdir=$WORK/engine/etc.work" /etc
mkdir -p /etc/dhow/certs.d/docker.io
echo 'server = "http://127.0.0.1:5000"' > /etc/dhow/certs.d/docker.io/hosts.toml
served="$DHOW --root $WORK/engine/served --state $WORK/engine/served.state"
for image in busybox:latest alpine:latest alpine:3.10 hello-world:latest; do
    change='CMD ["/bin/sh"]'
    test "$image" != hello-world:latest || change='CMD ["echo", "Hello from Docker!"]'
    rootfs="$WORK/rootfs.tar"
    test "$image" != hello-world:latest || rootfs="$WORK/hello.tar"
    $served import --change "$change" "$rootfs" "$image" >/dev/null || exit
    test "$image" = hello-world:latest ||
        "$DHOW" import --change "$change" "$WORK/rootfs.tar" "$image" >/dev/null || exit
done
$served registry serve >"$WORK/registry.log" 2>&1 &
"$DHOW" daemon >"$WORK/daemon.log" 2>&1 &
daemon=$!
for again in 1 2 3 4 5 6 7 8 9 10; do
    test -S "$DHOW_STATE/dhow.sock" && break
    sleep 0.5
done
export DOCKER_HOST="unix://$DHOW_STATE/dhow.sock"
"#;

pub(super) const END: &str = r#"
code=$?
unset DOCKER_HOST
left=$("$DHOW" ps -aq)
test -z "$left" || "$DHOW" rm -f $left >/dev/null
kill $daemon
exit $code
"#;

/// Runs the tests, and shows how each went.
pub(super) fn watch(mut command: Command) -> Result<Outcome, String> {
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let lines = super::lines(&mut child);
    let mut outcome = Outcome::default();
    while let Ok(line) = lines.recv() {
        outcome.take_pytest(&line);
        println!("{line}");
    }
    let status = child.wait().map_err(|error| format!("{command:?}: {error}"))?;
    if outcome.is_complete() { Ok(outcome) } else { Err(format!("the tests broke off: {status}")) }
}

/// Removes the cgroup of the engine that had this root, should something of it be left.
pub(super) fn tidy_up(root: &Path) -> Result<(), String> {
    let hierarchy = Hierarchy::detect().map_err(|error| error.to_string())?;
    let name = format!("/{}", testkit::engine_name(root));
    let group = match Cgroup::open(&hierarchy, &name) {
        Err(cgroup::Error::NotFound(_)) => return Ok(()),
        other => other.map_err(|error| format!("cgroup {name}: {error}"))?,
    };
    println!("removing what the tests left: cgroup {name}");
    let removed = group.thaw().and_then(|()| group.kill_all()).and_then(|()| group.remove());
    removed.map_err(|error| format!("cgroup {name}: {error}"))
}
