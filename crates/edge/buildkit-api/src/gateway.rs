//! The gateway service: a client in the place of a front end, which asks for results and looks into them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use build::{Event, FileStat, Solved, SourceMeta, Warning};
use buildgraph::{Range, Resolve, Source};
use buildkit::fsutil::Stat;
use buildkit::gateway::llb_bridge_server::{LlbBridge, LlbBridgeServer};
use buildkit::gateway::{
    self, EvaluateRequest, EvaluateResponse, ExecMessage, InputsRequest, InputsResponse,
    NewContainerRequest, NewContainerResponse, PingRequest, PongResponse, ReadDirRequest,
    ReadDirResponse, ReadFileRequest, ReadFileResponse, Ref, RefMap, ReleaseContainerRequest,
    ReleaseContainerResponse, ResolveImageConfigRequest, ResolveImageConfigResponse,
    ResolveSourceGitResponse, ResolveSourceHttpResponse, ResolveSourceImageResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse, ReturnRequest, ReturnResponse,
    SolveRequest, SolveResponse, StatFileRequest, StatFileResponse, WarnRequest, WarnResponse,
    result,
};
use buildkit::pb;
use dockerfile::ignore::{BadPattern, Filter};
use hyper::Request as Call;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::builds::Job;
use crate::definition::{of_result, refused};
use crate::front_end::{FrontEnd, OwnContainer, Returned};
use crate::fsutil::mode::from_unix;
use crate::guest::Asked;
use crate::service::Service;
use crate::transport::MESSAGE;
use crate::{failure, processes, worker};

/// The header that says which build a call is of.
const BUILD: &str = "buildkit-controlapi-buildid";
/// The largest part of a file in one answer, in bytes: messages end at 16 MiB.
const FILE: u64 = 15 << 20;

/// Messages on their way to a client.
const AHEAD: usize = 32;

/// The resolver of images in a layout of the client's, by its number (`ResolverType`).
const LAYOUT: i32 = 1;

type Answer<T> = Result<Response<T>, Status>;

/// The service, for clients of all builds, or for one front end.
#[derive(Clone)]
pub(crate) struct Gateway {
    service: Service,
    of: Option<(Arc<Job>, Arc<FrontEnd>)>,
}

/// Who asks, and in which build.
pub(crate) struct Asking {
    service: Service,
    pub(crate) job: Arc<Job>,
    pub(crate) by: Arc<FrontEnd>,
}

impl Gateway {
    /// For clients: each call says which build it is of.
    pub(crate) fn of_clients(service: Service) -> Self {
        Self { service, of: None }
    }

    /// For a front end that is an image.
    pub(crate) fn of_guest(service: Service, job: Arc<Job>, guest: Arc<FrontEnd>) -> Self {
        Self { service, of: Some((job, guest)) }
    }

    /// Answers a call.
    pub(crate) async fn answer(self, call: Call<Body>) -> hyper::Response<Body> {
        let mut bridge = LlbBridgeServer::new(self).max_decoding_message_size(MESSAGE);
        match bridge.call(call).await {
            Ok(answered) => answered,
        }
    }

    async fn asking(&self, headers: &MetadataMap) -> Result<Asking, Status> {
        let service = self.service.clone();
        if let Some((job, by)) = &self.of {
            return Ok(Asking { service, job: Arc::clone(job), by: Arc::clone(by) });
        }
        let id = headers.get(BUILD).and_then(|value| value.to_str().ok());
        let id = id.ok_or_else(|| Status::invalid_argument("the call names no build"))?;
        let job = service.builds.wait(id).await?;
        let by = Arc::clone(&job.client);
        Ok(Asking { service, job, by })
    }
}

impl Asking {
    async fn solve(&self, asked: SolveRequest) -> Result<Solved, Status> {
        if !asked.source_policies.is_empty() {
            return Err(Status::unimplemented("source policies are not supported yet"));
        }
        let Self { service, job, by } = self;
        let solved = if asked.frontend.is_empty() {
            let definition = asked.definition.unwrap_or_default();
            let name = service.result(job, by, &definition)?;
            Solved { refs: vec![(String::new(), name)], metadata: BTreeMap::new() }
        } else {
            let wanted = Asked {
                name: &asked.frontend,
                options: &asked.frontend_opt,
                cache_imports: &asked.cache_imports,
                inputs: &asked.frontend_inputs,
            };
            service.front_end(job, by, wanted).await?
        };
        if asked.evaluate {
            for reference in solved.refs.iter().filter_map(|(_, reference)| reference.as_deref()) {
                let made = job.build.evaluate(reference).await;
                made.map_err(|error| job.failed(&error))?;
            }
        }
        for (_, name) in &solved.refs {
            name.as_deref().map_or(Ok(()), |name| by.told_of(name))?;
        }
        Ok(solved)
    }

