//! The other way: a program of a graph as an operation, for who wants to look into one that failed.

use buildgraph::{Exec, MountKind, Network, Security, Sharing};
use buildkit::pb::{self, MountType};

use crate::exec::ROOT;
use crate::read::EMPTY;

/// A program as an operation: its root is the first mount, the others follow in their order. Inputs have the numbers
/// that they have there.
pub fn exec_op(exec: &Exec) -> pb::ExecOp {
    let hosts = exec.hosts.iter();
    let hosts = hosts.map(|one| pb::HostIp { host: one.name.clone(), ip: one.address.clone() });
    let ulimits = exec.ulimits.iter();
    let ulimits =
        ulimits.map(|one| pb::Ulimit { name: one.name.clone(), soft: one.soft, hard: one.hard });
    let meta = pb::Meta {
        args: exec.args.clone(),
        env: exec.env.clone(),
        cwd: exec.cwd.clone(),
        user: exec.user.clone(),
        extra_hosts: hosts.collect(),
        hostname: exec.hostname.clone(),
        ulimit: ulimits.collect(),
        cgroup_parent: exec.cgroup_parent.clone(),
        valid_exit_codes: exec.valid_exit_codes.clone(),
        ..pb::Meta::default()
    };
    let root = pb::Mount {
        dest: ROOT.into(),
        readonly: exec.readonly_root,
        mount_type: MountType::Bind.into(),
        ..pb::Mount::default()
    };
    let mounts = std::iter::once(root).chain(exec.mounts.iter().map(mount)).collect();
    let secrets = exec.secrets.iter().map(|one| pb::SecretEnv {
        id: one.id.clone(),
        name: one.name.clone(),
        optional: one.optional,
    });
    let devices = exec.devices.iter();
    let devices =
        devices.map(|one| pb::CdiDevice { name: one.name.clone(), optional: one.optional });
    pb::ExecOp {
        meta: Some(meta),
        mounts,
        network: match exec.network {
            Network::Default => 0,
            Network::Host => 1,
            Network::None => 2,
        },
        security: match exec.security {
            Security::Sandbox => 0,
            Security::Insecure => 1,
        },
        secretenv: secrets.collect(),
        cdi_devices: devices.collect(),
    }
}

fn mount(of: &buildgraph::Mount) -> pb::Mount {
    let number =
        |input: Option<usize>| input.and_then(|at| i64::try_from(at).ok()).unwrap_or(EMPTY);
    let part = |source: &str| if source == ROOT { String::new() } else { source.to_owned() };
    let mount = pb::Mount {
        dest: of.target.clone(),
        input: EMPTY,
        output: EMPTY,
        readonly: of.readonly,
        ..pb::Mount::default()
    };
    match &of.kind {
        MountKind::Bind { input, source } => pb::Mount {
            mount_type: MountType::Bind.into(),
            input: number(Some(*input)),
            selector: part(source),
            ..mount
        },
        MountKind::Cache { id, sharing, from, source, .. } => {
            let sharing = match sharing {
                Sharing::Shared => 0,
                Sharing::Private => 1,
                Sharing::Locked => 2,
            };
            pb::Mount {
                mount_type: MountType::Cache.into(),
                input: number(*from),
                selector: part(source),
                cache_opt: Some(pb::CacheOpt { id: id.clone(), sharing }),
                ..mount
            }
        }
        MountKind::Tmpfs { size } => {
            let size = size.and_then(|size| i64::try_from(size).ok()).unwrap_or_default();
            let tmpfs_opt = Some(pb::TmpfsOpt { size });
            pb::Mount { mount_type: MountType::Tmpfs.into(), tmpfs_opt, ..mount }
        }
        MountKind::Secret { id, optional, uid, gid, mode } => {
            let (id, optional) = (id.clone(), *optional);
            let secret = pb::SecretOpt { id, uid: *uid, gid: *gid, mode: *mode, optional };
            pb::Mount { mount_type: MountType::Secret.into(), secret_opt: Some(secret), ..mount }
        }
        MountKind::Ssh { id, optional, uid, gid, mode } => {
            let (id, optional) = (id.clone(), *optional);
            let ssh = pb::SshOpt { id, uid: *uid, gid: *gid, mode: *mode, optional };
            pb::Mount { mount_type: MountType::Ssh.into(), ssh_opt: Some(ssh), ..mount }
        }
    }
}

/// Which of a program's mounts each of an operation's is, as it is read; `None`: the root.
pub fn mount_places(op: &pb::ExecOp) -> Vec<Option<usize>> {
    let root = op.mounts.iter().position(|mount| mount.dest == ROOT);
    let mut others: Vec<usize> = (0..op.mounts.len()).filter(|at| Some(*at) != root).collect();
    others.sort_by(|a, b| op.mounts[*a].dest.cmp(&op.mounts[*b].dest));
    let mut places = vec![None; op.mounts.len()];
    for (place, at) in others.into_iter().enumerate() {
        places[at] = Some(place);
    }
    places
}
