//! Changes of files.
//!
//! The actions of an operation may work on each other's results, and any of those may be a result of it. Each
//! that is wanted is one vertex, of the actions that lead from an input to it.

use std::collections::{BTreeMap, BTreeSet};

use buildgraph::{
    Action, Copy, File, Identity, MakeDirectory, MakeFile, Op, Owner, Remove, Symlink, VertexIdx,
};
use buildkit::pb::{self, file_action, user_opt};

use crate::error::{Error, invalid};
use crate::load::Operation;
use crate::read::{About, EMPTY, Reader};

/// No more actions are read of one operation, and no more made of them.
const MAX_ACTIONS: usize = 4000;

/// BuildKit's name of it.
pub(crate) fn name(op: &pb::FileOp) -> String {
    let names = op.actions.iter().filter_map(|action| {
        Some(match action.action.as_ref()? {
            file_action::Action::Copy(copy) => format!("copy {} {}", copy.src, copy.dest),
            file_action::Action::Mkfile(make) => format!("mkfile {}", make.path),
            file_action::Action::Mkdir(make) => format!("mkdir {}", make.path),
            file_action::Action::Rm(remove) => format!("rm {}", remove.path),
            file_action::Action::Symlink(link) => {
                format!("symlink {} -> {}", link.newpath, link.oldpath)
            }
        })
    });
    names.take(MAX_ACTIONS).collect::<Vec<_>>().join(", ")
}

/// What an action works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// An input, or nothing.
    Input(i64),
    /// What another action has made.
    Action(usize),
}

struct Actions<'a, 'r, 'l> {
    reader: &'a mut Reader<'r>,
    operation: &'a Operation<'l>,
    op: &'a pb::FileOp,
    about: &'a About,
    /// Results of actions that are vertices.
    vertices: BTreeMap<usize, VertexIdx>,
}

pub(crate) fn read(
    reader: &mut Reader<'_>,
    operation: &Operation<'_>,
    op: &pb::FileOp,
    about: &About,
) -> Result<BTreeMap<usize, VertexIdx>, Error> {
    if op.actions.is_empty() {
        return invalid("invalid file op with no actions");
    }
    check_size(op.actions.len())?;
    let vertices = BTreeMap::new();
    let mut actions = Actions { reader, operation, op, about, vertices };
    let outputs = actions.outputs()?;
    for at in actions.needed(&outputs)? {
        let vertex = actions.vertex(at)?;
        actions.vertices.insert(at, vertex);
    }
    let outputs = outputs.into_iter();
    Ok(outputs.map(|(output, at)| (output, actions.vertices[&at])).collect())
}

fn check_size(n_actions: usize) -> Result<(), Error> {
    match n_actions {
        0..=MAX_ACTIONS => Ok(()),
        _ => Err(Error::TooLarge { what: "actions of a file op", max: MAX_ACTIONS }),
    }
}

