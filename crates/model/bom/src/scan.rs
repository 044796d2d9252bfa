//! Going through a tree's files.

use std::io::{Read, Seek};

use crate::os_release::OsRelease;
use crate::package::Package;
use crate::{apk, cargo, dpkg, elf, npm, python};

/// Packages of one tree at most: there are more in none that anybody uses, and in some that are made to be read.
pub const MOST_PACKAGES: usize = 50_000;

/// What a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Which system it is.
    OsRelease,
    /// dpkg's database, or a part of it.
    Dpkg,
    /// apk's database.
    Apk,
    /// A Python package's metadata.
    Python,
    /// A Node package's description.
    Npm,
    /// A lock file of npm's.
    NpmLock,
    /// A lock file of Cargo's.
    CargoLock,
    /// A program, which may say what it was built of.
    Program,
}

impl Interest {
    /// Of the file at `path`, from the top of the tree and without a slash before it; `None`: it is of none.
    pub fn of(path: &str, is_executable: bool) -> Option<Self> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = dir.rsplit('/').next().unwrap_or_default();
        let found = match (dir, name) {
            ("etc" | "usr/lib", "os-release") => Self::OsRelease,
            ("var/lib/dpkg", "status") => Self::Dpkg,
            ("var/lib/dpkg/status.d", name) if !name.ends_with(".md5sums") => Self::Dpkg,
            ("lib/apk/db" | "usr/lib/apk/db", "installed") => Self::Apk,
            (_, "METADATA") if parent.ends_with(".dist-info") => Self::Python,
            (_, "PKG-INFO") if parent.ends_with(".egg-info") => Self::Python,
            (_, name) if name.ends_with(".egg-info") => Self::Python,
            (_, "package.json") if is_module(dir) => Self::Npm,
            (_, "package-lock.json" | "npm-shrinkwrap.json" | ".package-lock.json") => {
                Self::NpmLock
            }
            (_, "Cargo.lock") => Self::CargoLock,
            _ if is_executable => Self::Program,
            _ => return None,
        };
        Some(found)
    }

    /// So many bytes a file of it has at most that is read; of a program only a few are.
    pub fn most(self) -> u64 {
        match self {
            Self::OsRelease => 64 << 10,
            Self::Python | Self::Npm => 4 << 20,
            // A document that is read as a whole takes several times its length.
            Self::NpmLock => 16 << 20,
            Self::Dpkg | Self::Apk | Self::CargoLock => 64 << 20,
            Self::Program => u64::MAX,
        }
    }
}

/// `.../node_modules/NAME`, `.../node_modules/@SCOPE/NAME`.
fn is_module(dir: &str) -> bool {
    let mut parts = dir.rsplit('/').skip(1);
    match parts.next() {
        Some("node_modules") => true,
        Some(scope) if scope.starts_with('@') => parts.next() == Some("node_modules"),
        _ => false,
    }
}

/// What has been found so far.
#[derive(Debug, Default)]
pub struct Scan {
    os: Option<OsRelease>,
    packages: Vec<Package>,
    is_cut: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// The system.
    pub os: Option<OsRelease>,
    /// All packages, each once, in their order.
    pub packages: Vec<Package>,
    /// There were more than are told.
    pub is_cut: bool,
}

impl Scan {
    /// Takes a file of interest, whole.
    pub fn file(&mut self, path: &str, interest: Interest, bytes: &[u8]) {
        let text = || String::from_utf8_lossy(bytes);
        match interest {
            Interest::OsRelease => {
                if self.os.is_none() {
                    self.os = OsRelease::parse(bytes);
                }
            }
            Interest::Dpkg => self.extend(dpkg::packages(&text(), path)),
            Interest::Apk => self.extend(apk::packages(&text(), path)),
            Interest::Python => self.extend(python::package(&text(), path)),
            Interest::Npm => self.extend(npm::package(bytes, path)),
            Interest::NpmLock => npm::locked(bytes, path, &mut |one| self.add(one)),
            Interest::CargoLock => cargo::locked(&text(), path, &mut |one| self.add(one)),
            Interest::Program => self.program(path, &mut std::io::Cursor::new(bytes)),
        }
    }

    fn extend(&mut self, packages: impl IntoIterator<Item = Package>) {
        for package in packages {
            self.add(package);
        }
    }

    /// Takes a program, of which little is read.
    pub fn program(&mut self, path: &str, file: &mut (impl Read + Seek)) {
        if let Some(section) = elf::section(file, b".dep-v0") {
            cargo::audited(&section, path, &mut |one| self.add(one));
        }
    }

    fn add(&mut self, package: Package) {
        if self.packages.len() < 2 * MOST_PACKAGES {
            self.packages.push(package);
        } else {
            self.is_cut = true;
        }
    }

    /// That was all: each package once, whoever says that it is there.
    pub fn finish(mut self) -> Scanned {
        self.packages.sort();
        let mut packages: Vec<Package> = Vec::new();
        // In their order, those that are the same are together: all before what a name says comes first.
        for package in self.packages {
            match packages.last_mut() {
                Some(last) if last.is_same(&package) => last.merge(package),
                _ => packages.push(package),
            }
        }
        let is_cut = self.is_cut || packages.len() > MOST_PACKAGES;
        packages.truncate(MOST_PACKAGES);
        Scanned { os: self.os, packages, is_cut }
    }
}
