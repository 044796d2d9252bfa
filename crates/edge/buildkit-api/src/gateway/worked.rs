//! What the error of a solve hands out (`errdefs.Solve`): the operation that failed, what it worked on, and what it
//! had written, as results of which containers can be made (`buildx build --debug`).

use build::Worked;
use buildgraph::{Kept, MountKind};
use buildkit::errdefs::{ContentCache, FileAction, Solve, solve::Subject};
use buildkit::pb::{self, op::Op};
use oci::Digest;
use tonic::Status;

use super::Asking;
use crate::failure;
use crate::places::Places;

/// What people call an operation.
const NAME: &str = "llb.customname";

impl Asking {
    /// An error of a result that was to be made: who asked may look into what failed.
    pub(super) fn unmade(&self, error: &build::Error) -> Status {
        let status = self.job.failed(error);
        let Some((step, worked)) = self.job.build.worked(error) else { return status };
        let solve = described(&self.job.places, &step, &worked);
        let names = solve.input_i_ds.iter().chain(&solve.mount_i_ds);
        for name in names.filter(|name| !name.is_empty()) {
            // Where it was told of too many, it is told of no more.
            if self.by.told_of(name).is_err() {
                return status;
            }
        }
        failure::with_solve(&status, &solve)
    }
}

fn described(places: &Places, step: &Digest, worked: &Worked) -> Solve {
    let own = places.operation(step);
    let is_own = own.is_some();
    let (op, description) = if let Some((op, description)) = own {
        (Some(op), description)
    } else {
        let op = places.given(step).or_else(|| made_of(worked));
        (op, [(NAME.to_owned(), worked.name.clone())].into())
    };
    let mut solve = Solve { description, ..Solve::default() };
    match op.as_ref().and_then(|op| op.op.as_ref()) {
        Some(Op::Exec(exec)) => {
            let places = if is_own { llb::mount_places(exec) } else { in_order(exec) };
            of_exec(&mut solve, exec, &places, worked);
        }
        Some(Op::File(file)) => {
            let n_inputs = op.as_ref().map_or(0, |op| op.inputs.len());
            // One that was given out here has the actions of its step.
            let all: Vec<usize> = (0..file.actions.len()).collect();
            let numbers = if is_own { worked.actions.as_slice() } else { all.as_slice() };
            of_file(&mut solve, n_inputs, file, numbers, worked);
        }
        _ => {
            solve.input_i_ds.clone_from(&worked.inputs);
            solve.mount_i_ds = worked.written.iter().map(|(_, name)| name.clone()).collect();
        }
    }
    solve.op = op;
    solve
}

/// The operation of a step that was none of a client's own, and that nobody was told of. Of those that change files
/// there is none: a step has no numbers of theirs.
fn made_of(worked: &Worked) -> Option<pb::Op> {
    let buildgraph::Op::Exec(exec) = &worked.op else { return None };
    let platform = worked.platform.as_ref().map(llb::platform);
    Some(pb::Op { op: Some(Op::Exec(llb::exec_op(exec))), platform, ..pb::Op::default() })
}

/// Which of a step's mounts each of the operation's is that was made of it.
fn in_order(op: &pb::ExecOp) -> Vec<Option<usize>> {
    (0..op.mounts.len()).map(|at| at.checked_sub(1)).collect()
}

fn of_exec(solve: &mut Solve, op: &pb::ExecOp, places: &[Option<usize>], worked: &Worked) {
    let buildgraph::Op::Exec(exec) = &worked.op else { return };
    let input_of = |place: Option<usize>| match place {
        None => Some(0),
        Some(at) => match exec.mounts.get(at)?.kind {
            MountKind::Bind { input, .. } => Some(input),
            MountKind::Cache { from, .. } => from,
            _ => None,
        },
    };
    let name = |input: Option<usize>| {
        input.and_then(|input| worked.inputs.get(input)).cloned().unwrap_or_default()
    };
    if let Some(lacking) = worked.lacking {
        let mount = places.iter().position(|place| input_of(*place) == Some(lacking));
        let index = mount.and_then(|at| op.mounts.get(at)).map_or(0, |mount| mount.input);
        solve.input_i_ds = vec![name(Some(lacking))];
        solve.subject = Some(Subject::Cache(ContentCache { index }));
        return;
    }
    for place in places.iter().copied() {
        let input = name(input_of(place));
        let kept = place.map_or(Kept::Root, Kept::Mount);
        let written = worked.written.iter().find(|(what, _)| *what == kept);
        solve.mount_i_ds.push(written.map_or_else(|| input.clone(), |(_, name)| name.clone()));
        solve.input_i_ds.push(input);
    }
}