impl Actions<'_, '_, '_> {
    /// The results that are wanted, by number, and the actions that make them.
    fn outputs(&self) -> Result<BTreeMap<usize, usize>, Error> {
        let mut outputs = BTreeMap::new();
        for (at, action) in self.op.actions.iter().enumerate() {
            let Ok(output) = usize::try_from(action.output) else { continue };
            if outputs.insert(output, at).is_some() {
                return invalid(format!("two actions of a file op have the output {output}"));
            }
        }
        if let Some(missing) = self.operation.wanted.iter().find(|at| !outputs.contains_key(at)) {
            return invalid(format!("invalid output index {missing}: no action has it"));
        }
        outputs.retain(|output, _| self.operation.wanted.contains(output));
        Ok(outputs)
    }

    /// The actions whose results have to be vertices, each after those that it needs.
    fn needed(&self, outputs: &BTreeMap<usize, usize>) -> Result<BTreeSet<usize>, Error> {
        let mut needed = BTreeSet::new();
        let mut n_actions = 0;
        let mut rest: Vec<usize> = outputs.values().copied().collect();
        while let Some(at) = rest.pop() {
            if !needed.insert(at) {
                continue;
            }
            let (_, chain) = self.chain(at)?;
            n_actions += chain.len();
            check_size(n_actions)?;
            for one in &chain {
                for other in self.others(*one)? {
                    // A name that is looked up in what is changed is no result of its own.
                    if let From::Action(other) = other
                        && (chain.binary_search(&other).is_err() || self.is_copied(*one, other)?)
                    {
                        rest.push(other);
                    }
                }
            }
        }
        Ok(needed)
    }

    /// Whether an action copies from the result of another one.
    fn is_copied(&self, at: usize, other: usize) -> Result<bool, Error> {
        match &self.op.actions[at].action {
            Some(file_action::Action::Copy(_)) => {
                Ok(self.from(at, self.op.actions[at].secondary_input)? == From::Action(other))
            }
            _ => Ok(false),
        }
    }

    /// What an action needs beside what it changes.
    fn others(&self, at: usize) -> Result<Vec<From>, Error> {
        let action = &self.op.actions[at];
        let mut all = Vec::new();
        let owner = match &action.action {
            Some(file_action::Action::Copy(copy)) => {
                all.push(self.from(at, action.secondary_input)?);
                copy.owner.as_ref()
            }
            Some(file_action::Action::Mkfile(make)) => make.owner.as_ref(),
            Some(file_action::Action::Mkdir(make)) => make.owner.as_ref(),
            Some(file_action::Action::Symlink(make)) => make.owner.as_ref(),
            Some(file_action::Action::Rm(_)) | None => None,
        };
        let who = owner.into_iter().flat_map(|owner| [&owner.user, &owner.group]).flatten();
        for one in who {
            if let Some(user_opt::User::ByName(named)) = &one.user {
                all.push(self.from(at, named.input)?);
            }
        }
        Ok(all)
    }

    /// What a number means: inputs come first, then actions; only those that come before are there.
    fn from(&self, at: usize, number: i64) -> Result<From, Error> {
        let n_inputs = self.operation.inputs.len();
        let wrong = || Error::Invalid(format!("invalid input index {number} of action {at}"));
        if number == EMPTY {
            return Ok(From::Input(EMPTY));
        }
        let place = usize::try_from(number).map_err(|_| wrong())?;
        match place.checked_sub(n_inputs) {
            None => Ok(From::Input(number)),
            Some(action) if action < at => Ok(From::Action(action)),
            Some(_) => Err(wrong()),
        }
    }

    /// The actions that lead to the result of one, the first of them first (their numbers grow), and what that
    /// works on.
    fn chain(&self, at: usize) -> Result<(i64, Vec<usize>), Error> {
        let mut chain = vec![at];
        let mut here = at;
        loop {
            match self.from(here, self.op.actions[here].input)? {
                From::Action(below) => {
                    chain.push(below);
                    here = below;
                }
                From::Input(input) => {
                    chain.reverse();
                    return Ok((input, chain));
                }
            }
        }
    }

    fn vertex(&mut self, at: usize) -> Result<VertexIdx, Error> {
        let (base, chain) = self.chain(at)?;
        let vertex = self.reader.input_or_scratch(self.operation, base)?;
        let mut inputs = vec![self.reader.layers(vertex)?];
        let mut actions = Vec::new();
        for one in &chain {
            actions.push(self.action(*one, base, &chain, &mut inputs)?);
        }
        let mut about = self.about.clone();
        about.shown.actions = chain;
        self.reader.add(Op::File(File { actions }), inputs, &about)
    }

    fn action(
        &mut self,
        at: usize,
        base: i64,
        chain: &[usize],
        inputs: &mut Vec<VertexIdx>,
    ) -> Result<Action, Error> {
        let action = &self.op.actions[at];
        let mut owner = |of: Option<&pb::ChownOpt>| self.owner(at, of, base, chain, inputs);
        Ok(match &action.action {
            Some(file_action::Action::Copy(copy)) => {
                let owner = owner(copy.owner.as_ref())?;
                let from = self.from(at, action.secondary_input)?;
                let from = self.vertex_of(from)?;
                let input = place(inputs, from);
                Action::Copy(read_copy(copy, input, owner)?)
            }
            Some(file_action::Action::Mkfile(make)) => Action::MakeFile(MakeFile {
                path: path(&make.path)?,
                mode: mode(make.mode)?,
                data: make.data.clone(),
                owner: owner(make.owner.as_ref())?,
                time: time(make.timestamp),
            }),
            Some(file_action::Action::Mkdir(make)) => Action::MakeDirectory(MakeDirectory {
                path: path(&make.path)?,
                mode: mode(make.mode)?,
                parents: make.make_parents,
                owner: owner(make.owner.as_ref())?,
                time: time(make.timestamp),
            }),
            Some(file_action::Action::Symlink(make)) => Action::Symlink(Symlink {
                target: path(&make.oldpath)?,
                path: path(&make.newpath)?,
                owner: owner(make.owner.as_ref())?,
                time: time(make.timestamp),
            }),
            Some(file_action::Action::Rm(remove)) => Action::Remove(Remove {
                path: path(&remove.path)?,
                may_be_missing: remove.allow_not_found,
                wildcards: remove.allow_wildcard,
            }),
            None => return invalid("invalid file action: it says nothing of what it does"),
        })
    }

    fn vertex_of(&mut self, from: From) -> Result<VertexIdx, Error> {
        match from {
            From::Input(number) => self.reader.input_or_scratch(self.operation, number),
            From::Action(at) => match self.vertices.get(&at) {
                Some(vertex) => Ok(*vertex),
                None => invalid(format!("action {at} of a file op has no result")),
            },
        }
    }

    fn owner(
        &mut self,
        at: usize,
        owner: Option<&pb::ChownOpt>,
        base: i64,
        chain: &[usize],
        inputs: &mut Vec<VertexIdx>,
    ) -> Result<Option<Owner>, Error> {
        let Some(owner) = owner else { return Ok(None) };
        let mut read = |who: Option<&pb::UserOpt>| -> Result<Option<Identity>, Error> {
            let Some(who) = who.and_then(|who| who.user.as_ref()) else {
                return Ok(None);
            };
            let named = match who {
                user_opt::User::ById(id) => return Ok(Some(Identity::Id(*id))),
                user_opt::User::ByName(named) => named,
            };
            let from = self.from(at, named.input)?;
            let name = named.name.clone();
            let is_of_base = match from {
                From::Input(EMPTY) => return invalid("invalid user index: -1"),
                From::Input(number) => number == base,
                From::Action(one) => chain.binary_search(&one).is_ok(),
            };
            if is_of_base {
                return Ok(Some(Identity::Name(name)));
            }
            let vertex = self.vertex_of(from)?;
            let input = place(inputs, self.reader.layers(vertex)?);
            Ok(Some(Identity::NameIn { input, name }))
        };
        Ok(Some(Owner { user: read(owner.user.as_ref())?, group: read(owner.group.as_ref())? }))
    }
}

