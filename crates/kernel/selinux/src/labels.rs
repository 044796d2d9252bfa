//! Which labels a container has.

use std::collections::BTreeMap;

use crate::context::{is_level, is_name};
use crate::{Context, Error};

/// How many categories levels are chosen from: as many as policies have.
const CATEGORIES: u16 = 1024;
/// The level of the files of containers that have no label: nobody else gets these categories, so that
/// nobody else's process reaches them.
const OF_NOBODY: &str = "s0:c1022,c1023";
/// The level of what all containers share.
const SHARED: &str = "s0";

/// The labels that the policy has for containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Of processes.
    pub process: Option<Context>,
    /// Of files.
    pub file: Option<Context>,
}

/// The labels of one container. Empty ones are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Of its processes.
    pub process: String,
    /// Of its files: of what is mounted for it alone.
    pub mount: String,
}

/// What is asked of a container's labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    disable: bool,
    user: Option<String>,
    role: Option<String>,
    level: Option<String>,
    kind: Option<String>,
    file_kind: Option<String>,
}

impl Options {
    /// Takes over one: `disable`, or `user`, `role`, `level`, `type`, `filetype` with a colon and a value.
    ///
    /// # Errors
    ///
    /// There is no such option, or its value can be none.
    pub fn take(&mut self, option: &str) -> Result<(), Error> {
        if option == "disable" {
            self.disable = true;
            return Ok(());
        }
        let bad = || Error::Option(option.to_owned());
        let (key, value) = option.split_once(':').ok_or_else(bad)?;
        let (place, is_valid) = match key {
            "user" => (&mut self.user, is_name(value)),
            "role" => (&mut self.role, is_name(value)),
            "level" => (&mut self.level, is_level(value)),
            "type" => (&mut self.kind, is_name(value)),
            "filetype" => (&mut self.file_kind, is_name(value)),
            _ => return Err(bad()),
        };
        if !is_valid {
            return Err(bad());
        }
        *place = Some(value.to_owned());
        Ok(())
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the container is to have no label.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.disable
    }

    /// What is to be asked for so that another container's processes have the label of this one's; nothing
    /// where this one has none.
    #[must_use]
    pub fn like(process: &str) -> Vec<String> {
        let Ok(context) = process.parse::<Context>() else { return Vec::new() };
        let Context { user, role, kind, level } = context;
        let mut options =
            vec![format!("user:{user}"), format!("role:{role}"), format!("type:{kind}")];
        if !level.is_empty() {
            options.push(format!("level:{level}"));
        }
        options
    }
}

impl Defaults {
    /// Reads `lxc_contexts`: lines of `KEY = "CONTEXT"`. What is no context is not there.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
        let pairs = lines.filter_map(|line| line.split_once('='));
        let all: BTreeMap<&str, &str> =
            pairs.map(|(key, value)| (key.trim(), value.trim().trim_matches('"'))).collect();
        let context = |key| all.get(key).and_then(|text| text.parse().ok());
        Self { process: context("process"), file: context("file") }
    }

    /// The labels of a container. `choose` gives it a level of its own, where it needs one.
    ///
    /// # Errors
    ///
    /// Those of `choose`.
    pub fn labels<E>(
        &self,
        options: &Options,
        choose: impl FnOnce() -> Result<String, E>,
    ) -> Result<Labels, E> {
        let Some(file) = &self.file else { return Ok(Labels::default()) };
        let mut file = file.clone();
        if options.disable {
            if !file.level.is_empty() {
                OF_NOBODY.clone_into(&mut file.level);
            }
            return Ok(Labels { process: String::new(), mount: file.to_string() });
        }
        let Some(process) = &self.process else {
            return Ok(Labels { process: String::new(), mount: file.to_string() });
        };
        let mut process = process.clone();
        // A policy without levels has none for containers.
        let level = match &options.level {
            Some(level) => Some(level.clone()),
            None if process.level.is_empty() => None,
            None => Some(choose()?),
        };
        if let Some(level) = level {
            level.clone_into(&mut process.level);
            file.level = level;
        }
        let set = |place: &mut String, asked: Option<&String>| {
            if let Some(asked) = asked {
                asked.clone_into(place);
            }
        };
        set(&mut process.user, options.user.as_ref());
        set(&mut file.user, options.user.as_ref());
        set(&mut process.role, options.role.as_ref());
        set(&mut process.kind, options.kind.as_ref());
        set(&mut file.kind, options.file_kind.as_ref());
        Ok(Labels { process: process.to_string(), mount: file.to_string() })
    }
}

