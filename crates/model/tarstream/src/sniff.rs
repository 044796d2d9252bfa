//! Telling archives from other files by how they begin.

/// So many bytes of a file are enough for [`is_archive`].
pub const SNIFF_BYTES: usize = 2 * crate::BLOCK;

/// How what compresses archives begins: gzip, bzip2, xz, zstd.
const PACKED: [&[u8]; 4] =
    [&[0x1f, 0x8b, 0x08], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];

/// Whether bytes begin a tar archive, plain or compressed. What is in what is compressed is not looked at.
pub fn is_archive(start: &[u8]) -> bool {
    let is_tar = || start.get(257..262) == Some(b"ustar") || is_old_tar(start);
    PACKED.iter().any(|magic| start.starts_with(magic)) || is_tar()
}

/// A header of before POSIX: its sum is right.
fn is_old_tar(start: &[u8]) -> bool {
    let Some(header) = start.get(..crate::BLOCK) else { return false };
    let told = std::str::from_utf8(&header[148..156]).unwrap_or_default();
    let told = u32::from_str_radix(told.trim_matches(['\0', ' ']), 8);
    let sum = header.iter().enumerate().map(|(at, byte)| {
        // The sum counts for spaces in itself.
        if (148..156).contains(&at) { 32 } else { u32::from(*byte) }
    });
    told.is_ok_and(|told| told == sum.sum::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_dockerfiles() {
        let mut tar = vec![0; 1024];
        tar[..1].copy_from_slice(b"a");
        assert!(!is_archive(&tar));
        tar[148..156].copy_from_slice(b"0000541\0");
        assert!(is_archive(&tar));
        tar[257..262].copy_from_slice(b"ustar");
        tar[148] = b'x';
        assert!(is_archive(&tar));
        assert!(is_archive(&[0x1f, 0x8b, 0x08, 0]));
        assert!(!is_archive(b"FROM scratch\n"));
        assert!(!is_archive(&[0; 512]));
    }
}
