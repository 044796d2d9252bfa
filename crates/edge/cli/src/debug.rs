//! `debug`: a shell with tools beside a container that has none.
//!
//! Beside one that runs: another container, of an image with tools, in its namespaces of processes and
//! networks; its files are those of its first process, `/proc/1/root`. For one that does not: a
//! container of a copy of its files, with busybox brought along; what is done there is gone afterwards.

use std::io::IsTerminal as _;

use bytes::Bytes;
use clap::Parser as _;
use docker::container::CreateResponse;
use docker::{ContainerInspect, IdResponse};
use hyper::Method;
use serde_json::json;

use crate::archive;
use crate::args::{Cli, Command, ContainerCommand, DebugArgs};
use crate::client::{Client, empty, encode};
use crate::error::{Error, Result};
use crate::images::path_of;
use crate::request;
use crate::run;

/// Has tools, where it is here.
const TOOLS: &str = "busybox";
/// This machine's own root, which always is.
const HOST: &str = "host";
/// Where the tools are for one that does not run.
const PLACE: &str = "/.dhow-debug";
/// The one file that has them all.
const BUSYBOX: &str = "/bin/busybox";
/// No such program is larger.
const MAX_BUSYBOX: usize = 64 << 20;
/// Whose debugging it is, as a label.
const LABEL: &str = "dev.dhow.debug";
/// Makes a name of each tool, and then what it is told.
const WITH_TOOLS: &str = "b=/.dhow-debug; $b/busybox mkdir -p $b/bin && \
     $b/busybox --install -s $b/bin && export PATH=\"$b/bin:$PATH\" && exec \"$@\"";

/// `debug`: the exit code is the command's own.
pub(crate) async fn debug(client: &Client, args: DebugArgs) -> Result<i32> {
    let info: ContainerInspect =
        client.get(&format!("/containers/{}/json", encode(&args.container))).await?;
    let tools = match args.image {
        Some(image) => image,
        None if is_here(client, TOOLS).await? => TOOLS.to_owned(),
        None if info.state.running => HOST.to_owned(),
        None => return Err(no_tools(&info)),
    };
    let command = if args.command.is_empty() { vec!["sh".to_owned()] } else { args.command };
    if info.state.running {
        return beside(client, &info, &tools, &command, args.privileged).await;
    }
    without(client, &info, &tools, &command).await
}

/// What this machine has may not run among the container's files: it would miss its libraries.
fn no_tools(info: &ContainerInspect) -> Error {
    let name = info.name.trim_start_matches('/');
    Error::Usage(format!(
        "{name} does not run, so its files are looked at with {BUSYBOX} of an image, and the image {TOOLS} is not \
         here: pull it, or name another that has it with --image"
    ))
}

async fn is_here(client: &Client, image: &str) -> Result<bool> {
    match client.get::<serde_json::Value>(&format!("/images/{}/json", path_of(image))).await {
        Ok(_) => Ok(true),
        Err(err) if err.is_not_found() => Ok(false),
        Err(err) => Err(err),
    }
}

/// What is the same for both.
fn flags(info: &ContainerInspect) -> Vec<String> {
    let mut words: Vec<String> =
        ["dhow", "create", "--rm", "-i", "--user", "0", "--workdir", "/"].map(str::to_owned).into();
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        words.push("-t".into());
        eprintln!(
            "The files of {} are in {}.",
            info.name.trim_start_matches('/'),
            if info.state.running {
                "/proc/1/root"
            } else {
                "/, a copy; its volumes are read-only"
            }
        );
    }
    words.extend(["--label".into(), format!("{LABEL}={}", info.id)]);
    words
}

/// Makes a container of this command line, and its id.
async fn make(client: &Client, words: &[String]) -> Result<String> {
    let parsed = Cli::try_parse_from(words).map_err(|err| Error::Usage(err.to_string()))?;
    let Command::Container(ContainerCommand::Create(args)) = parsed.command else {
        return Err(Error::Usage("not a container to be made".into()));
    };
    let attach = request::attached(&args, false)?;
    run::make(client, *args, attach, 0).await
}

