//! The front end: from a Dockerfile to a graph.

pub(crate) mod answers;
mod calls;
pub(crate) mod caps;
pub(crate) mod files;
pub(crate) mod picture;
mod time;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use buildgraph::{Graph, Op};
use dockerfile::check;
use dockerfile::convert::{Built, Context, Conversion, Next, Options, Round};
use dockerfile::ignore;
use oci::image::Platform;
use serde::Serialize;

use self::answers::Where;
use self::calls::Call;
use crate::build::Asked;
use crate::event::{Event, Source, Warning};
use crate::export::{CONFIG, EPOCH, Solved};
use crate::request::FrontendRequest;
use crate::{Attestations, Build, Error, explain};

/// A platform of several, as exporters read it.
#[derive(Serialize)]
struct OnePlatform {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Platform")]
    platform: Platform,
}

#[derive(Serialize)]
struct Platforms {
    #[serde(rename = "Platforms")]
    platforms: Vec<OnePlatform>,
}

/// What a build is made from, before anything of it is carried out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// The Dockerfile.
    pub source: Source,
    /// The stages that are needed, by their places in it.
    pub stages: Vec<usize>,
}

/// A front end that is asked for in place of this one, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Syntax {
    /// Its image.
    pub image: String,
    /// What was said of it: its image, and perhaps more.
    pub cmdline: String,
    /// Where; `None`: not in a file.
    pub place: Option<(Source, Vec<buildgraph::Range>)>,
}

/// The version of BuildKit that this builder is the one of, as far as it goes.
pub const BUILDKIT: &str = "v0.26.3";
/// The version of BuildKit's front end of Dockerfiles that this one is the one of, as far as it goes.
pub const DOCKERFILE: &str = "1.20.0";
/// The build argument that asks for another front end.
const SYNTAX: &str = "build-arg:BUILDKIT_SYNTAX";
/// That another front end was asked for already.
const CMDLINE: &str = "cmdline";

/// What was read for a build.
struct Read {
    options: Options,
    platforms: Vec<Platform>,
    source: Source,
    asked: Asked,
    /// Why it is not known what is left out of the context.
    no_ignore: Option<Error>,
}

impl Read {
    /// Whether a graph takes something from a context of which too little is known: why.
    fn missed(&mut self, graph: &Graph) -> Option<Error> {
        let Context::Local { name, .. } = &self.options.context else { return None };
        let name = self.options.local(name).name;
        let is_it = |op: &Op| match op {
            Op::Source(buildgraph::Source::Local(one)) => one.name == name,
            _ => false,
        };
        self.no_ignore.take_if(|_| graph.vertices().any(|(_, vertex)| is_it(&vertex.op)))
    }
}

impl Build {
    /// Reads the Dockerfile. What is wrong with it in itself, or with its context, is told here.
    pub async fn recipe(&self, request: &FrontendRequest) -> Result<Recipe, Error> {
        let read = self.read(request).await?;
        if let Some(error) = read.no_ignore {
            return Err(error);
        }
        let round = Conversion::new(&read.source.data, read.options).round();
        match round.next {
            Ok(_) => Ok(Recipe { source: read.source, stages: round.stages }),
            Err(error) => Err(Error::dockerfile(&error, &read.source)),
        }
    }

    /// The front end that the Dockerfile, or who asks for the build, wants in place of this one.
    pub async fn syntax(&self, request: &FrontendRequest) -> Result<Option<Syntax>, Error> {
        caps::check(&request.options, true)?;
        if request.options.contains_key(CMDLINE) {
            return Ok(None);
        }
        let image =
            |cmdline: &str| cmdline.split_ascii_whitespace().next().unwrap_or_default().to_owned();
        if let Some(cmdline) = request.options.get(SYNTAX) {
            let image = image(cmdline);
            return Ok(Some(Syntax { image, cmdline: cmdline.clone(), place: None }));
        }
        let source = self.read(request).await?.source;
        let text = String::from_utf8_lossy(&source.data);
        let Some(found) = dockerfile::syntax(&text) else { return Ok(None) };
        let lines = buildgraph::Range { start: found.lines.first, end: found.lines.last };
        let (image, cmdline) = (image(&found.value), found.value);
        Ok(Some(Syntax { image, cmdline, place: Some((source, vec![lines])) }))
    }

    /// Makes a graph of a Dockerfile, and names its results. Nothing is carried out but what it takes
    /// to read the Dockerfile, and to know the images that it names.
    pub async fn solve(&self, request: &FrontendRequest) -> Result<Solved, Error> {
        caps::check(&request.options, false)?;
        Attestations::of(&request.options)?;
        request.cache_from.iter().for_each(|option| self.shared.remote.add(option));
        let mut read = self.read(request).await?;
        let explains = request.options.contains_key(explain::OPTION);
        self.shared.explains.store(explains, Ordering::Relaxed);
        if let Some(call) = Call::of(&request.options)? {
            let Read { options, platforms, source, .. } = read;
            return self.call(call, request, options, platforms.first(), source).await;
        }
        let source = Arc::new(std::mem::take(&mut read.source));
        let asked = Arc::new(std::mem::take(&mut read.asked));
        let platforms = std::mem::take(&mut read.platforms);
        let mut solved = Solved::default();
        let mut several: Vec<Option<Platform>> = platforms.into_iter().map(Some).collect();
        if several.is_empty() {
            // An index has to say of what platform its only image is.
            several.push(read.options.multi_platform.then(|| Platform::native().normalized()));
        }
        let platforms: Vec<Platform> = several.iter().flatten().cloned().collect();
        for (at, platform) in several.into_iter().enumerate() {
            read.options.target_platform.clone_from(&platform);
            let conversion = Conversion::new(&source.data, read.options.clone());
            // It is one Dockerfile: what is to be said of it is said once.
            let built = self.convert(conversion, request, &source, at == 0).await?;
            if let Some(error) = read.missed(&built.graph) {
                return Err(error);
            }
            self.add(&mut solved, &read.options, platform.as_ref(), built, &source)?;
            if let Some((_, Some(id))) = solved.refs.last() {
                self.shared.set_asked(id, Arc::clone(&asked));
            }
        }
        if read.options.multi_platform {
            let platforms = platforms
                .into_iter()
                .map(|platform| OnePlatform { id: platform.to_string(), platform })
                .collect();
            let bytes = serde_json::to_vec(&Platforms { platforms });
            solved.metadata.insert("refs.platforms".into(), bytes.map_err(|e| invalid(&e))?);
        }
        Ok(solved)
    }

