//! Graphs as definitions, and back.

use buildgraph::{
    Action, Copy, Exec, File, Graph, Image, Kept, Limits, Local, MakeFile, Mount, MountKind,
    Network, Op, Range, Resolve, SecretVariable, Sharing, Shown, Source, VertexIdx,
};
use buildkit::pb::{self, op::Op as PbOp};
use oci::Digest;
use prost::Message as _;

use crate::{Origin, Read, define, json, read};

const FILE: Origin<'static> =
    Origin { filename: "Dockerfile", data: b"FROM a\nRUN x\n", language: "Dockerfile" };

fn add(graph: &mut Graph, op: Op, inputs: &[VertexIdx]) -> VertexIdx {
    let shown =
        Shown { name: "it".into(), lines: vec![Range { start: 1, end: 2 }], ..Shown::default() };
    graph.add(op, inputs.to_vec(), None, false, shown).unwrap()
}

fn image(graph: &mut Graph) -> VertexIdx {
    let mut image = Image::named("docker.io/library/a:1".into(), Resolve::Pull);
    image.digest = Some(Digest::sha256(b"a"));
    add(graph, Op::Source(Source::Image(image)), &[])
}

fn context(graph: &mut Graph) -> VertexIdx {
    let local = Local {
        name: "context".into(),
        shared_key: "key".into(),
        exclude: vec!["*.o".into()],
        ..Local::default()
    };
    add(graph, Op::Source(Source::Local(local)), &[])
}

fn operations(definition: &pb::Definition) -> Vec<pb::Op> {
    definition.def.iter().map(|bytes| pb::Op::decode(bytes.as_slice()).unwrap()).collect()
}

fn again(definition: &pb::Definition) -> Read {
    read(definition, &mut |name| Ok(name.to_owned())).unwrap().unwrap()
}

fn copy(input: usize) -> Copy {
    Copy {
        input,
        source: "/src".into(),
        destination: "/dst/".into(),
        create_destination: true,
        ..Copy::default()
    }
}

#[test]
fn what_is_defined_is_read_again() {
    let mut graph = Graph::default();
    let (image, context) = (image(&mut graph), context(&mut graph));
    let file = File { actions: vec![Action::Copy(copy(1)), Action::Copy(copy(1))] };
    let copied = add(&mut graph, Op::File(file.clone()), &[image, context]);
    let cache = MountKind::Cache {
        id: "/c".into(),
        sharing: Sharing::Locked,
        from: None,
        source: "/".into(),
        mode: 0o700,
        uid: 3,
        gid: 4,
    };
    let bind = MountKind::Bind { input: 1, source: "/src".into() };
    let exec = Exec {
        args: vec!["make".into()],
        env: vec!["A=b".into()],
        cwd: "/w".into(),
        proxy_env: vec!["HTTP_PROXY=p".into(), "http_proxy=p".into()],
        limits: Box::new(Limits {
            memory: 1 << 26,
            memory_swap: -1,
            cpu_shares: 2,
            ..Limits::default()
        }),
        mounts: vec![
            Mount { target: "/b".into(), readonly: true, kind: bind },
            Mount { target: "/c".into(), readonly: false, kind: cache },
        ],
        ..Exec::default()
    };
    let run = add(&mut graph, Op::Exec(exec.clone()), &[copied, context]);
    let below = add(&mut graph, Op::File(File::default()), &[]);
    let top = add(&mut graph, Op::Merge, &[below, run]);

    let definition = define(&graph, Some(top), FILE);
    let Read { graph: known, top } = again(&definition);
    // What lies on nothing is itself.
    let run = known.get(top);
    assert_eq!(run.op, Op::Exec(exec));
    assert_eq!(run.shown.name, "it");
    let Op::Source(Source::Image(base)) = &known.get(known.get(run.inputs[0]).inputs[0]).op else {
        panic!("{known:?}")
    };
    assert_eq!(base.digest, Some(Digest::sha256(b"a")));
    assert_eq!(base.resolve, Resolve::Pull);
    let copied = known.get(run.inputs[0]);
    assert_eq!(copied.op, Op::File(file));
    let told = json(&definition);
    let limits = serde_json::json!({ "memory": 1 << 26, "memorySwap": -1, "cpuShares": 2 });
    assert_eq!(told["metadata"][run.known_as().to_string()]["linux_resources"], limits);
    let source = definition.source.as_ref().unwrap();
    assert_eq!(source.infos[0].data, FILE.data);
    let ranges = &source.locations[&run.known_as().to_string()].locations[0].ranges;
    assert_eq!(ranges.len(), 2, "each line by itself");
}

