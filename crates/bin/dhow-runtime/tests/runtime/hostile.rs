//! Images that try to reach the host: security.md, groups A and B.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::bundle::{Bundle, bundle};

/// Makes a place on the host that must not change, and what is in it.
fn canary(b: &Bundle) -> std::path::PathBuf {
    let dir = b.dir.join("canary");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("ptmx"), "decoy").unwrap();
    std::fs::write(dir.join("file"), "untouched").unwrap();
    dir
}

#[track_caller]
fn assert_untouched(canary: &Path) {
    use std::os::unix::fs::MetadataExt;
    let mut names: Vec<String> = std::fs::read_dir(canary)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "ptmx"]);
    assert_eq!(std::fs::read_to_string(canary.join("file")).unwrap(), "untouched");
    let stat = std::fs::metadata(canary.join("file")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (0, 0));
}

fn replace(b: &Bundle, name: &str, target: &Path) {
    let path = b.rootfs().join(name);
    let _file = std::fs::remove_file(&path);
    let _dir = std::fs::remove_dir(&path);
    symlink(target, path).unwrap();
}

#[test]
fn proc_and_sys_must_be_directories() {
    let Some(b) = bundle("proc_and_sys_must_be_directories") else { return };
    let canary = canary(&b);
    for name in ["proc", "sys"] {
        for target in
            [canary.as_path(), Path::new("../../.."), Path::new("/tmp"), Path::new("/etc/passwd")]
        {
            replace(&b, name, target);
            b.write();
            b.call(&["create", "c"]).fails("must be mounted on ordinary directory");
            b.assert_nothing_left();
        }
        std::fs::remove_file(b.rootfs().join(name)).unwrap();
        std::fs::write(b.rootfs().join(name), "").unwrap();
        b.call(&["create", "c"]).fails("must be mounted on ordinary directory");
        std::fs::remove_file(b.rootfs().join(name)).unwrap();
        std::fs::create_dir(b.rootfs().join(name)).unwrap();
    }
    assert_untouched(&canary);
}

#[test]
pub(crate) fn a_dev_that_leads_out_makes_nothing_there() {
    let Some(mut b) = bundle("a_dev_that_leads_out_makes_nothing_there") else { return };
    let canary = canary(&b);
    replace(&b, "dev", &canary);
    b.config["linux"]["devices"] =
        json!([{ "type": "c", "path": "/dev/fuse", "major": 10, "minor": 229 }]);
    let all = b.config["mounts"].clone();
    for mounts in [all, json!([])] {
        b.config["mounts"] = mounts;
        let ran = b.args(&["true"]).run();
        assert_untouched(&canary);
        // Inside, the link leads to a place of that name in the root.
        assert_eq!(ran.status, 0, "{}", ran.err);
    }
}

#[test]
pub(crate) fn device_files_that_are_links_harm_nobody() {
    let Some(mut b) = bundle("device_files_that_are_links_harm_nobody") else { return };
    let canary = canary(&b);
    // No tmpfs on /dev: the image's own files are there.
    b.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    let file = canary.join("file");
    b.mount(json!({ "destination": "/mnt", "source": file, "options": ["bind"] }));
    for target in [Path::new("/mnt"), file.as_path()] {
        replace(&b, "dev/null", target);
        let ran = b.args(&["true"]).run();
        assert!(
            ran.status != 0 && ran.err.contains("something else is there already"),
            "{}",
            ran.err
        );
        b.assert_nothing_left();
        assert_untouched(&canary);
    }
}

#[test]
pub(crate) fn mount_targets_that_are_links_stay_inside() {
    let Some(mut b) = bundle("mount_targets_that_are_links_stay_inside") else { return };
    let canary = canary(&b);
    std::fs::write(b.dir.join("hosts"), "ours\n").unwrap();
    replace(&b, "absolute", &canary);
    replace(&b, "dangling", &canary.join("new"));
    replace(&b, "up", Path::new("../../../../../../../../tmp/up"));
    for (destination, options) in
        [("/absolute/x", "bind"), ("/dangling", "bind"), ("/up/x", "bind")]
    {
        b.mount(json!({ "destination": destination, "source": "hosts", "options": [options] }));
    }
    let out = b.script("cat /absolute/x /dangling /tmp/up/x").run().ok();
    assert_eq!(out, "ours\nours\nours\n");
    assert_untouched(&canary);
}

