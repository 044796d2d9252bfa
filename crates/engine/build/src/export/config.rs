//! The configuration of a result: what the front end says, with the layers and times of what was made.
//!
//! As BuildKit's exporter does it (`exporter/containerimage/writer.go`), so that the same Dockerfile
//! has the same history.

use docker::timestamp::Timestamp;
use metadata::Layer;
use oci::image::{History, ImageConfig, RootFs};

/// What is written of a layer that the front end's history does not know.
const COMMENT: &str = "buildkit.exporter.image.v0";

/// What a step on the way to a result has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// What is written in the history, should the front end have nothing.
    pub(super) created_by: String,
    /// It made a layer, and did not leave all as it was.
    pub(super) has_layer: bool,
}

/// Completes a configuration. `made` is of the steps above the base, lowest first; `epoch` is the
/// latest time that anything is to have, seconds since 1970.
pub(super) fn complete(
    config: &mut ImageConfig,
    layers: &[Layer],
    made: &[Made],
    epoch: Option<i64>,
) {
    let diff_ids = layers.iter().map(|layer| layer.diff.clone()).collect();
    config.rootfs = RootFs { diff_ids, ..RootFs::default() };
    // That is what its base was made of.
    config.container = None;
    mark_empty(&mut config.history, made);
    fit(&mut config.history, layers, made);
    let with_layer = config.history.iter_mut().filter(|entry| !entry.empty_layer);
    for (entry, layer) in with_layer.zip(layers) {
        entry.created.get_or_insert_with(|| time(layer.created, epoch));
    }
    fill_times(&mut config.history);
    let last = config.history.iter().rev().find_map(|entry| entry.created.clone());
    config.created = match (epoch, config.created.take()) {
        (Some(epoch), _) => Some(time(epoch.saturating_mul(1_000_000_000), None)),
        (None, Some(stated)) => Some(stated),
        (None, None) => last,
    };
}

/// Has the history say that all above the lowest `n_base` layers is one layer now.
pub(super) fn squash(config: &mut ImageConfig, n_base: usize) -> Vec<Made> {
    let with_layer = config.history.iter_mut().filter(|entry| !entry.empty_layer);
    let mut n_squashed = 0;
    for entry in with_layer.skip(n_base) {
        entry.empty_layer = true;
        n_squashed += 1;
    }
    let comment = Some(format!("{n_squashed} layers as one"));
    config.history.push(History { comment, ..History::default() });
    vec![Made { created_by: String::new(), has_layer: true }]
}

/// A step that changed nothing has no layer: its entry says so.
fn mark_empty(history: &mut [History], made: &[Made]) {
    let with_layer = history.iter_mut().rev().filter(|entry| !entry.empty_layer);
    for (entry, made) in with_layer.zip(made.iter().rev()) {
        entry.empty_layer = !made.has_layer;
    }
}

/// Has as many entries with a layer as there are layers.
fn fit(history: &mut Vec<History>, layers: &[Layer], made: &[Made]) {
    let n_with_layer = history.iter().filter(|entry| !entry.empty_layer).count();
    let too_many = n_with_layer.saturating_sub(layers.len());
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer).take(too_many) {
        entry.empty_layer = true;
    }
    let n_missing = layers.len().saturating_sub(n_with_layer);
    // The topmost layers are those of the last steps; below them is a base that has no history.
    let names: Vec<&Made> = made.iter().filter(|one| one.has_layer).collect();
    for n_above in (0..n_missing).rev() {
        let name = names.len().checked_sub(n_above + 1).map(|idx| names[idx].created_by.clone());
        history.push(History {
            created_by: name,
            comment: Some(COMMENT.into()),
            ..History::default()
        });
    }
}

/// Entries without a time have that of the first new layer after them, or else of the last one.
fn fill_times(history: &mut [History]) {
    let (mut created, mut is_missing) = (None, false);
    for entry in history.iter() {
        match &entry.created {
            Some(time) => {
                created = Some(time.clone());
                if is_missing {
                    break;
                }
            }
            None => is_missing = true,
        }
    }
    let mut is_missing = false;
    for entry in history {
        match &entry.created {
            Some(time) if is_missing => created = Some(time.clone()),
            Some(_) => {}
            None => {
                is_missing = true;
                entry.created.clone_from(&created);
            }
        }
    }
}

