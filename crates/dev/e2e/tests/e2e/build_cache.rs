//! Build caches that go from one machine to another one: an engine of another root stands for that.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::{Output, Sandbox, capture, needs};

use crate::busybox;
use crate::registry_serve::{HOST, Server};

/// Two stages; what their steps write is never the same twice.
const DOCKERFILE: &str = "\
FROM busybox AS build
WORKDIR /src
COPY a.txt .
RUN cat /proc/sys/kernel/random/uuid > /made && cp a.txt /result
FROM busybox
COPY --from=build /result /made /
RUN cat /proc/sys/kernel/random/uuid > /id
";

/// An engine of a root of its own.
pub(crate) struct Machine<'s> {
    sandbox: &'s Sandbox,
    dir: PathBuf,
}

impl<'s> Machine<'s> {
    /// One with the image `busybox` of the sandbox.
    pub(crate) fn new(sandbox: &'s Sandbox, name: &str) -> Self {
        let machine = Self { sandbox, dir: sandbox.work().join(name) };
        let archive = sandbox.work().join("saved.tar");
        if !archive.exists() {
            sandbox.ok(&["save", "-o", archive.to_str().unwrap(), "busybox"]);
        }
        machine.ok(&["load", "-i", archive.to_str().unwrap()]);
        machine
    }

    pub(crate) fn dhow(&self, args: &[&str]) -> Output {
        let mut command = self.sandbox.dhow_command(args);
        command.env("DHOW_ROOT", self.dir.join("root")).env("DHOW_STATE", self.dir.join("state"));
        capture(&mut command)
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.dhow(args);
        let (code, said) = (output.code, &output.stderr);
        assert!(code == 0, "dhow {}: exit code {code}: {said}", args.join(" "));
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Builds the context; what was said of it.
    #[track_caller]
    pub(crate) fn build(&self, context: &Path, more: &[&str]) -> String {
        let context = context.to_str().unwrap();
        let args = [&["build", "--progress", "plain", context], more].concat();
        let output = self.dhow(&args);
        assert!(output.code == 0, "dhow {}: {}", args.join(" "), output.stderr);
        output.stderr
    }

    #[track_caller]
    fn read(&self, image: &str, path: &str) -> String {
        self.ok(&["run", "--rm", image, "cat", path])
    }
}

/// A context with a Dockerfile.
pub(crate) fn context(sandbox: &Sandbox, dockerfile: &str) -> PathBuf {
    let path = sandbox.work().join("context");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("Dockerfile"), dockerfile).unwrap();
    fs::write(path.join("a.txt"), "a").unwrap();
    path
}

fn run_steps(said: &str) -> Vec<&str> {
    let lines = said.lines().filter(|line| line.contains("] RUN ") || line.contains("] COPY "));
    lines.collect()
}

/// Whether every step that was told was found.
fn all_cached(said: &str) -> bool {
    let steps = run_steps(said);
    let number = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    !steps.is_empty() && steps.iter().all(|line| said.contains(&format!("{} CACHED", number(line))))
}

#[test]
fn a_cache_at_a_registry_is_found_on_another_machine() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("cache-registry");
    let server = Server::start(&sandbox, &[]);
    let context = context(&sandbox, DOCKERFILE);
    for (nth, more) in
        ["mode=max", "mode=min", "mode=max,image-manifest=false", "mode=max,compression=zstd"]
            .into_iter()
            .enumerate()
    {
        let here = Machine::new(&sandbox, &format!("here{nth}"));
        let cache = format!("type=registry,ref={HOST}/app/cache:{nth}");
        here.build(&context, &["-t", "app", "--cache-to", &format!("{cache},{more}")]);
        let (id, made) = (here.read("app", "/id"), here.read("app", "/made"));
        let there = Machine::new(&sandbox, &format!("there{nth}"));
        let said = there.build(&context, &["-t", "app", "--cache-from", &cache]);
        assert!(all_cached(&said), "{more}: {said}");
        assert_eq!((there.read("app", "/id"), there.read("app", "/made")), (id.clone(), made));
        // And on a branch, where something else has changed.
        fs::write(context.join("b.txt"), "b").unwrap();
        let said = there.build(&context, &["-t", "app", "--cache-from", &cache]);
        assert!(all_cached(&said), "{more}: {said}");
        assert_eq!(there.read("app", "/id"), id);
        // Written again it is the same, and nothing is sent that is there.
        let said = here.build(&context, &["--cache-to", &format!("{cache},{more}")]);
        assert!(said.contains("exporting cache to registry"), "{said}");
        let other = Machine::new(&sandbox, &format!("other{nth}"));
        let said = other.build(&context, &["-o", "type=cacheonly", "--cache-from", &cache]);
        assert!(all_cached(&said) && !said.contains("loading layers"), "{more}: {said}");
    }
    // A base that has just come from there was not in the cache; the next time it is.
    let base = format!("{HOST}/app/base:1");
    Machine::new(&sandbox, "pushes").build(&context, &["-t", &base, "--push"]);
    let on_it = sandbox.work().join("on-it");
    fs::create_dir_all(&on_it).unwrap();
    fs::write(on_it.join("Dockerfile"), format!("FROM {base}\nRUN test -e /id\n")).unwrap();
    let pulls = Machine::new(&sandbox, "pulls");
    for was_here in [false, true] {
        let said = pulls.build(&on_it, &["--no-cache"]);
        let from = said.lines().find(|line| line.contains("[1/2] FROM")).unwrap();
        let number = from.split(' ').next().unwrap();
        assert_eq!(said.contains(&format!("{number} CACHED")), was_here, "{said}");
    }
    // A cache that is not there is told, and a build can do without.
    let here = Machine::new(&sandbox, "none");
    let missing = format!("type=registry,ref={HOST}/app/none");
    let said = here.build(&context, &["--cache-from", &missing]);
    assert!(said.contains("importing cache manifest") && said.contains("ERROR"), "{said}");
    // One that cannot be written fails the build, unless it need not.
    let nowhere = "type=registry,ref=localhost:1/x/y";
    let failed = here.dhow(&["build", context.to_str().unwrap(), "--cache-to", nowhere]);
    assert!(failed.code == 1, "{failed:?}");
    here.build(&context, &["--cache-to", &format!("{nowhere},ignore-error=true")]);
    for kind in ["gha", "s3", "azblob"] {
        let to = format!("type={kind}");
        let failed = here.dhow(&["build", context.to_str().unwrap(), "--cache-to", &to]);
        assert!(failed.code == 1 && failed.stderr.contains(kind), "{failed:?}");
    }
    drop(server);
    sandbox.discard();
}

