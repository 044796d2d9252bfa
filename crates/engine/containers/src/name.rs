//! Names and ids of containers.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::Error;
use crate::error::At as _;

/// What names are made of when nobody gives one.
const QUALITIES: [&str; 32] = [
    "able", "agile", "ample", "bold", "brisk", "calm", "clear", "deft", "eager", "fair", "fleet",
    "fond", "gentle", "glad", "hale", "keen", "kind", "light", "lively", "merry", "neat", "noble",
    "plain", "proud", "quick", "quiet", "ready", "sound", "spry", "steady", "swift", "warm",
];
/// Ships and what belongs to them.
const THINGS: [&str; 32] = [
    "anchor", "bark", "boom", "bow", "brig", "buoy", "cable", "clipper", "cutter", "deck", "dory",
    "galley", "gig", "hatch", "hull", "jib", "keel", "ketch", "lugger", "mast", "oar", "pilot",
    "prow", "rudder", "sail", "schooner", "skiff", "sloop", "spar", "tender", "tiller", "yawl",
];

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Err(Errno::INTR) => {}
            got => filled += got.at("getrandom", std::path::Path::new("/dev/urandom"))?,
        }
    }
    Ok(bytes)
}

/// `2 * N` random hexadecimal digits.
pub(crate) fn hex<const N: usize>() -> Result<String, Error> {
    Ok(random::<N>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A new id. Its first twelve digits are not all decimal: they become a host name, and a host
/// name that is a number is taken for an address.
pub fn new_id() -> Result<String, Error> {
    loop {
        let id = hex::<32>()?;
        if id[..12].bytes().any(|byte| !byte.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// A name for a container that was given none. `attempt` is how many were taken so far.
pub(crate) fn generate(attempt: u32) -> Result<String, Error> {
    let [a, b, c] = random::<3>()?;
    let (quality, thing) = (QUALITIES[usize::from(a % 32)], THINGS[usize::from(b % 32)]);
    Ok(match attempt {
        0..=3 => format!("{quality}_{thing}"),
        _ => format!("{quality}_{thing}{c}{attempt}"),
    })
}

/// Whether a name is one that [`generate`] makes: nobody chose it.
pub(crate) fn is_generated(name: &str) -> bool {
    name.split_once('_').is_some_and(|(quality, thing)| {
        let thing = thing.trim_end_matches(|digit: char| digit.is_ascii_digit());
        QUALITIES.contains(&quality) && THINGS.contains(&thing)
    })
}

/// Holds that a name can be a container's; without its slash.
pub(crate) fn check(name: &str) -> Result<&str, Error> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let good = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && (2..=255).contains(&bare.len());
    if good {
        return Ok(bare);
    }
    Err(Error::Invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_known_again() {
        for attempt in [0, 3, 4, 40] {
            let name = generate(attempt).unwrap();
            assert!(is_generated(&name), "{name}");
        }
        for name in ["web", "calm_web", "db_keel", "calm-keel", "calm_keel_1", "calm_keel2b", ""] {
            assert!(!is_generated(name), "{name}");
        }
    }

    #[test]
    fn names() {
        for good in ["web", "/web", "a1", "A_b.c-d"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "-ab", "a/b", "a b", "../ab", "a\0", "äb", &"x".repeat(256)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&generate(0).unwrap()).is_ok());
        assert!(check(&generate(9).unwrap()).is_ok());
    }

    #[test]
    fn ids_do_not_look_like_numbers() {
        let id = new_id().unwrap();
        assert_eq!(id.len(), 64);
        assert!(id[..12].bytes().any(|byte| byte.is_ascii_alphabetic()));
        assert_ne!(id, new_id().unwrap());
    }
}
