//! A graph as a definition that says all of it, so that it can be carried out elsewhere, or read again.

use std::collections::{BTreeMap, HashMap};

use buildgraph::{Action, Copy, Exec, File, Graph, Kept, MountKind, Op, Source, Vertex, VertexIdx};
use buildkit::pb::{self, MountType, op::Op as PbOp};
use oci::Digest;
use prost::Message as _;

use crate::exec::{CACHE_MODE, ROOT};
use crate::given::{about, file_op, lines, numbered, platform_of};
use crate::needed::{needed, of_last};
use crate::read::EMPTY;
use crate::source_op::source_op;
use crate::{NAME, RESULT};

/// The directory of what a cache begins with that says whose it is, as BuildKit's front end calls it.
const CACHE_ROOT: &str = "/cache";
/// Where programs have the memory that they share.
const SHM: &str = "/dev/shm";
/// A directory that is copied with those above it from this part on.
const PIVOT: &str = "/./";

/// The file that a graph was made of.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// What it is called.
    pub filename: &'a str,
    /// What is in it.
    pub data: &'a [u8],
    /// The language that it is in: `Dockerfile`.
    pub language: &'a str,
}

/// The definition of a result of a graph; one without operations where that is an empty root.
pub fn define(graph: &Graph, top: Option<VertexIdx>, origin: Origin<'_>) -> pb::Definition {
    let mut defining = Defining {
        results: HashMap::new(),
        definition: pb::Definition::default(),
        locations: BTreeMap::new(),
    };
    for at in graph.needed(top.as_slice()) {
        let result = defining.result(graph.get(at));
        defining.results.insert(at, result);
    }
    let result = top.and_then(|top| defining.results.remove(&top).flatten());
    let Defining { mut definition, locations, .. } = defining;
    let Some(result) = result else { return pb::Definition::default() };
    let last = pb::Op { inputs: vec![result], ..pb::Op::default() }.encode_to_vec();
    let caps = of_last(definition.metadata.values());
    let about = pb::OpMetadata { caps, ..pb::OpMetadata::default() };
    definition.metadata.insert(Digest::sha256(&last).to_string(), about);
    definition.def.push(last);
    let info = pb::SourceInfo {
        filename: origin.filename.to_owned(),
        data: origin.data.to_vec(),
        language: origin.language.to_owned(),
        definition: None,
    };
    definition.source = Some(pb::Source { locations, infos: vec![info] });
    definition
}

/// A definition on its way.
struct Defining {
    /// What the vertices so far are: a result of an operation, or an empty root.
    results: HashMap<VertexIdx, Option<pb::Input>>,
    definition: pb::Definition,
    locations: BTreeMap<String, pb::Locations>,
}

impl Defining {
    /// What a vertex is; `None`: an empty root. Those that it works on are known.
    fn result(&mut self, vertex: &Vertex) -> Option<pb::Input> {
        match &vertex.op {
            Op::File(file) if file.actions.is_empty() => self.input(vertex, 0),
            // What is taken from a directory is layers already in a definition.
            Op::Layers => self.input(vertex, 0),
            Op::Part(part) => {
                let program = self.input(vertex, 0)?;
                Some(pb::Input { index: number(*part), ..program })
            }
            Op::Merge => {
                let mut inputs: Vec<_> =
                    (0..vertex.inputs.len()).filter_map(|at| self.input(vertex, at)).collect();
                if inputs.len() < 2 { inputs.pop() } else { Some(self.operation(vertex)) }
            }
            Op::After => {
                self.input(vertex, 0)?;
                Some(self.operation(vertex))
            }
            Op::Source(_) | Op::Exec(_) | Op::File(_) | Op::Diff => Some(self.operation(vertex)),
        }
    }

    /// An input of a vertex; `None`: an empty root, or there is none.
    fn input(&self, vertex: &Vertex, at: usize) -> Option<pb::Input> {
        let input = vertex.inputs.get(at)?;
        self.results.get(input).cloned().flatten()
    }

