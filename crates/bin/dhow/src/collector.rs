//! What the daemon does from time to time: it cleans up what calls that failed have left, and collects
//! images where that is asked for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use containers::Engine;
use docker::gc::{Policy, Report};
use serde::Deserialize;

use crate::host::chain;

/// Between two times, where no policy says otherwise.
const HOUR: Duration = Duration::from_hours(1);

/// The key that is about this; the others are not ours to judge.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    image_gc: Option<String>,
}

/// The policy of the flag, else of the engine's settings; without one there is no collection.
pub(crate) fn policy(flag: Option<&str>, settings: &Path) -> Result<Option<Policy>, String> {
    let (text, place) = match flag {
        Some(flag) => (Some(flag.to_owned()), "--image-gc".to_owned()),
        None => (of_file(settings)?, format!("\"image-gc\" in \"{}\"", settings.display())),
    };
    let parsed = text.map(|text| Policy::parse(&text)).transpose();
    parsed.map_err(|err| format!("{place}: {err}"))
}

fn of_file(path: &Path) -> Result<Option<String>, String> {
    let failed = |why: String| format!("\"{}\": {why}", path.display());
    match std::fs::read(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(failed(err.to_string())),
        Ok(bytes) => {
            let file: File =
                serde_json::from_slice(&bytes).map_err(|err| failed(err.to_string()))?;
            Ok(file.image_gc)
        }
    }
}

/// Cleans up and collects, now and then again each time that the policy says. Never ends; what goes
/// wrong, and which images went, is told on standard error.
pub(crate) async fn run(engine: Arc<Engine>, policy: Option<Policy>) {
    let every =
        policy.as_ref().map_or(HOUR, |policy| Duration::from_nanos(policy.every.unsigned_abs()));
    run_each(every, engine, policy).await;
}

async fn run_each(every: Duration, engine: Arc<Engine>, policy: Option<Policy>) {
    loop {
        let (store, once) = (Arc::clone(engine.images()), policy.clone());
        let work = move || {
            // What a command of our own finds when it begins, nobody looks for while a daemon runs.
            store.sweep()?;
            once.map_or_else(
                || Ok::<_, images::Error>(Report::default()),
                |policy| store.gc(&policy, false),
            )
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(report)) => {
                for one in &report.removed {
                    let (names, size) = (one.names.join(", "), one.size);
                    let (id, reason) = (&one.id, &one.reason);
                    eprintln!("dhow: removed image {id} ({names}), {size} bytes: {reason}");
                }
            }
            Ok(Err(err)) => eprintln!("dhow: collect images: {}", chain(&err)),
            Err(err) => eprintln!("dhow: collect images: {err}"),
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
            () = run_each(Duration::from_millis(3), engine, None) => panic!("it ended"),
            () = three_times => {}
        }
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn only_its_own_key_is_read() {
        let path = std::env::temp_dir().join(format!("dhow-collector-{}.json", std::process::id()));
        for (text, want) in [
            (r#"{"image-gc": "max-age=30d", "log-driver": 1}"#, Ok(Some("max-age=30d".to_owned()))),
            (r#"{"registry-mirrors": []}"#, Ok(None)),
            (r#"{"image-gc": 30}"#, Err(())),
            ("{", Err(())),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(of_file(&path).map_err(drop), want, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(of_file(&path), Ok(None));
        assert!(policy(Some("max-age=soon"), &path).unwrap_err().starts_with("--image-gc: "));
    }
}
