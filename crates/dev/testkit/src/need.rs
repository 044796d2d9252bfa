//! What a test needs of the machine. A test that cannot run says so; nothing passes quietly by not
//! running.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use cgroup::{Hierarchy, Mode};

/// Something that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To be root.
    Root,
    /// To mount an overlay, with directories of the place where tests put theirs.
    Overlay,
    /// A kernel that confines by `AppArmor`, and `apparmor_parser`.
    AppArmor,
    /// A kernel that labels by `SELinux`, and a policy that knows containers.
    Selinux,
    /// To mount a new btrfs on a loop device, and `mkfs.btrfs`.
    Btrfs,
    /// To mount a new ext4 with quotas of projects on a loop device.
    ProjectQuota,
    /// To make a network namespace and links in it, and `ip`.
    Netns,
    /// Links that share another one with a hardware address of their own.
    Macvlan,
    /// Links that share another one with its hardware address.
    Ipvlan,
    /// Links for the packets of one VLAN.
    Vlan,
    /// Links behind which there is nothing.
    Dummy,
    /// To change nftables in a network namespace, and `nft`.
    Nft,
    /// The memory controller, of any version.
    MemoryCgroup,
    /// The pids controller, of any version.
    PidsCgroup,
    /// The cpu controller, of any version.
    CpuCgroup,
    /// Controllers in a v2 tree.
    CgroupV2,
    /// `CAP_SYS_RESOURCE`.
    SysResource,
    /// To make a user namespace.
    UserNamespace,
    /// To make a user namespace without being root.
    OrdinaryUserNamespace,
    /// A way from a network namespace to the outside: `pasta` or `slirp4netns`, and a device for them.
    Slirp4netns,
    /// The helpers of ordinary users with several ids: `newuidmap`, set-user-id.
    NewUidMap,
    /// Id-mapped mounts of tmpfs.
    IdMappedTmpfs,
    /// Emulators that are registered in a user namespace alone.
    OwnBinfmtMisc,
    /// QEMU's emulators of programs, linked statically: `qemu-aarch64-static`.
    QemuUser,
    /// A static busybox for 64-bit ARM, `busybox-arm64`.
    ForeignBusybox,
    /// The runtime `runc`.
    Runc,
    /// The runtime `crun`.
    Crun,
    /// Docker's own client.
    Docker,
    /// Docker's newest client, `docker-client`, and its plugin for builds.
    Buildx,
    /// Its plugin for Compose.
    Compose,
    /// npm and uv, to be copied into images: `npm-for-builds`, `uv-for-builds`.
    PackageManagers,
    /// An agent for ssh.
    Ssh,
    /// GnuPG, to sign and to verify.
    Gpg,
    /// The distribution project's registry, `docker-registry`.
    Registry,
    /// `skopeo`.
    Skopeo,
    /// `mmdebstrap`, and a mirror of Debian that answers.
    Mmdebstrap,
    /// A `busybox` that is linked statically.
    Busybox,
    /// `curl`.
    Curl,
    /// `tmux`.
    Tmux,
    /// `script` (util-linux), which gives a program a terminal.
    Script,
    /// A build of dhow with failpoints.
    Failpoints,
}

impl Need {
    /// Probes the machine. When it lacks this, [`skip`]s.
    pub fn is_met(self) -> bool {
        match self.probe() {
            Ok(()) => true,
            Err(why) => {
                skip(&format!("{self:?}"), &why);
                false
            }
        }
    }

