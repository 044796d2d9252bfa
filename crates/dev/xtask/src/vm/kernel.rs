//! The guest's kernel: one of Debian's for virtual machines, or an older one of Ubuntu's, unpacked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A kernel beneath `target/vm`.
pub(crate) struct Kernel {
    /// What is booted.
    pub(crate) image: PathBuf,
    /// The modules that a container needs, each after those that it depends on.
    pub(crate) modules: Vec<PathBuf>,
}

/// Versions, and the releases of Debian that have them.
const RELEASES: [(&str, &str); 3] = [("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie")];

/// Where Ubuntu keeps its packages, and kernels that no release of Debian has any more: each with
/// the packages of its image and its modules, and their SHA-256, since a Debian knows no keys of
/// Ubuntu's.
const UBUNTU: &str = "http://archive.ubuntu.com/ubuntu/pool/main/l";
const PINNED: [(&str, [(&str, &str); 2]); 2] = [
    (
        "4.18",
        [
            (
                "linux-hwe/linux-image-unsigned-4.18.0-25-generic_4.18.0-25.26~18.04.1_amd64.deb",
                "48255bba33b59127b69a9b8fdca27a25187bffd151ed0762bf7205b23474a08a",
            ),
            (
                "linux-hwe/linux-modules-4.18.0-25-generic_4.18.0-25.26~18.04.1_amd64.deb",
                "d21662c73ba590cce15b4360a282120d7f12b0c2febb72dd655ffe2ee92d7eee",
            ),
        ],
    ),
    (
        "5.4",
        [
            (
                "linux-hwe-5.4/\
                 linux-image-unsigned-5.4.0-150-generic_5.4.0-150.167~18.04.1_amd64.deb",
                "7dbbc78dcca32e96c11b1dad0e516ed5efc771cf905371d63e7363b65802a973",
            ),
            (
                "linux-hwe-5.4/linux-modules-5.4.0-150-generic_5.4.0-150.167~18.04.1_amd64.deb",
                "efa339a2f568e03cd9285ec8a1c13bff5385c64d1d8c7d4bc1dbe9ac4e837c14",
            ),
        ],
    ),
];

/// What a container needs of the modules, with what these depend on. Some are built in, in some
/// kernels.
const MODULES: [&str; 23] = [
    "overlay",
    "veth",
    "bridge",
    "br_netfilter",
    "crc32c-intel",
    "crc32c_generic",
    "nf_tables",
    "nft_chain_nat",
    "nft_masq",
    "nft_redir",
    "nft_ct",
    "nft_nat",
    "nft_fib_inet",
    "nft_reject_inet",
    "cls_cgroup",
    "netprio_cgroup",
    "dummy",
    "macvlan",
    "ipvlan",
    "8021q",
    "fuse",
    "loop",
    "quota_v2",
];

/// The kernel of a version, fetched unless it is there.
pub(crate) fn get(place: &Path, version: &str) -> Result<Kernel, String> {
    let directory = place.join(format!("linux-{version}"));
    if !directory.join("boot").is_dir() {
        fetch(place, version, &directory)?;
    }
    let boot = std::fs::read_dir(directory.join("boot"));
    let mut files = boot.map_err(|error| format!("{}: {error}", directory.display()))?.flatten();
    let image = files.find(|file| file.file_name().to_string_lossy().starts_with("vmlinuz"));
    let image = image.ok_or_else(|| format!("no kernel in {}", directory.display()))?.path();
    let mut all = BTreeMap::new();
    find(&directory.join("lib/modules"), &mut all);
    let mut modules = Vec::new();
    let mut seen = BTreeSet::new();
    for name in MODULES {
        add(name, &all, &mut seen, &mut modules)?;
    }
    Ok(Kernel { image, modules })
}

fn fetch(place: &Path, version: &str, directory: &Path) -> Result<(), String> {
    if let Some((_, packages)) = PINNED.iter().find(|(known, _)| *known == version) {
        return fetch_pinned(place, packages, directory);
    }
    let release = RELEASES.iter().find(|(known, _)| *known == version).map(|(_, release)| *release);
    let release = release.ok_or_else(|| {
        let known = PINNED.iter().map(|(known, _)| *known);
        let known: Vec<_> = known.chain(RELEASES.iter().map(|(known, _)| *known)).collect();
        format!("--kernel {version} is none of {}", known.join(", "))
    })?;
    fetch_debian(place, release, directory)
}

