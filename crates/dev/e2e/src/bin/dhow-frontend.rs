//! A front end of a build, as an image has one: asked by the builder, over its standard input and output. For tests.
//!
//! The second word behind `#syntax=` says what it does. What it found out is the file `said` of its result.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use buildkit::errdefs::Solve;
use buildkit::gateway::exec_message::Input;
use buildkit::gateway::llb_bridge_client::LlbBridgeClient;
use buildkit::gateway::{
    ExecMessage, FdMessage, InitMessage, InputsRequest, NewContainerRequest, PingRequest,
    ReadDirRequest, ReadFileRequest, Ref, ReleaseContainerRequest, ResolveImageConfigRequest,
    ResolveSourceMetaRequest, ReturnRequest, SolveRequest, StatFileRequest, result,
};
use buildkit::pb::{self, MountType, op::Op};
use buildkit::sourcepolicy::{Policy, PolicyAction, Rule, Selector, Update};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use oci::Digest;
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

/// Where it finds what it is itself.
const ABOUT: &str = "/run/config/buildkit/metadata/frontend.bin";

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Channel(SendRequest<Body>);

impl Service<hyper::Request<Body>> for Channel {
    type Response = hyper::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A graph on its way: each operation works on the results of others.
#[derive(Default)]
struct Graph(Vec<Vec<u8>>);

impl Graph {
    fn add(&mut self, op: Op, inputs: &[&str]) -> String {
        let input = |digest: &&str| pb::Input { digest: (*digest).to_owned(), index: 0 };
        let inputs = inputs.iter().map(input).collect();
        let bytes = pb::Op { op: Some(op), inputs, ..pb::Op::default() }.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        self.0.push(bytes);
        digest
    }

    fn source(&mut self, identifier: &str) -> String {
        let op = pb::SourceOp { identifier: identifier.into(), ..pb::SourceOp::default() };
        self.add(Op::Source(op), &[])
    }

    fn sh(&mut self, script: &str, secret: Option<&str>, on: &str) -> String {
        let args = ["sh", "-ec", script].map(str::to_owned).to_vec();
        let meta = Some(pb::Meta { args, cwd: "/".into(), ..pb::Meta::default() });
        let mut mounts = vec![pb::Mount { dest: "/".into(), ..pb::Mount::default() }];
        mounts.extend(secret.map(|id| pb::Mount {
            dest: format!("/run/secrets/{id}"),
            input: -1,
            output: -1,
            mount_type: MountType::Secret.into(),
            secret_opt: Some(pb::SecretOpt { id: id.into(), mode: 0o400, ..Default::default() }),
            ..pb::Mount::default()
        }));
        self.add(Op::Exec(pb::ExecOp { meta, mounts, ..pb::ExecOp::default() }), &[on])
    }

    fn file(&mut self, name: &str, data: &str) -> String {
        let (path, data) = (format!("/{name}"), data.as_bytes().to_vec());
        let make = pb::FileActionMkFile { path, data, mode: 0o644, timestamp: -1, owner: None };
        let action = pb::FileAction {
            input: -1,
            secondary_input: -1,
            output: 0,
            action: Some(pb::file_action::Action::Mkfile(make)),
        };
        self.add(Op::File(pb::FileOp { actions: vec![action] }), &[])
    }

    /// Says that it is a result that was given out.
    fn given_out(&mut self, name: &str) -> String {
        let inputs = vec![pb::Input { digest: "sha256:none".into(), index: 0 }];
        let filter = vec![format!("dhow-result://{name}")];
        let constraints = Some(pb::WorkerConstraints { filter });
        let bytes = pb::Op { inputs, constraints, ..pb::Op::default() }.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        self.0.push(bytes);
        digest
    }

