//! Options of mounts: whatever the words, they are sorted as fstab(5) says, and the last one counts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mount::MountAttr;
use mount::options::{Parsed, parse};

/// Words with the attribute that they set, and whether they clear it instead.
const FLAGS: [(&str, &str, MountAttr); 6] = [
    ("ro", "rw", MountAttr::RDONLY),
    ("nosuid", "suid", MountAttr::NOSUID),
    ("nodev", "dev", MountAttr::NODEV),
    ("noexec", "exec", MountAttr::NOEXEC),
    ("nodiratime", "diratime", MountAttr::NODIRATIME),
    ("nosymfollow", "symfollow", MountAttr::NOSYMFOLLOW),
];

/// The last word of the list that says something about a flag decides on it.
fn check_flags(words: &[&str], parsed: &Parsed) {
    for (sets, clears, attr) in FLAGS {
        for recursive in [false, true] {
            let is = |word: &str, wanted: &str| match recursive {
                true => word.strip_prefix('r') == Some(wanted),
                false => word == wanted,
            };
            let last = words.iter().rev().find(|word| is(word, sets) || is(word, clears));
            let (set, clear) = match recursive {
                true => (parsed.rec_set, parsed.rec_clear),
                false => (parsed.set, parsed.clear),
            };
            let wanted = last.map(|word| is(word, sets));
            assert_eq!(set.contains(attr), wanted == Some(true), "{words:?}");
            assert_eq!(clear.contains(attr), wanted == Some(false), "{words:?}");
        }
    }
}

fuzz_target!(|text: &str| {
    let words: Vec<&str> = text.split(',').collect();
    let parsed = parse(&words);
    check_flags(&words, &parsed);
    // Nothing is both set and cleared, but for the field of the access times, which is cleared for
    // any of its values to be set.
    let field = MountAttr::ATIME_FIELD;
    assert!((parsed.set & parsed.clear).difference(field).is_empty(), "{parsed:?}");
    assert!((parsed.rec_set & parsed.rec_clear).difference(field).is_empty(), "{parsed:?}");
    for (set, clear) in [(parsed.set, parsed.clear), (parsed.rec_set, parsed.rec_clear)] {
        // Else the kernel answers EINVAL.
        assert!(!set.intersects(field) || clear.contains(field), "{words:?}");
        assert!((set & field).bits().count_ones() <= 1, "{words:?}");
    }
    assert!(parsed.propagation.len() <= words.len());
    // What goes to the file system was asked for, in this order.
    let mut rest = words.iter();
    for option in &parsed.data {
        assert!(rest.any(|word| word == option), "{option:?} of {words:?}");
    }
    for (key, value) in parsed.fs_options() {
        assert!(!key.contains('='));
        assert!(value.is_none_or(|value| text.contains(value)));
    }
    // The same again, from what was made of it: no word of the mount's own is left in the data.
    let again = parse(&parsed.data);
    assert_eq!(again, Parsed { data: parsed.data.clone(), ..Parsed::default() }, "{words:?}");
});
