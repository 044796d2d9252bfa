//! `run`, `create`, `start`, `attach` and `exec`: the commands that join a program's streams.

use std::io::Write as _;

use docker::container::{CreateResponse, WaitResponse};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::almost;
use crate::api_socket;
use crate::archive;
use crate::args::{AttachArgs, ExecArgs, StartArgs};
use crate::board::Out;
use crate::client::{Client, empty, encode};
use crate::config;
use crate::error::{Error, Result};
use crate::registry::{self, Wanted};
use crate::request;
use crate::run_args::{ContainerArgs, RunArgs};
use crate::stream::{self, Ended, Streams};
use crate::terminal::{self, Target};

/// `run`: the exit code is the container's own.
pub(crate) async fn run(client: &Client, args: RunArgs, entered_ns: u64) -> Result<i32> {
    let detach = args.detach.unwrap_or(false);
    let attach = request::attached(&args.container, detach)?;
    let tty = args.container.tty.unwrap_or(false);
    let auto_remove = args.container.rm.unwrap_or(false);
    if !detach {
        terminal::check_tty(tty, attach.stdin)?;
    }
    let keys = detach_keys(args.detach_keys.as_deref())?;
    let id = make(client, args.container, attach, entered_ns).await?;
    if detach {
        let started = client.post_empty(&format!("/containers/{id}/start")).await;
        // Also of one that could not be started: it is there, and somebody may want to remove it.
        println!("{id}");
        return started.map(|()| 0);
    }

    // Caught from before the start: a signal in between must not end us and leave the container.
    let signals = terminal::catch_signals();
    let streams =
        Streams { stdin: attach.stdin, tty, detach_keys: if tty { keys } else { Vec::new() } };
    let connection = if attach.any() {
        Some(client.hijack(&attach_path(&id, attach), &json!({})).await?)
    } else {
        None
    };
    let exit = wait(client, &id, if auto_remove { "removed" } else { "next-exit" }).await?;
    let raw = if tty && attach.stdin { terminal::raw_mode()? } else { None };
    if let Err(err) = client.post_empty(&format!("/containers/{id}/start")).await {
        drop(raw);
        return Err(err);
    }
    if args.sig_proxy.unwrap_or(true) {
        tokio::spawn(terminal::proxy_signals(client.clone(), id.clone(), signals));
    }
    if tty {
        tokio::spawn(terminal::follow_size(client.clone(), Target::Container(id.clone())));
    }
    if let Some(connection) = connection {
        let ended = stream::relay(connection, streams).await?;
        drop(raw);
        if ended == Ended::Detached {
            return Ok(0);
        }
    }
    joined(exit).await
}

/// The keys that detach: the flag's, else those of `config.json`, else Docker's own. An empty flag is none.
fn detach_keys(flag: Option<&str>) -> Result<Vec<u8>> {
    let flag = flag.filter(|keys| !keys.is_empty()).map(str::to_owned);
    let keys = match flag {
        Some(keys) => keys,
        None => config::get().detach_keys.clone(),
    };
    stream::parse_detach_keys(if keys.is_empty() { stream::DETACH_KEYS } else { &keys })
}

/// `create`: prints the new container's id.
pub(crate) async fn create(client: &Client, args: ContainerArgs, entered_ns: u64) -> Result<i32> {
    let attach = request::attached(&args, false)?;
    let id = make(client, args, attach, entered_ns).await?;
    println!("{id}");
    Ok(0)
}

async fn pull_image(client: &Client, name: &str, platform: &str, quiet: bool) -> Result<()> {
    let wanted = Wanted { name, platform, all: false };
    let out = if quiet { Out::Nowhere } else { Out::Stderr };
    registry::fetch(client, &wanted, out).await.map(drop)
}

