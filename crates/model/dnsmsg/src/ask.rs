use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Error, HEADER_BYTES, Name, u16_at};

/// "Recursion desired": the server is to ask on.
const RECURSION_DESIRED: u16 = 1 << 8;
/// The class of the internet.
const IN: u16 = 1;
/// An alias: the data is the name to look at instead.
const CNAME: u16 = 5;
/// Aliases of aliases: no sane zone has more.
const MAX_ALIASES: usize = 16;
/// The bits of the response code.
const CODE: u16 = 0x000f;
/// The response code for a name that does not exist.
const NO_SUCH_NAME: u16 = 3;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    const fn kind(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

/// What a server said about the addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The name exists, with these addresses, perhaps none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The server cannot say; its code (RFC 1035, 4.1.1).
    Failure(u8),
}

/// A query for the addresses of `name`, with the number `id`.
pub fn ask(id: u16, name: &Name, family: Family) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + 64);
    for field in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    name.write(&mut message);
    message.extend_from_slice(&family.kind().to_be_bytes());
    message.extend_from_slice(&IN.to_be_bytes());
    message
}

/// The addresses in a response that [`crate::answers`] the query. Aliases are followed inside the
/// response, as a server that asks on fills it in; records about other names are left out.
pub fn addresses(response: &[u8], family: Family) -> Result<Found, Error> {
    match u16_at(response, 2)? & CODE {
        0 => {}
        NO_SUCH_NAME => return Ok(Found::NoSuchName),
        code => return Ok(Found::Failure(code as u8)),
    }
    let questions = u16_at(response, 4)?;
    if questions != 1 {
        return Err(Error::Questions(questions));
    }
    let (asked, after) = Name::parse(response, HEADER_BYTES)?;
    let records = records(response, after + 4)?;
    let mut name = asked;
    for _ in 0..MAX_ALIASES {
        let alias = records.iter().find(|one| one.kind == CNAME && one.name.eq_ignore_case(&name));
        match alias {
            Some(alias) => name = Name::parse(response, alias.data)?.0,
            None => break,
        }
    }
    let about = records.iter().filter(|one| one.kind == family.kind());
    let about = about.filter(|one| one.name.eq_ignore_case(&name));
    Ok(Found::Addresses(about.filter_map(|one| one.address(response)).collect()))
}

struct Answer {
    name: Name,
    kind: u16,
    /// Where its data starts, and how long they are.
    data: usize,
    length: usize,
}

impl Answer {
    fn address(&self, response: &[u8]) -> Option<IpAddr> {
        let data = response.get(self.data..self.data + self.length)?;
        match *data {
            [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).into()),
            _ => Some(Ipv6Addr::from(*data.as_array::<16>()?).into()),
        }
    }
}

/// The records of the answer section that are of the internet's class.
fn records(response: &[u8], start: usize) -> Result<Vec<Answer>, Error> {
    let mut answers = Vec::new();
    let mut at = start;
    for _ in 0..u16_at(response, 6)? {
        let (name, after) = Name::parse(response, at)?;
        let (kind, class) = (u16_at(response, after)?, u16_at(response, after + 2)?);
        let length = usize::from(u16_at(response, after + 8)?);
        let data = after + 10;
        at = data + length;
        if at > response.len() {
            return Err(Error::Short(response.len()));
        }
        if class == IN {
            answers.push(Answer { name, kind, data, length });
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Record, Reply, answers, parse, reply};

    fn record(name: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = name.to_vec();
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(b"\0\x01\0\0\0\x05");
        bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn response(query: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = query.to_vec();
        bytes[2] |= 0x80;
        bytes[7] = records.len() as u8;
        bytes.extend(records.concat());
        bytes
    }

    fn asked(name: &str, family: Family) -> Vec<u8> {
        ask(7, &Name::from_text(name).unwrap(), family)
    }

    #[test]
    fn what_we_ask_is_what_we_would_answer() {
        let query = asked("registry.example", Family::V6);
        let read = parse(&query).unwrap();
        assert!(read.name.is("registry.example") && read.kind == crate::Kind::Aaaa);
        let records = vec![Record::Aaaa(Ipv6Addr::LOCALHOST)];
        let said = reply(&read, &Reply::Records { ttl: 1, records }, 512);
        assert!(answers(&query, &said));
        let want = Found::Addresses(vec![Ipv6Addr::LOCALHOST.into()]);
        assert_eq!(addresses(&said, Family::V6), Ok(want));
        assert_eq!(addresses(&said, Family::V4), Ok(Found::Addresses(Vec::new())));
    }

    #[test]
    fn aliases_are_followed_and_other_names_left_out() {
        let query = asked("a.test", Family::V4);
        let said = response(
            &query,
            &[
                record(b"\x01c\x04test\0", 1, &[10, 0, 0, 3]),
                record(b"\xc0\x0c", CNAME, b"\x01b\x04TEST\0"),
                record(b"\x01b\x04test\0", 1, &[10, 0, 0, 2]),
                record(b"\x01b\x04test\0", 1, b"\x01\x02\x03"),
            ],
        );
        let want = Found::Addresses(vec![Ipv4Addr::new(10, 0, 0, 2).into()]);
        assert_eq!(addresses(&said, Family::V4), Ok(want));
    }

    #[test]
    fn a_circle_of_aliases_ends() {
        let query = asked("a.test", Family::V4);
        let said = response(&query, &[record(b"\xc0\x0c", CNAME, b"\xc0\x0c")]);
        assert_eq!(addresses(&said, Family::V4), Ok(Found::Addresses(Vec::new())));
    }

    #[test]
    fn a_failure_is_told_from_a_name_without_addresses() {
        let mut said = response(&asked("a.test", Family::V4), &[]);
        assert_eq!(addresses(&said, Family::V4), Ok(Found::Addresses(Vec::new())));
        said[3] = 3;
        assert_eq!(addresses(&said, Family::V4), Ok(Found::NoSuchName));
        said[3] = 2;
        assert_eq!(addresses(&said, Family::V4), Ok(Found::Failure(2)));
    }

    #[test]
    fn a_record_ends_before_its_message() {
        let query = asked("a.test", Family::V4);
        let mut said = response(&query, &[record(b"\xc0\x0c", 1, &[1, 2, 3, 4])]);
        said.pop();
        assert_eq!(addresses(&said, Family::V4), Err(Error::Short(said.len())));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = addresses(&bytes, Family::V4);
        }
    }
}
