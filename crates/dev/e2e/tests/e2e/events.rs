//! What is told of what happens, by whichever process it happens in.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::busybox;
use testkit::needs;

#[test]
fn all_kinds_of_things_are_told_of() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("events");
    // The folder of volumes stays.
    sandbox.ok(&["volume", "create", "first"]);
    sandbox.ok(&["volume", "rm", "first"]);
    sandbox.baseline();
    sandbox.ok(&["network", "create", "net"]);
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "net",
        "-v",
        "data:/data",
        "busybox",
        "sleep",
        "600",
    ]);
    sandbox.ok(&["top", "box"]);
    sandbox.ok(&["commit", "-c", "LABEL kind=made", "box", "made"]);
    sandbox.ok(&["rm", "-f", "box"]);
    sandbox.ok(&["rmi", "made"]);
    sandbox.ok(&["volume", "rm", "data"]);
    sandbox.ok(&["network", "rm", "net"]);
    let format = "{{.Type}} {{.Action}}";
    // The next whole second.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let until = (now.as_secs() + 1).to_string();
    let told = sandbox.ok(&["events", "--since", "1", "--until", &until, "--format", format]);
    for wanted in [
        "network create",
        "volume create",
        "container create",
        "volume mount",
        "network connect",
        "container start",
        "container top",
        "image create",
        "image tag",
        "container commit",
        "volume unmount",
        "network disconnect",
        "container die",
        "container destroy",
        "image untag",
        "image delete",
        "volume destroy",
        "network destroy",
    ] {
        assert!(told.lines().any(|line| line == wanted), "{wanted}: {told}");
    }
    // An end alone: all that was until then.
    let only = ["events", "--until", &until, "--filter", "type=network"];
    let only = sandbox.ok(&[&only[..], &["--filter", "event=create", "--format", format]].concat());
    assert_eq!(only, "network create");
    // An image's labels are its events', and an image has a name without its tag, too.
    let filtered = |filters: &[&str]| {
        let words: Vec<&str> = filters.iter().flat_map(|one| ["--filter", one]).collect();
        let all = ["events", "--since", "1", "--until", &until, "--format", format];
        sandbox.ok(&[&all[..], &words].concat())
    };
    let told = filtered(&["type=image", "label=kind=made"]);
    assert_eq!(told, "image create\nimage tag\nimage untag");
    let told = filtered(&["image=busybox", "event=start"]);
    assert!(!told.is_empty() && told.lines().all(|line| line == "container start"), "{told}");
    assert_eq!(filtered(&["image=busy", "event=start"]), "");
    sandbox.finish();
}
