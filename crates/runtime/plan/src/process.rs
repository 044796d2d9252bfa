//! The process: who it is, what it may do, and in which order it is locked down.

use std::ffi::CString;
use std::path::PathBuf;

use oci::runtime::{Process as Spec, User};
use rustix::process::Resource;
use sys::{IoPriorityClass, SchedAttr};

use crate::limit::{self, Limit};
use crate::{Affinity, Error, Facts, Options};

/// All that a process gets between the clone and the exec.
#[derive(Clone, Debug)]
pub struct Process {
    /// The program and its arguments; at least one.
    pub argv: Vec<CString>,
    /// The environment.
    pub env: Vec<CString>,
    /// `PATH` of that environment, where the program is looked for.
    pub path: String,
    /// The environment has no `HOME`: it is taken from the container's `/etc/passwd`.
    pub find_home: bool,
    /// The working directory.
    pub cwd: PathBuf,
    /// Whom it runs as.
    pub user: Ids,
    /// The capabilities it keeps.
    pub caps: caps::Sets,
    /// Whether `execve` may grant no more.
    pub no_new_privs: bool,
    /// Rights that it gives up. They are the container's, not the process's: set by who knows it.
    pub landlock: Option<crate::Landlock>,
    /// When the seccomp filter goes in, if there is one.
    pub seccomp_when: SeccompWhen,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// A limit is raised, which only the runtime outside the user namespace can do.
    pub limits_from_outside: bool,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// The `AppArmor` profile.
    pub apparmor: Option<String>,
    /// The `SELinux` label.
    pub selinux: Option<String>,
    /// Scheduling.
    pub scheduler: Option<SchedAttr>,
    /// The processors of an executed process; a container's first one ignores them.
    pub exec_affinity: Affinity,
    /// Priority of disk accesses.
    pub io_priority: Option<(IoPriorityClass, u8)>,
    /// Its terminal's size in columns and rows; `Some` gives it a terminal.
    pub terminal: Option<(u16, u16)>,
    /// How many descriptors after standard error it gets.
    pub preserve_fds: u32,
    /// It gets a session keyring of its own, and not the runtime's.
    pub new_keyring: bool,
}

/// Users and groups, inside the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The file mode mask.
    pub umask: Option<u32>,
}

/// When the filter goes in. Decided once, from the spec, before the clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeccompWhen {
    /// Without `no_new_privs` the call needs `CAP_SYS_ADMIN`, so it comes before the drop.
    BeforeCaps,
    /// With `no_new_privs` it comes last, so the profile need not allow our own calls.
    LastBeforeExec,
}

impl SeccompWhen {
    fn new(no_new_privs: bool) -> Self {
        if no_new_privs { Self::LastBeforeExec } else { Self::BeforeCaps }
    }
}

/// What `PATH` is when the environment has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn c_string(field: impl FnOnce() -> String, text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::invalid(field(), text.escape_debug(), "contains a NUL"))
}

