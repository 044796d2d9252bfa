//! A set of places in a pattern, as bits.

/// Places where one may be in a pattern, after what has been read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum States {
    /// Of a pattern with fewer than 64 pieces: nearly all are.
    Small(u64),
    /// Of any other.
    Large(Vec<u64>),
}

impl States {
    /// None, of so many.
    pub(super) fn new(places: usize) -> Self {
        if places <= 64 { Self::Small(0) } else { Self::Large(vec![0; places.div_ceil(64)]) }
    }

    pub(super) fn put(&mut self, place: usize) {
        match self {
            Self::Small(bits) => *bits |= 1 << place,
            Self::Large(words) => words[place / 64] |= 1 << (place % 64),
        }
    }

    pub(super) fn has(&self, place: usize) -> bool {
        match self {
            Self::Small(bits) => bits >> place & 1 == 1,
            Self::Large(words) => words[place / 64] >> (place % 64) & 1 == 1,
        }
    }

    /// Whether there are none: nothing that follows can match.
    pub(super) fn is_dead(&self) -> bool {
        match self {
            Self::Small(bits) => *bits == 0,
            Self::Large(words) => words.iter().all(|word| *word == 0),
        }
    }

    /// What is in it; it is empty then.
    pub(super) fn take(&mut self) -> Self {
        let empty = match self {
            Self::Small(_) => Self::Small(0),
            Self::Large(words) => Self::Large(vec![0; words.len()]),
        };
        std::mem::replace(self, empty)
    }

    /// Each place.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let words = match self {
            Self::Small(bits) => std::slice::from_ref(bits),
            Self::Large(words) => words,
        };
        words.iter().enumerate().flat_map(|(at, word)| Bits(*word).map(move |bit| at * 64 + bit))
    }
}

struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}
