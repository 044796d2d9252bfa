use buildgraph::{Exec, Kept, MountKind, Network, Security, Sharing};

use super::*;

fn mount(dest: &str, input: i64, output: i64) -> pb::Mount {
    pb::Mount { dest: dest.into(), input, output, ..pb::Mount::default() }
}

fn program(mounts: Vec<pb::Mount>) -> pb::ExecOp {
    let args = vec!["make".to_owned(), "all".into()];
    let meta = Some(pb::Meta { args, cwd: "/src".into(), ..pb::Meta::default() });
    pb::ExecOp { meta, mounts, ..pb::ExecOp::default() }
}

fn exec(vertex: &Vertex) -> &Exec {
    match &vertex.op {
        Op::Exec(exec) => exec,
        other => panic!("{other:?}"),
    }
}

/// A definition with an image and a directory of the client's.
fn with_inputs() -> (Definition, At, At) {
    let mut definition = Definition::default();
    let image = definition.source("docker-image://debian");
    let local = definition.source("local://src");
    (definition, image, local)
}

#[test]
fn all_of_a_program() {
    let (mut definition, image, _) = with_inputs();
    let mut op = program(vec![mount("/", 0, 0)]);
    let meta = op.meta.as_mut().unwrap();
    meta.env = vec!["A=b".into()];
    meta.user = "me".into();
    meta.hostname = "host".into();
    meta.cgroup_parent = "parent".into();
    meta.valid_exit_codes = vec![0, 3];
    meta.extra_hosts = vec![pb::HostIp { host: "x".into(), ip: "1.2.3.4".into() }];
    meta.ulimit = vec![pb::Ulimit { name: "nofile".into(), soft: 1, hard: 2 }];
    meta.proxy_env = Some(pb::ProxyEnv { http_proxy: "p".into(), ..pb::ProxyEnv::default() });
    op.network = 2;
    op.security = 1;
    op.secretenv = vec![pb::SecretEnv { id: "S".into(), name: String::new(), optional: true }];
    op.cdi_devices = vec![pb::CdiDevice { name: "a/b=c".into(), optional: false }];
    op.mounts[0].readonly = true;
    let top = definition.add(PbOp::Exec(op), &[&image]);
    let read = definition.read(&top).unwrap();
    let exec = exec(read.top());
    assert_eq!((exec.args.join(" ").as_str(), exec.cwd.as_str()), ("make all", "/src"));
    assert_eq!((exec.network, exec.security), (Network::None, Security::Insecure));
    assert_eq!(exec.proxy_env, ["HTTP_PROXY=p", "http_proxy=p"]);
    assert_eq!((exec.secrets[0].name.as_str(), exec.secrets[0].optional), ("S", true));
    assert_eq!((exec.hosts[0].address.as_str(), exec.ulimits[0].hard), ("1.2.3.4", 2));
    assert_eq!((exec.valid_exit_codes.as_slice(), exec.devices.len()), (&[0, 3][..], 1));
    assert!(exec.readonly_root && exec.keeps.is_empty() && exec.mounts.is_empty());
    assert_eq!(read.top().shown.name, "make all");
}

#[test]
fn limits_are_said_beside_a_program() {
    let limited = |limits: pb::LinuxResources| {
        let (mut definition, image, _) = with_inputs();
        let top = definition.add(PbOp::Exec(program(vec![mount("/", 0, 0)])), &[&image]);
        let about = definition.about(&top);
        about.linux_resources = Some(limits);
        about.caps.insert("exec.meta.linux.resources".into(), true);
        let read = definition.read(&top).map_err(|error| error.to_string())?;
        Ok::<_, String>((exec(read.top()).limits.clone(), read.top().digest.clone()))
    };
    let said =
        |memory| pb::LinuxResources { memory, cpuset_cpus: "0".into(), ..Default::default() };
    let (limits, digest) = limited(said(1 << 26)).unwrap();
    assert_eq!((limits.memory, limits.cpuset_cpus.as_str()), (1 << 26, "0"));
    let (other, same) = limited(said(1 << 27)).unwrap();
    assert_eq!((other.memory, same), (1 << 27, digest), "no part of what it is");
    assert_eq!(limited(said(-1)).unwrap_err(), "invalid memory value: -1");
    let shares = pb::LinuxResources { cpu_shares: u64::MAX, ..Default::default() };
    assert!(limited(shares).unwrap_err().contains("cpushares"));
}

