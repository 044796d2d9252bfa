//! Limits in other words, for who has them set by another (systemd) before they are written.

use crate::device::{DeviceRule, Exceptions};
use crate::encode::{io_weight, swap_max, weight_of_shares};
use crate::error::Error;
use crate::resources::{Cpu, Io, Limit, Memory};

impl Memory {
    /// v2's limit on swap, which is without memory.
    pub fn swap_alone(&self) -> Result<Option<Limit>, Error> {
        swap_max(self)
    }
}

impl Cpu {
    /// v2's weight, 1 to 10000.
    pub fn weight(&self) -> Option<u64> {
        self.shares.filter(|shares| *shares != 0).map(weight_of_shares)
    }
}

impl Io {
    /// v2's weight, 1 to 10000.
    pub fn weight_v2(&self) -> Option<u64> {
        self.weight.map(io_weight)
    }
}

/// The devices that rules allow, where all others are denied. `None` for rules that allow all but
/// some, or that no such list can hold.
pub fn allowed_devices(rules: &[DeviceRule]) -> Option<Vec<DeviceRule>> {
    let all = Exceptions::of(rules).ok().filter(|all| !all.allow_by_default)?;
    Some(all.rules)
}
