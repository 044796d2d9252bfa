//! Limits put into force.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::carry::Writer;
use crate::cgroup::{Cgroup, Member};
use crate::device::{DeviceRule, Exceptions};
use crate::encode::{self, Step, Write};
use crate::error::{Error, pass};
use crate::hierarchy::Mode;
use crate::parse;
use crate::program::device_program;
use crate::resources::{Cpu, Cpuset, Io, Limit, Memory, Resources};
use crate::tree::{Dir, Version};

impl Cgroup {
    /// Puts the limits into force, in an order that each of them allows. Those that are absent stay
    /// as they are.
    ///
    /// Fails at the first that cannot be had; those before it are in force then, so this is for a
    /// cgroup that is removed when it fails. [`Error::MissingController`] and [`Error::Unsupported`]
    /// name what the machine lacks.
    pub fn apply(&self, resources: &Resources) -> Result<(), Error> {
        pass("cgroup.limit")?;
        Applying { cgroup: self, to: Writer::new(false) }.all(resources)?;
        pass("cgroup.limited")
    }

    /// The same, for a cgroup that is in use: when a limit cannot be had, those that were changed
    /// before it are changed back. [`Error::Unchanged`] where that worked, [`Error::Changed`] names
    /// what is not as it was.
    ///
    /// What is not named and hangs together with what is, keeps its meaning: the limit on memory and
    /// swap together stays what it is when the one on memory changes.
    pub fn update(&self, resources: &Resources) -> Result<(), Error> {
        pass("cgroup.limit")?;
        let mut applying = Applying { cgroup: self, to: Writer::new(true) };
        let mut resources = resources.clone();
        let applied = self
            .complete_memory(&mut resources.memory)
            .and_then(|()| applying.all(&resources))
            .and_then(|()| pass("cgroup.limited"));
        applied.map_err(|error| applying.to.undo(error))
    }

