//! The same Dockerfiles built by dhow and by Docker's daemon, by the same client, and what came out held
//! against each other: every layer's files, the configuration, the history.
//!
//! The Dockerfiles are `tests/conformance/build/*.Dockerfile`. A first line `# build: FLAGS` says with what
//! flags; a line `# differs: WHY` that both are known not to make the same.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Catalogue, catalogue, differences};

use super::suite::{self, shell};
use crate::shell::{cargo, find, run};
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask conformance build --docker SOCKET [--dhow PATH] [FILTER]

  --docker SOCKET  where Docker's daemon listens; images are left there under the name corpus
  --dhow PATH      the program to test (default: dhow, built now)
  FILTER           only Dockerfiles with this in their names";

/// What is older than this, in seconds since 1970, came from the context, and must be the same; what was
/// written by a step has the time of its build.
const OLD: i64 = 1_700_000_000;
/// How many differences of one Dockerfile are shown.
const SHOWN: usize = 12;
/// How long a daemon may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct Options {
    docker: Option<PathBuf>,
    dhow: Option<PathBuf>,
    filter: String,
}

impl Options {
    fn new(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut path = || suite::path(arg, &mut args, USAGE);
            match arg.as_str() {
                "--docker" => options.docker = Some(path()?),
                "--dhow" => options.dhow = Some(path()?),
                filter if !filter.starts_with('-') => filter.clone_into(&mut options.filter),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

/// A Dockerfile, and how it is built.
struct Case {
    name: String,
    path: PathBuf,
    flags: Vec<String>,
    differs: Option<String>,
}

/// Builds all, and compares.
pub(super) fn build(args: &[String]) -> Result<(), String> {
    let options = Options::new(args)?;
    let docker = options.docker.ok_or_else(|| USAGE.to_owned())?;
    if !rustix::process::geteuid().is_root() {
        return Err("steps of builds are containers of root's".to_owned());
    }
    let root = Workspace::load()?.root;
    crate::engines::fetch_clients(&root);
    let work = root.join("target/conformance/build");
    let _absent = std::fs::remove_dir_all(&work);
    suite::make(&work.join("context"))?;
    let corpus = root.join("tests/conformance/build");
    shell(&work.join("context"), &read(&corpus.join("context.sh"))?)?;
    shell(&work, BASE)?;
    let dhow = if let Some(dhow) = options.dhow {
        dhow
    } else {
        run(&mut cargo(&root, &["build", "-p", "dhow"]))?;
        crate::test::built(&root, "dhow")?
    };
    let engine = Engine::start(&work, &dhow)?;
    let run = Run { client: client(&root)?, work: work.clone(), docker, dhow: engine.socket() };
    run.check_client()?;
    run.load_base()?;
    let mut wrong = 0;
    let cases = cases(&corpus, &options.filter)?;
    for case in &cases {
        let (found, is_built) = run.differences(case)?;
        let is_right = is_built && found.is_empty() == case.differs.is_none();
        match (&case.differs, found.is_empty()) {
            _ if !is_built => println!("FAILS    {}", case.name),
            (None, true) => println!("same     {}", case.name),
            (Some(why), false) => println!("differs  {}: {why}", case.name),
            (Some(_), true) => println!("SAME     {}, though it is said to differ", case.name),
            (None, false) => println!("DIFFERS  {}", case.name),
        }
        if !is_right {
            wrong += 1;
            found.iter().take(SHOWN).for_each(|line| println!("  {line}"));
        }
    }
    drop(engine);
    let _kept = std::fs::remove_dir_all(&work);
    println!("{} of {} are as they should be", cases.len() - wrong, cases.len());
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} Dockerfiles are not")) }
}

/// A root file system of busybox, with all that a container has mounted, so that no layer has it.
const BASE: &str = r#"
rm -rf base && mkdir base && cd base
mkdir -p bin dev/pts dev/shm dev/mqueue etc proc root run sys tmp var
chmod 1777 tmp; : > dev/console; : > etc/hosts; : > etc/hostname; : > etc/resolv.conf
ln -s /proc/mounts etc/mtab
cp "$(command -v busybox)" bin/busybox
for applet in $(busybox --list); do test -e "bin/$applet" || ln -s busybox "bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1001:user:/home/user:/bin/sh\n' > etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\nusers:x:1001:\n' > etc/group
tar --owner=0 --group=0 -cf ../base.tar . && cd .. && rm -rf base
"#;

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Docker's client, of the version that was fetched, else the machine's.
fn client(root: &Path) -> Result<PathBuf, String> {
    let ours = root.join("target/unpacked/usr/bin/docker-client");
    let found = Some(ours).filter(|path| path.is_file()).or_else(|| find("docker"));
    found.ok_or_else(|| "there is no client of Docker's".to_owned())
}

fn cases(corpus: &Path, filter: &str) -> Result<Vec<Case>, String> {
    let entries = std::fs::read_dir(corpus).map_err(|error| format!("{corpus:?}: {error}"))?;
    let mut cases = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_none_or(|end| end != "Dockerfile") || !name.contains(filter) {
            continue;
        }
        let text = read(&path)?;
        let said = |what: &str| text.lines().find_map(|line| line.strip_prefix(what));
        let flags = said("# build: ").unwrap_or_default();
        let flags = flags.split_whitespace().map(str::to_owned).collect();
        let differs = said("# differs: ").map(str::to_owned);
        cases.push(Case { name, path, flags, differs });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

/// A daemon of ours in namespaces that stand for its host, until this is dropped.
struct Engine {
    child: Child,
    dir: PathBuf,
}

impl Drop for Engine {
    fn drop(&mut self) {
        // All that runs in its namespace ends with it.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Engine {
    fn start(work: &Path, dhow: &Path) -> Result<Self, String> {
        let dir = work.join("engine");
        suite::make(&dir)?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.args(["sh", "-c", "ip link set lo up; exec \"$0\" daemon"]).arg(dhow);
        command.env("DHOW_ROOT", dir.join("root")).env("DHOW_STATE", dir.join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let engine = Self { child, dir };
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(engine.socket()).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} does not come up", dhow.display()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(engine)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("state/dhow.sock")
    }
}

struct Run {
    client: PathBuf,
    work: PathBuf,
    docker: PathBuf,
    dhow: PathBuf,
}

/// An image as it was saved.
struct Saved {
    config: Value,
    layers: Vec<Catalogue>,
}

impl Run {
    fn command(&self, socket: &Path) -> Command {
        let plugins = self.client.parent().map(Path::to_owned).unwrap_or_default();
        let home = self.work.join("home");
        let plugin = home.join(".docker/cli-plugins/docker-buildx");
        if !plugin.exists() {
            let _made = std::fs::create_dir_all(home.join(".docker/cli-plugins"));
            let _linked = std::os::unix::fs::symlink(plugins.join("docker-buildx"), &plugin);
        }
        let mut command = Command::new(&self.client);
        command.arg("-H").arg(format!("unix://{}", socket.display())).env("HOME", &home);
        command.current_dir(self.work.join("context")).stdin(Stdio::null());
        command
    }

    /// Without Buildx nothing would be built, by neither.
    fn check_client(&self) -> Result<(), String> {
        let mut command = self.command(&self.docker);
        let output = command.args(["buildx", "version"]).output();
        let output = output.map_err(|error| format!("{}: {error}", self.client.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let client = self.client.display();
        Err(format!("{client} has no Buildx: `cargo xtask test` fetches both, with a network"))
    }

    /// The same image in both.
    fn load_base(&self) -> Result<(), String> {
        let (base, saved) = (self.work.join("base.tar"), self.work.join("base.saved.tar"));
        let import = ["import", "--change", "ENV PATH=/bin:/usr/bin", "--change", "CMD [\"sh\"]"];
        let quiet = |command: &mut Command| run(command.stdout(Stdio::null()));
        quiet(self.command(&self.dhow).args(import).arg(&base).arg("busybox"))?;
        quiet(self.command(&self.dhow).args(["save", "busybox", "-o"]).arg(&saved))?;
        quiet(self.command(&self.docker).args(["load", "-i"]).arg(&saved))
    }

    /// What differs, and whether dhow builds it at all.
    fn differences(&self, case: &Case) -> Result<(Vec<String>, bool), String> {
        let docker = self.build(case, &self.docker)?;
        let dhow = self.build(case, &self.dhow)?;
        let (docker, dhow) = match (docker, dhow) {
            (Ok(()), Ok(())) => (self.save(&self.docker)?, self.save(&self.dhow)?),
            (docker, dhow) => {
                let is_built = dhow.is_ok();
                let said = |one: Result<(), String>| one.err().unwrap_or("builds it".to_owned());
                let said = [format!("docker {}", said(docker)), format!("dhow {}", said(dhow))];
                return Ok((said.to_vec(), is_built));
            }
        };
        let mut found = Vec::new();
        compare("", &docker.config, &dhow.config, &mut found);
        for layer in 0..docker.layers.len().max(dhow.layers.len()) {
            let of = |image: &Saved| image.layers.get(layer).cloned().unwrap_or_default();
            for line in differences(&of(&docker), &of(&dhow)) {
                found.push(format!("layer {layer}: {line}"));
            }
        }
        Ok((found, true))
    }

    /// Builds it; what the client says where it fails.
    fn build(&self, case: &Case, socket: &Path) -> Result<Result<(), String>, String> {
        let mut command = self.command(socket);
        command.args(["buildx", "build", "-q", "-t", "corpus", "-f"]).arg(&case.path);
        let output = command.args(&case.flags).arg(".").output();
        let output = output.map_err(|error| format!("{}: {error}", self.client.display()))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(if output.status.success() { Ok(()) } else { Err(said) })
    }

    fn save(&self, socket: &Path) -> Result<Saved, String> {
        let dir = self.work.join("saved");
        let _absent = std::fs::remove_dir_all(&dir);
        suite::make(&dir)?;
        run(self.command(socket).args(["save", "corpus", "-o"]).arg(dir.join("image.tar")))?;
        shell(&dir, "tar -xf image.tar")?;
        let json = |name: &str| -> Result<Value, String> {
            let text = read(&dir.join(name))?;
            serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))
        };
        let manifest = json("manifest.json")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut config = json(&text(&manifest[0]["Config"]))?;
        without_times(&mut config);
        let mut layers = Vec::new();
        for layer in manifest[0]["Layers"].as_array().into_iter().flatten() {
            let _absent = std::fs::remove_dir_all(dir.join("layer"));
            let script = "mkdir layer && tar -xp --numeric-owner --xattrs --xattrs-include='*' \
                          -C layer -f";
            shell(&dir, &format!("{script} {}", text(layer)))?;
            layers.push(comparable(catalogue(&dir.join("layer"))));
        }
        Ok(Saved { config, layers })
    }
}

/// Times are of the build, and so are the digests of what has times.
fn without_times(config: &mut Value) {
    if let Some(map) = config.as_object_mut() {
        map.remove("created");
    }
    let count = config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
    config["rootfs"]["diff_ids"] = count.into();
    for entry in config["history"].as_array_mut().into_iter().flatten() {
        entry.as_object_mut().map(|entry| entry.remove("created"));
    }
}

/// Without what has no meaning: when something was made just now, how a mark that something is gone looks,
/// the root of the archive, holes.
fn comparable(mut layer: Catalogue) -> Catalogue {
    layer.remove(Path::new(""));
    for (path, item) in &mut layer {
        item.data.clear();
        if item.mtime.0 > OLD {
            item.mtime = (0, 0);
        }
        let is_mark =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".wh."));
        if is_mark {
            (item.mode, item.mtime, item.owner) = (0, (0, 0), (0, 0));
        }
    }
    layer
}

/// What differs in two documents, by its place.
fn compare(place: &str, docker: &Value, dhow: &Value, found: &mut Vec<String>) {
    match (docker, dhow) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                let (a, b) = (of(a).unwrap_or_default(), of(b).unwrap_or_default());
                compare(&format!("{place}.{key}"), &a, &b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{place}[{at}]"), a, b, found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{place}: docker {a}, dhow {b}")),
    }
}
