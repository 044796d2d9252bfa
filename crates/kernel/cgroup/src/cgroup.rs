//! One path in all trees: made, joined, looked at, removed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::error::{Error, pass};
use crate::hierarchy::{Hierarchy, Mode};
use crate::parse;
use crate::tree::{Dir, Tree, Version, present};

/// How often a directory is made again when another process removes its parent meanwhile.
const RACE_RETRIES: usize = 64;

/// How long a removal waits for processes that were killed to be gone.
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);

/// The first pause of a wait; each is twice as long as the one before, to at most 20 ms.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_micros(200);

/// The next pause after this one.
pub(crate) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(Duration::from_millis(20))
}

/// One cgroup in every tree.
#[derive(Debug)]
pub struct Cgroup {
    mode: Mode,
    path: String,
    pub(crate) members: Vec<Member>,
}

/// The cgroup in one tree.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) tree: Arc<Tree>,
    pub(crate) dir: Dir,
}

impl Cgroup {
    /// Makes `path` (such as `/dhow/ID`, from the roots of the mounted trees) in every tree, with
    /// all that is missing on the way to it. What is there already stays; whether it holds
    /// processes is for the caller to see ([`Cgroup::procs`]).
    ///
    /// On v1 a new cpuset gets its parent's processors and nodes, without which nobody could join.
    /// On v2 the controllers are handed down to it.
    ///
    /// A tree that this process may not change is passed over; asking for one of its limits fails
    /// later. When a step fails otherwise, what was made is removed again.
    pub fn create(hierarchy: &Hierarchy, path: &str) -> Result<Self, Error> {
        let names = components(path)?;
        let mut cgroup =
            Self { mode: hierarchy.mode(), path: names.join("/"), members: Vec::new() };
        let mut made = Vec::new();
        match cgroup.create_members(hierarchy, &names, &mut made) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                let (parent, leaf) = split(&names);
                for tree in &made {
                    // The first error is the one to tell; what stays here is found by recovery.
                    if let Ok(dir) = tree.root.open_or_self(&parent) {
                        let _ = dir.rmdir(leaf);
                    }
                }
                Err(error)
            }
        }
    }

    fn create_members(
        &mut self,
        hierarchy: &Hierarchy,
        names: &[&str],
        made: &mut Vec<Arc<Tree>>,
    ) -> Result<(), Error> {
        pass("cgroup.create")?;
        let mut denied = None;
        for tree in &hierarchy.trees {
            match make_in_tree(tree, self.mode, names) {
                Ok((dir, new)) => {
                    if new {
                        made.push(Arc::clone(tree));
                    }
                    if self.members.is_empty() {
                        pass("cgroup.creating")?;
                    }
                    self.members.push(Member { tree: Arc::clone(tree), dir });
                }
                Err(error) if is_denied(error.errno()) => denied = denied.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
        }
        if let (true, Some(error)) = (self.members.is_empty(), denied) {
            return Err(error.into());
        }
        pass("cgroup.created")
    }

    /// The cgroup `path` in those trees where it exists. [`Error::NotFound`] when it is in none.
    pub fn open(hierarchy: &Hierarchy, path: &str) -> Result<Self, Error> {
        let path = components(path)?.join("/");
        let mut members = Vec::new();
        for tree in &hierarchy.trees {
            if let Some(dir) = tree.root.find(&path)? {
                members.push(Member { tree: Arc::clone(tree), dir });
            }
        }
        if members.is_empty() {
            return Err(Error::NotFound(format!("/{path}")));
        }
        Ok(Self { mode: hierarchy.mode(), path, members })
    }

    /// Which versions of cgroups there are.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The path from the roots of the trees, with a leading slash.
    pub fn path(&self) -> String {
        format!("/{}", self.path)
    }

    /// The cgroup's directories, by controller; `unified` is the v2 tree's.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let mut paths = BTreeMap::new();
        for Member { tree, dir } in &self.members {
            match tree.version {
                Version::V1 => {
                    for name in &tree.controllers {
                        paths.insert(name.clone(), dir.path().to_owned());
                    }
                }
                Version::V2 => {
                    paths.insert("unified".to_owned(), dir.path().to_owned());
                }
            }
        }
        paths
    }

    /// The processes in the cgroup and in all below it, as this process sees them, sorted.
    pub fn procs(&self) -> Result<Vec<i32>, Error> {
        match self.primary() {
            Some(member) => Ok(procs_below(&member.dir)?),
            None => Ok(Vec::new()),
        }
    }

    /// The same, from every tree: more than one only if something moved a process in one of them.
    pub(crate) fn procs_everywhere(&self) -> Result<Vec<i32>, Error> {
        let mut pids = Vec::new();
        for member in &self.members {
            pids.extend(procs_below(&member.dir)?);
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// The tree that is asked for processes: v2's, else that of devices, which nothing but an
    /// engine moves processes in.
    fn primary(&self) -> Option<&Member> {
        self.member("devices", None).or(self.v2()).or(self.members.first())
    }

    /// The cgroup in the v2 tree.
    pub(crate) fn v2(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.tree.version == Version::V2)
    }

    /// The cgroup in the tree that has a controller: by its name on v1, else by that on v2, if the
    /// cgroup got it.
    pub(crate) fn member(&self, v1: &str, v2: Option<&str>) -> Option<&Member> {
        let in_v1 = |m: &&Member| m.tree.version == Version::V1 && m.tree.has(v1);
        if let Some(member) = self.members.iter().find(in_v1) {
            return Some(member);
        }
        let (name, member) = (v2?, self.v2()?);
        let given = member.dir.read_if_there("cgroup.controllers").ok()??;
        parse::words(&given).contains(&name).then_some(member)
    }

    /// As [`Cgroup::member`], for a limit that was asked for: on a hybrid machine a controller of the
    /// v2 tree is handed down to the cgroup first.
    pub(crate) fn member_for_limit(&self, v1: &str, v2: Option<&str>) -> Option<&Member> {
        let found = self.member(v1, v2);
        let (None, Mode::Hybrid, Some(name), Some(member)) = (&found, self.mode, v2, self.v2())
        else {
            return found;
        };
        if !member.tree.has(name) {
            return None;
        }
        let parts: Vec<&str> = self.path.split('/').collect();
        for depth in 0..parts.len() {
            let Ok(parent) = member.tree.root.open_or_self(&parts[..depth].join("/")) else {
                break;
            };
            let given = parent.read("cgroup.subtree_control").unwrap_or_default();
            if !parse::words(&given).contains(&name) {
                // Whether it came down to the cgroup is seen below.
                let _ = parent.write("cgroup.subtree_control", &format!("+{name}"));
            }
        }
        self.member(v1, v2)
    }

    /// Removes the cgroup and all below it, in each tree. One that is gone already is fine. Waits
    /// up to two seconds for processes that are ending; [`Error::Busy`] names those that do not.
    pub fn remove(self) -> Result<(), Error> {
        pass("cgroup.remove")?;
        let names: Vec<&str> = self.path.split('/').collect();
        let (parent, leaf) = split(&names);
        let patience = Instant::now() + REMOVE_PATIENCE;
        for (nth, member) in self.members.iter().enumerate() {
            member.dir.walk_below(&mut |parent, name, dir| {
                rmdir_patiently(parent, name, dir, patience)
            })?;
            if let Some(parent) = present(member.tree.root.open_or_self(&parent))? {
                rmdir_patiently(&parent, leaf, &member.dir, patience)?;
            }
            if nth == 0 {
                pass("cgroup.removing")?;
            }
        }
        pass("cgroup.removed")
    }
}