impl Process {
    /// The plan for `spec`. `own_user_namespace` says that the container's user namespace is not the
    /// runtime's, so that all capabilities exist inside it.
    pub fn new(
        spec: &Spec,
        own_user_namespace: bool,
        facts: &Facts,
        options: Options,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        if spec.args.is_empty() {
            return Err(Error::missing("process.args"));
        }
        if spec.args[0].is_empty() {
            return Err(Error::invalid("process.args[0]", "", "is empty"));
        }
        if !spec.cwd.starts_with('/') {
            return Err(Error::invalid("process.cwd", &spec.cwd, "is not an absolute path"));
        }
        let numbered = |what: &'static str, list: &[String]| -> Result<Vec<CString>, Error> {
            list.iter()
                .enumerate()
                .map(|(i, text)| c_string(|| format!("process.{what}[{i}]"), text))
                .collect()
        };
        let listens = listening(options.listen_fds);
        let env: Vec<&String> = last_of_each_name(spec.env.iter().chain(&listens));
        let path = env.iter().find_map(|one| one.strip_prefix("PATH="));
        let home = env.iter().find_map(|one| one.strip_prefix("HOME="));
        let limits = limit::limits(&spec.rlimits, facts, warnings)?;
        let raises = |limit: &Limit| limit.hard.unwrap_or(u64::MAX) > hard(facts, limit.resource);
        Ok(Self {
            argv: numbered("args", &spec.args)?,
            path: path.unwrap_or(DEFAULT_PATH).to_owned(),
            find_home: home.is_none_or(str::is_empty),
            env: env
                .iter()
                .enumerate()
                .filter(|(_, one)| **one != "HOME=")
                .map(|(i, text)| c_string(|| format!("process.env[{i}]"), text))
                .collect::<Result<_, _>>()?,
            cwd: PathBuf::from(
                c_string(|| "process.cwd".into(), &spec.cwd)?
                    .into_string()
                    .map_err(|_| Error::invalid("process.cwd", &spec.cwd, "is not text"))?,
            ),
            user: ids(&spec.user)?,
            caps: crate::capability::sets(
                spec.capabilities.as_ref(),
                own_user_namespace,
                facts,
                warnings,
            )?,
            no_new_privs: spec.no_new_privileges,
            landlock: None,
            seccomp_when: SeccompWhen::new(spec.no_new_privileges),
            limits_from_outside: own_user_namespace && limits.iter().any(raises),
            limits,
            oom_score_adj: oom_score_adj(spec.oom_score_adj)?,
            apparmor: match spec.apparmor_profile.as_str() {
                "unconfined" => None,
                name => label("process.apparmorProfile", name, facts.apparmor, "AppArmor")?,
            },
            selinux: label("process.selinuxLabel", &spec.selinux_label, facts.selinux, "SELinux")?,
            scheduler: spec.scheduler.as_ref().map(crate::schedule::scheduler).transpose()?,
            io_priority: spec.io_priority.as_ref().map(crate::schedule::io_priority).transpose()?,
            exec_affinity: spec
                .exec_cpu_affinity
                .as_ref()
                .map(crate::affinity::affinity)
                .transpose()?
                .unwrap_or_default(),
            terminal: if spec.terminal { Some(terminal_size(spec)?) } else { None },
            preserve_fds: options.listen_fds.saturating_add(options.preserve_fds),
            new_keyring: !options.no_new_keyring,
        })
    }
}

/// Columns and rows; none is (0, 0).
fn terminal_size(spec: &Spec) -> Result<(u16, u16), Error> {
    let Some(size) = &spec.console_size else { return Ok((0, 0)) };
    let narrow = |name: &str, number: u64| {
        u16::try_from(number).map_err(|_| {
            let field = format!("process.consoleSize.{name}");
            Error::invalid(field, number, "is more than 65535")
        })
    };
    Ok((narrow("width", size.width)?, narrow("height", size.height)?))
}

fn hard(facts: &Facts, resource: Resource) -> u64 {
    facts.hard_limit(resource).unwrap_or(u64::MAX)
}

/// What tells a program of sockets on which it is to listen, see `sd_listen_fds(3)`. Its number is 1
/// for whoever reads it: the container's first process.
fn listening(count: u32) -> Vec<String> {
    match count {
        0 => Vec::new(),
        count => vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()],
    }
}

/// The environment without the earlier ones of entries with the same name: programs disagree on
/// which of two counts.
fn last_of_each_name<'a>(env: impl DoubleEndedIterator<Item = &'a String>) -> Vec<&'a String> {
    let name = |one: &String| one.split('=').next().unwrap_or_default().to_owned();
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<&String> = env.rev().filter(|one| seen.insert(name(one))).collect();
    kept.reverse();
    kept
}

fn ids(user: &User) -> Result<Ids, Error> {
    // The kernel takes -1 for "leave it as it is".
    for (field, id) in [("process.user.uid", user.uid), ("process.user.gid", user.gid)] {
        if id == u32::MAX {
            return Err(Error::invalid(field, id, "is not an id"));
        }
    }
    if let Some(umask) = user.umask.filter(|umask| *umask > 0o777) {
        return Err(Error::invalid("process.user.umask", umask, "is more than 511 (octal 777)"));
    }
    Ok(Ids {
        uid: user.uid,
        gid: user.gid,
        groups: user.additional_gids.clone(),
        umask: user.umask,
    })
}

fn oom_score_adj(value: Option<i32>) -> Result<Option<i32>, Error> {
    match value {
        Some(value) if !(-1000..=1000).contains(&value) => {
            Err(Error::invalid("process.oomScoreAdj", value, "is not between -1000 and 1000"))
        }
        other => Ok(other),
    }
}

fn label(field: &str, value: &str, enabled: bool, module: &str) -> Result<Option<String>, Error> {
    if value.is_empty() {
        return Ok(None);
    }
    if value.contains(['\0', '\n']) {
        return Err(Error::invalid(field, value.escape_debug(), "has a line break or NUL in it"));
    }
    if !enabled {
        let why = format!("cannot be set: {module} is not enabled on this machine");
        return Err(Error::invalid(field, value, why));
    }
    Ok(Some(value.to_owned()))
}
