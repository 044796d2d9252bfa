//! The build cache: what is in it, and making room.

use ::build::{CacheRecord, Filter, Pruning};
use docker::system::BuildCache;
use docker::timestamp::Timestamp;
use docker::{List, filters::Filters};
use serde_json::json;

use crate::call::{Call, Reply, blocking, ok};
use crate::error::{Error, chain};
use crate::version::Version;

/// Filters of fields of a record.
const FIELDS: &[&str] = &["id", "parent", "type", "description"];
/// Those that only are there or not.
const FLAGS: &[&str] = &["inuse", "shared", "private"];
/// From here on `reserved-space` is called so.
const RENAMED: Version = Version(48);

/// All that is in it.
pub(crate) async fn usage(call: &Call) -> Result<List<BuildCache>, Error> {
    let Some(upgrades) = call.upgrades.clone() else { return Ok(List::empty()) };
    let look = move || {
        let builder = upgrades.builder().map_err(Error::internal)?;
        builder.usage().map_err(|error| Error::internal(chain(&error)))
    };
    Ok(blocking(look).await?.into_iter().map(record).collect())
}

fn record(record: CacheRecord) -> BuildCache {
    let time = |nanos: i64| Timestamp::from_nanos(nanos).to_string();
    BuildCache {
        id: record.id,
        parents: record.parents.into(),
        kind: record.kind,
        description: record.description,
        in_use: record.in_use,
        shared: record.shared,
        size: i64::try_from(record.size).unwrap_or(i64::MAX),
        created_at: time(record.created),
        last_used_at: Some(time(record.used)),
        usage_count: i64::try_from(record.uses).unwrap_or(i64::MAX),
    }
}

/// `POST /build/prune`
pub(crate) async fn prune(call: Call) -> Reply {
    let pruning = pruning(&call)?;
    let Some(upgrades) = call.upgrades.clone() else {
        return ok(&json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }));
    };
    let work = move || {
        let builder = upgrades.builder().map_err(Error::internal)?;
        builder.prune(&pruning).map_err(|error| Error::internal(chain(&error)))
    };
    let pruned = blocking(work).await?;
    let ids: Vec<String> = pruned.removed.into_iter().map(|record| record.id).collect();
    let reclaimed = pruned.reclaimed;
    let told = reclaimed.to_string();
    let tell = move |engine: &containers::Engine| {
        engine.tell_of("builder", "prune", "", &[("reclaimed", &told)]);
        Ok::<_, Error>(())
    };
    call.engine(tell).await?;
    let deleted = if ids.is_empty() { json!(null) } else { json!(ids) };
    ok(&json!({ "CachesDeleted": deleted, "SpaceReclaimed": reclaimed }))
}

fn pruning(call: &Call) -> Result<Pruning, Error> {
    let bytes = |key: &str| {
        match call.query.text(key) {
        "" => Ok(0),
        text => text.parse::<u64>().map_err(|_| {
            Error::invalid(format!(
                "{key} is in bytes and expects an integer, got {text}: strconv.Atoi: parsing {text:?}: \
                 invalid syntax"
            ))
        }),
    }
    };
    let mut reserved = bytes("reserved-space")?;
    if reserved == 0 || call.version < RENAMED {
        reserved = reserved.max(bytes("keep-storage")?);
    }
    let min_free = bytes("min-free-space")?;
    let max_used = match bytes("max-used-space")? {
        // As BuildKit takes it: what is to stay is all that may.
        0 if min_free == 0 => reserved,
        max_used => max_used,
    };
    let known: Vec<&str> = ["until", "unused-for", "label", "label!"]
        .iter()
        .chain(FIELDS)
        .chain(FLAGS)
        .copied()
        .collect();
    let filters = call.query.filters(&known).map_err(of_filters)?;
    let filter = match filters.get("label").next() {
        // Nothing in a cache has a label. (Docker passes such a filter over, and removes what it is not for.)
        Some(_) => Some(NOTHING.to_owned()),
        None => filter(&filters).map_err(of_filters)?,
    };
    let filter = filter.map(|text| Filter::parse(&text)).transpose();
    let filter = filter.map_err(|error| Error::invalid(chain(&error)))?;
    Ok(Pruning {
        all: call.query.bool("all"),
        unused_for: unused_for(&filters).map_err(of_filters)?,
        max_used,
        min_free,
        reserved,
        filters: filter.into_iter().collect(),
    })
}

/// A filter that nothing meets.
const NOTHING: &str = "id==\"\"";

/// Of a filter it is said what it was for.
fn of_filters(mut err: Error) -> Error {
    err.message.insert_str(0, "failed to prune build cache: ");
    err
}

/// How long something was not used that may go: nanoseconds.
fn unused_for(filters: &Filters) -> Result<Option<i64>, Error> {
    let mut given = Vec::new();
    for name in ["until", "unused-for"] {
        let mut values = filters.get(name);
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Err(Error::invalid("filters expect only one value"));
        }
        let instant = crate::until::instant(value).map_err(|err| {
            let what = "filter expects a duration (e.g., '24h') or a timestamp";
            Error::invalid(format!("\"{name}\" {what}: {}", err.message))
        })?;
        given.push(instant);
    }
    if given.len() > 1 {
        return Err(Error::invalid("conflicting filters: \"until\" and \"unused-for\""));
    }
    let now = Timestamp::from(std::time::SystemTime::now()).as_nanos();
    Ok(given.first().map(|until| now.saturating_sub(*until).max(0)))
}

/// Filters as BuildKit writes them, all of which have to be met.
fn filter(filters: &Filters) -> Result<Option<String>, Error> {
    let mut conditions = Vec::new();
    for name in FIELDS {
        let mut values = filters.get(name);
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Err(Error::invalid("filters expect only one value"));
        }
        if value.contains('"') {
            return Err(Error::invalid(format!("invalid filter {name}: {value}")));
        }
        let name = if *name == "parent" { "parents" } else { name };
        conditions.push(format!("{name}==\"{value}\""));
    }
    for name in FLAGS {
        if filters.get(name).next().is_some() {
            conditions.push((*name).to_owned());
        }
    }
    Ok((!conditions.is_empty()).then(|| conditions.join(",")))
}
