//! Commits and tags as git stores them: the part that is signed, and the signature (`gitformat-signature(5)`).

use crate::armor::{is_edge, is_one_block};
use crate::{Error, MAX_SIGNATURE};

const PGP: &str = "PGP SIGNATURE";
const SSH: &str = "SSH SIGNATURE";

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A commit, which has its signature in a header.
    Commit,
    /// A tag, which has it at its end.
    Tag,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tag => "tag",
        }
    }

    /// The headers without which it is none.
    fn headers(self) -> &'static [&'static str] {
        match self {
            Self::Commit => &["tree", "author", "committer"],
            Self::Tag => &["object", "type", "tag", "tagger"],
        }
    }
}

/// A signature, armored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Of OpenPGP's.
    Pgp(Vec<u8>),
    /// Of SSH's.
    Ssh(Vec<u8>),
}

/// An object that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What the signature is over.
    pub payload: Vec<u8>,
    /// It.
    pub signature: Signature,
}

/// Takes an object apart. `by_sha256`: its repository names objects by SHA-256; a signature that is meant for the other
/// kind of repository is not looked at.
///
/// # Errors
///
/// It is not signed, or not in one way.
pub fn signed(object: &[u8], kind: Kind, by_sha256: bool) -> Result<Signed, Error> {
    let (headers, body) = parts(object);
    for header in kind.headers() {
        let is_it = |line: &[u8]| named(line).is_some_and(|(name, _)| name == header.as_bytes());
        if !lines(headers).any(is_it) {
            return Err(Error::Header { kind: kind.name(), header });
        }
    }
    let (payload, signature) = match kind {
        Kind::Commit => of_commit(headers, body, by_sha256)?,
        Kind::Tag => of_tag(object, headers.len()),
    };
    if signature.is_empty() {
        return Err(Error::Unsigned);
    }
    Ok(Signed { payload, signature: told_apart(signature)? })
}

/// The headers of an object, with their last line end, and the rest, from the blank line on.
fn parts(object: &[u8]) -> (&[u8], &[u8]) {
    let end = object.windows(2).position(|two| two == b"\n\n");
    object.split_at(end.map_or(object.len(), |end| end + 1))
}

/// Lines with what ends them.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// The name of a header and the rest of its line; `None`: it is none.
fn named(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b' ').filter(|at| *at > 0)?;
    Some((&line[..at], &line[at + 1..]))
}

/// A commit without the headers of signatures, and the one that counts.
fn of_commit(headers: &[u8], body: &[u8], by_sha256: bool) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let ours: &[u8] = if by_sha256 { b"gpgsig-sha256" } else { b"gpgsig" };
    let (mut payload, mut signature) = (Vec::new(), Vec::new());
    // Whether lines that go on belong to a signature; and to the one that counts.
    let (mut in_signature, mut is_ours) = (false, false);
    for line in lines(headers) {
        let goes_on = line.strip_prefix(b" ").filter(|_| in_signature);
        let begins =
            named(line).filter(|(name, _)| [&b"gpgsig"[..], b"gpgsig-sha256"].contains(name));
        match (goes_on, begins) {
            (Some(value), _) if is_ours => signature.extend_from_slice(value),
            (Some(_), _) => {}
            (None, Some((name, value))) => {
                (in_signature, is_ours) = (true, name == ours);
                if is_ours && !signature.is_empty() {
                    return Err(Error::Format("a commit with several signatures"));
                }
                if is_ours {
                    signature.extend_from_slice(value);
                }
            }
            (None, None) => {
                in_signature = false;
                payload.extend_from_slice(line);
            }
        }
    }
    payload.extend_from_slice(body);
    Ok((payload, signature))
}

/// A tag up to its signature, and that.
fn of_tag(object: &[u8], headers: usize) -> (Vec<u8>, Vec<u8>) {
    let mut at = headers;
    for line in lines(&object[headers..]) {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if is_edge(text, "BEGIN", PGP) || is_edge(text, "BEGIN", SSH) {
            return (object[..at].to_vec(), object[at..].to_vec());
        }
        at += line.len();
    }
    (object.to_vec(), Vec::new())
}

