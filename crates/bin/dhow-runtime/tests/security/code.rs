//! Programs that do nothing but some system calls, made of their machine code: for calls that no
//! program of the image makes, by any of the ways that the processor has into the kernel.
//!
//! Such a program writes the results of its calls to standard output, eight bytes each (four on
//! i386), and ends. A call that kills it leaves none.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where it is loaded.
const BASE: u64 = 0x40_0000;
/// Where its data begin, after the code.
const DATA: u64 = BASE + 0x4000;
/// Where results go.
const RESULTS: u64 = BASE + 0x8000;
const SIZE: usize = 0x9000;
/// `PF_R | PF_W | PF_X`: elf(5).
const READ_WRITE_EXECUTE: u32 = 7;

/// An argument of a call.
#[derive(Clone, Copy)]
pub(crate) enum Arg<'a> {
    /// A number.
    Number(i64),
    /// A pointer to bytes, to which a NUL is added.
    Bytes(&'a [u8]),
    /// A pointer to pointers to such bytes, and a null.
    List(&'a [&'a [u8]]),
    /// A pointer to three 32-bit numbers.
    Words([u32; 3]),
}

/// The two ways in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `syscall`, `x86_64`.
    Syscall,
    /// `int 0x80`, as i386 programs do.
    Int80,
}

/// Writes the program to `path`. Each call is its number and its arguments.
pub(crate) fn write(path: &Path, way: Way, calls: &[(i64, &[Arg<'_>])]) {
    let mut program = Program { way, code: Vec::new(), data: Vec::new() };
    for (i, (number, args)) in calls.iter().enumerate() {
        program.call(*number, args);
        program.store(i);
    }
    let (write, exit, size) = match way {
        Way::Syscall => (1, 60, 8),
        Way::Int80 => (4, 1, 4),
    };
    let length = calls.len() as i64 * size;
    program.call(write, &[Arg::Number(1), Arg::Number(RESULTS as i64), Arg::Number(length)]);
    program.call(exit, &[Arg::Number(0)]);
    std::fs::write(path, program.elf()).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The results in what the program has written.
pub(crate) fn results(way: Way, output: &[u8]) -> Vec<i64> {
    match way {
        Way::Syscall => {
            output.chunks(8).map(|b| i64::from_ne_bytes(b.try_into().unwrap())).collect()
        }
        Way::Int80 => {
            output.chunks(4).map(|b| i32::from_ne_bytes(b.try_into().unwrap()).into()).collect()
        }
    }
}

struct Program {
    way: Way,
    code: Vec<u8>,
    data: Vec<u8>,
}

impl Program {
    fn call(&mut self, number: i64, args: &[Arg<'_>]) {
        // rdi, rsi, rdx, r10, r8, r9; ebx, ecx, edx, esi, edi, ebp.
        const LONG: [[u8; 2]; 6] =
            [[0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba], [0x49, 0xb8], [0x49, 0xb9]];
        const SHORT: [u8; 6] = [0xbb, 0xb9, 0xba, 0xbe, 0xbf, 0xbd];
        for (i, arg) in args.iter().enumerate() {
            let value = self.value(*arg);
            match self.way {
                Way::Syscall => {
                    self.code.extend(LONG[i]);
                    self.code.extend(value.to_le_bytes());
                }
                Way::Int80 => {
                    self.code.push(SHORT[i]);
                    self.code.extend((value as i32).to_le_bytes());
                }
            }
        }
        match self.way {
            Way::Syscall => {
                self.code.extend([0x48, 0xb8]);
                self.code.extend(number.to_le_bytes());
                self.code.extend([0x0f, 0x05]);
            }
            Way::Int80 => {
                self.code.push(0xb8);
                self.code.extend((number as i32).to_le_bytes());
                self.code.extend([0xcd, 0x80]);
            }
        }
    }

    /// Keeps the result of call `i`.
    fn store(&mut self, i: usize) {
        match self.way {
            Way::Syscall => {
                self.code.extend([0x48, 0xa3]);
                self.code.extend((RESULTS + 8 * i as u64).to_le_bytes());
            }
            Way::Int80 => {
                self.code.push(0xa3);
                self.code.extend((RESULTS as u32 + 4 * i as u32).to_le_bytes());
            }
        }
    }

    fn value(&mut self, arg: Arg<'_>) -> i64 {
        match arg {
            Arg::Number(number) => number,
            Arg::Bytes(bytes) => self.bytes(bytes),
            Arg::List(list) => {
                let pointers: Vec<i64> = list.iter().map(|bytes| self.bytes(bytes)).collect();
                self.place(
                    &pointers.iter().chain([&0]).flat_map(|p| p.to_le_bytes()).collect::<Vec<u8>>(),
                )
            }
            Arg::Words(words) => {
                self.place(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> i64 {
        self.place(&[bytes, &[0]].concat())
    }

    fn place(&mut self, bytes: &[u8]) -> i64 {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let at = DATA + self.data.len() as u64;
        self.data.extend(bytes);
        at as i64
    }

    /// One segment that is everything: elf(5).
    fn elf(&self) -> Vec<u8> {
        let short = self.way == Way::Int80;
        let header = if short { 52 + 32 } else { 64 + 56 };
        let mut file = vec![0x7f, b'E', b'L', b'F', if short { 1 } else { 2 }, 1, 1];
        file.resize(16, 0);
        let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
        let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
        let long = |file: &mut Vec<u8>, value: u64| {
            if short {
                file.extend((value as u32).to_le_bytes());
            } else {
                file.extend(value.to_le_bytes());
            }
        };
        half(&mut file, 2); // ET_EXEC
        half(&mut file, if short { 3 } else { 62 });
        word(&mut file, 1);
        long(&mut file, BASE + header);
        long(&mut file, if short { 52 } else { 64 }); // program headers
        long(&mut file, 0);
        word(&mut file, 0);
        for value in if short { [52, 32, 1, 0, 0, 0] } else { [64, 56, 1, 0, 0, 0] } {
            half(&mut file, value);
        }
        word(&mut file, 1); // PT_LOAD
        if !short {
            word(&mut file, READ_WRITE_EXECUTE);
        }
        for value in [0, BASE, BASE, SIZE as u64, SIZE as u64] {
            long(&mut file, value);
        }
        if short {
            word(&mut file, READ_WRITE_EXECUTE);
        }
        long(&mut file, 0x1000);
        assert_eq!(file.len() as u64, header);
        file.extend(&self.code);
        assert!(file.len() as u64 <= DATA - BASE && (self.data.len() as u64) < RESULTS - DATA);
        file.resize((DATA - BASE) as usize, 0);
        file.extend(&self.data);
        file.resize(SIZE, 0);
        file
    }
}
