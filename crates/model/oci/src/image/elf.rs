//! Which architecture a program is for: the beginning of ELF files.
//!
//! Source: elf(5), and `e_machine` as the supplements for each processor have it (`<elf.h>`).

/// What the ELF files of an architecture have in their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// In Go's name: `arm64`.
    pub architecture: &'static str,
    /// `e_machine`.
    pub number: u16,
    /// Addresses have 64 bits (`ELFCLASS64`), and not 32.
    pub is_64_bit: bool,
    /// The most significant byte comes first (`ELFDATA2MSB`).
    pub is_big_endian: bool,
}

/// x86, 32 bits.
pub const I386: Machine = little("386", 3, 32);
/// x86-64.
pub const AMD64: Machine = little("amd64", 62, 64);
/// 32-bit ARM, of any version.
pub const ARM: Machine = little("arm", 40, 32);
/// 64-bit ARM.
pub const ARM64: Machine = little("arm64", 183, 64);
/// `LoongArch`.
pub const LOONG64: Machine = little("loong64", 258, 64);
/// MIPS, 32 bits.
pub const MIPS: Machine = big("mips", 8, 32);
/// MIPS, 32 bits, little-endian.
pub const MIPSLE: Machine = little("mipsle", 8, 32);
/// MIPS, 64 bits.
pub const MIPS64: Machine = big("mips64", 8, 64);
/// MIPS, 64 bits, little-endian.
pub const MIPS64LE: Machine = little("mips64le", 8, 64);
/// POWER.
pub const PPC64: Machine = big("ppc64", 21, 64);
/// POWER, little-endian.
pub const PPC64LE: Machine = little("ppc64le", 21, 64);
/// RISC-V, 64 bits.
pub const RISCV64: Machine = little("riscv64", 243, 64);
/// IBM Z.
pub const S390X: Machine = big("s390x", 22, 64);
/// SPARC V9.
pub const SPARC64: Machine = big("sparc64", 43, 64);

/// All of them.
static MACHINES: [Machine; 14] = [
    I386, AMD64, ARM, ARM64, LOONG64, MIPS, MIPSLE, MIPS64, MIPS64LE, PPC64, PPC64LE, RISCV64,
    S390X, SPARC64,
];

const fn little(architecture: &'static str, number: u16, bits: u8) -> Machine {
    Machine { architecture, number, is_64_bit: bits == 64, is_big_endian: false }
}

const fn big(architecture: &'static str, number: u16, bits: u8) -> Machine {
    Machine { architecture, number, is_64_bit: bits == 64, is_big_endian: true }
}

/// The architecture of a program, by the first 20 bytes of its file or more. `None`: it is no ELF file, or of
/// an architecture that has no name here.
pub fn machine_of(file: &[u8]) -> Option<Machine> {
    let [0x7f, b'E', b'L', b'F', class, order, rest @ ..] = file else { return None };
    // At 18, behind 16 bytes of identification and the kind of file.
    let number = [*rest.get(12)?, *rest.get(13)?];
    let (is_big_endian, number) = match order {
        1 => (false, u16::from_le_bytes(number)),
        2 => (true, u16::from_be_bytes(number)),
        _ => return None,
    };
    let is_64_bit = match class {
        1 => false,
        2 => true,
        _ => return None,
    };
    let is_it = |one: &&Machine| {
        (one.number, one.is_64_bit, one.is_big_endian) == (number, is_64_bit, is_big_endian)
    };
    MACHINES.iter().find(is_it).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, order: u8, number: [u8; 2]) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', class, order, 1];
        file.resize(18, 0);
        file.extend(number);
        file
    }

    #[test]
    fn a_program_says_what_it_is_for() {
        for (class, order, number, want) in [
            (2, 1, [183, 0], Some(ARM64)),
            (2, 2, [0, 22], Some(S390X)),
            (1, 1, [40, 0], Some(ARM)),
            (2, 1, [21, 0], Some(PPC64LE)),
            (2, 2, [0, 21], Some(PPC64)),
            (2, 1, [2, 1], Some(LOONG64)),
            // 32-bit addresses on an x86-64.
            (1, 1, [62, 0], None),
            (2, 3, [183, 0], None),
            (0, 1, [3, 0], None),
            (2, 1, [0xff, 0xff], None),
        ] {
            let file = header(class, order, number);
            assert_eq!(machine_of(&file), want, "{class} {order} {number:?}");
            assert_eq!(machine_of(&file[..19]), None);
        }
        for text in [&b""[..], b"\x7fELF", b"#!/bin/sh\n# a script of more than 20 bytes\n"] {
            assert_eq!(machine_of(text), None);
        }
    }

    /// This test is a program of this machine.
    #[test]
    fn this_very_program() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let own = crate::image::Platform::native().architecture;
        assert_eq!(machine_of(&file).map(|machine| machine.architecture), Some(own.as_str()));
    }
}
