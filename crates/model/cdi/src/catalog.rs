//! All specifications of a machine.

use std::collections::BTreeMap;

use crate::{Document, Edits, Error, Kind, Name};

/// The annotation with the class of a device.
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// A specification and where it is from.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path, for messages.
    pub path: String,
    /// How much it weighs: those of a later folder are meant before those of an earlier one.
    pub rank: usize,
    /// What it says.
    pub document: Document,
}

/// One device that can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The file that has it.
    pub file: &'a File,
    /// Which of the file's devices.
    pub index: usize,
}

/// The devices that the specifications of a machine have.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    files: Vec<File>,
    /// For each name the places with the highest rank: file and device. More than one is a conflict.
    devices: BTreeMap<Name, Vec<(usize, usize)>>,
}

impl Catalog {
    /// A catalogue of `files`. Those that are not valid have been left out by the caller.
    pub fn new(files: Vec<File>) -> Self {
        let mut devices: BTreeMap<Name, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            let Ok(kind) = file.document.kind.parse::<Kind>() else { continue };
            for (index, device) in file.document.devices.iter().enumerate() {
                let name = Name { kind: kind.clone(), device: device.name.clone() };
                let places = devices.entry(name).or_default();
                let rank = places.first().map(|&(other, _)| files[other].rank);
                match rank {
                    Some(rank) if rank > file.rank => {}
                    Some(rank) if rank == file.rank => places.push((at, index)),
                    _ => *places = vec![(at, index)],
                }
            }
        }
        Self { files, devices }
    }

    /// Every device that can be had, by name; those that two files claim are not among them.
    pub fn entries(&self) -> impl Iterator<Item = (&Name, Entry<'_>)> {
        self.devices.iter().filter_map(|(name, places)| match places.as_slice() {
            &[(file, index)] => Some((name, Entry { file: &self.files[file], index })),
            _ => None,
        })
    }

    /// The devices that a build means by `KIND=NAME`, by `KIND` (the first of them) or by `KIND=*` (all of them), as
    /// BuildKit has it. Where there is none: those that say of themselves that they are of a class of that name.
    pub fn meant(&self, text: &str) -> Vec<(&Name, Entry<'_>)> {
        let (kind, device) = text.split_once('=').unwrap_or((text, ""));
        let of_kind = self.entries().filter(|(name, _)| name.kind.to_string() == kind);
        let found: Vec<_> = match device {
            "" => of_kind.take(1).collect(),
            "*" => of_kind.collect(),
            device => of_kind.filter(|(name, _)| name.device == device).collect(),
        };
        if !found.is_empty() {
            return found;
        }
        let is_of_class = |entry: &Entry<'_>| entry.annotation(CLASS) == Some(text);
        self.entries().filter(|(_, entry)| is_of_class(entry)).collect()
    }

    /// The devices that two files of one folder have, which nobody can ask for.
    pub fn conflicts(&self) -> impl Iterator<Item = Error> {
        self.devices.iter().filter_map(|(name, places)| self.conflict(name, places))
    }

    fn conflict(&self, name: &Name, places: &[(usize, usize)]) -> Option<Error> {
        let &[(first, _), (second, _), ..] = places else { return None };
        Some(Error::Conflict {
            name: name.to_string(),
            first: self.files[first].path.clone(),
            second: self.files[second].path.clone(),
        })
    }

    /// The changes that `names` ask for together: for each file first what any of its devices
    /// needs, then what each device does, in the order of the names.
    ///
    /// # Errors
    /// All the names that are not there, or the first that two files have.
    pub fn resolve(&self, names: &[String]) -> Result<Edits, Error> {
        let mut edits = Edits::default();
        let mut missing = Vec::new();
        let mut seen: Vec<usize> = Vec::new();
        let mut given: Vec<(usize, usize)> = Vec::new();
        for text in names {
            let places = text.parse().ok().and_then(|name: Name| self.devices.get_key_value(&name));
            let Some((name, places)) = places else {
                missing.push(text.clone());
                continue;
            };
            if let Some(conflict) = self.conflict(name, places) {
                return Err(conflict);
            }
            let (file, index) = places[0];
            // Asked for twice, it is there once.
            if given.contains(&(file, index)) {
                continue;
            }
            given.push((file, index));
            let document = &self.files[file].document;
            if !seen.contains(&file) {
                seen.push(file);
                edits.append(&document.container_edits);
            }
            edits.append(&document.devices[index].container_edits);
        }
        if missing.is_empty() { Ok(edits) } else { Err(Error::Unresolvable(missing)) }
    }
}

impl Entry<'_> {
    /// What the device's file says of it.
    pub fn device(&self) -> &crate::Device {
        &self.file.document.devices[self.index]
    }

    /// What is noted of it, or else of all devices of its file.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        let (own, all) = (&self.device().annotations, &self.file.document.annotations);
        own.get(key).or_else(|| all.get(key)).map(String::as_str)
    }
}
