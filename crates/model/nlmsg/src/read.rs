use crate::{DONE, ERROR, HEADER_BYTES, align, flag};

/// The size of the header of an attribute, in bytes.
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// `NLA_TYPE_MASK`: an attribute's type without its two flags.
const TYPE_MASK: u16 = 0x3fff;
/// `NLMSGERR_ATTR_MSG`: the kernel's own words about an error.
const ERROR_TEXT: u16 = 1;

/// Bytes that are no netlink message, or an attribute that ends outside its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink message")]
pub struct Malformed;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is; the meaning is the family's, except below 16.
    pub kind: u16,
    /// See [`flag`].
    pub flags: u16,
    /// The number of the request that it answers.
    pub seq: u32,
    /// All behind the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes behind a fixed header of `header_bytes`.
    pub fn attributes(&self, header_bytes: usize) -> Attributes<'a> {
        Attributes::new(self.payload.get(align(header_bytes)..).unwrap_or_default())
    }
}

/// The messages in what one `recv(2)` returned.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Those in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = parse_message(self.rest);
        self.rest = match message {
            Ok((_, used)) => self.rest.get(used..).unwrap_or_default(),
            Err(Malformed) => &[],
        };
        Some(message.map(|(message, _)| message))
    }
}

/// The first message, and how many bytes it takes with its padding.
fn parse_message(bytes: &[u8]) -> Result<(Message<'_>, usize), Malformed> {
    let length = usize::try_from(u32_at(bytes, 0).ok_or(Malformed)?).map_err(|_| Malformed)?;
    let payload = bytes.get(HEADER_BYTES..length).ok_or(Malformed)?;
    let message = Message {
        kind: u16_at(bytes, 4).ok_or(Malformed)?,
        flags: u16_at(bytes, 6).ok_or(Malformed)?,
        seq: u32_at(bytes, 8).ok_or(Malformed)?,
        payload,
    };
    Ok((message, align(length)))
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What it is, without the flags that say how it is encoded.
    pub kind: u16,
    /// Its bytes, without padding.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes inside.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }

    /// A number of 32 bits in the machine's byte order.
    pub fn u32(&self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.value.try_into().ok()?))
    }

    /// Text up to its NUL, or all of it where there is none.
    pub fn text(&self) -> Option<&'a str> {
        let end = self.value.iter().position(|b| *b == 0).unwrap_or(self.value.len());
        std::str::from_utf8(self.value.get(..end)?).ok()
    }
}

/// Attributes, in their order.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Those in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let attribute = parse_attribute(self.rest);
        self.rest = match attribute {
            Some((_, used)) => self.rest.get(used..).unwrap_or_default(),
            None => &[],
        };
        Some(attribute.map(|(attribute, _)| attribute).ok_or(Malformed))
    }
}

fn parse_attribute(bytes: &[u8]) -> Option<(Attribute<'_>, usize)> {
    let length = usize::from(u16_at(bytes, 0)?);
    let kind = u16_at(bytes, 2)? & TYPE_MASK;
    let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
    Some((Attribute { kind, value }, align(length)))
}

/// What a message of the kind [`ERROR`] or [`DONE`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// 0 when all went well, else a positive errno.
    pub errno: i32,
    /// The kernel's own words, where it has any and was asked for them (`NETLINK_EXT_ACK`).
    pub text: Option<&'a str>,
}

