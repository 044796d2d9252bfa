//! What of the build cache is to go.

use regex_lite::Regex;

use crate::{CacheRecord, Error};

/// What is to go: all that nothing uses, but for what is kept.
#[derive(Clone, Debug, Default)]
pub struct Pruning {
    /// Also what images have.
    pub all: bool,
    /// Only what was not used for so long: nanoseconds.
    pub unused_for: Option<i64>,
    /// Bytes that may stay: what is needed to come below them goes. 0: nothing stays.
    pub max_used: u64,
    /// Bytes of the disk that are to be free; 0: as many as there are.
    pub min_free: u64,
    /// Bytes of the cache that stay whatever the disk lacks.
    pub reserved: u64,
    /// Only what one of these says yes to; none: everything.
    pub filters: Vec<Filter>,
}

/// Conditions, all of which have to hold.
#[derive(Clone, Debug)]
pub struct Filter(Vec<Condition>);

/// A condition: of a record's field.
#[derive(Clone, Debug)]
struct Condition {
    field: Field,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Id,
    Parent,
    Kind,
    Description,
    InUse,
    Shared,
    Private,
    Mutable,
    Immutable,
}

#[derive(Clone, Debug)]
enum How {
    /// It is set, or not empty.
    Is,
    Equals(String),
    Differs(String),
    Matches(Regex),
}

/// Filters as `docker builder prune` has them, by name.
const FIELDS: &[(&str, Field)] = &[
    ("id", Field::Id),
    ("parents", Field::Parent),
    ("parent", Field::Parent),
    ("type", Field::Kind),
    ("description", Field::Description),
    ("inuse", Field::InUse),
    ("shared", Field::Shared),
    ("private", Field::Private),
    ("mutable", Field::Mutable),
    ("immutable", Field::Immutable),
];

impl Filter {
    /// Reads conditions as BuildKit (containerd) writes them, with commas between them:
    /// `type==regular`, `type!=regular`, `description~=RUN`, `shared`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut quoted = false;
        let parts = text.split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        Ok(Self(parts.map(Condition::parse).collect::<Result<_, _>>()?))
    }

    /// Whether a record meets all of it.
    pub fn says_yes(&self, record: &CacheRecord) -> bool {
        self.0.iter().all(|condition| condition.holds(record))
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, Error> {
        let end = text.find(['=', '!', '~']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let wrong = |why: &str| Error::Invalid(format!("invalid filter \"{text}\": {why}"));
        let field = FIELDS.iter().find(|(known, _)| *known == name.trim());
        let field = field.ok_or_else(|| wrong("no such field"))?.1;
        let value = |skip: usize| {
            let value = rest[skip..].trim();
            value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value).to_owned()
        };
        let how = match rest.as_bytes() {
            [] => How::Is,
            [b'=', b'=', ..] => How::Equals(value(2)),
            [b'!', b'=', ..] => How::Differs(value(2)),
            [b'~', b'=', ..] => {
                How::Matches(Regex::new(&value(2)).map_err(|error| wrong(&error.to_string()))?)
            }
            [b'=', ..] => How::Equals(value(1)),
            _ => return Err(wrong("expected ==, != or ~=")),
        };
        Ok(Self { field, how })
    }

    fn holds(&self, record: &CacheRecord) -> bool {
        let truth = |is: bool| vec![is.to_string()];
        let values = match self.field {
            Field::Id => vec![record.id.clone()],
            Field::Parent => record.parents.clone(),
            Field::Kind => vec![record.kind.clone()],
            Field::Description => vec![record.description.clone()],
            Field::InUse => truth(record.in_use),
            Field::Shared => truth(record.shared),
            Field::Private => truth(!record.shared),
            Field::Mutable => truth(record.mutable),
            Field::Immutable => truth(!record.mutable),
        };
        match &self.how {
            How::Is => values.iter().any(|value| !value.is_empty() && value != "false"),
            How::Equals(wanted) => values.iter().any(|value| is_equal(value, wanted)),
            How::Differs(wanted) => !values.iter().any(|value| is_equal(value, wanted)),
            How::Matches(regex) => values.iter().any(|value| regex.is_match(value)),
        }
    }
}