    /// What it says that its result is: of what it was told of.
    fn returned(&self, asked: ReturnRequest) -> Result<Returned, Status> {
        match asked.error {
            Some(error) if error.code != 0 => Ok(Err(failure::from_record(&error))),
            _ => {
                let solved = solved(asked.result.unwrap_or_default())?;
                for (_, name) in &solved.refs {
                    name.as_deref().map_or(Ok(""), |name| self.by.known(name))?;
                }
                Ok(Ok(solved))
            }
        }
    }

    /// A container of its own, of results that it was told of.
    async fn new_container(&self, asked: &NewContainerRequest) -> Result<(), Status> {
        let read = llb::container(asked).map_err(|error| refused(&error))?;
        let mut inputs = Vec::new();
        for name in read.results {
            self.by.known(&name).map(drop).or_else(|error| match name.as_str() {
                "" => Ok(()),
                _ => Err(error),
            })?;
            inputs.push(Some(name).filter(|name| !name.is_empty()));
        }
        let made = self.job.build.container(read.exec, &inputs).await;
        let container = made.map_err(|error| self.job.failed(&error))?;
        self.by.add(&asked.container_id, OwnContainer { container, places: read.places })
    }
}

/// Does what a call asks, as long as its build is wanted.
async fn wanted<T>(
    job: &Job,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    tokio::select! {
        done = work => done.map(Response::new),
        () = job.over() => Err(Status::cancelled("context canceled")),
    }
}

/// What a client is told of results.
fn result(job: &Job, solved: Solved) -> gateway::Result {
    let reference = |name: Option<String>| match name {
        Some(name) => {
            let def = Some(of_result(&format!("{}/{name}", job.id)));
            Ref { id: name, def }
        }
        None => Ref::default(),
    };
    let is_one = solved.refs.len() == 1 && solved.refs[0].0.is_empty();
    let mut refs = solved.refs.into_iter();
    let results = if is_one {
        refs.next().map(|(_, name)| result::Result::Ref(reference(name)))
    } else {
        let refs = refs.map(|(platform, name)| (platform, reference(name))).collect();
        Some(result::Result::Refs(RefMap { refs }))
    };
    let attestations = BTreeMap::new();
    gateway::Result { metadata: solved.metadata, attestations, result: results }
}

/// What a client says that its results are.
fn solved(result: gateway::Result) -> Result<Solved, Status> {
    if !result.attestations.is_empty() {
        return Err(Status::unimplemented("a client's own attestations are not supported yet"));
    }
    let name = |id: String| if id.is_empty() { None } else { Some(id) };
    let refs = match result.result {
        None => Vec::new(),
        Some(result::Result::RefDeprecated(id)) => vec![(String::new(), name(id))],
        Some(result::Result::RefsDeprecated(map)) => {
            map.refs.into_iter().map(|(platform, id)| (platform, name(id))).collect()
        }
        Some(result::Result::Ref(one)) => vec![(String::new(), name(one.id))],
        Some(result::Result::Refs(map)) => {
            map.refs.into_iter().map(|(platform, one)| (platform, name(one.id))).collect()
        }
    };
    Ok(Solved { refs, metadata: result.metadata })
}

fn stat(found: &FileStat) -> Stat {
    use std::os::unix::ffi::OsStrExt;

    Stat {
        path: found.path.as_os_str().as_bytes().to_vec(),
        mode: from_unix(found.mode),
        uid: found.uid,
        gid: found.gid,
        size: i64::try_from(found.size).unwrap_or(i64::MAX),
        mod_time: found.modified,
        linkname: found.link.as_os_str().as_bytes().to_vec(),
        ..Stat::default()
    }
}

fn platform(platform: &pb::Platform) -> oci::image::Platform {
    oci::image::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: Some(platform.variant.clone()).filter(|variant| !variant.is_empty()),
        ..oci::image::Platform::default()
    }
}

/// How an image is resolved: BuildKit's `local` looks here first; what is here is taken by default.
fn resolve(mode: &str) -> Resolve {
    if mode == "pull" { Resolve::Pull } else { Resolve::Default }
}

