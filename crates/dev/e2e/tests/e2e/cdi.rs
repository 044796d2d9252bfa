//! Devices by their names in CDI specifications, and GPUs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testkit::{Sandbox, needs};

use crate::busybox;
use crate::docker_client::Daemon;

/// Devices of the kernel's own, those of them that this machine has.
const DEVICES: [&str; 4] = ["/dev/kmsg", "/dev/fuse", "/dev/net/tun", "/dev/kvm"];

/// Tells the engine where its specifications are, and writes `files` there.
fn specifications(sandbox: &Sandbox, files: &[(&str, Value)]) -> std::path::PathBuf {
    let folder = sandbox.directory().join("cdi");
    fs::create_dir_all(&folder).unwrap();
    for (name, value) in files {
        fs::write(folder.join(name), value.to_string()).unwrap();
    }
    let config = sandbox.directory().join("daemon.json");
    fs::write(&config, json!({"cdi-spec-dirs": [folder]}).to_string()).unwrap();
    sandbox.set_env("DHOW_CONFIG", config.to_str().unwrap());
    folder
}

/// A specification of devices `0`, `1`, … for the device files, with all else that one can ask for.
fn everything(sandbox: &Sandbox) -> Value {
    let nodes: Vec<_> = DEVICES.iter().filter(|path| Path::new(path).exists()).collect();
    let devices: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(index, path)| {
            json!({"name": index.to_string(), "containerEdits": {
                "deviceNodes": [{"path": format!("/dev/given{index}"), "hostPath": path, "fileMode": 0o640}]}})
        })
        .collect();
    let (library, hook) = (sandbox.directory().join("library"), sandbox.directory().join("hook"));
    fs::write(&library, "of the vendor\n").unwrap();
    // The state that a hook reads names the container; the environment is its own.
    fs::write(
        &hook,
        format!("#!/bin/sh\n{{ cat; echo; env; pwd; echo \"$@\"; }} >{}.said\n", hook.display()),
    )
    .unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&hook, executable).unwrap();
    json!({"cdiVersion": "1.1.0", "kind": "vendor.com/thing", "devices": devices, "containerEdits": {
        "env": ["THING=yes", "PATH=/bin:/vendor"],
        "additionalGids": [4242],
        "mounts": [{"hostPath": library, "containerPath": "/usr/lib/vendor/lib.so",
                    "options": ["ro", "rbind", "rprivate"]}],
        "hooks": [{"hookName": "createRuntime", "path": hook, "args": ["hook", "an argument"], "env": ["MINE=1"]}]}})
}

