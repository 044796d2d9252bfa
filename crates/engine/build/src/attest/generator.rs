//! Bills of materials that an image writes, which is run for that, as BuildKit's protocol for scanners has it
//! (`docs/attestations/sbom-protocol.md`): a step like any other. It sees the results, and cannot write to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use buildgraph::{Exec, File, Graph, Image, Kept, Mount, MountKind, Op, Shown, Source, VertexIdx};
use images::Image as Found;
use reference::Reference;

use super::{Attested, Sbom, Stated};
use crate::tell::phase_told;
use crate::{Build, Error, source};

/// Where the result is.
const SOURCE: &str = "/run/src/core/sbom";
/// Where other parts of the build are that are to be looked at.
const EXTRAS: &str = "/run/src/extras";
/// Where it writes to.
const DESTINATION: &str = "/run/out";
/// What the bill of the result itself is called, among others.
const CORE: &str = "sbom";
/// What its variables begin with.
const PREFIX: &str = "BUILDKIT_SCAN_";

impl Build {
    /// What a generator writes of a result: each file is a statement.
    pub(super) async fn generated(
        &self,
        how: &Sbom,
        reference: &str,
    ) -> Result<Vec<Attested>, Error> {
        let named: Reference = how.generator.parse().map_err(|error| {
            Error::Invalid(format!("the SBOM generator {:?}: {error}", how.generator))
        })?;
        let named = named.with_default_tag().to_string();
        let found = self.generator(&named).await.map_err(|error| of(how, error))?;
        // What is named twice is the same, and no name leads elsewhere.
        let extras = self.shared.scanned(reference).into_iter();
        let extras: BTreeMap<_, _> = extras.filter(|(name, _)| !name.contains('/')).collect();
        let mut graph = Graph::default();
        let digest = found.manifest.clone();
        let id = Some(found.id.clone());
        let image = Image { digest, id, ..Image::named(named, self.shared.resolve_mode()) };
        let name = format!("generating sbom using {}", how.generator);
        let shown = |name: &str| Shown { name: name.to_owned(), ..Shown::default() };
        let mut add = |op: Op, name: &str| graph.add(op, Vec::new(), None, false, shown(name));
        let root = add(Op::Source(Source::Image(image)), &format!("FROM {}", how.generator))?;
        let result = |of: &str| Op::Source(Source::Result(of.to_owned()));
        let mut inputs = vec![root, add(result(reference), "the result")?];
        let scratch = add(Op::File(File::default()), "nothing")?;
        for (name, of) in &extras {
            inputs.push(match of {
                Some(of) => add(result(of), name)?,
                None => scratch,
            });
        }
        inputs.push(scratch);
        let names: Vec<&str> = extras.keys().map(String::as_str).collect();
        let exec = exec(how, &found, &names)?;
        let vertex: VertexIdx = graph.add(Op::Exec(exec), inputs, None, false, shown(&name))?;
        let written = self.reference_of(Arc::new(graph), vertex, None);
        let all = Stated {
            reference: written,
            path: "/".into(),
            is_bundle: true,
            predicate_type: bom::PREDICATE.to_owned(),
            subjects: Vec::new(),
            inline_only: false,
            core: CORE.to_owned(),
        };
        self.stated(&[all]).await.map_err(|error| of(how, error))
    }

    /// Its image, which rules for sources are for as for any.
    async fn generator(&self, name: &str) -> Result<Found, Error> {
        let how = self.shared.resolve_mode();
        let asked = Image::named(name.to_owned(), how);
        let asked = self.shared.decided(&Source::Image(asked), None).await?;
        let Source::Image(asked) = asked else {
            return Err(Error::Invalid(format!("what is in the place of {name} is no image")));
        };
        let shown = format!("resolve image config for docker-image://{name}");
        let found = phase_told(&self.shared, &shown, |listeners| async move {
            source::resolve(&self.shared, &asked.reference, None, how, &listeners).await
        });
        Ok(found.await?.0)
    }
}

