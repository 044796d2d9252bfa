//! Other engines for the tests, as Debian packages them: unpacked as a root file system of their own
//! beneath `target`. Nothing is installed on the machine, and none of their daemons is started.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::shell::find;

/// What the tests use, and what that needs beyond what it depends on.
const PACKAGES: &str = "docker.io,containerd,runc,podman,buildah,conmon,netavark,iptables,iproute2,\
    bsdutils,busybox-static,catatonit,criu,procps,skopeo,tini,uidmap,umoci";
/// Those that came last into the list: a folder without them is of an older one.
const LAST: [&str; 3] = ["podman", "skopeo", "umoci"];

/// A mirror that is a snapshot is older than its lists say they are good for.
const AGED: &str = "--aptopt=Acquire::Check-Valid-Until \"false\"";

/// Fetches them, once. Without them the tests that need them are skipped.
pub(crate) fn fetch(root: &Path) {
    let directory = root.join("target/unpacked/engines");
    let Some(suite) = suite() else { return };
    let is_there = LAST.iter().all(|program| directory.join("usr/bin").join(program).is_file());
    if is_there || find("mmdebstrap").is_none() {
        return;
    }
    println!("unpacking docker, containerd, podman, buildah and umoci from Debian's {suite}");
    // Beside its place first: a half of it must not be taken for the whole.
    let new = root.join("target/unpacked/engines.new");
    let _absent = std::fs::remove_dir_all(&new);
    let _there = std::fs::create_dir_all(root.join("target/unpacked"));
    // Docker's client is a package of its own in later releases.
    let is_split = Command::new("apt-cache").args(["show", "docker-cli"]).output();
    let client =
        if is_split.is_ok_and(|output| output.status.success()) { ",docker-cli" } else { "" };
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--mode=root", AGED]);
    command.arg(format!("--include={PACKAGES}{client}")).arg(&suite).arg(&new).args(mirror());
    let fetched = command.stdin(Stdio::null()).status();
    if fetched.is_ok_and(|status| status.success()) {
        let _absent = std::fs::remove_dir_all(&directory);
        let _skipped = std::fs::rename(&new, &directory);
    } else {
        let _kept = std::fs::remove_dir_all(&new);
    }
}

