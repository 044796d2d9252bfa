//! The gateway service: a client in the place of a front end, which asks for results and looks into them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use build::{Event, FileStat, Solved, Warning};
use buildgraph::{Range, Resolve};
use buildkit::fsutil::Stat;
use buildkit::gateway::llb_bridge_server::LlbBridge;
use buildkit::gateway::{
    self, EvaluateRequest, EvaluateResponse, ExecMessage, InputsRequest, InputsResponse,
    NewContainerRequest, NewContainerResponse, PingRequest, PongResponse, ReadDirRequest,
    ReadDirResponse, ReadFileRequest, ReadFileResponse, Ref, RefMap, ReleaseContainerRequest,
    ReleaseContainerResponse, ResolveImageConfigRequest, ResolveImageConfigResponse,
    ResolveSourceImageResponse, ResolveSourceMetaRequest, ResolveSourceMetaResponse, ReturnRequest,
    ReturnResponse, SolveRequest, SolveResponse, StatFileRequest, StatFileResponse, WarnRequest,
    WarnResponse, result,
};
use buildkit::pb;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::builds::Job;
use crate::definition::of_result;
use crate::fsutil::mode::from_unix;
use crate::service::Service;
use crate::{failure, request, worker};

/// The header that says which build a call is of.
const BUILD: &str = "buildkit-controlapi-buildid";
/// The largest part of a file in one answer, in bytes: messages end at 16 MiB.
const FILE: u64 = 15 << 20;

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    /// The build that a call is of.
    async fn job(&self, headers: &MetadataMap) -> Result<Arc<Job>, Status> {
        let id = headers.get(BUILD).and_then(|value| value.to_str().ok());
        let id = id.ok_or_else(|| Status::invalid_argument("the call names no build"))?;
        self.builds.wait(id).await
    }

    async fn solve_for(&self, job: &Job, asked: SolveRequest) -> Result<Solved, Status> {
        if !asked.source_policies.is_empty() {
            return Err(Status::unimplemented("source policies are not supported yet"));
        }
        let solved = if asked.frontend.is_empty() {
            let definition = asked.definition.unwrap_or_default();
            let name = self.result(job, &definition)?;
            Solved { refs: vec![(String::new(), name)], metadata: BTreeMap::new() }
        } else {
            let inputs = self.inputs(job, &asked.frontend_inputs)?;
            let (name, options) = (&asked.frontend, &asked.frontend_opt);
            let asked = request::frontend(name, options, &asked.cache_imports, inputs)?;
            job.build.solve(&asked).await.map_err(|error| job.failed(&error))?
        };
        if asked.evaluate {
            for reference in solved.refs.iter().filter_map(|(_, reference)| reference.as_deref()) {
                let made = job.build.evaluate(reference).await;
                made.map_err(|error| job.failed(&error))?;
            }
        }
        Ok(solved)
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

async fn image(
    job: &Job,
    name: &str,
    wanted: Option<&pb::Platform>,
    mode: &str,
) -> Result<(String, Vec<u8>), Status> {
    let how = match mode {
        "pull" => Resolve::Pull,
        // BuildKit's `local` looks here first; what is here is taken by default.
        _ => Resolve::Default,
    };
    let wanted = wanted.map(platform);
    let found = job.build.image_config(name, wanted.as_ref(), how).await;
    let (digest, config) = found.map_err(|error| job.failed(&error))?;
    Ok((digest.to_string(), config))
}

#[tonic::async_trait]
impl LlbBridge for Service {
    async fn ping(&self, asked: Request<PingRequest>) -> Answer<PongResponse> {
        self.job(asked.metadata()).await?;
        let (frontend_api_caps, llb_caps) = worker::features();
        let workers = vec![self.worker.record()];
        Ok(Response::new(PongResponse { frontend_api_caps, llb_caps, workers }))
    }

    async fn solve(&self, asked: Request<SolveRequest>) -> Answer<SolveResponse> {
        let job = self.job(asked.metadata()).await?;
        let by_array = asked.get_ref().allow_result_array_ref;
        let work = async {
            let solved = Box::pin(self.solve_for(&job, asked.into_inner())).await?;
            if !by_array {
                return Err(Status::unimplemented("results without proto.refarray"));
            }
            let result = Some(result(&job, solved));
            Ok(SolveResponse { r#ref: String::new(), result })
        };
        wanted(&job, work).await
    }

    async fn evaluate(&self, asked: Request<EvaluateRequest>) -> Answer<EvaluateResponse> {
        let job = self.job(asked.metadata()).await?;
        let reference = asked.into_inner().r#ref;
        let work = async {
            let made = job.build.evaluate(&reference).await;
            made.map_err(|error| job.failed(&error))?;
            Ok(EvaluateResponse {})
        };
        wanted(&job, work).await
    }

    async fn read_file(&self, asked: Request<ReadFileRequest>) -> Answer<ReadFileResponse> {
        let job = self.job(asked.metadata()).await?;
        let asked = asked.into_inner();
        let range = asked.range.unwrap_or_default();
        let number =
            |n: i64| u64::try_from(n).map_err(|_| Status::invalid_argument("a range before 0"));
        let (offset, length) = (number(range.offset)?, number(range.length)?);
        let length = if length == 0 { FILE } else { length.min(FILE) };
        let work = async {
            let path = Path::new(&asked.file_path);
            let read = job.build.read_file(&asked.r#ref, path, offset, Some(length)).await;
            let data = read.map_err(|error| job.failed(&error))?;
            Ok(ReadFileResponse { data })
        };
        wanted(&job, work).await
    }

    async fn read_dir(&self, asked: Request<ReadDirRequest>) -> Answer<ReadDirResponse> {
        let job = self.job(asked.metadata()).await?;
        let asked = asked.into_inner();
        if !asked.include_pattern.is_empty() {
            return Err(Status::unimplemented("a pattern in ReadDir is not supported yet"));
        }
        let work = async {
            let read = job.build.read_dir(&asked.r#ref, Path::new(&asked.dir_path)).await;
            let entries = read.map_err(|error| job.failed(&error))?.iter().map(stat).collect();
            Ok(ReadDirResponse { entries })
        };
        wanted(&job, work).await
    }

    async fn stat_file(&self, asked: Request<StatFileRequest>) -> Answer<StatFileResponse> {
        let job = self.job(asked.metadata()).await?;
        let asked = asked.into_inner();
        let work = async {
            let found = job.build.stat(&asked.r#ref, Path::new(&asked.path)).await;
            let found = found.map_err(|error| job.failed(&error))?;
            Ok(StatFileResponse { stat: Some(stat(&found)) })
        };
        wanted(&job, work).await
    }

    async fn resolve_image_config(
        &self,
        asked: Request<ResolveImageConfigRequest>,
    ) -> Answer<ResolveImageConfigResponse> {
        let job = self.job(asked.metadata()).await?;
        let asked = asked.into_inner();
        let work = async {
            let (name, mode) = (&asked.r#ref, &asked.resolve_mode);
            let (digest, config) = image(&job, name, asked.platform.as_ref(), mode).await?;
            Ok(ResolveImageConfigResponse { digest, config, r#ref: asked.r#ref.clone() })
        };
        wanted(&job, work).await
    }

    async fn resolve_source_meta(
        &self,
        asked: Request<ResolveSourceMetaRequest>,
    ) -> Answer<ResolveSourceMetaResponse> {
        let job = self.job(asked.metadata()).await?;
        let asked = asked.into_inner();
        let source = asked.source.unwrap_or_default();
        let Some(name) = source.identifier.strip_prefix("docker-image://") else {
            let text = format!("ResolveSourceMeta of {} is not supported yet", source.identifier);
            return Err(Status::unimplemented(text));
        };
        let work = async {
            let found = image(&job, name, asked.platform.as_ref(), &asked.resolve_mode).await?;
            let (digest, config) = found;
            let image = ResolveSourceImageResponse { digest, config, attestation_chain: None };
            let source = Some(source.clone());
            Ok(ResolveSourceMetaResponse { source, image: Some(image), ..Default::default() })
        };
        wanted(&job, work).await
    }

    async fn r#return(&self, asked: Request<ReturnRequest>) -> Answer<ReturnResponse> {
        let job = self.job(asked.metadata()).await?;
        let asked = asked.into_inner();
        let result = match asked.error {
            Some(error) if error.code != 0 => Err(failure::from_record(&error)),
            _ => solved(asked.result.unwrap_or_default()),
        };
        if job.give_back(result) {
            return Ok(Response::new(ReturnResponse {}));
        }
        Err(Status::failed_precondition("the build has its result already"))
    }

    async fn inputs(&self, asked: Request<InputsRequest>) -> Answer<InputsResponse> {
        let job = self.job(asked.metadata()).await?;
        Ok(Response::new(InputsResponse { definitions: job.inputs.clone() }))
    }

    async fn warn(&self, asked: Request<WarnRequest>) -> Answer<WarnResponse> {
        let job = self.job(asked.metadata()).await?;
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

    async fn new_container(&self, _: Request<NewContainerRequest>) -> Answer<NewContainerResponse> {
        Err(no_containers())
    }

    async fn release_container(
        &self,
        _: Request<ReleaseContainerRequest>,
    ) -> Answer<ReleaseContainerResponse> {
        Err(no_containers())
    }

    type ExecProcessStream = ReceiverStream<Result<ExecMessage, Status>>;

    async fn exec_process(
        &self,
        _: Request<tonic::Streaming<ExecMessage>>,
    ) -> Answer<Self::ExecProcessStream> {
        Err(no_containers())
    }

    async fn read_file_container(&self, _: Request<ReadFileRequest>) -> Answer<ReadFileResponse> {
        Err(no_containers())
    }

    async fn read_dir_container(&self, _: Request<ReadDirRequest>) -> Answer<ReadDirResponse> {
        Err(no_containers())
    }

    async fn stat_file_container(&self, _: Request<StatFileRequest>) -> Answer<StatFileResponse> {
        Err(no_containers())
    }
}

fn no_containers() -> Status {
    Status::unimplemented(
        "containers of a client's own in a build (NewContainer, ExecProcess) are not supported yet",
    )
}
