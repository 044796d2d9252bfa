//! Programs.

use std::collections::BTreeMap;

use buildgraph::{
    Device, Exec, HostEntry, Kept, Limits, Mount, MountKind, Network, Op, SecretVariable, Security,
    Sharing, Ulimit, VertexIdx,
};
use buildkit::pb::{self, MountType};

use crate::error::{Error, invalid, not_yet};
use crate::load::Operation;
use crate::read::{About, Reader};

/// Where the root is mounted.
pub(crate) const ROOT: &str = "/";
/// No more mounts are read of one program.
pub(crate) const MAX_MOUNTS: usize = 1000;
/// What a cache is where nobody says more.
pub(crate) const CACHE_MODE: u32 = 0o755;

/// A program on its way to a vertex.
struct Program {
    exec: Exec,
    inputs: Vec<VertexIdx>,
    /// Its results that are wanted, by number.
    kept: BTreeMap<usize, Kept>,
}

pub(crate) fn read(
    reader: &mut Reader<'_>,
    operation: &Operation<'_>,
    op: &pb::ExecOp,
    about: &About,
) -> Result<BTreeMap<usize, VertexIdx>, Error> {
    let Some(meta) = &op.meta else { return invalid("invalid exec op with no meta") };
    if meta.args.is_empty() {
        return invalid("invalid exec op with no args");
    }
    if op.mounts.is_empty() {
        return invalid("invalid exec op with no mounts");
    }
    if op.mounts.len() > MAX_MOUNTS {
        return Err(Error::TooLarge { what: "mounts of a program", max: MAX_MOUNTS });
    }
    let Some(root) = op.mounts.iter().find(|mount| mount.dest == ROOT) else {
        return invalid("invalid exec op with no rootfs");
    };
    let mut program = Program { exec: exec(op, meta)?, inputs: vec![], kept: BTreeMap::new() };
    program.exec.limits = Box::new(limits(operation)?);
    program.root(reader, operation, root)?;
    let mut mounts: Vec<&pb::Mount> =
        op.mounts.iter().filter(|mount| !std::ptr::eq(*mount, root)).collect();
    // What is mounted in another mount comes after that.
    mounts.sort_by(|a, b| a.dest.cmp(&b.dest));
    for mount in mounts {
        program.mount(reader, operation, mount)?;
    }
    if let Some(missing) = operation.wanted.iter().find(|at| !program.kept.contains_key(at)) {
        return invalid(format!("invalid output index {missing}: no mount of the exec op has it"));
    }
    program.add(reader, about)
}

fn exec(op: &pb::ExecOp, meta: &pb::Meta) -> Result<Exec, Error> {
    let network = match op.network {
        0 => Network::Default,
        1 => Network::Host,
        2 => Network::None,
        other => return invalid(format!("unknown network mode {other}")),
    };
    let security = match op.security {
        0 => Security::Sandbox,
        1 => Security::Insecure,
        other => return invalid(format!("invalid security mode {other}")),
    };
    let hosts = meta.extra_hosts.iter();
    let hosts = hosts.map(|one| HostEntry { name: one.host.clone(), address: one.ip.clone() });
    let ulimits = meta.ulimit.iter();
    let ulimits =
        ulimits.map(|one| Ulimit { name: one.name.clone(), soft: one.soft, hard: one.hard });
    let secrets = op.secretenv.iter().map(|one| SecretVariable {
        id: one.id.clone(),
        name: if one.name.is_empty() { one.id.clone() } else { one.name.clone() },
        optional: one.optional,
    });
    let devices = op.cdi_devices.iter();
    let devices = devices.map(|one| Device { name: one.name.clone(), optional: one.optional });
    Ok(Exec {
        args: meta.args.clone(),
        env: meta.env.clone(),
        proxied: false,
        proxy_env: meta.proxy_env.as_ref().map(proxies).unwrap_or_default(),
        cwd: if meta.cwd.is_empty() { ROOT.into() } else { meta.cwd.clone() },
        user: meta.user.clone(),
        hostname: meta.hostname.clone(),
        network,
        security,
        hosts: hosts.collect(),
        ulimits: ulimits.collect(),
        cgroup_parent: meta.cgroup_parent.clone(),
        secrets: secrets.collect(),
        devices: devices.collect(),
        valid_exit_codes: meta.valid_exit_codes.clone(),
        ..Exec::default()
    })
}

