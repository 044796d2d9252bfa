//! What the front end has to know before there is a graph: images, patterns, results.

use std::collections::BTreeMap;
use std::sync::Arc;

use buildgraph::{Image, Layout, Resolve, Source};
use data_encoding::BASE64;
use dockerfile::convert::{Answer, Ask};
use dockerfile::ignore;
use oci::Digest;
use oci::image::{History, ImageConfig, Platform};
use tokio::task::JoinSet;

use super::{files, time};
use crate::build::Shared;
use crate::cache::now;
use crate::event::{Event, VertexState};
use crate::export::CONFIG;
use crate::request::FrontendRequest;
use crate::tell::{Listeners, phase};
use crate::{Build, Error, source};

/// What is said of an input: what the build came to that made it.
const INPUT_METADATA: &str = "input-metadata:";

/// Where images are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// As the build says.
    Anywhere,
    /// Here alone. One that is not here has a configuration that says nothing.
    Here,
}

/// Answers, all at once.
pub(super) async fn find(
    build: &Build,
    request: &FrontendRequest,
    asks: Vec<Ask>,
    place: Where,
) -> Result<Vec<(Ask, Answer)>, Error> {
    let mut looking = JoinSet::new();
    let mut known = Vec::new();
    for ask in asks {
        match &ask {
            Ask::Image { reference, platform, shown } => {
                let (reference, platform) = (reference.clone(), platform.clone());
                let (shared, shown) = (Arc::clone(&build.shared), shown.clone());
                looking.spawn(async move {
                    let answer = match place {
                        Where::Anywhere => image(&shared, &reference, &platform, &shown).await?,
                        Where::Here => image_here(&shared, &reference, &platform).await?,
                    };
                    Ok::<_, Error>((ask, answer))
                });
            }
            Ask::Ignore { local, shown } => {
                let text = files::ignore_of(build, &request.options, local, shown).await?;
                let patterns = text.as_deref().map(ignore::read).unwrap_or_default();
                known.push((ask, Answer::Ignore(patterns)));
            }
            Ask::Input { name } => {
                let answer = match request.inputs.get(name) {
                    Some(result) => match input_config(&request.options, name) {
                        Ok(config) => Answer::Input { result: result.clone(), config },
                        Err(error) => Answer::Failed(docker::error::chain(&error)),
                    },
                    None => Answer::Failed(format!("invalid input {name}")),
                };
                known.push((ask, answer));
            }
            Ask::Layout { store, digest, platform, shown } => {
                let found = source::layout::resolve(&build.shared, store, digest, Some(platform));
                let answer = match phase(&build.shared, shown, found).await {
                    Ok(found) => Answer::Image {
                        config: Box::new(found.config),
                        digest: Some(found.digest),
                        id: Some(found.id),
                    },
                    Err(Error::Cancelled) => return Err(Error::Cancelled),
                    Err(error) => Answer::Failed(docker::error::chain(&error)),
                };
                known.push((ask, answer));
            }
            Ask::Time { source, shown } => {
                let found = match place {
                    Where::Anywhere => Box::pin(time::of(build, source, shown)).await,
                    Where::Here => Ok(None),
                };
                let answer = match found {
                    Ok(time) => Answer::Time(time),
                    Err(Error::Cancelled) => return Err(Error::Cancelled),
                    Err(error) => Answer::Failed(docker::error::chain(&error)),
                };
                known.push((ask, answer));
            }
        }
    }
    while let Some(looked) = looking.join_next().await {
        known.push(looked.map_err(|_| Error::Lost("a look at an image"))??);
    }
    Ok(known)
}

