//! The control service.

use std::collections::BTreeMap;
use std::sync::Arc;

use build::{Client, Progress, Recorded, Solved};
use buildkit::control::control_server::Control;
use buildkit::control::{
    BuildHistoryEvent, BuildHistoryRequest, BytesMessage, DiskUsageRequest, DiskUsageResponse,
    InfoRequest, InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest, SolveRequest,
    SolveResponse, StatusRequest, StatusResponse, UpdateBuildHistoryRequest,
    UpdateBuildHistoryResponse, UsageRecord,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::builds::Job;
use crate::guest::Asked;
use crate::history::Ended;
use crate::service::Service;
use crate::session::pipe::{carry_in, carry_out, pipe};
use crate::session::policy::Policy;
use crate::session::{Announced, SessionClient};
use crate::status::Told;
use crate::{builds, cache, failure, request, worker};

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = ReceiverStream<Result<T, Status>>;

/// Messages on their way to a client.
const AHEAD: usize = 32;

impl Service {
    /// One build, from its request to what came of it.
    async fn build(&self, asked: SolveRequest) -> Result<BTreeMap<String, String>, Status> {
        let wanted = request::build(&asked)?;
        self.builder.may_grant(wanted.entitlements).map_err(|error| failure::status(&error))?;
        let session = self.sessions.wait(&asked.session).await.map_err(Status::not_found)?;
        let asks = match asked.source_policy_session.as_str() {
            "" => None,
            id => Some(self.sessions.wait(id).await.map_err(Status::not_found)?),
        };
        let policy = Policy { rules: request::rules(&asked)?, session: asks };
        let (own, all) = (Arc::clone(&session), Arc::clone(&self.sessions));
        let client: Arc<dyn Client> = Arc::new(SessionClient(own, policy, all));
        let told = Arc::new(Told::default());
        let (sender, events) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let listening = tokio::spawn(Arc::clone(&told).listen(events, ended));
        let progress = Progress::new(sender);
        let build = self.builder.begin(wanted, client, progress.clone());
        let inputs = asked.frontend_inputs.clone();
        let begun = self.builds.begin(
            asked.r#ref.clone(),
            asked.session.clone(),
            build,
            progress,
            Arc::clone(&told),
            inputs,
        );
        let (under_way, result) = begun?;
        let record = self.history.begin(&asked, Arc::clone(&told));
        let done = tokio::select! {
            done = Box::pin(self.carry_out(&under_way.job, &asked, result)) => done,
            () = session.ended() => Err(Status::cancelled("the client's session has ended")),
        };
        // Containers of its client's own end with it.
        under_way.job.client.release().await;
        drop(under_way);
        // All that was told is told before the build is over: nobody is left who would read this.
        _ = end.send(());
        _ = listening.await;
        record
            .end(match &done {
                Ok((response, recorded, document)) => {
                    Ended::Well(response.clone(), recorded.clone(), document.clone())
                }
                Err(status) => Ended::Failed(failure::kept_record(status)),
            })
            .await;
        done.map(|(response, ..)| response)
    }

    /// What a build tells or told. One that is asked for before it has begun is waited for; meanwhile it
    /// may have ended, too.
    async fn told(&self, id: &str) -> Result<Arc<Told>, Status> {
        let mut changes = self.builds.changes();
        let found = async {
            loop {
                if let Some(job) = self.builds.find(id) {
                    return Ok(Arc::clone(&job.told));
                }
                if let Some(told) = self.history.told(id).await? {
                    return Ok(told);
                }
                // Who would tell of changes is us.
                _ = changes.changed().await;
            }
        };
        let missing = |_| Status::not_found(format!("no such job {id}"));
        tokio::time::timeout(builds::WAIT, found).await.map_err(missing)?
    }

    async fn carry_out(
        &self,
        job: &Arc<Job>,
        asked: &SolveRequest,
        result: oneshot::Receiver<Result<Solved, Status>>,
    ) -> Result<Done, Status> {
        let solved = match (&asked.definition, asked.frontend.as_str()) {
            (Some(definition), "") => {
                let refs = vec![(String::new(), self.result(job, &job.client, definition, &[])?)];
                Solved { refs, ..Solved::default() }
            }
            // The client is the front end, by the gateway service.
            (_, "") => {
                // What a client cannot have it is told where it builds on it.
                let inputs = self.inputs(job, &job.client, &asked.frontend_inputs);
                job.build.set_root(asked.frontend_attrs.clone(), inputs.unwrap_or_default());
                result.await.map_err(|_| Status::cancelled("context canceled"))??
            }
            (_, name) => {
                let (options, inputs) = (&asked.frontend_attrs, &asked.frontend_inputs);
                let asked = Asked { name, options, cache_imports: &[], inputs };
                Box::pin(self.front_end(job, &job.client, asked)).await?
            }
        };
        if asked.enable_session_exporter {
            // It may look into what it is asked about.
            for name in solved.refs.iter().filter_map(|(_, name)| name.as_deref()) {
                job.client.told_of(name)?;
            }
        }
        let response = Box::pin(job.build.export(&solved)).await;
        let response = response.map_err(|error| job.failed(&error))?;
        let document = job.build.document(&response).await;
        Ok((response, job.build.recorded(&solved), document))
    }
}

/// What came of a build, what is to be said of its results, and the document of its image, where that is here.
type Done = (BTreeMap<String, String>, Vec<Recorded>, Option<Vec<u8>>);

/// Does what waits for the disk on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, build::Error> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Status::internal(error.to_string()))?;
    done.map_err(|error| failure::status(&error))
}