/// What it may use of the machine, which is said beside the operation.
fn limits(operation: &Operation<'_>) -> Result<Limits, Error> {
    let said = operation.metadata.and_then(|about| about.linux_resources.as_ref());
    let Some(said) = said else { return Ok(Limits::default()) };
    let number = |name: &str, number: u64| {
        i64::try_from(number).map_err(|_| Error::Invalid(format!("invalid {name} value: {number}")))
    };
    for (name, number, least) in [
        ("memory", said.memory, 0),
        ("memswap", said.memory_swap, -1),
        ("cpuquota", said.cpu_quota, 0),
    ] {
        if number < least {
            return invalid(format!("invalid {name} value: {number}"));
        }
    }
    Ok(Limits {
        memory: said.memory,
        memory_swap: said.memory_swap,
        cpu_shares: number("cpushares", said.cpu_shares)?,
        cpu_period: number("cpuperiod", said.cpu_period)?,
        cpu_quota: said.cpu_quota,
        cpuset_cpus: said.cpuset_cpus.clone(),
        cpuset_mems: said.cpuset_mems.clone(),
    })
}

/// Each in both spellings, as programs look for them.
fn proxies(proxies: &pb::ProxyEnv) -> Vec<String> {
    let all = [
        ("HTTP_PROXY", &proxies.http_proxy),
        ("HTTPS_PROXY", &proxies.https_proxy),
        ("FTP_PROXY", &proxies.ftp_proxy),
        ("NO_PROXY", &proxies.no_proxy),
        ("ALL_PROXY", &proxies.all_proxy),
    ];
    let said = all.iter().filter(|(_, value)| !value.is_empty());
    said.flat_map(|(name, value)| {
        [format!("{name}={value}"), format!("{}={value}", name.to_lowercase())]
    })
    .collect()
}

impl Program {
    fn root(
        &mut self,
        reader: &mut Reader<'_>,
        operation: &Operation<'_>,
        root: &pb::Mount,
    ) -> Result<(), Error> {
        if root.mount_type != MountType::Bind as i32 {
            return not_yet("a root that is no bind mount");
        }
        if !matches!(root.selector.as_str(), "" | ROOT) {
            return not_yet(format!("a part of a result ({}) as the root", root.selector));
        }
        let vertex = reader.input_or_scratch(operation, root.input)?;
        self.inputs.push(reader.layers(vertex)?);
        self.exec.readonly_root = root.readonly;
        self.keep(operation, root, Kept::Root)
    }

    fn mount(
        &mut self,
        reader: &mut Reader<'_>,
        operation: &Operation<'_>,
        mount: &pb::Mount,
    ) -> Result<(), Error> {
        if mount.dest.is_empty() || mount.dest == ROOT {
            return invalid(format!("invalid mount at {:?}", mount.dest));
        }
        if !mount.result_id.is_empty() {
            return invalid(format!("a mount of a result by its id ({})", mount.dest));
        }
        let target = if mount.dest.starts_with('/') {
            mount.dest.clone()
        } else {
            format!("/{}/{}", self.exec.cwd.trim_matches('/'), mount.dest)
        };
        let at = self.exec.mounts.len();
        let source = if mount.selector.is_empty() { ROOT } else { &mount.selector };
        let kind = match MountType::try_from(mount.mount_type) {
            Ok(MountType::Bind) => {
                let mut vertex = reader.input_or_scratch(operation, mount.input)?;
                if is_wanted(operation, mount) {
                    if mount.readonly {
                        return not_yet(format!("a result of the read-only mount {target}"));
                    }
                    vertex = reader.layers(vertex)?;
                    self.keep(operation, mount, Kept::Mount(at))?;
                }
                MountKind::Bind { input: self.input(vertex), source: source.into() }
            }
            Ok(MountType::Cache) => self.cache(reader, operation, mount, source)?,
            Ok(_) => without_input(mount, &target)?,
            Err(_) => return invalid(format!("mount type {} not implemented", mount.mount_type)),
        };
        self.exec.mounts.push(Mount { target, readonly: mount.readonly, kind });
        Ok(())
    }

    fn cache(
        &mut self,
        reader: &mut Reader<'_>,
        operation: &Operation<'_>,
        mount: &pb::Mount,
        source: &str,
    ) -> Result<MountKind, Error> {
        let Some(vertex) = reader.input(operation, mount.input)? else {
            return cache_of(mount, source, None);
        };
        // So a front end says whose an empty cache is to be.
        if let Some((wanted_mode, wanted_uid, wanted_gid)) = reader.made_directory(vertex, source) {
            let mut kind = cache_of(mount, "/", None)?;
            if let MountKind::Cache { mode, uid, gid, .. } = &mut kind {
                (*mode, *uid, *gid) = (wanted_mode, wanted_uid, wanted_gid);
            }
            return Ok(kind);
        }
        // What a cache begins with is a part of what it is called.
        let from = Some(self.input(reader.layers(vertex)?));
        cache_of(mount, source, from)
    }

