//! What is in an image's layers, and what a container is to the kernel.

use crate::busybox;
use testkit::needs;

#[test]
fn layers_are_told_apart_and_drawn() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("layers_are_told_apart_and_drawn");
    let change = "echo one >/bin/added; rm /bin/busybox.txt; chmod 700 /bin/kept";
    sandbox.ok(&[
        "run",
        "--name",
        "one",
        "busybox",
        "sh",
        "-c",
        "seq 1000 >/bin/busybox.txt; seq 100 >/bin/kept",
    ]);
    sandbox.ok(&["commit", "one", "lower:1"]);
    sandbox.ok(&["run", "--name", "two", "lower:1", "sh", "-c", change]);
    sandbox.ok(&["commit", "two", "upper:1"]);
    let files = sandbox.ok(&["image", "explain", "--files", "upper:1"]);
    let last = files.split("layer 3:").nth(1).unwrap();
    for want in ["A       4B /bin/added", "D   3.89kB /bin/busybox.txt", "T     292B /bin/kept"] {
        assert!(last.contains(want), "{want}: {files}");
    }
    let told = sandbox.ok(&["image", "explain", "upper:1"]);
    assert!(told.contains("removes it") && told.contains("/bin/busybox.txt"), "{told}");
    let wasted = sandbox.ok(&["image", "explain", "--format", "{{.Wasted}}", "upper:1"]);
    assert_eq!(wasted.lines().nth(1), Some("4.18kB"), "{wasted}");
    let tree = sandbox.ok(&["image", "ls", "--tree"]);
    let line = |name: &str| tree.lines().position(|line| line.contains(name)).unwrap();
    assert!(line("lower:1") + 1 == line("upper:1") && tree.contains("└─ "), "{tree}");
    let some = sandbox.ok(&["image", "ls", "--tree", "--filter", "reference=lower"]);
    assert!(some.contains("lower:1") && !some.contains("upper:1"), "{some}");
    let odd = sandbox.dhow(&["image", "ls", "--tree", "-q"]);
    assert!(odd.code == 1 && odd.stderr.contains("--tree shows layers"), "{odd:?}");
    let none = sandbox.dhow(&["image", "explain", "none"]);
    assert!(none.code == 1 && none.stderr.contains("No such image: none"), "{none:?}");
    sandbox.ok(&["rm", "one", "two"]);
    sandbox.ok(&["rmi", "upper:1", "lower:1"]);
    sandbox.finish();
}

#[test]
fn a_container_is_told_as_the_kernel_has_it() {
    needs!(Root, Overlay, Netns, Nft, Busybox, MemoryCgroup);
    let sandbox = crate::busybox("explain-container");
    let script = "sleep 601 & sleep 602";
    let run = "run -d --name box --memory 64m --cpus 0.5 --pids-limit 20 -p 8080:80 --cap-drop ALL \
               --cap-add CHOWN --security-opt no-new-privileges --tmpfs /data busybox sh -c";
    let words: Vec<&str> = run.split_whitespace().chain([script]).collect();
    sandbox.ok(&words);
    let beside =
        "run -d --name beside --network container:box --pid container:box busybox sleep 603";
    sandbox.ok(&beside.split(' ').collect::<Vec<_>>());
    testkit::wait_until("all run", || sandbox.ok(&["top", "box"]).contains("602"));

    let told = sandbox.ok(&["container", "explain", "--format", "json", "box"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let pid = crate::pid(&sandbox, "box");
    assert_eq!(told["Pid"], pid);
    let process = |nth: usize| &told["Processes"][nth];
    assert_eq!((&process(0)["Inside"], &process(0)["Pid"]), (&1.into(), &pid.into()));
    assert_eq!((&process(1)["Depth"], &process(1)["Parent"]), (&1.into(), &pid.into()));
    // The shell has become the last of its commands.
    assert_eq!(told["Processes"].as_array().unwrap().len(), 2, "{told:#}");
    for one in told["Namespaces"].as_array().unwrap() {
        let kind = one["Kind"].as_str().unwrap();
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert!(link.to_string_lossy().ends_with(&format!(":[{}]", one["Inode"])), "{one}");
        let with = match kind {
            "net" | "pid" => serde_json::json!(["container beside"]),
            "time" | "user" => serde_json::json!(["host", "container beside"]),
            _ => serde_json::json!([]),
        };
        assert_eq!(one["SharedWith"], with, "{one}");
    }
    let group = &told["Cgroup"];
    assert_eq!(group["MemoryLimit"], 64 << 20);
    assert_eq!((&group["CpuLimit"], &group["PidsLimit"]), (&500_000_000.into(), &20.into()));
    assert!(group["Memory"].as_u64().unwrap() > 0 && group["Pids"] == 2, "{group}");
    let network = &told["Network"];
    let address = network["Links"][0]["Addresses"][0].as_str().unwrap().trim_end_matches("/16");
    let port = format!("0.0.0.0:8080 -> {address}:80/tcp");
    assert!(network["Ports"].as_array().unwrap().contains(&port.into()), "{network}");
    let table = network["Table"].as_str().unwrap();
    sandbox.sh(&format!("nft list table ip {table}")).success();
    let link = network["Links"][0]["HostName"].as_str().unwrap();
    sandbox.sh(&format!("ip link show {link}")).success();
    let security = &told["Security"];
    assert_eq!(security["Capabilities"], serde_json::json!(["CAP_CHOWN"]));
    assert_eq!(
        (&security["NoNewPrivileges"], &security["Seccomp"]),
        (&true.into(), &"filter".into())
    );
    let mounts = told["Mounts"].as_array().unwrap();
    assert!(mounts.iter().any(|one| one["Target"] == "/data"), "{mounts:#?}");

    let page = sandbox.ok(&["container", "explain", "box"]);
    for want in ["NAMESPACES\n", "shared with container beside", "of 0.5 processors", "chown"] {
        assert!(page.contains(want), "{want}: {page}");
    }
    sandbox.ok(&["rm", "-f", "beside"]);
    sandbox.ok(&["stop", "-t", "0", "box"]);
    let page = sandbox.ok(&["container", "explain", "box"]);
    assert!(page.contains(": exited, of busybox") && !page.contains("NAMESPACES"), "{page}");
    let odd = sandbox.dhow(&["container", "explain", "--format", "yaml", "box"]);
    assert_eq!((odd.code, odd.stderr.as_str()), (1, "dhow: --format is json, not \"yaml\"\n"));
    assert_eq!(sandbox.dhow(&["container", "explain", "none"]).code, 1);
    sandbox.ok(&["rm", "box"]);
    sandbox.finish();
}