/// Starts it with our own streams, until it ends.
async fn join(client: &Client, id: &str) -> Result<i32> {
    let words = ["dhow", "start", "-ai", id];
    let parsed = Cli::try_parse_from(words).map_err(|err| Error::Usage(err.to_string()))?;
    let Command::Container(ContainerCommand::Start(args)) = parsed.command else {
        return Err(Error::Usage("not a container to be started".into()));
    };
    let ended = run::start(client, args).await;
    if ended.is_err() {
        // One that never ran is not removed by itself.
        _ = client.delete(&format!("/containers/{id}?force=1&v=1")).await;
    }
    ended
}

async fn beside(
    client: &Client,
    info: &ContainerInspect,
    tools: &str,
    command: &[String],
    privileged: bool,
) -> Result<i32> {
    let mut words = flags(info);
    let of = format!("container:{}", info.id);
    // To look into a process that may do more than we may.
    words.extend(["--cap-add".into(), "SYS_PTRACE".into()]);
    words.extend(["--pid".into(), of.clone(), "--network".into(), of]);
    if privileged {
        words.push("--privileged".into());
    }
    words.extend(["--no-healthcheck".into(), "--entrypoint".into(), command[0].clone()]);
    words.push(tools.into());
    words.extend(command[1..].iter().cloned());
    let id = make(client, &words).await?;
    join(client, &id).await
}

async fn without(
    client: &Client,
    info: &ContainerInspect,
    tools: &str,
    command: &[String],
) -> Result<i32> {
    let busybox = busybox_of(client, tools).await?;
    let path = format!("/commit?container={}&pause=0&comment=dhow+debug", info.id);
    let copy: IdResponse = client.post(&path, &json!({})).await?;
    let ended = in_copy(client, info, &copy.id, busybox, command).await;
    let removed = client.delete(&format!("/images/{}?force=1", path_of(&copy.id))).await;
    let code = ended?;
    removed?;
    Ok(code)
}

async fn in_copy(
    client: &Client,
    info: &ContainerInspect,
    image: &str,
    busybox: Bytes,
    command: &[String],
) -> Result<i32> {
    let mut words = flags(info);
    words.extend(["--network".into(), "none".into(), "--no-healthcheck".into()]);
    words.extend(["--volumes-from".into(), format!("{}:ro", info.id)]);
    words.extend(["-v".into(), PLACE.into()]);
    words.extend(["--entrypoint".into(), format!("{PLACE}/busybox"), image.into()]);
    words.extend(["sh", "-c", WITH_TOOLS, "sh"].map(str::to_owned));
    words.extend(command.iter().cloned());
    let id = make(client, &words).await?;
    archive::put_into_new(client, &id, PLACE, busybox).await?;
    join(client, &id).await
}

/// The busybox of an image, as an archive.
async fn busybox_of(client: &Client, image: &str) -> Result<Bytes> {
    let create =
        json!({ "Image": image, "Cmd": ["true"], "HostConfig": { "NetworkMode": "none" } });
    let holder: CreateResponse = client.post("/containers/create", &create).await?;
    let path = format!("/containers/{}/archive?path={BUSYBOX}", holder.id);
    let found = match client.call(Method::GET, &path, empty()).await {
        Ok(response) => client.collect(response).await,
        Err(err) => Err(err),
    };
    client.delete(&format!("/containers/{}?force=1&v=1", holder.id)).await?;
    let why = |why: &str| {
        Error::Usage(format!(
            "a container that does not run is looked at with {BUSYBOX} of the image {image}: {why}; \
             give one that has it with --image"
        ))
    };
    match found {
        Ok(bytes) if bytes.len() <= MAX_BUSYBOX => Ok(bytes),
        Ok(_) => Err(why("it is too large")),
        Err(err) if err.is_not_found() => Err(why("there is none")),
        Err(err) => Err(err),
    }
}
