//! Getting the tests: source code, helper programs, root file systems.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::shell::run;

/// What the tests and their helper programs need, by Debian's names.
const PACKAGES: &[&str] = &[
    "bats",
    "bsdextrautils",
    "bsdutils",
    "busybox-static",
    "gawk",
    "gcc",
    "git",
    "golang-go",
    "iproute2",
    "jq",
    "libc6-dev",
    "mmdebstrap",
    "procps",
    "util-linux",
    "xz-utils",
];

/// The libraries of the helper programs of Debian's version, which has no vendor directory.
const LIBRARIES: &[&str] = &[
    "golang-dbus-dev",
    "golang-github-cilium-ebpf-dev",
    "golang-github-containerd-console-dev",
    "golang-github-coreos-go-systemd-dev",
    "golang-github-cyphar-filepath-securejoin-dev",
    "golang-github-docker-go-units-dev",
    "golang-github-moby-sys-dev",
    "golang-github-opencontainers-selinux-dev",
    "golang-github-opencontainers-specs-dev",
    "golang-github-seccomp-libseccomp-golang-dev",
    "golang-github-sirupsen-logrus-dev",
    "golang-github-urfave-cli-dev",
    "libseccomp-dev",
    "pkg-config",
];

/// Where Debian's Go libraries are.
const GOCODE: &str = "/usr/share/gocode";

/// A directory of a source tree that has to be where Go looks for it.
const IMPORT: &str = "src/github.com/opencontainers/runc";

/// The tests, ready to be run.
#[derive(Debug)]
pub(crate) struct Suite {
    /// runc's source tree.
    pub(crate) source: PathBuf,
    /// Its version.
    pub(crate) version: String,
    /// Where there are more programs for the tests.
    pub(crate) programs: Option<PathBuf>,
}

impl Suite {
    /// Gets and builds whatever is not there yet.
    pub(crate) fn get(root: &Path, given: Option<&Path>) -> Result<Self, String> {
        let work = root.join("target/conformance");
        make(&work)?;
        let libraries = if given.is_some() { &LIBRARIES[LIBRARIES.len() - 2..] } else { LIBRARIES };
        install(&[PACKAGES, libraries].concat())?;
        let source = match given {
            Some(given) => given.to_owned(),
            None => fetch(&work)?,
        };
        let version = std::fs::read_to_string(source.join("VERSION"))
            .map_err(|error| format!("{:?}: {error}", source.join("VERSION")))?;
        let suite = Self { source, version: version.trim().to_owned(), programs: None };
        suite.build(&work)?;
        suite.make_images(&work)?;
        Ok(suite)
    }

    /// Builds the helper programs, each in its own directory and where later versions look for all.
    fn build(&self, work: &Path) -> Result<(), String> {
        let mut programs = Vec::new();
        for place in ["contrib/cmd", "tests/cmd"] {
            let entries = std::fs::read_dir(self.source.join(place));
            let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
            programs.extend(paths.filter(|path| path.is_dir() && !path.ends_with("_bin")));
        }
        let bins = self.source.join("tests/cmd/_bin");
        make(&bins)?;
        let vendored = self.source.join("vendor").is_dir();
        for directory in programs {
            let Some(name) = directory.file_name() else { continue };
            let program = directory.join(name);
            if !program.is_file() {
                println!("building {}", directory.display());
                let mut command = Command::new("go");
                command.args(["build", "-tags", "seccomp", "-o"]).arg(name).arg(".");
                command.current_dir(&directory).env("GOCACHE", work.join("gocache"));
                if vendored {
                    command.env("GOFLAGS", "-mod=vendor");
                } else {
                    let path = format!("{}:{GOCODE}", work.join("gopath").display());
                    command.env("GO111MODULE", "off").env("GOPATH", path);
                }
                run(&mut command)?;
            }
            let link = bins.join(name);
            let _absent = std::fs::remove_file(&link);
            std::fs::copy(&program, &link).map_err(|error| format!("{link:?}: {error}"))?;
        }
        Ok(())
    }

    /// Makes the root file systems that `get-images.sh` would fetch, under its names.
    fn make_images(&self, work: &Path) -> Result<(), String> {
        let images = work.join("images");
        make(&images)?;
        let (busybox, debian) = (images.join("busybox.tar.xz"), images.join("debian.tar.xz"));
        if !busybox.is_file() {
            shell(&images, BUSYBOX)?;
        }
        if !debian.is_file() {
            println!("making a root file system of Debian");
            shell(&images, DEBIAN)?;
        }
        let output = Command::new("go").args(["env", "GOARCH"]).output();
        let output = output.map_err(|error| format!("go env: {error}"))?;
        let arch = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        for (from, name) in [(busybox, "busybox"), (debian, "debian")] {
            let to = self.source.join(format!("tests/integration/testdata/{name}-{arch}.tar.xz"));
            if !to.is_file() {
                std::fs::copy(&from, &to).map_err(|error| format!("{to:?}: {error}"))?;
            }
        }
        Ok(())
    }
}

