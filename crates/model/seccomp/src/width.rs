//! Which arguments the kernel takes as 32 bits.

/// Calls with a bit for each argument that is an `int` or `unsigned int` to the kernel, which
/// ignores the upper half of the register. Calls that profiles restrict by argument; others are
/// compared in full.
const NARROW: &[(&str, u8)] = &[
    ("accept4", 0b1001),
    ("bpf", 0b0001),
    ("clone", 0b0001), // the kernel takes the lower 32 bits of the flags
    ("fcntl", 0b0011),
    ("fcntl64", 0b0011),
    ("futex", 0b0110),
    ("getsockopt", 0b0111),
    ("io_uring_register", 0b1011),
    ("ioctl", 0b0011),
    ("ipc", 0b0001),
    ("keyctl", 0b0001),
    ("kill", 0b0011),
    ("madvise", 0b0100),
    ("mknod", 0b0110),
    ("mknodat", 0b1101),
    ("open", 0b0110),
    ("openat", 0b1101),
    ("perf_event_open", 0b1110),
    ("personality", 0b0001),
    ("prctl", 0b0001),
    ("quotactl", 0b0101),
    ("seccomp", 0b0011),
    ("sendmsg", 0b0101),
    ("set_mempolicy", 0b0001),
    ("setns", 0b0011),
    ("setsockopt", 0b10111),
    ("shutdown", 0b0011),
    ("socket", 0b0111),
    ("socketcall", 0b0001),
    ("socketpair", 0b0111),
    ("tgkill", 0b0111),
    ("tkill", 0b0011),
];

/// Whether argument `index` of the call `name` is 32 bits wide for the kernel.
pub(crate) fn is_narrow(name: &str, index: usize) -> bool {
    NARROW.binary_search_by_key(&name, |row| row.0).is_ok_and(|row| NARROW[row].1 >> index & 1 == 1)
}
