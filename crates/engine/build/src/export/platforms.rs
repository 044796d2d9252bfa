//! Of which platforms a result is, as its front end says.

use oci::image::Platform;
use serde::Deserialize;

use super::Solved;
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
    let said: Option<Platforms> = if bytes.is_empty() {
        None
    } else {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::Invalid(format!("failed to parse platforms passed to exporter: {error}"))
        })?
    };
    let all = said.and_then(|said| said.platforms).unwrap_or_default();
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
}