#[test]
fn an_empty_root_has_no_operations() {
    let mut graph = Graph::default();
    let top = add(&mut graph, Op::File(File::default()), &[]);
    assert_eq!(define(&graph, Some(top), FILE), pb::Definition::default());
    assert_eq!(define(&graph, None, FILE), pb::Definition::default());
    let empty = serde_json::json!({ "def": {}, "metadata": {}, "source": {} });
    assert_eq!(json(&pb::Definition::default()), empty);
}

#[test]
fn directories_that_come_along_are_patterns() {
    let taken = |source: &str, may_be_empty| {
        let mut graph = Graph::default();
        let context = context(&mut graph);
        let nothing = add(&mut graph, Op::File(File::default()), &[]);
        let copy = Copy {
            source: source.into(),
            parents: true,
            wildcards: true,
            contents_only: true,
            may_be_empty,
            ..copy(1)
        };
        let op = Op::File(File { actions: vec![Action::Copy(copy)] });
        let top = add(&mut graph, op, &[nothing, context]);
        let Read { graph, top } = again(&define(&graph, Some(top), FILE));
        let Op::File(file) = &graph.get(top).op else { panic!("{graph:?}") };
        let [Action::Copy(copy)] = &file.actions[..] else { panic!("{file:?}") };
        assert!(copy.may_be_empty && copy.contents_only && !copy.parents);
        (copy.source.clone(), copy.include.clone(), copy.required.clone())
    };
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let (root, base) = ("/".to_owned(), "/x".to_owned());
    assert_eq!(taken("/./a/b", false), (root.clone(), texts(&["a/b"]), texts(&["/a/b"])));
    assert_eq!(taken("/x/./a/b", false), (base, texts(&["a/b"]), texts(&["/x/a/b"])));
    assert_eq!(taken("/./a/*", true), (root, texts(&["a/*"]), texts(&[])));
}

#[test]
fn several_results_of_a_program_are_outputs() {
    let mut graph = Graph::default();
    let (image, other) = (image(&mut graph), context(&mut graph));
    let layers = add(&mut graph, Op::Layers, &[other]);
    let bind = MountKind::Bind { input: 1, source: "/".into() };
    let exec = Exec {
        args: vec!["x".into()],
        cwd: "/".into(),
        mounts: vec![Mount { target: "/m".into(), readonly: false, kind: bind }],
        keeps: vec![Kept::Root, Kept::Mount(0)],
        shm_size: Some(64),
        ..Exec::default()
    };
    let run = add(&mut graph, Op::Exec(exec), &[image, layers]);
    let top = add(&mut graph, Op::Part(1), &[run]);
    let definition = define(&graph, Some(top), FILE);
    let all = operations(&definition);
    let Some(PbOp::Exec(exec)) = &all[all.len() - 2].op else { panic!("{all:?}") };
    let mounts: Vec<_> =
        exec.mounts.iter().map(|one| (one.dest.as_str(), one.input, one.output)).collect();
    assert_eq!(mounts, [("/", 0, 0), ("/m", 1, 1), ("/dev/shm", -1, -1)]);
    assert_eq!(all[all.len() - 1].inputs[0].index, 1);
    let Read { graph, top } = again(&definition);
    assert!(matches!(graph.get(top).op, Op::Exec(_)));
}

