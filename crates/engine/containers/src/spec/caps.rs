//! Capabilities.

use caps::{CapSet, Capability};

use crate::Error;

/// What a container has unless it is told otherwise: Docker's fourteen.
const DEFAULT: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// What is added to or taken from the default.
enum Change {
    All,
    These(CapSet),
}

/// The capabilities of a container's processes: the default with changes, or `all` of them for a
/// privileged one. `all` is what the kernel and this process have: nobody is given more.
pub(crate) fn tweak(
    privileged: bool,
    add: &[String],
    drop: &[String],
    all: CapSet,
) -> Result<CapSet, Error> {
    let add = parse("CapAdd", add)?;
    let drop = parse("CapDrop", drop)?;
    let has_all = |set: &CapSet| CapSet(set.0 & all.0);
    if privileged {
        return Ok(all);
    }
    Ok(match (add, drop) {
        (Change::These(add), Change::All) => has_all(&add),
        (Change::All, Change::All) => all,
        (Change::All, Change::These(drop)) => CapSet(all.0 & !drop.0),
        (Change::These(add), Change::These(drop)) => {
            let set: CapSet = DEFAULT.into_iter().collect();
            has_all(&CapSet((set.0 & !drop.0) | add.0))
        }
    })
}

/// Holds that every name is a capability's, and that those to add are to be had, in Docker's words.
pub(crate) fn check(add: &[String], drop: &[String], available: CapSet) -> Result<(), Error> {
    let wanted = parse("CapAdd", add)?;
    parse("CapDrop", drop)?;
    if let Change::These(wanted) = wanted
        && let Some(missing) = wanted.iter().find(|cap| !available.contains(*cap))
    {
        return Err(Error::Invalid(format!(
            "invalid CapAdd: capability not supported by your kernel or not available in the current \
             environment: \"{missing}\""
        )));
    }
    Ok(())
}

fn parse(field: &str, names: &[String]) -> Result<Change, Error> {
    let mut set = CapSet::EMPTY;
    let mut every = false;
    for name in names {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            every = true;
            continue;
        }
        let full = format!("CAP_{bare}");
        let cap = full.parse::<Capability>().map_err(|_| {
            Error::Invalid(format!("invalid {field}: unknown capability: \"{full}\""))
        })?;
        set.insert(cap);
    }
    Ok(if every { Change::All } else { Change::These(set) })
}

/// The names, in the order of the kernel's numbers.
pub(crate) fn names(set: CapSet) -> Vec<String> {
    set.iter().map(|cap| cap.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// All that Linux 6 has.
    const ALL: CapSet = CapSet((1 << 41) - 1);

    #[track_caller]
    fn check(privileged: bool, add: &[&str], drop: &[&str], want: &Expect) {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let got = match tweak(privileged, &words(add), &words(drop), ALL) {
            Ok(set) if set.iter().count() > 20 => format!("{} of them", set.iter().count()),
            Ok(set) => names(set).join(" ").replace("CAP_", ""),
            Err(err) => err.to_string(),
        };
        want.assert_eq(&got);
    }

    #[test]
    fn what_is_not_there_cannot_be_added() {
        let add = ["SYS_TIME".to_owned()];
        super::check(&add, &[], ALL).unwrap();
        super::check(&["ALL".to_owned()], &[], CapSet::EMPTY).unwrap();
        let without = CapSet(ALL.0 & !Capability::SysTime.bit());
        assert_eq!(
            super::check(&add, &[], without).unwrap_err().to_string(),
            "invalid CapAdd: capability not supported by your kernel or not available in the current \
             environment: \"CAP_SYS_TIME\""
        );
    }

    #[test]
    fn the_default_and_changes_to_it() {
        let default = expect![
            "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP"
        ];
        check(false, &[], &[], &default);
        check(false, &["net_admin"], &["ALL"], &expect!["NET_ADMIN"]);
        check(false, &["CAP_SYS_TIME"], &["all", "chown"], &expect!["SYS_TIME"]);
        check(false, &["ALL"], &["SYS_ADMIN"], &expect!["40 of them"]);
        check(false, &["ALL"], &[], &expect!["41 of them"]);
        check(true, &[], &["ALL"], &expect!["41 of them"]);
        check(false, &[], &["ALL"], &expect![""]);
        check(
            false,
            &["nope"],
            &[],
            &expect![[r#"invalid CapAdd: unknown capability: "CAP_NOPE""#]],
        );
    }
}
