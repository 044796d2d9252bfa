//! Programs that decide which devices a cgroup (v2) may use: bpf(2), `BPF_PROG_TYPE_CGROUP_DEVICE`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{Error, FdName, check};

/// One instruction of extended BPF: `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BpfInsn {
    /// What to do.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high ones.
    pub regs: u8,
    /// A signed offset.
    pub off: i16,
    /// A signed constant.
    pub imm: i32,
}

const _: () = assert!(size_of::<BpfInsn>() == 8, "struct bpf_insn");

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const BPF_F_REPLACE: u32 = 4;

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what follows as zeros.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

/// The same for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// The same for `BPF_PROG_QUERY`, to its end: Linux 6.17 to 7.1 write `revision` whatever size they
/// are told, so that a shorter one would have its neighbours in memory overwritten.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    reserved: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

const _: () = assert!(std::mem::offset_of!(QueryAttr, revision) == 56, "union bpf_attr, query");

/// bpf(2) with an attribute of one of the types above.
fn bpf<A>(
    command: libc::c_int,
    attr: &mut A,
    text: impl FnOnce() -> String,
) -> Result<libc::c_long, Error> {
    // SAFETY: `attr` is a live repr(C) value without padding, of the size that is passed, laid out
    // as `command` expects; the pointers in it are to memory that the caller keeps alive.
    let ret =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    check(ret, text)
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: callers pass the result of a command that makes a new descriptor, ours alone.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// How often a load that a signal interrupts is tried again.
const LOAD_RETRIES: usize = 30;

/// Loads a device program. `EPERM` without `CAP_BPF`, and before Linux 5.11 also where
/// `RLIMIT_MEMLOCK` is too small for it. When the verifier refuses it, what it says is in the error's text.
pub fn bpf_load_cgroup_device(insns: &[BpfInsn]) -> Result<OwnedFd, Error> {
    let text = || format!("bpf(PROG_LOAD, CGROUP_DEVICE, {} instructions)", insns.len());
    let count = u32::try_from(insns.len()).map_err(|_| Error::new(text(), Errno::TOOBIG))?;
    // The program says nothing that needs a helper for GPL programs only.
    let mut attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: count,
        insns: insns.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttr::default()
    };
    let mut tries = 0;
    let first = loop {
        match bpf(BPF_PROG_LOAD, &mut attr, text) {
            Ok(fd) => return Ok(owned(fd)),
            // A signal came while the verifier was at it.
            Err(err) if err.errno() == Errno::AGAIN && tries < LOAD_RETRIES => tries += 1,
            Err(err) => break err,
        }
    };
    // Again, with a log: asking for it at once would cost every start.
    let mut log = vec![0_u8; 16 * 1024];
    attr.log_level = 1;
    attr.log_size = log.len() as u32;
    attr.log_buf = log.as_mut_ptr() as u64;
    if let Ok(fd) = bpf(BPF_PROG_LOAD, &mut attr, text) {
        return Ok(owned(fd));
    }
    let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
    let said = String::from_utf8_lossy(&log[..end]);
    let last = said.lines().rfind(|line| !line.is_empty()).unwrap_or("no log");
    Err(Error::new(format!("{} ({last})", text()), first.errno()))
}

/// Attaches `prog` to `cgroup`, beside those that are there or in place of `replace`, which is
/// `EINVAL` before Linux 5.6.
pub fn bpf_attach_cgroup_device(
    cgroup: BorrowedFd<'_>,
    prog: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(prog),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI | if replace.is_some() { BPF_F_REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, number),
    };
    let text = || format!("bpf(PROG_ATTACH, {}, CGROUP_DEVICE)", FdName(cgroup));
    bpf(BPF_PROG_ATTACH, &mut attr, text).map(drop)
}

/// Detaches `prog` from `cgroup`.
pub fn bpf_detach_cgroup_device(cgroup: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> Result<(), Error> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(prog),
        attach_type: BPF_CGROUP_DEVICE,
        ..AttachAttr::default()
    };
    let text = || format!("bpf(PROG_DETACH, {}, CGROUP_DEVICE)", FdName(cgroup));
    bpf(BPF_PROG_DETACH, &mut attr, text).map(drop)
}

/// The ids of the device programs attached to `cgroup` itself, at most 64.
pub fn bpf_query_cgroup_device(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>, Error> {
    let mut ids = vec![0_u32; 64];
    let mut attr = QueryAttr {
        target_fd: number(cgroup),
        attach_type: BPF_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        ..QueryAttr::default()
    };
    bpf(BPF_PROG_QUERY, &mut attr, || {
        format!("bpf(PROG_QUERY, {}, CGROUP_DEVICE)", FdName(cgroup))
    })?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

/// A descriptor of the program with this id. `ENOENT` when it is gone.
pub fn bpf_prog_by_id(id: u32) -> Result<OwnedFd, Error> {
    let mut attr = [id, 0, 0];
    bpf(BPF_PROG_GET_FD_BY_ID, &mut attr, || format!("bpf(PROG_GET_FD_BY_ID, {id})")).map(owned)
}
