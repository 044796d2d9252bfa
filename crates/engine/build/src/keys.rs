//! Cache keys: what a step is found by.
//!
//! A key is the digest of what the step does and of what it works on. The latter is known in two
//! ways. By identity: the layers of a root, the commit of a checkout; this takes no look at any
//! file. By content: of what is copied or mounted only the files that are taken count, their names,
//! bytes, modes and owners, and never when they were written. So a step is found again although the
//! stage that it copies from was built anew, or lies in another image.

use buildgraph::{Action, Copy, MountKind, Op, Vertex};
use oci::Digest;
use serde::Serialize;

use crate::output::Output;

/// The cache begins anew with a number, should what is in a key mean something else.
const VERSION: u32 = 2;

/// What a key is the digest of.
#[derive(Serialize)]
struct Keyed<'a> {
    version: u32,
    op: &'a Op,
    platform: String,
    inputs: Vec<String>,
}

/// A part of an input that a step takes.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// Which input.
    pub(crate) input: usize,
    /// What of it, as a copy would take it.
    pub(crate) copy: Copy,
}

impl Taken {
    /// What a copy selects by: nothing of where it goes, and whose the files become there.
    pub(crate) fn selection(&self) -> String {
        let copy = Copy {
            input: 0,
            destination: String::new(),
            owner: None,
            mode: String::new(),
            create_destination: false,
            replace: false,
            time: None,
            ..self.copy.clone()
        };
        let text = serde_json::to_vec(&copy).unwrap_or_default();
        Digest::sha256(&text).to_string()
    }
}

/// The parts of inputs that a step takes, other than the whole root that it works on.
pub(crate) fn taken(op: &Op) -> Vec<Taken> {
    match op {
        Op::File(file) => {
            let copies = file.actions.iter().filter_map(|action| match action {
                // What is copied from its own root is in that root's identity.
                Action::Copy(copy) if copy.input > 0 => {
                    Some(Taken { input: copy.input, copy: copy.clone() })
                }
                _ => None,
            });
            copies.collect()
        }
        Op::Exec(exec) => {
            // What is kept of a mount has all of it below, whatever part is mounted.
            let mounts = exec.mounts.iter().enumerate();
            let mounts = mounts.filter(|(at, _)| !exec.keeps_mount(*at));
            let mounts = mounts.filter_map(|(_, mount)| match &mount.kind {
                MountKind::Bind { input, source } => {
                    let source = source.clone();
                    let copy = Copy { source, follow_links: true, ..Copy::default() };
                    Some(Taken { input: *input, copy })
                }
                _ => None,
            });
            mounts.collect()
        }
        _ => Vec::new(),
    }
}

/// The key of a step by the identities of all that it works on. `None`: some have none.
pub(crate) fn by_identity(vertex: &Vertex, inputs: &[Output]) -> Option<Digest> {
    let inputs = inputs.iter().map(Output::identity).collect::<Option<Vec<_>>>()?;
    Some(key(vertex, "identity", inputs))
}

/// The key of a step by the content of what it takes; `contents` are the digests of that, in the order
/// of [`taken`]. `None`: something that it works on has no identity.
pub(crate) fn by_content(
    vertex: &Vertex,
    inputs: &[Output],
    contents: &[Digest],
) -> Option<Digest> {
    let taken: Vec<usize> = taken(&vertex.op).iter().map(|one| one.input).collect();
    // Names of users are looked up in files that are no part of what is taken.
    let named: Vec<usize> = match &vertex.op {
        Op::File(file) => file.named().collect(),
        _ => Vec::new(),
    };
    let mut parts = Vec::new();
    for (input, output) in inputs.iter().enumerate() {
        if input == 0 || !taken.contains(&input) || named.contains(&input) {
            parts.push(output.identity()?);
        }
    }
    parts.extend(contents.iter().map(ToString::to_string));
    Some(key(vertex, "content", parts))
}

