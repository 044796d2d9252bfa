//! `--chown` and `--chmod`.

use buildgraph::{Identity, Owner};

use crate::problem::Problem;

/// `USER[:GROUP]`. A number without a group is its own group's too.
pub(crate) fn owner(text: &str) -> Option<Owner> {
    if text.is_empty() {
        return None;
    }
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (identity(user), identity(group)),
        None => (identity(text), None),
    };
    let group = match (&user, group) {
        (Some(Identity::Id(id)), None) => Some(Identity::Id(*id)),
        (_, group) => group,
    };
    Some(Owner { user, group })
}

fn identity(text: &str) -> Option<Identity> {
    match text {
        "" => None,
        "root" => Some(Identity::Id(0)),
        text => Some(match text.parse::<i32>().ok().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Identity::Id(id),
            None => Identity::Name(text.into()),
        }),
    }
}

/// A mode that makes sense: octal, or as `chmod(1)` has it.
pub(crate) fn check_mode(text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Ok(());
    }
    // What looks like a number is meant to be one.
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(()),
            _ => Err(Problem::Mode(text.into())),
        };
    }
    if text.split(',').all(is_clause) { Ok(()) } else { Err(Problem::SymbolicMode(text.into())) }
}

/// `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`
fn is_clause(text: &str) -> bool {
    let rest = text.trim_start_matches(['u', 'g', 'o', 'a']);
    let mut parts = rest.split(['+', '-', '=']);
    let is_permission =
        |part: &str| matches!(part, "u" | "g" | "o") || part.chars().all(|c| "rwxXst".contains(c));
    parts.next() == Some("") && !rest.is_empty() && parts.all(is_permission)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let name = |text: &str| Some(Identity::Name(text.into()));
        let of = |text| owner(text).map(|owner| (owner.user, owner.group));
        assert_eq!(of("5"), Some((Some(Identity::Id(5)), Some(Identity::Id(5)))));
        assert_eq!(of("a:7"), Some((name("a"), Some(Identity::Id(7)))));
        assert_eq!(of("root:b"), Some((Some(Identity::Id(0)), name("b"))));
        assert_eq!(of(":b"), Some((None, name("b"))));
        assert_eq!(of(""), None);
    }

    #[test]
    fn modes() {
        for good in ["", "755", "0644", "7777", "u=rwX,go=rX", "a+x", "+x", "g=u", "u+s-w"] {
            assert_eq!(check_mode(good), Ok(()), "{good}");
        }
        let error = |text| check_mode(text).unwrap_err().to_string();
        let want =
            "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777";
        assert_eq!(error("9"), want);
        assert_eq!(error("64a"), want.replace('9', "64a"));
        assert_eq!(error("u=q"), "invalid mode \"u=q\"");
        assert!(
            check_mode("17777").is_err() && check_mode("u").is_err() && check_mode("x+r").is_err()
        );
    }
}