    /// Adds the operation of a vertex. Its first result.
    fn operation(&mut self, vertex: &Vertex) -> pb::Input {
        let mut inputs = Vec::new();
        let numbers: Vec<i64> = (0..vertex.inputs.len())
            .map(|at| self.input(vertex, at).map_or(EMPTY, |input| place(&mut inputs, input)))
            .collect();
        let number_of = |at: usize| numbers.get(at).copied().unwrap_or(EMPTY);
        let what = match &vertex.op {
            Op::Source(source) => PbOp::Source(source_of(source)),
            Op::Exec(exec) => PbOp::Exec(self.program(exec, &numbers, &mut inputs)),
            Op::File(file) => PbOp::File(file_op(&in_full(file), &numbers, inputs.len())),
            Op::Diff => PbOp::Diff(pb::DiffOp {
                lower: Some(pb::LowerDiffInput { input: number_of(0) }),
                upper: Some(pb::UpperDiffInput { input: number_of(1) }),
            }),
            Op::After => PbOp::Passthrough(pb::PassthroughOp {
                id: String::new(),
                outputs: vec![number_of(0)],
            }),
            Op::Merge | Op::Part(_) | Op::Layers => {
                let all = numbers.iter().copied().filter(|input| *input != EMPTY);
                PbOp::Merge(pb::MergeOp {
                    inputs: all.map(|input| pb::MergeInput { input }).collect(),
                })
            }
        };
        let op = pb::Op {
            inputs,
            op: Some(what),
            platform: platform_of(vertex),
            constraints: Some(pb::WorkerConstraints::default()),
        };
        let result = self.push(&op, about(vertex));
        let ranges: Vec<_> = vertex.shown.lines.iter().copied().flat_map(lines).collect();
        if !ranges.is_empty() {
            let locations = vec![pb::Location { source_index: 0, ranges }];
            self.locations.insert(result.digest.clone(), pb::Locations { locations });
        }
        result
    }

    fn push(&mut self, op: &pb::Op, mut about: pb::OpMetadata) -> pb::Input {
        about.caps = needed(op, &about);
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        if self.definition.metadata.insert(digest.clone(), about).is_none() {
            self.definition.def.push(bytes);
        }
        pb::Input { digest, index: 0 }
    }

    /// A program, with what of its mounts is kept, and what its caches begin with.
    fn program(&mut self, exec: &Exec, numbers: &[i64], inputs: &mut Vec<pb::Input>) -> pb::ExecOp {
        let mut op = numbered(exec, numbers);
        if let Some(meta) = &mut op.meta {
            meta.proxy_env = proxies(&exec.proxy_env);
            meta.remove_mount_stubs_recursive = true;
        }
        // The first is the root.
        for (at, mount) in op.mounts.iter_mut().enumerate() {
            let this = at.checked_sub(1).map_or(Kept::Root, Kept::Mount);
            let output = exec.kept().iter().position(|kept| *kept == this);
            mount.output = output.map_or(EMPTY, number);
        }
        for (mount, own) in op.mounts.iter_mut().skip(1).zip(&exec.mounts) {
            let MountKind::Cache { source, mode, uid, gid, .. } = &own.kind else { continue };
            if source != ROOT || (*mode, *uid, *gid) == (CACHE_MODE, 0, 0) {
                continue;
            }
            let below = usize::try_from(mount.input).ok().and_then(|at| inputs.get(at).cloned());
            let root = self.cache_root(below, *mode, *uid, *gid);
            mount.input = place(inputs, root);
            CACHE_ROOT.clone_into(&mut mount.selector);
        }
        if let Some(size) = exec.shm_size.and_then(|size| i64::try_from(size).ok()) {
            op.mounts.push(pb::Mount {
                dest: SHM.into(),
                input: EMPTY,
                output: EMPTY,
                mount_type: MountType::Tmpfs.into(),
                tmpfs_opt: Some(pb::TmpfsOpt { size }),
                ..pb::Mount::default()
            });
        }
        op
    }

