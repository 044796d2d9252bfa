//! Automatic collection of images and of containers that do not run: the policy as people write it,
//! and what went. Docker has nothing like it.

use serde::{Deserialize, Serialize};

use crate::filters::Filters;
use crate::units;

const NANOS: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * NANOS;

/// What is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Images that no container is made of.
    Images,
    /// Containers that do not run.
    Containers,
}

impl Subject {
    /// The policy where nobody says another: it does nothing before the disk is nearly full, and then
    /// takes only what nobody has given a name and nobody has used for a month.
    #[must_use]
    pub const fn usual(self) -> &'static str {
        match self {
            Self::Images => "min-free=10%,min-age=30d,filter=dangling=true",
            Self::Containers => "min-free=10%,min-age=30d,filter=named=false",
        }
    }

    /// What a policy can ask of them.
    const fn filters(self) -> &'static [&'static str] {
        match self {
            Self::Images => &["label", "label!", "reference", "dangling"],
            Self::Containers => &["label", "label!", "named"],
        }
    }
}

/// Which of them go, and when it is looked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What was not used for this long goes, in nanoseconds.
    pub max_age: Option<i64>,
    /// While all together hold more, in bytes, those go that were not used for longest.
    pub max_size: Option<u64>,
    /// While less is free on the disk, those go that were not used for longest.
    pub min_free: Option<Free>,
    /// What was used within this time stays, whatever else is said; in nanoseconds.
    pub min_age: i64,
    /// Only what these want goes; as of `image prune`, `container prune`.
    pub filters: Filters,
    /// How long the daemon waits from one time to the next, in nanoseconds.
    pub every: i64,
}

/// How much is to be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// Bytes.
    Bytes(u64),
    /// Of the whole disk.
    Percent(u8),
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A word of it.
    #[error("`{text}` in a policy: {why}")]
    Word {
        /// The word.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// It would never collect anything.
    #[error("a policy needs max-age, max-size or min-free")]
    Empty,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_age: None,
            max_size: None,
            min_free: None,
            min_age: HOUR,
            filters: Filters::default(),
            every: HOUR,
        }
    }
}

impl Policy {
    /// Reads a policy: words with commas between them, `max-age=30d`, `max-size=20GB`,
    /// `min-free=10%` or `=5GB`, `min-age=1h`, `filter=label!=keep` (any number), `every=1h`.
    /// Containers have the filter `named`: whether somebody gave them their name.
    pub fn parse(text: &str, subject: Subject) -> Result<Self, Error> {
        let mut policy = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            policy.word(word, subject).map_err(|why| Error::Word { text: word.into(), why })?;
        }
        if policy.max_age.is_none() && policy.max_size.is_none() && policy.min_free.is_none() {
            return Err(Error::Empty);
        }
        Ok(policy)
    }

    fn word(&mut self, word: &str, subject: Subject) -> Result<(), String> {
        let (key, value) = word.split_once('=').ok_or("give KEY=VALUE")?;
        match key {
            "max-age" => self.max_age = Some(age(value)?),
            "min-age" => self.min_age = age(value)?,
            "every" => {
                self.every = age(value)?;
                if self.every < 60 * NANOS {
                    return Err("at least a minute".into());
                }
            }
            "max-size" => self.max_size = Some(size(value)?),
            "min-free" => {
                self.min_free = Some(match value.strip_suffix('%') {
                    Some(percent) => match percent.parse() {
                        Ok(percent) if percent < 100 => Free::Percent(percent),
                        _ => return Err("a share of the disk is 0% to 99%".into()),
                    },
                    None => Free::Bytes(size(value)?),
                });
            }
            "filter" => {
                let (name, value) = value.split_once('=').ok_or("give filter=NAME=VALUE")?;
                let known = subject.filters();
                if !known.contains(&name) {
                    return Err(format!("filters are {}", known.join(", ")));
                }
                if matches!(name, "named" | "dangling") && !matches!(value, "true" | "false") {
                    return Err("give true or false".into());
                }
                self.filters.add(name, value);
            }
            _ => {
                let known = "max-age, max-size, min-free, min-age, filter and every";
                return Err(format!("the words are {known}"));
            }
        }
        Ok(())
    }
}

/// How much there is, while a collection goes on.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// What is collected: `images`, `containers`.
    pub what: &'static str,
    /// Bytes that all of them hold together.
    pub held: u64,
    /// Bytes of the disk that are free.
    pub free: u64,
    /// Bytes of the whole disk.
    pub disk: u64,
}

impl Room {
    /// There is more room by so many bytes.
    pub fn gain(&mut self, bytes: u64) {
        self.held = self.held.saturating_sub(bytes);
        self.free = self.free.saturating_add(bytes);
    }
}

impl Policy {
    /// Why what was not used for `idle` nanoseconds goes; `None`: it stays, and with it all that was
    /// used later.
    #[must_use]
    pub fn reason(&self, idle: i64, room: &Room) -> Option<String> {
        if idle < self.min_age {
            return None;
        }
        let is_old = self
            .max_age
            .filter(|max| idle > *max)
            .map(|max| format!("not used for more than {}", units::human_duration(max / NANOS)));
        is_old.or_else(|| self.too_much(room)).or_else(|| self.too_full(room))
    }