#[test]
fn an_image_brings_its_cache() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("cache-inline");
    let server = Server::start(&sandbox, &[]);
    let context = context(&sandbox, DOCKERFILE);
    let here = Machine::new(&sandbox, "here");
    let name = format!("{HOST}/app/app:1");
    here.build(&context, &["-t", &name, "--push", "--cache-to", "type=inline"]);
    let id = here.read(&name, "/id");
    let there = Machine::new(&sandbox, "there");
    let said = there.build(&context, &["-t", "app", "--cache-from", &name]);
    assert!(all_cached(&said), "{said}");
    assert_eq!(there.read("app", "/id"), id);
    // Without the word nothing of an image counts (security row H13).
    let other = Machine::new(&sandbox, "other");
    other.ok(&["pull", "-q", &name]);
    let said = other.build(&context, &["-t", "app"]);
    assert!(!all_cached(&said), "{said}");
    assert_ne!(other.read("app", "/id"), id);
    drop(server);
    sandbox.discard();
}

#[test]
fn a_cache_in_a_directory_does_not_grow() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("cache-local");
    let context = context(&sandbox, DOCKERFILE);
    let dir = sandbox.work().join("cache");
    let to = format!("type=local,dest={},mode=max", dir.display());
    let from = format!("type=local,src={}", dir.display());
    let here = Machine::new(&sandbox, "here");
    here.build(&context, &["-t", "app", "--cache-from", &from, "--cache-to", &to]);
    let id = here.read("app", "/id");
    let there = Machine::new(&sandbox, "there");
    let said = there.build(&context, &["-t", "app", "--cache-from", &from]);
    assert!(all_cached(&said), "{said}");
    assert_eq!(there.read("app", "/id"), id);
    let blobs = || fs::read_dir(dir.join("blobs/sha256")).unwrap().count();
    let n_blobs = blobs();
    for round in 0..3 {
        fs::write(context.join("a.txt"), format!("a{round}")).unwrap();
        here.build(&context, &["-t", "app", "--cache-to", &to]);
        assert_eq!(blobs(), n_blobs, "what no manifest names has gone (buildkit 1896)");
    }
    let said = there.build(&context, &["-t", "app", "--cache-from", &from]);
    assert!(all_cached(&said), "{said}");
    // What is there is not packed again: it stays gzip, though zstd is asked for.
    let names = || {
        let all = fs::read_dir(dir.join("blobs/sha256")).unwrap();
        let archives = all.map(|entry| entry.unwrap().path());
        let is_packed = |path: &PathBuf| !fs::read(path).unwrap().starts_with(b"{");
        archives.filter(is_packed).collect::<std::collections::BTreeSet<_>>()
    };
    let before = names();
    here.build(&context, &["-t", "app", "--cache-to", &format!("{to},compression=zstd")]);
    assert!(!before.is_empty() && names() == before, "{before:?}");
    // Another tag stays beside it.
    here.build(&context, &["--cache-to", &format!("{to},tag=other")]);
    let tagged = format!("{from},tag=other");
    let third = Machine::new(&sandbox, "third");
    assert!(all_cached(&third.build(&context, &["-t", "app", "--cache-from", &tagged])));
    // Security row H13: what was changed on the way is an error, and no hit.
    for entry in fs::read_dir(dir.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
            fs::write(&path, b"not what it should be").unwrap();
        }
    }
    let fourth = Machine::new(&sandbox, "fourth");
    let said = fourth.build(&context, &["-t", "app", "--cache-from", &from]);
    assert!(said.contains("ERROR"), "{said}");
    assert_eq!(fourth.read("app", "/result"), "a2");
    assert_ne!(fourth.read("app", "/id"), id);
    sandbox.discard();
}
