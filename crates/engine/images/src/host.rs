//! What this machine runs.

use std::sync::OnceLock;

use oci::image::Platform;

/// This machine as a platform, with the level of its processor.
pub fn platform() -> &'static Platform {
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    PLATFORM.get_or_init(|| {
        let native = Platform::native();
        Platform { variant: variant().or(native.variant.clone()), ..native }
    })
}

/// The level of an x86-64 processor, as its ABI defines them.
#[cfg(target_arch = "x86_64")]
fn variant() -> Option<String> {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("cmpxchg16b")
        && has!("popcnt")
        && has!("sse3")
        && has!("ssse3")
        && has!("sse4.1")
        && has!("sse4.2");
    let v3 = v2
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 = v3
        && has!("avx512f")
        && has!("avx512bw")
        && has!("avx512cd")
        && has!("avx512dq")
        && has!("avx512vl");
    let level = [(v4, "v4"), (v3, "v3"), (v2, "v2")].into_iter().find(|(has, _)| *has);
    level.map(|(_, level)| level.to_owned())
}

/// What `/proc/cpuinfo` calls the architecture of an ARM processor.
#[cfg(target_arch = "arm")]
fn variant() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("CPU architecture"))?;
    let number: u8 = line.split_once(':')?.1.trim().parse().ok()?;
    (5..=8).contains(&number).then(|| format!("v{number}"))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
fn variant() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_runs_its_own_images() {
        let own = platform();
        assert_eq!(own.distance(own), Some(0));
        assert!(own.distance(&Platform::native()).is_some());
    }
}