/// The level with two categories, chosen by two random numbers. `None`: they have chosen one twice, or
/// those of nobody.
#[must_use]
pub fn level([one, other]: [u16; 2]) -> Option<String> {
    let (one, other) = (one % CATEGORIES, other % CATEGORIES);
    let level = format!("{SHARED}:c{},c{}", one.min(other), one.max(other));
    (one != other && level != OF_NOBODY).then_some(level)
}

/// The label of files that all containers may share, by that of one container's own.
#[must_use]
pub fn shared(label: &str) -> String {
    match label.parse::<Context>() {
        Ok(context) if context.level.is_empty() => label.to_owned(),
        Ok(context) => Context { level: SHARED.to_owned(), ..context }.to_string(),
        Err(_) => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXTS: &str = "# comment\n; another\n\nprocess = \"system_u:system_r:container_t:s0\"\n\
        content = \"system_u:object_r:virt_var_lib_t:s0\"\n\
        file = \"system_u:object_r:container_file_t:s0\"\nro_file=\"system_u:object_r:container_ro_file_t:s0\"\n\
        init_process = \"system_u:system_r:container_init_t:s0\"\n";

    fn options(all: &[&str]) -> Options {
        let mut options = Options::default();
        for one in all {
            options.take(one).unwrap();
        }
        options
    }

    fn labels(contexts: &str, all: &[&str]) -> String {
        let choose = || Ok::<_, ()>("s0:c1,c2".to_owned());
        let labels = Defaults::parse(contexts).labels(&options(all), choose).unwrap();
        format!("{} {}", labels.process, labels.mount)
    }

    #[test]
    fn a_container_has_the_policys_labels_and_a_level_of_its_own() {
        let own =
            "system_u:system_r:container_t:s0:c1,c2 system_u:object_r:container_file_t:s0:c1,c2";
        assert_eq!(labels(CONTEXTS, &[]), own);
        assert_eq!(
            labels(CONTEXTS, &["disable"]),
            " system_u:object_r:container_file_t:s0:c1022,c1023"
        );
        assert_eq!(labels(CONTEXTS, &["type:svirt_t", "disable"]), labels(CONTEXTS, &["disable"]),);
        assert_eq!(
            labels(CONTEXTS, &["user:u", "role:r", "type:t", "level:s0:c5", "filetype:f"]),
            "u:r:t:s0:c5 u:object_r:f:s0:c5"
        );
        assert_eq!(labels("", &[]), " ");
        assert_eq!(labels("file = \"u:r:f:s0\"", &[]), " u:r:f:s0");
        // A policy without levels.
        assert_eq!(labels("process=\"u:r:p\"\nfile=\"u:r:f\"", &[]), "u:r:p u:r:f");
        assert_eq!(labels("process=\"u:r:p\"\nfile=\"u:r:f\"", &["disable"]), " u:r:f");
        // A level that is asked for is not chosen.
        let defaults = Defaults::parse(CONTEXTS);
        assert_eq!(defaults.labels(&Options::default(), || Err("none left")), Err("none left"));
        assert!(defaults.labels(&options(&["level:s0"]), || Err("asked")).is_ok());
    }

    #[test]
    fn options_are_known_or_refused() {
        assert!(Options::default().is_empty() && !options(&["type:t"]).is_empty());
        assert!(options(&["disable"]).is_disabled() && !options(&["type:t"]).is_disabled());
        for bad in
            ["", "off", "type", "type:", "colour:x", "type:a,b", "level:s0\"", "user:a b", "nested"]
        {
            assert!(Options::default().take(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_joins_another_has_its_label() {
        let process = "system_u:system_r:container_t:s0:c1,c2";
        let asked = Options::like(process);
        assert_eq!(asked, ["user:system_u", "role:system_r", "type:container_t", "level:s0:c1,c2"]);
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        assert!(labels(CONTEXTS, &asked).starts_with(process));
        assert_eq!(Options::like("u:r:t").len(), 3);
        assert!(Options::like("").is_empty());
    }

    #[test]
    fn two_categories_make_a_level() {
        assert_eq!(level([345, 12]).unwrap(), "s0:c12,c345");
        assert_eq!(level([1024 + 7, 6]).unwrap(), "s0:c6,c7");
        assert_eq!(level([7, 7]), None);
        assert_eq!(level([1023, 1022]), None);
    }

    #[test]
    fn what_is_shared_has_no_categories() {
        assert_eq!(shared("u:object_r:f:s0:c1,c2"), "u:object_r:f:s0");
        assert_eq!(shared("u:object_r:f"), "u:object_r:f");
        assert_eq!(shared(""), "");
    }
}
