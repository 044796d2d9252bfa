//! `prune`, of one kind of thing and of all.

use docker::filters::Filters;
use serde_json::{Value, json};

use crate::args::{PruneArgs, SystemPruneArgs};
use crate::client::{Client, encode};
use crate::config;
use crate::error::{Error, Result};
use crate::format::human;
use crate::request;

/// `container prune` and its kin.
pub(crate) async fn prune(client: &Client, args: &PruneArgs, what: &str) -> Result<i32> {
    let warning = match what {
        "containers" => "all stopped containers",
        "images" if args.all => "all images without at least one container associated to them",
        "images" => "all dangling images",
        "networks" => "all custom networks not used by at least one container",
        _ if args.all => "all local volumes not used by at least one container",
        _ => "anonymous local volumes not used by at least one container",
    };
    if !args.force && !confirmed(&format!("WARNING! This will remove {warning}."))? {
        return Ok(0);
    }
    let mut filters = wanted(&args.filter)?;
    if what == "images" {
        filters.add("dangling", (!args.all).to_string());
    } else if args.all {
        filters.add("all", "true");
    }
    if let Some(bytes) = ask(client, what, &filters, args.all).await? {
        println!("Total reclaimed space: {}", human::total(bytes));
    }
    Ok(0)
}

/// The filters of the flags, and those that `config.json` has for every prune: but for the label that
/// is wanted there and not wanted here, or the other way round.
fn wanted(flags: &[String]) -> Result<Filters> {
    with_usual(flags, &config::get().prune_filters)
}

fn with_usual(flags: &[String], usual: &[String]) -> Result<Filters> {
    let mut all = flags.to_vec();
    for filter in usual {
        let opposite = match filter.split_once('=') {
            Some(("label", label)) => Some(format!("label!={label}")),
            Some(("label!", label)) => Some(format!("label={label}")),
            _ => None,
        };
        if !opposite.is_some_and(|opposite| flags.contains(&opposite)) {
            all.push(filter.clone());
        }
    }
    request::filters(&all)
}

/// `system prune`: containers first, so that what only they used can go after them.
pub(crate) async fn system(client: &Client, args: &SystemPruneArgs) -> Result<i32> {
    let filters = wanted(&args.filter)?;
    if args.volumes && filters.get("until").next().is_some() {
        let why = "the \"until\" filter is not supported with \"--volumes\"";
        return Err(Error::Usage(why.into()));
    }
    let mut kinds = vec![
        ("containers", "all stopped containers"),
        ("networks", "all networks not used by at least one container"),
    ];
    if args.volumes {
        kinds.push(("volumes", "all anonymous volumes not used by at least one container"));
    }
    kinds.push((
        "images",
        if args.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        },
    ));
    kinds.push(("build", if args.all { "all build cache" } else { "unused build cache" }));
    let mut warning = "WARNING! This will remove:".to_owned();
    for (_, what) in &kinds {
        warning.push_str(&format!("\n  - {what}"));
    }
    if !args.filter.is_empty() {
        let shown: Vec<String> = args.filter.iter().map(|one| human::printable(one)).collect();
        warning.push_str(&format!(
            "\n\n  Items to be pruned will be filtered with:\n  - {}",
            shown.join("\n  - ")
        ));
    }
    warning.push('\n');
    if !args.force && !confirmed(&warning)? {
        return Ok(0);
    }
    let mut reclaimed = 0_i64;
    for (what, _) in kinds {
        let mut filters = filters.clone();
        if what == "images" {
            filters.add("dangling", (!args.all).to_string());
        }
        let freed = ask(client, what, &filters, args.all).await?.unwrap_or(0);
        reclaimed = reclaimed.saturating_add(freed);
    }
    println!("Total reclaimed space: {}", human::total(reclaimed));
    Ok(0)
}

/// Has things of one kind pruned, and prints what went. Bytes, where they are counted.
async fn ask(client: &Client, what: &str, filters: &Filters, all: bool) -> Result<Option<i64>> {
    let deleted = match what {
        "containers" => "ContainersDeleted",
        "images" => "ImagesDeleted",
        "networks" => "NetworksDeleted",
        "build" => "CachesDeleted",
        _ => "VolumesDeleted",
    };
    let mut path = format!("/{what}/prune?filters={}", encode(&filters.to_json()));
    if what == "build" {
        path.push_str(&format!("&all={}", u8::from(all)));
    }
    let report: Value = client.post(&path, &json!({})).await?;
    let gone = report[deleted].as_array().map(Vec::as_slice).unwrap_or_default();
    if !gone.is_empty() {
        let (first, rest) = deleted.split_at(deleted.len() - "Deleted".len());
        // Docker's own word for these.
        let first = if what == "build" { "build cache objects" } else { first };
        println!("{rest} {first}:");
        for item in gone {
            match (item.as_str(), item["Untagged"].as_str()) {
                (Some(name), _) => println!("{name}"),
                (None, Some(name)) => println!("untagged: {name}"),
                _ => println!("deleted: {}", item["Deleted"].as_str().unwrap_or_default()),
            }
        }
        println!();
    }
    Ok(report["SpaceReclaimed"].as_i64())
}

/// Asks a person.
pub(crate) fn confirmed(warning: &str) -> Result<bool> {
    use std::io::{BufRead as _, Write as _};
    print!("{warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stdout().flush().map_err(Error::io("write to standard output"))?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(Error::io("read from standard input"))?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_for_good_are_added() {
        let of = |flags: &[&str], usual: &[&str]| {
            let owned = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
            with_usual(&owned(flags), &owned(usual)).unwrap().to_json()
        };
        assert_eq!(of(&[], &["label!=keep"]), of(&["label!=keep"], &[]));
        assert_eq!(of(&["until=1h"], &["label=a"]), of(&["until=1h", "label=a"], &[]));
        assert_eq!(of(&["label=keep"], &["label!=keep"]), of(&["label=keep"], &[]));
        assert_eq!(of(&["label!=a"], &["label=a", "label=b"]), of(&["label!=a", "label=b"], &[]));
    }
}
