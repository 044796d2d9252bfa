//! Which of an index's images runs here.

use oci::image::{Descriptor, Platform, media_type};

/// `OS/ARCHITECTURE[/VARIANT]`.
pub(crate) fn shown(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if let Some(variant) = &platform.variant {
        text.push('/');
        text.push_str(variant);
    }
    text
}

/// The entries of an index that fit `wanted`, the best first. Entries that name no platform come
/// last: what they are shows when they are read.
pub(crate) fn choose<'a>(manifests: &'a [Descriptor], wanted: &Platform) -> Vec<&'a Descriptor> {
    let mut fitting: Vec<(usize, &Descriptor)> = manifests
        .iter()
        .filter(|one| {
            media_type::is_manifest(&one.media_type) || media_type::is_index(&one.media_type)
        })
        .filter_map(|one| match &one.platform {
            Some(platform) => rank(platform, wanted).map(|rank| (rank, one)),
            None => Some((usize::MAX, one)),
        })
        .collect();
    // Stable: of two alike the first counts.
    fitting.sort_by_key(|(rank, _)| *rank);
    fitting.into_iter().map(|(_, one)| one).collect()
}

/// How far `found` is from what is wanted, 0 being the very thing; `None` where it does not run.
fn rank(found: &Platform, wanted: &Platform) -> Option<usize> {
    if found.os != wanted.os || found.architecture != wanted.architecture {
        return None;
    }
    let variant = |platform: &Platform| {
        let named = platform.variant.as_deref().unwrap_or_default().trim_start_matches('v');
        // What has no variant is of the one that all have.
        let usual = match platform.architecture.as_str() {
            "arm64" => "8",
            "arm" => "7",
            _ => "1",
        };
        let named = if named.is_empty() { usual } else { named };
        let (major, minor) = named.split_once('.').unwrap_or((named, "0"));
        Some((major.parse::<usize>().ok()?, minor.parse::<usize>().ok()?))
    };
    let (found_variant, wanted_variant) = (variant(found)?, variant(wanted)?);
    // A machine runs what was built for older ones of its kind.
    if found_variant > wanted_variant {
        return None;
    }
    let distance =
        (wanted_variant.0 - found_variant.0) * 100 + wanted_variant.1.abs_diff(found_variant.1);
    // Of two that are the same thing, the one that says so.
    Some(distance * 2 + usize::from(found.variant != wanted.variant))
}

#[cfg(test)]
mod tests {
    use oci::Digest;

    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
            ..Platform::default()
        }
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
        assert_eq!(chosen(&debian, "linux/amd64"), [0]);
        assert_eq!(chosen(&debian, "linux/arm64"), [3]);
        assert_eq!(chosen(&debian, "linux/arm64/v8"), [3]);
        assert_eq!(chosen(&debian, "linux/arm/v7"), [2, 1]);
        assert_eq!(chosen(&debian, "linux/arm"), [2, 1]);
        assert_eq!(chosen(&debian, "linux/arm/v6"), [1]);
        assert_eq!(chosen(&debian, "linux/s390x"), [] as [usize; 0]);
        let levels = ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "unknown/unknown"];
        assert_eq!(chosen(&levels, "linux/amd64"), [2]);
        assert_eq!(chosen(&levels, "linux/amd64/v3"), [0, 1, 2]);
    }

    #[test]
    fn what_names_no_platform_comes_last() {
        assert_eq!(chosen(&["", "linux/amd64", "linux/amd64"], "linux/amd64"), [1, 2, 0]);
        assert_eq!(chosen(&["windows/amd64"], "linux/amd64"), [] as [usize; 0]);
    }
}
