//! Against the kernel, in cgroups of their own.

use std::process::{Child, Command, Stdio};

use crate::{Access, Cpu, Cpuset, DeviceKind, DeviceRule, Limit, Memory, Resources};

use super::*;

/// A cgroup for one test, which is gone afterwards.
struct Scratch {
    hierarchy: Hierarchy,
    path: String,
}

impl Scratch {
    /// `None`, with a line that says why, where cgroups cannot be made.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: root: cgroups are made by root");
            return None;
        }
        let hierarchy = match Hierarchy::detect() {
            Ok(hierarchy) => hierarchy,
            Err(error) => {
                println!("skipped: cgroup: {error}");
                return None;
            }
        };
        Some(Self { hierarchy, path: format!("/dhow-test-{}-{name}", std::process::id()) })
    }

    fn create(&self) -> Cgroup {
        Cgroup::create(&self.hierarchy, &self.path).unwrap()
    }

    fn open(&self) -> Result<Cgroup, Error> {
        Cgroup::open(&self.hierarchy, &self.path)
    }

    /// What is in a file of the tree that has the controller.
    fn read(&self, controller: &str, v1: &str, v2: &str) -> String {
        let cgroup = self.open().unwrap();
        let member = cgroup.member(controller, Some(controller)).unwrap();
        let file = if member.tree.version == Version::V1 { v1 } else { v2 };
        member.dir.read(file).unwrap().trim().to_owned()
    }

    fn has(&self, controller: &str) -> bool {
        let has = self.hierarchy.has(controller);
        if !has {
            println!("skipped: {controller}: no cgroup tree has this controller");
        }
        has
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Ok(cgroup) = self.open() {
            cgroup.kill_all().unwrap();
            cgroup.remove().unwrap();
        }
        assert!(matches!(self.open(), Err(Error::NotFound(_))), "{} is left", self.path);
    }
}

/// Moves another process into the cgroup.
fn join(cgroup: &Cgroup, pid: u32) {
    for member in &cgroup.members {
        member.dir.write("cgroup.procs", &pid.to_string()).unwrap();
    }
}

fn shell(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn().unwrap()
}

/// A shell that waits until it is in its cgroup before it runs the script.
fn shell_inside(cgroup: &Cgroup, script: &str) -> Child {
    let mut child = Command::new("sh")
        .args(["-c", &format!("read line; {script}")])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    join(cgroup, child.id());
    drop(child.stdin.take());
    child
}

#[test]
fn a_cgroup_is_in_every_tree_and_leaves_none() {
    let Some(scratch) = Scratch::new("trees") else { return };
    let cgroup = scratch.create();
    assert_eq!(cgroup.members.len(), scratch.hierarchy.trees.len());
    assert_eq!(cgroup.path(), scratch.path);
    assert!(cgroup.paths().values().all(|path| path.is_dir()));
    let mut child = shell("exec sleep 100");
    let pid = child.id().cast_signed();
    join(&cgroup, child.id());
    assert_eq!(cgroup.procs().unwrap(), [pid]);
    let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let inside = membership.lines().filter(|line| line.ends_with(&scratch.path)).count();
    assert_eq!(inside, scratch.hierarchy.trees.len(), "{membership}");
    cgroup.kill_all().unwrap();
    assert!(cgroup.procs().unwrap().is_empty());
    child.wait().unwrap();
    cgroup.remove().unwrap();
}

#[test]
fn what_is_below_goes_along() {
    let Some(scratch) = Scratch::new("below") else { return };
    let cgroup = scratch.create();
    let inner = Cgroup::create(&scratch.hierarchy, &format!("{}/a/b", scratch.path)).unwrap();
    let mut child = shell_inside(&inner, "sleep 100 & sleep 100 & wait");
    let waited = Instant::now();
    while cgroup.procs().unwrap().len() < 3 {
        assert!(waited.elapsed() < Duration::from_mins(1), "the shell's children");
        std::thread::yield_now();
    }
    cgroup.kill_all().unwrap();
    child.wait().unwrap();
    cgroup.remove().unwrap();
}

