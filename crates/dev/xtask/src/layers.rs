//! Imports follow the layers: `crates/LAYER/NAME` uses its own layer and those before it.

use crate::Findings;
use crate::workspace::Workspace;

/// From the one that knows least of the world to the one that knows most.
const ORDER: [&str; 8] =
    ["model", "kernel", "runtime", "store", "service", "engine", "edge", "bin"];

pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for package in &workspace.packages {
        for name in &package.imports {
            let Some(imported) = workspace.packages.iter().find(|p| &p.name == name) else {
                continue;
            };
            if let Err(why) = allowed(&package.layer, &package.name, &imported.layer, name) {
                let (name, layer) = (&package.name, &package.layer);
                findings.push(format!("{layer}/{name} imports {}: {why}", imported.name));
            }
        }
    }
    findings
}

fn allowed(layer: &str, name: &str, imported: &str, imported_name: &str) -> Result<(), String> {
    let position = |layer: &str| ORDER.iter().position(|one| *one == layer);
    if layer == "dev" {
        return Ok(());
    }
    if imported == "dev" {
        return Err("only tests may".to_owned());
    }
    let (Some(here), Some(there)) = (position(layer), position(imported)) else {
        return Err(format!("`{layer}` or `{imported}` is no layer"));
    };
    if there > here {
        return Err(format!("{layer} comes before {imported}"));
    }
    match (layer, imported) {
        ("store", "runtime") => Err("neither of runtime and store knows the other".to_owned()),
        ("edge", "edge") if !is_one_edge(name, imported_name) => {
            Err("an edge knows no other edge".to_owned())
        }
        ("service", "service") => Err("a service knows no other service".to_owned()),
        ("kernel", "model") if imported_name == "dhow-oci" => {
            Err("kernel speaks the kernel's words, and plan translates".to_owned())
        }
        _ => Ok(()),
    }
}

/// A crate that was parted for its size may use its other half: `cli` and `cli-format`.
fn is_one_edge(name: &str, imported: &str) -> bool {
    imported.starts_with(&format!("{name}-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_follows_its_layers() {
        assert_eq!(check(&Workspace::load().unwrap()), Findings::new());
    }

    #[test]
    fn what_is_refused() {
        let ok = |layer, imported| allowed(layer, "dhow-a", imported, "dhow-b").is_ok();
        assert!(ok("bin", "edge") && ok("engine", "store") && ok("kernel", "kernel"));
        assert!(!ok("model", "kernel") && !ok("store", "runtime") && !ok("runtime", "store"));
        assert!(!ok("edge", "edge") && !ok("service", "service") && !ok("bin", "dev"));
        assert!(ok("dev", "bin") && !ok("cellar", "model"));
        assert!(allowed("kernel", "dhow-sys", "model", "dhow-oci").is_err());
    }
}