/// Creates the container, and pulls its image first where that is asked for or missing.
pub(crate) async fn make(
    client: &Client,
    args: ContainerArgs,
    attach: request::Attach,
    entered_ns: u64,
) -> Result<String> {
    if let Some(path) = args.cidfile.as_deref().filter(|path| path.exists()) {
        return Err(Error::Usage(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            path.display()
        )));
    }
    registry::check_trust(args.disable_content_trust)?;
    let (pull, quiet, cidfile) = (args.pull.clone(), args.quiet, args.cidfile.clone());
    let uses_socket = args.use_api_socket.unwrap_or(false);
    let (name, platform) = (args.name.clone(), config::platform(args.platform.as_deref()));
    let mut create = request::build(args, attach)?;
    add_proxies(client, &mut create.body.config.env);
    if let Some(path) = create.rootfs.take() {
        create.body.config.image = rootfs_image(client, &path).await?;
    } else if client.is_in_process() && create.body.config.image == "hello" {
        create.body.config.env.push(format!("DHOW_ENTERED_NS={entered_ns}"));
    }
    let credentials = if uses_socket { api_socket::add(client, &mut create.body)? } else { None };
    let image = create.body.config.image.clone();
    match pull.as_str() {
        "always" => pull_image(client, &image, &platform, quiet).await?,
        "missing" | "never" => {}
        other => {
            return Err(Error::Usage(format!(
                "invalid pull option {other:?}: must be one of \"always\", \"missing\" or \"never\""
            )));
        }
    }
    let path = format!("/containers/create?name={}&platform={}", encode(&name), encode(&platform));
    let mut created = client.post::<CreateResponse>(&path, &create.body).await;
    if let Err(err) = &created
        && err.is_not_found()
        && ["No such image", "image with reference"]
            .iter()
            .any(|start| err.to_string().starts_with(start))
        && pull == "missing"
    {
        eprintln!("Unable to find image '{}' locally", crate::images::with_tag(&image));
        let pulled = pull_image(client, &image, &platform, quiet).await;
        almost::image(client, pulled, &image).await?;
        created = client.post::<CreateResponse>(&path, &create.body).await;
    }
    let created = created?;
    for warning in &created.warnings {
        eprintln!("WARNING: {warning}");
    }
    if let Some(path) = cidfile {
        std::fs::write(&path, &created.id)
            .map_err(Error::io(format!("write the container ID file {}", path.display())))?;
    }
    if let Some(packed) = credentials {
        archive::put_into_new(client, &created.id, "/", packed).await?;
    }
    Ok(created.id)
}

/// Adds the proxies that are set for containers, where nothing else is said of them.
fn add_proxies(client: &Client, env: &mut docker::Words) {
    for (name, value) in config::get().proxy_variables(&client.endpoint().to_string()) {
        let is_said = |pair: &String| pair.split('=').next() == Some(name.as_str());
        if !env.iter().any(is_said) {
            env.push(format!("{name}={value}"));
        }
    }
}

/// Has the engine make an image of an archive, and gives its id.
async fn rootfs_image(client: &Client, path: &std::path::Path) -> Result<String> {
    let absolute =
        std::path::absolute(path).map_err(Error::io(format!("open {}", path.display())))?;
    let query = encode(&absolute.to_string_lossy());
    let made: docker::IdResponse =
        client.post(&format!("/dhow/rootfs?path={query}"), &json!({})).await?;
    Ok(made.id)
}

/// Asks for the exit code. When this returns the engine has begun to wait (it sends the head of its
/// answer at once), so that an end right after the start is not missed.
async fn wait(
    client: &Client,
    id: &str,
    condition: &str,
) -> Result<JoinHandle<Result<WaitResponse>>> {
    let client = client.clone();
    let path = format!("/containers/{id}/wait?condition={condition}");
    let answer = client.call(hyper::Method::POST, &path, empty()).await?;
    Ok(tokio::spawn(async move { client.parse(answer).await }))
}

async fn joined(exit: JoinHandle<Result<WaitResponse>>) -> Result<i32> {
    let response = exit
        .await
        .map_err(|err| Error::Usage(format!("the wait for the exit code ended: {err}")))??;
    if let Some(error) = response.error.filter(|error| !error.message.is_empty()) {
        return Err(Error::Api { status: 500, message: error.message });
    }
    Ok(i32::try_from(response.status_code).unwrap_or(125))
}

fn attach_path(id: &str, attach: request::Attach) -> String {
    format!(
        "/containers/{id}/attach?stream=1&stdin={}&stdout={}&stderr={}",
        u8::from(attach.stdin),
        u8::from(attach.stdout),
        u8::from(attach.stderr)
    )
}

/// `start`, attached or not.
pub(crate) async fn start(client: &Client, args: StartArgs) -> Result<i32> {
    if !args.attach && !args.interactive {
        return crate::containers::each(&args.names.containers, async |name: &str| {
            let path = format!("/containers/{}/start", encode(name));
            almost::told(client, client.post_empty(&path).await).await
        })
        .await;
    }
    let [name] = args.names.containers.as_slice() else {
        return Err(Error::Usage(
            "you cannot start and attach multiple containers at once".to_owned(),
        ));
    };
    let info: docker::ContainerInspect =
        client.get(&format!("/containers/{}/json", encode(name))).await?;
    let tty = info.config.tty;
    let attach = request::Attach {
        stdin: args.interactive && info.config.open_stdin,
        stdout: true,
        stderr: true,
    };
    let keys = detach_keys(args.detach_keys.as_deref())?;
    let streams =
        Streams { stdin: attach.stdin, tty, detach_keys: if tty { keys } else { Vec::new() } };
    let signals = terminal::catch_signals();
    let connection = client.hijack(&attach_path(&info.id, attach), &json!({})).await?;
    let exit =
        wait(client, &info.id, if info.host_config.auto_remove { "removed" } else { "next-exit" })
            .await?;
    let raw = if tty && attach.stdin { terminal::raw_mode()? } else { None };
    client.post_empty(&format!("/containers/{}/start", info.id)).await?;
    tokio::spawn(terminal::proxy_signals(client.clone(), info.id.clone(), signals));
    if tty {
        tokio::spawn(terminal::follow_size(client.clone(), Target::Container(info.id.clone())));
    }
    let ended = stream::relay(connection, streams).await?;
    drop(raw);
    if ended == Ended::Detached { Ok(0) } else { joined(exit).await }
}