/// The very packages that are named, or none.
fn fetch_pinned(place: &Path, packages: &[(&str, &str)], directory: &Path) -> Result<(), String> {
    let mut script = format!("new={}.new; rm -rf $new; mkdir $new\n", directory.display());
    script += "trap 'rm -rf $new' EXIT\n";
    for (package, sum) in packages {
        println!("fetching {package}");
        script += &format!(
            "curl -sSfL -o $new/deb '{UBUNTU}/{package}'
            echo '{sum}  '$new/deb | sha256sum -c --quiet; dpkg-deb -x $new/deb $new/root\n"
        );
    }
    script += &format!("mv $new/root {}", directory.display());
    super::shell(place, &script).map_err(|why| format!("fetch a kernel of Ubuntu: {why}"))
}

/// With lists of packages of our own, so that any release's kernel can be had, and the machine's
/// lists stay as they are.
fn fetch_debian(place: &Path, release: &str, directory: &Path) -> Result<(), String> {
    println!("fetching the kernel of Debian {release}");
    let script = format!(
        "new={new}.new; rm -rf $new; mkdir -p $new/apt/lists/partial $new/apt/archives/partial
        trap 'rm -rf $new' EXIT
        for source in 'debian {release}' 'debian-security {release}-security'; do
            echo \"deb [check-valid-until=no signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \\
                http://deb.debian.org/$source main\"
        done >$new/apt/sources
        apt() {{ tool=$1; shift; $tool -qq -o Dir::Etc::sourcelist=$new/apt/sources \\
            -o Dir::Etc::sourceparts=/dev/null -o Dir::State=$new/apt -o Dir::Cache=$new/apt \\
            -o Dir::State::status=/dev/null -o APT::Sandbox::User=root \"$@\"; }}
        apt apt-get update || true
        package=$(apt apt-cache depends linux-image-cloud-amd64 | awk '/Depends/{{print $2; exit}}')
        test -n \"$package\"
        cd $new; apt apt-get download $package
        mkdir -p root/lib; dpkg-deb -x $package*.deb root
        test ! -d root/usr/lib/modules || mv root/usr/lib/modules root/lib
        find root/lib/modules -name '*.ko.xz' -exec xz -d {{}} +
        rm -rf {new}; mv root {new}",
        new = directory.display()
    );
    super::shell(place, &script).map_err(|why| format!("fetch the kernel of {release}: {why}"))
}

/// All modules, by their names with `_` for `-`, as the kernel compares them.
fn find(directory: &Path, found: &mut BTreeMap<String, PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() {
            find(&path, found);
        } else if path.extension().is_some_and(|end| end == "ko") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
            found.insert(name, path);
        }
    }
}

/// Adds a module after what it depends on. One that is not there is built in, or of another
/// kernel.
fn add(
    name: &str,
    all: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    modules: &mut Vec<PathBuf>,
) -> Result<(), String> {
    let name = name.replace('-', "_");
    let Some(path) = all.get(&name) else { return Ok(()) };
    if !seen.insert(name) {
        return Ok(());
    }
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    for one in depends(&bytes).split(',').filter(|one| !one.is_empty()) {
        add(one, all, seen, modules)?;
    }
    modules.push(path.clone());
    Ok(())
}

/// What a module's `.modinfo` says that it depends on, with commas between.
fn depends(module: &[u8]) -> String {
    const KEY: &[u8] = b"\0depends=";
    let at = module.windows(KEY.len()).position(|window| window == KEY);
    let rest = at.map_or(&[][..], |at| &module[at + KEY.len()..]);
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&rest[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_module_says_what_it_depends_on() {
        assert_eq!(super::depends(b"x\0license=GPL\0depends=stp,llc\0name=bridge\0"), "stp,llc");
        assert_eq!(super::depends(b"x\0depends=\0name=a\0"), "");
        assert_eq!(super::depends(b""), "");
    }
}
