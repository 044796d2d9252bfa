//! What of a program stays in memory while it has little to do.

use std::ops::Range;

use crate::error::{Call, Error, check};

/// Lets go of the pages of this program's own file that are mapped and hold nothing but what is in
/// the file. What is needed again is mapped again, from the page cache, where it is used.
///
/// For a process that lives long and idles after a start that touched much of the program: the
/// kernel maps pages by the dozen around each one that is used.
///
/// Returns how many bytes of the address space were looked at; nothing changes for the program.
pub fn drop_program_pages() -> Result<usize, Error> {
    let path = "/proc/self/smaps";
    let smaps = crate::read_file(path, 1 << 15).call(|| format!("read({path:?})"))?;
    let mut n_bytes = 0;
    for range in unchanged_file_mappings(&smaps) {
        let text = || format!("madvise({range:#x?}, MADV_DONTNEED)");
        // SAFETY:
        // - The range is a whole mapping of this process: the kernel listed it just now, and
        //   nothing here unmaps anything.
        // - It is a private mapping of a file that is not writable, without a page that was ever
        //   changed (`Anonymous: 0`), so that what is read at any of its addresses afterwards is
        //   what was there before. A file that is being executed cannot be written (ETXTBSY), and
        //   nothing maps other files than the program's.
        let ret = unsafe {
            libc::madvise(
                std::ptr::without_provenance_mut(range.start),
                range.end - range.start,
                libc::MADV_DONTNEED,
            )
        };
        check(ret.into(), text)?;
        n_bytes += range.end - range.start;
    }
    Ok(n_bytes)
}

/// Has all threads of this process share one heap, which grows by a megabyte at a time: for a process that
/// lives for some milliseconds, in which each new heap, and each page that is touched for the first time, costs
/// more than waiting for a lock. See mallopt(3).
pub fn share_one_heap() {
    const GROWTH_BYTES: libc::c_int = 1 << 20;
    // Where one value is set, the allocator adjusts the other two no more: what it would come to.
    const LARGE_BYTES: libc::c_int = 4 << 20;
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TOP_PAD, GROWTH_BYTES),
        (libc::M_MMAP_THRESHOLD, LARGE_BYTES),
        (libc::M_TRIM_THRESHOLD, 2 * LARGE_BYTES),
    ] {
        // SAFETY: it takes two numbers and changes where later allocations come from, not those that there are. The
        // allocator takes its own lock for that. What it does not know it ignores.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// The most memory, in bytes, that any of the children had that were waited for, and theirs: the
/// largest of them, not the sum, see getrusage(2).
pub fn peak_memory_of_children() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY:
    // - `usage` is alive and writable for the whole call, and as large as the kernel's structure.
    // - All of its fields are numbers, for which zero is a value too, also when the call fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) << 10
}

/// The mappings in a `smaps` (`proc_pid_smaps(5)`) that are private, of a file, not writable, and
/// without changed pages.
fn unchanged_file_mappings(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(range) = mapping(line) {
            current = is_program(line).then_some(range);
        } else if let Some(kilobytes) = line.strip_prefix("Anonymous:") {
            let unchanged = kilobytes.trim() == "0 kB";
            found.extend(current.take().filter(|_| unchanged));
        }
    }
    found
}

/// The range in a mapping's first line: `START-END PERMISSIONS OFFSET DEVICE INODE PATH`.
fn mapping(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

/// Whether that line is of a private mapping of a file that cannot be written to.
fn is_program(line: &str) -> bool {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    matches!(words[..], [_, "r--p" | "r-xp", _, _, inode, path, ..]
        if inode != "0" && path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_parts_of_files_are_let_go() {
        let smaps = "\
00200000-00281000 r--p 00000000 fe:00 541 /usr/bin/dhow
Rss:                 384 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
00281000-0048a000 r-xp 00080000 fe:00 541 /usr/bin/dhow
Anonymous:             0 kB
0048a000-00490000 r--p 00288000 fe:00 541 /usr/bin/dhow
Anonymous:            12 kB
00490000-00494000 rw-p 0028d000 fe:00 541 /usr/bin/dhow
Anonymous:             0 kB
2a5b4000-2a5d6000 r--p 00000000 00:00 0 [heap]
Anonymous:             0 kB
7f6ccd233000-7f6ccd235000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7f6ccd240000-7f6ccd241000 r--s 00000000 fe:00 9 /shared
Anonymous:             0 kB
";
        assert_eq!(unchanged_file_mappings(smaps), [0x20_0000..0x28_1000, 0x28_1000..0x48_a000]);
    }

    /// How many heaps there are beside the first: each is 64 MiB of addresses, most of which cannot be used yet.
    fn n_reserved() -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let is_large = |range: Range<usize>| range.len() > 32 << 20;
        maps.lines()
            .filter(|line| line.contains(" ---p ") && mapping(line).is_some_and(is_large))
            .count()
    }

    #[test]
    fn threads_share_a_heap() {
        const N_THREADS: usize = 4;
        share_one_heap();
        let before = n_reserved();
        let all_there = std::sync::Barrier::new(N_THREADS + 1);
        std::thread::scope(|scope| {
            for _ in 0..N_THREADS {
                scope.spawn(|| {
                    let held: Vec<_> = (0..1000).map(|n| vec![n; 100]).collect();
                    all_there.wait();
                    all_there.wait();
                    drop(held);
                });
            }
            all_there.wait();
            let now = n_reserved();
            all_there.wait();
            assert_eq!(now, before);
        });
    }

    #[test]
    fn the_program_goes_on_with_less() {
        static TEXT: &str = "still here";
        assert!(drop_program_pages().unwrap() > 0);
        assert_eq!(TEXT.to_uppercase(), "STILL HERE");
    }
}