    /// What is asked for and not so.
    #[must_use]
    pub fn unmet(&self, room: &Room) -> Vec<String> {
        self.too_much(room).into_iter().chain(self.too_full(room)).collect()
    }

    fn too_much(&self, room: &Room) -> Option<String> {
        let max = self.max_size.filter(|max| room.held > *max)?;
        Some(format!("{} hold {}, more than {}", room.what, in_words(room.held), in_words(max)))
    }

    fn too_full(&self, room: &Room) -> Option<String> {
        let wanted = match self.min_free? {
            Free::Bytes(bytes) => bytes,
            Free::Percent(percent) => room.disk / 100 * u64::from(percent),
        };
        let free = room.free;
        (free < wanted).then(|| {
            format!("{} of the disk are free, less than {}", in_words(free), in_words(wanted))
        })
    }
}

fn in_words(bytes: u64) -> String {
    units::human_size_with_precision(bytes as f64, 3)
}

/// Bytes, in units of 1000.
fn size(text: &str) -> Result<u64, String> {
    let size = units::from_human_size(text).map_err(|error| error.to_string())?;
    u64::try_from(size).map_err(|_| "is negative".into())
}

/// Nanoseconds: as Go has durations, and in days and weeks.
fn age(text: &str) -> Result<i64, String> {
    let of_days = |number: &str, days: i64| {
        let number: i64 = number.parse().map_err(|_| format!("`{text}` is no duration"))?;
        number.checked_mul(days * 24 * HOUR).ok_or_else(|| format!("`{text}` is too long"))
    };
    let age = match (text.strip_suffix('d'), text.strip_suffix('w')) {
        (Some(days), _) => of_days(days, 1)?,
        (_, Some(weeks)) => of_days(weeks, 7)?,
        _ => units::parse_duration(text).map_err(|error| error.to_string())?,
    };
    if age < 0 { Err("is negative".into()) } else { Ok(age) }
}

/// An image or a container that went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Collected {
    /// When, RFC 3339.
    pub time: String,
    /// Its id.
    pub id: String,
    /// Its names, short.
    pub names: Vec<String>,
    /// Bytes that are free again. Of an image: its archives, and its layers, as far as no other image
    /// has them; of a container: what it has written.
    pub size: u64,
    /// When it was last used, RFC 3339.
    pub last_used: String,
    /// Why it goes.
    pub reason: String,
}

/// What a collection did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Report {
    /// Nothing was removed.
    pub dry_run: bool,
    /// What went, in this order.
    pub removed: Vec<Collected>,
    /// Bytes that are free again.
    pub space_reclaimed: u64,
    /// What the policy asks for and could not be had: what is left is in use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let text = "max-age=30d, max-size=20GB,min-free=10%,filter=label!=keep,every=5m,min-age=0";
        let policy = Policy::parse(text, Subject::Images).unwrap();
        assert_eq!(policy.max_age, Some(30 * 24 * HOUR));
        assert_eq!(policy.max_size, Some(20_000_000_000));
        assert_eq!(policy.min_free, Some(Free::Percent(10)));
        assert_eq!((policy.min_age, policy.every), (0, 300 * NANOS));
        assert_eq!(policy.filters.get("label!").collect::<Vec<_>>(), ["keep"]);
        let free = Policy::parse("min-free=2GB", Subject::Images).unwrap();
        assert_eq!((free.min_free, free.min_age), (Some(Free::Bytes(2_000_000_000)), HOUR));
        assert_eq!(
            Policy::parse("max-age=2w", Subject::Images).unwrap().max_age,
            Some(14 * 24 * HOUR)
        );
        for (text, why) in [
            ("", "needs max-age"),
            ("min-age=1h", "needs max-age"),
            ("max-age", "give KEY=VALUE"),
            ("max-age=-1d", "negative"),
            ("max-age=xd", "no duration"),
            ("max-age=99999999999d", "too long"),
            ("max-size=lots", "size"),
            ("min-free=100%", "99%"),
            ("every=1s,max-age=1d", "a minute"),
            ("filter=until=1h,max-age=1d", "filters are"),
            ("filter=dangling=1,max-age=1d", "true or false"),
            ("filter=named=true,max-age=1d", "filters are label"),
            ("color=red", "the words are"),
        ] {
            let error = Policy::parse(text, Subject::Images).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
    #[test]
    fn the_usual_policies_take_only_what_is_nameless_old_and_in_the_way() {
        for (subject, filter) in [(Subject::Images, "dangling"), (Subject::Containers, "named")] {
            let policy = Policy::parse(subject.usual(), subject).unwrap();
            assert_eq!((policy.max_age, policy.max_size), (None, None));
            assert_eq!(policy.min_free, Some(Free::Percent(10)));
            assert_eq!(policy.min_age, 30 * 24 * HOUR);
            assert_eq!(policy.filters.get(filter).count(), 1);
        }
    }
}