/// Where a vertex is among the inputs, beside the first, which is what is changed.
fn place(inputs: &mut Vec<VertexIdx>, vertex: VertexIdx) -> usize {
    if let Some(known) = inputs.iter().skip(1).position(|one| *one == vertex) {
        return known + 1;
    }
    inputs.push(vertex);
    inputs.len() - 1
}

fn read_copy(copy: &pb::FileActionCopy, input: usize, owner: Option<Owner>) -> Result<Copy, Error> {
    let mode = match (copy.mode_str.as_str(), copy.mode) {
        ("", -1) => String::new(),
        ("", number) => format!("{:o}", mode(number)?),
        (text, _) => text.to_owned(),
    };
    Ok(Copy {
        input,
        source: path(&copy.src)?,
        destination: path(&copy.dest)?,
        owner,
        mode,
        follow_links: copy.follow_symlink,
        contents_only: copy.dir_copy_contents,
        create_destination: copy.create_dest_path,
        wildcards: copy.allow_wildcard,
        may_be_empty: copy.allow_empty_wildcard,
        unpack: copy.attempt_unpack_docker_compatibility,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
        required: copy.required_paths.iter().map(|text| path(text)).collect::<Result<_, _>>()?,
        replace: copy.always_replace_existing_dest_paths,
        time: time(copy.timestamp),
        ..Copy::default()
    })
}

/// The kernel takes no zeros in a path.
fn path(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return invalid(format!("invalid path {text:?}"));
    }
    Ok(text.to_owned())
}

fn mode(mode: i32) -> Result<u32, Error> {
    match u32::try_from(mode) {
        Ok(mode) => Ok(mode & 0o7777),
        Err(_) => invalid(format!("invalid mode {mode}")),
    }
}

/// -1: nobody says.
fn time(nanoseconds: i64) -> Option<i64> {
    Some(nanoseconds).filter(|time| *time != -1)
}