/// `attach`.
pub(crate) async fn attach(client: &Client, args: AttachArgs) -> Result<i32> {
    let info: docker::ContainerInspect =
        client.get(&format!("/containers/{}/json", encode(&args.container))).await?;
    if !info.state.running {
        return Err(Error::Usage(
            "cannot attach to a stopped container, start it first".to_owned(),
        ));
    }
    if info.state.paused {
        return Err(Error::Usage(
            "cannot attach to a paused container, unpause it first".to_owned(),
        ));
    }
    let tty = info.config.tty;
    let attach = request::Attach {
        stdin: !args.no_stdin && info.config.open_stdin,
        stdout: true,
        stderr: true,
    };
    terminal::check_tty(tty, attach.stdin)?;
    let keys = detach_keys(args.detach_keys.as_deref())?;
    let streams =
        Streams { stdin: attach.stdin, tty, detach_keys: if tty { keys } else { Vec::new() } };
    let exit = wait(client, &info.id, "not-running").await?;
    let connection = client.hijack(&attach_path(&info.id, attach), &json!({})).await?;
    let raw = if tty && attach.stdin { terminal::raw_mode()? } else { None };
    if args.sig_proxy.unwrap_or(true) {
        let signals = terminal::catch_signals();
        tokio::spawn(terminal::proxy_signals(client.clone(), info.id.clone(), signals));
    }
    if tty {
        tokio::spawn(terminal::follow_size(client.clone(), Target::Container(info.id.clone())));
    }
    let ended = stream::relay(connection, streams).await?;
    drop(raw);
    if ended == Ended::Detached {
        eprintln!("read escape sequence");
        return Ok(0);
    }
    joined(exit).await
}

/// `exec`: the exit code is the command's own.
pub(crate) async fn exec(client: &Client, args: ExecArgs) -> Result<i32> {
    let keys = detach_keys(args.detach_keys.as_deref())?;
    if !args.detach {
        terminal::check_tty(args.tty, args.interactive)?;
    }
    let (detach, tty, interactive) = (args.detach, args.tty, args.interactive && !args.detach);
    let size =
        terminal::size().filter(|_| tty).map(|(rows, columns)| [rows.into(), columns.into()]);
    let container = encode(&args.container);
    let create = docker::exec::CreateRequest {
        env: request::environment(&args.env, &args.env_file)?.into(),
        user: args.user,
        privileged: args.privileged,
        tty,
        console_size: size,
        attach_stdin: interactive,
        attach_stdout: !detach,
        attach_stderr: !detach,
        detach_keys: args.detach_keys.unwrap_or_default(),
        working_dir: args.workdir,
        cmd: args.command.into(),
    };
    let exec: docker::IdResponse =
        client.post(&format!("/containers/{container}/exec"), &create).await?;
    let id = exec.id;
    let start = docker::exec::StartRequest { detach, tty, console_size: size };
    let path = format!("/exec/{id}/start");
    if detach {
        client.post_json(&path, &start).await?;
        return Ok(0);
    }
    let raw = if tty && interactive { terminal::raw_mode()? } else { None };
    let connection = match client.hijack(&path, &start).await {
        Ok(connection) => connection,
        Err(err) => {
            drop(raw);
            let code = err.run_exit_code();
            if code == 125 {
                return Err(err);
            }
            // Docker prints what the runtime said and exits as a shell would.
            let _ = writeln!(std::io::stderr(), "{err}");
            return Ok(code);
        }
    };
    if tty {
        tokio::spawn(terminal::follow_size(client.clone(), Target::Exec(id.clone())));
    }
    let streams =
        Streams { stdin: interactive, tty, detach_keys: if tty { keys } else { Vec::new() } };
    let ended = stream::relay(connection, streams).await?;
    drop(raw);
    if ended == Ended::Detached {
        return Ok(0);
    }
    let done: docker::exec::Inspect = client.get(&format!("/exec/{id}/json")).await?;
    Ok(done.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(125))
}