    /// A directory that says whose a cache is to be.
    fn cache_root(&mut self, below: Option<pb::Input>, mode: u32, uid: u32, gid: u32) -> pb::Input {
        let by_id = |id| {
            let user = Some(pb::user_opt::User::ById(id));
            Some(pb::UserOpt { user })
        };
        let make = pb::FileActionMkDir {
            path: CACHE_ROOT.into(),
            mode: i32::try_from(mode).unwrap_or(-1),
            make_parents: false,
            owner: Some(pb::ChownOpt { user: by_id(uid), group: by_id(gid) }),
            timestamp: EMPTY,
        };
        let action = pb::FileAction {
            input: if below.is_some() { 0 } else { EMPTY },
            secondary_input: EMPTY,
            output: 0,
            action: Some(pb::file_action::Action::Mkdir(make)),
        };
        let op = pb::Op {
            inputs: below.into_iter().collect(),
            op: Some(PbOp::File(pb::FileOp { actions: vec![action] })),
            platform: None,
            constraints: Some(pb::WorkerConstraints::default()),
        };
        let name = "[internal] setting cache mount permissions";
        let description = [(NAME.to_owned(), name.to_owned())].into();
        self.push(&op, pb::OpMetadata { description, ..pb::OpMetadata::default() })
    }
}

/// Where an input is among those of an operation, which have each once.
fn place(inputs: &mut Vec<pb::Input>, input: pb::Input) -> i64 {
    let known = inputs.iter().position(|one| *one == input);
    number(known.unwrap_or_else(|| {
        inputs.push(input);
        inputs.len() - 1
    }))
}

fn number(at: usize) -> i64 {
    i64::try_from(at).unwrap_or(EMPTY)
}

/// A source, an image by what its name means now.
fn source_of(source: &Source) -> pb::SourceOp {
    let mut op = match (source_op(source), source) {
        (Some(op), _) => op,
        (None, Source::Result(name)) => {
            pb::SourceOp { identifier: format!("{RESULT}{name}"), ..pb::SourceOp::default() }
        }
        (None, _) => pb::SourceOp::default(),
    };
    if let Source::Image(image) = source
        && let Some(digest) = &image.digest
        && !image.reference.contains('@')
    {
        op.identifier += &format!("@{digest}");
    }
    op
}

/// Changes of files as operations have them: they know no `--parents`.
fn in_full(file: &File) -> File {
    let actions = file.actions.iter().map(|action| match action {
        Action::Copy(copy) if copy.parents => Action::Copy(with_parents(copy)),
        other => other.clone(),
    });
    File { actions: actions.collect() }
}

/// The inside of a directory, of which what a pattern names is copied, and has to be there where it is a path.
fn with_parents(copy: &Copy) -> Copy {
    let (base, inside) = copy.source.split_once(PIVOT).unwrap_or(("", &copy.source));
    let inside = inside.trim_start_matches('/');
    let required = (!copy.may_be_empty).then(|| format!("{base}/{inside}"));
    Copy {
        source: if base.is_empty() { ROOT.into() } else { base.to_owned() },
        include: vec![inside.to_owned()],
        required: required.into_iter().collect(),
        may_be_empty: true,
        parents: false,
        ..copy.clone()
    }
}

/// The proxies of which a program knows.
fn proxies(env: &[String]) -> Option<pb::ProxyEnv> {
    let value = |name: &str| {
        let mut all = env.iter().filter_map(|one| one.split_once('='));
        all.find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or_else(String::new, |(_, value)| value.to_owned())
    };
    (!env.is_empty()).then(|| pb::ProxyEnv {
        http_proxy: value("HTTP_PROXY"),
        https_proxy: value("HTTPS_PROXY"),
        ftp_proxy: value("FTP_PROXY"),
        no_proxy: value("NO_PROXY"),
        all_proxy: value("ALL_PROXY"),
    })
}