    /// Mounts have inputs of their own, also where two are of the same result: what is taken of each counts.
    fn input(&mut self, vertex: VertexIdx) -> usize {
        self.inputs.push(vertex);
        self.inputs.len() - 1
    }

    fn keep(
        &mut self,
        operation: &Operation<'_>,
        mount: &pb::Mount,
        kept: Kept,
    ) -> Result<(), Error> {
        if !is_wanted(operation, mount) {
            return Ok(());
        }
        let output = usize::try_from(mount.output).unwrap_or_default();
        match self.kept.insert(output, kept) {
            None => Ok(()),
            Some(_) => invalid(format!("two mounts of an exec op have the output {output}")),
        }
    }

    /// One vertex, and a part for each result where there are several.
    fn add(
        mut self,
        reader: &mut Reader<'_>,
        about: &About,
    ) -> Result<BTreeMap<usize, VertexIdx>, Error> {
        let kept: Vec<(usize, Kept)> = self.kept.into_iter().collect();
        if !matches!(kept.as_slice(), [(_, Kept::Root)]) {
            self.exec.keeps = kept.iter().map(|(_, kept)| *kept).collect();
        }
        let vertex = reader.add(Op::Exec(self.exec), self.inputs, about)?;
        if let [(output, _)] = kept.as_slice() {
            return Ok([(*output, vertex)].into());
        }
        let mut parts = BTreeMap::new();
        for (part, (output, _)) in kept.into_iter().enumerate() {
            parts.insert(output, reader.add(Op::Part(part), vec![vertex], about)?);
        }
        Ok(parts)
    }
}

/// A cache; `from` is the input that it begins with.
pub(crate) fn cache_of(
    mount: &pb::Mount,
    source: &str,
    from: Option<usize>,
) -> Result<MountKind, Error> {
    let Some(cache) = &mount.cache_opt else {
        return invalid("missing cache mount options");
    };
    let sharing = match cache.sharing {
        0 => Sharing::Shared,
        1 => Sharing::Private,
        2 => Sharing::Locked,
        other => return invalid(format!("invalid cache sharing option: {other}")),
    };
    Ok(MountKind::Cache {
        id: if cache.id.is_empty() { mount.dest.clone() } else { cache.id.clone() },
        sharing,
        from,
        source: source.into(),
        mode: CACHE_MODE,
        uid: 0,
        gid: 0,
    })
}

/// A mount of no result: memory, a secret, an agent.
pub(crate) fn without_input(mount: &pb::Mount, target: &str) -> Result<MountKind, Error> {
    match MountType::try_from(mount.mount_type) {
        Ok(MountType::Tmpfs) => {
            let size = mount.tmpfs_opt.as_ref().map_or(0, |tmpfs| tmpfs.size);
            Ok(MountKind::Tmpfs { size: u64::try_from(size).ok().filter(|size| *size > 0) })
        }
        Ok(MountType::Secret) => {
            let Some(secret) = &mount.secret_opt else {
                return invalid(format!("invalid secret mount {target}: no options"));
            };
            if secret.id.is_empty() {
                return invalid("secret ID missing from mount options");
            }
            Ok(MountKind::Secret {
                id: secret.id.clone(),
                optional: secret.optional,
                uid: secret.uid,
                gid: secret.gid,
                mode: secret.mode & 0o777,
            })
        }
        Ok(MountType::Ssh) => {
            let Some(ssh) = &mount.ssh_opt else {
                return invalid(format!("invalid ssh mount {target}: no options"));
            };
            Ok(MountKind::Ssh {
                id: if ssh.id.is_empty() { "default".into() } else { ssh.id.clone() },
                optional: ssh.optional,
                uid: ssh.uid,
                gid: ssh.gid,
                mode: ssh.mode & 0o777,
            })
        }
        _ => invalid(format!("mount type {} not implemented", mount.mount_type)),
    }
}

/// Whether somebody works on what becomes of a mount.
fn is_wanted(operation: &Operation<'_>, mount: &pb::Mount) -> bool {
    usize::try_from(mount.output).is_ok_and(|output| operation.wanted.contains(&output))
}