/// Which kind a signature is of. It is one block: what else there were would be signed by nobody.
fn told_apart(signature: Vec<u8>) -> Result<Signature, Error> {
    if signature.len() > MAX_SIGNATURE {
        return Err(Error::Format("it is too long"));
    }
    if is_one_block(&signature, PGP) {
        return Ok(Signature::Pgp(signature));
    }
    if is_one_block(&signature, SSH) {
        return Ok(Signature::Ssh(signature));
    }
    Err(Error::Format("it is no signature of OpenPGP or SSH, or not one alone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN PGP SIGNATURE-----\n\naGk=\n-----END PGP SIGNATURE-----\n";
    const COMMIT: &str = "tree t\nparent p\nauthor a <a> 1 +0000\ncommitter c <c> 1 +0000\n";
    const TAG: &str = "object o\ntype commit\ntag v1\ntagger a <a> 1 +0000\n";

    /// A header of several lines.
    fn header(name: &str, value: &str) -> String {
        format!("{name} {}\n", value.trim_end().replace('\n', "\n "))
    }

    #[test]
    fn a_commit() {
        let (ours, other) = (header("gpgsig", BLOCK), header("gpgsig-sha256", BLOCK));
        let object = format!("{COMMIT}{ours}encoding x\n{other}\nwhat\n\nit does\n");
        let plain = format!("{COMMIT}encoding x\n\nwhat\n\nit does\n");
        for by_sha256 in [false, true] {
            let signed = signed(object.as_bytes(), Kind::Commit, by_sha256).unwrap();
            assert_eq!(String::from_utf8(signed.payload).unwrap(), plain);
            assert_eq!(signed.signature, Signature::Pgp(BLOCK.into()));
        }
        // One for the other kind of repository is none for this one.
        let object = format!("{COMMIT}{other}\nwhat\n");
        assert_eq!(signed(object.as_bytes(), Kind::Commit, false), Err(Error::Unsigned));
        let twice = format!("{COMMIT}{ours}{ours}\nwhat\n");
        assert!(matches!(signed(twice.as_bytes(), Kind::Commit, false), Err(Error::Format(_))));
        // A signature in the message is text.
        let object = format!("{COMMIT}\nwhat\n{BLOCK}");
        assert_eq!(signed(object.as_bytes(), Kind::Commit, false), Err(Error::Unsigned));
    }

    #[test]
    fn a_tag() {
        let block = BLOCK.replace("PGP", "SSH");
        let object = format!("{TAG}\nwhat\n{block}");
        let found = signed(object.as_bytes(), Kind::Tag, false).unwrap();
        assert_eq!(found.payload, format!("{TAG}\nwhat\n").into_bytes());
        assert_eq!(found.signature, Signature::Ssh(block.clone().into()));
        let plain = format!("{TAG}\nwhat\n");
        assert_eq!(signed(plain.as_bytes(), Kind::Tag, false), Err(Error::Unsigned));
        // What is behind the first signature is signed by nobody.
        for rest in ["more\n", BLOCK, &block] {
            let object = format!("{object}{rest}");
            let found = signed(object.as_bytes(), Kind::Tag, false);
            assert!(matches!(found, Err(Error::Format(_))), "{rest}");
        }
    }

    #[test]
    fn what_is_neither() {
        for (object, kind, header) in [
            ("", Kind::Commit, "tree"),
            (TAG, Kind::Commit, "tree"),
            (COMMIT, Kind::Tag, "object"),
            ("tree t\nauthor a\n\ncommitter c\n", Kind::Commit, "committer"),
        ] {
            let name = kind.name();
            let wanted = Err(Error::Header { kind: name, header });
            assert_eq!(signed(object.as_bytes(), kind, false), wanted);
        }
    }
}