#[test]
fn mounts_of_all_kinds() {
    let (mut definition, image, local) = with_inputs();
    let cache = pb::CacheOpt { id: String::new(), sharing: 2 };
    let secret = pb::SecretOpt { id: "s".into(), uid: 1, gid: 2, mode: 0o400, optional: true };
    let ssh = pb::SshOpt { mode: 0o600, ..pb::SshOpt::default() };
    let of = |dest: &str, kind: i32| pb::Mount { mount_type: kind, ..mount(dest, -1, -1) };
    let op = program(vec![
        pb::Mount { selector: "/sub".into(), readonly: true, ..mount("/in", 1, -1) },
        mount("/", 0, 0),
        pb::Mount { ssh_opt: Some(ssh), ..of("/agent", 2) },
        pb::Mount { cache_opt: Some(cache), ..of("/cache", 3) },
        pb::Mount { tmpfs_opt: Some(pb::TmpfsOpt { size: 4096 }), ..of("tmp", 4) },
        pb::Mount { secret_opt: Some(secret), ..of("/secret", 1) },
    ]);
    let top = definition.add(PbOp::Exec(op), &[&image, &local]);
    let read = definition.read(&top).unwrap();
    let exec = exec(read.top());
    let targets: Vec<_> = exec.mounts.iter().map(|one| one.target.as_str()).collect();
    assert_eq!(targets, ["/agent", "/cache", "/in", "/secret", "/src/tmp"]);
    let kinds: Vec<_> = exec.mounts.iter().map(|one| &one.kind).collect();
    assert!(matches!(kinds[0], MountKind::Ssh { id, optional: false, .. } if id == "default"));
    let MountKind::Cache { id, sharing, from: None, .. } = kinds[1] else { panic!() };
    assert_eq!((id.as_str(), *sharing), ("/cache", Sharing::Locked));
    assert_eq!(*kinds[2], MountKind::Bind { input: 1, source: "/sub".into() });
    assert!(matches!(kinds[3], MountKind::Secret { uid: 1, gid: 2, mode: 0o400, .. }));
    assert_eq!(*kinds[4], MountKind::Tmpfs { size: Some(4096) });
    assert!(exec.mounts[2].readonly);
    let local = read.input(read.top(), 1);
    assert!(matches!(local.op, Op::Source(_)), "a directory is mounted as it is: {local:?}");
}

/// As BuildKit's own front end says whose a cache is to be.
#[test]
fn a_cache_of_somebody_is_a_directory_that_begins_empty() {
    for (selector, is_known) in [("/cache", true), ("/other", false)] {
        let (mut definition, image, _) = with_inputs();
        let owner = |id| pb::UserOpt { user: Some(pb::user_opt::User::ById(id)) };
        let made = pb::FileActionMkDir {
            path: "/cache".into(),
            mode: 0o751,
            owner: Some(pb::ChownOpt { user: Some(owner(1001)), group: Some(owner(1002)) }),
            timestamp: -1,
            ..pb::FileActionMkDir::default()
        };
        let action = pb::FileAction {
            input: -1,
            secondary_input: -1,
            output: 0,
            action: Some(pb::file_action::Action::Mkdir(made)),
        };
        let made = definition.add(PbOp::File(pb::FileOp { actions: vec![action] }), &[]);
        let cache = pb::CacheOpt { id: "c".into(), sharing: 0 };
        let op = program(vec![
            mount("/", 0, 0),
            pb::Mount {
                mount_type: 3,
                cache_opt: Some(cache),
                selector: selector.into(),
                ..mount("/there", 1, -1)
            },
        ]);
        let top = definition.add(PbOp::Exec(op), &[&image, &made]);
        let read = definition.read(&top).unwrap();
        let MountKind::Cache { from, mode, uid, gid, .. } = &exec(read.top()).mounts[0].kind else {
            panic!("{:?}", read.top())
        };
        let want = if is_known { (None, 0o751, 1001, 1002) } else { (Some(1), 0o755, 0, 0) };
        assert_eq!((*from, *mode, *uid, *gid), want, "{selector}");
    }
}

