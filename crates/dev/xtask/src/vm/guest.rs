//! What is in the guest: its scripts, programs, modules and the tests.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::Archive;
use super::kernel::Kernel;
use super::{Cgroups, Lane, Own, Program, Test, debian, selinux};
use crate::shell::{find, run};

/// Programs of this machine that tests use, besides busybox's. Their libraries come along.
const PROGRAMS: [&str; 22] = [
    "apparmor_parser",
    "cat",
    "cp",
    "criu",
    "dash",
    "flock",
    "getfattr",
    "ip",
    "mkfs.ext4",
    "newgidmap",
    "newuidmap",
    "nft",
    "nsenter",
    "openssl",
    "script",
    "setfattr",
    "setpriv",
    "sleep",
    "tmux",
    "touch",
    "true",
    "unshare",
];

/// The guest's first program: its files move from the initial root, which cannot be pivoted from,
/// into a tmpfs.
fn first(init: &str) -> String {
    format!(
        "#!/bin/busybox sh
/bin/busybox mkdir -p /mnt
/bin/busybox mount -t tmpfs -o size=90% tmpfs /mnt
for one in /*; do case $one in /mnt|/init) ;; *) /bin/busybox cp -a $one /mnt/ ;; esac; done
exec /bin/busybox switch_root /mnt {init} </dev/console >/dev/console 2>&1
"
    )
}

/// Then: the mounts of a machine, the modules, the tests, the end.
const SECOND: &str = r"#!/bin/busybox sh
# What this machine has no program of its own for.
/bin/busybox --install -s /usr/bin 2>/dev/null
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /proc /sys /dev /run /tmp /var/tmp /root
mount -t proc proc /proc; mount -t sysfs sysfs /sys
grep -q ' /dev ' /proc/mounts || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm; mount -t mqueue mqueue /dev/mqueue; mount -t tmpfs run /run
chmod 1777 /tmp /var/tmp /dev/shm
mount -t securityfs securityfs /sys/kernel/security
mount --make-rshared /
ln -s /proc/self/fd /dev/fd
for one in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${one%:*} /dev/${one#*:}; done
/guest/cgroups
ip link set lo up; hostname guest
test ! -f /guest/policy || /guest/selinux
/guest/tests
poweroff -f
";

/// The tests, two at a time, and what they leave.
const TESTS: &str = r"#!/bin/busybox sh
while read module; do insmod $module; done </guest/modules
# A file system as machines have it: with id-mapped mounts and attributes of users.
truncate -s 2G /disk && mkfs.ext4 -q -E lazy_itable_init=1 /disk && mount -o loop /disk /var/tmp
chmod 1777 /var/tmp; rmdir /var/tmp/lost+found; export TMPDIR=/var/tmp
stty -F /dev/ttyS1 raw -echo
echo @begin $(uname -r) >/dev/ttyS1
xargs -P 2 -n 3 /guest/one </guest/plan
# Slices are systemd's to keep.
{ find /sys/fs/cgroup -name 'dhow*' -type d ! -name '*.slice'; ls -d /run/dhow* /tmp/dhow* /var/tmp/dhow*; grep dhow /proc/mounts
} 2>/dev/null | sed 's/^/@left /' >/dev/ttyS1
echo @end >/dev/ttyS1
sync
";

/// One test: `@ NUMBER STATUS HUNDREDTHS`, and what it said.
const ONE: &str = r#"#!/bin/busybox sh
clock() { IFS='. ' read seconds hundredths rest </proc/uptime; echo $seconds$hundredths; }
began=$(clock)
cd /guest; timeout -s KILL 240 $2 --exact $3 --nocapture </dev/null >/tmp/out.$1 2>&1
status=$?
exec 9>/tmp/lock; flock 9
{ echo "@ $1 $status $(($(clock) - began))"; head -c 20000 /tmp/out.$1 | sed 's/^/ /'; echo; } >/dev/ttyS1
rm /tmp/out.$1
exit 0
"#;

/// The trees of cgroups, as a machine of that kind has them.
fn cgroups(lane: Lane) -> String {
    const V1: &str = "mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
for name in cpu,cpuacct cpuset memory devices freezer blkio pids hugetlb net_cls,net_prio \\
    perf_event rdma; do
    mkdir -p /sys/fs/cgroup/$name
    mount -t cgroup -o $name cgroup /sys/fs/cgroup/$name || rmdir /sys/fs/cgroup/$name
done
ln -s cpu,cpuacct /sys/fs/cgroup/cpu; ln -s cpu,cpuacct /sys/fs/cgroup/cpuacct
mkdir -p /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd\n";
    const HYBRID: &str = "mkdir -p /sys/fs/cgroup/unified
mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified\n";
    let mounts = match lane.cgroups {
        Cgroups::V2 => "mount -t cgroup2 cgroup2 /sys/fs/cgroup\n".to_owned(),
        Cgroups::V1 => V1.to_owned(),
        Cgroups::Hybrid => V1.to_owned() + HYBRID,
    };
    format!("#!/bin/busybox sh\n{mounts}")
}

/// The kernel's command line.
pub(crate) fn append(lane: Lane) -> String {
    let mut line =
        "console=ttyS0 loglevel=5 softlockup_all_cpu_backtrace=1 panic=-1 rdinit=/init".to_owned();
    if lane.selinux {
        line += " security=selinux";
    }
    if lane.systemd {
        line += " systemd.show_status=0";
        line += match lane.cgroups {
            Cgroups::V2 => " systemd.unified_cgroup_hierarchy=1",
            Cgroups::Hybrid => " systemd.unified_cgroup_hierarchy=0",
            Cgroups::V1 => {
                " systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1"
            }
        };
    }
    line
}

/// Writes the archive with all of it to `path`.
pub(crate) fn pack(
    path: &Path,
    lane: Lane,
    own: Own<'_>,
    kernel: &Kernel,
    programs: &[Program],
    tests: &[Test],
) -> Result<(), String> {
    let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    if let Some(debian) = own.debian {
        archive.file("/init", 0o755, first("/lib/systemd/systemd").as_bytes())?;
        debian::pack(&mut archive, debian)?;
    } else {
        archive.file("/init", 0o755, first("/guest/second").as_bytes())?;
        archive.file("/guest/second", 0o755, SECOND.as_bytes())?;
        archive.file("/guest/cgroups", 0o755, cgroups(lane).as_bytes())?;
        base(&mut archive)?;
    }
    if let Some(policy) = own.policy {
        archive.file("/guest/policy", 0o644, policy)?;
        archive.file("/guest/selinux", 0o755, selinux::LOAD.as_bytes())?;
    }
    load(&mut archive, kernel)?;
    put_tests(&mut archive, path, programs, tests)?;
    archive.finish().map(drop)
}

/// A small root: busybox, this machine's programs, and the files that they read.
fn base(archive: &mut Archive<BufWriter<File>>) -> Result<(), String> {
    // Merged, as Debian's.
    for (link, target) in
        [("/bin", "usr/bin"), ("/sbin", "usr/sbin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")]
    {
        archive.directory(&format!("/{target}"), 0o755)?;
        archive.link(link, target)?;
    }
    for directory in ["/guest", "/dev", "/proc", "/sys", "/etc", "/var/lib", "/home"] {
        archive.directory(directory, 0o755)?;
    }
    archive.directory("/tmp", 0o1777)?;
    archive.directory("/var/tmp", 0o1777)?;
    archive.device("/dev/console", 5, 1)?;
    archive.device("/dev/null", 1, 3)?;
    archive.file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nuser:x:1000:1000::/home:/bin/sh\n")?;
    archive.file("/etc/group", 0o644, b"root:x:0:\ntty:x:5:\nnogroup:x:65534:\nuser:x:1000:\n")?;
    archive.file("/etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n")?;
    archive.file("/etc/subuid", 0o644, b"user:100000:65536\n")?;
    archive.file("/etc/subgid", 0o644, b"user:100000:65536\n")?;
    let busybox = find("busybox").ok_or("no busybox")?;
    archive.copy_to(&busybox, "/usr/bin/busybox")?;
    archive.link("/usr/bin/sh", "dash")?;
    archive.file("/usr/share/guest", 0o644, b"")?;
    for name in PROGRAMS {
        if let Some(path) = find(name) {
            with_libraries(archive, &path)?;
        }
    }
    Ok(())
}

/// Adds a program and what it is linked to.
fn with_libraries(archive: &mut Archive<BufWriter<File>>, program: &Path) -> Result<(), String> {
    archive.copy_to(program, &merged(program))?;
    let output = Command::new("ldd").arg(program).output();
    let output = output.map_err(|error| format!("ldd: {error}"))?;
    for library in libraries(&String::from_utf8_lossy(&output.stdout)) {
        archive.copy_to(&library, &merged(&library))?;
    }
    Ok(())
}

/// The files in what ldd prints.
fn libraries(text: &str) -> BTreeSet<PathBuf> {
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

/// `/lib/x` as `/usr/lib/x`: the former are links in the guest.
fn merged(path: &Path) -> String {
    let text = path.to_string_lossy().into_owned();
    let moved = ["/bin/", "/sbin/", "/lib/", "/lib64/"].iter().any(|dir| text.starts_with(dir));
    if moved { format!("/usr{text}") } else { text }
}

/// The modules, and the list of them.
fn load(archive: &mut Archive<BufWriter<File>>, kernel: &Kernel) -> Result<(), String> {
    let mut list = String::new();
    for module in &kernel.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("/guest/lib/{name}");
        archive.copy_to(module, &name)?;
        list.push_str(&format!("{name}\n"));
    }
    archive.file("/guest/modules", 0o644, list.as_bytes())
}

/// The tests' programs, the runtime at the path that they know it by, and the plan.
fn put_tests(
    archive: &mut Archive<BufWriter<File>>,
    place: &Path,
    programs: &[Program],
    tests: &[Test],
) -> Result<(), String> {
    let stripped = place.with_extension("strip");
    // Without what only a debugger reads, the guest's memory holds it.
    let mut strip = |from: &Path, to: &str| {
        run(Command::new("strip").arg("-o").arg(&stripped).arg(from))?;
        let copied = archive.copy_to(&stripped, to);
        _ = std::fs::remove_file(&stripped);
        copied
    };
    let wanted: BTreeSet<usize> = tests.iter().map(|test| test.program).collect();
    for number in wanted {
        strip(&programs[number].path, &format!("/guest/test-{number}"))?;
    }
    // Where it was built, and from there what a test finds beside itself.
    let built = programs.iter().find_map(|program| program.path.parent()?.parent());
    let runtime = built.ok_or("no tests")?.join("dhow-runtime");
    strip(&runtime, &runtime.to_string_lossy())?;
    let mut plan = String::new();
    for (number, test) in tests.iter().enumerate() {
        plan.push_str(&format!("{number} /guest/test-{} {}\n", test.program, test.name));
    }
    archive.file("/guest/plan", 0o644, plan.as_bytes())?;
    archive.file("/guest/tests", 0o755, TESTS.as_bytes())?;
    archive.file("/guest/one", 0o755, ONE.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x7ffc)\n\tlibc.so.6 => /lib/x86_64/libc.so.6 (0x7f)\n\
                    \t/lib64/ld-linux.so.2 (0x7f)\n";
        let found = libraries(text);
        let found: Vec<String> = found.iter().map(|path| merged(path)).collect();
        assert_eq!(found, ["/usr/lib/x86_64/libc.so.6", "/usr/lib64/ld-linux.so.2"]);
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }
}
