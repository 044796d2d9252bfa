//! Docker's default profile as a table: what [`DOCKER_DEFAULT`](crate::DOCKER_DEFAULT) says, without
//! the work of reading it, which every start of a container would do again. A test holds the two
//! against each other.

use oci::runtime::SyscallArg;

use crate::docker::{ArchMapping, Filter, Profile, Rule};

/// What happens to calls that no rule names, and its errno: `EPERM`.
const DEFAULT: (&str, u32) = ("SCMP_ACT_ERRNO", 1);

/// The architectures of machines, each with those that its programs may have besides.
const ARCHES: &[(&str, &[&str])] = &[
    ("SCMP_ARCH_X86_64", &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    ("SCMP_ARCH_AARCH64", &["SCMP_ARCH_ARM"]),
    ("SCMP_ARCH_MIPS64", &["SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"]),
    ("SCMP_ARCH_MIPS64N32", &["SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64"]),
    ("SCMP_ARCH_MIPSEL64", &["SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"]),
    ("SCMP_ARCH_MIPSEL64N32", &["SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64"]),
    ("SCMP_ARCH_S390X", &["SCMP_ARCH_S390"]),
    ("SCMP_ARCH_RISCV64", &[]),
    ("SCMP_ARCH_LOONGARCH64", &[]),
];

/// A rule.
#[derive(Clone, Copy)]
struct Row {
    /// The calls, with a space between.
    names: &'static str,
    action: &'static str,
    errno_ret: Option<u32>,
    /// Index, value and operator of the condition on an argument.
    arg: Option<(u32, u64, &'static str)>,
    includes: When,
    excludes: When,
}

/// What a rule depends on.
#[derive(Clone, Copy)]
struct When {
    caps: &'static [&'static str],
    arches: &'static [&'static str],
    min_kernel: Option<&'static str>,
}

const ANY: When = When { caps: &[], arches: &[], min_kernel: None };

const fn allow(names: &'static str) -> Row {
    let action = "SCMP_ACT_ALLOW";
    Row { names, action, errno_ret: None, arg: None, includes: ANY, excludes: ANY }
}

/// The call fails with `errno`.
const fn fail(names: &'static str, errno: u32) -> Row {
    Row { action: "SCMP_ACT_ERRNO", errno_ret: Some(errno), ..allow(names) }
}

impl Row {
    const fn arg(self, index: u32, value: u64, op: &'static str) -> Self {
        Self { arg: Some((index, value, op)), ..self }
    }

    /// It counts only with all of these capabilities.
    const fn with(self, caps: &'static [&'static str]) -> Self {
        Self { includes: When { caps, ..self.includes }, ..self }
    }

    /// It counts only without these.
    const fn without(self, caps: &'static [&'static str]) -> Self {
        Self { excludes: When { caps, ..self.excludes }, ..self }
    }

    /// It counts only on these machines.
    const fn on(self, arches: &'static [&'static str]) -> Self {
        Self { includes: When { arches, ..self.includes }, ..self }
    }

    /// It does not count on these.
    const fn not_on(self, arches: &'static [&'static str]) -> Self {
        Self { excludes: When { arches, ..self.excludes }, ..self }
    }

    /// It counts only from this kernel on.
    const fn since(self, kernel: &'static str) -> Self {
        Self { includes: When { min_kernel: Some(kernel), ..self.includes }, ..self }
    }
}

