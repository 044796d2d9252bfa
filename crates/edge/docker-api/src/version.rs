//! API versions: `1.NN`, of which a client may ask for any that we know.

use std::cmp::Ordering;

use crate::error::Error;

/// A version that a client asked for and that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32);

impl Version {
    /// The newest: for requests that name none.
    pub(crate) const NEWEST: Self = Self(55);
    const OLDEST: Self = Self(24);

    /// Takes `/v1.NN` off a path: the version that is asked for, if any, and the rest.
    pub(crate) fn strip(path: &str) -> (Option<&str>, &str) {
        let found = path
            .strip_prefix("/v")
            .and_then(|rest| rest.find('/').map(|slash| rest.split_at(slash)))
            .filter(|(version, _)| {
                version.starts_with(|c: char| c.is_ascii_digit())
                    && version.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            });
        found.map_or((None, path), |(version, rest)| (Some(version), rest))
    }

    /// The version that is asked for, if it is answered.
    pub(crate) fn of(asked: Option<&str>) -> Result<Self, Error> {
        let Some(version) = asked else { return Ok(Self::NEWEST) };
        match compare(version, docker::API_VERSION) {
            Ordering::Greater => Err(Error::invalid(format!(
                "client version {version} is too new. Maximum supported API version is {}",
                docker::API_VERSION
            ))),
            _ if compare(version, docker::MIN_API_VERSION) == Ordering::Less => {
                Err(Error::too_old(format!(
                    "client version {version} is too old. Minimum supported API version is {}, \
                     please upgrade your client to a newer version",
                    docker::MIN_API_VERSION
                )))
            }
            _ => Ok(Self(minor(version))),
        }
    }
}

fn minor(version: &str) -> u32 {
    let minor = version.split('.').nth(1).and_then(|part| part.parse().ok()).unwrap_or(0);
    minor.clamp(Version::OLDEST.0, Version::NEWEST.0)
}

/// Compares part by part as numbers; a part that is missing counts as 0.
fn compare(left: &str, right: &str) -> Ordering {
    let parts = |text: &str| -> Vec<u64> {
        text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    let (mut left, mut right) = (parts(left), parts(right));
    let length = left.len().max(right.len());
    left.resize(length, 0);
    right.resize(length, 0);
    left.cmp(&right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, want: &str) {
        let (asked, rest) = Version::strip(path);
        let got = match Version::of(asked) {
            Ok(version) => format!("{} {rest}", version.0),
            Err(err) => err.message,
        };
        assert_eq!(got, want, "{path}");
    }

    #[test]
    fn versions_are_taken_off() {
        check("/v1.41/containers/json", "41 /containers/json");
        check("/containers/json", "55 /containers/json");
        check("/version", "55 /version");
        check("/volumes/v1.0", "55 /volumes/v1.0");
        check(
            "/v1.99/info",
            "client version 1.99 is too new. Maximum supported API version is 1.55",
        );
        check("/v2/info", "client version 2 is too new. Maximum supported API version is 1.55");
        check(
            "/v1.12/info",
            "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade \
             your client to a newer version",
        );
    }

    #[test]
    fn the_newest_is_the_models() {
        assert_eq!(docker::API_VERSION, format!("1.{}", Version::NEWEST.0));
        assert_eq!(docker::MIN_API_VERSION, format!("1.{}", Version::OLDEST.0));
    }
}