fn of(how: &Sbom, error: Error) -> Error {
    match error {
        Error::Cancelled => Error::Cancelled,
        error => Error::Generator { image: how.generator.clone(), source: Box::new(error) },
    }
}

/// What is run. Its inputs are its root, the result, what else is looked at, and nothing, on which it writes.
fn exec(how: &Sbom, found: &Found, extras: &[&str]) -> Result<Exec, Error> {
    let process = &found.config.config;
    let mut args = process.entrypoint.clone().unwrap_or_default();
    args.extend(process.cmd.clone().unwrap_or_default());
    if args.is_empty() {
        return Err(Error::Invalid(format!("scanner {} does not have cmd", how.generator)));
    }
    let mut env = process.env.clone();
    env.push(format!("{PREFIX}DESTINATION={DESTINATION}/"));
    env.push(format!("{PREFIX}SOURCE={SOURCE}"));
    if !extras.is_empty() {
        env.push(format!("{PREFIX}SOURCE_EXTRAS={EXTRAS}/"));
    }
    env.extend(how.parameters.iter().map(|(key, value)| format!("{PREFIX}{key}={value}")));
    let bind = |target: String, input: usize, readonly: bool| Mount {
        target,
        readonly,
        kind: MountKind::Bind { input, source: "/".into() },
    };
    let tmpfs = MountKind::Tmpfs { size: None };
    let mut mounts = vec![Mount { target: "/tmp".into(), readonly: false, kind: tmpfs }];
    mounts.push(bind(SOURCE.into(), 1, true));
    for (at, name) in extras.iter().enumerate() {
        mounts.push(bind(format!("{EXTRAS}/sbom-{name}"), at + 2, true));
    }
    mounts.push(bind(DESTINATION.into(), extras.len() + 2, false));
    let keeps = vec![Kept::Mount(mounts.len() - 1)];
    let cwd = match process.working_dir.as_str() {
        "" => "/".to_owned(),
        dir => dir.to_owned(),
    };
    Ok(Exec { args, env, cwd, mounts, keeps, ..Exec::default() })
}

#[cfg(test)]
mod tests {
    use oci::Digest;
    use oci::image::ImageConfig;

    use super::*;

    fn found(cmd: &[&str]) -> Found {
        let mut config = ImageConfig::default();
        config.config.cmd = Some(cmd.iter().map(|&arg| arg.to_owned()).collect());
        config.config.env = vec!["A=b".into()];
        Found {
            id: Digest::sha256(b"x"),
            manifest: None,
            reference: None,
            config,
            artifact: None,
            chain: Vec::new(),
            root: images::RootKind::Layers,
            size: 0,
            created: 0,
        }
    }

    #[test]
    fn it_may_write_to_one_place_alone() {
        let how = Sbom { generator: "g".into(), parameters: [("X".into(), "1".into())].into() };
        let exec = exec(&how, &found(&["scan"]), &["build"]).unwrap();
        let written: Vec<_> = exec.mounts.iter().filter(|mount| !mount.readonly).collect();
        let places: Vec<_> = written.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(places, ["/tmp", "/run/out"]);
        assert!(exec.mounts.iter().any(|mount| mount.target == "/run/src/extras/sbom-build"));
        assert_eq!(exec.kept(), [Kept::Mount(3)]);
        for line in [
            "A=b",
            "BUILDKIT_SCAN_SOURCE=/run/src/core/sbom",
            "BUILDKIT_SCAN_DESTINATION=/run/out/",
            "BUILDKIT_SCAN_SOURCE_EXTRAS=/run/src/extras/",
            "BUILDKIT_SCAN_X=1",
        ] {
            assert!(exec.env.iter().any(|one| one == line), "{line}: {:?}", exec.env);
        }
        assert!(super::exec(&how, &found(&[]), &[]).is_err());
    }
}
