//! Limits put into force.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::device::{DeviceRule, Exceptions};
use crate::encode::{self, Step, Write, unsupported};
use crate::error::{Error, pass};
use crate::program::device_program;
use crate::resources::{Cpu, Cpuset, Io, Limit, Memory, Resources};
use crate::tree::{Dir, Version};

impl Cgroup {
    /// Puts the limits into force, in an order that each of them allows. Those that are absent stay
    /// as they are.
    ///
    /// Fails at the first that cannot be had; those before it are in force then.
    /// [`Error::MissingController`] and [`Error::Unsupported`] name what the machine lacks.
    pub fn apply(&self, resources: &Resources) -> Result<(), Error> {
        pass("cgroup.limit")?;
        if let Some(rules) = &resources.devices {
            self.apply_devices(rules)?;
        }
        if resources.cpuset != Cpuset::default() {
            self.apply_to(("cpuset", Some("cpuset")), "a set of processors or nodes", |_| {
                Ok(encode::cpuset(&resources.cpuset))
            })?;
        }
        if resources.cpu != Cpu::default() {
            self.apply_cpu(&resources.cpu)?;
        }
        if resources.memory != Memory::default() {
            self.apply_memory(&resources.memory)?;
        }
        if let Some(limit) = resources.pids {
            self.apply_to(("pids", Some("pids")), "a limit on processes", |_| {
                Ok(encode::pids(limit))
            })?;
        }
        if resources.io != Io::default() {
            self.apply_to(("blkio", Some("io")), "a limit on disk accesses", |version| {
                encode::io(&resources.io, version)
            })?;
        }
        self.apply_rare(resources)?;
        self.apply_unified(&resources.unified)?;
        pass("cgroup.limited")
    }

    fn apply_rare(&self, resources: &Resources) -> Result<(), Error> {
        if !resources.hugetlb.is_empty() {
            self.apply_to(("hugetlb", Some("hugetlb")), "a limit on huge pages", |version| {
                Ok(encode::hugetlb(&resources.hugetlb, version))
            })?;
        }
        if !resources.rdma.is_empty() {
            self.apply_to(("rdma", Some("rdma")), "a limit on remote memory", |_| {
                Ok(encode::rdma(&resources.rdma))
            })?;
        }
        if resources.network.class_id.is_some() {
            self.apply_to(("net_cls", None), "a class of packets", |_| {
                Ok(encode::net_cls(&resources.network))
            })?;
        }
        if !resources.network.priorities.is_empty() {
            self.apply_to(("net_prio", None), "a priority of packets", |_| {
                Ok(encode::net_prio(&resources.network))
            })?;
        }
        Ok(())
    }

    /// Carries out the steps for a controller (by its names on v1 and v2) in the tree that has it.
    fn apply_to(
        &self,
        (v1, v2): (&'static str, Option<&'static str>),
        limit: &str,
        steps: impl FnOnce(Version) -> Result<Vec<Step>, Error>,
    ) -> Result<(), Error> {
        let Some(member) = self.member(v1, v2) else {
            return Err(Error::MissingController { controller: v1, limit: limit.to_owned() });
        };
        for step in steps(member.tree.version)? {
            carry_out(&member.dir, &step, limit)?;
        }
        Ok(())
    }

    fn apply_cpu(&self, cpu: &Cpu) -> Result<(), Error> {
        let mut cpu = cpu.clone();
        // v2 has one file for both, which cannot be written without the quota.
        if let (None, Some(_), Some(member)) =
            (cpu.quota, cpu.period, self.member("cpu", Some("cpu")))
            && member.tree.version == Version::V2
        {
            let now = member.dir.read_if_there("cpu.max")?.unwrap_or_default();
            let quota = now.split_whitespace().next().and_then(|word| word.parse().ok());
            cpu.quota = Some(quota.map_or(Limit::Max, Limit::At));
        }
        self.apply_to(("cpu", Some("cpu")), "a limit on processor time", |version| {
            encode::cpu(&cpu, version)
        })
    }