/// A time as text; no later than `epoch`, seconds since 1970.
fn time(nanos: i64, epoch: Option<i64>) -> String {
    let latest = epoch.map_or(i64::MAX, |epoch| epoch.saturating_mul(1_000_000_000));
    Timestamp::from_nanos(nanos.min(latest)).to_string()
}

#[cfg(test)]
mod tests {
    use oci::{ChainId, DiffId, Digest};

    use super::*;

    fn layer(name: &str, created: i64) -> Layer {
        let digest = Digest::sha256(name.as_bytes());
        let created = created * 1_000_000_000;
        Layer {
            chain: ChainId(digest.clone()),
            diff: DiffId(digest),
            parent: None,
            size: 1,
            created,
        }
    }

    fn entry(created_by: &str, created: Option<&str>, empty_layer: bool) -> History {
        History {
            created_by: Some(created_by.into()),
            created: created.map(Into::into),
            empty_layer,
            ..History::default()
        }
    }

    fn made(has_layer: bool) -> Made {
        Made { created_by: "step".into(), has_layer }
    }

    fn lines(config: &ImageConfig) -> Vec<String> {
        let line = |entry: &History| {
            let created = entry.created.as_deref().unwrap_or("-");
            let by = entry.created_by.as_deref().unwrap_or("-");
            format!("{created} {by}{}", if entry.empty_layer { " (empty)" } else { "" })
        };
        config.history.iter().map(line).collect()
    }

    #[test]
    fn entries_get_the_times_of_their_layers() {
        let mut config = ImageConfig {
            history: vec![
                entry("base", Some("1970-01-01T00:00:01Z"), false),
                entry("ENV", None, true),
                entry("RUN", None, false),
                entry("CMD", None, true),
            ],
            ..ImageConfig::default()
        };
        complete(&mut config, &[layer("a", 1), layer("b", 2)], &[made(true)], None);
        assert_eq!(
            lines(&config),
            [
                "1970-01-01T00:00:01Z base",
                "1970-01-01T00:00:02Z ENV (empty)",
                "1970-01-01T00:00:02Z RUN",
                "1970-01-01T00:00:02Z CMD (empty)",
            ]
        );
        assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:02Z"));
        assert_eq!(config.rootfs.diff_ids.len(), 2);
    }

    #[test]
    fn a_step_that_changed_nothing_has_no_layer() {
        let mut config = ImageConfig {
            history: vec![entry("RUN a", None, false), entry("RUN true", None, false)],
            ..ImageConfig::default()
        };
        complete(&mut config, &[layer("a", 1)], &[made(true), made(false)], None);
        assert_eq!(
            lines(&config),
            ["1970-01-01T00:00:01Z RUN a", "1970-01-01T00:00:01Z RUN true (empty)"]
        );
    }

    #[test]
    fn layers_that_the_history_does_not_know_are_added_to_it() {
        let mut config = ImageConfig::default();
        complete(&mut config, &[layer("a", 1)], &[made(true)], None);
        assert_eq!(lines(&config), ["1970-01-01T00:00:01Z step"]);
        assert_eq!(config.history[0].comment.as_deref(), Some(COMMENT));
    }

    #[test]
    fn what_is_squashed_is_one_layer_above_the_base() {
        let mut config = ImageConfig {
            history: vec![
                entry("base", Some("1970-01-01T00:00:01Z"), false),
                entry("RUN a", None, false),
                entry("CMD", None, true),
                entry("RUN b", None, false),
            ],
            ..ImageConfig::default()
        };
        let made = squash(&mut config, 1);
        complete(&mut config, &[layer("a", 1), layer("ab", 3)], &made, None);
        assert_eq!(
            lines(&config),
            [
                "1970-01-01T00:00:01Z base",
                "1970-01-01T00:00:03Z RUN a (empty)",
                "1970-01-01T00:00:03Z CMD (empty)",
                "1970-01-01T00:00:03Z RUN b (empty)",
                "1970-01-01T00:00:03Z -",
            ]
        );
        assert_eq!(config.history[4].comment.as_deref(), Some("2 layers as one"));
    }

    #[test]
    fn nothing_is_later_than_the_epoch() {
        let history = vec![entry("RUN a", None, false)];
        let mut config = ImageConfig { history, ..ImageConfig::default() };
        complete(&mut config, &[layer("a", 100)], &[made(true)], Some(50));
        assert_eq!(lines(&config), ["1970-01-01T00:00:50Z RUN a"]);
        assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:50Z"));
    }
}