/// Reads an acknowledgement; `None` is a message of another kind.
pub fn acknowledgement<'a>(message: &Message<'a>) -> Result<Option<Ack<'a>>, Malformed> {
    let attributes = match message.kind {
        DONE if message.payload.len() < 4 => return Ok(Some(Ack { errno: 0, text: None })),
        DONE => 4,
        ERROR => {
            // The request follows: whole when it failed, unless the kernel was told to cap it.
            let length = u32_at(message.payload, 4).ok_or(Malformed)?;
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            if message.flags & flag::CAPPED != 0 || length < HEADER_BYTES {
                4 + HEADER_BYTES
            } else {
                length.checked_add(4).ok_or(Malformed)?
            }
        }
        _ => return Ok(None),
    };
    let code = u32_at(message.payload, 0).ok_or(Malformed)?.cast_signed();
    let mut text = None;
    if message.flags & flag::ACK_TLVS != 0 {
        let rest = attributes.checked_next_multiple_of(4).ok_or(Malformed)?;
        for attribute in Attributes::new(message.payload.get(rest..).unwrap_or_default()) {
            let attribute = attribute?;
            if attribute.kind == ERROR_TEXT {
                text = attribute.text();
            }
        }
    }
    Ok(Some(Ack { errno: code.checked_neg().ok_or(Malformed)?, text }))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::new();
        writer.message(16, flag::REQUEST | flag::ACK, 7, &[9; 5], |w| {
            w.attr_str(1, "eth0");
            w.nest(2, |w| w.attr_u32(3, 77));
        });
        writer.message(17, 0, 8, &[], |w| w.attr(1, &[1, 2, 3]));
        let bytes = writer.finish().unwrap();

        let messages: Vec<_> = Messages::new(&bytes).map(Result::unwrap).collect();
        assert_eq!((messages[0].kind, messages[0].seq, messages[0].payload[4]), (16, 7, 9));
        let attributes: Vec<_> = messages[0].attributes(5).map(Result::unwrap).collect();
        assert_eq!(attributes[0].text(), Some("eth0"));
        assert_eq!(attributes[1].kind, 2);
        assert_eq!(attributes[1].nested().next().unwrap().unwrap().u32(), Some(77));
        let last = messages[1].attributes(0).next().unwrap().unwrap();
        assert_eq!(last.value, [1, 2, 3]);
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn flags_can_be_set_on_the_last_message_alone() {
        let mut writer = Writer::new();
        writer.flag_last(flag::ACK);
        writer.message(16, flag::REQUEST, 1, &[], |_| ());
        writer.message(16, flag::REQUEST, 2, &[], |w| w.attr(1, &[7]));
        writer.flag_last(flag::ACK);
        let bytes = writer.finish().unwrap();
        let flags: Vec<_> = Messages::new(&bytes).map(|one| one.unwrap().flags).collect();
        assert_eq!(flags, [flag::REQUEST, flag::REQUEST | flag::ACK]);
    }

    #[test]
    fn lengths_that_lead_outside_end_the_reading() {
        for bytes in [
            &[1, 0][..],
            &[0; 16],                                                  // a length of 0
            &[15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],        // shorter than its header
            &[17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],        // longer than the bytes
            &[255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // far longer
        ] {
            let all: Vec<_> = Messages::new(bytes).collect();
            assert_eq!(all, [Err(Malformed)], "{bytes:?}");
        }
        for bytes in [&[0, 0, 0, 0][..], &[3, 0, 0, 0], &[5, 0, 0, 0], &[4, 0, 0]] {
            let all: Vec<_> = Attributes::new(bytes).collect();
            assert_eq!(all, [Err(Malformed)], "{bytes:?}");
        }
    }

    #[test]
    fn an_attribute_too_long_for_its_length_field_is_refused() {
        let mut writer = Writer::new();
        writer.attr(1, &vec![0; 65_532]);
        assert_eq!(writer.finish(), Err(crate::TooLong));
    }

    #[test]
    fn an_error_carries_the_kernels_words() {
        let mut writer = Writer::new();
        let mut header = (-17_i32).to_ne_bytes().to_vec();
        header.extend_from_slice(&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        writer.message(ERROR, flag::CAPPED | flag::ACK_TLVS, 3, &header, |w| {
            w.attr_str(1, "it is there");
        });
        let bytes = writer.finish().unwrap();
        let message = Messages::new(&bytes).next().unwrap().unwrap();
        let ack = acknowledgement(&message).unwrap().unwrap();
        assert_eq!(ack, Ack { errno: 17, text: Some("it is there") });
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_make_the_reader_panic(bytes: Vec<u8>) {
            for message in Messages::new(&bytes).flatten() {
                let _ = acknowledgement(&message);
                for attribute in message.attributes(12).flatten() {
                    let _ = (attribute.u32(), attribute.text(), attribute.nested().count());
                }
            }
            let _ = Attributes::new(&bytes).count();
        }
    }
}
