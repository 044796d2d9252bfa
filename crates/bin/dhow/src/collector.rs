//! What the daemon does from time to time: it cleans up what calls that failed have left, and collects
//! images and containers by policies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cli::DaemonArgs;
use containers::Engine;
use docker::gc::{Collected, Policy, Report, Subject};
use serde::Deserialize;

use crate::host::chain;
use crate::places;

/// Between two times, where no policy says otherwise.
const HOUR: Duration = Duration::from_hours(1);

/// The keys that are about this; the others are not ours to judge.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    image_gc: Option<String>,
    container_gc: Option<String>,
}

/// What is collected when.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    images: Option<Policy>,
    containers: Option<Policy>,
}

impl Policies {
    /// Those of the flags, else of the engine's settings, else the usual ones.
    pub(crate) fn of(args: &DaemonArgs, settings: &Path) -> Result<Self, String> {
        let file: File = places::read_settings(settings)?;
        let choose = |subject: Subject, key: &str, flag: &Option<String>, set: Option<String>| {
            let (text, place) = match (flag, set) {
                (Some(flag), _) => (flag.clone(), format!("--{key}")),
                (None, Some(set)) => (set, format!("\"{key}\" in \"{}\"", settings.display())),
                (None, None) => (subject.usual().to_owned(), "the usual policy".to_owned()),
            };
            if text == "off" {
                return Ok(None);
            }
            Policy::parse(&text, subject).map(Some).map_err(|err| format!("{place}: {err}"))
        };
        Ok(Self {
            images: choose(Subject::Images, "image-gc", &args.image_gc, file.image_gc)?,
            containers: choose(
                Subject::Containers,
                "container-gc",
                &args.container_gc,
                file.container_gc,
            )?,
        })
    }
}

/// Cleans up and collects, now and then again each time that the policies say. Never ends; what goes
/// wrong, and what went, is told on standard error.
pub(crate) async fn run(engine: Arc<Engine>, policies: Policies) {
    tokio::join!(
        // What a command of our own finds when it begins, nobody looks for while a daemon runs.
        again(HOUR, &engine, "clean up", |engine| {
            engine.images().sweep()?;
            Ok(Vec::new())
        }),
        collect(&engine, policies.images, "image", |engine, policy| {
            Ok(engine.images().gc(policy, false)?)
        }),
        collect(&engine, policies.containers, "container", |engine, policy| {
            engine.collect(policy, false)
        }),
    );
}

async fn collect(
    engine: &Arc<Engine>,
    policy: Option<Policy>,
    what: &'static str,
    by: fn(&Engine, &Policy) -> Result<Report, containers::Error>,
) {
    let Some(policy) = policy else { return };
    let every = Duration::from_nanos(policy.every.unsigned_abs());
    again(every, engine, what, move |engine| {
        let line = |one: Collected| {
            let (names, size, id, reason) = (one.names.join(", "), one.size, one.id, one.reason);
            format!("removed {what} {id} ({names}), {size} bytes: {reason}")
        };
        Ok(by(engine, &policy)?.removed.into_iter().map(line).collect())
    })
    .await;
}

/// Does some work on a thread for such, and again after each wait. Says what it has to say.
async fn again(
    every: Duration,
    engine: &Arc<Engine>,
    what: &str,
    work: impl Fn(&Engine) -> Result<Vec<String>, containers::Error> + Clone + Send + 'static,
) {
    loop {
        let (engine, once) = (Arc::clone(engine), work.clone());
        match tokio::task::spawn_blocking(move || once(&engine)).await {
            Ok(Ok(lines)) => lines.iter().for_each(|line| eprintln!("dhow: {line}")),
            Ok(Err(err)) => eprintln!("dhow: collect ({what}): {}", chain(&err)),
            Err(err) => eprintln!("dhow: collect ({what}): {err}"),
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_left_is_swept_each_time() {
        let place = std::env::temp_dir().join(format!("dhow-sweeps-{}", std::process::id()));
        let config = containers::EngineConfig {
            root: place.join("root"),
            state: place.join("state"),
            exe: std::env::current_exe().unwrap(),
            embedded: &[],
            driver: None,
            settings: containers::Settings::default(),
            starts: false,
        };
        let engine = Arc::new(Engine::open(config).unwrap());
        // What a removal left whose process died.
        let left = place.join("root/snapshots/trash/4194305-0");
        let three_times = async {
            for _ in 0..3 {
                let new = place.join("new");
                std::fs::create_dir_all(new.join("fs/dir")).unwrap();
                std::fs::rename(new, &left).unwrap();
                while left.exists() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        tokio::select! {
            () = again(Duration::from_millis(3), &engine, "", |engine| {
                engine.images().sweep()?;
                Ok(Vec::new())
            }) => panic!("it ended"),
            () = three_times => {}
        }
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn only_its_own_keys_are_read() {
        let path = std::env::temp_dir().join(format!("dhow-collector-{}.json", std::process::id()));
        let of = |flag: Option<&str>| {
            let args =
                DaemonArgs { container_gc: flag.map(str::to_owned), ..DaemonArgs::default() };
            Policies::of(&args, &path)
        };
        for (text, images, containers) in [
            (r#"{"image-gc": "max-age=30d", "log-driver": 1}"#, true, true),
            (r#"{"registry-mirrors": [], "container-gc": "off"}"#, true, false),
            (r#"{"image-gc": "off", "container-gc": "max-age=1d"}"#, false, true),
            ("", true, true),
        ] {
            std::fs::write(&path, text).unwrap();
            let policies = of(None).unwrap();
            assert_eq!(policies.images.is_some(), images, "{text}");
            assert_eq!(policies.containers.is_some(), containers, "{text}");
            assert!(of(Some("off")).unwrap().containers.is_none());
        }
        for text in [r#"{"image-gc": 30}"#, "{", r#"{"container-gc": "max-age=soon"}"#] {
            std::fs::write(&path, text).unwrap();
            assert!(of(None).is_err(), "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(of(None).unwrap().containers.is_some());
        assert!(of(Some("max-age=soon")).unwrap_err().starts_with("--container-gc: "));
    }
}