    fn apply_memory(&self, memory: &Memory) -> Result<(), Error> {
        if let (true, Some(Limit::At(max))) = (memory.check_before_update, memory.max) {
            let used = self.memory_in_use()?;
            if used > max {
                return Err(Error::Value {
                    limit: format!("a limit of {max} bytes on memory"),
                    why: format!("{used} are in use"),
                });
            }
        }
        self.apply_to(("memory", Some("memory")), "a limit on memory", |version| {
            encode::memory(memory, version)
        })
    }

    fn memory_in_use(&self) -> Result<u64, Error> {
        let Some(member) = self.member("memory", Some("memory")) else { return Ok(0) };
        let file = match member.tree.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        };
        Ok(member.dir.read(file)?.trim().parse().unwrap_or(0))
    }

    fn apply_devices(&self, rules: &[DeviceRule]) -> Result<(), Error> {
        if let Some(member) = self.member("devices", None) {
            for (file, value) in Exceptions::of(rules)?.writes() {
                member.dir.write(file, &value)?;
            }
            return Ok(());
        }
        match self.v2() {
            Some(member) => attach_program(&member.dir, rules),
            None => Err(Error::MissingController {
                controller: "devices",
                limit: "a rule for devices".to_owned(),
            }),
        }
    }

    fn apply_unified(&self, files: &BTreeMap<String, String>) -> Result<(), Error> {
        for (file, value) in files {
            if file.contains('/') || file.starts_with('.') || !file.contains('.') {
                return Err(Error::Value {
                    limit: format!("unified resource `{file}`"),
                    why: "is not the name of a cgroup file".to_owned(),
                });
            }
            let limit = format!("unified resource `{file}`");
            match self.v2() {
                Some(member) => {
                    let step = Step::All(vec![Write { file: file.clone(), value: value.clone() }]);
                    carry_out(&member.dir, &step, &limit)?;
                }
                None => return Err(unsupported(file, &limit)),
            }
        }
        Ok(())
    }
}

fn carry_out(dir: &Dir, step: &Step, limit: &str) -> Result<(), Error> {
    match step {
        Step::All(writes) => write_all(dir, writes, limit),
        Step::IfThere(write) => match dir.write(&write.file, &write.value) {
            Err(error) if error.errno() == Errno::NOENT => Ok(()),
            other => Ok(other?),
        },
        Step::FirstOf(writes) => {
            for write in writes {
                if dir.has(&write.file) {
                    return Ok(dir.write(&write.file, &write.value)?);
                }
            }
            Err(unsupported(writes.last().map_or("", |w| &w.file), limit))
        }
    }
}

/// Writes them in whichever order the kernel takes.
fn write_all(dir: &Dir, writes: &[Write], limit: &str) -> Result<(), Error> {
    let mut left: Vec<&Write> = writes.iter().collect();
    loop {
        let mut refused = Vec::new();
        let mut why = None;
        for write in &left {
            match dir.write(&write.file, &write.value) {
                Ok(()) => {}
                Err(error) if error.errno() == Errno::NOENT => {
                    return Err(unsupported(&write.file, limit));
                }
                Err(error) if error.errno() == Errno::INVAL => {
                    refused.push(*write);
                    why = why.or(Some(error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        match why {
            None => return Ok(()),
            Some(error) if refused.len() == left.len() => return Err(error.into()),
            Some(_) => left = refused,
        }
    }
}

/// Attaches the rules' program in place of the one before. Where several were attached, the new one
/// comes first and then they go, so that at no time less is denied than before or after.
fn attach_program(dir: &Dir, rules: &[DeviceRule]) -> Result<(), Error> {
    let directory = dir.for_reading()?;
    let old: Vec<OwnedFd> = sys::bpf_query_cgroup_device(directory.as_fd())?
        .into_iter()
        .filter_map(|id| sys::bpf_prog_by_id(id).ok())
        .collect();
    let program = sys::bpf_load_cgroup_device(&device_program(rules))?;
    if let [only] = old.as_slice() {
        sys::bpf_attach_cgroup_device(directory.as_fd(), program.as_fd(), Some(only.as_fd()))?;
        return Ok(());
    }
    sys::bpf_attach_cgroup_device(directory.as_fd(), program.as_fd(), None)?;
    for one in old {
        sys::bpf_detach_cgroup_device(directory.as_fd(), one.as_fd())?;
    }
    Ok(())
}