    async fn read(&self, request: &FrontendRequest) -> Result<Read, Error> {
        let (mut options, platforms) =
            Options::of_frontend(&request.options).map_err(|problem| invalid(&problem))?;
        *self.shared.resolve.lock().unwrap_or_else(PoisonError::into_inner) = options.resolve;
        let outside = files::outside(self, request).await?;
        if let Some(outside) = &outside {
            options.context = Context::Made(outside.context.clone());
            options.context_origin = Some(outside.origin.clone());
        }
        let files = files::read(self, request, outside.as_ref(), &options.context).await?;
        if let Some(text) = &files.ignore {
            options.ignore = ignore::read(text);
        }
        let source = Source { filename: files.filename, data: files.dockerfile };
        let asked = files::asked(request, outside.as_ref(), &options.context);
        let no_ignore = files.no_ignore;
        Ok(Read { options, platforms, source, asked, no_ignore })
    }

    /// Carries a conversion on until nothing is missing any more.
    async fn convert(
        &self,
        conversion: Conversion,
        request: &FrontendRequest,
        source: &Source,
        warns: bool,
    ) -> Result<Built, Error> {
        let round = self.rounds(conversion, request, Where::Anywhere).await?;
        if warns {
            self.warn(&round.warnings, source);
        }
        match round.next {
            Ok(Next::Done(built)) => Ok(*built),
            Ok(Next::Ask(_)) => Err(Error::Lost("the front end")),
            Err(error) => Err(Error::dockerfile(&error, source)),
        }
    }

    /// The last round of a conversion, in which nothing is asked any more.
    async fn rounds(
        &self,
        mut conversion: Conversion,
        request: &FrontendRequest,
        place: Where,
    ) -> Result<Round, Error> {
        loop {
            let round = conversion.round();
            let Ok(Next::Ask(asks)) = round.next else { return Ok(round) };
            for (ask, answer) in answers::find(self, request, asks, place).await? {
                conversion.give(ask, answer);
            }
        }
    }

    fn warn(&self, warnings: &[check::Warning], source: &Source) {
        for warning in warnings {
            let lines = buildgraph::Range { start: warning.lines.first, end: warning.lines.last };
            self.shared.progress.tell(Event::Warning(Warning {
                vertex: None,
                level: 1,
                short: short(warning),
                detail: vec![warning.rule.description().to_owned()],
                url: warning.rule.url(),
                source: Some(source.clone()),
                lines: vec![lines],
            }));
        }
    }

    fn add(
        &self,
        solved: &mut Solved,
        options: &Options,
        platform: Option<&Platform>,
        built: Built,
        source: &Arc<Source>,
    ) -> Result<(), Error> {
        let config = serde_json::to_vec(&built.image).map_err(|error| invalid(&error))?;
        let graph = Arc::new(built.graph);
        let reference = built.result;
        let called =
            |vertex| self.reference_of(Arc::clone(&graph), vertex, Some(Arc::clone(source)));
        let reference = reference.map(called);
        if let Some(id) = &reference {
            let scanned =
                built.scanned.into_iter().map(|(part, vertex)| (part, vertex.map(called)));
            self.shared.set_scanned(id, scanned.collect());
        }
        let name = match platform {
            Some(platform) if options.multi_platform => platform.to_string(),
            _ => String::new(),
        };
        let key = |of: &str| match name.as_str() {
            "" => of.to_owned(),
            name => format!("{of}/{name}"),
        };
        solved.metadata.insert(key(CONFIG), config);
        if let Some(epoch) = built.epoch {
            solved.metadata.insert(key(EPOCH), epoch.to_string().into_bytes());
        }
        solved.refs.push((name, reference));
        Ok(())
    }
}

/// A warning in a line, as clients show it.
fn short(warning: &check::Warning) -> String {
    let text = format!("{}: {}", warning.rule.name(), warning.text);
    match warning.lines.first {
        0 => text,
        line => format!("{text} (line {line})"),
    }
}

fn invalid(error: &dyn std::error::Error) -> Error {
    Error::Invalid(docker::error::chain(error))
}

impl Error {
    /// What is wrong with a Dockerfile, with the lines that it is about.
    fn dockerfile(error: &dockerfile::Error, source: &Source) -> Self {
        let lines = error
            .lines
            .iter()
            .map(|lines| buildgraph::Range { start: lines.first, end: lines.last });
        Self::Dockerfile { text: error.to_string(), file: source.clone(), lines: lines.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_its_line() {
        let lines = |first| dockerfile::Lines { first, last: first };
        let warning = |first| check::Warning {
            rule: check::Rule::StageNameCasing,
            text: "Stage name 'A' should be lowercase".into(),
            lines: lines(first),
        };
        let text = "StageNameCasing: Stage name 'A' should be lowercase";
        assert_eq!(short(&warning(2)), format!("{text} (line 2)"));
        assert_eq!(short(&warning(0)), text);
    }
}
