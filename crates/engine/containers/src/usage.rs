//! What volumes take, for `system df`.

use std::collections::BTreeMap;

use docker::filters::Filters;
use docker::volume::{UsageData, Volume};

use crate::engine::Engine;
use crate::mounting::VOLUME;
use crate::record::Container;
use crate::{Error, copy};

impl Engine {
    /// All volumes, with their sizes and how many containers name each.
    pub fn volumes_with_usage(&self) -> Result<Vec<Volume>, Error> {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for row in self.shared.db.read(metadata::Read::containers)? {
            for mounting in Container::from_row(row)?.record.mounts {
                if mounting.point.kind == VOLUME {
                    *counts.entry(mounting.point.name).or_default() += 1;
                }
            }
        }
        let mut volumes = self.volumes(&Filters::default())?;
        for volume in &mut volumes {
            let size = copy::size(&self.volume_data(&volume.name));
            volume.usage_data = Some(UsageData {
                ref_count: counts.get(&volume.name).copied().unwrap_or_default(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
            });
        }
        Ok(volumes)
    }
}