/// What of a source's description is not to be had here.
fn check_meta(asked: &ResolveSourceMetaRequest) -> Result<(), Status> {
    let image = asked.image.as_ref();
    let what = if !asked.source_policies.is_empty() {
        "source policies"
    } else if image
        .is_some_and(|image| image.attestation_chain || !image.resolve_attestations.is_empty())
    {
        "the attestations of an image (ResolveSourceMeta)"
    } else if asked.git.as_ref().is_some_and(|git| git.return_object) {
        "objects of a repository (ResolveSourceMeta)"
    } else if asked.http.as_ref().is_some_and(|http| http.checksum_request.is_some()) {
        "other checksums of a file (ResolveSourceMeta)"
    } else {
        return Ok(());
    };
    Err(Status::unimplemented(format!("{what} are not supported yet")))
}

/// What a source is, as it is told.
fn described(meta: SourceMeta, with_config: bool) -> ResolveSourceMetaResponse {
    let mut response = ResolveSourceMetaResponse::default();
    match meta {
        SourceMeta::Image(digest, config) => {
            let config = if with_config { config } else { Vec::new() };
            let digest = digest.to_string();
            let image = ResolveSourceImageResponse { digest, config, attestation_chain: None };
            response.image = Some(image);
        }
        SourceMeta::Git { name, checksum, commit } => {
            response.git = Some(ResolveSourceGitResponse {
                checksum,
                r#ref: name,
                commit_checksum: commit,
                ..ResolveSourceGitResponse::default()
            });
        }
        SourceMeta::Http { checksum, name } => {
            response.http = Some(ResolveSourceHttpResponse {
                checksum,
                filename: name,
                ..ResolveSourceHttpResponse::default()
            });
        }
    }
    response
}

#[tonic::async_trait]
impl LlbBridge for Gateway {
    async fn ping(&self, asked: Request<PingRequest>) -> Answer<PongResponse> {
        self.asking(asked.metadata()).await?;
        let (frontend_api_caps, llb_caps) = worker::features();
        let workers = vec![self.service.worker.record()];
        Ok(Response::new(PongResponse { frontend_api_caps, llb_caps, workers }))
    }

    async fn solve(&self, asked: Request<SolveRequest>) -> Answer<SolveResponse> {
        let asking = self.asking(asked.metadata()).await?;
        let (by_array, by_map) =
            (asked.get_ref().allow_result_array_ref, asked.get_ref().allow_result_return);
        let work = async {
            let solved = Box::pin(asking.solve(asked.into_inner())).await?;
            let result = result(&asking.job, solved);
            Ok(if by_array { answer(result) } else { older(result, by_map)? })
        };
        wanted(&asking.job, work).await
    }

    async fn evaluate(&self, asked: Request<EvaluateRequest>) -> Answer<EvaluateResponse> {
        let Asking { job, by, .. } = self.asking(asked.metadata()).await?;
        let reference = asked.into_inner().r#ref;
        let work = async {
            let made = job.build.evaluate(by.known(&reference)?).await;
            made.map_err(|error| job.failed(&error))?;
            Ok(EvaluateResponse {})
        };
        wanted(&job, work).await
    }