/// `numbers` are those that the actions of the step have in its operation.
fn of_file(
    solve: &mut Solve,
    n_inputs: usize,
    op: &pb::FileOp,
    numbers: &[usize],
    worked: &Worked,
) {
    let buildgraph::Op::File(file) = &worked.op else { return };
    let from = |action: &buildgraph::Action| match action {
        buildgraph::Action::Copy(copy) => Some(copy.input),
        _ => None,
    };
    let own = |at: usize| Some((file.actions.get(at)?, *numbers.get(at)?));
    if let Some(lacking) = worked.lacking {
        let mut all = (0..file.actions.len()).filter_map(own);
        let copying = all.find(|(action, _)| from(action) == Some(lacking));
        let index = copying.and_then(|(_, at)| op.actions.get(at));
        let index = index.map_or(0, |action| action.secondary_input);
        solve.input_i_ds = worked.inputs.get(lacking).cloned().into_iter().collect();
        solve.subject = Some(Subject::Cache(ContentCache { index }));
        return;
    }
    let Some((failed, at)) = worked.failed_action.and_then(own) else { return };
    solve.input_i_ds = vec![String::new(); n_inputs];
    solve.mount_i_ds = vec![String::new(); op.actions.len()];
    let Some(action) = op.actions.get(at) else { return };
    solve.subject = i64::try_from(at).ok().map(|index| Subject::File(FileAction { index }));
    // Inputs come first, then what other actions have made.
    let mut set = |number: i64, name: &str| {
        let Ok(number) = usize::try_from(number) else { return };
        let place = match number.checked_sub(n_inputs) {
            None => solve.input_i_ds.get_mut(number),
            Some(action) => solve.mount_i_ds.get_mut(action),
        };
        if let Some(place) = place {
            name.clone_into(place);
        }
    };
    if let Some(name) = from(failed).and_then(|input| worked.inputs.get(input)) {
        set(action.secondary_input, name);
    }
    if worked.failed_action == Some(0)
        && let Some(name) = worked.inputs.first()
    {
        set(action.input, name);
    }
    if let (Some((_, name)), Some(place)) = (worked.written.first(), solve.mount_i_ds.get_mut(at)) {
        place.clone_from(name);
    }
}

#[cfg(test)]
mod tests {
    use buildgraph::{Action, Copy, Exec, File, MakeFile, Mount};

    use super::*;

    fn worked(op: buildgraph::Op) -> Worked {
        Worked {
            op,
            platform: None,
            name: "RUN x".into(),
            actions: vec![2],
            inputs: vec!["root".into(), "other".into()],
            written: vec![(Kept::Mount(0), "wrote".into())],
            failed_action: Some(0),
            lacking: None,
        }
    }

    fn exec() -> buildgraph::Op {
        let kind = MountKind::Bind { input: 1, source: "/part".into() };
        let bind = Mount { target: "/b".into(), readonly: false, kind };
        let kind = MountKind::Tmpfs { size: None };
        let tmpfs = Mount { target: "/a".into(), readonly: false, kind };
        buildgraph::Op::Exec(Exec {
            args: vec!["x".into()],
            mounts: vec![bind, tmpfs],
            ..Exec::default()
        })
    }

    #[test]
    fn a_step_of_a_dockerfile_is_an_operation_like_any_other() {
        let solve = described(&Places::default(), &Digest::sha256(b"x"), &worked(exec()));
        assert_eq!(solve.input_i_ds, ["root", "other", ""]);
        assert_eq!(solve.mount_i_ds, ["root", "wrote", ""]);
        assert_eq!(solve.description[NAME], "RUN x");
    }

    #[test]
    fn a_step_that_was_given_out_is_the_operation_that_it_was_given_out_as() {
        let copy = |input| Action::Copy(Copy { input, ..Copy::default() });
        let file = File { actions: vec![copy(1), copy(1)] };
        let op = llb::file_op(&file, &[0, 1], 2);
        let input = |digest: &str| pb::Input { digest: digest.into(), index: 0 };
        let op = pb::Op {
            inputs: vec![input("sha256:a"), input("sha256:b")],
            op: Some(Op::File(op)),
            ..pb::Op::default()
        };
        let (places, step) = (Places::default(), Digest::sha256(b"x"));
        let mut worked = worked(buildgraph::Op::File(file));
        (worked.actions, worked.failed_action) = (vec![], Some(1));
        assert_eq!(described(&places, &step, &worked).op, None, "nobody was told of it");
        places.give(vec![(step.clone(), op.clone())]);
        let solve = described(&places, &step, &worked);
        assert_eq!(solve.op, Some(op));
        assert_eq!(solve.subject, Some(Subject::File(FileAction { index: 1 })));
        assert_eq!(solve.input_i_ds, ["", "other"]);
        assert_eq!(solve.mount_i_ds, ["", "wrote"]);
    }

    #[test]
    fn what_an_input_lacks_is_the_subject() {
        let mut worked = worked(exec());
        worked.lacking = Some(1);
        let solve = described(&Places::default(), &Digest::sha256(b"x"), &worked);
        assert_eq!(
            (solve.input_i_ds.as_slice(), solve.mount_i_ds.len()),
            (&["other".to_owned()][..], 0)
        );
        assert_eq!(solve.subject, Some(Subject::Cache(ContentCache { index: 1 })));
    }

    #[test]
    fn numbers_of_an_operation_that_is_not_the_steps_reach_nothing() {
        let copy = Copy { input: 1, ..Copy::default() };
        let actions = vec![Action::Copy(copy), Action::MakeFile(MakeFile::default())];
        let worked = worked(buildgraph::Op::File(File { actions }));
        let action = |input, secondary_input| pb::FileAction {
            input,
            secondary_input,
            ..pb::FileAction::default()
        };
        for (n_inputs, actions) in
            [(0, vec![]), (9, vec![action(-9, 99); 3]), (0, vec![action(7, i64::MAX); 3])]
        {
            let mut solve = Solve::default();
            of_file(&mut solve, n_inputs, &pb::FileOp { actions }, &worked.actions, &worked);
            assert!(solve.input_i_ds.iter().all(String::is_empty));
        }
        let mut solve = Solve::default();
        let actions = vec![action(0, -1), action(0, -1), action(0, 1)];
        of_file(&mut solve, 2, &pb::FileOp { actions }, &worked.actions, &worked);
        assert_eq!(solve.input_i_ds, ["root", "other"]);
        assert_eq!(solve.mount_i_ds, ["", "", "wrote"]);
    }
}