#[tonic::async_trait]
impl Control for Service {
    async fn solve(&self, asked: Request<SolveRequest>) -> Answer<SolveResponse> {
        let exporter_response = self.build(asked.into_inner()).await?;
        Ok(Response::new(SolveResponse { exporter_response }))
    }

    type StatusStream = Stream<StatusResponse>;

    async fn status(&self, asked: Request<StatusRequest>) -> Answer<Self::StatusStream> {
        let id = request::name(&asked.into_inner().r#ref)?;
        let (sender, messages) = mpsc::channel(AHEAD);
        tokio::spawn(self.told(&id).await?.replay(sender));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    type SessionStream = Stream<BytesMessage>;

    async fn session(
        &self,
        asked: Request<tonic::Streaming<BytesMessage>>,
    ) -> Answer<Self::SessionStream> {
        let headers = asked.metadata().clone().into_headers();
        let announced = Announced::read(&headers).map_err(Status::invalid_argument)?;
        self.sessions.check(&announced).map_err(Status::already_exists)?;
        let (ours, theirs) = pipe();
        let (read, write) = tokio::io::split(theirs);
        let (outgoing, mut bytes) = mpsc::channel(AHEAD);
        let (sender, messages) = mpsc::channel(AHEAD);
        let sessions = Arc::clone(&self.sessions);
        tokio::spawn(async move {
            let forward = async {
                while let Some(message) = bytes.recv().await {
                    if sender.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
            };
            // The first to end ends it: the session, the client, or its stream.
            tokio::select! {
                () = sessions.serve(announced, ours) => {}
                () = carry_in(write, asked.into_inner()) => {}
                () = carry_out(read, outgoing) => {}
                () = forward => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Answer<ListWorkersResponse> {
        let record = self.worker.record(self.offers().await);
        Ok(Response::new(ListWorkersResponse { record: vec![record] }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Answer<InfoResponse> {
        Ok(Response::new(InfoResponse { buildkit_version: Some(worker::version()) }))
    }

    async fn disk_usage(&self, asked: Request<DiskUsageRequest>) -> Answer<DiskUsageResponse> {
        let filters = cache::filters(&asked.get_ref().filter)?;
        let oldest = asked.get_ref().age_limit;
        let builder = Arc::clone(&self.builder);
        let all = blocking(move || builder.usage()).await?;
        let wanted = all.into_iter().filter(|record| cache::is_wanted(record, &filters, oldest));
        Ok(Response::new(DiskUsageResponse { record: wanted.map(cache::record).collect() }))
    }

    type PruneStream = Stream<UsageRecord>;

    async fn prune(&self, asked: Request<PruneRequest>) -> Answer<Self::PruneStream> {
        let pruning = cache::pruning(asked.get_ref())?;
        let builder = Arc::clone(&self.builder);
        let pruned = blocking(move || builder.prune(&pruning)).await?;
        let (sender, messages) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            for record in pruned.removed {
                if sender.send(Ok(cache::record(record))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    type ListenBuildHistoryStream = Stream<BuildHistoryEvent>;

    async fn listen_build_history(
        &self,
        asked: Request<BuildHistoryRequest>,
    ) -> Answer<Self::ListenBuildHistoryStream> {
        let (sender, messages) = mpsc::channel(AHEAD);
        let history = Arc::clone(&self.history);
        tokio::spawn(history.listen(asked.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn update_build_history(
        &self,
        asked: Request<UpdateBuildHistoryRequest>,
    ) -> Answer<UpdateBuildHistoryResponse> {
        self.history.update(asked.into_inner()).await?;
        Ok(Response::new(UpdateBuildHistoryResponse {}))
    }
}