/// As Docker's image of busybox: its programs, a few files of /etc, and no mount points.
const BUSYBOX: &str = r#"
rm -rf busybox && mkdir busybox && cd busybox
mkdir -p bin dev etc home lib root tmp usr/bin usr/sbin var/spool/mail var/www
chmod 1777 tmp; chmod 700 root
cp "$(command -v busybox)" bin/busybox
for applet in $(busybox --list); do test -e "bin/$applet" || ln bin/busybox "bin/$applet"; done
ln -s ../../bin/env usr/bin/env
cat > etc/passwd <<'EOF'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
EOF
cat > etc/group <<'EOF'
root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
www-data:x:33:
users:x:100:
nobody:x:65534:
EOF
tar --owner=0 --group=0 -cJf ../busybox.tar.xz.new . && cd .. && rm -rf busybox
mv busybox.tar.xz.new busybox.tar.xz
"#;

/// Debian with little more than its package manager, as `debian:buster-slim`.
const DEBIAN: &str = r#"
mmdebstrap --quiet --variant=minbase --mode=root \
    --aptopt='Acquire::Check-Valid-Until "false"' \
    --customize-hook='rm -rf "$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin' \
    "$(. /etc/os-release && echo "$VERSION_CODENAME")" debian.tar
xz -T0 -1 debian.tar && mv debian.tar.xz debian.tar.xz.new && mv debian.tar.xz.new debian.tar.xz
"#;

/// Fetches Debian's source package, and unpacks the original in it. Its address is added for this
/// one call: where the machine gets its packages from is not changed.
fn fetch(work: &Path) -> Result<PathBuf, String> {
    let source = work.join("gopath").join(IMPORT);
    if source.join("VERSION").is_file() {
        return Ok(source);
    }
    println!("fetching the source code of Debian's runc");
    shell(work, FETCH)?;
    let new = work.join("gopath").join("new");
    if let Some(parent) = source.parent() {
        make(parent)?;
    }
    std::fs::rename(&new, &source).map_err(|error| format!("rename({new:?}): {error}"))?;
    Ok(source)
}

const FETCH: &str = r#"
rm -rf apt gopath/new && mkdir -p apt/lists/partial gopath/new && cd apt
key=/usr/share/keyrings/debian-archive-keyring.gpg
test -f $key && key=" [signed-by=$key]" || key=
apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    awk '!seen[$0]++' | sed "s|^|deb-src$key |" > sources.list
test -s sources.list || { echo "apt knows no archive of Debian" >&2; exit 1; }
apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$PWD/lists" -o APT::Sandbox::User=root \
        -o Acquire::Check-Valid-Until=false "$@"
}
apt update
apt source --download-only runc
tar -xf runc_*.orig.tar.* -C ../gopath/new --strip-components=1
"#;

/// Runs a script in `directory`; the first step that fails ends it.
pub(super) fn shell(directory: &Path, script: &str) -> Result<(), String> {
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(directory).stdin(Stdio::null());
    let status = command.status().map_err(|error| format!("sh: {error}"))?;
    let first = || script.lines().find(|line| !line.is_empty()).unwrap_or_default();
    if status.success() { Ok(()) } else { Err(format!("sh -c '{} ...': {status}", first())) }
}

/// What follows an option.
pub(super) fn value<'a>(
    option: &str,
    args: &mut impl Iterator<Item = &'a String>,
    usage: &str,
) -> Result<&'a String, String> {
    args.next().ok_or_else(|| format!("{option} needs a value\n{usage}"))
}

/// The same, of something that is there.
pub(super) fn path<'a>(
    option: &str,
    args: &mut impl Iterator<Item = &'a String>,
    usage: &str,
) -> Result<PathBuf, String> {
    let path = value(option, args, usage)?;
    std::fs::canonicalize(path).map_err(|error| format!("{option} {path}: {error}"))
}

pub(super) fn make(directory: &Path) -> Result<(), String> {
    std::fs::create_dir_all(directory).map_err(|error| format!("{directory:?}: {error}"))
}

/// Installs those packages that are not.
pub(super) fn install(packages: &[&str]) -> Result<(), String> {
    let is_installed = |package: &&&str| {
        let mut command = Command::new("dpkg-query");
        command.args(["-W", "-f", "${Status}", package]).stderr(Stdio::null());
        let output = command.output();
        output.is_ok_and(|output| output.stdout.ends_with(b"ok installed"))
    };
    let missing: Vec<&str> = packages.iter().filter(|one| !is_installed(one)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-y", "--no-install-recommends"]).args(args);
        run(command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
    };
    apt(&["update"])?;
    apt(&[&["install"], missing.as_slice()].concat())
}