/// Removes the cgroup `path` in each tree where it is empty: no process, no cgroup below it. Answers
/// whether it is in no tree any more.
pub fn remove_if_empty(hierarchy: &Hierarchy, path: &str) -> Result<bool, Error> {
    let names = components(path)?;
    let (parent, leaf) = split(&names);
    let mut gone = true;
    for tree in &hierarchy.trees {
        let removed = if parent.is_empty() {
            tree.root.rmdir(leaf)
        } else {
            let Some(parent) = present(tree.root.open(&parent))? else { continue };
            parent.rmdir(leaf)
        };
        match removed {
            Ok(_) => {}
            Err(error) if error.errno() == Errno::BUSY => gone = false,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(gone)
}

/// The components of a path, checked: absolute, at least one, nothing that leads elsewhere.
fn components(path: &str) -> Result<Vec<&str>, Error> {
    let wrong = |why| Error::Path { path: path.to_owned(), why };
    let rest = path.strip_prefix('/').ok_or_else(|| wrong("does not begin with `/`"))?;
    let names: Vec<&str> = rest.split('/').filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(wrong("is the root of the tree"));
    }
    for name in &names {
        if *name == "." || *name == ".." {
            return Err(wrong("has a component `.` or `..`"));
        }
        if name.len() > 255 || name.contains(['\n', '\0']) {
            return Err(wrong("has a component that is longer than 255 bytes or has a line break"));
        }
    }
    Ok(names)
}

/// The parent as one path (empty: the root), and the last component.
fn split<'a>(names: &[&'a str]) -> (String, &'a str) {
    match names.split_last() {
        Some((leaf, parents)) => (parents.join("/"), leaf),
        None => (String::new(), ""),
    }
}

fn is_denied(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM | Errno::ROFS)
}

