//! Cache and memory bandwidth: a class of service of resctrl.

use oci::runtime::IntelRdt;

use crate::Error;

/// What a container gets of caches and memory bandwidth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rdt {
    /// The class of service.
    pub class: Closid,
    /// The line of the level 3 cache, and then that of the memory bandwidth: of a named class that
    /// is there already they must be so, else they are written.
    pub schemas: Vec<String>,
    /// Lines that are written after those, one after the other.
    pub schemata: Vec<String>,
    /// The name of the monitoring group, if there is one.
    pub monitor: Option<String>,
}

/// Which class of service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closid {
    /// The machine's default one: the root of resctrl.
    Default,
    /// One that the configuration names: it is made where it is missing, and never removed.
    Named(String),
    /// One of the container's own, with its id: it is removed with the container.
    Own(String),
}

impl Rdt {
    /// Whether anything is said about how much the class gets. If not, a named class must be there.
    pub fn says_how_much(&self) -> bool {
        !self.schemas.is_empty() || !self.schemata.is_empty()
    }
}

pub(crate) fn rdt(spec: &IntelRdt, id: &str) -> Result<Rdt, Error> {
    let class = match spec.clos_id.as_str() {
        "" => Closid::Own(id.to_owned()),
        "/" => Closid::Default,
        name if name == "." || name == ".." || name.contains(['/', '\0', '\n']) => {
            let why = "is not a directory's name";
            return Err(Error::invalid("linux.intelRdt.closID", name.escape_debug(), why));
        }
        // Directories of resctrl itself, which are no classes.
        name @ ("info" | "mon_groups" | "mon_data") => {
            let why = "is resctrl's own directory";
            return Err(Error::invalid("linux.intelRdt.closID", name, why));
        }
        name => Closid::Named(name.to_owned()),
    };
    let line = |field: &str, text: &str, prefix: &str| {
        let field = format!("linux.intelRdt.{field}");
        if text.contains(['\n', '\0']) {
            let why = "has a line break or NUL in it";
            return Err(Error::invalid(field, text.escape_debug(), why));
        }
        if !text.starts_with(prefix) {
            return Err(Error::invalid(field, text, format!("does not begin with `{prefix}`")));
        }
        Ok(text.to_owned())
    };
    let mut schemas = Vec::new();
    if !spec.l3_cache_schema.is_empty() {
        schemas.push(line("l3CacheSchema", &spec.l3_cache_schema, "L3")?);
    }
    if !spec.mem_bw_schema.is_empty() {
        schemas.push(line("memBwSchema", &spec.mem_bw_schema, "MB:")?);
    }
    let schemata = spec
        .schemata
        .iter()
        .enumerate()
        .map(|(i, text)| line(&format!("schemata[{i}]"), text, ""))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Rdt { class, schemas, schemata, monitor: spec.enable_monitoring.then(|| id.to_owned()) })
}
