//! The tests in a guest of its own, with a kernel of Debian's and cgroup v2 alone: what a machine
//! whose controllers are in v1 trees cannot show.
//!
//! QEMU emulates the processor, so that no KVM is needed; a whole run takes some minutes. All that it
//! takes is unpacked beneath `target/vm`, nothing is installed. Needs root, Debian and mmdebstrap.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::shell::{cargo, run};
use crate::test::{FEATURES, program};
use crate::workspace::Workspace;

/// What the guest's files are made of, beside Debian's essential packages.
const PACKAGES: &str = "busybox-static,bsdextrautils,curl,iproute2,kmod,nftables,procps,tmux";

/// Of the kernel's modules, those that a container needs, by the start of their names.
const MODULES: [&str; 13] = [
    "overlay",
    "veth",
    "llc",
    "stp",
    "bridge",
    "br_netfilter",
    "crc32c",
    "libcrc32c",
    "nfnetlink",
    "nf_",
    "nft_",
    "x_tables",
    "ip6_",
];

/// The guest's first program: its files move from the initial root, which cannot be pivoted from,
/// into a tmpfs.
const FIRST: &str = "#!/bin/sh
mount -t tmpfs -o size=3g tmpfs /mnt
cp -a $(ls -d /* | grep -vE '^/(mnt|proc|sys|dev|init)$') /mnt/
mkdir -p /mnt/proc /mnt/sys /mnt/dev /mnt/mnt
exec busybox switch_root /mnt /second </dev/console >/dev/console 2>&1
";

/// Then: the mounts of a machine, modules until no dependency is missing, the tests.
const SECOND: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DHOW_BIN=/dhow
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run; mount -t cgroup2 cgroup2 /sys/fs/cgroup
for round in 1 2 3 4 5; do for m in /lib/modules/*.ko; do insmod $m 2>/dev/null; done; done
ip link set lo up
failed=0
for test in /tests/*; do $test --test-threads=2 --skip killed_anywhere || failed=1; done
find /sys/fs/cgroup -maxdepth 1 -name 'dhow*' | grep . && failed=1
echo \"guest ended: $failed\"
busybox poweroff -f
";

/// Makes the guest, and runs the tests in it.
pub(crate) fn vm() -> Result<(), String> {
    let workspace = Workspace::load()?;
    let place = workspace.root.join("target/vm");
    std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    bootstrap(&place.join("qemu"), "qemu-system-x86")?;
    bootstrap(&place.join("guest"), PACKAGES)?;
    shell(&place, KERNEL)?;
    let root = &workspace.root;
    run(&mut cargo(root, &["build", "--workspace", "--bins", "--features", FEATURES]))?;
    fill(root, &place.join("guest"))?;
    shell(&place, PACK)?;
    boot(&place)
}

/// The newest of Debian's kernels for virtual machines, unpacked.
const KERNEL: &str = "test -e kernel/boot && exit 0
package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends/{print $2; exit}')
apt-get -qq download $package && dpkg-deb -x $package*.deb kernel && rm $package*.deb";

/// The guest's files as one archive, and it and the kernel where QEMU sees them.
const PACK: &str = "mkdir -p guest/lib/modules guest/dev
test -e guest/dev/console || mknod guest/dev/console c 5 1
grep -q localhost guest/etc/hosts 2>/dev/null || echo 127.0.0.1 localhost >guest/etc/hosts
cp kernel/boot/vmlinuz-* qemu/vmlinuz
cd guest && find . | grep -vE '^./(proc|sys|var/cache|usr/share/(doc|man|locale))/' |
    busybox cpio -o -H newc >../qemu/initrd 2>/dev/null";

/// A Debian of its own in `directory`, unless it is there.
fn bootstrap(directory: &Path, packages: &str) -> Result<(), String> {
    if directory.join("usr/bin").is_dir() {
        return Ok(());
    }
    println!("unpacking {packages}");
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--aptopt=APT::Install-Recommends \"false\""]);
    command.arg(format!("--include={packages}")).arg("bookworm").arg(directory);
    run(&mut command)
}

fn shell(directory: &Path, script: &str) -> Result<(), String> {
    run(Command::new("sh").args(["-ec", script]).current_dir(directory))
}

/// Puts modules, programs and tests into the guest.
fn fill(root: &Path, guest: &Path) -> Result<(), String> {
    let copy = |from: &Path, to: &str| {
        let to = guest.join(to);
        if let Some(directory) = to.parent() {
            std::fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", to.display()))?;
        }
        let copied = std::fs::copy(from, &to);
        copied
            .map(drop)
            .map_err(|error| format!("copy {} to {}: {error}", from.display(), to.display()))
    };
    let write = |name: &str, text: &str| {
        let made = std::fs::write(guest.join(name), text);
        made.map_err(|error| format!("{name}: {error}"))?;
        run(Command::new("chmod").arg("755").arg(guest.join(name)))
    };
    write("init", FIRST)?;
    write("second", SECOND)?;
    let mut modules = Vec::new();
    find_modules(&root.join("target/vm/kernel/lib/modules"), &mut modules);
    for module in modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        copy(&module, &format!("lib/modules/{name}"))?;
    }
    // Without what only a debugger reads, the guest's memory holds it.
    copy(&program(root)?, "dhow")?;
    let _old = std::fs::remove_dir_all(guest.join("tests"));
    for (name, test) in test_programs(root)? {
        copy(&test, &format!("tests/{name}"))?;
    }
    let script = "strip dhow tests/*";
    shell(guest, script)
}

fn find_modules(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            find_modules(&path, found);
        } else if path.extension().is_some_and(|end| end == "ko")
            && MODULES.iter().any(|start| name.starts_with(start))
        {
            found.push(path);
        }
    }
}

/// The test programs that go into the guest, by name, built.
fn test_programs(root: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let args =
        ["test", "--no-run", "-p", "dhow-cgroup", "-p", "dhow-e2e", "--message-format", "json"];
    let output = cargo(root, &args).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo test --no-run: {error}"))?;
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let is_test = message["profile"]["test"].as_bool() == Some(true);
        let name = message["target"]["name"].as_str().unwrap_or_default().to_owned();
        if let (true, Some(path)) = (is_test, message["executable"].as_str()) {
            programs.push((name, PathBuf::from(path)));
        }
    }
    if output.status.success() && !programs.is_empty() {
        return Ok(programs);
    }
    Err("the tests were not built".to_owned())
}

/// Starts the guest, shows what it says, and answers how its tests went.
fn boot(place: &Path) -> Result<(), String> {
    let mut qemu = Command::new("timeout");
    qemu.arg("1800").arg("chroot").arg(place.join("qemu")).args(["qemu-system-x86_64"]);
    qemu.args(["-accel", "tcg,thread=multi", "-M", "q35", "-smp", "2", "-m", "5120"]);
    qemu.args(["-nographic", "-no-reboot", "-nic", "none"]);
    qemu.args(["-kernel", "/vmlinuz", "-initrd", "/initrd"]);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"]);
    let mut guest = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("start QEMU: {error}"))?;
    let mut passed = false;
    if let Some(output) = guest.stdout.take() {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{}", line.trim_end());
            passed |= line.trim() == "guest ended: 0";
        }
    }
    guest.wait().map_err(|error| format!("wait for QEMU: {error}"))?;
    if passed { Ok(()) } else { Err("tests failed in the guest".to_owned()) }
}
