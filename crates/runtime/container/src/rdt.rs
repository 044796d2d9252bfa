//! The container's class of service of resctrl: config-linux.md, `IntelRdt`.

use plan::{Closid, Rdt};
use resctrl::Resctrl;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What is kept of a container's class, to put more processes there, and to remove what is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// The directory; empty is the default class.
    name: String,
    /// It was made for this container.
    own: bool,
    /// The monitoring group, which always was.
    monitor: Option<String>,
}

/// A class that is about to be made, or used.
pub(crate) struct Prepared {
    resctrl: Resctrl,
    pub(crate) class: Class,
}

fn mounted() -> Result<Resctrl, Error> {
    Resctrl::find()?.ok_or_else(|| {
        Error::Refused(
            "linux.intelRdt cannot be set: resctrl is not mounted on this machine".into(),
        )
    })
}

/// Finds out what there is to be made. Nothing is made yet: the record comes first.
pub(crate) fn prepare(plan: &Rdt) -> Result<Prepared, Error> {
    let resctrl = mounted()?;
    let (name, own) = match &plan.class {
        Closid::Default => (String::new(), false),
        Closid::Named(name) => (name.clone(), false),
        Closid::Own(id) => (id.clone(), !resctrl.exists(id)),
    };
    if !own && !plan.says_how_much() && !resctrl.exists(&name) {
        return Err(Error::Refused(format!("linux.intelRdt.closID: `{name}` does not exist")));
    }
    let class = Class { name, own, monitor: plan.monitor.clone() };
    Ok(Prepared { resctrl, class })
}

impl Prepared {
    /// Makes the class and moves the container's first process there.
    pub(crate) fn apply(&self, plan: &Rdt, pid: i32) -> Result<(), Error> {
        let (resctrl, class) = (&self.resctrl, &self.class);
        let there = resctrl.exists(&class.name);
        if !there {
            resctrl.create(&class.name)?;
        }
        let named = !matches!(plan.class, Closid::Own(_));
        for schema in &plan.schemas {
            if !(there && named) {
                resctrl.write_schema(&class.name, schema)?;
            } else if !resctrl::agrees(schema, &resctrl.schemata(&class.name)?) {
                return Err(Error::Refused(format!(
                    "linux.intelRdt: `{schema}` is not what the class `{}` has",
                    if class.name.is_empty() { "/" } else { &class.name }
                )));
            }
        }
        for line in &plan.schemata {
            resctrl.write_schema(&class.name, line)?;
        }
        if let Some(monitor) = &class.monitor {
            resctrl.create_monitor(&class.name, monitor)?;
        }
        class.assign_in(resctrl, pid)
    }
}

impl Class {
    fn assign_in(&self, resctrl: &Resctrl, pid: i32) -> Result<(), Error> {
        Ok(resctrl.assign(&self.name, self.monitor.as_deref(), pid)?)
    }

    /// Moves another process of the container there.
    pub(crate) fn assign(&self, pid: i32) -> Result<(), Error> {
        self.assign_in(&mounted()?, pid)
    }

    /// Removes what was made for the container.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        // Unmounted meanwhile, it holds nothing any more.
        let Some(resctrl) = Resctrl::find()? else { return Ok(()) };
        if let Some(monitor) = &self.monitor {
            resctrl.remove_monitor(&self.name, monitor)?;
        }
        if self.own {
            resctrl.remove(&self.name)?;
        }
        Ok(())
    }
}
