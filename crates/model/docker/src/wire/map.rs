//! A Go map.

use std::{
    collections::{BTreeMap, btree_map},
    ops::{Deref, DerefMut},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A Go `map[string]V`: knows whether it is nil (`null` on the wire) or empty (`{}`). Keys are
/// sorted, as Go writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map<V> {
    nil: bool,
    map: BTreeMap<String, V>,
}

impl<V> Map<V> {
    /// The nil map: `null` on the wire.
    pub const NIL: Self = Self { nil: true, map: BTreeMap::new() };

    /// An empty map: `{}` on the wire.
    pub const fn empty() -> Self {
        Self { nil: false, map: BTreeMap::new() }
    }

    /// Whether the map is nil (and not just empty).
    pub fn is_nil(&self) -> bool {
        self.nil && self.map.is_empty()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The same, with nil turned into empty.
    pub fn or_empty(self) -> Self {
        Self { nil: false, ..self }
    }

    /// The entries.
    pub fn into_map(self) -> BTreeMap<String, V> {
        self.map
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self::NIL
    }
}

impl<V> Deref for Map<V> {
    type Target = BTreeMap<String, V>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl<V> DerefMut for Map<V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.map
    }
}

impl<V> From<BTreeMap<String, V>> for Map<V> {
    fn from(map: BTreeMap<String, V>) -> Self {
        Self { nil: false, map }
    }
}

impl<V> FromIterator<(String, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(items: I) -> Self {
        Self { nil: false, map: items.into_iter().collect() }
    }
}

impl<V> IntoIterator for Map<V> {
    type Item = (String, V);
    type IntoIter = btree_map::IntoIter<String, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.map.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Map<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = btree_map::Iter<'a, String, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.map.iter()
    }
}

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.is_nil() { to.serialize_none() } else { self.map.serialize(to) }
    }
}

impl<'de, V: Deserialize<'de> + Default> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let map = Option::<BTreeMap<String, Option<V>>>::deserialize(from)?;
        Ok(map.map_or(Self::NIL, |map| {
            map.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()
        }))
    }
}
