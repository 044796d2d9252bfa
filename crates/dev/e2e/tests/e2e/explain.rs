//! What is in an image's layers.

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