/// criu starts with the loader and the libraries that were unpacked with it.
const CRIU: &str = "#!/bin/sh
here=$(dirname \"$(readlink -f \"$0\")\")/../../criu
for lib in \"$here\"/usr/lib/*-linux-gnu; do
  exec \"$lib\"/ld-linux-*.so.* --library-path \"$lib\" --argv0 criu \"$here/usr/sbin/criu\" \"$@\"
done
";

/// Fetches criu, once, where there is none that works on this kernel: new kernels need a new criu,
/// so it is that of Debian's sid.
pub(crate) fn fetch_criu(root: &Path) {
    let works = Command::new("criu").arg("check").stderr(Stdio::null()).output();
    let bin = root.join("target/unpacked/usr/bin");
    if works.is_ok_and(|output| output.status.success()) || bin.join("criu").is_file() {
        return;
    }
    if suite().is_none() || find("mmdebstrap").is_none() {
        return;
    }
    println!("unpacking criu from Debian's sid");
    let (new, directory) =
        (root.join("target/unpacked/criu.new"), root.join("target/unpacked/criu"));
    let _absent = std::fs::remove_dir_all(&new);
    let _there = std::fs::create_dir_all(&bin);
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=extract", "--mode=root", AGED, "--include=criu", "sid"]);
    let fetched = command.arg(&new).args(mirror()).stdin(Stdio::null()).status();
    if fetched.is_ok_and(|status| status.success()) && std::fs::rename(&new, &directory).is_ok() {
        let _skipped = write_program(&bin.join("criu"), CRIU);
    } else {
        let _kept = std::fs::remove_dir_all(&new);
    }
}

/// Docker's newest client and its plugins, and what each is called here, where another version of it may
/// be installed.
const CLIENTS: [(&str, &str); 3] = [
    ("docker-client", "usr/bin/docker"),
    ("docker-buildx", "usr/libexec/docker/cli-plugins/docker-buildx"),
    ("docker-compose", "usr/libexec/docker/cli-plugins/docker-compose"),
];

/// Started as criu is.
const CLIENT: &str = "#!/bin/sh
here=$(dirname \"$(readlink -f \"$0\")\")/../../clients
for lib in \"$here\"/usr/lib/*-linux-gnu; do
  exec \"$lib\"/ld-linux-*.so.* --library-path \"$lib\" --argv0 \"$0\" \"$here/PROGRAM\" \"$@\"
done
";

/// Fetches Docker's newest client, Buildx and Compose, once: builds are tested with those of Debian's sid.
pub(crate) fn fetch_clients(root: &Path) {
    let bin = root.join("target/unpacked/usr/bin");
    let directory = root.join("target/unpacked/clients");
    let is_there = CLIENTS.iter().all(|(name, _)| bin.join(name).is_file());
    if (is_there && directory.is_dir()) || suite().is_none() || find("mmdebstrap").is_none() {
        return;
    }
    println!("unpacking docker's client, buildx and compose from Debian's sid");
    let new = root.join("target/unpacked/clients.new");
    let _absent = std::fs::remove_dir_all(&new);
    let _absent = std::fs::remove_dir_all(&directory);
    let _there = std::fs::create_dir_all(&bin);
    let mut command = Command::new("mmdebstrap");
    let packages = "--include=docker-cli,docker-buildx,docker-compose";
    command.args(["--quiet", "--variant=extract", "--mode=root", AGED, packages, "sid"]);
    let fetched = command.arg(&new).args(mirror()).stdin(Stdio::null()).status();
    if fetched.is_ok_and(|status| status.success()) && std::fs::rename(&new, &directory).is_ok() {
        for (name, program) in CLIENTS {
            let _skipped = write_program(&bin.join(name), &CLIENT.replace("PROGRAM", program));
        }
    } else {
        let _kept = std::fs::remove_dir_all(&new);
    }
}

/// npm from its registry, with curl where there is no npm, and uv from Python's.
const PACKAGE_MANAGERS: &str = "set -e
npm pack npm@10.9.4 --silent >/dev/null 2>&1 || \\
  curl -sSfLO https://registry.npmjs.org/npm/-/npm-10.9.4.tgz
mkdir -p lib bin
tar -xzf npm-*.tgz
mv package lib/npm
python3 -m pip download -q --no-deps --only-binary :all: -d . uv==0.9.5
python3 -m zipfile -e uv-*.whl wheel
cp wheel/*/scripts/uv bin/uv-for-builds
ln -s ../lib/npm/bin/npm-cli.js bin/npm-for-builds
chmod 755 bin/uv-for-builds lib/npm/bin/npm-cli.js
rm -rf wheel ./*.whl ./*.tgz
";

/// Fetches npm and uv, once: images are built with packages by them.
pub(crate) fn fetch_package_managers(root: &Path) {
    let (bin, lib) = (root.join("target/unpacked/usr/bin"), root.join("target/unpacked/usr/lib"));
    if bin.join("uv-for-builds").is_file() && lib.join("npm").is_dir() {
        return;
    }
    println!("unpacking npm from its registry, and uv from PyPI");
    let new = root.join("target/unpacked/managers.new");
    let _absent = std::fs::remove_dir_all(&new);
    let _absent = std::fs::remove_dir_all(lib.join("npm"));
    let made = [&new, &bin, &lib].into_iter().try_for_each(std::fs::create_dir_all);
    let mut command = Command::new("sh");
    command.args(["-c", PACKAGE_MANAGERS]).current_dir(&new).stdin(Stdio::null());
    if made.is_ok() && command.status().is_ok_and(|status| status.success()) {
        let _skipped = std::fs::rename(new.join("lib/npm"), lib.join("npm"));
        for name in ["npm-for-builds", "uv-for-builds"] {
            let _skipped = std::fs::rename(new.join("bin").join(name), bin.join(name));
        }
    }
    let _absent = std::fs::remove_dir_all(&new);
}

/// Fetches a static busybox for 64-bit ARM, once: what emulators are tested with.
pub(crate) fn fetch_foreign(root: &Path) {
    let bin = root.join("target/unpacked/usr/bin");
    let program = bin.join("busybox-arm64");
    let Some(suite) = suite().filter(|_| !program.is_file() && find("mmdebstrap").is_some()) else {
        return;
    };
    println!("unpacking busybox for arm64 from Debian's {suite}");
    let new = root.join("target/unpacked/foreign.new");
    let _absent = std::fs::remove_dir_all(&new);
    let _there = std::fs::create_dir_all(&bin);
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=extract", "--mode=root", "--architectures=arm64", AGED]);
    command.args(["--include=busybox-static", &suite]).arg(&new).args(mirror());
    let fetched = command.stdin(Stdio::null()).status();
    if fetched.is_ok_and(|status| status.success()) {
        // Where `/bin` is a link to the other.
        for place in ["bin/busybox", "usr/bin/busybox"] {
            let _skipped = std::fs::rename(new.join(place), &program);
        }
    }
    let _absent = std::fs::remove_dir_all(&new);
}

fn write_program(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// The name of this machine's release of Debian.
fn suite() -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME")).flatten()
}

/// Where this machine has its packages from: the first source of its own release, of all that it may
/// have. mmdebstrap's own choice otherwise.
fn mirror() -> Option<String> {
    let (suite, lists) = (suite()?, std::fs::read_dir("/etc/apt/sources.list.d").ok()?);
    let paths = lists.flatten().map(|entry| entry.path());
    let mut texts = paths
        .filter(|path| path.extension().is_some_and(|end| end == "sources"))
        .filter_map(|path| std::fs::read_to_string(path).ok());
    texts.find_map(|text| mirror_in(&text, &suite))
}

/// The address in the first paragraph of a file of sources that has the release `suite`.
fn mirror_in(text: &str, suite: &str) -> Option<String> {
    text.split("\n\n").find_map(|paragraph| {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
        let has = field("Suites:")?.split_whitespace().any(|word| word == suite);
        let uri = field("URIs:")?.split_whitespace().next()?;
        has.then(|| uri.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_release() {
        let other = "Types: deb\nURIs: https://other.example/x\nSuites: any\nComponents: main\n";
        let debian = "# Ours\nTypes: deb\nURIs: http://deb.debian.org/debian-security\n\
                      Suites: bookworm-security\n\nTypes: deb\nURIs: http://deb.debian.org/debian\n\
                      Suites: bookworm bookworm-updates\n";
        assert_eq!(mirror_in(other, "bookworm"), None);
        assert_eq!(mirror_in(debian, "bookworm").as_deref(), Some("http://deb.debian.org/debian"));
    }
}
