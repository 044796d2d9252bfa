//! Front ends that are images: a program that is asked for a graph over its standard input and output.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use buildgraph::{Exec, Image, Layout, Network, Source};
use containers::{StepMount, StepSource};
use dockerfile::convert::named_context;
use oci::image::ImageConfig;
use oci::{ChainId, Digest};

use crate::container::{Container, Process, Program};
use crate::frontend::answers::input_config;
use crate::frontend::{caps, files};
use crate::output::Output;
use crate::tell::{Listeners, phase_told};
use crate::{Build, Error, source};

/// What says that it needs no network.
const NO_NETWORK: &str = "moby.buildkit.frontend.network.none";
/// What says what it can do.
const CAPS: &str = "moby.buildkit.frontend.caps";
/// The program of an image that names none.
const PROGRAM: &str = "/run";
/// Where it finds what it is itself.
const ABOUT: &str = "/run/config/buildkit/metadata/frontend.bin";

/// A front end that is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuestRequest {
    /// Its image.
    pub image: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Variables that it has beside those of its image and its options.
    pub env: Vec<String>,
    /// What it is given to build on, by the names of results.
    pub inputs: BTreeMap<String, String>,
}

/// A front end that runs. It ends when this is dropped.
#[derive(Debug)]
pub struct Guest {
    /// What it runs in.
    pub container: Container,
    /// It.
    pub process: Process,
    /// Where is shown what it says.
    pub shown: GuestLog,
}

/// Where a front end is.
enum Place {
    /// An image of this name.
    Image(String),
    /// An image in a layout of the client's.
    Layout(String, Digest),
    /// An input of its own, by its name and its result's.
    Input(String, String),
}

/// A front end that was found.
struct Found {
    source: Source,
    chain: Vec<ChainId>,
    config: ImageConfig,
}

/// Where is shown what a front end says, beside what it speaks with the builder.
#[derive(Clone, Debug)]
pub struct GuestLog(Listeners);

impl GuestLog {
    /// Shows something.
    pub fn show(&self, data: &[u8]) {
        self.0.log(2, data);
    }
}

impl Build {
    async fn front_end(
        &self,
        place: Place,
        asked: &GuestRequest,
        listeners: &Listeners,
    ) -> Result<Found, Error> {
        let (source, config) = match place {
            Place::Image(name) => {
                let how = self.shared.resolve_mode();
                let found = source::resolve(&self.shared, &name, None, how, listeners);
                let (found, _) = found.await?;
                let (digest, id) = (found.manifest, Some(found.id));
                let image = Image { digest, id, ..Image::named(name, how) };
                let source = Source::Image(image);
                return Ok(Found { source, chain: found.chain, config: found.config });
            }
            Place::Layout(store, digest) => {
                let found = source::layout::resolve(&self.shared, &store, &digest, None).await?;
                let (digest, id) = (found.digest, Some(found.id));
                (
                    Source::Layout(Layout { name: store.clone(), store, digest, id, layers: None }),
                    found.config,
                )
            }
            Place::Input(input, result) => {
                let config = input_config(&asked.options, &input)?.unwrap_or_default();
                (Source::Result(result), *config)
            }
        };
        let result = match &source {
            Source::Result(result) => result.clone(),
            _ => files::bring(self, source.clone(), &format!("load the front end {}", asked.image)),
        };
        match self.shared.whole(&result).await? {
            Output::Layers(chain) => Ok(Found { source, chain, config }),
            _ => Err(Error::NotYet("a front end that is a directory".into())),
        }
    }

