//! What an OCI runtime cannot leave out for a container as Docker makes them: the same namespaces,
//! mounts, device files, masks, cgroup, limit, capabilities and filter as the bundle of the
//! benchmark, each by the fewest calls that the kernel offers. Nothing is read, parsed, recorded or
//! checked.

use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountFlags as Flags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use sys::{CloneArgs, CloneFlags, Cloned, SeccompFlags, SingleThreaded, SockFilter};

use crate::Result;

/// The capabilities that Docker leaves, as bits.
const CAPABILITIES: u64 = 0xa804_25fb;
/// The highest number of a capability that Linux has had so far.
const LAST_CAPABILITY: u8 = 40;
const MEMORY: &str = "536870912";

const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("random", 1, 8),
    ("full", 1, 7),
    ("tty", 5, 0),
    ("zero", 1, 5),
    ("urandom", 1, 9),
];

const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// What the devices controller of v1 is told after `a` was denied.
const RULES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:8 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:5 rwm",
    "c 1:9 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
];

const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

const MASKED: [&str; 10] = [
    "proc/asound",
    "proc/acpi",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
];

/// The cgroup in one tree.
struct Group {
    directory: PathBuf,
    /// Where v1 lets a process move itself; none in a v2 tree.
    tasks: Option<OwnedFd>,
}

/// The arguments that both ways into a container have.
struct Common {
    filter: Vec<SockFilter>,
    /// The mounted trees, divided by `:`.
    trees: Vec<PathBuf>,
    cgroup: String,
    argv: Vec<CString>,
}

impl Common {
    /// `FILTER TREES CGROUP PROGRAM [ARGS...]`.
    fn new(args: &[OsString]) -> Result<Self> {
        let [filter, trees, cgroup, program @ ..] = args else {
            return Err("expected FILTER TREES CGROUP PROGRAM".into());
        };
        let insn = |raw: &[u8; 8]| SockFilter {
            code: u16::from_ne_bytes([raw[0], raw[1]]),
            jt: raw[2],
            jf: raw[3],
            k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
        };
        Ok(Self {
            filter: std::fs::read(filter)?.as_chunks::<8>().0.iter().map(insn).collect(),
            trees: trees.to_str().unwrap_or_default().split(':').map(PathBuf::from).collect(),
            cgroup: cgroup.to_str().ok_or("a name that is not UTF-8")?.to_owned(),
            argv: c_strings(program)?,
        })
    }

    /// The cgroup's directories, each with its way in.
    fn groups(&self) -> Result<Vec<Group>> {
        let open = |tree: &PathBuf| {
            let directory = tree.join(&self.cgroup);
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let tasks = rustix::fs::open(directory.join("tasks"), flags, Mode::empty()).ok();
            Ok(Group { directory, tasks })
        };
        self.trees.iter().map(open).collect()
    }

    /// The identity, the filter, and the program.
    fn become_program(&self) -> Result<()> {
        sys::set_no_new_privs()?;
        for number in (0..=LAST_CAPABILITY).filter(|n| CAPABILITIES >> n & 1 == 0) {
            sys::drop_bounding(number)?;
        }
        sys::setgroups(&[rustix::fs::Gid::ROOT])?;
        sys::setresgid(rustix::fs::Gid::ROOT)?;
        sys::setresuid(rustix::fs::Uid::ROOT)?;
        sys::capset(CAPABILITIES, CAPABILITIES, 0)?;
        sys::seccomp_set_filter(&self.filter, SeccompFlags::empty())?;
        let path: &CStr = self.argv.first().ok_or("no program")?;
        Err(sys::execve(path, &self.argv, &[c"PATH=/bin".to_owned()]).into())
    }
}

/// `ROOTFS FILTER TREES CGROUP PROGRAM [ARGS...]`: a whole container, to its end.
pub(crate) fn run(args: &[OsString]) -> Result<i32> {
    let (rootfs, rest) = args.split_first().ok_or("expected ROOTFS")?;
    let common = Common::new(rest)?;
    make_groups(&common)?;
    let groups = common.groups()?;
    let unified = groups.iter().find(|group| group.tasks.is_none());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let into = unified
        .map(|group| rustix::fs::open(&group.directory, flags, Mode::empty()))
        .transpose()?;
    let mut flags = CloneFlags::NEWNS
        | CloneFlags::NEWPID
        | CloneFlags::NEWNET
        | CloneFlags::NEWIPC
        | CloneFlags::NEWUTS;
    flags.set(CloneFlags::INTO_CGROUP, into.is_some());
    let cgroup = into.as_ref().map(AsFd::as_fd);
    let clone = CloneArgs { flags, cgroup, exit_signal: Some(Signal::CHILD) };
    let code = match sys::clone3(&SingleThreaded::check()?, &clone)? {
        Cloned::Child => {
            let made = join(&groups)
                .and_then(|()| Ok(sys::unshare(CloneFlags::NEWCGROUP)?))
                .and_then(|()| inside(Path::new(rootfs)))
                .and_then(|()| common.become_program());
            end_child(made)
        }
        Cloned::Parent { pid, .. } => wait(pid),
    };
    for group in &groups {
        rustix::fs::rmdir(&group.directory)?;
    }
    code
}

