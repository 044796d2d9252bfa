//! The other way: what a graph does as operations, for who wants to see it, or to look into what failed.

use buildgraph::{
    Action, Copy, Exec, File, Identity, Limits, MountKind, Network, Op, Owner, Range, Security,
    Sharing, Source, Vertex,
};
use buildkit::pb::{self, MountType, file_action, user_opt};
use oci::image::Platform;

use crate::NAME;
use crate::exec::ROOT;
use crate::read::EMPTY;

/// The mode of what has the one that it had before.
const NO_MODE: i32 = -1;
/// The time where nobody says one.
const UNSAID: i64 = -1;

/// What a step runs on, or an image is for; of other steps it is not said, as in BuildKit.
pub fn platform_of(vertex: &Vertex) -> Option<pb::Platform> {
    let is_of_one =
        matches!(&vertex.op, Op::Exec(_) | Op::Source(Source::Image(_) | Source::Layout(_)));
    let of = vertex.platform.clone().unwrap_or_else(|| Platform::native().normalized());
    is_of_one.then(|| platform(&of))
}

/// A platform as messages name it, with the version of its system.
pub fn platform(of: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: of.architecture.clone(),
        os: of.os.clone(),
        variant: of.variant.clone().unwrap_or_default(),
        os_version: of.os_version.clone().unwrap_or_default(),
        ..pb::Platform::default()
    }
}

/// What is said of a step beside what it does.
pub fn about(vertex: &Vertex) -> pb::OpMetadata {
    let shown = &vertex.shown;
    let group = shown.group.as_ref();
    pb::OpMetadata {
        ignore_cache: vertex.ignore_cache,
        description: [(NAME.to_owned(), shown.name.clone())].into(),
        progress_group: group.map(|(id, name)| pb::ProgressGroup {
            id: id.clone(),
            name: name.clone(),
            weak: false,
        }),
        linux_resources: match &vertex.op {
            Op::Exec(exec) => limits(&exec.limits),
            _ => None,
        },
        ..pb::OpMetadata::default()
    }
}

fn limits(of: &Limits) -> Option<pb::LinuxResources> {
    (*of != Limits::default()).then(|| pb::LinuxResources {
        memory: of.memory,
        memory_swap: of.memory_swap,
        cpu_shares: of.cpu_shares.unsigned_abs(),
        cpu_period: of.cpu_period.unsigned_abs(),
        cpu_quota: of.cpu_quota,
        cpuset_cpus: of.cpuset_cpus.clone(),
        cpuset_mems: of.cpuset_mems.clone(),
    })
}

/// Each line by itself, as BuildKit has them.
pub fn lines(range: Range) -> impl Iterator<Item = pb::Range> {
    let at = |line: u32| {
        let line = i32::try_from(line).unwrap_or(i32::MAX);
        Some(pb::Position { line, character: 0 })
    };
    (range.start..=range.end).map(move |line| pb::Range { start: at(line), end: at(line) })
}

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

/// The same, where inputs have other numbers in the operation, by those that they have there.
pub fn numbered(exec: &Exec, numbers: &[i64]) -> pb::ExecOp {
    let mut op = exec_op(exec);
    for mount in &mut op.mounts {
        if let Ok(input) = usize::try_from(mount.input) {
            mount.input = numbers.get(input).copied().unwrap_or(EMPTY);
        }
    }
    op
}

/// Changes of files as an operation of so many inputs, by whose numbers its own are known there. Each works on what
/// the one before has made, and the last makes the result.
pub fn file_op(file: &File, numbers: &[i64], n_inputs: usize) -> pb::FileOp {
    let number = |input: usize| numbers.get(input).copied().unwrap_or(EMPTY);
    let made = |action: usize| i64::try_from(n_inputs + action).unwrap_or(EMPTY);
    let mut actions = Vec::new();
    for (at, one) in file.actions.iter().enumerate() {
        actions.push(pb::FileAction {
            input: at.checked_sub(1).map_or_else(|| number(0), made),
            secondary_input: match one {
                Action::Copy(copy) => number(copy.input),
                _ => EMPTY,
            },
            output: if at + 1 == file.actions.len() { 0 } else { EMPTY },
            action: Some(action(one, &number)),
        });
    }
    pb::FileOp { actions }
}

fn action(of: &Action, number: &dyn Fn(usize) -> i64) -> file_action::Action {
    match of {
        Action::Copy(one) => file_action::Action::Copy(copy(one, number)),
        Action::MakeFile(make) => file_action::Action::Mkfile(pb::FileActionMkFile {
            path: make.path.clone(),
            mode: mode(make.mode),
            data: make.data.clone(),
            owner: owner(make.owner.as_ref(), number),
            timestamp: make.time.unwrap_or(UNSAID),
        }),
        Action::MakeDirectory(make) => file_action::Action::Mkdir(pb::FileActionMkDir {
            path: make.path.clone(),
            mode: mode(make.mode),
            make_parents: make.parents,
            owner: owner(make.owner.as_ref(), number),
            timestamp: make.time.unwrap_or(UNSAID),
        }),
        Action::Symlink(make) => file_action::Action::Symlink(pb::FileActionSymlink {
            oldpath: make.target.clone(),
            newpath: make.path.clone(),
            owner: owner(make.owner.as_ref(), number),
            timestamp: make.time.unwrap_or(UNSAID),
        }),
        Action::Remove(remove) => file_action::Action::Rm(pb::FileActionRm {
            path: remove.path.clone(),
            allow_not_found: remove.may_be_missing,
            allow_wildcard: remove.wildcards,
        }),
    }
}

fn copy(of: &Copy, number: &dyn Fn(usize) -> i64) -> pb::FileActionCopy {
    let octal = u32::from_str_radix(&of.mode, 8).ok();
    pb::FileActionCopy {
        src: of.source.clone(),
        dest: of.destination.clone(),
        owner: owner(of.owner.as_ref(), number),
        mode: octal.map_or(NO_MODE, mode),
        mode_str: if octal.is_some() { String::new() } else { of.mode.clone() },
        follow_symlink: of.follow_links,
        dir_copy_contents: of.contents_only,
        attempt_unpack_docker_compatibility: of.unpack,
        create_dest_path: of.create_destination,
        allow_wildcard: of.wildcards,
        allow_empty_wildcard: of.may_be_empty,
        timestamp: of.time.unwrap_or(UNSAID),
        include_patterns: of.include.clone(),
        exclude_patterns: of.exclude.clone(),
        required_paths: of.required.clone(),
        always_replace_existing_dest_paths: of.replace,
    }
}

fn mode(mode: u32) -> i32 {
    i32::try_from(mode).unwrap_or(NO_MODE)
}

fn owner(of: Option<&Owner>, number: &dyn Fn(usize) -> i64) -> Option<pb::ChownOpt> {
    let named = |name: &String, input: usize| {
        user_opt::User::ByName(pb::NamedUserOpt { name: name.clone(), input: number(input) })
    };
    let who = |of: &Identity| {
        let user = match of {
            Identity::Id(id) => user_opt::User::ById(*id),
            Identity::Name(name) => named(name, 0),
            Identity::NameIn { input, name } => named(name, *input),
        };
        pb::UserOpt { user: Some(user) }
    };
    let of = of?;
    Some(pb::ChownOpt { user: of.user.as_ref().map(who), group: of.group.as_ref().map(who) })
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