    /// Starts a front end. Of the client's it has its options, and nothing else.
    ///
    /// # Errors
    ///
    /// Its image cannot be had or run, or it lacks what is asked of it: it is named.
    /// `described` says of what it is in a form that it can read.
    pub async fn guest(
        &self,
        asked: &GuestRequest,
        described: impl FnOnce(&Source) -> Vec<u8>,
    ) -> Result<Guest, Error> {
        let guests = &self.shared.guests;
        guests.lock().unwrap_or_else(PoisonError::into_inner).note(&asked.options)?;
        let in_place = match in_place(asked) {
            Some(spec) => read(&spec, asked),
            None => Ok(Place::Image(asked.image.clone())),
        };
        let in_place = in_place.map_err(|error| of_guest(&asked.image, error))?;
        let shown = match &in_place {
            Place::Image(image) => format!("resolve image config for docker-image://{image}"),
            _ => format!("load the front end {}", asked.image),
        };
        let mut heard = Listeners::default();
        let found = phase_told(&self.shared, &shown, |listeners| {
            heard = listeners.clone();
            async move { self.front_end(in_place, asked, &listeners).await }
        });
        let Found { source, chain, config } =
            found.await.map_err(|error| of_guest(&asked.image, error))?;
        check(asked, &config)?;
        if let Some(top) = chain.last().cloned() {
            let held =
                self.shared.blocking(move |build| build.builder.cache.hold(&build.lease, &top));
            held.await?;
        }
        let process = &config.config;
        let program = program(asked, &config);
        let is_set = |key: &str| process.labels.get(key).is_some_and(|value| is_true(value));
        let network = if is_set(NO_NETWORK) { Network::None } else { Network::Default };
        let exec = Exec { network, ..Exec::default() };
        let inputs = vec![Output::Layers(chain)];
        let about = StepMount {
            target: ABOUT.into(),
            readonly: true,
            subpath: String::new(),
            source: StepSource::Secret { bytes: described(&source), uid: 0, gid: 0, mode: 0o400 },
        };
        let container = Container::new(&self.shared, exec, inputs).with(about);
        let process = container.start(program).await;
        let process = process.map_err(|error| of_guest(&asked.image, error))?;
        Ok(Guest { container, process, shown: GuestLog(heard) })
    }
}

/// The context that is in the place of a front end's image.
fn in_place(asked: &GuestRequest) -> Option<String> {
    let contexts = asked.options.iter();
    let contexts = contexts.filter_map(|(key, value)| {
        key.strip_prefix("context:").map(|name| (name.to_owned(), value.clone()))
    });
    named_context(&contexts.collect(), &asked.image, images::host_platform()).cloned()
}

impl GuestRequest {
    /// Whether something else is in the place of its image.
    pub fn is_replaced(&self) -> bool {
        in_place(self).is_some()
    }
}

fn read(spec: &str, asked: &GuestRequest) -> Result<Place, Error> {
    let (kind, rest) = spec.split_once(':').unwrap_or(("", spec));
    match kind {
        "docker-image" => Ok(Place::Image(rest.trim_start_matches('/').to_owned())),
        "oci-layout" => {
            let (store, digest) = rest.trim_start_matches('/').split_once('@').unwrap_or_default();
            let digest: Digest = digest
                .parse()
                .map_err(|error| Error::Invalid(format!("the layout {rest}: {error}")))?;
            let store = store.split(':').next().unwrap_or(store).to_owned();
            Ok(Place::Layout(store, digest))
        }
        "input" => {
            let result = asked.inputs.get(rest).cloned();
            let result = result.ok_or_else(|| Error::Invalid(format!("invalid input {rest}")))?;
            Ok(Place::Input(rest.to_owned(), result))
        }
        _ => Err(Error::NotYet(format!("a front end that is {spec}"))),
    }
}

/// As Go's `strconv.ParseBool` has it.
pub(crate) fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn program(asked: &GuestRequest, config: &ImageConfig) -> Program {
    let process = &config.config;
    let mut env = process.env.clone();
    let options = asked.options.iter().enumerate();
    env.extend(
        options.map(|(at, (key, value))| format!("BUILDKIT_FRONTEND_OPT_{at}={key}={value}")),
    );
    env.extend(asked.env.iter().cloned());
    let args = match process.entrypoint.clone().unwrap_or_default() {
        args if args.is_empty() => vec![PROGRAM.to_owned()],
        args => args,
    };
    let cwd = process.working_dir.clone();
    Program { args, env, cwd, stdin: true, ..Program::default() }
}

/// Whether a front end can do what is asked of it.
fn check(asked: &GuestRequest, config: &ImageConfig) -> Result<(), Error> {
    let has = config.config.labels.get(CAPS).map(|text| caps::names(text)).unwrap_or_default();
    let mut needs = caps::demanded(&asked.options);
    if !asked.inputs.is_empty() {
        needs.insert(caps::TAKES_INPUTS.to_owned());
    }
    match needs.difference(&has).next() {
        Some(missing) => Err(Error::NoCap { front_end: asked.image.clone(), cap: missing.clone() }),
        None => Ok(()),
    }
}

fn of_guest(image: &str, error: Error) -> Error {
    match error {
        Error::Cancelled => Error::Cancelled,
        error => Error::Guest { image: image.to_owned(), source: Box::new(error) },
    }
}
