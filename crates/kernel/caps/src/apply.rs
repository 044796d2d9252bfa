//! Putting sets on the calling thread.

use rustix::io::Errno;
use sys::Error;

use crate::capability::CapSet;

/// The five sets of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// What exec may grant at most.
    pub bounding: CapSet,
    /// What permission checks look at.
    pub effective: CapSet,
    /// What may be made effective.
    pub permitted: CapSet,
    /// What a file with inheritable capabilities may keep.
    pub inheritable: CapSet,
    /// What an ordinary program keeps on exec. Must be in the permitted and the inheritable set.
    pub ambient: CapSet,
}

/// Drops everything that is not in `keep` from the bounding set. Needs `CAP_SETPCAP`, unless nothing
/// is left to drop, so it comes before the change of user.
pub fn apply_bounding(keep: CapSet) -> Result<(), Error> {
    for number in (0..64).filter(|number| (keep & CapSet(1 << number)).is_empty()) {
        match sys::drop_bounding(number) {
            // The kernel has none so high.
            Err(err) if err.errno() == Errno::INVAL => break,
            // Fine without the right to drop, if it is not there. Asked of the kernel, not of /proc:
            // a container may have none, or one of its own making.
            Err(err) if err.errno() == Errno::PERM => match in_bounding_set(number)? {
                Some(true) => return Err(err),
                Some(false) => {}
                None => break,
            },
            other => other?,
        }
    }
    Ok(())
}

/// Puts `sets` on the calling thread, but for the bounding set, which [`apply_bounding`] does first:
/// while `CAP_SETPCAP` is still there.
///
/// The order is the kernel's: the three sets of capset(2), then the ambient set, which takes only
/// what is permitted and inheritable.
///
/// What the thread itself does not have (virtual machines often lack `CAP_SYS_RESOURCE`) is left
/// out, as Docker does; the result is what was left out. A thread that has called `apply_bounding`
/// and changed its user with [`sys::set_keep_caps`] needs no `CAP_SETPCAP` any more.
pub fn apply(sets: &Sets) -> Result<CapSet, Error> {
    let have = CapSet(sys::capget()?.permitted);
    let wanted = sets.permitted | sets.effective | sets.inheritable | sets.ambient;
    let missing = wanted - have;
    sys::capset((sets.effective & have).0, (sets.permitted & have).0, (sets.inheritable & have).0)?;
    match sys::clear_ambient_caps() {
        // Kernels without ambient capabilities (before 4.3) have none to clear.
        Err(err) if err.errno() == Errno::INVAL && sets.ambient.is_empty() => {}
        other => other?,
    }
    for number in (sets.ambient & have).numbers() {
        sys::set_ambient_cap(number)?;
    }
    Ok(missing)
}

/// The capabilities that the kernel knows, and which of them are in the bounding set.
///
/// Asks with `PR_CAPBSET_READ`, not `/proc/sys/kernel/cap_last_cap`: inside a container that path
/// may be the image's own.
pub fn known_and_bounding() -> Result<(CapSet, CapSet), Error> {
    let (mut known, mut bounding) = (0, 0);
    for number in 0..64 {
        let Some(is_in) = in_bounding_set(number)? else { break };
        known |= 1 << number;
        bounding |= u64::from(is_in) << number;
    }
    Ok((CapSet(known), CapSet(bounding)))
}

/// Whether capability `number` is in the bounding set; `None` when the kernel has none so high.
pub(crate) fn in_bounding_set(number: u8) -> Result<Option<bool>, Error> {
    let bit = rustix::thread::CapabilitySet::from_bits_retain(1 << number);
    match rustix::thread::capability_is_in_bounding_set(bit) {
        Ok(is) => Ok(Some(is)),
        Err(Errno::INVAL) => Ok(None),
        Err(errno) => Err(Error::new(format!("prctl(PR_CAPBSET_READ, {number})"), errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capability;

    /// The sets of this thread as the kernel tells them.
    fn status(field: &str) -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    }

    fn on_a_thread(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn the_thread_has_exactly_what_was_applied() {
        if !CapSet(sys::capget().unwrap().permitted).contains(Capability::Setpcap) {
            println!("skipped: the_thread_has_exactly_what_was_applied: no CAP_SETPCAP");
            return;
        }
        on_a_thread(|| {
            let keep: CapSet = [Capability::Chown, Capability::Kill].into_iter().collect();
            let ambient: CapSet = [Capability::Kill].into_iter().collect();
            let sets = Sets {
                bounding: keep,
                effective: keep,
                permitted: keep,
                inheritable: ambient,
                ambient,
            };
            apply_bounding(sets.bounding).unwrap();
            assert_eq!(apply(&sets).unwrap(), CapSet::EMPTY);
            assert_eq!(status("CapBnd"), keep.0);
            assert_eq!(status("CapEff"), keep.0);
            assert_eq!(status("CapPrm"), keep.0);
            assert_eq!(status("CapInh"), ambient.0);
            assert_eq!(status("CapAmb"), ambient.0);
            // What is gone stays gone, and is told.
            let more: CapSet = [Capability::Chown, Capability::SysAdmin].into_iter().collect();
            let sets = Sets { bounding: keep, effective: more, permitted: more, ..Sets::default() };
            let missing = apply(&sets).unwrap();
            assert_eq!(missing.iter().collect::<Vec<_>>(), [Capability::SysAdmin]);
            assert_eq!(status("CapEff"), Capability::Chown.bit());
            assert_eq!(status("CapInh") | status("CapAmb"), 0);
        });
    }
}