    /// v2 has a limit on swap alone: of what is asked for and what is in force, what v1 would make.
    fn complete_memory(&self, memory: &mut Memory) -> Result<(), Error> {
        let Some(member) = self.member("memory", Some("memory")) else { return Ok(()) };
        if member.tree.version == Version::V1 || memory.max.is_none() && memory.memsw.is_none() {
            return Ok(());
        }
        let read = |file| -> Result<Option<Limit>, Error> {
            Ok(parse::limit(&member.dir.read_if_there(file)?.unwrap_or_default()))
        };
        match (memory.max, memory.memsw) {
            (None, Some(Limit::At(_))) => memory.max = read("memory.max")?,
            (Some(Limit::At(max)), None) => {
                let now = (read("memory.max")?, read("memory.swap.max")?);
                if let (Some(Limit::At(old)), Some(Limit::At(swap @ 1..))) = now {
                    // Less than nothing is nothing: there is no swap left beside so much memory.
                    memory.memsw = Some(Limit::At(old.saturating_add(swap).max(max)));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

struct Applying<'a> {
    cgroup: &'a Cgroup,
    to: Writer<'a>,
}

impl<'a> Applying<'a> {
    fn all(&mut self, resources: &Resources) -> Result<(), Error> {
        if let Some(rules) = &resources.devices {
            self.devices(rules)?;
        }
        if resources.cpuset != Cpuset::default() {
            self.steps(("cpuset", Some("cpuset")), "a set of processors or nodes", |_| {
                Ok(encode::cpuset(&resources.cpuset))
            })?;
        }
        if resources.cpu != Cpu::default() {
            self.cpu(&resources.cpu)?;
        }
        if resources.memory != Memory::default() {
            self.memory(&resources.memory)?;
        }
        if let Some(limit) = resources.pids {
            self.steps(("pids", Some("pids")), "a limit on processes", |_| {
                Ok(encode::pids(limit))
            })?;
        }
        if resources.io != Io::default() {
            self.steps(("blkio", Some("io")), "a limit on disk accesses", |version| {
                encode::io(&resources.io, version)
            })?;
        }
        self.rare(resources)?;
        self.unified(&resources.unified)
    }

    fn rare(&mut self, resources: &Resources) -> Result<(), Error> {
        if !resources.hugetlb.is_empty() {
            self.steps(("hugetlb", Some("hugetlb")), "a limit on huge pages", |version| {
                Ok(encode::hugetlb(&resources.hugetlb, version))
            })?;
        }
        if !resources.rdma.is_empty() {
            self.steps(("rdma", Some("rdma")), "a limit on remote memory", |_| {
                Ok(encode::rdma(&resources.rdma))
            })?;
        }
        if resources.network.class_id.is_some() {
            self.steps(("net_cls", None), "a class of packets", |_| {
                Ok(encode::net_cls(&resources.network))
            })?;
        }
        if !resources.network.priorities.is_empty() {
            self.steps(("net_prio", None), "a priority of packets", |_| {
                Ok(encode::net_prio(&resources.network))
            })?;
        }
        Ok(())
    }

    fn member(
        &self,
        (v1, v2): (&'static str, Option<&'static str>),
        limit: &str,
    ) -> Result<&'a Member, Error> {
        let missing = || Error::MissingController { controller: v1, limit: limit.to_owned() };
        self.cgroup.member_for_limit(v1, v2).ok_or_else(missing)
    }

    /// Carries out the steps for a controller (by its names on v1 and v2) in the tree that has it.
    fn steps(
        &mut self,
        controller: (&'static str, Option<&'static str>),
        limit: &str,
        steps: impl FnOnce(Version) -> Result<Vec<Step>, Error>,
    ) -> Result<(), Error> {
        let member = self.member(controller, limit)?;
        for step in steps(member.tree.version)? {
            self.to.carry_out(&member.dir, &step, limit)?;
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu) -> Result<(), Error> {
        let limit = "a limit on processor time";
        let member = self.member(("cpu", Some("cpu")), limit)?;
        let mut cpu = cpu.clone();
        // v2 has one file for both, which cannot be written without the quota.
        if let (None, Some(_), Version::V2) = (cpu.quota, cpu.period, member.tree.version) {
            let now = member.dir.read_if_there("cpu.max")?.unwrap_or_default();
            cpu.quota = Some(parse::cpu_max(&now).map_or(Limit::Max, |(quota, _)| quota));
        }
        let steps = encode::cpu(&cpu, member.tree.version)?;
        if cpu.rt_runtime.is_some_and(|us| us > 0) {
            self.parents_real_time(member, &cpu)?;
        }
        for step in steps {
            self.to.carry_out(&member.dir, &step, limit).map_err(|error| match error {
                Error::Inexact { is, wanted, .. } if is < wanted => {
                    value(limit, format!("the maximum allowed cpu-shares is {is}"))
                }
                Error::Inexact { is, .. } => {
                    value(limit, format!("the minimum allowed cpu-shares is {is}"))
                }
                other => other,
            })?;
        }
        Ok(())
    }

    /// A cgroup can give its children no more real time than it has itself, and a new one has none:
    /// each parent that has none gets as much as is asked for.
    fn parents_real_time(&mut self, member: &'a Member, cpu: &Cpu) -> Result<(), Error> {
        let path = self.cgroup.path();
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        for depth in 1..names.len() {
            let Some(parent) = member.tree.root.find(&names[..depth].join("/"))? else { continue };
            let now = parent.read_if_there("cpu.rt_runtime_us")?;
            if now.is_some_and(|text| text.trim() == "0")
                && let Some(step) = encode::real_time(cpu)
            {
                Writer::new(false).carry_out(&parent, &step, "real time of a parent")?;
            }
        }
        Ok(())
    }

    fn memory(&mut self, memory: &Memory) -> Result<(), Error> {
        let limit = "a limit on memory";
        let member = self.member(("memory", Some("memory")), limit)?;
        if memory.check_before_update && member.tree.version == Version::V2 {
            check_usage(&member.dir, memory)?;
        }
        for step in encode::memory(memory, member.tree.version)? {
            self.to.carry_out(&member.dir, &step, limit).map_err(|error| {
                match (error, memory.max) {
                    (Error::Call(call), Some(Limit::At(max))) if call.errno() == Errno::BUSY => {
                        in_use(&member.dir, max)
                    }
                    (other, _) => other,
                }
            })?;
        }
        Ok(())
    }

    fn devices(&mut self, rules: &[DeviceRule]) -> Result<(), Error> {
        let exceptions = Exceptions::of(rules)?;
        if let Some(member) = self.cgroup.member("devices", None) {
            let list = member.dir.read("devices.list")?;
            return Ok(member.dir.write_each(&exceptions.writes_from(&list))?);
        }
        match self.cgroup.v2() {
            Some(member) => attach_program(&member.dir, &exceptions),
            None => Err(Error::MissingController {
                controller: "devices",
                limit: "a rule for devices".to_owned(),
            }),
        }
    }

    fn unified(&mut self, files: &BTreeMap<String, String>) -> Result<(), Error> {
        for (file, value) in files {
            let limit = format!("unified resource `{}`", file.escape_debug());
            let wrong = |why: &str| Err(Error::Value { limit: limit.clone(), why: why.to_owned() });
            if self.cgroup.mode() != Mode::V2 {
                return wrong("invalid configuration: cannot use unified on cgroup v1");
            }
            if file.contains('/') || file.starts_with('.') || !file.contains('.') {
                return wrong("is not the name of a cgroup file");
            }
            let Some(member) = self.cgroup.v2() else { return wrong("the cgroup is not there") };
            // Some files take one line at a time.
            for line in value.lines() {
                let step =
                    Step::All(vec![Write { file: file.clone(), value: line.trim().to_owned() }]);
                match self.to.carry_out(&member.dir, &step, &limit) {
                    Err(Error::Unsupported { .. }) => {
                        return Err(no_unified(member, file, limit));
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }
}

/// Why there is no such file.
fn no_unified(member: &Member, file: &str, limit: String) -> Error {
    let controller = file.split('.').next().unwrap_or_default();
    let given = member.dir.read_if_there("cgroup.controllers").ok().flatten();
    let given = given.unwrap_or_default();
    if controller == "cgroup" || parse::words(&given).contains(&controller) {
        return encode::unsupported(file, &limit);
    }
    Error::Value { limit, why: format!("controller `{controller}` is not available") }
}

fn value(limit: &str, why: String) -> Error {
    Error::Value { limit: limit.to_owned(), why }
}

/// Refuses what would have processes killed at once.
fn check_usage(dir: &Dir, memory: &Memory) -> Result<(), Error> {
    // As far as it is known: the kernel decides in the end.
    let Some(used) = dir.read_if_there("memory.current")?.and_then(|text| parse::number(&text))
    else {
        return Ok(());
    };
    for (what, limit) in [("memory+swap", memory.memsw), ("memory", memory.max)] {
        if let Some(Limit::At(max)) = limit
            && max <= used
        {
            return Err(Error::Rejected { what, max, used });
        }
    }
    Ok(())
}

/// v1 refuses a limit that it cannot reach by reclaiming.
fn in_use(dir: &Dir, max: u64) -> Error {
    let number = |file| {
        let text = dir.read_if_there(file).ok().flatten();
        text.and_then(|text| parse::number(&text)).unwrap_or(0)
    };
    Error::MemoryInUse {
        max,
        used: number("memory.usage_in_bytes"),
        peak: number("memory.max_usage_in_bytes"),
    }
}

/// Attaches the rules' program in place of the one before. Where several were attached, or where the
/// kernel cannot replace one (before Linux 5.6), the new one comes first and then they go, so that at
/// no time less is denied than before or after.
fn attach_program(dir: &Dir, exceptions: &Exceptions) -> Result<(), Error> {
    let directory = dir.for_reading()?;
    let mut old: Vec<OwnedFd> = Vec::new();
    for id in sys::bpf_query_cgroup_device(directory.as_fd())? {
        match sys::bpf_prog_by_id(id) {
            Ok(program) => old.push(program),
            // It is gone; or a security module keeps it from us, and then it only denies more.
            Err(err) if matches!(err.errno(), Errno::NOENT | Errno::PERM | Errno::ACCESS) => {}
            Err(err) => return Err(err.into()),
        }
    }
    let program = load(exceptions)?;
    if let [only] = old.as_slice() {
        match sys::bpf_attach_cgroup_device(directory.as_fd(), program.as_fd(), Some(only.as_fd()))
        {
            Err(err) if err.errno() == Errno::INVAL => {}
            other => return Ok(other?),
        }
    }
    sys::bpf_attach_cgroup_device(directory.as_fd(), program.as_fd(), None)?;
    for one in old {
        sys::bpf_detach_cgroup_device(directory.as_fd(), one.as_fd())?;
    }
    Ok(())
}

/// Loads the rules' program. Before Linux 5.11 it counts against the memory that may be locked, of
/// which there may be too little.
fn load(exceptions: &Exceptions) -> Result<OwnedFd, Error> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let program = device_program(exceptions);
    let refused = match sys::bpf_load_cgroup_device(&program) {
        Err(err) if err.errno() == Errno::PERM => err,
        other => return Ok(other?),
    };
    let limit = getrlimit(Resource::Memlock);
    if setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_err() {
        return Err(refused.into());
    }
    let loaded = sys::bpf_load_cgroup_device(&program);
    // Lowering is always allowed.
    let _ = setrlimit(Resource::Memlock, limit);
    Ok(loaded?)
}
