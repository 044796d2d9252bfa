//! `VENDOR/CLASS` and `VENDOR/CLASS=DEVICE`.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The longest vendor: a DNS name, bytes.
const MAX_VENDOR: usize = 253;
/// The longest class, bytes.
const MAX_CLASS: usize = 63;
/// The longest name of a device, bytes. The specification has no limit; a command line has.
const MAX_DEVICE: usize = 4096;

/// Whose device, and of what kind: `vendor.com/gpu`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// `vendor.com`.
    pub vendor: String,
    /// `gpu`.
    pub class: String,
}

/// One device of all: `vendor.com/gpu=0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// `vendor.com/gpu`.
    pub kind: Kind,
    /// `0`.
    pub device: String,
}

impl Name {
    /// Whether `text` is meant for one: what `--device` takes for CDI, and not for a path.
    pub fn is_one(text: &str) -> bool {
        text.parse::<Self>().is_ok()
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::Invalid { field: "kind".into(), why, value: text.into() };
        let (vendor, class) = text.split_once('/').ok_or_else(|| bad("not VENDOR/CLASS"))?;
        let letter = |part: &str| part.starts_with(|first: char| first.is_ascii_alphabetic());
        if !words(vendor, "-_.") || !letter(vendor) || vendor.len() > MAX_VENDOR {
            return Err(bad("the vendor is not a DNS name"));
        }
        if vendor.contains("..") {
            return Err(bad("the vendor has an empty label"));
        }
        if !words(class, "-_.") || !letter(class) || class.len() > MAX_CLASS {
            return Err(bad(
                "the class is not up to 63 letters, digits, '-', '_' and '.', a letter first",
            ));
        }
        Ok(Self { vendor: vendor.into(), class: class.into() })
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::Invalid { field: "device".into(), why, value: text.into() };
        let (kind, device) = text.split_once('=').ok_or_else(|| bad("not VENDOR/CLASS=DEVICE"))?;
        if !is_device(device) {
            return Err(bad("not the name of a device"));
        }
        Ok(Self { kind: kind.parse()?, device: device.into() })
    }
}

/// Letters, digits, `_`, `-`, `.` and `:`, with a letter or digit at both ends.
pub(crate) fn is_device(text: &str) -> bool {
    words(text, "-_.:") && text.len() <= MAX_DEVICE
}

fn words(text: &str, between: &str) -> bool {
    let solid = |at: Option<char>| at.is_some_and(|c| c.is_ascii_alphanumeric());
    solid(text.chars().next())
        && solid(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || between.contains(c))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vendor, self.class)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}
