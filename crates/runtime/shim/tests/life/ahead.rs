//! A shim that is started before it is known for what, and the runtime that it has started itself.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use shim_protocol::{Reply, Request, RestartPolicy, Root, Rootfs, send};

use crate::Case;
use crate::container::Container;
use crate::fixture::{own_runtime, wait_until};

pub(crate) const CASES: &[Case] = &[
    ("a_runtime_that_waits_creates", a_runtime_that_waits_creates),
    ("one_that_waits_creates_once", one_that_waits_creates_once),
    ("one_that_has_died_is_done_without", one_that_has_died_is_done_without),
    ("one_is_not_used_in_the_place_of_another", one_is_not_used_in_the_place_of_another),
    ("one_that_nobody_needs_is_gone_with_its_shim", one_that_nobody_needs_is_gone_with_its_shim),
    ("one_whose_shim_is_killed_ends", one_whose_shim_is_killed_ends),
    ("a_root_that_was_mounted_is_used", a_root_that_was_mounted_is_used),
    ("a_root_that_cannot_be_mounted_is_told_later", a_root_that_cannot_be_mounted_is_told_later),
    ("another_root_is_not_used", another_root_is_not_used),
];

/// The words of a process's command line: none if it has ended.
fn line(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).split_terminator('\0').map(str::to_owned).collect()
}

/// Whether it was made by a runtime that was started ahead: it has its line until it is started.
fn is_of_one_ahead(pid: i32) -> bool {
    line(pid).get(1).is_some_and(|word| word == "ahead")
}

/// The runtime that waits for this container.
fn waiting(it: &Container) -> Option<i32> {
    let run = it.run_dir().to_str().unwrap();
    let waits = |pid: &i32| match line(*pid).as_slice() {
        [name, how, of] => name.ends_with("dhow-runtime") && how == "ahead" && of == run,
        _ => false,
    };
    let entries = fs::read_dir("/proc").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.parse().ok()).find(waits)
}

fn wait_until_dead(pid: i32) {
    // Its files are closed by then.
    wait_until("the runtime has ended", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
}

/// Spawns the shim, and waits for its runtime. `None` where there is none of ours.
fn ahead(it: &mut Container) -> Option<i32> {
    if own_runtime().is_none() {
        println!("skipped: ahead: needs dhow-runtime of the same build");
        return None;
    }
    it.spawn_ahead();
    wait_until("the runtime waits", || waiting(it).is_some());
    waiting(it)
}

/// Has the container made; the process that waits to be started.
#[track_caller]
fn created(it: &mut Container) -> i32 {
    let reply = it.supervise();
    let Reply::Created { pid } = reply else { panic!("{reply:?}\n{}", it.shim_log()) };
    pid
}

fn a_runtime_that_waits_creates() {
    let mut it = Container::new("echo out; exit 5");
    let Some(runtime) = ahead(&mut it) else { return };
    let is_ours = it.config.runtime.program.is_none();
    let pid = created(&mut it);
    assert_eq!(is_of_one_ahead(pid), is_ours, "{:?}", line(pid));
    // It says that it is done, and ends.
    wait_until_dead(runtime);
    it.start();
    assert_eq!(it.join(), 5);
    assert_eq!(it.log("stdout"), ["out\n"]);
}

fn one_that_waits_creates_once() {
    let mut it = Container::new("echo x >> /lives; wc -l < /lives; exit 3");
    it.config.restart = RestartPolicy::OnFailure { max: 1 };
    if ahead(&mut it).is_none() {
        return;
    }
    created(&mut it);
    it.start();
    assert_eq!(it.join(), 3);
    assert_eq!(it.log("stdout"), ["1\n", "2\n"]);
}

fn one_that_has_died_is_done_without() {
    let mut it = Container::new("exit 6");
    let Some(runtime) = ahead(&mut it) else { return };
    kill_process(Pid::from_raw(runtime).unwrap(), Signal::KILL).unwrap();
    wait_until_dead(runtime);
    let pid = created(&mut it);
    assert!(!is_of_one_ahead(pid), "{:?}", line(pid));
    it.start();
    assert_eq!(it.join(), 6);
}

fn one_is_not_used_in_the_place_of_another() {
    let mut it = Container::new("exit 4");
    let Some(runtime) = ahead(&mut it) else { return };
    // That it is the same program does not make it the one that was asked for.
    it.config.runtime.program = own_runtime();
    let pid = created(&mut it);
    assert!(!is_of_one_ahead(pid), "{:?}", line(pid));
    assert_eq!(line(runtime), [""; 0]);
    it.start();
    assert_eq!(it.join(), 4);
}

fn one_that_nobody_needs_is_gone_with_its_shim() {
    for is_stopped in [false, true] {
        let mut it = Container::new("exit 0");
        let Some(runtime) = ahead(&mut it) else { return };
        if is_stopped {
            kill_process(Pid::from_raw(runtime).unwrap(), Signal::STOP).unwrap();
        }
        it.abandon();
        it.wait_for_shim();
        assert_eq!(line(runtime), [""; 0]);
        fs::remove_dir_all(it.run_dir()).unwrap();
        it.assert_nothing_left();
    }
}

fn one_whose_shim_is_killed_ends() {
    let mut it = Container::new("exit 0");
    let Some(runtime) = ahead(&mut it) else { return };
    it.kill_shim();
    it.wait_for_shim();
    wait_until_dead(runtime);
    fs::remove_dir_all(it.run_dir()).unwrap();
    it.assert_nothing_left();
}

/// What is mounted at the place of the container's root, for its shim.
fn mounted(it: &Container) -> usize {
    let all = fs::read_to_string(format!("/proc/{}/mountinfo", it.shim_pid())).unwrap_or_default();
    let place = format!(" {} ", it.root().target.display());
    all.lines().filter(|line| line.contains(&place)).count()
}

/// Spawns the shim, and has it mount a root.
fn with_root(it: &mut Container, root: Root) {
    it.spawn_ahead();
    send(it.control_stream(), &Request::Mount(Box::new(root))).unwrap();
}

fn a_root_that_was_mounted_is_used() {
    let mut it = Container::new("echo out > /file; exit 5");
    let root = it.root();
    with_root(&mut it, root);
    wait_until("it is mounted", || mounted(&it) == 1);
    created(&mut it);
    assert_eq!(mounted(&it), 1);
    it.start();
    assert_eq!(it.join(), 5);
    assert_eq!(fs::read_to_string(it.upper().join("file")).unwrap(), "out\n");
}

fn a_root_that_cannot_be_mounted_is_told_later() {
    let mut it = Container::new("exit 0");
    let Rootfs::Overlay { upper, .. } = &mut it.config.rootfs else { panic!("no overlay") };
    upper.push("nosuch");
    let root = it.root();
    with_root(&mut it, root);
    let Reply::Error(error) = it.supervise() else { panic!("it is made") };
    assert!(error.message.contains("nosuch") || error.message.contains("overlay"), "{error}");
    it.wait_for_shim();
    it.assert_nothing_left();
}

fn another_root_is_not_used() {
    let mut it = Container::new("exit 0");
    let other = Root { rootfs: Rootfs::Directory { path: it.upper() }, ..it.root() };
    with_root(&mut it, other);
    wait_until("it is mounted", || mounted(&it) == 1);
    let Reply::Error(error) = it.supervise() else { panic!("it is made") };
    assert!(error.message.contains("another root"), "{error}");
    it.wait_for_shim();
    it.assert_nothing_left();
}
