//! What cargo knows of this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The workspace.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One of its packages.
pub(crate) struct Package {
    pub(crate) name: String,
    /// The folder above its own: `crates/LAYER/NAME`.
    pub(crate) layer: String,
    pub(crate) directory: PathBuf,
    /// The packages of the workspace that it depends on, but for tests.
    pub(crate) imports: Vec<String>,
    /// The first file of each target, and the target's kind.
    pub(crate) targets: Vec<(PathBuf, String)>,
}

impl Workspace {
    /// Asks `cargo metadata`.
    pub(crate) fn load() -> Result<Self, String> {
        let metadata = metadata(&["--no-deps"])?;
        let root = PathBuf::from(text(&metadata, "workspace_root"));
        let packages = list(&metadata, "packages").map(package).collect();
        Ok(Self { root, packages })
    }

    /// All files with Rust in them, the tests' and the build scripts' too.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&self.root.join("crates"), &mut files);
        files.sort();
        files
    }

    /// A path without the root's.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// `cargo metadata`, as it is.
pub(crate) fn metadata(args: &[&str]) -> Result<Value, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1"])
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.."))
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// The string `key` of an object; empty where there is none.
pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// The items of the list `key`.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn package(value: &Value) -> Package {
    let manifest = PathBuf::from(text(value, "manifest_path"));
    let directory = manifest.parent().map(Path::to_owned).unwrap_or_default();
    let layer = directory.parent().and_then(Path::file_name).unwrap_or_default();
    let ours = |dependency: &&Value| {
        dependency["path"].is_string() && dependency["kind"].as_str() != Some("dev")
    };
    let target = |target: &Value| {
        let kind = list(target, "kind").next().and_then(Value::as_str).unwrap_or_default();
        (PathBuf::from(text(target, "src_path")), kind.to_owned())
    };
    Package {
        name: text(value, "name"),
        layer: layer.to_string_lossy().into_owned(),
        imports: list(value, "dependencies").filter(ours).map(|d| text(d, "name")).collect(),
        targets: list(value, "targets").map(target).collect(),
        directory,
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
