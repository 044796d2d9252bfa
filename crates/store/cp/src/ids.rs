//! Ids of a user namespace.

/// How the ids in an archive are told from those of the files: as in a user namespace whose files are
/// looked at from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Users: the first in the archive, the first of the files, how many. Empty: they are the same.
    pub uids: Vec<(u32, u32, u32)>,
    /// Groups.
    pub gids: Vec<(u32, u32, u32)>,
}

/// Nobody: who has no id in the namespace.
const NOBODY: u32 = 65_534;

/// From the archive to a file.
pub(crate) fn outside(maps: &[(u32, u32, u32)], id: u32) -> u32 {
    find(maps.iter().map(|&(inside, outside, n)| (inside, outside, n)), maps.is_empty(), id)
}

/// From a file to the archive.
pub(crate) fn inside(maps: &[(u32, u32, u32)], id: u32) -> u32 {
    find(maps.iter().map(|&(inside, outside, n)| (outside, inside, n)), maps.is_empty(), id)
}

fn find(maps: impl Iterator<Item = (u32, u32, u32)>, same: bool, id: u32) -> u32 {
    if same {
        return id;
    }
    let mut found = maps.filter_map(|(from, to, n)| {
        let offset = id.checked_sub(from).filter(|offset| *offset < n)?;
        to.checked_add(offset)
    });
    found.next().unwrap_or(NOBODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let maps = [(0, 100_000, 1000), (1000, 5, 1)];
        assert_eq!((outside(&maps, 33), inside(&maps, 100_033)), (100_033, 33));
        assert_eq!((outside(&maps, 1000), inside(&maps, 5)), (5, 1000));
        assert_eq!((outside(&maps, 2000), inside(&maps, 0)), (NOBODY, NOBODY));
        assert_eq!((outside(&[], 7), inside(&[], 7)), (7, 7));
    }
}
