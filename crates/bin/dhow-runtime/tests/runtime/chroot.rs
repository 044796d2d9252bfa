//! A runtime whose own root is not what is topmost in its mount namespace: one of chroot(2), or one that
//! something was mounted over since. setns(2) leads to the container's root all the same, and so does
//! `exec`.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Ran, bundle};

/// A directory that has what the runtime needs, each where it is on the host, and `only-there`.
const JAIL: &str = "mount -t tmpfs tmpfs \"$1\"; jail=$1/jail; mkdir -p $jail/bin $jail/only-there; \
     cp /bin/busybox $jail/bin; ln -s busybox $jail/bin/sh; \
     for d in /proc /sys /dev; do mkdir -p $jail$d; mount --rbind $d $jail$d; done; \
     for d in \"$2\" \"$3\"; do mkdir -p $jail$d; mount --bind $d $jail$d; done; shift 3; ";

/// The ways into it, and what is done before.
const WAYS: [(&str, &str); 4] = [
    ("a mount", "mount --rbind $jail $jail; "),
    ("a mount on a shared one", "mount --rbind $jail $jail; mount --make-rshared /; "),
    ("a directory", ""),
    ("a directory on a shared mount", "mount --make-rshared /; "),
];

const ENTER: &str = "exec /bin/busybox chroot $jail \"$@\"";

/// `create`, with more `options`, where `script` has led: in a mount namespace that is gone afterwards.
fn create(b: &Bundle, script: &str, options: &[&str]) -> Ran {
    b.write();
    let place = b.dir.join("place");
    std::fs::create_dir_all(&place).unwrap();
    let mut args = vec!["create", "--bundle", b.dir.to_str().unwrap()];
    args.extend(options);
    args.push("c");
    let runtime = b.command(&args);
    let program = runtime.get_program();
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    let status = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-ec", script, "sh"])
        .args([place.as_path(), Path::new(program).parent().unwrap(), b.dir.as_path()])
        .arg(program)
        .args(runtime.get_args())
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap();
    Ran { status: status.code().unwrap_or(-1), out: String::new(), err: b.output() }
}

fn prepare(test: &str) -> Option<Bundle> {
    let mut b = bundle(test)?;
    std::fs::write(b.rootfs().join("only-here"), "").unwrap();
    b.args(&["sleep", "1000"]);
    Some(b)
}

/// The root is the container's for who is executed in it, and of what its mount namespace had before
/// nothing can be seen; then the container goes.
#[track_caller]
fn assert_its_own_root(b: &Bundle, how: &str) {
    for started in [false, true] {
        if started {
            b.call(&["start", "c"]).ok();
        }
        let script = "ls -d /only-here /only-there /etc/passwd 2>/dev/null; pwd -P; \
                      awk '$5 == \"/\"' /proc/self/mountinfo | wc -l; \
                      awk '{ print $5 }' /proc/self/mountinfo | grep -c '/place'";
        let ran = b.call(&["exec", "c", "sh", "-c", script]);
        assert_eq!(ran.out, "/etc/passwd\n/only-here\n/\n1\n0\n", "{how}: {}", ran.err);
    }
    b.call(&["delete", "--force", "c"]).ok();
    b.assert_nothing_left();
}

/// What init detaches itself, and what the runtime does for it.
const ENVIRONMENTS: [&[&str]; 2] = [&["PATH=/bin"], &["PATH=/bin", "HOME=/"]];

#[test]
pub(crate) fn what_a_runtime_in_a_chroot_executes_has_the_containers_root() {
    let Some(mut b) = prepare("what_a_runtime_in_a_chroot_executes_has_the_containers_root") else {
        return;
    };
    for (way, before) in WAYS {
        for environment in ENVIRONMENTS {
            b.config["process"]["env"] = json!(environment);
            create(&b, &[JAIL, before, ENTER].concat(), &[]).ok();
            assert_its_own_root(&b, way);
        }
    }
}

#[test]
fn so_it_has_where_the_root_is_moved() {
    let Some(b) = prepare("so_it_has_where_the_root_is_moved") else { return };
    for (way, before) in WAYS {
        create(&b, &[JAIL, before, ENTER].concat(), &["--no-pivot"]).ok();
        assert_its_own_root(&b, way);
    }
}

#[test]
pub(crate) fn what_was_mounted_over_the_runtimes_root_is_not_the_containers() {
    let Some(mut b) = prepare("what_was_mounted_over_the_runtimes_root_is_not_the_containers")
    else {
        return;
    };
    // The shell, and what it executes, keep the root that is under it.
    for before in ["", "mount --make-rshared /; "] {
        for environment in ENVIRONMENTS {
            b.config["process"]["env"] = json!(environment);
            let script = [before, "mount --bind / /; shift 3; exec \"$@\""].concat();
            create(&b, &script, &[]).ok();
            assert_its_own_root(&b, "under a mount");
        }
    }
}

#[test]
fn a_chroot_in_a_tree_that_is_covered_is_refused() {
    let Some(b) = prepare("a_chroot_in_a_tree_that_is_covered_is_refused") else { return };
    let script = [JAIL, "mount --rbind $jail $jail; mount --bind / /; ", ENTER].concat();
    create(&b, &script, &[]).fails("find the root of the mount namespace: go to \"(unreachable)/");
    b.assert_nothing_left();
}

#[test]
pub(crate) fn paths_of_the_host_are_those_of_the_chroot() {
    let Some(mut b) = prepare("paths_of_the_host_are_those_of_the_chroot") else { return };
    b.mount(json!({ "destination": "/from", "source": "/only-there", "options": ["bind"] }));
    let said = b.dir.join("said");
    let hook = |name: &str| {
        let script =
            format!("busybox ls -d /only-there >> {0}; echo {name} >> {0}", said.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"] }])
    };
    b.config["hooks"] = json!({
        "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"),
    });
    for (way, before) in WAYS {
        std::fs::write(&said, "").unwrap();
        create(&b, &[JAIL, before, ENTER].concat(), &[]).ok();
        let words = "/only-there\ncreateRuntime\n/only-there\ncreateContainer\n";
        assert_eq!(std::fs::read_to_string(&said).unwrap(), words, "{way}");
        assert_its_own_root(&b, way);
    }
}
