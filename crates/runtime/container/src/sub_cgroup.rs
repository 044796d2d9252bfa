//! `exec --cgroup`: into a cgroup below the container's.

use cgroup::Cgroup;

use crate::error::Error;

/// Goes to where `wanted` says: one path for all controllers, or `CONTROLLER[,...]:PATH` for each of
/// several.
pub(crate) fn descend(cgroup: &mut Cgroup, wanted: &[String]) -> Result<(), Error> {
    for one in wanted {
        let (controllers, path) = match one.split_once(':') {
            Some((controllers, path)) if !path.contains(':') => (Some(controllers), path),
            Some(_) => return Err(invalid(one, "it has more than one `:`")),
            None if wanted.len() > 1 => {
                return Err(invalid(one, "missing CONTROLLER: prefix beside another --cgroup"));
            }
            None => (None, one.as_str()),
        };
        if path.split('/').any(|part| part == "..") {
            return Err(Error::Refused(format!("--cgroup: {path} is not a sub cgroup path")));
        }
        match controllers {
            None => step(cgroup, None, path)?,
            Some(list) => list.split(',').try_for_each(|name| step(cgroup, Some(name), path))?,
        }
    }
    Ok(())
}

fn step(cgroup: &mut Cgroup, controller: Option<&str>, path: &str) -> Result<(), Error> {
    match cgroup.descend(controller, path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Refused(format!(
            "--cgroup: unknown controller {} (cgroup v2 has one path for all)",
            controller.unwrap_or_default()
        ))),
        Err(cgroup::Error::NotFound(file)) => Err(Error::Refused(format!(
            "--cgroup: adding pid of the new process: {file}: no such file or directory"
        ))),
        Err(error) => Err(error.into()),
    }
}

fn invalid(argument: &str, why: &str) -> Error {
    Error::Refused(format!("invalid --cgroup argument: {argument}: {why}"))
}
