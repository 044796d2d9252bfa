//! `RUN --mount` and `RUN --device` (reference, "RUN --mount").

use crate::csv;
use crate::problem::Problem;
use crate::suggest::{self, Hint};

/// A mount as it is written: variables in it are not replaced yet, so only what it is from is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMount {
    fields: Vec<String>,
    /// The stage, context or image that it is from; without variables.
    pub from: Option<String>,
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountType,
    /// The stage, context or image that it is from; empty: the build's context.
    pub from: String,
    /// What of it; for a secret: which.
    pub source: String,
    /// Where to.
    pub target: String,
    /// Nothing is written to it.
    pub readonly: bool,
    /// Bytes of a tmpfs; 0: as many as there are.
    pub size: i64,
    /// Of a cache, a secret, an agent: which.
    pub id: String,
    /// Who may have a cache at once.
    pub sharing: Option<Sharing>,
    /// A secret or an agent that is missing is an error.
    pub required: bool,
    /// The variable that a secret is to be in.
    pub env: Option<String>,
    /// Permissions.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountType {
    /// Files of a stage, a context or an image.
    #[default]
    Bind,
    /// A directory that stays from build to build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret.
    Secret,
    /// An agent's socket.
    Ssh,
}

impl MountType {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    fn of(name: &str) -> Result<Self, Problem> {
        let all = [Self::Bind, Self::Cache, Self::Tmpfs, Self::Secret, Self::Ssh];
        let found = all.iter().find(|one| one.name() == name.to_lowercase()).copied();
        let hint = || suggest::nearest(name, all.iter().map(|one| one.name()));
        found.ok_or_else(|| Problem::MountType(name.into(), hint()))
    }

    fn has_owner(self) -> bool {
        matches!(self, Self::Secret | Self::Ssh | Self::Cache)
    }
}

/// Who may have a cache at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// One; another one gets a new one.
    Private,
    /// One; another one waits.
    Locked,
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl RawMount {
    /// Takes a flag's value apart.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let fields = csv::fields(text).map_err(|error| Problem::Csv("mounts", error))?;
        let mut from = None;
        for field in &fields {
            let Some((key, value)) = field.split_once('=') else { continue };
            if !key.eq_ignore_ascii_case("from") {
                continue;
            }
            // The stage has to be known before there are variables.
            if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                return Err(Problem::MountVariable("from"));
            }
            from = Some(value.to_owned());
        }
        Ok(Self { fields, from })
    }

    /// The mount, its values with variables replaced by `expand`.
    pub(crate) fn resolve(
        &self,
        mut expand: impl FnMut(&str) -> Result<String, Problem>,
    ) -> Result<Mount, Problem> {
        let mut mount = Mount::default();
        let mut readonly = None;
        for field in &self.fields {
            match field.split_once('=') {
                None => mount.flag(field, &mut readonly)?,
                Some((key, value)) => {
                    let value = expand(value)?;
                    mount.set(field, &key.to_lowercase(), value, &mut readonly)?;
                }
            }
        }
        mount.readonly =
            readonly.unwrap_or(!matches!(mount.kind, MountType::Cache | MountType::Tmpfs));
        mount.check()?;
        Ok(mount)
    }
}

