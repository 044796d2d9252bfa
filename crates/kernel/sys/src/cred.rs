//! Users, groups and capabilities of the calling thread.
//!
//! These are the raw calls: the C library's would change all threads, and a runtime has one.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Call, Error};

/// Three of a thread's capability sets, bit N for capability number N: capabilities(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSets {
    /// What permission checks look at.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What a file with inheritable capabilities may keep on exec.
    pub inheritable: u64,
}

/// Sets the supplementary groups, see setgroups(2).
pub fn setgroups(groups: &[Gid]) -> Result<(), Error> {
    rustix::thread::set_thread_groups(groups).call(|| format!("setgroups({groups:?})"))
}

/// Sets real, effective and saved user id, see setresuid(2).
pub fn setresuid(uid: Uid) -> Result<(), Error> {
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .call(|| format!("setresuid({})", uid.as_raw()))
}

/// Sets real, effective and saved group id, see setresgid(2).
pub fn setresgid(gid: Gid) -> Result<(), Error> {
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .call(|| format!("setresgid({})", gid.as_raw()))
}

/// Does `work` as another effective user and group with all capabilities of now: what file systems keep
/// of who mounts them, and whose files are that are made meanwhile.
pub fn as_effective<T>(uid: Uid, gid: Gid, work: impl FnOnce() -> T) -> Result<T, Error> {
    use rustix::thread::{CapabilitiesSecureBits, set_capabilities_secure_bits};
    let (own_uid, own_gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let bits = |bits: CapabilitiesSecureBits| {
        set_capabilities_secure_bits(bits).call(|| format!("prctl(PR_SET_SECUREBITS, {bits:?})"))
    };
    let before = rustix::thread::capabilities_secure_bits().call(|| "prctl(PR_GET_SECUREBITS)")?;
    let become_one = |uid: Uid, gid: Gid| {
        rustix::thread::set_thread_res_gid(own_gid, gid, own_gid)
            .call(|| format!("setresgid({})", gid.as_raw()))?;
        rustix::thread::set_thread_res_uid(own_uid, uid, own_uid)
            .call(|| format!("setresuid({})", uid.as_raw()))
    };
    bits(before | CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    let done = become_one(uid, gid).map(|()| work());
    become_one(own_uid, own_gid)?;
    bits(before)?;
    done
}

/// The calling thread's sets, see capget(2).
pub fn capget() -> Result<CapSets, Error> {
    let sets = rustix::thread::capabilities(None).call(|| "capget()")?;
    Ok(CapSets {
        effective: sets.effective.bits(),
        permitted: sets.permitted.bits(),
        inheritable: sets.inheritable.bits(),
    })
}

/// Sets the calling thread's sets, see capset(2).
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Error> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(inheritable),
    };
    rustix::thread::set_capabilities(None, sets)
        .call(|| format!("capset({effective:#x}, {permitted:#x}, {inheritable:#x})"))
}

/// The capability number `cap` as the single bit that rustix takes.
fn single(cap: u8, text: impl FnOnce() -> String) -> Result<CapabilitySet, Error> {
    let bit = 1_u64.checked_shl(cap.into()).ok_or_else(|| Error::new(text(), Errno::INVAL))?;
    Ok(CapabilitySet::from_bits_retain(bit))
}

/// Adds capability number `cap` to the ambient set: `PR_CAP_AMBIENT_RAISE`. It must be in the
/// permitted and the inheritable set.
pub fn set_ambient_cap(cap: u8) -> Result<(), Error> {
    let text = || format!("prctl(PR_CAP_AMBIENT, RAISE, {cap})");
    rustix::thread::configure_capability_in_ambient_set(single(cap, text)?, true).call(text)
}

/// Empties the ambient set: `PR_CAP_AMBIENT_CLEAR_ALL`.
pub fn clear_ambient_caps() -> Result<(), Error> {
    rustix::thread::clear_ambient_capability_set().call(|| "prctl(PR_CAP_AMBIENT, CLEAR_ALL)")
}

/// Takes capability number `cap` out of the bounding set: `PR_CAPBSET_DROP`. Needs `CAP_SETPCAP`.
pub fn drop_bounding(cap: u8) -> Result<(), Error> {
    let text = || format!("prctl(PR_CAPBSET_DROP, {cap})");
    rustix::thread::remove_capability_from_bounding_set(single(cap, text)?).call(text)
}

/// Whether the permitted set survives the change from user 0 to another: `PR_SET_KEEPCAPS`.
pub fn set_keep_caps(on: bool) -> Result<(), Error> {
    rustix::thread::set_keep_capabilities(on)
        .call(|| format!("prctl(PR_SET_KEEPCAPS, {})", i32::from(on)))
}

/// From here on no exec gains privileges: `PR_SET_NO_NEW_PRIVS`. Cannot be undone.
pub fn set_no_new_privs() -> Result<(), Error> {
    rustix::thread::set_no_new_privs(true).call(|| "prctl(PR_SET_NO_NEW_PRIVS, 1)")
}
