//! Processors by number: `process.execCPUAffinity`, and lists such as `0-3,7`.

use oci::runtime::CpuAffinity;

use crate::Error;

/// The processors of an executed process, a bit for each. `None` leaves them as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Before it is in the container's cgroup.
    pub initial: Option<Vec<u64>>,
    /// Once it is there.
    pub last: Option<Vec<u64>>,
}

/// How many processors a set has room for, as in the C library.
const MAX_CPUS: u32 = 1024;

pub(crate) fn affinity(spec: &CpuAffinity) -> Result<Affinity, Error> {
    let set = |name: &str, list: &str| {
        let field = format!("process.execCPUAffinity.{name}");
        match bits(&field, list, MAX_CPUS)? {
            bits if bits.is_empty() && !list.is_empty() => {
                Err(Error::invalid(field, list.escape_debug(), "names no processor"))
            }
            bits => Ok(Some(bits).filter(|bits| !bits.is_empty())),
        }
    };
    Ok(Affinity { initial: set("initial", &spec.initial)?, last: set("final", &spec.final_set)? })
}

/// A list such as `0-3,7` as bits; no number is `limit` or more.
pub(crate) fn bits(field: &str, list: &str, limit: u32) -> Result<Vec<u64>, Error> {
    let invalid = |why: &str| Error::invalid(field, list.escape_debug(), why);
    let mut bits = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| text.parse::<u32>().ok()).flatten();
            number.ok_or_else(|| invalid("is not a list of numbers and ranges"))
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= limit {
            return Err(invalid("has a range that no machine has"));
        }
        for one in first..=last {
            let word = one as usize / 64;
            if bits.len() <= word {
                bits.resize(word + 1, 0);
            }
            bits[word] |= 1 << (one % 64);
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bits() {
        assert_eq!(bits("f", "0-3,7", 99).unwrap(), [0x8f]);
        assert_eq!(bits("f", "64", 99).unwrap(), [0, 1]);
        assert!(bits("f", "", 99).unwrap().is_empty());
        for bad in ["x", "1-", "-1", "3-1", "99", "+1", "1--2", "0x1"] {
            assert!(bits("f", bad, 99).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_sets_may_be_absent() {
        let of = |initial: &str, last: &str| {
            affinity(&CpuAffinity { initial: initial.into(), final_set: last.into() })
        };
        assert_eq!(of("", "").unwrap(), Affinity::default());
        assert_eq!(of("1", "").unwrap().initial, Some(vec![2]));
        assert_eq!(
            of("", "0-x").unwrap_err().to_string(),
            "process.execCPUAffinity.final: `0-x` is not a list of numbers and ranges"
        );
        assert_eq!(
            of(",", "").unwrap_err().to_string(),
            "process.execCPUAffinity.initial: `,` names no processor"
        );
    }
}
