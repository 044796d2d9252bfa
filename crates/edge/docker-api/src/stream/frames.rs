//! Output in frames: eight bytes (which stream it is, and the length) and then the output.

/// How an answer's frames differ from those that the supervisor sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Not at all.
    #[default]
    AsItIs,
    /// A terminal's output, for a client that expects frames.
    Add,
    /// Frames, for a client that expects none.
    TakeOff,
}

/// The bytes before a piece of output.
const HEADER_BYTES: usize = 8;
const STDOUT: u8 = 1;

/// A frame of standard output.
pub(crate) fn frame(output: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + output.len());
    bytes.extend_from_slice(&[STDOUT, 0, 0, 0]);
    bytes.extend_from_slice(&(output.len() as u32).to_be_bytes());
    bytes.extend_from_slice(output);
    bytes
}

/// Changes pieces of a stream, however they are cut.
#[derive(Debug)]
pub(crate) struct Reframe {
    framing: Framing,
    /// As much of a header as has come.
    header: Vec<u8>,
    /// Bytes of the frame that are still to come.
    left: usize,
}

impl Reframe {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, header: Vec::new(), left: 0 }
    }

    /// What goes to the client of a piece that came.
    pub(crate) fn piece(&mut self, mut piece: &[u8]) -> Vec<u8> {
        match self.framing {
            Framing::AsItIs => return piece.to_vec(),
            Framing::Add => return frame(piece),
            Framing::TakeOff => {}
        }
        let mut output = Vec::with_capacity(piece.len());
        while !piece.is_empty() {
            if self.left > 0 {
                let (ours, rest) = piece.split_at(self.left.min(piece.len()));
                output.extend_from_slice(ours);
                self.left -= ours.len();
                piece = rest;
                continue;
            }
            let wanted = HEADER_BYTES - self.header.len();
            let (ours, rest) = piece.split_at(wanted.min(piece.len()));
            self.header.extend_from_slice(ours);
            piece = rest;
            if let &[_, _, _, _, a, b, c, d] = self.header.as_slice() {
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.header.clear();
            }
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_off_wherever_they_are_cut() {
        let stream = [frame(b"hello "), frame(b""), frame(b"world")].concat();
        for size in 1..stream.len() {
            let mut reframe = Reframe::new(Framing::TakeOff);
            let output: Vec<u8> = stream.chunks(size).flat_map(|one| reframe.piece(one)).collect();
            assert_eq!(output, b"hello world", "{size}");
        }
    }

    #[test]
    fn frames_are_added() {
        let mut reframe = Reframe::new(Framing::Add);
        assert_eq!(reframe.piece(b"ab"), [1, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
        assert_eq!(Reframe::new(Framing::AsItIs).piece(b"ab"), b"ab");
    }
}
