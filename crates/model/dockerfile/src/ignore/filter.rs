//! What of a directory tree is wanted: patterns of what is, and of what is not after all.

use super::{BadPattern, Dir, Patterns};

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    include: Option<Patterns>,
    exclude: Patterns,
}

/// What a filter says of something that a walk comes by.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// It is wanted itself. A directory that is not may have to be made all the same, for what is in
    /// it.
    pub wanted: bool,
    /// It is a directory, and something in it may be wanted.
    pub enter: Option<FilterDir<'a>>,
}

/// A directory on a walk.
#[derive(Clone, Debug)]
pub struct FilterDir<'a> {
    include: Option<Dir<'a>>,
    exclude: Dir<'a>,
}

impl Filter {
    /// Patterns of what is wanted (none: all), and of what is not.
    pub fn new<T: AsRef<str>>(include: &[T], exclude: &[T]) -> Result<Self, BadPattern> {
        let wanted = Patterns::new(include)?;
        let include = (!wanted.is_empty()).then_some(wanted);
        Ok(Self { include, exclude: Patterns::new(exclude)? })
    }

    /// The beginning of a walk.
    pub fn root(&self) -> FilterDir<'_> {
        FilterDir {
            include: self.include.as_ref().map(Patterns::root),
            exclude: self.exclude.root(),
        }
    }

    /// What it says of a path by itself.
    pub fn wants(&self, path: &str) -> bool {
        self.include.as_ref().is_none_or(|patterns| patterns.matches(path))
            && !self.exclude.matches(path)
    }
}

impl<'a> FilterDir<'a> {
    /// What the filter says of what has this name.
    pub fn child(&self, name: &[u8], is_dir: bool) -> Found<'a> {
        let (included, include) = match &self.include {
            Some(dir) => {
                let (matched, dir) = dir.child(name, is_dir);
                (matched, dir.map(Some))
            }
            None => (true, is_dir.then_some(None)),
        };
        let (excluded, exclude) = self.exclude.child(name, is_dir);
        let enter = match (include, exclude) {
            (Some(include), Some(exclude)) => {
                let some_included =
                    included || include.as_ref().is_some_and(|dir| dir.may_differ(false));
                let all_excluded = excluded && !exclude.may_differ(true);
                (some_included && !all_excluded).then_some(FilterDir { include, exclude })
            }
            _ => None,
        };
        Found { wanted: included && !excluded, enter }
    }
}
