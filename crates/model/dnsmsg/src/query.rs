use crate::{Error, HEADER_BYTES, Name, PLAIN_UDP_BYTES, u16_at};

/// The bit that makes a message a response.
const RESPONSE: u16 = 1 << 15;
/// The bits of the operation; 0 is a standard query.
const OPCODE: u16 = 0x7800;
/// The response was cut to fit.
const TRUNCATED: u16 = 1 << 9;
/// The bits of the response code.
const CODE: u16 = 0x000f;
/// The class of the internet.
const IN: u16 = 1;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name of an address.
    Ptr,
    /// Something else, or of another class than the internet's.
    Other,
}

/// A query with its one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The asker's number for it.
    pub id: u16,
    /// The name.
    pub name: Name,
    /// What of it.
    pub kind: Kind,
    /// Whether it is a standard query, the only operation there is to answer.
    pub standard: bool,
    /// The longest response that the asker takes over UDP, in bytes; at least 512.
    pub udp_bytes: usize,
    /// The header's flags.
    pub(crate) flags: u16,
    /// The question, as it was sent.
    pub(crate) question: Vec<u8>,
}

/// Reads a query. What comes after its question is looked at only for the size that the asker
/// takes (RFC 6891), and may be malformed.
pub fn parse(message: &[u8]) -> Result<Query, Error> {
    let flags = u16_at(message, 2)?;
    if flags & RESPONSE != 0 {
        return Err(Error::Response);
    }
    let (name, kind, question) = question(message)?;
    let udp_bytes = offered_bytes(message, HEADER_BYTES + question.len()).unwrap_or_default();
    Ok(Query {
        id: u16_at(message, 0)?,
        name,
        kind,
        standard: flags & OPCODE == 0,
        udp_bytes: udp_bytes.max(PLAIN_UDP_BYTES),
        flags,
        question: question.to_vec(),
    })
}

/// The one question of a message, and its bytes.
fn question(message: &[u8]) -> Result<(Name, Kind, &[u8]), Error> {
    let count = u16_at(message, 4)?;
    u16_at(message, HEADER_BYTES - 2)?;
    if count != 1 {
        return Err(Error::Questions(count));
    }
    let (name, after) = Name::parse(message, HEADER_BYTES)?;
    let kind = match (u16_at(message, after)?, u16_at(message, after + 2)?) {
        (1, IN) => Kind::A,
        (28, IN) => Kind::Aaaa,
        (12, IN) => Kind::Ptr,
        _ => Kind::Other,
    };
    Ok((name, kind, &message[HEADER_BYTES..after + 4]))
}

/// The size in the OPT record, if that is the first record after the question, as it is in every
/// query that stub resolvers send.
fn offered_bytes(message: &[u8], at: usize) -> Option<usize> {
    const OPT: u16 = 41;
    let no_answers = u16_at(message, 6).ok()? == 0 && u16_at(message, 8).ok()? == 0;
    let opt = *message.get(at)? == 0 && u16_at(message, at + 1).ok()? == OPT;
    (no_answers && opt).then(|| u16_at(message, at + 3).ok().map(usize::from))?
}

/// Gives a message another number. Messages that are shorter than a number stay as they are.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.first_chunk_mut::<2>() {
        *place = id.to_be_bytes();
    }
}

/// Whether `response` answers `query`: a response of the same number to the same question.
///
/// A server that could not read the query repeats no question; its error counts as an answer.
pub fn answers(query: &[u8], response: &[u8]) -> bool {
    let same = || -> Result<bool, Error> {
        let flags = u16_at(response, 2)?;
        if u16_at(query, 0)? != u16_at(response, 0)? || flags & RESPONSE == 0 {
            return Ok(false);
        }
        if u16_at(response, 4)? == 0 {
            return Ok(flags & CODE != 0 && response.len() >= HEADER_BYTES);
        }
        let (asked, _, asked_bytes) = question(query)?;
        let (name, _, bytes) = question(response)?;
        let tail = |bytes: &[u8]| bytes.last_chunk::<4>().copied();
        Ok(asked.eq_ignore_case(&name) && tail(asked_bytes) == tail(bytes))
    };
    same().unwrap_or(false)
}

/// Whether a response says that it was cut, so that the question is to be asked again over TCP.
pub fn is_truncated(response: &[u8]) -> bool {
    u16_at(response, 2).is_ok_and(|flags| flags & TRUNCATED != 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A query for `name` as glibc sends it.
    pub(crate) fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        Name::from_text(name).unwrap().write(&mut message);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&IN.to_be_bytes());
        message
    }

    #[test]
    fn a_query_says_what_it_wants_and_how_much_it_takes() {
        let query = parse(&ask("web", 1)).unwrap();
        assert!(query.name.is("web") && query.standard);
        assert_eq!((query.id, query.kind, query.udp_bytes), (0x1234, Kind::A, 512));

        let mut with_opt = ask("web", 28);
        with_opt[11] = 1;
        with_opt.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        let query = parse(&with_opt).unwrap();
        assert_eq!((query.kind, query.udp_bytes), (Kind::Aaaa, 1232));
    }

    #[test]
    fn what_is_no_single_question_is_refused_with_its_reason() {
        let mut response = ask("web", 1);
        response[2] |= 0x80;
        assert_eq!(parse(&response), Err(Error::Response));
        let mut two = ask("web", 1);
        two[5] = 2;
        assert_eq!(parse(&two), Err(Error::Questions(2)));
        let whole = ask("web", 1);
        for length in 0..whole.len() {
            assert!(matches!(parse(&whole[..length]), Err(Error::Short(_))), "{length}");
        }
    }

    #[test]
    fn only_the_same_number_and_question_is_an_answer() {
        let query = ask("web.example", 1);
        let mut response = ask("WEB.example", 1);
        assert!(!answers(&query, &response), "a query is no answer");
        response[2] |= 0x80;
        assert!(answers(&query, &response));
        let mut other_id = response.clone();
        set_id(&mut other_id, 7);
        assert!(!answers(&query, &other_id));
        let mut other_kind = ask("web.example", 28);
        other_kind[2] |= 0x80;
        assert!(!answers(&query, &other_kind));
        assert!(!answers(&query, &response[..11]));
        assert!(answers(&query, b"\x12\x34\x81\x01\0\0\0\0\0\0\0\0"), "format error");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&bytes);
            let _ = answers(&bytes, &bytes);
            for at in 0..bytes.len() {
                let _ = Name::parse(&bytes, at);
            }
        }

        #[test]
        fn a_name_survives_the_wire(labels in proptest::collection::vec("[a-z0-9-]{1,20}", 1..8)) {
            let text = labels.join(".");
            let query = parse(&ask(&text, 1)).unwrap();
            prop_assert_eq!(query.name.to_string(), text);
        }
    }
}