#[test]
fn a_parent_goes_when_it_is_empty_and_not_before() {
    let Some(scratch) = Scratch::new("parent") else { return };
    let child = Cgroup::create(&scratch.hierarchy, &format!("{}/child", scratch.path)).unwrap();
    remove_if_empty(&scratch.hierarchy, &scratch.path).unwrap();
    assert!(scratch.open().is_ok());
    child.remove().unwrap();
    remove_if_empty(&scratch.hierarchy, &scratch.path).unwrap();
    assert!(matches!(scratch.open(), Err(Error::NotFound(_))));
}

#[test]
fn a_parent_that_goes_meanwhile_is_made_again() {
    let Some(scratch) = Scratch::new("race") else { return };
    // As often as others can come to remove it who have made one before: on a slow machine, less often.
    let since = std::time::Instant::now();
    Cgroup::create(&scratch.hierarchy, &format!("{}/child", scratch.path))
        .and_then(Cgroup::remove)
        .unwrap();
    let pause = since.elapsed();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                match remove_if_empty(&scratch.hierarchy, &scratch.path) {
                    Err(Error::NotFound(_)) | Ok(_) => {}
                    Err(error) => panic!("{error}"),
                }
                std::thread::sleep(pause);
            }
        });
        let made: Result<(), Error> = (0..150).try_for_each(|n| {
            let path = format!("{}/child-{n}", scratch.path);
            Cgroup::create(&scratch.hierarchy, &path)?.remove()
        });
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        made.unwrap();
    });
}

