//! Hooks: programs that the runtime calls.

use std::ffi::CString;
use std::time::Duration;

use oci::runtime::{Hook as Spec, Hooks as HookSpecs};

use crate::Error;

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// What it is called in errors: its kind and its place in the list, from 0.
    pub name: String,
    /// The program.
    pub path: CString,
    /// Its arguments, its name first.
    pub argv: Vec<CString>,
    /// Its environment.
    pub env: Vec<CString>,
    /// After which it is killed.
    pub timeout: Option<Duration>,
}

/// The hooks of a container, by when they are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Outside, before `pivot_root`: `prestart` and then `createRuntime`.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before `pivot_root`.
    pub create_container: Vec<Hook>,
    /// In the container, before its program.
    pub start_container: Vec<Hook>,
    /// Outside, after the program was executed.
    pub poststart: Vec<Hook>,
    /// Outside, after the container was deleted.
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// The hooks of a configuration.
    pub fn new(specs: &HookSpecs) -> Result<Self, Error> {
        let mut create_runtime = list("prestart", &specs.prestart)?;
        create_runtime.extend(list("createRuntime", &specs.create_runtime)?);
        Ok(Self {
            create_runtime,
            create_container: list("createContainer", &specs.create_container)?,
            start_container: list("startContainer", &specs.start_container)?,
            poststart: list("poststart", &specs.poststart)?,
            poststop: list("poststop", &specs.poststop)?,
        })
    }
}

fn list(name: &str, specs: &[Spec]) -> Result<Vec<Hook>, Error> {
    let one = |(i, spec)| one(&format!("hooks.{name}[{i}]"), format!("{name} hook #{i}"), spec);
    specs.iter().enumerate().map(one).collect()
}

fn one(field: &str, name: String, spec: &Spec) -> Result<Hook, Error> {
    let c_string = |name: &str, text: &str| {
        CString::new(text).map_err(|_| {
            Error::invalid(format!("{field}.{name}"), text.escape_debug(), "contains a NUL")
        })
    };
    if !spec.path.starts_with('/') {
        return Err(Error::invalid(format!("{field}.path"), &spec.path, "is not an absolute path"));
    }
    let timeout = match spec.timeout {
        None => None,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
            _ => {
                return Err(Error::invalid(
                    format!("{field}.timeout"),
                    seconds,
                    "is not above zero",
                ));
            }
        },
    };
    let mut argv =
        spec.args.iter().map(|arg| c_string("args", arg)).collect::<Result<Vec<_>, _>>()?;
    if argv.is_empty() {
        argv.push(c_string("path", &spec.path)?);
    }
    Ok(Hook {
        name,
        path: c_string("path", &spec.path)?,
        argv,
        env: spec.env.iter().map(|one| c_string("env", one)).collect::<Result<_, _>>()?,
        timeout,
    })
}