    fn probe(self) -> Result<(), String> {
        match self {
            Self::Root => met(rustix::process::geteuid().is_root(), || "not run by root".into()),
            Self::Overlay => shell(
                "d=$(mktemp -d) && cd $d && mkdir l u w m && unshare -m sh -c \
                 'mount -t overlay none m -o lowerdir=l,upperdir=u,workdir=w'; r=$?; rm -rf $d; exit $r",
            ),
            Self::AppArmor => shell(
                "grep -q Y /sys/module/apparmor/parameters/enabled && \
                 test -r /sys/kernel/security/apparmor/profiles && apparmor_parser --version",
            ),
            Self::Selinux => shell(
                "test -w /sys/fs/selinux/context || { echo no SELinux, or no policy >&2; exit 1; }; \
                 printf system_u:system_r:container_t:s0:c1,c2 >/sys/fs/selinux/context",
            ),
            Self::Btrfs => shell(
                "mkfs.btrfs --version >/dev/null && grep -qw btrfs /proc/filesystems || \
                 { echo the kernel has no btrfs >&2; exit 1; }; \
                 test -w /dev/loop-control || { echo no loop devices >&2; exit 1; }",
            ),
            // For quotactl_fd(2) Linux 5.14.
            Self::ProjectQuota => kernel((5, 14)).and_then(|()| {
                shell(
                    "d=$(mktemp -d) && cd $d && mkdir m && truncate -s 8M i && \
                 mkfs.ext4 -q -O quota,project -E quotatype=prjquota i && \
                 unshare -m mount -t ext4 -o loop,prjquota i m; r=$?; rm -rf $d; exit $r",
                )
            }),
            Self::Netns => shell("unshare -n ip link add probe0 type veth peer name probe1"),
            Self::Macvlan => link("macvlan mode bridge"),
            Self::Ipvlan => link("ipvlan mode l2"),
            Self::Vlan => link("vlan id 7"),
            Self::Dummy => shell("unshare -n ip link add probe0 type dummy"),
            Self::Nft => shell("unshare -n nft add table inet probe"),
            Self::MemoryCgroup => controller("memory", "memory"),
            Self::PidsCgroup => controller("pids", "pids"),
            Self::CpuCgroup => controller("cpu", "cpu"),
            Self::CgroupV2 => match Hierarchy::detect().map_err(|e| e.to_string())?.mode() {
                Mode::V2 => Ok(()),
                mode => Err(format!("this machine has {mode:?}")),
            },
            Self::SysResource => {
                let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
                let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
                let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
                met(bits.unwrap_or(0) >> 24 & 1 == 1, || "the process lacks it".into())
            }
            Self::UserNamespace => shell("unshare -U true"),
            Self::OrdinaryUserNamespace => {
                shell("setpriv --reuid=10001 --regid=10001 --clear-groups unshare -Ur true")
            }
            Self::Slirp4netns => shell("test -e /dev/net/tun && slirp4netns --version"),
            Self::NewUidMap => shell(
                "for tool in newuidmap newgidmap; do test -u \"$(command -v $tool)\" || \
                 { echo no set-user-id $tool >&2; exit 1; }; done",
            ),
            // Linux 6.3. mount(8) of 2.39 could say it directly.
            Self::IdMappedTmpfs => kernel((6, 3)),
            // Linux 6.7, and a kernel that has it.
            Self::OwnBinfmtMisc => {
                shell("unshare --user --map-root-user --mount mount -t binfmt_misc none /mnt")
            }
            Self::QemuUser => shell("qemu-aarch64-static --version"),
            Self::ForeignBusybox => shell("command -v busybox-arm64"),
            Self::Runc => shell("runc --version"),
            Self::Crun => shell("crun --version"),
            Self::Docker => shell("docker --version"),
            Self::Buildx => shell("docker-client --version && docker-buildx version"),
            Self::Compose => shell("docker-compose version"),
            Self::PackageManagers => shell("command -v npm-for-builds && uv-for-builds --version"),
            Self::Ssh => {
                shell("command -v ssh-agent && command -v ssh-add && command -v ssh-keygen")
            }
            Self::Gpg => shell("gpg --version && gpg-agent --version && gpgv --version"),
            Self::Registry => shell("docker-registry --version"),
            Self::Skopeo => shell("skopeo --version"),
            Self::Mmdebstrap => shell("mmdebstrap --version"),
            Self::Busybox => met(crate::rootfs::busybox().is_some(), || {
                "no static busybox in /bin or /usr/bin".into()
            }),
            Self::Curl => shell("curl --version"),
            Self::Tmux => shell("tmux -V"),
            Self::Script => shell("script --version"),
            Self::Failpoints => {
                let program = crate::dhow_program();
                let bytes = std::fs::read(&program).map_err(|e| format!("{program:?}: {e}"))?;
                let wanted = b"DHOW_FAILPOINTS";
                met(bytes.windows(wanted.len()).any(|window| window == wanted), || {
                    format!("{program:?} was built without the feature")
                })
            }
        }
    }
}

fn met(is_there: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if is_there { Ok(()) } else { Err(why()) }
}

/// Whether there are links of this type, which are on top of another one.
fn link(kind: &str) -> Result<(), String> {
    shell(&format!(
        "unshare -n sh -c 'ip link add probe0 type veth peer name probe1 && \
         ip link add link probe0 name probe2 type {kind}'"
    ))
}

/// Whether the kernel is at least this new.
fn kernel(least: (u32, u32)) -> Result<(), String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let has = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    met(has >= least, || {
        format!("Linux {}.{} is needed, this is {}", least.0, least.1, release.trim())
    })
}

fn controller(v1: &str, v2: &str) -> Result<(), String> {
    let hierarchy = Hierarchy::detect().map_err(|error| error.to_string())?;
    if hierarchy.has(v1) || hierarchy.has(v2) {
        return Ok(());
    }
    Err(format!("no cgroup tree has the controller; there are {:?}", hierarchy.controllers()))
}

/// Runs a script; its last line on stderr is why it fails.
fn shell(script: &str) -> Result<(), String> {
    let output = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("sh: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.trim().lines().last().unwrap_or("it fails").to_owned())
}

/// Says that a test did not run: `skipped: NAME: WHY` on stdout, and in the file that `DHOW_SKIPS`
/// names, if any.
///
/// `DHOW_SKIPS_ALLOWED` names a file of the skips that this kind of machine may have, one name a
/// line; any other fails the test.
pub fn skip(name: &str, why: &str) {
    let line = format!("skipped: {name}: {why}\n");
    print!("{line}");
    if let Some(path) = std::env::var_os("DHOW_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("write to DHOW_SKIPS");
    }
    if let Some(path) = std::env::var_os("DHOW_SKIPS_ALLOWED") {
        assert!(is_allowed(Path::new(&path), name), "{name} may not be skipped here: {why}");
    }
}

fn is_allowed(list: &Path, name: &str) -> bool {
    let text = std::fs::read_to_string(list).expect("read DHOW_SKIPS_ALLOWED");
    let words = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    words.into_iter().any(|word| word == name)
}
