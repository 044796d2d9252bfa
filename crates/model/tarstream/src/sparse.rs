//! Maps of sparse files.

use crate::{Segment, number};

/// Four numbers of twelve bytes: two pieces of an old GNU map. Ends at the first empty field.
pub(crate) fn parse_gnu(fields: &[u8], map: &mut Vec<Segment>) -> Result<(), String> {
    for piece in fields.chunks_exact(24) {
        let (offset, len) = piece.split_at(12);
        // An unused piece, and with it the end.
        if offset[0] == 0 || len[0] == 0 {
            return Ok(());
        }
        let number = |field| number::parse(field).and_then(|value| u64::try_from(value).ok());
        match (number(offset), number(len)) {
            (Some(offset), Some(len)) => map.push(Segment { offset, len }),
            _ => return Err("its sparse map has a malformed number".into()),
        }
    }
    Ok(())
}

/// Numbers in turn: offset, length, offset, length (`GNU.sparse.map`, and format 1.0).
pub(crate) fn from_numbers(numbers: &[u64]) -> Result<Vec<Segment>, String> {
    if !numbers.len().is_multiple_of(2) {
        return Err("its sparse map has an offset without a length".into());
    }
    Ok(numbers.chunks_exact(2).map(|pair| Segment { offset: pair[0], len: pair[1] }).collect())
}

/// Holds that the pieces are in order, do not overlap, end where the file ends, and are together as long
/// as the data in the archive. Empty pieces, which writers add to mark the end, are dropped.
pub(crate) fn check(map: Vec<Segment>, size: u64, stored: u64) -> Result<Vec<Segment>, String> {
    let (mut end, mut total) = (0u64, 0u64);
    for piece in &map {
        let next = piece.offset.checked_add(piece.len).filter(|next| *next <= size);
        let Some(next) = next.filter(|_| piece.offset >= end) else {
            return Err("its sparse map is out of order or goes beyond its end".into());
        };
        end = next;
        total += piece.len;
    }
    // Some readers make the file as long as its size says, others as its map says.
    if end != size {
        return Err(format!("its sparse map ends at byte {end}, but it has {size}"));
    }
    if total != stored {
        return Err(format!("its sparse map covers {total} bytes, but it has {stored}"));
    }
    Ok(map.into_iter().filter(|piece| piece.len > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_fit() {
        let map = |pairs: &[(u64, u64)]| {
            pairs.iter().map(|&(offset, len)| Segment { offset, len }).collect::<Vec<_>>()
        };
        assert_eq!(check(map(&[(0, 5), (9, 1), (20, 0)]), 20, 6).unwrap().len(), 2);
        for (pairs, size, stored) in [
            (&[(0, 5), (4, 1)][..], 20, 6),
            (&[(5, 5), (0, 1)], 20, 6),
            (&[(0, 21)], 20, 21),
            (&[(u64::MAX, 1)], 20, 1),
            (&[(0, 5), (20, 0)], 20, 6),
            (&[(0, 5), (20, 0)], 20, 4),
            (&[(0, 5)], 20, 5),
            (&[(0, 5), (19, 0)], 20, 5),
        ] {
            assert!(check(map(pairs), size, stored).is_err(), "{pairs:?}");
        }
    }
}
