//! Programs for another machine: with an emulator, without one, and with one that containers do not find.
//!
//! Emulators are registered in the user namespace of an ordinary user's engine, and nowhere else (Linux 6.7): nothing
//! of the machine's is touched, and what it may have registered itself does not count there.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;
use testkit::{Sandbox, needs, wait_until};

use super::{Docker, built, carried_out, context, dhow, tidy};
use crate::pid;
use crate::rootless::of_user;

/// A stage that runs here for each platform, and one that runs as each.
const DOCKERFILE: &str = "\
ARG BUILDARCH
FROM --platform=$BUILDPLATFORM base-$BUILDARCH AS tools
ARG BUILDPLATFORM TARGETPLATFORM
RUN echo \"$BUILDPLATFORM $TARGETPLATFORM $(uname -m)\" >/cross
FROM base-$TARGETARCH
COPY --from=tools /cross /cross
RUN uname -m >/machine
";
const BOTH: [&str; 4] = ["--network", "none", "--platform", "linux/amd64,linux/arm64"];
/// What is told where none is registered.
const NONE: &str =
    "the program is for linux/arm64, and no emulator for that is registered on this machine";
/// What is told where one is registered that is looked for in the container.
const LOST: &str = "the program is for linux/arm64, and the emulator that is registered for that is \
                    not found in the container";

/// Programs for 64-bit ARM: what their files begin with, and which bits of that count.
const ARM64: &str = r":arm64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:";
/// Registers what is read, one flag a line: `F`, `-` for none, and `nothing` for no emulator.
const REGISTER: &str = "mount -t binfmt_misc none \"$1\" && echo done || exit
while read -r flag; do
  ! test -e \"$1/arm64\" || echo -1 >\"$1/arm64\"
  test \"$flag\" = nothing || printf %s \"$2${flag#-}\" >\"$1/register\"
  echo done
done";

/// The emulators of a user namespace, as long as this is kept.
struct Emulators {
    holder: Child,
    answers: BufReader<ChildStdout>,
}

impl Emulators {
    /// None, in the namespace of a user's engine that has a container of this name.
    fn none(sandbox: &Sandbox, container: &str) -> Self {
        let place = sandbox.work().join("binfmt_misc");
        fs::create_dir(&place).unwrap();
        // Where the user can reach it.
        let emulator = sandbox.work().join("emulator");
        let copy = format!("cp \"$(command -v qemu-aarch64-static)\" {}", emulator.display());
        sandbox.sh(&copy).success();
        let mut command = sandbox.command("nsenter");
        command.arg(format!("--user=/proc/{}/ns/user", pid(sandbox, container)));
        command.args(["--", "unshare", "--mount", "sh", "-c", REGISTER, "sh"]);
        command.arg(place).arg(format!("{ARM64}{}:", emulator.display()));
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(holder.stdout.take().unwrap());
        let mut emulators = Self { holder, answers };
        emulators.await_answer();
        emulators
    }

    /// Has one registered, with this flag.
    fn register(&mut self, flag: &str) {
        writeln!(self.holder.stdin.as_mut().unwrap(), "{flag}").unwrap();
        self.await_answer();
    }

    fn await_answer(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "binfmt_misc");
    }
}

impl Drop for Emulators {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// A user's engine with the images `base-amd64` and `base-arm64`, and a container that runs.
fn of_two(name: &str) -> Sandbox {
    let sandbox = of_user(name);
    // The file that is mounted in each is made once.
    sandbox.ok(&["run", "--rm", "--init", "--network", "none", "busybox", "true"]);
    sandbox.baseline();
    let program = |name: &str| {
        let path = sandbox.sh(&format!("command -v {name}")).success();
        fs::read(path.trim()).unwrap()
    };
    let (busybox, native) = (program("busybox-arm64"), program("busybox"));
    let path = sandbox.work().join("arm64.tar");
    testkit::archive(&path, |tar| {
        tar.directory("bin/", 0o755);
        tar.directory("tmp/", 0o1777);
        tar.file("bin/busybox", 0o755, &busybox);
        for applet in ["cat", "sh", "sleep", "uname"] {
            tar.symlink(&format!("bin/{applet}"), "busybox");
        }
        // One for this machine, where programs are looked for only if somebody says so.
        tar.directory("native/", 0o755);
        tar.file("native/uname", 0o755, &native);
    });
    sandbox.ok(&["import", "--platform", "linux/arm64", path.to_str().unwrap(), "base-arm64"]);
    sandbox.ok(&["tag", "busybox", "base-amd64"]);
    sandbox.ok(&["run", "-d", "--name", "keeper", "--network", "none", "busybox", "sleep", "600"]);
    sandbox
}

/// Ends it.
fn end(sandbox: Sandbox, emulators: Emulators) {
    drop(emulators);
    sandbox.ok(&["rm", "-f", "keeper"]);
    tidy(&sandbox);
    sandbox.finish();
}

/// `dhow run FLAGS base-arm64 uname -m`
fn uname<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let run = ["run", "--rm", "--network", "none"];
    [&run[..], flags, &["base-arm64", "uname", "-m"]].concat()
}

/// The architectures that the images of an archive of a build say that they are for.
fn architectures(sandbox: &Sandbox, archive: &Path) -> Vec<String> {
    let layout = sandbox.work().join("layout");
    fs::create_dir(&layout).unwrap();
    let unpack = format!("tar -xf {} -C {}", archive.display(), layout.display());
    sandbox.sh(&unpack).success();
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(layout.join(path)).unwrap()).unwrap()
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        read(&format!("blobs/{}", digest.replace(':', "/")))
    };
    let index = blob(&read("index.json")["manifests"][0]);
    let images = index["manifests"].as_array().unwrap().iter().map(|image| {
        let config = blob(&blob(image)["config"]);
        assert_eq!(image["platform"]["architecture"], config["architecture"]);
        config["architecture"].as_str().unwrap().to_owned()
    });
    images.collect()
}

