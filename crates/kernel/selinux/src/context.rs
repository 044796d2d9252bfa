//! Contexts.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A context: who something is, and how secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// `system_u`
    pub user: String,
    /// `system_r`; of files `object_r`.
    pub role: String,
    /// `container_t`
    pub kind: String,
    /// `s0:c1,c2`; empty where the policy has no levels.
    pub level: String,
}

impl FromStr for Context {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let whole = (parts.next(), parts.next(), parts.next());
        let level = parts.next().unwrap_or_default();
        match whole {
            (Some(user), Some(role), Some(kind))
                if [&user, &role, &kind].into_iter().all(|part| is_name(part))
                    && level.chars().all(|c| !c.is_control() && !c.is_whitespace()) =>
            {
                Ok(Self { user, role, kind, level })
            }
            _ => Err(Error::Context(text.to_owned())),
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, role, kind, level } = self;
        write!(f, "{user}:{role}:{kind}")?;
        if level.is_empty() { Ok(()) } else { write!(f, ":{level}") }
    }
}

/// Whether a text can be the name of a user, role or type: it is nothing that a list of mount options, or
/// the kernel's files, take for something else.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// Whether a text can be a level, or a range of them: `s0:c1,c2`, `s0-s15:c0.c1023`.
pub(crate) fn is_level(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:,".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_taken_apart_and_put_together() {
        for text in [
            "system_u:system_r:container_t:s0:c1,c2",
            "system_u:object_r:container_file_t:s0",
            "u:r:t",
            "u:r:t:s0-s15:c0.c1023",
        ] {
            assert_eq!(text.parse::<Context>().unwrap().to_string(), text);
        }
        let context: Context = "a:b:c:s0:c1,c2".parse().unwrap();
        assert_eq!((context.kind.as_str(), context.level.as_str()), ("c", "s0:c1,c2"));
        for bad in ["", "a", "a:b", "a::c", "a:b:c d", "a:b:c:s0\n", "a:b:c,d", "a:b:\"c\""] {
            assert!(bad.parse::<Context>().is_err(), "{bad}");
        }
    }

    #[test]
    fn levels() {
        assert!(is_level("s0") && is_level("s0:c1,c2") && is_level("s0-s0:c0.c1023"));
        assert!(!is_level("") && !is_level("s0 ") && !is_level("s0\"") && !is_level("s0\n"));
    }
}