/// `PID FILTER TREES CGROUP PROGRAM [ARGS...]`: one more process in a container.
pub(crate) fn enter(args: &[OsString]) -> Result<i32> {
    let (target, rest) = args.split_first().ok_or("expected PID")?;
    let target =
        target.to_str().and_then(|pid| Pid::from_raw(pid.parse().ok()?)).ok_or("no PID")?;
    let common = Common::new(rest)?;
    let groups = common.groups()?;
    let proof = SingleThreaded::check()?;
    let pidfd = rustix::process::pidfd_open(target, rustix::process::PidfdFlags::empty())?;
    join(&groups)?;
    let namespaces = CloneFlags::NEWNS
        | CloneFlags::NEWPID
        | CloneFlags::NEWNET
        | CloneFlags::NEWIPC
        | CloneFlags::NEWUTS
        | CloneFlags::NEWCGROUP;
    sys::setns(pidfd.as_fd(), namespaces)?;
    let clone =
        CloneArgs { flags: CloneFlags::empty(), cgroup: None, exit_signal: Some(Signal::CHILD) };
    match sys::clone3(&proof, &clone)? {
        Cloned::Child => end_child(common.become_program()),
        Cloned::Parent { pid, .. } => wait(pid),
    }
}

fn end_child(result: Result<()>) -> ! {
    if let Err(error) = result {
        eprintln!("dhow-floor: {error}");
    }
    sys::exit_now(126)
}

fn wait(pid: Pid) -> Result<i32> {
    let status = rustix::process::waitpid(Some(pid), WaitOptions::empty())?;
    let status = status.map(|(_, status)| status).ok_or("the program was not waited for")?;
    Ok(status.exit_status().unwrap_or(128))
}

fn make_groups(common: &Common) -> Result<()> {
    for tree in &common.trees {
        let group = tree.join(&common.cgroup);
        rustix::fs::mkdir(&group, Mode::from_raw_mode(0o755))?;
        let write = |file: &str, value: &str| std::fs::write(group.join(file), value);
        let has = |controller: &str| tree.ends_with(controller);
        if has("cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                write(file, &std::fs::read_to_string(tree.join(file))?)?;
            }
        }
        if has("memory") {
            write("memory.limit_in_bytes", MEMORY)?;
        }
        if has("devices") {
            write("devices.deny", "a")?;
            for rule in RULES {
                write("devices.allow", rule)?;
            }
        }
    }
    Ok(())
}

/// Moves this process, which has one thread.
fn join(groups: &[Group]) -> Result<()> {
    for tasks in groups.iter().filter_map(|group| group.tasks.as_ref()) {
        rustix::io::write(tasks, b"0")?;
    }
    Ok(())
}

/// In the new namespaces: all that is mounted, and the root.
fn inside(root: &Path) -> Result<()> {
    rustix::process::setsid()?;
    loopback_up()?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave)?;
    rustix::mount::mount_bind_recursive(root, root)?;
    rustix::process::chdir(root)?;
    let guarded = Flags::NOSUID | Flags::NOEXEC | Flags::NODEV;
    mount("proc", "proc", guarded, None)?;
    mount("tmpfs", "dev", Flags::NOSUID | Flags::STRICTATIME, Some(c"mode=755,size=65536k"))?;
    for directory in ["dev/pts", "dev/shm", "dev/mqueue"] {
        rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755))?;
    }
    let options = Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount("devpts", "dev/pts", Flags::NOSUID | Flags::NOEXEC, options)?;
    mount("sysfs", "sys", guarded | Flags::RDONLY, None)?;
    mount("mqueue", "dev/mqueue", guarded, None)?;
    mount("tmpfs", "dev/shm", guarded, Some(c"mode=1777,size=65536k"))?;
    for (name, major, minor) in DEVICES {
        let number = rustix::fs::makedev(major, minor);
        let path = Path::new("dev").join(name);
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, number)?;
    }
    for (target, name) in LINKS {
        rustix::fs::symlink(target, Path::new("dev").join(name))?;
    }
    cover()?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(rustix::system::sethostname(b"bench")?)
}

fn mount(kind: &str, target: &str, flags: Flags, data: Option<&CStr>) -> Result<()> {
    let made = rustix::mount::mount(kind, target, kind, flags, data);
    made.map_err(|errno| format!("mount {kind} on {target}: {errno}").into())
}

fn cover() -> Result<()> {
    for path in READ_ONLY {
        if rustix::mount::mount_bind(path, path).is_ok() {
            let kept = Flags::NOSUID | Flags::NOEXEC | Flags::NODEV;
            rustix::mount::mount_remount(path, Flags::BIND | Flags::RDONLY | kept, c"")?;
        }
    }
    for path in MASKED {
        match rustix::mount::mount_bind("dev/null", path) {
            Err(rustix::io::Errno::NOTDIR) => {
                mount("tmpfs", path, Flags::RDONLY, Some(c"size=0,nr_inodes=1"))?;
            }
            Err(rustix::io::Errno::NOENT) | Ok(()) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn loopback_up() -> Result<()> {
    let mut requests = netlink::Requests::new();
    requests.set_loopback_up();
    Ok(netlink::RouteSocket::open()?.execute(&requests)?)
}

/// `PROGRAM [ARGS...]`: runs it, and prints the most memory that a process of it had, in KiB.
pub(crate) fn peak(args: &[OsString]) -> Result<i32> {
    let (program, rest) = args.split_first().ok_or("expected PROGRAM")?;
    let status = std::process::Command::new(program).args(rest).status()?;
    println!("{}", sys::peak_memory_of_children() >> 10);
    Ok(status.code().unwrap_or(128))
}

/// Arguments for execve(2).
pub(crate) fn c_strings(args: &[OsString]) -> Result<Vec<CString>> {
    let c_string = |arg: &OsString| CString::new(arg.as_bytes());
    Ok(args.iter().map(c_string).collect::<std::result::Result<_, _>>()?)
}
