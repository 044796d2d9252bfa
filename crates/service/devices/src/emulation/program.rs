//! The smallest programs, one for each architecture: each ends at once, with a code by which it is known.

use oci::image::elf::{self, Machine};

/// The code with which they end.
pub(super) const CODE: i32 = 42;

/// Where they are in memory.
const BASE: u32 = 0x0040_0000;
/// What a segment is aligned to: the largest pages of all these architectures.
const PAGE: u32 = 0x0001_0000;

/// A program.
pub(super) struct Program {
    /// What it is for.
    pub(super) machine: Machine,
    /// `e_flags`: the version of the ABI, where there are several.
    flags: u32,
    /// `exit(CODE)`, in the calls of Linux for that architecture.
    code: &'static [u8],
}

/// All of them, in the order in which they are listed.
pub(super) static PROGRAMS: [Program; 10] = [
    // mov eax, 60; mov edi, 42; syscall
    program(elf::AMD64, 0, b"\xb8\x3c\0\0\0\xbf\x2a\0\0\0\x0f\x05"),
    // mov x0, 42; mov x8, 93; svc 0
    program(elf::ARM64, 0, b"\x40\x05\x80\xd2\xa8\x0b\x80\xd2\x01\0\0\xd4"),
    // li a0, 42; li a7, 93; ecall
    program(elf::RISCV64, 0, b"\x13\x05\xa0\x02\x93\x08\xd0\x05\x73\0\0\0"),
    // li 0, 1; li 3, 42; sc
    program(elf::PPC64LE, 2, b"\x01\0\0\x38\x2a\0\x60\x38\x02\0\0\x44"),
    // lghi %r2, 42; svc 1
    program(elf::S390X, 0, b"\xa7\x29\0\x2a\x0a\x01"),
    // mov eax, 1; mov ebx, 42; int 0x80
    program(elf::I386, 0, b"\xb8\x01\0\0\0\xbb\x2a\0\0\0\xcd\x80"),
    // li v0, 5058; li a0, 42; syscall
    program(elf::MIPS64LE, 0x8000_0000, b"\xc2\x13\x02\x24\x2a\0\x04\x24\x0c\0\0\0"),
    program(elf::MIPS64, 0x8000_0000, b"\x24\x02\x13\xc2\x24\x04\0\x2a\0\0\0\x0c"),
    // ori $a0, $zero, 42; ori $a7, $zero, 93; syscall 0
    program(elf::LOONG64, 0x43, b"\x04\xa8\x80\x03\x0b\x74\x81\x03\0\0\x2b\0"),
    // mov r0, 42; mov r7, 1; svc 0
    program(elf::ARM, 0x0500_0000, b"\x2a\0\xa0\xe3\x01\x70\xa0\xe3\0\0\0\xef"),
];

const fn program(machine: Machine, flags: u32, code: &'static [u8]) -> Program {
    Program { machine, flags, code }
}

impl Program {
    /// Its file: an ELF header, one segment that is all of the file, and the instructions (elf(5)).
    pub(super) fn file(&self) -> Vec<u8> {
        let wide = self.machine.is_64_bit;
        let (header, segment): (u16, u16) = if wide { (64, 56) } else { (52, 32) };
        let start = u32::from(header + segment);
        let size = start + self.code.len() as u32;
        let mut file = Writer { bytes: Vec::new(), machine: self.machine };
        file.bytes.extend(b"\x7fELF");
        file.bytes.extend([1 + u8::from(wide), 1 + u8::from(self.machine.is_big_endian), 1]);
        file.bytes.resize(16, 0);
        // To be executed; for this machine; of version 1.
        file.half(2);
        file.half(self.machine.number);
        file.word(1);
        // Where it starts, where the segment is described, and no sections.
        file.address(BASE + start);
        file.address(u32::from(header));
        file.address(0);
        file.word(self.flags);
        for number in [header, segment, 1, 0, 0, 0] {
            file.half(number);
        }
        // To be loaded, read and executed.
        file.word(1);
        if wide {
            file.word(5);
        }
        for number in [0, BASE, BASE, size, size] {
            file.address(number);
        }
        if !wide {
            file.word(5);
        }
        file.address(PAGE);
        file.bytes.extend(self.code);
        file.bytes
    }
}

/// Writes numbers as a machine has them.
struct Writer {
    bytes: Vec<u8>,
    machine: Machine,
}

impl Writer {
    /// Two bytes.
    fn half(&mut self, number: u16) {
        let big = self.machine.is_big_endian;
        self.bytes.extend(if big { number.to_be_bytes() } else { number.to_le_bytes() });
    }

    /// Four.
    fn word(&mut self, number: u32) {
        let big = self.machine.is_big_endian;
        self.bytes.extend(if big { number.to_be_bytes() } else { number.to_le_bytes() });
    }

    /// As many as an address, an offset or a size has.
    fn address(&mut self, number: u32) {
        if !self.machine.is_64_bit {
            return self.word(number);
        }
        let (big, number) = (self.machine.is_big_endian, u64::from(number));
        self.bytes.extend(if big { number.to_be_bytes() } else { number.to_le_bytes() });
    }
}