    async fn read_file(&self, asked: Request<ReadFileRequest>) -> Answer<ReadFileResponse> {
        let Asking { job, by, .. } = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        let (offset, length) = range(asked.range)?;
        let work = async {
            let path = Path::new(&asked.file_path);
            let read =
                job.build.read_file(by.known(&asked.r#ref)?, path, offset, Some(length)).await;
            let data = read.map_err(|error| job.failed(&error))?;
            Ok(ReadFileResponse { data })
        };
        wanted(&job, work).await
    }

    async fn read_dir(&self, asked: Request<ReadDirRequest>) -> Answer<ReadDirResponse> {
        let Asking { job, by, .. } = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        let pattern = pattern(&asked.include_pattern)?;
        let work = async {
            let name = by.known(&asked.r#ref)?;
            let read = job.build.read_dir(name, Path::new(&asked.dir_path)).await;
            let files = read.map_err(|error| job.failed(&error))?;
            Ok(ReadDirResponse { entries: entries(&files, pattern.as_ref()) })
        };
        wanted(&job, work).await
    }

    async fn stat_file(&self, asked: Request<StatFileRequest>) -> Answer<StatFileResponse> {
        let Asking { job, by, .. } = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        let work = async {
            let found = job.build.stat(by.known(&asked.r#ref)?, Path::new(&asked.path)).await;
            let found = found.map_err(|error| job.failed(&error))?;
            Ok(StatFileResponse { stat: Some(stat(&found)) })
        };
        wanted(&job, work).await
    }

    async fn resolve_image_config(
        &self,
        asked: Request<ResolveImageConfigRequest>,
    ) -> Answer<ResolveImageConfigResponse> {
        let Asking { job, .. } = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        let work = async {
            let platform = asked.platform.as_ref().map(platform);
            let name = &asked.r#ref;
            let found = if asked.resolver_type == LAYOUT {
                let op = pb::SourceOp {
                    identifier: format!("oci-layout://{name}"),
                    attrs: [("oci.store".to_owned(), asked.store_id.clone())].into(),
                };
                let source = llb::source(&op).map_err(|error| refused(&error))?;
                job.build
                    .source_meta(&source, &shown(&asked.log_name, &op), platform.as_ref())
                    .await
            } else {
                let how = resolve(&asked.resolve_mode);
                let found = job.build.image_config(name, platform.as_ref(), how).await;
                found.map(|(digest, config)| SourceMeta::Image(digest, config))
            };
            let SourceMeta::Image(digest, config) = found.map_err(|error| job.failed(&error))?
            else {
                return Err(Status::invalid_argument(format!("{name} is no image")));
            };
            let digest = digest.to_string();
            Ok(ResolveImageConfigResponse { digest, config, r#ref: name.clone() })
        };
        Box::pin(wanted(&job, work)).await
    }

    async fn resolve_source_meta(
        &self,
        asked: Request<ResolveSourceMetaRequest>,
    ) -> Answer<ResolveSourceMetaResponse> {
        let Asking { job, .. } = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        check_meta(&asked)?;
        let op = asked.source.ok_or_else(|| Status::invalid_argument("source is required"))?;
        let work = async {
            let mut source = llb::source(&op).map_err(|error| refused(&error))?;
            if let Source::Image(image) = &mut source
                && !asked.resolve_mode.is_empty()
            {
                image.resolve = resolve(&asked.resolve_mode);
            }
            let platform = asked.platform.as_ref().map(platform);
            let shown = shown(&asked.log_name, &op);
            let found = job.build.source_meta(&source, &shown, platform.as_ref()).await;
            let meta = found.map_err(|error| job.failed(&error))?;
            let with_config = !asked.image.is_some_and(|image| image.no_config);
            Ok(ResolveSourceMetaResponse {
                source: Some(op.clone()),
                ..described(meta, with_config)
            })
        };
        Box::pin(wanted(&job, work)).await
    }

    async fn r#return(&self, asked: Request<ReturnRequest>) -> Answer<ReturnResponse> {
        let asking = self.asking(asked.metadata()).await?;
        let result = asking.returned(asked.into_inner())?;
        if asking.by.give_back(result) {
            return Ok(Response::new(ReturnResponse {}));
        }
        Err(Status::failed_precondition("the build has its result already"))
    }

    async fn inputs(&self, asked: Request<InputsRequest>) -> Answer<InputsResponse> {
        let Asking { by, .. } = self.asking(asked.metadata()).await?;
        Ok(Response::new(InputsResponse { definitions: by.inputs.clone() }))
    }

    async fn warn(&self, asked: Request<WarnRequest>) -> Answer<WarnResponse> {
        let Asking { job, .. } = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let line = |at: Option<&pb::Position>| {
            at.and_then(|at| u32::try_from(at.line).ok()).unwrap_or_default()
        };
        let lines = asked.ranges.iter();
        let lines = lines.map(|range| Range {
            start: line(range.start.as_ref()),
            end: line(range.end.as_ref()),
        });
        job.progress.tell(Event::Warning(Warning {
            vertex: asked.digest.parse().ok(),
            level: asked.level,
            short: text(&asked.short),
            detail: asked.detail.iter().map(text).collect(),
            url: asked.url,
            source: asked
                .info
                .map(|info| build::Source { filename: info.filename, data: info.data }),
            lines: lines.collect(),
        }));
        Ok(Response::new(WarnResponse {}))
    }

    async fn new_container(
        &self,
        asked: Request<NewContainerRequest>,
    ) -> Answer<NewContainerResponse> {
        let asking = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        let work = async {
            asking.new_container(&asked).await?;
            Ok(NewContainerResponse {})
        };
        wanted(&asking.job, work).await
    }

    async fn release_container(
        &self,
        asked: Request<ReleaseContainerRequest>,
    ) -> Answer<ReleaseContainerResponse> {
        let Asking { by, .. } = self.asking(asked.metadata()).await?;
        by.take_container(&asked.get_ref().container_id)?.container.release().await;
        Ok(Response::new(ReleaseContainerResponse {}))
    }

    type ExecProcessStream = ReceiverStream<Result<ExecMessage, Status>>;

    async fn exec_process(
        &self,
        asked: Request<tonic::Streaming<ExecMessage>>,
    ) -> Answer<Self::ExecProcessStream> {
        let asking = self.asking(asked.metadata()).await?;
        let (sender, messages) = mpsc::channel(AHEAD);
        tokio::spawn(processes::serve(asking, asked.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn read_file_container(
        &self,
        asked: Request<ReadFileRequest>,
    ) -> Answer<ReadFileResponse> {
        let Asking { job, by, .. } = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        let (offset, length) = range(asked.range)?;
        let work = async {
            let (own, place) = by.mount(&asked.r#ref, asked.mount_index)?;
            let path = Path::new(&asked.file_path);
            let read = own.container.read_file(place, path, offset, length).await;
            Ok(ReadFileResponse { data: read.map_err(|error| job.failed(&error))? })
        };
        wanted(&job, work).await
    }

    async fn read_dir_container(&self, asked: Request<ReadDirRequest>) -> Answer<ReadDirResponse> {
        let Asking { job, by, .. } = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        let pattern = pattern(&asked.include_pattern)?;
        let work = async {
            let (own, place) = by.mount(&asked.r#ref, asked.mount_index)?;
            let read = own.container.read_dir(place, Path::new(&asked.dir_path)).await;
            let files = read.map_err(|error| job.failed(&error))?;
            Ok(ReadDirResponse { entries: entries(&files, pattern.as_ref()) })
        };
        wanted(&job, work).await
    }

    async fn stat_file_container(
        &self,
        asked: Request<StatFileRequest>,
    ) -> Answer<StatFileResponse> {
        let Asking { job, by, .. } = self.asking(asked.metadata()).await?;
        let asked = asked.into_inner();
        let work = async {
            let (own, place) = by.mount(&asked.r#ref, asked.mount_index)?;
            let found = own.container.stat(place, Path::new(&asked.path)).await;
            let found = found.map_err(|error| job.failed(&error))?;
            Ok(StatFileResponse { stat: Some(stat(&found)) })
        };
        wanted(&job, work).await
    }
}

/// What people are shown while a source is looked at.
fn shown(name: &str, op: &pb::SourceOp) -> String {
    if name.is_empty() {
        format!("resolve {}", llb::shown(&op.identifier))
    } else {
        name.to_owned()
    }
}

/// The part of a file that is asked for: from where, and how much of it.
fn range(asked: Option<gateway::FileRange>) -> Result<(u64, u64), Status> {
    let asked = asked.unwrap_or_default();
    let number =
        |n: i64| u64::try_from(n).map_err(|_| Status::invalid_argument("a range before 0"));
    let length = match number(asked.length)? {
        0 => FILE,
        length => length.min(FILE),
    };
    Ok((number(asked.offset)?, length))
}

/// What names of a directory are asked for; `None`: all.
fn pattern(text: &str) -> Result<Option<Filter>, Status> {
    let wrong = |error: BadPattern| Status::invalid_argument(error.to_string());
    (!text.is_empty()).then(|| Filter::new(&[text], &[]).map_err(wrong)).transpose()
}

fn entries(files: &[FileStat], pattern: Option<&Filter>) -> Vec<Stat> {
    let is_wanted = |file: &&FileStat| {
        pattern.is_none_or(|pattern| pattern.wants(&file.path.to_string_lossy()))
    };
    files.iter().filter(is_wanted).map(stat).collect()
}

/// What a call for results is answered.
fn answer(result: gateway::Result) -> SolveResponse {
    SolveResponse { r#ref: String::new(), result: Some(result) }
}

/// The same for front ends that know of results only as names.
fn older(result: gateway::Result, by_map: bool) -> Result<SolveResponse, Status> {
    let older = match result.result {
        Some(result::Result::Ref(one)) => Some(result::Result::RefDeprecated(one.id)),
        Some(result::Result::Refs(map)) if by_map => {
            let refs = map.refs.into_iter().map(|(platform, one)| (platform, one.id)).collect();
            Some(result::Result::RefsDeprecated(gateway::RefMapDeprecated { refs }))
        }
        Some(_) => {
            let text = "solve did not return default result: there are several";
            return Err(Status::invalid_argument(text));
        }
        None => None,
    };
    let name = match &older {
        Some(result::Result::RefDeprecated(name)) if !by_map => name.clone(),
        _ => String::new(),
    };
    let result = Some(gateway::Result { result: older, ..result });
    Ok(SolveResponse { r#ref: name, result })
}
