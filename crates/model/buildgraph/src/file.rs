//! Changing files.

use serde::Serialize;

/// Changes, one after the other, as one layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct File {
    /// What is done.
    pub actions: Vec<Action>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Action {
    /// Copies from an input.
    Copy(Copy),
    /// Writes a file.
    MakeFile(MakeFile),
    /// Makes a directory.
    MakeDirectory(MakeDirectory),
    /// Makes a symbolic link.
    Symlink(Symlink),
    /// Removes something.
    Remove(Remove),
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Identity {
    /// By number.
    Id(u32),
    /// By a name in /etc/passwd or /etc/group of what is changed (the vertex's first input).
    Name(String),
    /// By a name in those of another input.
    NameIn {
        /// Which.
        input: usize,
        /// The name.
        name: String,
    },
}

/// Whose a file is to be. What is not said: a user's own group, or root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// Who.
    pub user: Option<Identity>,
    /// Which group.
    pub group: Option<Identity>,
}

/// Copying.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Copy {
    /// From which of the vertex's inputs. Input 0 is what is changed.
    pub input: usize,
    /// What of it: a path, or a pattern where `wildcards` says so.
    pub source: String,
    /// Where to. One that ends in `/` is a directory.
    pub destination: String,
    /// Whose it is to be; `None`: as it is in the source.
    pub owner: Option<Owner>,
    /// Its mode: octal, or as `chmod(1)` has it (`u=rwX,go=rX`); empty: as it is in the source.
    pub mode: String,
    /// The source is a link: what it leads to is copied.
    pub follow_links: bool,
    /// Of a directory its content is copied, not itself.
    pub contents_only: bool,
    /// The destination's directories are made where they are missing.
    pub create_destination: bool,
    /// The source is a pattern.
    pub wildcards: bool,
    /// A pattern may match nothing.
    pub may_be_empty: bool,
    /// An archive is unpacked.
    pub unpack: bool,
    /// What is no archive that can be read is an error, where one is to be unpacked.
    pub has_to_unpack: bool,
    /// The source's own directories are kept below the destination; a part `./` in it says from where.
    pub parents: bool,
    /// Patterns of what is copied; none: all.
    pub include: Vec<String>,
    /// Patterns of what is not.
    pub exclude: Vec<String>,
    /// What has to be there, beside the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// What is in the way goes, also where a directory comes in place of a file.
    pub replace: bool,
    /// When it was written last, for all: nanoseconds since 1970; `None`: as in the source.
    pub time: Option<i64>,
}

/// Writing a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MakeFile {
    /// Which.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// What is in it.
    pub data: Vec<u8>,
    /// Whose it is to be.
    pub owner: Option<Owner>,
    /// Nanoseconds since 1970; `None`: the time of the build.
    pub time: Option<i64>,
}

/// Making a directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MakeDirectory {
    /// Which. One that is there already stays as it is.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// Those above it, too.
    pub parents: bool,
    /// Whose it is to be.
    pub owner: Option<Owner>,
    /// Nanoseconds since 1970; `None`: the time of the build.
    pub time: Option<i64>,
}

/// Making a symbolic link.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Symlink {
    /// What it says.
    pub target: String,
    /// Where.
    pub path: String,
    /// Whose it is to be.
    pub owner: Option<Owner>,
    /// Nanoseconds since 1970; `None`: the time of the build.
    pub time: Option<i64>,
}

/// Removing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Remove {
    /// What: a path, or a pattern where `wildcards` says so.
    pub path: String,
    /// It may be missing.
    pub may_be_missing: bool,
    /// The path is a pattern.
    pub wildcards: bool,
}

impl File {
    /// The inputs that are copied from, or in which names are looked up.
    pub fn inputs(&self) -> impl Iterator<Item = usize> {
        let copied = self.actions.iter().filter_map(|action| match action {
            Action::Copy(copy) => Some(copy.input),
            _ => None,
        });
        copied.chain(self.named())
    }

    /// The inputs, beside the first, in which names of users are looked up.
    pub fn named(&self) -> impl Iterator<Item = usize> {
        let owners = self.actions.iter().filter_map(Action::owner);
        owners.flat_map(|owner| [&owner.user, &owner.group]).filter_map(|identity| match identity {
            Some(Identity::NameIn { input, .. }) => Some(*input),
            _ => None,
        })
    }
}

impl Action {
    /// Whose what it makes is to be.
    pub fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Copy(action) => action.owner.as_ref(),
            Self::MakeFile(action) => action.owner.as_ref(),
            Self::MakeDirectory(action) => action.owner.as_ref(),
            Self::Symlink(action) => action.owner.as_ref(),
            Self::Remove(_) => None,
        }
    }
}
