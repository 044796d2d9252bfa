//! Which platform an image is for, and whether it runs on another one.
//!
//! The rules are containerd's, which Docker follows: a machine runs what was built for older
//! machines of its kind, and what is nearest to it comes first.

use std::fmt;
use std::str::FromStr;

use super::{Descriptor, Platform, media_type};

/// Operating systems in Go's names.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
];
/// Architectures in Go's names.
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
    "ppc64le", "riscv64", "s390x", "sparc64", "wasm",
];

/// A text that names no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: invalid argument")]
pub struct ParseError(String);

/// `OS[(VERSION)][/ARCHITECTURE[/VARIANT]]`, or an architecture alone. What is left out is this
/// program's own; names are brought into Go's form (`x86_64`, `aarch64`, `armhf`).
impl FromStr for Platform {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |why| ParseError(format!("\"{text}\": {why}"));
        let bad = |part: &str| {
            let part = format!("\"{part}\" is an invalid component of \"{text}\"");
            ParseError(format!("{part}: platform specifier component must match \"{WORD}\""))
        };
        let bad_os = |part: &str| {
            let part = format!("\"{part}\" is an invalid OS component of \"{text}\"");
            ParseError(format!("{part}: OSAndVersion specifier component must match \"{SYSTEM}\""))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            !part.is_empty() && part.bytes().all(is_letter)
        };
        let (os, version) = match parts[0].split_once('(') {
            Some((os, rest)) => {
                let version = rest.strip_suffix(')').filter(|version| !version.is_empty());
                (os, Some(version.ok_or_else(|| bad_os(parts[0]))?))
            }
            None => (parts[0], None),
        };
        if !is_word(&os) || os.contains('.') {
            return Err(bad_os(parts[0]));
        }
        if let Some(part) = parts[1..].iter().find(|part| !is_word(part)) {
            return Err(bad(part));
        }
        let native = Self::native();
        let plain = Self { os_version: version.map(str::to_owned), ..Self::default() };
        let os = system(os);
        let platform = match parts[1..] {
            [] if SYSTEMS.contains(&os.as_str()) => {
                let (architecture, variant) = (native.architecture, native.variant);
                Self { architecture, os, variant, ..plain }
            }
            [] => {
                let (architecture, variant) = architecture(&os, "");
                if version.is_some() || !ARCHITECTURES.contains(&architecture.as_str()) {
                    return Err(refuse("unknown operating system or architecture"));
                }
                Self { architecture, os: native.os, variant, ..plain }
            }
            [name] => {
                let (architecture, variant) = architecture(name, "");
                Self { architecture, os, variant, ..plain }
            }
            [name, variant] => {
                let (architecture, variant) = architecture(name, variant);
                Self { architecture, os, variant, ..plain }
            }
            _ => return Err(refuse("cannot parse platform specifier")),
        };
        Ok(platform)
    }
}

/// What a part of a platform's name is, as people know it of containerd.
const WORD: &str = "^[A-Za-z0-9_.-]+$";
/// The same of the first.
const SYSTEM: &str = r"^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.-]*)\\))?$";

/// `OS[(VERSION)]/ARCHITECTURE[/VARIANT]`; `unknown` where nothing is known.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() {
            return f.write_str("unknown");
        }
        f.write_str(&self.os)?;
        if let Some(version) = self.os_version.as_deref().filter(|text| !text.is_empty()) {
            write!(f, "({version})")?;
        }
        for part in [Some(self.architecture.as_str()), self.variant.as_deref()] {
            if let Some(part) = part.filter(|part| !part.is_empty()) {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

impl Platform {
    /// The same in Go's names, with no more than is needed to tell it from others.
    pub fn normalized(&self) -> Self {
        let variant = self.variant.as_deref().unwrap_or_default();
        let (architecture, variant) = architecture(&self.architecture, variant);
        let os_version = self.os_version.clone().filter(|text| !text.is_empty());
        let os_features = self.os_features.clone();
        Self { architecture, os: system(&self.os), os_version, os_features, variant }
    }

    /// Whether nobody says what it is: so BuildKit marks attestations.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }

    /// How far `found` is from this machine, 0 being the very thing; `None` where it does not run
    /// here.
    pub fn distance(&self, found: &Self) -> Option<usize> {
        let (own, found) = (self.normalized(), found.normalized());
        let fits = own.os == found.os
            && !found.is_unknown()
            && found.os_features.iter().all(|feature| own.os_features.contains(feature))
            && fits_version(own.os_version.as_deref(), found.os_version.as_deref());
        if !fits {
            return None;
        }
        if own.architecture == found.architecture && own.variant == found.variant {
            // Also one that nobody here knows: `riscv64/rva22u64`, `mips64le/hardfloat`.
            return Some(0);
        }
        let runs = runs(&own.architecture, own.variant.as_deref());
        let wanted = (found.architecture.as_str(), found.variant.as_deref());
        let wanted = (wanted.0, level(wanted.0, wanted.1)?);
        runs.iter().position(|one| (one.0, one.1) == wanted)
    }

    /// Whether `found` is this very platform, and not only one that runs on it.
    pub fn is(&self, found: &Self) -> bool {
        let (own, found) = (self.normalized(), found.normalized());
        let levels = (
            level(&own.architecture, own.variant.as_deref()),
            level(&found.architecture, found.variant.as_deref()),
        );
        own.os == found.os
            && own.architecture == found.architecture
            && (own.variant == found.variant || levels.0.is_some() && levels.0 == levels.1)
            && fits_version(own.os_version.as_deref(), found.os_version.as_deref())
    }
}

/// Whether system and architecture are names that Go knows.
pub fn is_known(platform: &Platform) -> bool {
    SYSTEMS.contains(&platform.os.as_str())
        && ARCHITECTURES.contains(&platform.architecture.as_str())
}

/// The entries of an index that run on `wanted`, the best first. Entries that name no platform come
/// last: what they are shows when they are read.
pub fn choose<'a>(manifests: &'a [Descriptor], wanted: &Platform) -> Vec<&'a Descriptor> {
    let is_known = |one: &&Descriptor| {
        media_type::is_manifest(&one.media_type) || media_type::is_index(&one.media_type)
    };
    let rank = |one: &'a Descriptor| match &one.platform {
        Some(platform) => wanted.distance(platform).map(|distance| (distance, one)),
        None => Some((usize::MAX, one)),
    };
    let mut fitting: Vec<_> = manifests.iter().filter(is_known).filter_map(rank).collect();
    // Stable: of two alike the first counts.
    fitting.sort_by_key(|(rank, _)| *rank);
    fitting.into_iter().map(|(_, one)| one).collect()
}

