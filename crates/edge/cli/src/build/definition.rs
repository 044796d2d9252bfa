//! A definition of BuildKit's low-level builder in place of a Dockerfile.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use buildkit::pb::Definition;
use prost::Message as _;

use crate::args::BuildArgs;
use crate::error::{Error, Result};

/// The builder reads messages up to this, in bytes.
const MAX: u64 = 16 << 20;

/// What is said of a Dockerfile says nothing of a definition.
pub(super) fn check(args: &BuildArgs) -> Result<()> {
    if args.definition.is_none() {
        return Ok(());
    }
    let given = [
        ("--file", args.file.is_some()),
        ("--target", args.target.is_some()),
        ("--build-arg", !args.build_arg.is_empty()),
        ("--label", !args.label.is_empty()),
        ("--platform", !args.platform.is_empty()),
        ("--network", args.network.is_some()),
        ("--add-host", !args.add_host.is_empty()),
        ("--ulimit", !args.ulimit.is_empty()),
        ("--resource", !args.resource.is_empty()),
        ("--shm-size", args.shm_size.is_some()),
        ("--cgroup-parent", args.cgroup_parent.is_some()),
        ("--no-cache", args.no_cache),
        ("--no-cache-filter", !args.no_cache_filter.is_empty()),
        ("--pull", args.pull),
        ("--explain", args.explain),
        ("--check", args.check),
        ("--call", args.call != "build"),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => {
            Err(Error::Usage(format!("{flag} is for Dockerfiles, --definition is none")))
        }
        None => Ok(()),
    }
}

/// Reads one.
pub(super) fn read(path: &Path) -> Result<Definition> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX + 1).read_to_end(&mut bytes));
    read.map_err(Error::io(format!("read {}", path.display())))?;
    if bytes.len() as u64 > MAX {
        return Err(Error::Usage(format!("{}: larger than {MAX} bytes", path.display())));
    }
    Definition::decode(bytes.as_slice())
        .map_err(|err| Error::Usage(format!("{}: no definition: {err}", path.display())))
}
