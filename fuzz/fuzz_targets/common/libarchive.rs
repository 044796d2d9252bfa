//! libarchive, as the oracle: what it sees in an archive. Linked by the fuzz target alone.

use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_uint, c_void};
use std::sync::Once;

#[link(name = "archive")]
unsafe extern "C" {
    fn archive_read_new() -> *mut c_void;
    fn archive_read_free(archive: *mut c_void) -> c_int;
    fn archive_read_support_format_tar(archive: *mut c_void) -> c_int;
    fn archive_read_support_filter_none(archive: *mut c_void) -> c_int;
    fn archive_read_open_memory(archive: *mut c_void, data: *const c_void, size: usize) -> c_int;
    fn archive_read_next_header(archive: *mut c_void, entry: *mut *mut c_void) -> c_int;
    fn archive_read_data_block(
        archive: *mut c_void,
        data: *mut *const c_void,
        size: *mut usize,
        offset: *mut i64,
    ) -> c_int;
    fn archive_entry_pathname(entry: *mut c_void) -> *const c_char;
    fn archive_entry_hardlink(entry: *mut c_void) -> *const c_char;
    fn archive_entry_symlink(entry: *mut c_void) -> *const c_char;
    fn archive_entry_filetype(entry: *mut c_void) -> c_uint;
    fn archive_entry_size(entry: *mut c_void) -> i64;
    fn setlocale(category: c_int, locale: *const c_char) -> *const c_char;
}

const OK: c_int = 0;
const EOF: c_int = 1;
/// `ARCHIVE_WARN`: something is odd, and it goes on.
const WARN: c_int = -20;
/// `LC_ALL`.
const ALL: c_int = 6;

/// An entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub path: Vec<u8>,
    /// What a link leads to, and whether it is a hard one.
    pub link: Option<(bool, Vec<u8>)>,
    /// `S_IFMT` of its mode.
    pub kind: u32,
    pub size: u64,
    /// The data where there is some, with where it goes.
    pub data: Vec<(u64, Vec<u8>)>,
    /// Whether libarchive had a doubt about it.
    pub is_odd: bool,
}

struct Archive(*mut c_void);

impl Drop for Archive {
    fn drop(&mut self) {
        // SAFETY: made by archive_read_new, freed once.
        unsafe { archive_read_free(self.0) };
    }
}

/// All entries; `None` where it refuses the archive, or there is more data than `most`.
pub fn read(bytes: &[u8], most: usize) -> Option<Vec<Seen>> {
    static LOCALE: Once = Once::new();
    // SAFETY: names of extended headers are UTF-8, and are to come out as they are; no other thread
    // runs yet.
    LOCALE.call_once(|| unsafe {
        setlocale(ALL, c"C.UTF-8".as_ptr());
    });
    // SAFETY: no argument.
    let archive = Archive(unsafe { archive_read_new() });
    // SAFETY: a live archive; the bytes outlive it.
    let opened = unsafe {
        archive_read_support_format_tar(archive.0);
        archive_read_support_filter_none(archive.0);
        archive_read_open_memory(archive.0, bytes.as_ptr().cast(), bytes.len())
    };
    if opened != OK {
        return None;
    }
    let (mut all, mut total) = (Vec::new(), 0);
    loop {
        let mut entry = std::ptr::null_mut();
        // SAFETY: a live archive, and a place for the entry, which is its own.
        let is_odd = match unsafe { archive_read_next_header(archive.0, &mut entry) } {
            EOF => return Some(all),
            OK => false,
            WARN => true,
            _ => return None,
        };
        // SAFETY: the entry lives until the next header is read; the texts as long.
        let mut seen = unsafe {
            let text = |text: *const c_char| {
                (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes().to_vec())
            };
            let hard = text(archive_entry_hardlink(entry)).map(|link| (true, link));
            let link = hard.or_else(|| text(archive_entry_symlink(entry)).map(|link| (false, link)));
            Seen {
                path: text(archive_entry_pathname(entry))?,
                link,
                kind: archive_entry_filetype(entry),
                size: u64::try_from(archive_entry_size(entry)).ok()?,
                data: Vec::new(),
                is_odd,
            }
        };
        loop {
            let (mut data, mut size, mut offset) = (std::ptr::null(), 0, 0);
            // SAFETY: a live archive, and places for the three answers.
            match unsafe { archive_read_data_block(archive.0, &mut data, &mut size, &mut offset) } {
                EOF => break,
                OK => {}
                WARN => seen.is_odd = true,
                _ => return None,
            }
            total += size;
            if total > most {
                return None;
            }
            if size > 0 {
                // SAFETY: the block is valid until the next call.
                let block = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size) };
                seen.data.push((u64::try_from(offset).ok()?, block.to_vec()));
            }
        }
        all.push(seen);
    }
}
