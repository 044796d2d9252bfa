use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{HEADER_BYTES, Name, Query};

/// A response to a standard query, by one who also asks others.
const RESPONSE_AND_RECURSION_AVAILABLE: u16 = 1 << 15 | 1 << 7;
/// The bits that a response repeats from its query: the operation, and "recursion desired".
const REPEATED: u16 = 0x7900;
/// The response was cut to fit.
const TRUNCATED: u16 = 1 << 9;

/// Why there is no answer (RFC 1035, 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The query could not be read.
    FormatError = 1,
    /// Nobody could be asked.
    ServerFailure = 2,
    /// There is no such name.
    NoSuchName = 3,
    /// There is no such operation here.
    NotImplemented = 4,
}

/// One record about the name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An IPv4 address of it.
    A(Ipv4Addr),
    /// An IPv6 address of it.
    Aaaa(Ipv6Addr),
    /// The name of the address that it means.
    Ptr(Name),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The name exists, with these records of the kind that was asked for, perhaps none.
    Records {
        /// For how many seconds they may be remembered.
        ttl: u32,
        /// The records.
        records: Vec<Record>,
    },
    /// No answer.
    Failure(Code),
}

/// Builds the response to `query`, in at most `limit` bytes: what does not fit is left out, and
/// the response says that it was cut.
pub fn reply(query: &Query, reply: &Reply, limit: usize) -> Vec<u8> {
    let code = match reply {
        Reply::Records { .. } => 0,
        Reply::Failure(code) => *code as u16,
    };
    let flags = RESPONSE_AND_RECURSION_AVAILABLE | query.flags & REPEATED | code;
    let mut message = header(query.id, flags, 1);
    message.extend_from_slice(&query.question);
    if let Reply::Records { ttl, records } = reply {
        let mut n_records = 0u16;
        for record in records {
            let end = message.len();
            write_record(&mut message, *ttl, record);
            if message.len() > limit || n_records == u16::MAX {
                message.truncate(end);
                message[2..4].copy_from_slice(&(flags | TRUNCATED).to_be_bytes());
                break;
            }
            n_records += 1;
        }
        message[6..8].copy_from_slice(&n_records.to_be_bytes());
    }
    message
}

/// The response to bytes that could not be read as a query, if they had so much as a number.
pub fn failure(message: &[u8], code: Code) -> Option<Vec<u8>> {
    let id = crate::u16_at(message, 0).ok()?;
    let flags = crate::u16_at(message, 2).ok()? & REPEATED;
    Some(header(id, RESPONSE_AND_RECURSION_AVAILABLE | flags | code as u16, 0))
}

fn header(id: u16, flags: u16, n_questions: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES);
    for field in [id, flags, n_questions, 0, 0, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    message
}

fn write_record(message: &mut Vec<u8>, ttl: u32, record: &Record) {
    const QUESTION_NAME: u16 = 0xc000 | HEADER_BYTES as u16;
    const IN: u16 = 1;
    let (kind, data) = match record {
        Record::A(address) => (1u16, address.octets().to_vec()),
        Record::Aaaa(address) => (28, address.octets().to_vec()),
        Record::Ptr(name) => {
            let mut wire = Vec::new();
            name.write(&mut wire);
            (12, wire)
        }
    };
    for field in [QUESTION_NAME, kind, IN] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    message.extend_from_slice(&ttl.to_be_bytes());
    message.extend_from_slice(&(data.len() as u16).to_be_bytes());
    message.extend_from_slice(&data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::tests::ask;
    use crate::{answers, is_truncated, parse};

    #[test]
    fn an_answer_repeats_the_question_and_points_to_its_name() {
        let asked = ask("Web", 1);
        let records = vec![Record::A(Ipv4Addr::new(172, 17, 0, 2))];
        let message = reply(&parse(&asked).unwrap(), &Reply::Records { ttl: 5, records }, 512);
        assert!(answers(&asked, &message));
        assert_eq!(&message[..8], b"\x12\x34\x81\x80\0\x01\0\x01");
        assert_eq!(&message[12..21], b"\x03Web\0\0\x01\0\x01");
        assert_eq!(&message[21..], b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\xac\x11\0\x02");
        let (name, _) = Name::parse(&message, 21).unwrap();
        assert!(name.is("web"));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said_so() {
        let query = parse(&ask("many", 28)).unwrap();
        let records = vec![Record::Aaaa(Ipv6Addr::LOCALHOST); 100];
        let all = Reply::Records { ttl: 5, records };
        let cut = reply(&query, &all, 512);
        assert!(cut.len() <= 512 && is_truncated(&cut));
        assert_eq!(cut[7], ((512 - 22) / 28) as u8);
        let whole = reply(&query, &all, 65535);
        assert!(!is_truncated(&whole) && whole[7] == 100);
    }

    #[test]
    fn a_failure_carries_its_code() {
        let query = parse(&ask("nobody", 1)).unwrap();
        let message = reply(&query, &Reply::Failure(Code::NoSuchName), 512);
        assert_eq!((message[3] & 15, message.len()), (3, 12 + 12));
        assert_eq!(
            failure(b"\x12\x34\x01\0junk", Code::FormatError).unwrap(),
            b"\x12\x34\x81\x81\0\0\0\0\0\0\0\0"
        );
        assert_eq!(failure(b"\x12", Code::FormatError), None);
    }

    #[test]
    fn an_address_has_a_name() {
        let query = parse(&ask("2.0.17.172.in-addr.arpa", 12)).unwrap();
        let records = vec![Record::Ptr(Name::from_text("web.net").unwrap())];
        let message = reply(&query, &Reply::Records { ttl: 5, records }, 512);
        assert!(message.ends_with(b"\0\x09\x03web\x03net\0"));
    }
}
