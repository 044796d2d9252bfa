//! Landlock, see landlock(7): a process gives up rights that none of its children gets back.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bitflags::bitflags;

use crate::error::{Error, check};

bitflags! {
    /// `LANDLOCK_ACCESS_FS_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AccessFs: u64 {
        /// Execute a file.
        const EXECUTE = 1 << 0;
        /// Open a file to write.
        const WRITE_FILE = 1 << 1;
        /// Open a file to read.
        const READ_FILE = 1 << 2;
        /// List a directory.
        const READ_DIR = 1 << 3;
        /// Remove an empty directory.
        const REMOVE_DIR = 1 << 4;
        /// Remove a file.
        const REMOVE_FILE = 1 << 5;
        /// Make a character device.
        const MAKE_CHAR = 1 << 6;
        /// Make a directory.
        const MAKE_DIR = 1 << 7;
        /// Make a regular file.
        const MAKE_REG = 1 << 8;
        /// Make a socket.
        const MAKE_SOCK = 1 << 9;
        /// Make a named pipe.
        const MAKE_FIFO = 1 << 10;
        /// Make a block device.
        const MAKE_BLOCK = 1 << 11;
        /// Make a symbolic link.
        const MAKE_SYM = 1 << 12;
        /// Link or rename to another directory (ABI 2, Linux 5.19).
        const REFER = 1 << 13;
        /// Truncate (ABI 3, Linux 6.2).
        const TRUNCATE = 1 << 14;
        /// `ioctl` of devices (ABI 5, Linux 6.10).
        const IOCTL_DEV = 1 << 15;
    }

    /// `LANDLOCK_ACCESS_NET_*` (ABI 4, Linux 6.7).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AccessNet: u64 {
        /// Bind a TCP socket to a port.
        const BIND_TCP = 1 << 0;
        /// Connect a TCP socket to a port.
        const CONNECT_TCP = 1 << 1;
    }
}

impl AccessFs {
    /// Those that a rule for something that is no directory may have.
    pub const OF_FILES: Self = Self::EXECUTE
        .union(Self::WRITE_FILE)
        .union(Self::READ_FILE)
        .union(Self::TRUNCATE)
        .union(Self::IOCTL_DEV);

    /// Those that a kernel of this ABI knows.
    pub fn of_abi(abi: u32) -> Self {
        let later = [(2, Self::REFER), (3, Self::TRUNCATE), (5, Self::IOCTL_DEV)];
        let unknown = later.into_iter().filter(|(since, _)| abi < *since).map(|(_, access)| access);
        Self::all().difference(unknown.collect())
    }
}

/// `struct landlock_ruleset_attr`; older kernels take it while what they do not know is zero.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// `struct landlock_net_port_attr`.
#[repr(C)]
struct NetPortAttr {
    allowed_access: u64,
    port: u64,
}

const _: () = assert!(size_of::<RulesetAttr>() == 24 && size_of::<PathBeneathAttr>() == 12);
const _: () = assert!(size_of::<NetPortAttr>() == 16);

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: i32 = 1;
const RULE_NET_PORT: i32 = 2;

/// The version of Landlock that this kernel has, 1 or more. `ENOSYS` where it has none, `EOPNOTSUPP`
/// where it is off.
pub fn landlock_abi() -> Result<u32, Error> {
    // SAFETY: with this flag the kernel takes no attributes, and only answers a number.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttr>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    let ret = check(ret, || "landlock_create_ruleset(NULL, 0, VERSION)".to_owned())?;
    Ok(u32::try_from(ret).unwrap_or(1))
}

/// Rights that are being given up, and exceptions.
#[derive(Debug)]
pub struct Ruleset(OwnedFd);

impl Ruleset {
    /// Gives up all of `fs` and `net`, once it is enforced, but for what is then allowed.
    pub fn new(fs: AccessFs, net: AccessNet) -> Result<Self, Error> {
        let text = || format!("landlock_create_ruleset({fs:?}, {net:?})");
        let attr =
            RulesetAttr { handled_access_fs: fs.bits(), handled_access_net: net.bits(), scoped: 0 };
        // SAFETY: `attr` is a live repr(C) value of the size that is given; the kernel copies it.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const attr,
                size_of::<RulesetAttr>(),
                0_u32,
            )
        };
        let fd = check(ret, text)?;
        // SAFETY: a result that is not negative is a new descriptor, ours alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Allows `access` to what `fd` (`O_PATH`) is, and to all beneath.
    pub fn allow_beneath(&self, fd: BorrowedFd<'_>, access: AccessFs) -> Result<(), Error> {
        let text = || format!("landlock_add_rule(PATH_BENEATH, {access:?})");
        let attr = PathBeneathAttr { allowed_access: access.bits(), parent_fd: fd.as_raw_fd() };
        self.add(RULE_PATH_BENEATH, (&raw const attr).cast(), text)
    }

    /// Allows `access` to a port of TCP.
    pub fn allow_port(&self, port: u16, access: AccessNet) -> Result<(), Error> {
        let text = || format!("landlock_add_rule(NET_PORT, {port}, {access:?})");
        let attr = NetPortAttr { allowed_access: access.bits(), port: port.into() };
        self.add(RULE_NET_PORT, (&raw const attr).cast(), text)
    }

    fn add(
        &self,
        kind: i32,
        attr: *const libc::c_void,
        text: impl Fn() -> String,
    ) -> Result<(), Error> {
        // SAFETY: `attr` points to the live value of the structure that `kind` calls for, on the
        // caller's stack; the kernel copies it.
        let ret = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, self.0.as_raw_fd(), kind, attr, 0_u32)
        };
        check(ret, text).map(drop)
    }

    /// Enforces it on this thread and all that it starts, for good. Needs `CAP_SYS_ADMIN` in the
    /// user namespace or [`crate::set_no_new_privs`].
    pub fn restrict_self(self) -> Result<(), Error> {
        // SAFETY: two numbers; the kernel only takes rights from this thread.
        let ret =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0_u32) };
        check(ret, || "landlock_restrict_self".to_owned()).map(drop)
    }
}