    fn end(mut self, top: &str) -> pb::Definition {
        let inputs = vec![pb::Input { digest: top.into(), index: 0 }];
        self.0.push(pb::Op { inputs, ..pb::Op::default() }.encode_to_vec());
        pb::Definition { def: self.0, ..pb::Definition::default() }
    }
}

struct FrontEnd {
    client: LlbBridgeClient<Channel>,
    options: BTreeMap<String, String>,
}

fn main() {
    let done = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let done = runtime.block_on(run());
            // It would wait for the thread that reads.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(error.into()),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Error> {
    let options: BTreeMap<String, String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("BUILDKIT_FRONTEND_OPT_"))
        .filter_map(|(_, option)| {
            option.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
        })
        .collect();
    let what = options.get("cmdline").and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let what = what.to_owned();
    match what.as_str() {
        "die" => {
            eprintln!("a front end's last words");
            std::process::exit(3);
        }
        "junk" => {
            std::io::stdout().write_all(&vec![b'x'; 100_000])?;
            std::io::stdout().flush()?;
            return wait().await;
        }
        "hang" => return wait().await,
        _ => {}
    }
    let io = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
    let (sender, connection) =
        Builder::new(TokioExecutor::new()).handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    let origin = hyper::Uri::from_static("http://localhost");
    let client =
        LlbBridgeClient::with_origin(Channel(sender), origin).max_encoding_message_size(usize::MAX);
    let mut front_end = FrontEnd { client, options };
    match what.as_str() {
        "" => front_end.lines().await,
        "probe" => front_end.probe().await,
        "container" => front_end.container().await,
        "sleep" => front_end.sleep().await,
        "cut" => front_end.cut().await,
        "nested" => front_end.nested().await,
        "steps" => front_end.steps().await,
        "failed" => front_end.failed().await,
        "rules" => front_end.rules().await,
        "loop" => front_end.again().await,
        "refuse" => front_end.refuse().await,
        "linger" => {
            let said = front_end.say("made\n").await?;
            front_end.give_back(said, BTreeMap::new()).await?;
            wait().await
        }
        other => Err(format!("do {other}?").into()),
    }
}

async fn wait() -> Result<(), Error> {
    eprintln!("waiting");
    tokio::time::sleep(Duration::from_mins(10)).await;
    Ok(())
}

impl FrontEnd {
    async fn solve(&mut self, asked: SolveRequest) -> Result<Ref, Status> {
        let asked =
            SolveRequest { allow_result_return: true, allow_result_array_ref: true, ..asked };
        let solved = self.client.solve(asked).await?.into_inner();
        match solved.result.and_then(|result| result.result) {
            Some(result::Result::Ref(one)) => Ok(one),
            other => Err(Status::internal(format!("no result: {other:?}"))),
        }
    }

    async fn build(&mut self, graph: Graph, top: &str) -> Result<Ref, Status> {
        let definition = Some(graph.end(top));
        self.solve(SolveRequest { definition, evaluate: true, ..Default::default() }).await
    }

    async fn read(&mut self, r#ref: &str, path: &str) -> Result<String, Status> {
        let asked = ReadFileRequest {
            r#ref: r#ref.into(),
            file_path: path.into(),
            ..ReadFileRequest::default()
        };
        let data = self.client.read_file(asked).await?.into_inner().data;
        Ok(String::from_utf8_lossy(&data).into_owned())
    }

    async fn say(&mut self, text: &str) -> Result<Ref, Status> {
        let mut graph = Graph::default();
        let file = graph.file("said", text);
        self.build(graph, &file).await
    }

    async fn give_back(
        &mut self,
        one: Ref,
        metadata: BTreeMap<String, Vec<u8>>,
    ) -> Result<(), Error> {
        let result = Some(result::Result::Ref(one));
        let result = buildkit::gateway::Result { result, metadata, ..Default::default() };
        let asked = ReturnRequest { result: Some(result), error: None };
        self.client.r#return(asked).await?;
        Ok(())
    }