/// As Go's `protojson` has it: numbers of 64 bits are texts, what is 0 is not said, but for one of several.
#[test]
fn operations_are_json() {
    let mut graph = Graph::default();
    let image = image(&mut graph);
    let make = MakeFile {
        path: "/f".into(),
        mode: 0o644,
        data: b"x".to_vec(),
        owner: Some(buildgraph::Owner { user: Some(buildgraph::Identity::Id(0)), group: None }),
        time: None,
    };
    let op = Op::File(File { actions: vec![Action::MakeFile(make)] });
    let top = add(&mut graph, op, &[image]);
    let definition = define(&graph, Some(top), FILE);
    let told = json(&definition);
    let digests: Vec<_> =
        definition.def.iter().map(|bytes| Digest::sha256(bytes).to_string()).collect();
    let [base, file, last] = &digests[..] else { panic!("{digests:?}") };
    assert_eq!(told["def"].as_object().unwrap().len(), 3);
    let source = &told["def"][base]["source"];
    let digest = Digest::sha256(b"a");
    assert_eq!(source["identifier"], format!("docker-image://docker.io/library/a:1@{digest}"));
    assert_eq!(source["attrs"]["image.resolvemode"], "pull");
    let made = serde_json::json!({ "actions": [{
        "secondaryInput": "-1",
        "mkfile": {
            "path": "/f",
            "mode": 420,
            "data": "eA==",
            "owner": { "user": { "byID": 0 } },
            "timestamp": "-1",
        },
    }] });
    assert_eq!(told["def"][file]["file"], made);
    assert_eq!(told["def"][file]["inputs"], serde_json::json!([{ "digest": base }]));
    assert_eq!(told["def"][file]["constraints"], serde_json::json!({}));
    assert_eq!(told["def"][last], serde_json::json!({ "inputs": [{ "digest": file }] }));
    assert_eq!(told["metadata"][file]["description"]["llb.customname"], "it");
    let info = &told["source"]["infos"][0];
    assert_eq!(info["filename"], "Dockerfile");
    assert_eq!(info["language"], "Dockerfile");
    let line = |line: u32| serde_json::json!({ "line": line });
    let range = |at| serde_json::json!({ "start": line(at), "end": line(at) });
    let ranges = serde_json::json!([{ "ranges": [range(1), range(2)] }]);
    assert_eq!(told["source"]["locations"][file]["locations"], ranges);
}

/// What each operation needs is said with it; all of that is here, or else it could not be read again.
#[test]
fn what_is_needed_is_said() {
    let mut graph = Graph::default();
    let (image, context) = (image(&mut graph), context(&mut graph));
    let taken = Copy { include: vec!["*.c".into()], ..copy(1) };
    let copied =
        add(&mut graph, Op::File(File { actions: vec![Action::Copy(taken)] }), &[image, context]);
    let mount = |target: &str, kind| Mount { target: target.into(), readonly: false, kind };
    let cache = MountKind::Cache {
        id: "/c".into(),
        sharing: Sharing::Shared,
        from: None,
        source: "/".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let bind = MountKind::Bind { input: 1, source: "/src".into() };
    let secret = SecretVariable { id: "a".into(), name: "A".into(), optional: false };
    let exec = Exec {
        args: vec!["make".into()],
        cwd: "/w".into(),
        network: Network::Host,
        proxy_env: vec!["HTTP_PROXY=p".into()],
        limits: Box::new(Limits { memory: 1 << 26, ..Limits::default() }),
        mounts: vec![
            mount("/b", bind),
            mount("/c", cache),
            mount("/t", MountKind::Tmpfs { size: None }),
        ],
        secrets: vec![secret],
        ..Exec::default()
    };
    let run = add(&mut graph, Op::Exec(exec), &[copied, context]);
    let upper = add(&mut graph, Op::Diff, &[image, run]);
    let top = add(&mut graph, Op::Merge, &[image, upper]);

    let definition = define(&graph, Some(top), FILE);
    let said = definition.def.iter().map(|bytes| {
        let about = &definition.metadata[&Digest::sha256(bytes).to_string()];
        assert!(about.caps.values().all(|is_needed| *is_needed));
        about.caps.keys().cloned().collect::<Vec<_>>().join(" ")
    });
    let program = "exec.meta.base exec.meta.linux.resources exec.meta.network exec.meta.proxyenv \
                   exec.meta.setsdefaultpath exec.mount.bind exec.mount.cache \
                   exec.mount.cache.sharing exec.mount.secret exec.mount.selector exec.mount.tmpfs \
                   exec.secretenv";
    let want = [
        "source.image source.image.resolvemode",
        "source.local source.local.excludepatterns source.local.sharedkeyhint",
        "file.base file.copy.includeexcludepatterns",
        program,
        "diffop",
        "mergeop",
        "constraints meta.description platform",
    ];
    assert_eq!(said.collect::<Vec<_>>(), want);
    again(&definition);
    let told = json(&definition);
    let last = Digest::sha256(definition.def.last().unwrap()).to_string();
    assert_eq!(told["metadata"][last]["caps"]["platform"], true);
}
