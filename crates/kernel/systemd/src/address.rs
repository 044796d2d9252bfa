//! Where a bus listens, as D-Bus writes it: `unix:path=/run/user/1000/bus`.

use std::path::PathBuf;

/// A socket's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

/// The sockets in a list of addresses, in its order. Those of other kinds are left out.
pub(crate) fn parse(list: &str) -> Vec<Address> {
    list.split(';').filter_map(one).collect()
}

fn one(address: &str) -> Option<Address> {
    use std::os::unix::ffi::OsStringExt;
    let pairs = address.strip_prefix("unix:")?.split(',');
    pairs.filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| match key {
        "path" => {
            Some(Address::Path(PathBuf::from(std::ffi::OsString::from_vec(unescape(value)?))))
        }
        "abstract" => Some(Address::Abstract(unescape(value)?)),
        _ => None,
    })
}

/// `%41` is `A`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let path = |path: &str| Address::Path(PathBuf::from(path));
        for (list, want) in [
            ("unix:path=/run/user/1000/bus", vec![path("/run/user/1000/bus")]),
            ("unix:path=/tmp/a%20b,guid=ab12", vec![path("/tmp/a b")]),
            (
                "unix:abstract=/tmp/x;tcp:host=a;unix:path=/y",
                vec![Address::Abstract(b"/tmp/x".to_vec()), path("/y")],
            ),
            ("unix:path=/a%", vec![]),
            ("unix:path=/a%zz", vec![]),
            ("unix:dir=/a", vec![]),
            ("autolaunch:", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse(list), want, "{list}");
        }
    }
}
