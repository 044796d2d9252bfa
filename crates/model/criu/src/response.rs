//! What criu answers.

use crate::wire::fields;
use crate::{Error, Kind};

/// criu's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 4 of 4.2.1.
    pub major: u32,
    /// 2 of 4.2.1.
    pub minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What can be done here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The kernel tells which memory has changed: for a pre-dump.
    pub track_memory: bool,
    /// Memory can be sent when it is asked for.
    pub lazy_pages: bool,
}

/// An answer: `criu_resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// To what. `None`: to something that we never ask.
    pub kind: Option<Kind>,
    /// Whether it was done.
    pub success: bool,
    /// The restored process, by its id where criu runs.
    pub restored: Option<i32>,
    /// How far criu is: the name of what it calls a script.
    pub stage: String,
    /// The process that this is about.
    pub pid: i32,
    /// Why it was not done.
    pub errno: i32,
    /// The same in words, if criu says it.
    pub message: String,
    /// The version.
    pub version: Option<Version>,
    /// The features.
    pub features: Option<Features>,
}

impl Response {
    /// Reads a message.
    pub fn decode(message: &[u8]) -> Result<Self, Error> {
        let mut response = Self::default();
        fields(message, |field, value| {
            match field {
                1 => response.kind = Kind::of(value.number()?),
                2 => response.success = value.number()? != 0,
                4 => fields(value.bytes()?, |field, value| {
                    if field == 1 {
                        response.restored = Some(value.signed()?);
                    }
                    Ok(())
                })?,
                5 => fields(value.bytes()?, |field, value| {
                    match field {
                        1 => response.stage = text(value.bytes()?),
                        2 => response.pid = value.signed()?,
                        _ => {}
                    }
                    Ok(())
                })?,
                7 => response.errno = value.signed()?,
                8 => response.features = Some(features(value.bytes()?)?),
                9 => response.message = text(value.bytes()?),
                10 => response.version = Some(version(value.bytes()?)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(response)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn features(message: &[u8]) -> Result<Features, Error> {
    let mut features = Features::default();
    fields(message, |field, value| {
        match field {
            1 => features.track_memory = value.number()? != 0,
            2 => features.lazy_pages = value.number()? != 0,
            _ => {}
        }
        Ok(())
    })?;
    Ok(features)
}

fn version(message: &[u8]) -> Result<Version, Error> {
    let mut version = Version::default();
    fields(message, |field, value| {
        let number = |value: crate::wire::Value<'_>| {
            u32::try_from(value.number()?).map_err(|_| Error("a version is too large"))
        };
        match field {
            1 => version.major = number(value)?,
            2 => version.minor = number(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_an_answer_or_an_error(bytes: Vec<u8>) {
            let _any = Response::decode(&bytes);
        }
    }

    #[test]
    fn answers_are_read() {
        let notify = [0x08, 6, 0x10, 1, 0x2a, 7, 0x0a, 2, b'h', b'i', 0x10, 0xac, 0x02];
        let response = Response::decode(&notify).unwrap();
        assert_eq!((response.kind, response.success), (Some(Kind::Notify), true));
        assert_eq!((response.stage.as_str(), response.pid), ("hi", 300));
        let restored = [0x08, 2, 0x10, 1, 0x22, 2, 0x08, 7];
        assert_eq!(Response::decode(&restored).unwrap().restored, Some(7));
        let failed = [0x08, 1, 0x10, 0, 0x38, 3, 0x4a, 2, b'n', b'o'];
        let response = Response::decode(&failed).unwrap();
        assert_eq!((response.errno, response.message.as_str()), (3, "no"));
        assert!(!response.success);
        let version = [0x08, 10, 0x10, 1, 0x52, 6, 0x08, 4, 0x10, 2, 0x20, 1];
        let version = Response::decode(&version).unwrap().version.unwrap();
        assert_eq!(version, Version { major: 4, minor: 2 });
        assert!(version > Version { major: 3, minor: 19 });
        let features = [0x08, 9, 0x10, 1, 0x42, 4, 0x08, 1, 0x10, 0];
        let features = Response::decode(&features).unwrap().features.unwrap();
        assert_eq!(features, Features { track_memory: true, lazy_pages: false });
        assert!(Response::decode(&[0x0a, 1]).is_err());
    }
}
