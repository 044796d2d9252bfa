//! Front ends that are images: a program that is asked for a graph over its standard input and output.

use std::collections::{BTreeMap, BTreeSet};

use buildgraph::{Exec, Network};
use oci::image::ImageConfig;

use crate::container::{Container, Process, Program};
use crate::output::Output;
use crate::tell::{Listeners, phase_told};
use crate::{Build, Error, source};

/// What says that it needs no network.
const NO_NETWORK: &str = "moby.buildkit.frontend.network.none";
/// What says what it can do.
const CAPS: &str = "moby.buildkit.frontend.caps";
/// That it can be given results as its context.
const TAKES_INPUTS: &str = "moby.buildkit.frontend.inputs";
/// The program of an image that names none.
const PROGRAM: &str = "/run";

/// A front end that is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuestRequest {
    /// Its image.
    pub image: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Variables that it has beside those of its image and its options.
    pub env: Vec<String>,
    /// It is given results as inputs.
    pub has_inputs: bool,
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
    /// Starts a front end. Of the client's it has its options, and nothing else.
    ///
    /// # Errors
    ///
    /// Its image cannot be had or run, or it lacks what is asked of it: it is named.
    pub async fn guest(&self, asked: &GuestRequest) -> Result<Guest, Error> {
        let shown = format!("resolve image config for docker-image://{}", asked.image);
        let mut heard = Listeners::default();
        let found = phase_told(&self.shared, &shown, |listeners| {
            heard = listeners.clone();
            async move {
                let how = self.shared.resolve_mode();
                let found = source::resolve(&self.shared, &asked.image, None, how, &listeners);
                found.await.map(|(found, _)| found)
            }
        });
        let found = found.await.map_err(|error| of_guest(&asked.image, error))?;
        check(asked, &found.config)?;
        if let Some(top) = found.chain.last().cloned() {
            let held =
                self.shared.blocking(move |build| build.builder.cache.hold(&build.lease, &top));
            held.await?;
        }
        let process = &found.config.config;
        let program = program(asked, &found.config);
        let is_set = |key: &str| process.labels.get(key).is_some_and(|value| is_true(value));
        let network = if is_set(NO_NETWORK) { Network::None } else { Network::Default };
        let exec = Exec { network, ..Exec::default() };
        let inputs = vec![Output::Layers(found.chain)];
        let container = Container::new(&self.shared, exec, inputs);
        let process = container.start(program).await;
        let process = process.map_err(|error| of_guest(&asked.image, error))?;
        Ok(Guest { container, process, shown: GuestLog(heard) })
    }
}

/// As Go's `strconv.ParseBool` has it.
fn is_true(text: &str) -> bool {
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
    let names = |text: &str| -> BTreeSet<String> {
        let names = text.split(',').map(|cap| cap.split('+').next().unwrap_or_default());
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let has = config.config.labels.get(CAPS).map(|text| names(text)).unwrap_or_default();
    let mut needs = asked.options.get("frontend.caps").map(|text| names(text)).unwrap_or_default();
    if asked.has_inputs {
        needs.insert(TAKES_INPUTS.to_owned());
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
