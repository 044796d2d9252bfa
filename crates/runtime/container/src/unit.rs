//! systemd's cgroup driver: the container's cgroup is a unit's, which systemd makes around its first
//! process. Our own limits are written to the cgroup's files afterwards, as with the other driver.

use cgroup::{Cgroup, Hierarchy, Mode, Resources};
use plan::{Plan, Systemd, UnitId};
use systemd::Manager;

use crate::cgroups;
use crate::error::Error;

/// Whether the calling user's own systemd is to make units: an ordinary user's, or that of root of a
/// user namespace who has one.
pub(crate) fn is_users(in_user_namespace: bool) -> bool {
    !rustix::process::geteuid().is_root() || (in_user_namespace && systemd::has_user_bus())
}

/// The cgroup that a unit will have: beneath the manager's own.
pub(crate) fn path(unit: &plan::Unit, hierarchy: Option<&Hierarchy>) -> Result<String, Error> {
    if !systemd::is_running() {
        return Err(systemd::Error::NotRunning.into());
    }
    if !unit.id.user {
        return Ok(unit.path.clone());
    }
    if hierarchy.is_none_or(|hierarchy| hierarchy.mode() != Mode::V2) {
        let why = "cannot use rootless systemd cgroups manager on cgroup v1";
        return Err(Error::Refused(why.to_owned()));
    }
    let own = Manager::connect(unit.id.whose())?.property("ControlGroup")?;
    Ok(own.trim_end_matches('/').to_owned() + &unit.path)
}

fn about(manager: &mut Manager, id: &UnitId, hierarchy: &Hierarchy) -> Result<Systemd, Error> {
    let v2 = hierarchy.mode() == Mode::V2;
    Ok(Systemd { version: manager.version()?, v2, user: id.user })
}

/// Has the unit made around process `pid`, which waits, and sets its limits. On an error in which
/// the unit is another's, `false` is left in `is_ours`.
pub(crate) fn start(
    unit: &plan::Unit,
    plan: &Plan,
    pid: i32,
    is_ours: &mut bool,
) -> Result<(), Error> {
    let hierarchy = Hierarchy::detect()?;
    let mut manager = Manager::connect(unit.id.whose())?;
    let systemd = about(&mut manager, &unit.id, &hierarchy)?;
    let properties = unit.start(pid, &plan.resources, systemd)?;
    let started = manager.start_transient(&unit.id.name, &properties);
    *is_ours = !matches!(&started, Err(error) if error.is_taken());
    started?;
    let cgroup = Cgroup::create(&hierarchy, &plan.cgroup_path)?;
    if hierarchy.mode() != Mode::V2 {
        // systemd moves it only in the trees that it knows.
        cgroup.attach(pid)?;
    }
    cgroup.apply(&plan.resources).map_err(cgroups::limit_error)
}

/// Changes the limits of a unit and of its cgroup.
pub(crate) fn update(id: &UnitId, cgroup: &Cgroup, limits: &Resources) -> Result<(), Error> {
    // First, so that what is refused is refused before systemd has done half of it.
    cgroup.update(limits).map_err(cgroups::limit_error)?;
    let mut manager = Manager::connect(id.whose())?;
    let systemd = about(&mut manager, id, &Hierarchy::detect()?)?;
    manager.set_properties(&id.name, &plan::unit_limits(limits, systemd)?)?;
    // Again: systemd rounds some of them.
    cgroup.apply(limits).map_err(cgroups::limit_error)
}

/// Has a unit stopped whose processes have ended. One that is gone is fine.
pub(crate) fn stop(id: Option<&UnitId>) -> Result<(), Error> {
    let Some(id) = id else { return Ok(()) };
    match Manager::connect(id.whose()) {
        // Then there are no units either.
        Err(systemd::Error::NotRunning) => Ok(()),
        other => Ok(other?.stop(&id.name)?),
    }
}

/// Whether a process gets into the unit's cgroup only by systemd: into a user's, who may not move it
/// out of the one that it is in.
pub(crate) fn needs_help(id: Option<&UnitId>) -> bool {
    id.is_some_and(|id| id.user)
}

/// Moves a process, which waits, into the unit's cgroup, or one below it that `wanted` names: on v2
/// it is one for all controllers.
pub(crate) fn join(id: Option<&UnitId>, wanted: &[String], pid: i32) -> Result<(), Error> {
    let Some(id) = id.filter(|id| id.user) else { return Ok(()) };
    let below = wanted.first().map_or("", String::as_str);
    let below = format!("/{}", below.trim_matches('/'));
    Ok(Manager::connect(id.whose())?.attach(&id.name, &below, pid)?)
}
