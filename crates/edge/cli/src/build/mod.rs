//! `dhow build`: a client of BuildKit's API, which the Docker Engine API carries (`/grpc` and
//! `/session`). So it builds with the engine in this process, with a daemon of dhow's, and with
//! Docker's own.
//!
//! The engine does the building. We ask for it (`Solve`), show what it tells (`Status`), and answer
//! what it asks (the session): directories, secrets, credentials, and where results go.

mod agents;
mod cache_mounts;
mod caches;
mod call;
mod context;
mod csv;
mod definition;
mod failure;
mod layout;
mod options;
mod outputs;
mod picture;
mod policy;
mod progress;
mod result;
mod session;
mod solve;
mod wire;

pub(crate) use progress::{Display, Mode, Step, Trace, seconds};
pub(crate) use solve::{control, refused};

use std::io::Write as _;
use std::sync::Arc;

use buildkit::control::SolveRequest;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::args::BuildArgs;
use crate::client::Client;
use crate::error::{Error, Result};
use call::Asked;
use session::Session;
use solve::{Ended, Solving};

/// The front end of Dockerfiles.
pub(crate) const FRONTEND: &str = "dockerfile.v0";
/// What asks our builder why steps were or were not cached; others do not know it.
const EXPLAIN: &str = "dhow.explain";
/// The option that has the provenance told with what came of a build.
const TELL_PROVENANCE: &str = "dhow.tell-provenance";
/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: i32 = 130;

/// An id that nobody guesses.
pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    let failed =
        |err: rustix::io::Errno| Error::Io { what: "getrandom".into(), source: err.into() };
    let mut n = 0;
    while n < bytes.len() {
        n += getrandom(&mut bytes[n..], GetRandomFlags::empty()).map_err(failed)?;
    }
    Ok(data_encoding::BASE32_DNSSEC.encode(&bytes))
}

/// `build`.
pub(crate) async fn build(client: &Client, args: &BuildArgs) -> Result<i32> {
    let mode = Mode::choose(args.progress.as_deref(), args.quiet)?;
    let asked = Asked::parse(args)?;
    definition::check(args)?;
    let attrs = options::attributes(args)?;
    let entitlements = options::entitlements(args)?;
    let outputs = outputs::parse(args, &args.allow)?;
    let agents = agents::prepare(&args.ssh)?;
    let secrets = options::secrets(&args.secret)?;
    let caches = caches::parse(args)?;
    let mounts = cache_mounts::parse(&args.cache_mount)?;
    let context = context::prepare(args)?;
    let session = Session {
        directories: context.directories,
        secrets,
        agents: agents.by_id.clone(),
        targets: outputs.targets,
        upload: context.upload,
        read_ahead: context.read_ahead,
        stores: caches.stores.clone().into_iter().chain(context.stores).collect(),
    };
    let opened = solve::open(client, session, &context.key).await?;
    let mut request = SolveRequest {
        r#ref: random_id()?,
        session: opened.session,
        frontend: FRONTEND.to_owned(),
        frontend_attrs: attrs.into_iter().chain(context.attrs).collect(),
        cache: caches.options.clone(),
        entitlements,
        source_policy: policy::of_environment()?,
        proxy_network: args.proxy_network,
        ..SolveRequest::default()
    };
    let title = format!("building with {}", solve::name(client));
    let mut display = Display::new(mode, &title);
    if let Some(asked) = asked {
        return call::call((opened.control, opened.channel), request, &asked, display).await;
    }
    if let Some(path) = &args.definition {
        request.definition = Some(definition::read(path)?);
        request.frontend.clear();
        // What is attested does not depend on a front end.
        request.frontend_attrs.retain(|option, _| option.starts_with("attest:"));
    } else if args.explain {
        request.frontend_attrs.insert(EXPLAIN.into(), "1".into());
    }
    if args.metadata_file.is_some() {
        request.frontend_attrs.insert(TELL_PROVENANCE.into(), "1".into());
    }
    if let Err(error) = mounts.bring(client).await {
        mounts.leave(client).await;
        return Err(error);
    }
    request.frontend_attrs.extend(mounts.attrs());
    if let [only] = &outputs.exporters[..] {
        request.exporter_deprecated.clone_from(&only.r#type);
        request.exporter_attrs_deprecated.clone_from(&only.attrs);
    }
    request.exporters = outputs.exporters;
    let id = request.r#ref.clone();
    let ended = Solving::new(opened.control, request).run(&mut display).await;
    display.finish();
    display.warnings(args.debug);
    let response = match ended {
        Ended::Done(response) => response,
        other => {
            mounts.leave(client).await;
            return failed(other);
        }
    };
    let kept = mounts.keep(client).await;
    mounts.leave(client).await;
    caches.finish(&response)?;
    kept?;
    if args.explain {
        let as_json = args.format.as_deref() == Some("json");
        print!("{}", crate::builder::explain::render(&display.trace, as_json));
    }
    if let Some(path) = args.graph.as_deref() {
        crate::builder::graph::write(&display.trace, path)?;
    }
    result::write(args, &id, &response, &display.trace)?;
    if args.quiet || mode == Mode::Quiet {
        result::print_id(&response);
    }
    push(client, &outputs.push, args).await?;
    drop(agents);
    Ok(0)
}

async fn push(client: &Client, names: &[String], args: &BuildArgs) -> Result<()> {
    for name in names {
        let push = crate::args::PushArgs {
            name: name.clone(),
            quiet: args.quiet,
            all_tags: false,
            disable_content_trust: Some(true),
            platform: None,
        };
        crate::registry::push(client, &push).await?;
    }
    Ok(())
}

/// Says what went wrong, in Docker's words.
pub(crate) fn failed(ended: Ended) -> Result<i32> {
    let (text, code) = match ended {
        Ended::Done(_) => return Ok(0),
        Ended::Interrupted => (
            "ERROR: failed to build: failed to solve: Canceled: context canceled\n".into(),
            INTERRUPTED,
        ),
        Ended::Failed(status) => {
            let places = failure::places(&status);
            let mut text: String = places.iter().map(failure::Place::shown).collect();
            let message = failure::message(&status);
            text += &format!("ERROR: failed to build: failed to solve: {message}\n");
            (text, 1)
        }
    };
    _ = std::io::stderr().write_all(text.as_bytes());
    Err(Error::Exit(code))
}

/// A session that answers for as long as the build goes on.
pub(crate) type Shared = Arc<Session>;