#[test]
fn a_working_directory_through_a_descriptor_is_refused() {
    let Some(mut b) = bundle("a_working_directory_through_a_descriptor_is_refused") else { return };
    let host = std::fs::read_dir("/").unwrap().count();
    for n in 0..40 {
        for prefix in ["/proc/self/fd", "/proc/1/fd", "/proc/thread-self/fd"] {
            b.config["process"]["cwd"] = json!(format!("{prefix}/{n}"));
            let ran = b.script("echo inside; ls ../../../../.. | wc -l").run();
            let escaped = ran.out.contains(&format!("inside\n{host}\n"));
            assert!(!escaped, "{prefix}/{n}: {}", ran.out);
            assert!(ran.status != 0, "{prefix}/{n}: {}", ran.out);
        }
    }
    b.config["process"]["cwd"] = json!("/");
    b.args(&["sleep", "1000"]).start();
    for n in 0..40 {
        let ran = b.call(&["exec", "--cwd", &format!("/proc/self/fd/{n}"), "c", "pwd"]);
        assert!(ran.status != 0, "{n}: {}", ran.out);
    }
}

#[test]
fn a_program_through_a_descriptor_is_refused() {
    let Some(mut b) = bundle("a_program_through_a_descriptor_is_refused") else { return };
    for n in 3..40 {
        let path = format!("/proc/self/fd/{n}/../../../../bin/sh");
        let ran = b.args(&[&path, "-c", "true"]).run();
        assert!(ran.status != 0, "{path}");
    }
}

#[test]
pub(crate) fn the_runtimes_own_file_cannot_be_written() {
    let Some(mut b) = bundle("the_runtimes_own_file_cannot_be_written") else { return };
    let before = std::fs::read(env!("CARGO_BIN_EXE_dhow-runtime")).unwrap();
    // What a container executes as /proc/self/exe is the runtime, in the container.
    b.args(&["/proc/self/exe", "--version"]);
    let out = b.run().ok();
    assert!(out.contains("as runc version"), "{out}");
    b.script(
        "(echo x > /proc/self/exe) 2>&1; while :; do for p in /proc/[0-9]*; do \
              (: >> $p/exe) 2>/dev/null && readlink $p/exe; done; done",
    )
    .start();
    for _ in 0..20 {
        b.call(&["exec", "c", "true"]).ok();
    }
    let after = std::fs::read(env!("CARGO_BIN_EXE_dhow-runtime")).unwrap();
    assert!(before == after, "the runtime's file was changed");
    assert!(!b.output().contains("dhow-runtime"), "{}", b.output());
}

#[test]
fn a_passwd_that_is_no_file_is_passed_over() {
    let Some(mut b) = bundle("a_passwd_that_is_no_file_is_passed_over") else { return };
    std::fs::remove_file(b.rootfs().join("etc/passwd")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        b.rootfs().join("etc/passwd"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    assert_eq!(b.script("echo $HOME").run().ok(), "/\n");
}

#[test]
fn a_process_that_is_executed_shows_nothing_of_the_host() {
    let Some(mut b) = bundle("a_process_that_is_executed_shows_nothing_of_the_host") else {
        return;
    };
    // A tracer's capability, and a loop that looks at every process the moment it appears.
    let caps = json!(["CAP_SYS_PTRACE", "CAP_KILL"]);
    b.config["process"]["capabilities"] =
        json!({ "bounding": caps, "permitted": caps, "effective": caps });
    b.script(
        "echo up; while :; do for p in /proc/[0-9]*; do for f in $p/fd/* $p/cwd $p/root; do \
         t=$(readlink $f) && case $t in *cgroup*|*state*|/sys*|/proc|/proc/*) echo \"$f $t\";; esac; \
         done; done 2>/dev/null; done",
    )
    .start();
    crate::bundle::wait_until("the loop runs", || b.output().contains("up"));
    for _ in 0..100 {
        b.call(&["exec", "c", "true"]).ok();
    }
    let seen: Vec<String> = b
        .output()
        .lines()
        .filter(|line| *line != "up" && !line.contains("/fd/3 /proc"))
        .map(str::to_owned)
        .collect();
    assert_eq!(seen, Vec::<String>::new());
}
