//! The build cache, as messages have it.

use build::{CacheRecord, Filter, Pruning};
use buildkit::control::{PruneRequest, UsageRecord};
use tonic::Status;

use crate::clock::{now, timestamp};
use crate::failure;

/// What is shown of something in the cache.
pub(crate) fn record(record: CacheRecord) -> UsageRecord {
    #[allow(deprecated, reason = "older clients look there")]
    UsageRecord {
        id: record.id,
        mutable: record.mutable,
        in_use: record.in_use,
        size: i64::try_from(record.size).unwrap_or(i64::MAX),
        parent: String::new(),
        created_at: Some(timestamp(record.created)),
        last_used_at: Some(timestamp(record.used)),
        usage_count: i64::try_from(record.uses).unwrap_or(i64::MAX),
        description: record.description,
        record_type: record.kind,
        shared: record.shared,
        parents: record.parents,
    }
}

/// Conditions, as containerd writes them: one of them has to be met.
pub(crate) fn filters(texts: &[String]) -> Result<Vec<Filter>, Status> {
    let texts = texts.iter().filter(|text| !text.is_empty());
    let parse = |text: &String| Filter::parse(text).map_err(|error| failure::status(&error));
    texts.map(parse).collect()
}

/// Whether something is asked for; `oldest` is the longest time, in nanoseconds, since it was used (0:
/// any).
pub(crate) fn is_wanted(record: &CacheRecord, filters: &[Filter], oldest: i64) -> bool {
    let is_recent = oldest <= 0 || now().saturating_sub(record.used) <= oldest;
    is_recent && (filters.is_empty() || filters.iter().any(|filter| filter.says_yes(record)))
}

/// What is to go.
pub(crate) fn pruning(asked: &PruneRequest) -> Result<Pruning, Status> {
    let bytes = |n: i64| {
        u64::try_from(n).map_err(|_| Status::invalid_argument(format!("{n} bytes to keep")))
    };
    let reserved = bytes(asked.reserved_space)?;
    let min_free = bytes(asked.min_free_space)?;
    let max_used = match bytes(asked.max_used_space)? {
        // As BuildKit takes it: what is to stay is all that may.
        0 if min_free == 0 => reserved,
        max_used => max_used,
    };
    Ok(Pruning {
        all: asked.all,
        unused_for: Some(asked.keep_duration).filter(|time| *time > 0),
        max_used,
        min_free,
        reserved,
        filters: filters(&asked.filter)?,
    })
}
