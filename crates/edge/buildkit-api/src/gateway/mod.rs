//! The gateway service: a client in the place of a front end, which asks for results and looks into them.

pub(crate) mod forms;
mod worked;

use std::path::Path;
use std::sync::Arc;

use build::{Event, Extras, Solved, SourceMeta, Warning};
use buildgraph::{Range, Source};
use buildkit::gateway::llb_bridge_server::{LlbBridge, LlbBridgeServer};
use buildkit::gateway::{
    EvaluateRequest, EvaluateResponse, ExecMessage, InputsRequest, InputsResponse,
    NewContainerRequest, NewContainerResponse, PingRequest, PongResponse, ReadDirRequest,
    ReadDirResponse, ReadFileRequest, ReadFileResponse, ReleaseContainerRequest,
    ReleaseContainerResponse, ResolveImageConfigRequest, ResolveImageConfigResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse, ReturnRequest, ReturnResponse,
    SolveRequest, SolveResponse, StatFileRequest, StatFileResponse, WarnRequest, WarnResponse,
};
use buildkit::{pb, sourcepolicy};
use hyper::Request as Call;
use llb::source_op;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::builds::Job;
use crate::definition::{decided, refused};
use crate::front_end::{FrontEnd, OwnContainer, Returned};
use crate::guest::Asked;
use crate::service::Service;
use crate::session::rules::Rules;
use crate::transport::MESSAGE;
use crate::{failure, processes, request, worker};
use forms::{
    answer, described, entries, extras, older, pattern, platform, range, resolve, result, shown,
    solved, stat,
};

/// The header that says which build a call is of.
const BUILD: &str = "buildkit-controlapi-buildid";
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
        let id = id.ok_or_else(|| Status::invalid_argument("no buildid found in context"))?;
        let job = service.builds.wait(id).await?;
        let by = Arc::clone(&job.client);
        Ok(Asking { service, job, by })
    }
}

impl Asking {
    async fn solve(&self, asked: SolveRequest) -> Result<Solved, Status> {
        let rules = rules(&asked.source_policies)?;
        if !rules.is_empty() && !asked.frontend.is_empty() {
            let text = "source policies of a request for a front end are not supported yet";
            return Err(Status::unimplemented(text));
        }
        let Self { service, job, by } = self;
        if asked.evaluate {
            job.build.keep_failures();
        }
        let solved = if asked.frontend.is_empty() {
            for option in request::caches(&asked.cache_imports)? {
                job.build.import_from(&option);
            }
            let definition = asked.definition.unwrap_or_default();
            let name = service.result(job, by, &definition, &rules)?;
            Solved { refs: vec![(String::new(), name)], ..Solved::default() }
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
                made.map_err(|error| self.unmade(&error))?;
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
                for stated in solved.stated.values().flatten() {
                    self.by.known(&stated.reference)?;
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

/// Rules that come with one request.
fn rules(policies: &[sourcepolicy::Policy]) -> Result<Vec<Rules>, Status> {
    let rules = policies.iter().map(Rules::of).collect::<Result<_, _>>();
    rules.map_err(Status::invalid_argument)
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

#[tonic::async_trait]
impl LlbBridge for Gateway {
    async fn ping(&self, asked: Request<PingRequest>) -> Answer<PongResponse> {
        self.asking(asked.metadata()).await?;
        let (frontend_api_caps, llb_caps) = worker::features();
        let workers = vec![self.service.worker.record(self.service.offers().await)];
        Ok(Response::new(PongResponse { frontend_api_caps, llb_caps, workers }))
    }

    async fn solve(&self, asked: Request<SolveRequest>) -> Answer<SolveResponse> {
        let asking = self.asking(asked.metadata()).await?;
        let (by_array, by_map) =
            (asked.get_ref().allow_result_array_ref, asked.get_ref().allow_result_return);
        let work = async {
            let solved = Box::pin(asking.solve(asked.into_inner())).await?;
            let result = result(&asking.job, solved, by_array);
            Ok(if by_array { answer(result) } else { older(result, by_map)? })
        };
        wanted(&asking.job, work).await
    }

    async fn evaluate(&self, asked: Request<EvaluateRequest>) -> Answer<EvaluateResponse> {
        let asking = self.asking(asked.metadata()).await?;
        let Asking { job, by, .. } = &asking;
        let reference = asked.into_inner().r#ref;
        job.build.keep_failures();
        let work = async {
            let made = job.build.evaluate(by.known(&reference)?).await;
            made.map_err(|error| asking.unmade(&error))?;
            Ok(EvaluateResponse {})
        };
        wanted(job, work).await
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
                let extras = Extras::default();
                let shown = shown(&asked.log_name, &op);
                let found =
                    job.build.source_meta(&source, &shown, platform.as_ref(), &extras).await;
                found.map(|(_, meta)| meta)
            } else {
                let how = resolve(&asked.resolve_mode);
                let found = job.build.image_config(name, platform.as_ref(), how).await;
                found.map(|(digest, config)| SourceMeta::Image(digest, config, None))
            };
            let SourceMeta::Image(digest, config, _) = found.map_err(|error| job.failed(&error))?
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
        let extras = extras(&asked)?;
        let op = asked.source.ok_or_else(|| Status::invalid_argument("source is required"))?;
        let mut used = op.clone();
        decided(&rules(&asked.source_policies)?, &mut used).map_err(Status::invalid_argument)?;
        let op = used;
        let work = async {
            let mut source = llb::source(&op).map_err(|error| refused(&error))?;
            if let Source::Image(image) = &mut source
                && !asked.resolve_mode.is_empty()
            {
                image.resolve = resolve(&asked.resolve_mode);
            }
            let platform = asked.platform.as_ref().map(platform);
            let shown = shown(&asked.log_name, &op);
            let found = job.build.source_meta(&source, &shown, platform.as_ref(), &extras).await;
            let (used, meta) = found.map_err(|error| job.failed(&error))?;
            let with_config = !asked.image.is_some_and(|image| image.no_config);
            // Who asked goes on with what is used in its place.
            let other = if used == source { None } else { source_op(&used) };
            let source = Some(other.unwrap_or_else(|| op.clone()));
            Ok(ResolveSourceMetaResponse { source, ..described(meta, with_config) })
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
        let container = by.take_container(&asked.get_ref().container_id)?;
        // As in BuildKit, whoever cuts something short is told so.
        container.container.release().await.map_err(|error| failure::status(&error))?;
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