#[test]
fn a_program_for_another_machine_runs_where_it_is_emulated() {
    needs!(Root, Overlay, Netns, Busybox, OrdinaryUserNamespace, NewUidMap);
    needs!(OwnBinfmtMisc, QemuUser, ForeignBusybox);
    let sandbox = of_two("emulated");
    let mut emulators = Emulators::none(&sandbox, "keeper");
    let dir = context(&sandbox, "emulated", &[("Dockerfile", DOCKERFILE)]);
    let arm64 = ["--platform", "linux/arm64"];

    let refused = sandbox.dhow(&uname(&arm64));
    assert_eq!(refused.code, 126, "{refused:?}");
    let why = format!("exec /bin/uname: exec format error: {NONE}");
    assert!(refused.stderr.contains(&why), "{refused:?}");
    let refused = sandbox.dhow(&uname(&["--init", arm64[0], arm64[1]]));
    assert_eq!(refused.code, 126, "{refused:?}");
    assert!(refused.stderr.contains(NONE), "{refused:?}");
    let refused = dhow(&sandbox, &dir, &BOTH);
    assert_eq!(refused.code, 1, "{refused:?}");
    let step = "ERROR: process \"/bin/sh -c uname -m >/machine\" did not complete successfully: ";
    assert!(refused.stderr.contains(step), "{refused:?}");
    let why = format!("exec /bin/sh: exec format error: {NONE}");
    assert!(refused.stderr.contains(&why), "{refused:?}");

    emulators.register("-");
    let lost = sandbox.dhow(&uname(&arm64));
    assert_eq!(lost.code, 127, "{lost:?}");
    let why = format!("exec /bin/uname: no such file or directory: {LOST}");
    assert!(lost.stderr.contains(&why), "{lost:?}");
    let lost = sandbox.dhow(&uname(&["--init", arm64[0], arm64[1]]));
    assert_eq!(lost.code, 127, "{lost:?}");
    assert!(lost.stderr.contains(LOST), "{lost:?}");
    // What cannot be run is passed over where there is another one, as if it were not there.
    let path = ["--init", "-e", "PATH=/bin:/native", arm64[0], arm64[1]];
    assert_eq!(sandbox.ok(&uname(&path)), "x86_64");

    emulators.register("F");
    for flags in [&arm64[..], &["--platform", "linux/arm64/v8"], &["--init", arm64[0], arm64[1]]] {
        assert_eq!(sandbox.ok(&uname(flags)), "aarch64", "{flags:?}");
    }
    // Who has asked for no platform may not know.
    let warned = sandbox.dhow(&uname(&[]));
    assert_eq!((warned.code, warned.stdout.as_str()), (0, "aarch64\n"), "{warned:?}");
    let warning = "WARNING: The requested image's platform (linux/arm64) does not match the detected \
                   host platform (linux/amd64";
    assert!(warned.stderr.contains(warning), "{warned:?}");
    let other = ["run", "-d", "--name", "other", "--network", "none", arm64[0], arm64[1]];
    sandbox.ok(&[&other[..], &["base-arm64", "sleep", "600"]].concat());
    assert_eq!(sandbox.ok(&["exec", "other", "uname", "-m"]), "aarch64");
    sandbox.ok(&["rm", "-f", "other"]);

    let out = sandbox.work().join("out");
    let local = format!("type=local,dest={}", out.display());
    built(&sandbox, &dir, &[&BOTH[..], &["-o", &local]].concat());
    for (platform, machine) in [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")] {
        let of = out.join(platform.replace('/', "_"));
        assert_eq!(fs::read_to_string(of.join("machine")).unwrap(), format!("{machine}\n"));
        let cross = fs::read_to_string(of.join("cross")).unwrap();
        assert_eq!(cross, format!("linux/amd64 {platform} x86_64\n"));
    }
    // It is all in the cache then, for which nothing has to run.
    emulators.register("nothing");
    let archive = sandbox.work().join("out.tar");
    let oci = format!("type=oci,dest={}", archive.display());
    let told = built(&sandbox, &dir, &[&BOTH[..], &["-o", &oci]].concat());
    assert_eq!(carried_out(&told), [] as [&str; 0], "{told}");
    assert_eq!(architectures(&sandbox, &archive), ["amd64", "arm64"]);
    end(sandbox, emulators);
}

#[test]
fn what_is_emulated_is_among_the_platforms() {
    needs!(Root, Overlay, Netns, Busybox, OrdinaryUserNamespace, NewUidMap, Buildx);
    needs!(OwnBinfmtMisc, QemuUser, ForeignBusybox);
    let sandbox = of_two("emulated-list");
    let mut emulators = Emulators::none(&sandbox, "keeper");
    // Containers would not find it.
    emulators.register("-");
    let docker = Docker::start(&sandbox);
    let work = sandbox.work();
    let listed = || {
        let told = docker.ok(&work, &["buildx", "inspect"]);
        let line = told.lines().find_map(|line| line.strip_prefix("Platforms:"));
        line.unwrap_or_else(|| panic!("{told}")).trim().to_owned()
    };
    let first = listed();
    assert!(first.starts_with("linux/amd64") && !first.contains("arm"), "{first}");
    // The daemon goes on, and knows of it soon.
    emulators.register("F");
    wait_until("it is listed", || listed().contains("linux/arm64"));
    emulators.register("nothing");
    wait_until("it is not listed any more", || listed() == first);
    drop(docker);
    end(sandbox, emulators);
}