const ROWS: &[Row] = &[
    allow(
        "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown \
         chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
         clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect \
         copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
         epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
         exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir \
         fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr \
         flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 \
         fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv \
         futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid \
         geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp \
         getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 \
         getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid \
         gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init \
         inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents \
         io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule \
         landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat \
         listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr \
         lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore \
         mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr \
         mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
         mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock \
         munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 \
         pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll \
         ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 \
         pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv \
         recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat \
         rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction \
         rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
         rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam \
         sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval \
         sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
         sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop \
         semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 \
         setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority \
         setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 \
         setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid \
         setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd \
         signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 \
         statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time \
         timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
         timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
         timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat \
         uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid \
         write writev",
    ),
    allow("process_vm_readv process_vm_writev ptrace").since("4.8"),
    allow("socket").arg(0, 38, "SCMP_CMP_LT"),
    allow("socket").arg(0, 39, "SCMP_CMP_EQ"),
    allow("socket").arg(0, 40, "SCMP_CMP_GT"),
    allow("personality").arg(0, 0, "SCMP_CMP_EQ"),
    allow("personality").arg(0, 8, "SCMP_CMP_EQ"),
    allow("personality").arg(0, 0x0002_0000, "SCMP_CMP_EQ"),
    allow("personality").arg(0, 0x0002_0008, "SCMP_CMP_EQ"),
    allow("personality").arg(0, 0xffff_ffff, "SCMP_CMP_EQ"),
    allow("sync_file_range2 swapcontext").on(&["ppc64le"]),
    allow("arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls")
        .on(&["arm", "arm64"]),
    allow("arch_prctl").on(&["amd64", "x32"]),
    allow("modify_ldt").on(&["amd64", "x32", "x86"]),
    allow("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr").on(&["s390", "s390x"]),
    allow("riscv_flush_icache").on(&["riscv64"]),
    allow("open_by_handle_at").with(&["CAP_DAC_READ_SEARCH"]),
    allow(
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog \
         umount umount2 unshare",
    )
    .with(&["CAP_SYS_ADMIN"]),
    allow("clone")
        .arg(0, 0x7e02_0000, "SCMP_CMP_MASKED_EQ")
        .without(&["CAP_SYS_ADMIN"])
        .not_on(&["s390", "s390x"]),
    // S390 parameter ordering for clone is different.
    allow("clone")
        .arg(1, 0x7e02_0000, "SCMP_CMP_MASKED_EQ")
        .on(&["s390", "s390x"])
        .without(&["CAP_SYS_ADMIN"]),
    fail("clone3", 38).without(&["CAP_SYS_ADMIN"]),
    allow("reboot").with(&["CAP_SYS_BOOT"]),
    allow("chroot").with(&["CAP_SYS_CHROOT"]),
    allow("delete_module init_module finit_module").with(&["CAP_SYS_MODULE"]),
    allow("acct").with(&["CAP_SYS_PACCT"]),
    allow("kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace")
        .with(&["CAP_SYS_PTRACE"]),
    allow("iopl ioperm").with(&["CAP_SYS_RAWIO"]),
    allow("settimeofday stime clock_settime clock_settime64").with(&["CAP_SYS_TIME"]),
    allow("vhangup").with(&["CAP_SYS_TTY_CONFIG"]),
    allow("get_mempolicy mbind set_mempolicy set_mempolicy_home_node").with(&["CAP_SYS_NICE"]),
    allow("syslog").with(&["CAP_SYSLOG"]),
    allow("bpf").with(&["CAP_BPF"]),
    allow("perf_event_open").with(&["CAP_PERFMON"]),
];

impl Profile {
    /// Docker's default profile: [`DOCKER_DEFAULT`](crate::DOCKER_DEFAULT), read.
    #[must_use]
    pub fn docker_default() -> Self {
        let (action, errno) = DEFAULT;
        Self {
            default_action: action.to_owned(),
            default_errno_ret: Some(errno),
            architectures: Vec::new(),
            arch_map: ARCHES.iter().map(mapping).collect(),
            flags: Vec::new(),
            listener_path: String::new(),
            listener_metadata: String::new(),
            syscalls: ROWS.iter().map(rule).collect(),
        }
    }
}

fn mapping((own, others): &(&str, &[&str])) -> ArchMapping {
    ArchMapping { architecture: (*own).to_owned(), sub_architectures: owned(others) }
}

fn rule(row: &Row) -> Rule {
    let arg = |(index, value, op): (u32, u64, &str)| SyscallArg {
        index,
        value,
        value_two: None,
        op: op.to_owned(),
    };
    Rule {
        names: row.names.split(' ').map(str::to_owned).collect(),
        name: String::new(),
        action: row.action.to_owned(),
        errno_ret: row.errno_ret,
        args: row.arg.into_iter().map(arg).collect(),
        includes: filter(&row.includes),
        excludes: filter(&row.excludes),
    }
}

fn filter(when: &When) -> Filter {
    Filter {
        caps: owned(when.caps),
        arches: owned(when.arches),
        min_kernel: when.min_kernel.map(str::to_owned),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
