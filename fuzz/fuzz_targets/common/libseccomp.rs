//! libseccomp, as the oracle: profiles compiled by it. Linked by the fuzz target alone.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::os::raw::{c_char, c_int, c_uint, c_void};

use seccomp::Insn;

/// `struct scmp_arg_cmp` of seccomp.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cmp {
    pub arg: c_uint,
    pub op: c_int,
    pub a: u64,
    pub b: u64,
}

#[link(name = "seccomp")]
unsafe extern "C" {
    fn seccomp_api_set(level: c_uint) -> c_int;
    fn seccomp_init(action: u32) -> *mut c_void;
    fn seccomp_release(ctx: *mut c_void);
    fn seccomp_arch_add(ctx: *mut c_void, arch: u32) -> c_int;
    fn seccomp_arch_remove(ctx: *mut c_void, arch: u32) -> c_int;
    fn seccomp_attr_set(ctx: *mut c_void, attr: c_int, value: u32) -> c_int;
    fn seccomp_rule_add_array(
        ctx: *mut c_void,
        action: u32,
        syscall: c_int,
        count: c_uint,
        args: *const Cmp,
    ) -> c_int;
    fn seccomp_syscall_resolve_name_arch(arch: u32, name: *const c_char) -> c_int;
    fn seccomp_syscall_resolve_name(name: *const c_char) -> c_int;
    fn seccomp_export_bpf(ctx: *mut c_void, fd: c_int) -> c_int;
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
}

/// `SCMP_FLTATR_ACT_BADARCH`.
const BAD_ARCH: c_int = 2;
/// `SCMP_FLTATR_CTL_OPTIMIZE`.
const OPTIMIZE: c_int = 8;
/// `__NR_SCMP_ERROR`.
const ERROR: c_int = -1;

/// A filter that is being made.
pub struct Filter(*mut c_void);

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: made by seccomp_init, released once.
        unsafe { seccomp_release(self.0) }
    }
}

impl Filter {
    /// One that does `default` unless told otherwise, `bad_arch` for architectures that it does not
    /// have, and has those in `arches` only. With `tree`, libseccomp's own binary tree.
    pub fn new(default: u32, bad_arch: u32, arches: &[u32], tree: bool) -> Option<Self> {
        // SAFETY: plain numbers; the context is owned by `filter`.
        unsafe {
            // What the running kernel can do is no matter: nothing is loaded.
            seccomp_api_set(6);
            let filter = Self(seccomp_init(default));
            if filter.0.is_null() {
                return None;
            }
            seccomp_attr_set(filter.0, BAD_ARCH, bad_arch);
            seccomp_attr_set(filter.0, OPTIMIZE, if tree { 2 } else { 1 });
            const NATIVE: u32 = 0;
            seccomp_arch_remove(filter.0, NATIVE);
            arches.iter().all(|arch| seccomp_arch_add(filter.0, *arch) == 0).then_some(filter)
        }
    }

    /// Adds a rule. The answer is 0 or a negative errno.
    pub fn rule(&self, action: u32, syscall: c_int, args: &[Cmp]) -> c_int {
        // SAFETY: the array is as long as is said.
        unsafe {
            seccomp_rule_add_array(self.0, action, syscall, args.len() as c_uint, args.as_ptr())
        }
    }

    /// The program.
    pub fn program(&self) -> Option<Vec<Insn>> {
        use std::os::fd::FromRawFd;
        // SAFETY: a literal name; the descriptor that comes back is nobody else's.
        let mut file = unsafe {
            let fd = memfd_create(c"filter".as_ptr(), 0);
            if fd < 0 {
                return None;
            }
            File::from_raw_fd(fd)
        };
        // SAFETY: the context and the descriptor are both valid.
        if unsafe { seccomp_export_bpf(self.0, file.as_raw_fd()) } != 0 {
            return None;
        }
        let mut bytes = Vec::new();
        file.rewind().ok()?;
        file.read_to_end(&mut bytes).ok()?;
        let insn = |raw: &[u8]| Insn {
            code: u16::from_le_bytes([raw[0], raw[1]]),
            jt: raw[2],
            jf: raw[3],
            k: u32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]),
        };
        Some(bytes.chunks_exact(8).map(insn).collect())
    }
}

/// The number of a call on an architecture: negative where it is not a call of its own, `None` where
/// libseccomp does not know the name.
pub fn number(arch: u32, name: &str) -> Option<c_int> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that ends with NUL.
    let number = unsafe { seccomp_syscall_resolve_name_arch(arch, name.as_ptr()) };
    (number != ERROR).then_some(number)
}

/// The number to add rules with, which libseccomp translates for each architecture.
pub fn any_number(name: &str) -> Option<c_int> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that ends with NUL.
    let number = unsafe { seccomp_syscall_resolve_name(name.as_ptr()) };
    (number != ERROR).then_some(number)
}
