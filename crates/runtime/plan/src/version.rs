//! The version of the specification that a configuration follows.

use crate::Error;

/// Accepts every version with the major number 1, and the drafts that led to it. A version has the
/// form of Semantic Versioning 2.0.0.
pub(crate) fn check(version: &str) -> Result<(), Error> {
    let invalid = |why: &str| Err(Error::invalid("ociVersion", version.escape_debug(), why));
    match major(version) {
        Some(0 | 1) => Ok(()),
        Some(_) => invalid("is newer than what this runtime knows (1.3)"),
        None => invalid("is not a version"),
    }
}

/// The first number of `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]`.
fn major(version: &str) -> Option<u32> {
    let (version, build) = split(version, '+');
    let (core, prerelease) = split(version, '-');
    let words = |text: Option<&str>| {
        text.is_none_or(|text| {
            text.split('.').all(|word| {
                !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            })
        })
    };
    let number = |text: &str| {
        let plain = text == "0" || !text.starts_with('0');
        (plain && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let numbers: Vec<u32> = core.split('.').map(number).collect::<Option<_>>()?;
    match numbers.as_slice() {
        [major, _, _] if words(prerelease) && words(build) => Some(*major),
        _ => None,
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn versions_are_semantic() {
        for good in
            ["1.0.0", "1.3.0", "1.0.2-dev", "1.0.0-rc5", "0.6.0", "1.99.0+build.5", "1.2.1-a.b-c+d"]
        {
            check(good).unwrap();
        }
        for bad in [
            "",
            "1",
            "1.0",
            "v1.0.0",
            "1.0.0.0",
            "01.0.0",
            "1.0.x",
            "1.0.0-",
            "1.0.0-a..b",
            "1.0.0 ",
            "1.-1.0",
            "1.0.0\0",
        ] {
            assert!(check(bad).unwrap_err().to_string().contains("is not a version"), "{bad:?}");
        }
        assert!(check("2.0.0").unwrap_err().to_string().contains("newer"));
    }
}