/// What an input's image is to be configured as, where that is said beside it: the metadata of the build that made it.
pub(crate) fn input_config(
    options: &BTreeMap<String, String>,
    input: &str,
) -> Result<Option<Box<ImageConfig>>, Error> {
    let Some(text) = options.get(&format!("{INPUT_METADATA}{input}")) else { return Ok(None) };
    let wrong = |why: &dyn std::fmt::Display| {
        Error::Invalid(format!("failed to parse input metadata of {input}: {why}"))
    };
    let metadata: BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|error| wrong(&error))?;
    let Some(config) = metadata.get(CONFIG) else { return Ok(None) };
    let bytes = BASE64.decode(config.as_bytes()).map_err(|error| wrong(&error))?;
    let config =
        ImageConfig::parse(&bytes).map_err(|error| wrong(&docker::error::chain(&error)))?;
    Ok(Some(Box::new(config)))
}

async fn image(
    shared: &Arc<Shared>,
    reference: &str,
    platform: &Platform,
    shown: &str,
) -> Result<Answer, Error> {
    let digest = Digest::sha256(format!("{shown} {reference} {platform}").as_bytes());
    let mut state = VertexState {
        digest: Some(digest.clone()),
        name: shown.to_owned(),
        started: Some(now()),
        ..VertexState::default()
    };
    shared.progress.tell(Event::Vertex(state.clone()));
    let listeners = Listeners::default();
    listeners.add(&digest, &shared.progress);
    let found = find_image(shared, reference, platform, &listeners).await;
    state.completed = Some(now());
    if let Err(error) = &found {
        state.error = docker::error::chain(error);
    }
    shared.progress.tell(Event::Vertex(state));
    Ok(match found {
        Ok(found) => found,
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        Err(error) => Answer::Failed(docker::error::chain(&error)),
    })
}

/// An image, or what is used in its place.
async fn find_image(
    shared: &Arc<Shared>,
    reference: &str,
    platform: &Platform,
    listeners: &Listeners,
) -> Result<Answer, Error> {
    let asked = Source::Image(Image::named(reference.to_owned(), shared.resolve_mode()));
    match Box::pin(shared.decided(&asked, Some(platform))).await? {
        Source::Image(Image { reference, resolve, .. }) => {
            let found = source::resolve(shared, &reference, Some(platform), resolve, listeners);
            let (image, _) = Box::pin(found).await?;
            let (config, id) = (Box::new(image.config), Some(image.id));
            Ok(Answer::Image { config, digest: image.manifest, id })
        }
        Source::Layout(layout) => {
            let Layout { store, digest, .. } = &layout;
            let found = source::layout::resolve(shared, store, digest, Some(platform));
            let found = Box::pin(found).await?;
            let (config, digest) = (Box::new(found.config), Some(found.digest));
            Ok(Answer::Image { config, digest, id: None })
        }
        other => Ok(Answer::Other(Box::new(other))),
    }
}

/// What is known of an image without asking anybody.
async fn image_here(
    shared: &Arc<Shared>,
    reference: &str,
    platform: &Platform,
) -> Result<Answer, Error> {
    if let Some(image) = source::here(shared, reference, Some(platform)).await? {
        return Ok(Answer::Image {
            config: Box::new(image.config),
            digest: image.manifest,
            id: Some(image.id),
        });
    }
    let config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        // One without any layer would be an empty root.
        history: vec![History::default()],
        ..ImageConfig::default()
    };
    Ok(Answer::Image { config: Box::new(config), digest: None, id: None })
}

impl Shared {
    /// Where images are looked for.
    pub(crate) fn resolve_mode(&self) -> Resolve {
        *self.resolve.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_configured_as_the_build_that_made_it_says() {
        let of = |text: &str| {
            input_config(&[("input-metadata:a".to_owned(), text.to_owned())].into(), "a")
        };
        let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":["A=b"]}}"#;
        let text =
            format!(r#"{{"{CONFIG}":"{}","other":"eA=="}}"#, BASE64.encode(config.as_bytes()));
        assert_eq!(of(&text).unwrap().unwrap().config.env, ["A=b"]);
        assert!(of("{}").unwrap().is_none());
        assert!(input_config(&BTreeMap::new(), "a").unwrap().is_none());
        for wrong in
            ["", "[]", &format!(r#"{{"{CONFIG}":"!"}}"#), &format!(r#"{{"{CONFIG}":"eA=="}}"#)]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
