//! What steps can be run for.

use oci::image::Platform;

use crate::Builder;

/// The versions of 32-bit ARM that images are made for, the newest first. Emulators have all of them, and so
/// have 64-bit processors that have any.
const ARM: [u32; 3] = [7, 6, 5];

impl Builder {
    /// The platforms whose programs steps can run here, this machine's first, and then those that are emulated;
    /// as they are now, or were a moment ago. Starts programs for that, and waits for them: it is not for a thread
    /// on which others wait.
    pub fn platforms(&self) -> Vec<Platform> {
        // Where it cannot be found out there is what there is without: who has a step run is told all the same.
        let architectures = self.emulation.architectures().unwrap_or_default();
        list(images::host_platform(), &architectures)
    }
}

/// The machine's own platforms, the plain name first, as BuildKit lists them; then those of the other
/// architectures.
fn list(own: &Platform, architectures: &[&str]) -> Vec<Platform> {
    let of = |architecture: &str, level: Option<u32>| Platform {
        architecture: architecture.to_owned(),
        os: own.os.clone(),
        variant: level.map(|level| format!("v{level}")),
        ..Platform::default()
    };
    let name = own.architecture.as_str();
    let variant = own.variant.as_deref();
    let level: Option<u32> = variant.and_then(|variant| variant.strip_prefix('v')?.parse().ok());
    let mut all: Vec<Platform> = if name == "arm" {
        older_arm(level.unwrap_or(ARM[0])).map(|one| of(name, Some(one))).collect()
    } else {
        vec![of(name, None)]
    };
    if name == "amd64" {
        all.extend((2..=level.unwrap_or(1)).map(|level| of(name, Some(level))));
    }
    for architecture in architectures.iter().filter(|one| **one != name) {
        match *architecture {
            "arm" => all.extend(older_arm(ARM[0]).map(|one| of("arm", Some(one)))),
            other => all.push(of(other, None)),
        }
    }
    all
}

/// A version of 32-bit ARM, and those before it.
fn older_arm(newest: u32) -> impl Iterator<Item = u32> {
    ARM.into_iter().filter(move |one| *one <= newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(own: &str, architectures: &[&str]) -> String {
        let own: Platform = own.parse().unwrap();
        let all: Vec<String> = list(&own, architectures).iter().map(ToString::to_string).collect();
        all.join(" ")
    }

    #[test]
    fn the_machines_own_comes_first() {
        let emulated = ["amd64", "arm64", "386", "arm"];
        for (own, architectures, want) in [
            ("linux/amd64", &emulated[..1], "linux/amd64"),
            ("linux/amd64/v3", &emulated[..0], "linux/amd64 linux/amd64/v2 linux/amd64/v3"),
            (
                "linux/amd64/v2",
                &emulated[..],
                "linux/amd64 linux/amd64/v2 linux/arm64 linux/386 linux/arm/v7 linux/arm/v6 linux/arm/v5",
            ),
            ("linux/arm64", &emulated[..2], "linux/arm64 linux/amd64"),
            ("linux/arm/v6", &emulated[3..], "linux/arm/v6 linux/arm/v5"),
        ] {
            assert_eq!(listed(own, architectures), want, "{own}");
        }
    }
}
