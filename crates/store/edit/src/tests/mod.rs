//! Trees in folders of the tests' own, and what operations make of them.

mod copying;
mod digests;
mod hostile;
mod making;
mod patterns;
mod unpacking;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use buildgraph::{Action, Copy};

use super::*;

/// What is made gets this time.
const NOW: i64 = 1_700_000_000_000_000_000;

/// Two trees, and a file beside them that must not be reached.
struct Trees(PathBuf);

impl Trees {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-edit-{}-{name}", std::process::id()));
        _ = fs::remove_dir_all(&path);
        for tree in ["from", "to"] {
            fs::create_dir_all(path.join(tree)).unwrap();
        }
        fs::write(path.join("canary"), "sings").unwrap();
        Self(path)
    }

    /// Trees that two scripts make.
    fn with(name: &str, from: &str, to: &str) -> Self {
        let trees = Self::new(name);
        sh(&trees.from(), &format!("umask 022\n{from}"));
        sh(&trees.to(), &format!("umask 022\n{to}"));
        trees
    }

    fn from(&self) -> PathBuf {
        self.0.join("from")
    }

    fn to(&self) -> PathBuf {
        self.0.join("to")
    }

    fn apply(&self, action: Action) -> Result<(), String> {
        let (from, to) = (Root::open(&self.from()).unwrap(), Root::open(&self.to()).unwrap());
        let file = File { actions: vec![action] };
        apply(&[Some(&to), Some(&from)], &to, &file, NOW).map_err(|error| chain(&error))
    }

    fn copy(&self, copy: Copy) -> Result<(), String> {
        self.apply(Action::Copy(copy))
    }

    fn digest(&self, copy: &Copy) -> Result<String, String> {
        let from = Root::open(&self.from()).unwrap();
        let found = digest(&from, copy, &mut Memo::new());
        found.map(|digest| digest.to_string()).map_err(|error| chain(&error))
    }

    /// What is in the target: kind, mode, owner, name, and where a link leads.
    fn list(&self) -> String {
        list(&self.to())
    }
}

impl Drop for Trees {
    fn drop(&mut self) {
        assert_eq!(fs::read_to_string(self.0.join("canary")).ok().as_deref(), Some("sings"));
        _ = fs::remove_dir_all(&self.0);
    }
}

fn list(tree: &Path) -> String {
    sh(tree, "find . -mindepth 1 -printf '%y %m %U:%G %P %l\\n' | sed 's/ $//' | LC_ALL=C sort -k4")
}

fn sh(dir: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// What COPY makes of a source and a destination.
fn like_copy(source: &str, destination: &str) -> Copy {
    Copy {
        input: 1,
        source: source.into(),
        destination: destination.into(),
        follow_links: true,
        contents_only: true,
        create_destination: true,
        wildcards: true,
        may_be_empty: true,
        ..Copy::default()
    }
}