/// Makes the cgroup in one tree. Answers whether its last component is new.
fn make_in_tree(tree: &Tree, mode: Mode, names: &[&str]) -> Result<(Dir, bool), sys::Error> {
    let mut tries = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        match make_components(tree, mode, names) {
            // The last container of a parent went, and took the parent along: it is not there any more, or what
            // was opened in it is nothing.
            Err(error)
                if matches!(error.errno(), Errno::NOENT | Errno::NODEV) && tries < RACE_RETRIES =>
            {
                tries += 1;
                // Who removes may be waiting for the same lock of the kernel as who makes, and come next each time.
                if tries > RACE_RETRIES / 8 {
                    std::thread::sleep(pause);
                    pause = longer(pause);
                }
            }
            other => return other,
        }
    }
}

/// Makes what is missing of a path. All directories are made before any is prepared: an empty one can be taken
/// away meanwhile, by whoever removes the last container of a parent, and to hand down controllers takes longer
/// than that does.
fn make_components(tree: &Tree, mode: Mode, names: &[&str]) -> Result<(Dir, bool), sys::Error> {
    let mut made: Vec<Dir> = Vec::with_capacity(names.len());
    let mut new = false;
    for name in names {
        let parent = made.last().unwrap_or(&tree.root);
        new = parent.mkdir(name)?;
        let child = parent.open(name)?;
        made.push(child);
    }
    for (nth, dir) in made.iter().enumerate() {
        let parent = nth.checked_sub(1).map_or(&tree.root, |above| &made[above]);
        // On a hybrid machine v2's controllers are the host's business, until one is asked for.
        if mode == Mode::V2 && tree.version == Version::V2 {
            hand_down_controllers(parent);
        }
        if tree.version == Version::V1 && tree.has("cpuset") {
            match inherit_cpuset(parent, dir) {
                // A sibling has some for itself alone; which the container gets is told by a limit.
                Err(error) if nth + 1 == names.len() && error.errno() == Errno::INVAL => {}
                other => other?,
            }
        }
    }
    let dir = made.pop().ok_or_else(|| sys::Error::new("mkdir(\"\")", Errno::INVAL))?;
    if mode == Mode::V2 && tree.version == Version::V2 && new {
        make_valid(&dir)?;
    }
    Ok((dir, new))
}

/// Lets the children of a v2 cgroup have all of its controllers. What cannot be had (a cgroup with
/// processes in it may not hand down some) is missing in the child, and told when it is asked for.
fn hand_down_controllers(parent: &Dir) {
    let read = |file| parent.read(file).unwrap_or_default();
    let (given, there) = (read("cgroup.subtree_control"), read("cgroup.controllers"));
    let given = parse::words(&given);
    let missing: Vec<String> = parse::words(&there)
        .into_iter()
        .filter(|name| !given.contains(name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() || parent.write("cgroup.subtree_control", &missing.join(" ")).is_ok() {
        return;
    }
    for one in missing {
        let _ = parent.write("cgroup.subtree_control", &one);
    }
}

/// Below a threaded cgroup no other can hold processes, and a new one is not threaded by itself:
/// cgroups(7), "Threaded mode". The controllers that are not threaded (memory, io) are missing in it
/// then, and told when they are asked for.
fn make_valid(dir: &Dir) -> Result<(), sys::Error> {
    let kind = dir.read_if_there("cgroup.type")?.unwrap_or_default();
    if kind.trim() == "domain invalid" {
        dir.write("cgroup.type", "threaded")?;
    }
    Ok(())
}

/// A cpuset of v1 without processors or nodes takes no process.
fn inherit_cpuset(parent: &Dir, child: &Dir) -> Result<(), sys::Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if child.read(file)?.trim().is_empty() {
            child.write(file, parent.read(file)?.trim())?;
        }
    }
    Ok(())
}

/// The processes in `dir` and below.
fn procs_below(dir: &Dir) -> Result<Vec<i32>, sys::Error> {
    let mut pids = Vec::new();
    dir.walk(&mut |dir: &Dir| -> Result<(), sys::Error> {
        let text = match dir.read_if_there("cgroup.procs") {
            // A threaded cgroup of v2; its processes are listed at the head of its domain.
            Err(error) if error.errno() == Errno::OPNOTSUPP => return Ok(()),
            other => other?,
        };
        pids.extend(parse::pids(&text.unwrap_or_default()));
        Ok(())
    })?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn rmdir_patiently(parent: &Dir, name: &str, dir: &Dir, patience: Instant) -> Result<(), Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        match parent.rmdir(name) {
            Err(error) if error.errno() == Errno::BUSY => {
                if Instant::now() > patience {
                    let pids = procs_below(dir)?;
                    return Err(Error::Busy { path: dir.path().to_owned(), pids });
                }
                std::thread::sleep(pause);
                pause = longer(pause);
            }
            other => return Ok(other.map(drop)?),
        }
    }
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