#[test]
fn a_device_by_its_name_brings_files_mounts_groups_and_hooks() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("cdi");
    specifications(&sandbox, &[("thing.json", everything(&sandbox))]);
    let listed = sandbox.ok(&["cdi", "list", "--format", "{{.Name}} {{.DeviceNodes}}"]);
    assert!(listed.starts_with("vendor.com/thing=0 /dev/given0\n"), "{listed}");
    let info = sandbox.ok(&["info", "--format", "{{json .DiscoveredDevices}}"]);
    assert!(info.contains(r#"{"ID":"vendor.com/thing=0","Source":"cdi"}"#), "{info}");

    let script = "for d in /dev/given*; do stat -c '%n %a %F' $d; : >$d && echo opened; done; \
                  echo $THING $PATH; id -G; cat /usr/lib/vendor/lib.so; echo x >/usr/lib/vendor/lib.so";
    for index in 0..DEVICES.iter().filter(|path| Path::new(path).exists()).count() {
        let device = format!("vendor.com/thing={index}");
        let output = sandbox.dhow(&[
            "run",
            "--rm",
            "-e",
            "LD_PRELOAD=/evil.so",
            "--device",
            &device,
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        let want = format!(
            "/dev/given{index} 640 character special file\nopened\nyes /bin:/vendor\n0 4242\nof the vendor\n"
        );
        assert_eq!(output.stdout, want, "{device}: {}", output.stderr);
        assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
        let said = fs::read_to_string(sandbox.directory().join("hook.said")).unwrap();
        assert!(said.contains("\"status\":\"creating\"") && said.contains("MINE=1"), "{said}");
        assert!(said.contains("an argument") && !said.contains("LD_PRELOAD"), "{said}");
    }
    // Not asked for, not there: neither the file nor the right to open its device.
    let without = sandbox.dhow(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "mknod /tmp/kmsg c 1 11 && : >/tmp/kmsg",
    ]);
    assert!(without.stderr.contains("Operation not permitted"), "{}", without.stderr);
    let restarted = "vendor.com/thing=0";
    sandbox.ok(&[
        "create",
        "--name",
        "again",
        "--device",
        restarted,
        "busybox",
        "ls",
        "/dev/given0",
    ]);
    for _ in 0..2 {
        assert_eq!(sandbox.ok(&["start", "-a", "again"]), "/dev/given0");
    }
    sandbox.ok(&["rm", "again"]);
    sandbox.finish();
}

#[test]
fn what_cannot_be_given_is_said_and_leaves_nothing() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("cdi-not");
    let one = |edits: Value| json!({"cdiVersion": "0.5.0", "kind": "vendor.com/thing", "devices": [{"name": "x", "containerEdits": edits}]});
    let folder = specifications(
        &sandbox,
        &[
            (
                "a.json",
                one(json!({"deviceNodes": [{"path": "/dev/none", "hostPath": "/dev/none-such"}]})),
            ),
            (
                "b.json",
                json!({"cdiVersion": "0.5.0", "kind": "other.com/thing", "devices": [], "colour": 1}),
            ),
        ],
    );
    let run = |device: &str| {
        let output = sandbox.dhow(&["run", "--rm", "--device", device, "busybox", "true"]);
        (output.code, output.stderr)
    };
    let (code, said) = run("vendor.com/thing=y");
    assert_eq!(code, 125);
    assert!(
        said.contains("CDI device injection failed: unresolvable CDI devices vendor.com/thing=y"),
        "{said}"
    );
    let (_, said) = run("other.com/thing=x");
    assert!(
        said.contains("b.json\": unknown field `colour`"),
        "the file that cannot be read: {said}"
    );
    let (code, said) = run("vendor.com/thing=x");
    // As Docker's client has it of any file.
    assert_eq!(code, 127);
    assert!(said.contains("CDI device file /dev/none-such: no such file or directory"), "{said}");
    // A mount or a hook that is not there: the runtime says which.
    for (edits, want) in [
        (
            json!({"mounts": [{"hostPath": "/none/such", "containerPath": "/x", "options": ["bind"]}]}),
            "/none/such",
        ),
        (json!({"hooks": [{"hookName": "createRuntime", "path": "/none/hook"}]}), "/none/hook"),
        (json!({"hooks": [{"hookName": "createContainer", "path": "/bin/false"}]}), "hook"),
    ] {
        fs::write(folder.join("a.json"), one(edits).to_string()).unwrap();
        let (code, said) = run("vendor.com/thing=x");
        // As Docker's client has it, 127 where the words are those of a program that is not there.
        assert!(matches!(code, 125 | 127), "{code}: {said}");
        assert!(said.contains(want), "{said}");
    }
    let listed = sandbox.dhow(&["cdi", "list"]);
    assert!(listed.stderr.contains("b.json\": unknown field `colour`"), "{}", listed.stderr);
    sandbox.finish();
}

#[test]
fn gpus_are_those_of_the_specifications() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("gpus");
    let folder = specifications(&sandbox, &[]);
    let run = |gpus: &str| {
        let script = "echo $(ls /dev | grep nvidia) $NVIDIA_VISIBLE_DEVICES";
        let output = sandbox.dhow(&["run", "--rm", "--gpus", gpus, "busybox", "sh", "-c", script]);
        if output.code == 0 { output.stdout } else { output.stderr }
    };
    let none = run("all");
    assert!(
        none.contains("could not select device driver \"\" with capabilities: [[gpu]]"),
        "{none}"
    );
    // A machine with a driver, as its files look. `/dev/null` and its like stand for the GPUs.
    let root = sandbox.directory().join("machine");
    let file = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file("sys/module/nvidia/version", "550.54.15\n");
    for (address, minor) in [("0000:3b:00.0", 0), ("0000:b1:00.0", 1)] {
        let text = format!("GPU UUID: \t GPU-{minor}\nDevice Minor: \t {minor}\n");
        file(&format!("proc/driver/nvidia/gpus/{address}/information"), &text);
        file(&format!("dev/nvidia{minor}"), "");
    }
    file("usr/lib64/libcuda.so.550.54.15", "cuda\n");
    file("usr/bin/nvidia-smi", "");
    let specification = folder.join("nvidia.json");
    sandbox.ok(&[
        "cdi",
        "generate",
        "--driver-root",
        root.to_str().unwrap(),
        "--output",
        specification.to_str().unwrap(),
    ]);
    // The files in that folder are no devices; the kernel's are, under other names.
    let text = fs::read_to_string(&specification).unwrap();
    let text = text.replace(
        "\"path\": \"/dev/nvidia",
        "\"hostPath\": \"/dev/null\",\n \"path\": \"/dev/nvidia",
    );
    fs::write(&specification, text).unwrap();
    for (gpus, want) in [
        ("all", "nvidia0 nvidia1 void\n"),
        ("1", "nvidia0 void\n"),
        ("device=1", "nvidia1 void\n"),
        ("\"device=GPU-1,0\",capabilities=utility", "nvidia0 nvidia1 void\n"),
    ] {
        assert_eq!(run(gpus), want, "{gpus}");
    }
    assert!(
        run("3")
            .contains("3 GPUs are asked for, and the CDI specifications of nvidia.com/gpu have 2")
    );
    assert!(run("device=7").contains("unresolvable CDI devices nvidia.com/gpu=7"));
    let library =
        ["run", "--rm", "--gpus", "all", "busybox", "cat", "/usr/lib64/libcuda.so.550.54.15"];
    assert_eq!(sandbox.ok(&library), "cuda");
    sandbox.finish();
}

#[test]
fn dockers_client_asks_for_devices_as_ours_does() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("cdi-docker");
    specifications(&sandbox, &[("thing.json", everything(&sandbox))]);
    let daemon = Daemon::start(&sandbox);
    let listed = daemon.ok(&[
        "run",
        "--rm",
        "--device",
        "vendor.com/thing=0",
        "busybox",
        "ls",
        "/dev/given0",
    ]);
    assert_eq!(listed, "/dev/given0");
    let none = daemon.docker(&["run", "--rm", "--gpus", "all", "busybox", "true"]);
    assert!(none.stderr.contains("could not select device driver"), "{}", none.stderr);
    drop(daemon);
    sandbox.finish();
}