impl Mount {
    fn flag(&mut self, field: &str, readonly: &mut Option<bool>) -> Result<(), Problem> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => *readonly = Some(true),
            "readwrite" | "rw" => *readonly = Some(false),
            "required" => {
                self.only("required", &[MountType::Secret, MountType::Ssh])?;
                self.required = true;
            }
            _ => return Err(Problem::Field(field.into())),
        }
        Ok(())
    }

    fn set(
        &mut self,
        field: &str,
        key: &str,
        value: String,
        readonly: &mut Option<bool>,
    ) -> Result<(), Problem> {
        match key {
            "type" => self.kind = MountType::of(&value)?,
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" => *readonly = Some(boolean("readonly", &value)?),
            "ro" => *readonly = Some(boolean("ro", &value)?),
            "readwrite" => *readonly = Some(!boolean("readwrite", &value)?),
            "rw" => *readonly = Some(!boolean("rw", &value)?),
            "required" => {
                self.only("required", &[MountType::Secret, MountType::Ssh])?;
                self.required = boolean("required", &value)?;
            }
            "size" => {
                self.only("size", &[MountType::Tmpfs])?;
                let size = docker::units::ram_in_bytes(&value);
                self.size = size.map_err(|_| Problem::Value("size", value))?;
            }
            "id" => self.id = value,
            "sharing" => self.sharing = Some(sharing(&value)?),
            "mode" => self.mode = Some(number("mode", &value, 8)?),
            "uid" => self.uid = Some(number("uid", &value, 10)?),
            "gid" => self.gid = Some(number("gid", &value, 10)?),
            "env" => self.env = Some(value),
            _ => {
                return Err(Problem::Key(key.into(), field.into(), suggest::nearest(key, KEYS)));
            }
        }
        Ok(())
    }

    fn only(&self, key: &'static str, kinds: &[MountType]) -> Result<(), Problem> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        Err(Problem::KeyForType(key, self.kind.name()))
    }

    fn check(&self) -> Result<(), Problem> {
        let owner = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
        let given = owner.iter().find(|(_, value)| value.is_some());
        if let Some((key, _)) = given.filter(|_| !self.kind.has_owner()) {
            return Err(Problem::Ownership(key, self.kind.name()));
        }
        if self.kind == MountType::Secret {
            self.check_secret()?;
        }
        if self.sharing.is_some() && self.kind != MountType::Cache {
            return Err(Problem::SharingForType(self.kind.name()));
        }
        Ok(())
    }

    fn check_secret(&self) -> Result<(), Problem> {
        if !self.from.is_empty() {
            return Err(Problem::SecretFrom);
        }
        if self.sharing.is_some() {
            return Err(Problem::SecretSharing);
        }
        if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
            return Err(Problem::SecretNothing);
        }
        if !self.source.is_empty() && !self.id.is_empty() {
            return Err(Problem::SecretBoth);
        }
        Ok(())
    }
}

fn sharing(text: &str) -> Result<Sharing, Problem> {
    match text.to_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        _ => {
            let hint = suggest::nearest(text, ["shared", "private", "locked"]);
            Err(Problem::Sharing(text.into(), hint))
        }
    }
}

/// As Go's `strconv.ParseBool` reads it.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn boolean(key: &'static str, value: &str) -> Result<bool, Problem> {
    go_bool(value).ok_or_else(|| Problem::Value(key, value.into()))
}

fn number(key: &'static str, value: &str, radix: u32) -> Result<u32, Problem> {
    let is_number = value.bytes().all(|b| b.is_ascii_digit());
    let parsed = u32::from_str_radix(value, radix).ok().filter(|_| is_number);
    parsed.ok_or_else(|| Problem::NumberValue(key, value.into()))
}

/// A device by the name that CDI gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// `VENDOR/CLASS=NAME`, or a class.
    pub name: String,
    /// One that is missing is an error.
    pub required: bool,
}