    /// A language of its own: `RUN SCRIPT` and `SECRET ID SCRIPT`, on busybox.
    async fn lines(&mut self) -> Result<(), Error> {
        let pong = self.client.ping(PingRequest {}).await?.into_inner();
        if !pong.frontend_api_caps.iter().any(|cap| cap.id == "gateway.exec" && cap.enabled) {
            return Err("no containers".into());
        }
        let asked = ResolveImageConfigRequest { r#ref: "busybox".into(), ..Default::default() };
        let config = self.client.resolve_image_config(asked).await?.into_inner().config;
        let mut graph = Graph::default();
        let local = graph.source("local://dockerfile");
        let local = self.build(graph, &local).await?;
        let asked =
            ReadDirRequest { r#ref: local.id.clone(), dir_path: "/".into(), ..Default::default() };
        let names = self.client.read_dir(asked).await?.into_inner().entries;
        let name = self.options.get("filename").map_or("Dockerfile", String::as_str).to_owned();
        if !names.iter().any(|entry| entry.path == name.as_bytes()) {
            return Err(format!("no {name}").into());
        }
        let stat = StatFileRequest { r#ref: local.id.clone(), path: name.clone(), mount_index: 0 };
        let stat = self.client.stat_file(stat).await?.into_inner().stat.unwrap_or_default();
        let text = self.read(&local.id, &name).await?;
        if stat.size != i64::try_from(text.len())? {
            return Err("stat and read differ".into());
        }
        let mut graph = Graph::default();
        let mut top = graph.source("docker-image://docker.io/library/busybox:latest");
        for line in text.lines() {
            if let Some(script) = line.strip_prefix("RUN ") {
                top = graph.sh(script, None, &top);
            } else if let Some((id, script)) =
                line.strip_prefix("SECRET ").and_then(|rest| rest.split_once(' '))
            {
                top = graph.sh(script, Some(id), &top);
            }
        }
        let built = self.build(graph, &top).await?;
        self.give_back(built, [("containerimage.config".to_owned(), config)].into()).await
    }

    /// Tries what it may not do.
    async fn probe(&mut self) -> Result<(), Error> {
        let mut said = Vec::new();
        let told = |what: &str, done: Result<String, Status>| match done {
            Ok(text) => format!("{what}: {text}"),
            Err(status) => format!("{what}: {:?}: {}", status.code(), status.message()),
        };
        said.push(told("unknown ref", self.read("0123", "/").await));
        let other = self.options.get("build-arg:OTHER").cloned().unwrap_or_default();
        said.push(told("other ref", self.read(&other, "/said").await));
        let mut graph = Graph::default();
        let top = graph.source(&format!("dhow-result://{other}"));
        let done = self.build(graph, &top).await.map(|one| one.id);
        said.push(told("other definition", done));
        let mut graph = Graph::default();
        let top = graph.given_out(&other);
        let done = self.build(graph, &top).await.map(|one| one.id);
        said.push(told("other operation", done));
        let mut graph = Graph::default();
        let top = graph.file("large", &"x".repeat(17 << 20));
        let done = self.build(graph, &top).await.map(|one| one.id);
        said.push(told("large", done));
        let canary = self.options.get("build-arg:CANARY").cloned().unwrap_or_default();
        let mut graph = Graph::default();
        let top = graph.source("docker-image://docker.io/library/busybox:latest");
        let script =
            format!("ln -s {canary} /a; ln -s ../../../../../..{canary} /b; ln -s / /c; mkfifo /f");
        let top = graph.sh(&script, None, &top);
        let linked = self.build(graph, &top).await?;
        let up = format!("../../../../../..{canary}");
        let through = format!("c/..{canary}");
        for path in ["/a", "/b", canary.as_str(), up.as_str(), through.as_str(), "/f"] {
            said.push(told("link", self.read(&linked.id, path).await));
        }
        let host = NewContainerRequest {
            network: pb::NetMode::Host.into(),
            ..asked_container(&linked.id)
        };
        let done = self.client.new_container(host).await.map(|_| "made".to_owned());
        said.push(told("host network", done));
        let meta = |identifier: &str| ResolveSourceMetaRequest {
            source: Some(pb::SourceOp { identifier: identifier.into(), ..pb::SourceOp::default() }),
            ..ResolveSourceMetaRequest::default()
        };
        let image = meta("docker-image://docker.io/library/busybox:latest");
        let done = self.client.resolve_source_meta(image).await.map(|found| {
            let image = found.into_inner().image.unwrap_or_default();
            format!("{} {}", image.digest.starts_with("sha256:"), image.config.starts_with(b"{"))
        });
        said.push(told("meta of an image", done));
        let done = self.client.resolve_source_meta(meta("local://context")).await;
        let done = done.map(|found| {
            let found = found.into_inner();
            let has = [found.image.is_some(), found.git.is_some(), found.http.is_some()];
            format!("{} {has:?}", found.source.is_some())
        });
        said.push(told("meta of a directory", done));
        let env: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
        for name in ["BUILDKIT_SESSION_ID", "BUILDKIT_WORKERS", "BUILDKIT_EXPORTEDPRODUCT"] {
            said.push(format!("{name}: {}", env.iter().any(|one| one == name)));
        }
        said.push(format!("itself: {}", self.itself().await?));
        let links = std::fs::read_to_string("/proc/net/dev")?;
        said.push(format!("network: {}", links.lines().count() - 2));
        let secrets = std::fs::read_dir("/run/secrets").is_ok();
        said.push(format!("secrets: {secrets}"));
        let inputs = self.client.inputs(InputsRequest {}).await?.into_inner().definitions;
        said.push(format!("inputs: {}", inputs.len()));
        let said = self.say(&(said.join("\n") + "\n")).await?;
        self.give_back(said, BTreeMap::new()).await
    }

    /// What it is itself, as it is told, and whether that can be built on, and changed.
    async fn itself(&mut self) -> Result<String, Error> {
        let definition = pb::Definition::decode(std::fs::read(ABOUT)?.as_slice())?;
        let first = definition.def.first().ok_or("no definition")?;
        let Some(Op::Source(source)) = pb::Op::decode(first.as_slice())?.op else {
            return Err("no source".into());
        };
        let asked = SolveRequest { definition: Some(definition), ..SolveRequest::default() };
        let one = self.solve(asked).await?;
        let stat = StatFileRequest { r#ref: one.id, path: "/frontend".into(), mount_index: 0 };
        let found = self.client.stat_file(stat).await.is_ok();
        let written = std::fs::write(ABOUT, "x").is_ok();
        Ok(format!("{} {found} {written}", source.identifier))
    }

    async fn new_container(&mut self) -> Result<(), Error> {
        let mut graph = Graph::default();
        let image = graph.source("docker-image://docker.io/library/busybox:latest");
        let image = self.build(graph, &image).await?;
        self.client.new_container(asked_container(&image.id)).await?;
        Ok(())
    }

    /// Two programs in one container, and what they leave there.
    async fn container(&mut self) -> Result<(), Error> {
        self.new_container().await?;
        let (sender, messages) = tokio::sync::mpsc::channel(64);
        let mut answers =
            self.client.exec_process(ReceiverStream::new(messages)).await?.into_inner();
        let message = |id: &str, input| ExecMessage { process_id: id.into(), input: Some(input) };
        sender
            .send(message("first", init("read a; echo got $a > /left; read b; echo end")))
            .await?;
        sender.send(message("second", init("cat /run/declared; echo woe >&2; exit 7"))).await?;
        let Input::Init(third) = init("true") else { return Err("no program".into()) };
        let insecure = InitMessage { security: pb::SecurityMode::Insecure.into(), ..third };
        sender.send(message("third", Input::Init(insecure))).await?;
        let file = |data: &str, eof| {
            let data = data.as_bytes().to_vec();
            Input::File(FdMessage { fd: 0, eof, data })
        };
        sender.send(message("first", file("word\n", false))).await?;
        let mut said: BTreeMap<String, String> = BTreeMap::new();
        let mut n_done = 0;
        while n_done < 3 {
            let Some(answer) = answers.message().await? else { break };
            let id = answer.process_id.clone();
            let about = said.entry(id.clone()).or_default();
            match answer.input {
                Some(Input::Started(_)) => about.push_str("started "),
                Some(Input::File(file)) if !file.eof => {
                    let text = String::from_utf8_lossy(&file.data);
                    about.push_str(&format!("{}={} ", file.fd, text.trim()));
                }
                Some(Input::Exit(exit)) => {
                    let code = exit.error.map(|error| error.code).unwrap_or_default();
                    about.push_str(&format!("exit={} {code} ", exit.code));
                }
                Some(Input::Done(_)) => {
                    about.push_str("done");
                    n_done += 1;
                    if id == "second" {
                        let asked = ReadFileRequest {
                            r#ref: "one".into(),
                            file_path: "/left".into(),
                            ..ReadFileRequest::default()
                        };
                        // The first one writes it when it comes to that.
                        let mut left = Err(Status::not_found("/left"));
                        for _ in 0..100 {
                            left = self.client.read_file_container(asked.clone()).await;
                            if left.as_ref().is_ok_and(|left| !left.get_ref().data.is_empty()) {
                                break;
                            }
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        let left = left?.into_inner().data;
                        said.insert("left".into(), String::from_utf8_lossy(&left).trim().into());
                        sender.send(message("first", file("", true))).await?;
                    }
                }
                _ => {}
            }
        }
        let asked = ReleaseContainerRequest { container_id: "one".into() };
        self.client.release_container(asked).await?;
        let text: String = said.iter().map(|(id, text)| format!("{id}: {text}\n")).collect();
        let said = self.say(&text).await?;
        self.give_back(said, BTreeMap::new()).await
    }

    /// A program in a container that does not end, and neither does this.
    async fn sleep(&mut self) -> Result<(), Error> {
        let _asleep = self.asleep().await?;
        wait().await
    }

    /// A container is released while its program still runs, and once more.
    async fn cut(&mut self) -> Result<(), Error> {
        let _asleep = self.asleep().await?;
        let mut text = String::new();
        for _ in 0..2 {
            let asked = ReleaseContainerRequest { container_id: "one".into() };
            match self.client.release_container(asked).await {
                Ok(_) => text.push_str("released\n"),
                Err(why) => text.push_str(&format!("{:?}: {}\n", why.code(), why.message())),
            }
        }
        let said = self.say(&text).await?;
        self.give_back(said, BTreeMap::new()).await
    }

    /// A container with a program that has begun and does not end. It is spoken with as long as this is there.
    async fn asleep(&mut self) -> Result<impl Sized + use<>, Error> {
        self.new_container().await?;
        let (sender, messages) = tokio::sync::mpsc::channel(64);
        let input = Some(init("echo asleep; sleep 600"));
        sender.send(ExecMessage { process_id: "first".into(), input }).await?;
        let mut answers =
            self.client.exec_process(ReceiverStream::new(messages)).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            if let Some(Input::File(_)) = answer.input {
                return Ok((sender, answers));
            }
        }
        Err("it ended".into())
    }

    /// Has the front end that is built in do the work.
    async fn nested(&mut self) -> Result<(), Error> {
        let frontend_opt = [("filename".to_owned(), "Inner".to_owned())].into();
        let asked =
            SolveRequest { frontend: "dockerfile.v0".into(), frontend_opt, ..Default::default() };
        let built = self.solve(asked).await?;
        self.give_back(built, BTreeMap::new()).await
    }

    /// Goes from step to step of a Dockerfile, as a debugger does: the line of each, and what has been left by then.
    async fn steps(&mut self) -> Result<(), Error> {
        let frontend_opt = [("filename".to_owned(), "Inner".to_owned())].into();
        let asked =
            SolveRequest { frontend: "dockerfile.v0".into(), frontend_opt, ..Default::default() };
        let definition = self.solve(asked).await?.def.unwrap_or_default();
        let n_steps = definition.def.len().saturating_sub(1);
        let locations = definition.source.clone().unwrap_or_default().locations;
        let line = |digest: &str| {
            let range = locations.get(digest)?.locations.first()?.ranges.first()?;
            Some(range.start.as_ref()?.line)
        };
        let mut said = String::new();
        let mut digests = Vec::new();
        for bytes in &definition.def[..n_steps] {
            let digest = Digest::sha256(bytes).to_string();
            let steps = Graph(definition.def[..n_steps].to_vec());
            let step = self.build(steps, &digest).await?;
            let left = self.read(&step.id, "/left").await.unwrap_or_default();
            said.push_str(&format!("{}: {left:?}\n", line(&digest).unwrap_or_default()));
            digests.push(digest);
        }
        // They can be built on, too.
        let first_run = digests.get(1).ok_or("no steps")?;
        let mut graph = Graph(definition.def[..n_steps].to_vec());
        let top = graph.sh("echo on >> /left", None, first_run);
        let built = self.build(graph, &top).await?;
        said.push_str(&format!("{:?}\n", self.read(&built.id, "/left").await?));
        let said = self.say(&said).await?;
        self.give_back(said, BTreeMap::new()).await
    }

    /// Asks for itself.
    async fn again(&mut self) -> Result<(), Error> {
        let frontend_opt = self.options.clone();
        let asked =
            SolveRequest { frontend: "gateway.v0".into(), frontend_opt, ..Default::default() };
        let built = self.solve(asked).await?;
        self.give_back(built, BTreeMap::new()).await
    }

    /// Looks into what a step that failed has written, and into what it worked on.
    async fn failed(&mut self) -> Result<(), Error> {
        let mut said = String::new();
        let mut graph = Graph::default();
        let busybox = graph.source("docker-image://docker.io/library/busybox:latest");
        let top = graph.sh("echo wrote > /left; exit 3", None, &busybox);
        let (_, failed) = self.unmade(graph, &top).await?;
        said.push_str(&format!("{} {}\n", failed.input_i_ds.len(), failed.mount_i_ds.len()));
        for (what, name) in [("after", &failed.mount_i_ds[0]), ("before", &failed.input_i_ds[0])] {
            let script = "cat /left || echo nothing";
            said.push_str(&format!("{what}: {}\n", self.one(name, script).await?));
        }
        // The name means nothing to calls that want a result of another kind, and only what was handed out is one.
        let other = failed.mount_i_ds[0].replace("written0", "written1");
        said.push_str(&match self.client.new_container(asked_container(&other)).await {
            Ok(_) => "made\n".to_owned(),
            Err(why) => format!("{:?}\n", why.code()),
        });
        // Of changes of files those before the one that failed are there.
        let mut graph = Graph::default();
        let busybox = graph.source("docker-image://docker.io/library/busybox:latest");
        let file = |path: &str, input| {
            let (path, data) = (path.to_owned(), b"half".to_vec());
            let make = pb::FileActionMkFile { path, data, mode: 0o644, timestamp: -1, owner: None };
            let action = Some(pb::file_action::Action::Mkfile(make));
            pb::FileAction { input, secondary_input: -1, output: -1, action }
        };
        let last = pb::FileAction { output: 0, ..file("/no/such/file", 1) };
        let actions = vec![file("/half", 0), last];
        let top = graph.add(Op::File(pb::FileOp { actions }), &[busybox.as_str()]);
        let (_, failed) = self.unmade(graph, &top).await?;
        said.push_str(&format!("{:?}\n", failed.subject));
        said.push_str(&format!("{}\n", self.one(&failed.mount_i_ds[1], "cat /half").await?));
        let said = self.say(&said).await?;
        self.give_back(said, BTreeMap::new()).await
    }

    /// Has something made that cannot be, and what its error hands out.
    async fn unmade(&mut self, graph: Graph, top: &str) -> Result<(Status, Solve), Error> {
        let Err(status) = self.build(graph, top).await else { return Err("it was made".into()) };
        let all = buildkit::rpc::Status::decode(status.details())?;
        let solve = all.details.iter().find(|one| one.type_url.ends_with("/errdefs.Solve"));
        let solve = Solve::decode(solve.ok_or("no errdefs.Solve")?.value.as_slice())?;
        Ok((status, solve))
    }

    /// What a script says in a container of a result.
    async fn one(&mut self, result: &str, script: &str) -> Result<String, Error> {
        self.client.new_container(asked_container(result)).await?;
        let (sender, messages) = tokio::sync::mpsc::channel(64);
        let mut answers =
            self.client.exec_process(ReceiverStream::new(messages)).await?.into_inner();
        let input = Some(init(script));
        sender.send(ExecMessage { process_id: "one".into(), input }).await?;
        let mut text = String::new();
        while let Some(answer) = answers.message().await? {
            match answer.input {
                Some(Input::File(file)) if file.fd == 1 => {
                    text.push_str(&String::from_utf8_lossy(&file.data));
                }
                Some(Input::Done(_)) => break,
                _ => {}
            }
        }
        let asked = ReleaseContainerRequest { container_id: "one".into() };
        self.client.release_container(asked).await?;
        Ok(text.trim().to_owned())
    }

    /// Asks for one image with rules of its own for it: denied, another one in its place, and without.
    async fn rules(&mut self) -> Result<(), Error> {
        const BUSYBOX: &str = "docker-image://docker.io/library/busybox:latest";
        let rule = |action: PolicyAction, into: &str| {
            let identifier = "docker-image://*".to_owned();
            let selector = Some(Selector { identifier, ..Selector::default() });
            let updates = Update { identifier: into.to_owned(), ..Update::default() };
            let rule = Rule { selector, action: action.into(), updates: Some(updates) };
            Policy { version: 1, rules: vec![rule] }
        };
        let other = "docker-image://docker.io/library/front:latest";
        let mut said = String::new();
        for policies in
            [vec![rule(PolicyAction::Deny, "")], vec![rule(PolicyAction::Convert, other)], vec![]]
        {
            let mut graph = Graph::default();
            let top = graph.source(BUSYBOX);
            let asked = SolveRequest {
                definition: Some(graph.end(&top)),
                evaluate: true,
                source_policies: policies.clone(),
                ..SolveRequest::default()
            };
            said.push_str(&match self.solve(asked).await {
                Err(status) => format!("{:?}: {}", status.code(), status.message()),
                Ok(one) => {
                    let path = "/frontend".to_owned();
                    let stat = StatFileRequest { r#ref: one.id, path, mount_index: 0 };
                    format!("other: {}", self.client.stat_file(stat).await.is_ok())
                }
            });
            let source = Some(pb::SourceOp { identifier: BUSYBOX.into(), ..Default::default() });
            let asked = ResolveSourceMetaRequest {
                source,
                source_policies: policies.clone(),
                ..ResolveSourceMetaRequest::default()
            };
            let meta = self.client.resolve_source_meta(asked).await;
            let named = meta.map(|meta| meta.into_inner().source.unwrap_or_default().identifier);
            said.push_str(&format!(
                " {}\n",
                named.unwrap_or_else(|status| format!("{:?}", status.code()))
            ));
        }
        // A front end that it asks for would have its own.
        let asked = SolveRequest {
            frontend: "dockerfile.v0".into(),
            source_policies: vec![rule(PolicyAction::Deny, "")],
            ..SolveRequest::default()
        };
        let refused = self.solve(asked).await.err().map(|status| status.code());
        said.push_str(&format!("{refused:?}\n"));
        let said = self.say(&said).await?;
        self.give_back(said, BTreeMap::new()).await
    }

    /// Says that it cannot be done.
    async fn refuse(&mut self) -> Result<(), Error> {
        let error = buildkit::rpc::Status {
            code: 3,
            message: "not in this language".into(),
            details: vec![],
        };
        self.client.r#return(ReturnRequest { result: None, error: Some(error) }).await?;
        Ok(())
    }
}

/// A container of a result, with a secret.
fn asked_container(image: &str) -> NewContainerRequest {
    let root = pb::Mount { dest: "/".into(), result_id: image.into(), ..pb::Mount::default() };
    let id = "token".into();
    let secret = pb::SecretOpt { id, optional: true, ..pb::SecretOpt::default() };
    let secret = pb::Mount {
        dest: "/run/declared".into(),
        mount_type: MountType::Secret.into(),
        secret_opt: Some(secret),
        ..pb::Mount::default()
    };
    let (container_id, mounts) = ("one".into(), vec![root, secret]);
    NewContainerRequest { container_id, mounts, ..NewContainerRequest::default() }
}

fn init(script: &str) -> Input {
    let args = ["sh", "-c", script].map(str::to_owned).to_vec();
    let meta = Some(pb::Meta { args, cwd: "/".into(), ..pb::Meta::default() });
    let fds = vec![0, 1, 2];
    Input::Init(InitMessage { container_id: "one".into(), meta, fds, ..InitMessage::default() })
}
