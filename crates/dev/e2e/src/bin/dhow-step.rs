//! Runs one step of a build, as a builder would: for tests. `DHOW_ROOT` and `DHOW_STATE` say in which
//! engine, the first argument (JSON, see [`Wanted`]) says what, the second where dhow's program is.
//!
//! What the step writes is written; it exits as the step did. What went wrong is said on standard
//! error, with code 125.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use containers::{
    Engine, EngineConfig, FinishedStep, IfNothing, Settings, Step, StepMount, StepResult,
    StepSource,
};
use docker::container::Resources;
use oci::ChainId;
use serde::Deserialize;

type Error = Box<dyn std::error::Error>;

/// Who holds the layer that was kept, until it has been shown.
const HOLDER: &str = "dhow-step";
/// A day, in nanoseconds.
const DAY: i64 = 86_400_000_000_000;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    /// Whose layers the root is.
    image: String,
    args: Vec<String>,
    env: Vec<String>,
    user: String,
    cwd: String,
    hostname: String,
    network: String,
    privileged: bool,
    extra_hosts: Vec<String>,
    shm_size: i64,
    memory: i64,
    cgroup_parent: String,
    mounts: Vec<Mount>,
    /// Cancel it after so long.
    cancel_ms: Option<u64>,
    /// Keep what it wrote, list it, and drop it.
    keep: bool,
    /// The same for the mount of this number.
    keep_mount: Option<usize>,
    /// Run it so often, and tell how long each took.
    times: u32,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Mount {
    target: String,
    readonly: bool,
    subpath: String,
    /// `layers`, `directory`, `cache`, `tmpfs`, `secret`, `socket`.
    kind: String,
    image: String,
    path: PathBuf,
    text: String,
    size: u64,
    uid: u32,
    gid: u32,
    mode: u32,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(err) => {
            eprintln!("{err}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<i32, Error> {
    let mut args = std::env::args().skip(1);
    let wanted: Wanted = serde_json::from_str(&args.next().ok_or("no step")?)?;
    let exe = args.next().ok_or("no program")?.into();
    let place = |name: &str| std::env::var_os(name).map(PathBuf::from).ok_or("no engine");
    let engine = Engine::open(EngineConfig {
        root: place("DHOW_ROOT")?,
        state: place("DHOW_STATE")?,
        exe,
        embedded: &[],
        driver: None,
        settings: Settings::default(),
        starts: false,
    })?;
    let step = step(&engine, &wanted)?;
    let (ours, theirs) = UnixStream::pair()?;
    if let Some(after) = wanted.cancel_ms {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after));
            drop(theirs);
        });
    } else {
        // It stays open.
        std::mem::forget(theirs);
    }
    let mut code = 0;
    let begun = Instant::now();
    for _ in 0..wanted.times.max(1) {
        let mut write = |stream: u8, bytes: &[u8]| {
            // Who reads it may have left.
            let _ = match stream {
                1 => std::io::stdout().write_all(bytes),
                _ => std::io::stderr().write_all(bytes),
            };
        };
        let finished = engine.run_step(&step, &mut write, ours.as_fd())?;
        code = finished.exit_code;
        if finished.oom_killed {
            eprintln!("out of memory");
        }
        if wanted.keep {
            keep(&engine, &finished, StepResult::Root, &step.chain)?;
        }
        if let Some(at) = wanted.keep_mount {
            let StepSource::Layers(below) = &step.mounts[at].source else {
                return Err("no layers to keep".into());
            };
            keep(&engine, &finished, StepResult::Mount(at), below)?;
        }
        engine.drop_step(finished)?;
    }
    if wanted.times > 0 {
        let each = begun.elapsed() / wanted.times;
        println!("{} steps, {:.1} ms each", wanted.times, each.as_secs_f64() * 1000.0);
    }
    Ok(code)
}

fn step(engine: &Engine, wanted: &Wanted) -> Result<Step, Error> {
    let chain = |image: &str| -> Result<Vec<ChainId>, Error> {
        Ok(if image.is_empty() { Vec::new() } else { engine.images().resolve(image)?.chain })
    };
    let mut mounts = Vec::new();
    for mount in &wanted.mounts {
        let Mount { path, uid, gid, mode, .. } = mount;
        let (path, uid, gid, mode) = (path.clone(), *uid, *gid, *mode);
        let source = match mount.kind.as_str() {
            "layers" => StepSource::Layers(chain(&mount.image)?),
            "directory" => StepSource::Directory(path),
            "cache" => StepSource::Cache(path),
            "tmpfs" => StepSource::Tmpfs { size: mount.size },
            "secret" => StepSource::Secret { bytes: mount.text.clone().into(), uid, gid, mode },
            "socket" => StepSource::Socket { path, uid, gid, mode },
            other => return Err(format!("a mount of {other:?}").into()),
        };
        mounts.push(StepMount {
            target: mount.target.clone(),
            readonly: mount.readonly,
            subpath: mount.subpath.clone(),
            source,
        });
    }
    Ok(Step {
        owner: "a test".into(),
        chain: chain(&wanted.image)?,
        args: wanted.args.clone(),
        env: wanted.env.clone(),
        cwd: wanted.cwd.clone(),
        user: wanted.user.clone(),
        hostname: wanted.hostname.clone(),
        network: wanted.network.clone(),
        privileged: wanted.privileged,
        extra_hosts: wanted.extra_hosts.clone(),
        shm_size: wanted.shm_size,
        resources: Resources {
            memory: wanted.memory,
            cgroup_parent: wanted.cgroup_parent.clone(),
            ..Resources::default()
        },
        mounts,
        ..Step::default()
    })
}

/// Keeps what the step wrote, lists it, and drops it again.
fn keep(
    engine: &Engine,
    finished: &FinishedStep,
    what: StepResult,
    below: &[ChainId],
) -> Result<(), Error> {
    let until = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_nanos())? + DAY;
    let sealed = engine.keep_step(finished, what, below, IfNothing::Drop, |tx, sealed| {
        tx.hold(HOLDER, sealed.iter().map(|sealed| &sealed.chain.0), until)
    })?;
    let Some(sealed) = sealed else {
        println!("kept nothing");
        return Ok(());
    };
    println!("kept:");
    let mut chain = below.to_vec();
    chain.push(sealed.chain.clone());
    if let Some(path) = engine.images().snapshots().layer_paths(&chain).last() {
        list(path, Path::new(""))?;
    }
    engine.images().unseal(&[sealed.chain], |tx| tx.let_go(HOLDER))?;
    Ok(())
}

fn list(root: &Path, inside: &Path) -> Result<(), Error> {
    let mut names: Vec<_> = std::fs::read_dir(root.join(inside))?.collect::<Result<Vec<_>, _>>()?;
    names.sort_by_key(std::fs::DirEntry::file_name);
    for entry in names {
        let path = inside.join(entry.file_name());
        println!("/{}", path.display());
        if entry.file_type()?.is_dir() {
            list(root, &path)?;
        }
    }
    Ok(())
}