impl Device {
    /// Reads a flag's value: a name, and `required`.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let fields = csv::fields(text).map_err(|error| Problem::Csv("devices", error))?;
        let mut device = Self::default();
        for field in fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("required", None) => device.required = true,
                ("required", Some(value)) => device.required = boolean("required", value)?,
                ("name", Some(_)) if !device.name.is_empty() => {
                    return Err(Problem::DeviceName(device.name));
                }
                ("name", Some(value)) => device.name = value.into(),
                // CDI's own names have a `=` too.
                _ if device.name.is_empty() => device.name = field,
                (_, None) => return Err(Problem::Field(field)),
                (key, Some(_)) => {
                    let hint: Hint = suggest::nearest(key, ["name", "required"]);
                    return Err(Problem::Key(key.into(), field.clone(), hint));
                }
            }
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(text: &str) -> Result<Mount, String> {
        let raw = RawMount::parse(text).map_err(|problem| problem.to_string())?;
        raw.resolve(|value| Ok(value.replace("$x", "y"))).map_err(|problem| problem.to_string())
    }

    #[test]
    fn mounts() {
        let bind = mount("type=bind,from=a,src=$x,dst=/b").unwrap();
        assert_eq!((bind.kind, bind.readonly), (MountType::Bind, true));
        assert_eq!(
            (bind.from.as_str(), bind.source.as_str(), bind.target.as_str()),
            ("a", "y", "/b")
        );
        assert!(!mount("target=/a,rw").unwrap().readonly);
        assert!(!mount("target=/a,readwrite=true").unwrap().readonly);
        let cache =
            mount("Type=cache,target=/c,id=i,sharing=locked,uid=5,gid=6,mode=0700").unwrap();
        assert_eq!(
            (cache.sharing, cache.mode, cache.readonly),
            (Some(Sharing::Locked), Some(0o700), false)
        );
        assert_eq!((cache.uid, cache.gid), (Some(5), Some(6)));
        assert!(mount("type=cache,target=/c,ro").unwrap().readonly);
        assert_eq!(mount("type=tmpfs,target=/t,size=1.5g").unwrap().size, 3 << 29);
        let secret = mount("type=secret,id=s,env=TOKEN,required").unwrap();
        assert_eq!((secret.env.as_deref(), secret.required), (Some("TOKEN"), true));
        assert!(mount("type=ssh,required=false").is_ok());
    }

    #[test]
    fn what_is_no_mount() {
        for (text, want) in [
            ("type=bnd", "unsupported mount type \"bnd\" (did you mean bind?)"),
            (
                "from=$stage",
                "'from' doesn't support variable expansion, define alias stage instead",
            ),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("trget=/a", "unexpected key 'trget' in 'trget=/a' (did you mean target?)"),
            ("ro=maybe", "invalid value for ro: maybe"),
            ("required", "unexpected key 'required' for mount type 'bind'"),
            ("size=1", "unexpected key 'size' for mount type 'bind'"),
            ("type=tmpfs,size=x", "invalid value for size: x"),
            (
                "type=cache,sharing=loked",
                "unsupported sharing value \"loked\" (did you mean locked?)",
            ),
            ("type=cache,mode=9", "invalid value 9 for mode"),
            ("type=cache,uid=+1", "invalid value +1 for uid"),
            ("mode=1", "mode not allowed for \"bind\" type mounts"),
            ("type=tmpfs,gid=1", "gid not allowed for \"tmpfs\" type mounts"),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            ("type=secret,id=a,src=b", "both source and id can't be set"),
            ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
            ("sharing=shared", "invalid cache sharing set for bind mount"),
            (
                "a\"b",
                "failed to parse csv mounts: parse error on line 1, column 2: bare \" in non-quoted field",
            ),
        ] {
            assert_eq!(mount(text), Err(want.into()), "{text}");
        }
    }

    #[test]
    fn devices() {
        let device = |text| Device::parse(text).map_err(|problem| problem.to_string());
        let want = |name: &str, required| Ok(Device { name: name.into(), required });
        assert_eq!(device("vendor.com/gpu=0"), want("vendor.com/gpu=0", false));
        assert_eq!(device("vendor.com/gpu,required"), want("vendor.com/gpu", true));
        assert_eq!(device("name=a,required=true"), want("a", true));
        assert_eq!(device("a,name=b"), Err("device name already set to a".into()));
        assert_eq!(device("a,b"), Err("invalid field 'b' must be a key=value pair".into()));
        let error = "unexpected key 'requird' in 'requird=1' (did you mean required?)";
        assert_eq!(device("a,requird=1"), Err(error.into()));
    }
}
