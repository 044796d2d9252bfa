//! A Go slice.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A Go slice: a list that knows whether it is nil (`null` on the wire) or empty (`[]`).
///
/// It reads like a slice; only writing it to JSON shows the difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T>(Option<Vec<T>>);

impl<T> List<T> {
    /// The nil list: `null` on the wire.
    pub const NIL: Self = Self(None);

    /// An empty list: `[]` on the wire.
    pub fn empty() -> Self {
        Self(Some(Vec::new()))
    }

    /// Whether the list is nil (and not just empty).
    pub fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(Vec::is_empty)
    }

    /// Appends; a nil list becomes one with an element.
    pub fn push(&mut self, value: T) {
        self.0.get_or_insert_default().push(value);
    }

    /// The elements; none for nil.
    pub fn into_vec(self) -> Vec<T> {
        self.0.unwrap_or_default()
    }

    /// The same, with nil turned into empty.
    pub fn or_empty(self) -> Self {
        Self(Some(self.into_vec()))
    }

    /// The elements as a growable vector; nil becomes empty.
    pub fn as_mut_vec(&mut self) -> &mut Vec<T> {
        self.0.get_or_insert_default()
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::NIL
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(list: Vec<T>) -> Self {
        Self(Some(list))
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(Some(items.into_iter().collect()))
    }
}

impl<T> Extend<T> for List<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_some() {
            self.as_mut_vec().extend(items);
        }
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let list = Option::<Vec<Option<T>>>::deserialize(from)?;
        Ok(Self(list.map(|list| list.into_iter().map(Option::unwrap_or_default).collect())))
    }
}