fn key(vertex: &Vertex, how: &str, mut inputs: Vec<String>) -> Digest {
    inputs.insert(0, how.into());
    let platform = vertex.platform.as_ref().map(ToString::to_string).unwrap_or_default();
    let keyed = Keyed { version: VERSION, op: &vertex.op, platform, inputs };
    Digest::sha256(&serde_json::to_vec(&keyed).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use buildgraph::{Exec, File, Graph, Mount, Shown};
    use oci::ChainId;

    use super::*;

    fn layers(name: &str) -> Output {
        Output::Layers(vec![ChainId(Digest::sha256(name.as_bytes()))])
    }

    fn vertex(op: Op, n_inputs: usize) -> Vertex {
        let mut graph = Graph::default();
        let base = graph.add(Op::File(File::default()), vec![], None, false, Shown::default());
        let inputs = vec![base.unwrap(); n_inputs];
        let idx = graph.add(op, inputs, None, false, Shown::default()).unwrap();
        graph.get(idx).clone()
    }

    fn copy(source: &str, destination: &str) -> Copy {
        let (source, destination) = (source.into(), destination.into());
        Copy { input: 1, source, destination, ..Copy::default() }
    }

    #[test]
    fn a_copy_is_found_by_what_it_takes() {
        let op = |to: &str| Op::File(File { actions: vec![Action::Copy(copy("a", to))] });
        let step = vertex(op("/a"), 2);
        let contents = [Digest::sha256(b"files")];
        let one = by_content(&step, &[layers("base"), layers("one")], &contents).unwrap();
        let two = by_content(&step, &[layers("base"), layers("two")], &contents).unwrap();
        assert_eq!(one, two, "what else is in the stage makes no difference");
        let based = by_content(&step, &[layers("other"), layers("one")], &contents).unwrap();
        assert_ne!(one, based, "what it is copied onto does");
        let changed = [Digest::sha256(b"other files")];
        let changed = by_content(&step, &[layers("base"), layers("one")], &changed).unwrap();
        assert_ne!(one, changed, "what is copied does");
        let elsewhere =
            by_content(&vertex(op("/b"), 2), &[layers("base"), layers("one")], &contents);
        assert_ne!(Some(one), elsewhere, "where to does");
    }

    #[test]
    fn names_are_those_of_all_that_they_are_looked_up_in() {
        let user = Some(buildgraph::Identity::NameIn { input: 1, name: "me".into() });
        let owner = Some(buildgraph::Owner { user, group: None });
        let copy = Copy { owner, ..copy("a", "/a") };
        let step = vertex(Op::File(File { actions: vec![Action::Copy(copy)] }), 2);
        let contents = [Digest::sha256(b"files")];
        let one = by_content(&step, &[layers("base"), layers("one")], &contents).unwrap();
        let two = by_content(&step, &[layers("base"), layers("two")], &contents).unwrap();
        assert_ne!(one, two, "the same files, and other users");
    }

    #[test]
    fn a_mount_that_is_kept_counts_as_a_whole() {
        let kind = MountKind::Bind { input: 1, source: "/x".into() };
        let mounts = vec![Mount { target: "/m".into(), readonly: false, kind }];
        let keeps = vec![buildgraph::Kept::Mount(0)];
        let step = vertex(Op::Exec(Exec { mounts, keeps, ..Exec::default() }), 2);
        assert!(taken(&step.op).is_empty());
        let key = |from: &str| by_identity(&step, &[layers("base"), layers(from)]).unwrap();
        assert_ne!(key("a"), key("b"));
    }

    #[test]
    fn a_selection_says_nothing_of_where_it_goes() {
        let taken = |to| Taken { input: 1, copy: copy("a", to) }.selection();
        assert_eq!(taken("/a"), taken("/b"));
        assert_ne!(taken("/a"), Taken { input: 1, copy: copy("b", "/a") }.selection());
    }

    #[test]
    fn a_program_is_found_by_its_root_and_what_is_mounted() {
        let kind = MountKind::Bind { input: 1, source: "/x".into() };
        let mounts = vec![Mount { target: "/m".into(), readonly: true, kind }];
        let step = vertex(Op::Exec(Exec { mounts, ..Exec::default() }), 2);
        let [base, from] = [layers("base"), layers("from")];
        assert!(by_identity(&step, &[base.clone(), from]).is_some());
        assert_eq!(taken(&step.op).len(), 1);
        let contents = [Digest::sha256(b"x")];
        let one = by_content(&step, &[base.clone(), layers("a")], &contents);
        assert_eq!(one, by_content(&step, &[base.clone(), layers("b")], &contents));
        assert_ne!(one, by_content(&step, &[layers("c"), layers("b")], &contents));
    }

    #[test]
    fn what_runs_on_another_platform_is_another_step() {
        let step = vertex(Op::Exec(Exec::default()), 1);
        let on = |platform: &str| {
            let platform = Some(platform.parse().unwrap());
            by_identity(&Vertex { platform, ..step.clone() }, &[layers("base")]).unwrap()
        };
        assert_ne!(on("linux/amd64"), on("linux/arm64"));
        assert_ne!(on("linux/arm/v6"), on("linux/arm/v7"));
        assert_eq!(on("linux/arm64"), on("linux/arm64/v8"));
    }
}
