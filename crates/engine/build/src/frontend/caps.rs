//! What a client demands that a front end can do: `frontend.caps=NAME,NAME+forward`. With `+forward` it does not have to
//! be the front end that is asked; it may be the one that the Dockerfile names.

use std::collections::{BTreeMap, BTreeSet};

use crate::Error;

/// The option that says it.
const OPTION: &str = "frontend.caps";
/// That it can be given results as its context.
pub(crate) const TAKES_INPUTS: &str = "moby.buildkit.frontend.inputs";
/// What the front end that is built in can do.
const BUILT_IN: [&str; 4] = [
    TAKES_INPUTS,
    "moby.buildkit.frontend.subrequests",
    "moby.buildkit.frontend.contexts",
    "moby.buildkit.frontend.gitquerystring",
];

/// The names in a list of them.
pub(crate) fn names(text: &str) -> BTreeSet<String> {
    entries(text).map(|(name, _)| name.to_owned()).collect()
}

/// All that is demanded, whoever has it.
pub(crate) fn demanded(options: &BTreeMap<String, String>) -> BTreeSet<String> {
    options.get(OPTION).map(|text| names(text)).unwrap_or_default()
}

/// Whether the front end that is built in can do what is demanded; with `may_pass_on`, what another one may have does not
/// count.
///
/// # Errors
///
/// It cannot: the first that it lacks is named.
pub(super) fn check(options: &BTreeMap<String, String>, may_pass_on: bool) -> Result<(), Error> {
    let text = options.get(OPTION).map_or("", String::as_str);
    let is_missing = |&(name, how): &(&str, &str)| {
        let passes = may_pass_on && how.contains("forward");
        !BUILT_IN.contains(&name) && !passes
    };
    match entries(text).find(is_missing) {
        Some((name, _)) => {
            Err(Error::NoCap { front_end: "dockerfile.v0".into(), cap: name.to_owned() })
        }
        None => Ok(()),
    }
}

/// Each name, and what is said of it.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let all = text.split(',').map(|entry| entry.split_once('+').unwrap_or((entry, "")));
    all.filter(|(name, _)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_built_in_one_lacks_is_named() {
        let lacks = |text: &str, may_pass_on| {
            let options = [(OPTION.to_owned(), text.to_owned())].into();
            match check(&options, may_pass_on) {
                Err(Error::NoCap { cap, .. }) => Some(cap),
                Err(error) => panic!("{error}"),
                Ok(()) => None,
            }
        };
        let known = "moby.buildkit.frontend.inputs,moby.buildkit.frontend.contexts+forward,";
        assert_eq!((lacks(known, true), lacks(known, false), lacks("", false)), (None, None, None));
        assert_eq!(check(&BTreeMap::new(), false).map_err(|error| error.to_string()), Ok(()));
        assert_eq!(lacks(&format!("{known}a"), true).as_deref(), Some("a"));
        // Another front end may have it; where there is none, nobody does.
        assert_eq!(lacks("a+forward", true), None);
        assert_eq!(lacks("a+forward", false).as_deref(), Some("a"));
    }

    #[test]
    fn all_that_is_demanded_is_known_by_name() {
        let options = [(OPTION.to_owned(), "b+forward,,a".to_owned())].into();
        assert_eq!(demanded(&options).into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(demanded(&BTreeMap::new()).is_empty());
    }
}