/// `1` is a way to write `true`, as Go reads it.
fn is_equal(value: &str, wanted: &str) -> bool {
    let wanted = match wanted {
        "1" | "t" | "T" | "TRUE" | "True" if matches!(value, "true" | "false") => "true",
        "0" | "f" | "F" | "FALSE" | "False" if matches!(value, "true" | "false") => "false",
        wanted => wanted,
    };
    value == wanted
}

impl Pruning {
    /// Whether a record may go.
    pub(crate) fn takes(&self, record: &CacheRecord, now: i64) -> bool {
        let is_old = self.unused_for.is_none_or(|long| now.saturating_sub(record.used) >= long);
        let is_free = self.all || !record.shared;
        let is_meant =
            self.filters.is_empty() || self.filters.iter().any(|filter| filter.says_yes(record));
        is_old && is_free && is_meant
    }

    /// Whether more is to go, of a cache of `total` bytes.
    pub(crate) fn wants_room(&self, total: u64, free: impl FnOnce() -> u64) -> bool {
        if self.max_used == 0 && self.min_free == 0 && self.reserved == 0 {
            return true;
        }
        if total <= self.reserved {
            return false;
        }
        if self.max_used > 0 && total > self.max_used {
            return true;
        }
        if self.min_free > 0 {
            return free() < self.min_free;
        }
        self.max_used == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, description: &str, shared: bool, used: i64) -> CacheRecord {
        CacheRecord {
            id: "abc".into(),
            kind: kind.into(),
            description: description.into(),
            shared,
            mutable: kind != "regular",
            used,
            ..CacheRecord::default()
        }
    }

    fn takes(filters: &[&str], record: &CacheRecord) -> bool {
        let filters = filters.iter().map(|text| Filter::parse(text).unwrap()).collect();
        Pruning { all: true, filters, ..Pruning::default() }.takes(record, 0)
    }

    #[test]
    fn filters_are_those_of_buildkit() {
        let run = record("regular", "[2/3] RUN make", false, 0);
        for (filter, wanted) in [
            ("type==regular", true),
            ("type=regular", true),
            ("type!=regular", false),
            ("description~=RUN", true),
            ("description~=^RUN", false),
            ("id==abc", true),
            ("id=ab", false),
            ("mutable", false),
            ("immutable", true),
            ("shared==0", true),
            ("private=true", true),
            ("inuse", false),
            ("description==\"[2/3] RUN make\"", true),
        ] {
            assert_eq!(takes(&[filter], &run), wanted, "{filter}");
        }
        assert!(!takes(&["type==regular,shared"], &run), "all conditions have to hold");
        assert!(takes(&["type==regular", "shared"], &run), "one filter is enough");
        assert!(takes(&["description==\"[2/3] RUN make\",type==regular"], &run));
        for wrong in ["", "size==3", "type~", "type!regular", "description~=("] {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_images_have_and_what_was_used_just_now_stays() {
        let shared = record("regular", "a", true, 100);
        assert!(!Pruning::default().takes(&shared, 100));
        assert!(Pruning { all: true, ..Pruning::default() }.takes(&shared, 100));
        let old = Pruning { all: true, unused_for: Some(50), ..Pruning::default() };
        assert!(!old.takes(&shared, 149));
        assert!(old.takes(&shared, 150));
    }

    #[test]
    fn room_is_made_as_far_as_it_is_wanted() {
        let pruning = |max_used, min_free, reserved| Pruning {
            max_used,
            min_free,
            reserved,
            ..Pruning::default()
        };
        assert!(pruning(0, 0, 0).wants_room(1, || 0), "all goes");
        assert!(pruning(10, 0, 0).wants_room(11, || 0));
        assert!(!pruning(10, 0, 0).wants_room(10, || 0));
        assert!(pruning(0, 5, 0).wants_room(10, || 4));
        assert!(!pruning(0, 5, 0).wants_room(10, || 5));
        assert!(!pruning(0, 5, 10).wants_room(10, || 0), "so much stays whatever the disk lacks");
        assert!(pruning(0, 0, 10).wants_room(11, || 0), "what is more than that goes");
    }
}