#[test]
fn limits_are_in_force() {
    let Some(scratch) = Scratch::new("limits") else { return };
    let cgroup = scratch.create();
    if scratch.has("memory") {
        let limit = |max| Resources {
            memory: Memory { max: Some(Limit::At(max)), ..Memory::default() },
            ..Resources::default()
        };
        cgroup.apply(&limit(512 << 20)).unwrap();
        let read = || scratch.read("memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(read(), "536870912");
        cgroup.apply(&limit(1 << 30)).unwrap();
        assert_eq!(read(), "1073741824");
    }
    if scratch.has("cpu") {
        let cpu = |cpu| Resources { cpu, ..Resources::default() };
        let both = Cpu {
            quota: Some(Limit::At(200_000)),
            period: Some(100_000),
            shares: Some(1024),
            ..Cpu::default()
        };
        cgroup.apply(&cpu(both)).unwrap();
        assert_eq!(
            scratch.read("cpu", "cpu.cfs_quota_us", "cpu.max").split(' ').next(),
            Some("200000")
        );
        cgroup.apply(&cpu(Cpu { period: Some(50_000), ..Cpu::default() })).unwrap();
        let want = match cgroup.member("cpu", Some("cpu")).unwrap().tree.version {
            Version::V1 => "50000",
            Version::V2 => "200000 50000",
        };
        assert_eq!(scratch.read("cpu", "cpu.cfs_period_us", "cpu.max"), want);
    }
    if scratch.has("cpuset") {
        let set = Cpuset { cpus: Some("0".into()), mems: Some("0".into()) };
        cgroup.apply(&Resources { cpuset: set, ..Resources::default() }).unwrap();
        assert_eq!(scratch.read("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    }
}

/// The kernel refuses memory above memory and swap at every moment, so growing and shrinking need
/// opposite orders.
#[test]
fn memory_and_swap_grow_and_shrink_together() {
    let Some(scratch) = Scratch::new("swap") else { return };
    if !scratch.has("memory") {
        return;
    }
    let cgroup = scratch.create();
    if !scratch.hierarchy.has_swap_limit() {
        println!("skipped: swap accounting: memory.memsw.limit_in_bytes or memory.swap.max");
        return;
    }
    for (max, memsw) in [(64 << 20, 128 << 20), (256 << 20, 256 << 20), (32 << 20, 48 << 20)] {
        let memory = Memory {
            max: Some(Limit::At(max)),
            memsw: Some(Limit::At(memsw)),
            ..Memory::default()
        };
        cgroup.apply(&Resources { memory, ..Resources::default() }).unwrap();
        let read = scratch.read("memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(read, max.to_string());
    }
}

#[test]
fn processes_stop_at_their_limit() {
    let Some(scratch) = Scratch::new("pids") else { return };
    if !scratch.has("pids") {
        return;
    }
    let cgroup = scratch.create();
    cgroup.apply(&Resources { pids: Some(Limit::At(3)), ..Resources::default() }).unwrap();
    let mut child = shell_inside(&cgroup, "sleep 9 & sleep 9 & sleep 9 & exit 0");
    // A shell that cannot fork says so, and ends.
    assert!(!child.wait().unwrap().success());
    let stats = cgroup.stats().unwrap();
    assert_eq!(stats.pids.limit, Some(3));
    assert!(stats.pids.current <= 2, "{stats:?}");
}

#[test]
fn a_process_without_memory_is_killed_and_counted() {
    let Some(scratch) = Scratch::new("oom") else { return };
    if !scratch.has("memory") {
        return;
    }
    let cgroup = scratch.create();
    let memory = Memory { max: Some(Limit::At(16 << 20)), ..Memory::default() };
    cgroup.apply(&Resources { memory, ..Resources::default() }).unwrap();
    assert_eq!(cgroup.oom_kills().unwrap(), 0);
    let mut child = shell_inside(&cgroup, "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    assert!(!child.wait().unwrap().success());
    assert_eq!(cgroup.oom_kills().unwrap(), 1);
    assert!(cgroup.stats().unwrap().memory.max_usage > 0);
}

#[test]
fn frozen_processes_can_be_thawed_and_killed() {
    let Some(scratch) = Scratch::new("freeze") else { return };
    let cgroup = scratch.create();
    let mut child = shell_inside(&cgroup, "while :; do :; done");
    let pid = child.id();
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.split(' ').nth(13).unwrap().to_owned()
    };
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    let before = used();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(used(), before);
    cgroup.thaw().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_failed_update_changes_nothing() {
    let Some(scratch) = Scratch::new("undo") else { return };
    if !scratch.has("memory") || !scratch.has("pids") {
        return;
    }
    let cgroup = scratch.create();
    let of = |max, pids| Resources {
        memory: Memory { max: Some(Limit::At(max)), ..Memory::default() },
        pids: Some(Limit::At(pids)),
        ..Resources::default()
    };
    cgroup.apply(&of(64 << 20, 7)).unwrap();
    let read = || {
        let memory = scratch.read("memory", "memory.limit_in_bytes", "memory.max");
        (memory, scratch.read("pids", "pids.max", "pids.max"))
    };
    let before = read();
    // More than any kernel can have.
    let error = cgroup.update(&of(128 << 20, 1 << 40)).unwrap_err();
    assert!(matches!(error, Error::Unchanged(_)), "{error:?}");
    assert_eq!(read(), before);
    cgroup.update(&of(128 << 20, 8)).unwrap();
    assert_eq!(read(), ("134217728".to_owned(), "8".to_owned()));
}

#[test]
fn a_watch_tells_of_want_of_memory_and_of_the_end() {
    let Some(scratch) = Scratch::new("watch") else { return };
    if !scratch.has("memory") {
        return;
    }
    let cgroup = scratch.create();
    let memory = Memory { max: Some(Limit::At(16 << 20)), ..Memory::default() };
    cgroup.apply(&Resources { memory, ..Resources::default() }).unwrap();
    let mut watch = cgroup.watch_oom().unwrap();
    let mut child = shell_inside(&cgroup, "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    assert!(!child.wait().unwrap().success());
    let wait = |watch: &crate::OomWatch| {
        let mut fds =
            [rustix::event::PollFd::from_borrowed_fd(watch.fd(), rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&limit)).unwrap(), 1, "nothing is told");
    };
    wait(&watch);
    assert!(watch.news().unwrap().out_of_memory);
    cgroup.remove().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !watch.news().unwrap().ended {
        assert!(Instant::now() < deadline, "the end is not told");
        std::thread::yield_now();
    }
}

#[test]
fn a_parent_without_real_time_gets_as_much() {
    let Some(scratch) = Scratch::new("real-time") else { return };
    let child = Cgroup::create(&scratch.hierarchy, &format!("{}/child", scratch.path)).unwrap();
    let cpu = child.member("cpu", Some("cpu"));
    if cpu.is_none_or(|member| !member.dir.has("cpu.rt_runtime_us")) {
        println!("skipped: cgroup v1: no real-time scheduling by cgroup");
        return;
    }
    let root = &child.member("cpu", None).unwrap().tree.root;
    let has_real_time = |name: &String| {
        let text = root.read(&format!("{name}/cpu.rt_runtime_us")).unwrap_or_default();
        parse::number(&text).unwrap_or(0) > 0
    };
    if let Some(other) = root.children().unwrap().iter().find(|name| has_real_time(name)) {
        println!("skipped: real time: {other} may have all of the machine's");
        child.remove().unwrap();
        return;
    }
    let cpu = Cpu { rt_runtime: Some(1000), rt_period: Some(500_000), ..Cpu::default() };
    child.apply(&Resources { cpu, ..Resources::default() }).unwrap();
    assert_eq!(scratch.read("cpu", "cpu.rt_runtime_us", ""), "1000");
    child.remove().unwrap();
}

/// A controller that the v2 tree of a hybrid machine has.
#[test]
fn a_controller_of_v2_beside_v1_is_found() {
    let Some(scratch) = Scratch::new("beside") else { return };
    let v2 = scratch.hierarchy.trees.iter().find(|tree| tree.version == Version::V2);
    let there = v2.filter(|tree| tree.has("hugetlb"));
    let (Mode::Hybrid, Some(tree)) = (scratch.hierarchy.mode(), there) else {
        println!("skipped: cgroup v2 hugetlb beside v1: this machine has none");
        return;
    };
    let given = tree.root.read("cgroup.subtree_control").unwrap();
    let cgroup = scratch.create();
    let of = |page_size: &str| Resources {
        hugetlb: vec![crate::Hugetlb { page_size: page_size.into(), max: 4 << 20 }],
        ..Resources::default()
    };
    let applied = cgroup.apply(&of("2MB"));
    let missing = cgroup.apply(&of("3MB"));
    let read = cgroup.v2().unwrap().dir.read("hugetlb.2MB.max");
    cgroup.remove().unwrap();
    if !given.contains("hugetlb") {
        // As it was; another test may need it just now.
        let _ = tree.root.write("cgroup.subtree_control", "-hugetlb");
    }
    applied.unwrap();
    assert_eq!(read.unwrap().trim(), "4194304");
    assert_eq!(
        missing.unwrap_err().to_string(),
        "this kernel has no `hugetlb.3MB.max`, and a limit on huge pages needs it"
    );
}

#[test]
fn all_that_is_used_is_told() {
    let Some(scratch) = Scratch::new("stats") else { return };
    let cgroup = scratch.create();
    let mut child =
        shell_inside(&cgroup, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 100");
    let deadline = Instant::now() + Duration::from_mins(1);
    let stats = loop {
        let stats = cgroup.stats().unwrap();
        let memory = stats.memory.usage > 0 || !scratch.hierarchy.has("memory");
        if stats.cpu.total > 0 && memory || Instant::now() > deadline {
            break stats;
        }
    };
    assert!(stats.cpu.total > 0, "{stats:?}");
    assert_eq!(stats.pids.current, 1);
    if scratch.hierarchy.has("cpuset") && scratch.hierarchy.mode() != Mode::V2 {
        assert!(!stats.cpuset.cpus.is_empty() && !stats.cpuset.mems.is_empty(), "{stats:?}");
    }
    if scratch.has("memory") {
        assert!(stats.memory.usage > 0 && !stats.memory.stat.is_empty(), "{stats:?}");
        assert!(stats.memory.memsw.usage >= stats.memory.usage / 2, "{stats:?}");
    }
    cgroup.kill_all().unwrap();
    child.wait().unwrap();
}

fn null_only() -> Vec<DeviceRule> {
    let (kind, major) = (DeviceKind::Char, Some(1));
    vec![DeviceRule { allow: true, kind, major, minor: Some(3), access: Access::READ }]
}

#[test]
fn a_device_without_a_rule_cannot_be_opened() {
    let Some(scratch) = Scratch::new("devices") else { return };
    let cgroup = scratch.create();
    let rules = Resources { devices: Some(null_only()), ..Resources::default() };
    cgroup.apply(&rules).unwrap();
    // Again, as `update` does.
    cgroup.apply(&rules).unwrap();
    devices_are_held(&cgroup);
}

/// The program of v2 works without controllers, so that a hybrid machine tests it too.
#[test]
fn the_device_program_holds_in_the_v2_tree() {
    let Some(scratch) = Scratch::new("program") else { return };
    let mut cgroup = scratch.create();
    cgroup.members.retain(|member| member.tree.version == Version::V2);
    if cgroup.members.is_empty() {
        println!("skipped: cgroup v2: not mounted");
        return;
    }
    let rules = Resources { devices: Some(null_only()), ..Resources::default() };
    match cgroup.apply(&rules) {
        Err(Error::Call(error)) if matches!(error.errno(), Errno::PERM | Errno::NOSYS) => {
            println!("skipped: bpf: {error}: {}", error.errno());
            return;
        }
        other => other.unwrap(),
    }
    cgroup.apply(&rules).unwrap();
    let dir = cgroup.v2().unwrap().dir.for_reading().unwrap();
    let attached = sys::bpf_query_cgroup_device(std::os::fd::AsFd::as_fd(&dir)).unwrap();
    assert_eq!(attached.len(), 1, "the second has replaced the first");
    devices_are_held(&cgroup);
}

fn devices_are_held(cgroup: &Cgroup) {
    let script = "(: </dev/null) && ! (: >/dev/null) && ! (: </dev/zero)";
    assert!(shell_inside(cgroup, script).wait().unwrap().success());
}

#[test]
fn a_missing_controller_is_named() {
    let Some(scratch) = Scratch::new("missing") else { return };
    let mut cgroup = scratch.create();
    cgroup.members.retain(|member| !member.tree.has("pids"));
    cgroup.apply(&Resources::default()).unwrap();
    if cgroup.member("pids", Some("pids")).is_some() {
        println!("skipped: cgroup v1: the controllers share one tree");
        return;
    }
    let asked = Resources { pids: Some(Limit::At(3)), ..Resources::default() };
    assert_eq!(
        cgroup.apply(&asked).unwrap_err().to_string(),
        "the cgroup controller `pids` is not available here, and a limit on processes needs it"
    );
    assert_eq!(cgroup.apply(&asked).unwrap_err().missing_controller(), Some("pids"));
    let unified = [("pids.max".to_owned(), "1".to_owned())].into();
    let error = cgroup.apply(&Resources { unified, ..Resources::default() }).unwrap_err();
    let want = if scratch.hierarchy.mode() == Mode::V2 {
        "unified resource `pids.max`: the cgroup is not there"
    } else {
        "unified resource `pids.max`: invalid configuration: cannot use unified on cgroup v1"
    };
    assert_eq!(error.to_string(), want);
}

#[test]
fn paths_stay_beneath_the_tree() {
    for path in ["", "relative", "/", "//", "/a/../../b", "/./a", "/a\nb"] {
        assert!(matches!(components(path), Err(Error::Path { .. })), "{path:?}");
    }
    assert_eq!(components("/dhow//x/").unwrap(), ["dhow", "x"]);
}

#[test]
fn v2_controllers_are_handed_down() {
    let Some(scratch) = Scratch::new("v2") else { return };
    if scratch.hierarchy.mode() != Mode::V2 {
        println!("skipped: cgroup v2 controllers: this machine has them in v1 trees");
        return;
    }
    let cgroup = scratch.create();
    assert!(cgroup.v2_dir().unwrap().is_some());
    assert!(cgroup.member("memory", Some("memory")).is_some());
    assert!(cgroup.member("pids", Some("pids")).is_some());
}