fn system(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "macos" => "darwin".into(),
        "" => Platform::native().os,
        other => other.into(),
    }
}

/// An architecture in Go's name, and its variant where it is not the one that is meant without.
fn architecture(name: &str, variant: &str) -> (String, Option<String>) {
    let (name, variant) = (name.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (name, variant) = match (name.as_str(), variant.as_str()) {
        ("i386" | "i486" | "i586" | "i686", _) => ("386", String::new()),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", String::new()),
        ("x86_64" | "x86-64" | "amd64", _) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", String::new()),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9".into()),
        ("aarch64" | "arm64", _) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7".into()),
        ("armel", _) => ("arm", "v6".into()),
        ("arm", "5" | "6" | "8") => ("arm", format!("v{variant}")),
        (other, _) => (other, variant),
    };
    (name.into(), Some(variant).filter(|text| !text.is_empty()))
}

/// A variant as a number, 10 for each whole one: `v8.2` is 82. What has none is of the kind that
/// all machines have.
fn level(architecture: &str, variant: Option<&str>) -> Option<usize> {
    let usual = match architecture {
        "arm64" => "v8",
        "arm" => "v7",
        _ => "v1",
    };
    let text = variant.unwrap_or(usual);
    let text = text.strip_prefix('v').unwrap_or(text);
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let (major, minor) = (major.parse::<usize>().ok()?, minor.parse::<usize>().ok()?);
    (major < 100 && minor < 10).then_some(major * 10 + minor)
}

/// What a machine runs, its own first, then what was built for older ones of its kind.
fn runs(architecture: &str, variant: Option<&str>) -> Vec<(&'static str, usize)> {
    let Some(name) = ARCHITECTURES.iter().find(|name| **name == architecture) else {
        return Vec::new();
    };
    let Some(top) = level(architecture, variant) else { return Vec::new() };
    let down = |name: &'static str, top: usize, lowest: usize| {
        (lowest..=top).rev().map(move |level| (name, level))
    };
    match *name {
        "amd64" => down("amd64", top, 10).chain([("386", 10)]).collect(),
        "arm" => down("arm", top, 50).collect(),
        // What ARMv9.N has, ARMv8.(N+5) has too.
        "arm64" if top >= 90 => down("arm64", top, 90)
            .chain(down("arm64", (top - 90 + 85).min(89), 80))
            .chain(down("arm", 80, 50))
            .collect(),
        "arm64" => down("arm64", top, 80).chain(down("arm", 80, 50)).collect(),
        name => vec![(name, top)],
    }
}

