//! Of which platforms a result is, as its front end says.

use oci::image::Platform;
use serde::Deserialize;

use super::{CONFIG, Solved};
use crate::Error;

/// The note of a result that names its platforms.
const PLATFORMS: &str = "refs.platforms";

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Platforms {
    platforms: Option<Vec<OnePlatform>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OnePlatform {
    #[serde(rename = "ID")]
    id: String,
    platform: Platform,
}

/// Refuses a result that does not say of which platforms it is, or says something that makes no sense.
pub(super) fn check(solved: &Solved) -> Result<(), Error> {
    let wrong = |why: &str| Err(Error::Invalid(why.to_owned()));
    let is_several = !matches!(&solved.refs[..], [] | [_]);
    let Some(bytes) = solved.metadata.get(PLATFORMS) else {
        if is_several {
            return wrong("build result contains multiple refs without platforms mapping");
        }
        return Ok(());
    };
    let all = read(bytes)?;
    if all.is_empty() {
        return wrong("invalid empty platforms index for exporter");
    }
    for OnePlatform { id, platform } in all {
        if id.is_empty() {
            return wrong("invalid empty platform key for exporter");
        }
        if platform.os.is_empty() || platform.architecture.is_empty() {
            return wrong(&format!("invalid platform value {platform} for exporter"));
        }
    }
    Ok(())
}

fn read(bytes: &[u8]) -> Result<Vec<OnePlatform>, Error> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let said: Result<Option<Platforms>, _> = serde_json::from_slice(bytes);
    let said = said.map_err(|error| {
        Error::Invalid(format!("failed to parse platforms passed to exporter: {error}"))
    })?;
    Ok(said.and_then(|said| said.platforms).unwrap_or_default())
}

/// What people are told of a result that is not of the platforms that were asked for. Where none was asked for,
/// nothing is.
pub(super) fn warnings(asked: &[String], solved: &Solved) -> Result<Vec<String>, Error> {
    let said = solved.metadata.get(PLATFORMS);
    let is_nothing = said.is_none() && solved.refs.iter().all(|(_, one)| one.is_none());
    if asked.is_empty() || is_nothing {
        return Ok(Vec::new());
    }
    let (wanted, wrong) = wanted(asked);
    if !wrong.is_empty() {
        return Ok(wrong);
    }
    let made: Vec<Platform> = match said {
        Some(bytes) => read(bytes)?.iter().map(|one| one.platform.normalized()).collect(),
        None => vec![of_image(solved)],
    };
    if let ([one], [found]) = (&wanted[..], &made[..]) {
        // An image may be for a version of a system that nobody asked for.
        let any_version = Platform { os_version: None, ..found.clone() };
        let told = format!(
            "Requested platform {:?} does not match result platform {:?}",
            asked[0],
            found.to_string()
        );
        return Ok(if one == found || *one == any_version { vec![] } else { vec![told] });
    }
    let is_several = solved.refs.iter().any(|(name, _)| !name.is_empty());
    if wanted.len() > 1 && !is_several {
        return Ok(vec!["Multiple platforms requested but result is not multi-platform".into()]);
    }
    if wanted.len() == made.len() && made.iter().all(|one| wanted.contains(one)) {
        return Ok(Vec::new());
    }
    let (wanted, made) = (names(&wanted), names(&made));
    Ok(vec![format!("Requested platforms {wanted} do not match result platforms {made}")])
}

/// The platforms that were asked for, and what is wrong with them.
fn wanted(asked: &[String]) -> (Vec<Platform>, Vec<String>) {
    let (mut wanted, mut wrong) = (Vec::new(), Vec::new());
    for text in asked {
        match text.parse::<Platform>() {
            Ok(platform) => {
                let platform = platform.normalized();
                if wanted.contains(&platform) {
                    wrong.push(format!("Duplicate platform result requested {text:?}"));
                }
                wanted.push(platform);
            }
            Err(error) => {
                wrong.push(format!("Invalid platform result requested {text:?}: {error}"));
            }
        }
    }
    (wanted, wrong)
}

/// Of which platform the one image is that a result is; what says nothing is this machine's.
fn of_image(solved: &Solved) -> Platform {
    let config = solved.metadata.get(CONFIG);
    let said = config.and_then(|config| serde_json::from_slice::<Platform>(config).ok());
    let said = said.filter(|one| !one.os.is_empty() && !one.architecture.is_empty());
    said.unwrap_or_else(Platform::native).normalized()
}

fn names(platforms: &[Platform]) -> String {
    let mut names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(text: &str, want: &str) {
        let metadata = [(PLATFORMS.to_owned(), text.as_bytes().to_vec())].into();
        let solved = Solved { metadata, ..Solved::default() };
        let said = check(&solved).map_err(|error| error.to_string());
        assert_eq!(said.err().unwrap_or_default(), want, "{text}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let good = r#"{"ID":"linux/amd64","Platform":{"os":"linux","architecture":"amd64"}}"#;
        check_text(&format!(r#"{{"Platforms":[{good}]}}"#), "");
        for empty in ["", "null", "{}", r#"{"Platforms":null}"#, r#"{"Platforms":[]}"#] {
            check_text(empty, "invalid empty platforms index for exporter");
        }
        let nameless = good.replace(r#""ID":"linux/amd64""#, r#""ID":"""#);
        check_text(
            &format!(r#"{{"Platforms":[{nameless}]}}"#),
            "invalid empty platform key for exporter",
        );
        let refs = ["a", "b"].map(|name| (name.to_owned(), None)).to_vec();
        assert!(check(&Solved { refs, ..Solved::default() }).is_err());
    }

    #[test]
    fn another_platform_than_was_asked_for_is_told_of() {
        let one = Solved {
            refs: vec![(String::new(), Some("a".into()))],
            metadata: [(CONFIG.into(), br#"{"os":"linux","architecture":"arm64"}"#.into())].into(),
            ..Solved::default()
        };
        let of = |name: &str| {
            let (os, architecture) = name.split_once('/').unwrap();
            format!(
                r#"{{"ID":"{name}","Platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#
            )
        };
        let both = ["linux/amd64", "linux/arm64"];
        let said = format!(r#"{{"Platforms":[{},{}]}}"#, of(both[0]), of(both[1]));
        let several = Solved {
            refs: both.map(|name| (name.to_owned(), Some(name.to_owned()))).to_vec(),
            metadata: [(PLATFORMS.into(), said.into())].into(),
            ..Solved::default()
        };
        let told = |asked: &[&str], solved: &Solved| {
            let asked: Vec<_> = asked.iter().map(|&one| one.to_owned()).collect();
            warnings(&asked, solved).unwrap().join("; ")
        };
        for fine in [told(&["linux/arm64"], &one), told(&both, &several), told(&[], &several)] {
            assert_eq!(fine, "");
        }
        let other =
            "Requested platform \"linux/amd64\" does not match result platform \"linux/arm64\"";
        assert_eq!(told(&["linux/amd64"], &one), other);
        let single = "Multiple platforms requested but result is not multi-platform";
        assert_eq!(told(&both, &one), single);
        let more =
            "Requested platforms linux/amd64 do not match result platforms linux/amd64,linux/arm64";
        assert_eq!(told(&["linux/amd64"], &several), more);
        let twice = "Duplicate platform result requested \"linux/x86_64\"";
        assert_eq!(told(&["linux/amd64", "linux/x86_64"], &several), twice);
        assert_eq!(told(&["linux/amd64"], &Solved::default()), "");
    }
}