#[test]
fn only_results_that_are_wanted_are_kept() {
    let build = |wanted: &[i64]| {
        let (mut definition, image, _) = with_inputs();
        let mounts = vec![mount("/", 0, 0), mount("/out", -1, 1), mount("/other", 0, 2)];
        let at = definition.add(PbOp::Exec(program(mounts)), &[&image]);
        let inputs = (0..wanted.len() as i64).map(|input| pb::MergeInput { input }).collect();
        let wanted: Vec<_> = wanted.iter().map(|index| at.output(*index)).collect();
        let wanted: Vec<_> = wanted.iter().collect();
        let top = definition.add(PbOp::Merge(pb::MergeOp { inputs }), &wanted);
        definition.read(&top).unwrap()
    };
    let read = build(&[0]);
    let root = read.input(read.top(), 0);
    assert!(exec(root).keeps.is_empty());
    // Mounts come in the order of their targets.
    let read = build(&[1]);
    let out = read.input(read.top(), 0);
    assert_eq!(exec(out).keeps, [Kept::Mount(1)]);
    let read = build(&[2, 0]);
    let [second, first] = [0, 1].map(|number| read.input(read.top(), number));
    assert_eq!((&first.op, &second.op), (&Op::Part(0), &Op::Part(1)));
    let program = read.input(first, 0);
    assert_eq!(exec(program).keeps, [Kept::Root, Kept::Mount(0)]);
    assert_eq!(program.known_as(), first.known_as());
}

#[test]
fn what_is_no_program_is_refused() {
    let error = |op: pb::ExecOp, output: i64| {
        let (mut definition, image, local) = with_inputs();
        let top = definition.add(PbOp::Exec(op), &[&image, &local]).output(output);
        definition.error(&top)
    };
    let root = || program(vec![mount("/", 0, 0)]);
    assert_eq!(error(pb::ExecOp::default(), 0), "invalid exec op with no meta");
    let none = pb::ExecOp { meta: Some(pb::Meta::default()), ..root() };
    assert_eq!(error(none, 0), "invalid exec op with no args");
    assert_eq!(error(program(vec![]), 0), "invalid exec op with no mounts");
    assert_eq!(error(program(vec![mount("/x", 0, 0)]), 0), "invalid exec op with no rootfs");
    assert!(error(root(), 1).contains("output index 1"));
    assert!(error(pb::ExecOp { network: 7, ..root() }, 0).contains("network mode 7"));
    assert!(error(pb::ExecOp { security: -1, ..root() }, 0).contains("security mode -1"));
    let with = |mount: pb::Mount| program(vec![super::exec::mount("/", 0, 0), mount]);
    assert!(error(with(mount("/x", 9, -1)), 0).contains("input index 9"));
    assert!(error(with(mount("/x", -2, -1)), 0).contains("input index -2"));
    assert!(error(with(mount("/x", 0, 0)), 0).contains("two mounts"));
    assert!(error(with(mount("/", 0, 1)), 0).contains("invalid mount"));
    for kind in [1, 2, 3, 99, -1] {
        error(with(pb::Mount { mount_type: kind, ..mount("/x", -1, -1) }), 0);
    }
    let readonly = pb::Mount { readonly: true, ..mount("/x", 0, 1) };
    assert!(error(with(readonly), 1).contains("read-only"));
}

#[test]
fn a_directory_becomes_layers_where_it_is_a_root() {
    let (mut definition, _, local) = with_inputs();
    let mounts = vec![mount("/", 0, -1), mount("/out", 0, 1)];
    let top = definition.add(PbOp::Exec(program(mounts)), &[&local]).output(1);
    let read = definition.read(&top).unwrap();
    assert_eq!([0, 1].map(|at| read.input(read.top(), at).op.clone()), [Op::Layers, Op::Layers]);
    assert_eq!(exec(read.top()).keeps, [Kept::Mount(0)]);
}