/// Windows runs what was built for the same build of it (`10.0.17763`, whatever follows). Where one
/// side names no version, any will do.
fn fits_version(own: Option<&str>, found: Option<&str>) -> bool {
    let build = |text: &str| text.split('.').take(3).map(str::to_owned).collect::<Vec<_>>();
    match (own, found) {
        (Some(own), Some(found)) => own == found || build(own) == build(found),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_people_write() {
        let own = Platform::native().architecture;
        for (text, want) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AArch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("armel", "linux/arm/v6"),
            ("s390x", "linux/s390x"),
            ("macos/arm64", "darwin/arm64"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
            ("linux", &format!("linux/{own}")),
        ] {
            assert_eq!(platform(text).to_string(), want, "{text}");
        }
        for bad in ["", "/", "linux/", "linux/a/b/c", "linux/a b", "vax", "windows()/amd64", "a(b"]
        {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
        let error = "vax".parse::<Platform>().unwrap_err().to_string();
        assert_eq!(error, "\"vax\": unknown operating system or architecture: invalid argument");
        assert_eq!(Platform::default().to_string(), "unknown");
    }

    fn chosen(index: &[&str], wanted: &str) -> Vec<usize> {
        let manifests: Vec<_> = index
            .iter()
            .enumerate()
            .map(|(size, text)| {
                let digest = Digest::sha256(text.as_bytes());
                let mut one = Descriptor::new(media_type::MANIFEST, digest, size as u64);
                one.platform = Some(*text).filter(|text| !text.is_empty()).map(platform);
                one
            })
            .collect();
        let chosen = choose(&manifests, &platform(wanted));
        chosen.into_iter().map(|one| one.size as usize).collect()
    }

    #[test]
    fn the_nearest_variant_comes_first() {
        let debian = ["linux/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8", "linux/386"];
        assert_eq!(chosen(&debian, "linux/amd64"), [0, 4]);
        assert_eq!(chosen(&debian, "linux/386"), [4]);
        assert_eq!(chosen(&debian, "linux/arm64"), [3, 2, 1]);
        assert_eq!(chosen(&debian, "linux/arm64/v8"), [3, 2, 1]);
        assert_eq!(chosen(&debian, "linux/arm/v7"), [2, 1]);
        assert_eq!(chosen(&debian, "linux/arm"), [2, 1]);
        assert_eq!(chosen(&debian, "linux/arm/v6"), [1]);
        assert_eq!(chosen(&debian, "linux/s390x"), [] as [usize; 0]);
        let levels = ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "unknown/unknown"];
        assert_eq!(chosen(&levels, "linux/amd64"), [2]);
        assert_eq!(chosen(&levels, "linux/amd64/v3"), [0, 1, 2]);
        assert_eq!(chosen(&levels, "linux/amd64/v4"), [0, 1, 2]);
        let arm = ["linux/arm64", "linux/arm64/v8.2", "linux/arm64/v9", "linux/arm/v7"];
        assert_eq!(chosen(&arm, "linux/arm64/v8.1"), [0, 3]);
        assert_eq!(chosen(&arm, "linux/arm64/v9"), [2, 1, 0, 3]);
    }

    /// As in containerd, the very same is found whatever it is.
    #[test]
    fn what_nobody_knows_is_found_by_its_name() {
        let odd = ["linux/amd64", "linux/test/1", "linux/test/2", "other/some", "linux/test"];
        for (at, wanted) in odd.iter().enumerate() {
            assert_eq!(chosen(&odd, wanted), [at], "{wanted}");
        }
        let index = ["linux/riscv64", "linux/riscv64/rva22u64", "linux/ppc64le/power9"];
        assert_eq!(chosen(&index, "linux/riscv64/rva22u64"), [1]);
        assert_eq!(chosen(&index, "linux/riscv64"), [0]);
        assert_eq!(chosen(&index, "linux/ppc64le"), [] as [usize; 0]);
        // But not what is no image at all.
        assert_eq!(chosen(&["unknown/unknown"], "unknown/unknown"), [] as [usize; 0]);
    }

    #[test]
    fn what_names_no_platform_comes_last() {
        assert_eq!(chosen(&["", "linux/amd64", "linux/amd64"], "linux/amd64"), [1, 2, 0]);
        assert_eq!(chosen(&["windows/amd64"], "linux/amd64"), [] as [usize; 0]);
    }

    #[test]
    fn versions_and_features_of_a_system() {
        let server = platform("windows(10.0.17763.1)/amd64");
        for (found, want) in [
            ("windows(10.0.17763.99)/amd64", Some(0)),
            ("windows(10.0.20348.1)/amd64", None),
            ("windows/amd64", Some(0)),
            ("linux/amd64", None),
        ] {
            assert_eq!(server.distance(&platform(found)), want, "{found}");
        }
        let mut needs = server.clone();
        needs.os_features = vec!["win32k".into()];
        assert_eq!(server.distance(&needs), None);
        assert_eq!(needs.distance(&server), Some(0));
    }

    #[test]
    fn the_very_same() {
        for (own, found, want) in [
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/amd64", "linux/386", false),
            ("linux/amd64/v2", "linux/amd64", false),
            ("linux/amd64", "linux/amd64/v1", true),
            ("linux/riscv64/rva22u64", "Linux/RISCV64/rva22u64", true),
            ("linux/riscv64/rva22u64", "linux/riscv64", false),
            ("linux/test/1", "linux/test/2", false),
        ] {
            assert_eq!(platform(own).is(&platform(found)), want, "{own} {found}");
        }
    }

    /// The order of containerd's lists, where a machine has several levels.
    #[test]
    fn levels_go_down_to_the_first() {
        let amd64 = runs("amd64", Some("v3"));
        assert_eq!((amd64.first(), amd64.last()), (Some(&("amd64", 30)), Some(&("386", 10))));
        assert!(runs("vax", None).is_empty() && runs("amd64", Some("new")).is_empty());
    }
}
