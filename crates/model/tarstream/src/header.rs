//! One 512-byte header.

use crate::{BLOCK, number};

/// A header whose checksum is right; everything else in it is still anybody's word.
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

/// Which fields a header has besides those of V7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// None.
    V7,
    /// `prefix`, names of owners, device numbers.
    Ustar,
    /// The same with a shorter `prefix`.
    Star,
    /// No `prefix`; sparse maps.
    Gnu,
}

impl<'a> Header<'a> {
    /// Checks the sum, which old writers computed over signed bytes.
    pub(crate) fn new(block: &'a [u8; BLOCK]) -> Option<Self> {
        let stored = number::parse(&block[148..156])?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (place, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&place) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        (stored == unsigned || stored == signed).then_some(Self(block))
    }

    pub(crate) fn format(&self) -> Format {
        match (&self.0[257..265], &self.0[508..512]) {
            (b"ustar  \0", _) => Format::Gnu,
            (b"ustar\x0000", b"tar\0") => Format::Star,
            (b"ustar\x0000", _) => Format::Ustar,
            _ => Format::V7,
        }
    }

    /// Whether this header means something only to those who take it for another format than it
    /// says it is: a prefix, or a type that V7 does not have.
    pub(crate) fn is_ambiguous(&self) -> bool {
        let has_prefix = self.0[257..262] == *b"ustar" && self.0[345] != 0;
        let is_special = matches!(self.kind(), b'x' | b'g' | b'L' | b'K');
        // Some take it for ustar, whatever its version.
        let is_device = self.0[257..262] == *b"ustar" && matches!(self.kind(), b'3' | b'4');
        self.format() == Format::V7 && (has_prefix || is_special || is_device)
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The name with the prefix before it.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[0..100]);
        let prefix = match self.format() {
            Format::Ustar => text(&self.0[345..500]),
            Format::Star => text(&self.0[345..476]),
            Format::Gnu | Format::V7 => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(crate) fn mode(&self) -> Option<i64> {
        number::parse(&self.0[100..108])
    }

    pub(crate) fn uid(&self) -> Option<i64> {
        number::parse(&self.0[108..116])
    }

    pub(crate) fn gid(&self) -> Option<i64> {
        number::parse(&self.0[116..124])
    }

    pub(crate) fn size(&self) -> Option<i64> {
        number::parse(&self.0[124..136])
    }

    pub(crate) fn mtime(&self) -> Option<i64> {
        number::parse(&self.0[136..148])
    }

    pub(crate) fn user(&self) -> Vec<u8> {
        self.more(265..297)
    }

    pub(crate) fn group(&self) -> Vec<u8> {
        self.more(297..329)
    }

    fn more(&self, field: std::ops::Range<usize>) -> Vec<u8> {
        match self.format() {
            Format::V7 => Vec::new(),
            _ => text(&self.0[field]).to_vec(),
        }
    }

    pub(crate) fn device(&self) -> Option<(i64, i64)> {
        match self.format() {
            Format::V7 => Some((0, 0)),
            _ => Some((number::parse(&self.0[329..337])?, number::parse(&self.0[337..345])?)),
        }
    }

    /// The sparse map of an old GNU header: four pieces, whether more follow, and the real size.
    pub(crate) fn gnu_sparse(&self) -> (&'a [u8], bool, Option<i64>) {
        (&self.0[386..482], self.0[482] != 0, number::parse(&self.0[483..495]))
    }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

/// Writes the sum into a header that is complete otherwise.
pub(crate) fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    // At most 512 * 255: six digits hold it.
    number::write_octal(&mut block[148..155], sum);
    block[155] = b' ';
}
