use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of addresses with a common prefix: `172.17.0.0/16`. The address has no bits behind the
/// prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

/// Text that is no subnet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither an address nor a length, or not both.
    #[error("invalid CIDR address: {0}")]
    Text(String),
    /// There are bits behind the prefix.
    #[error("invalid subnet {given}: it should be {meant}")]
    HostBits {
        /// As given.
        given: String,
        /// Without them.
        meant: Subnet,
    },
}

impl Subnet {
    /// The subnet of `prefix` bits that `address` is in; `None` where the prefix is too long.
    pub fn around(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return None;
        }
        let address = match address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask(32, prefix) as u32).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask(128, prefix)).into(),
        };
        Some(Self { address, prefix })
    }

    /// Its first address, by which it is called.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length of its prefix, in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && Self::around(address, self.prefix) == Some(*self)
    }

    /// Whether all of `other` is in it.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The address that is `offset` behind its first; `None` behind its last.
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let offset = u32::try_from(offset).ok()?;
                Ipv4Addr::from_bits(v4.to_bits().checked_add(offset)?).into()
            }
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_add(offset)?).into(),
        };
        self.contains(address).then_some(address)
    }

    /// How far `address` is behind the first one; `None` outside.
    pub fn offset(&self, address: IpAddr) -> Option<u128> {
        if !self.contains(address) {
            return None;
        }
        Some(bits(address) - bits(self.address))
    }

    /// How many addresses it has; the whole of IPv6 has one less than it has.
    pub fn size(&self) -> u128 {
        let bits = if self.is_ipv4() { 32 } else { 128 };
        1_u128.checked_shl(u32::from(bits - self.prefix)).unwrap_or(u128::MAX)
    }

    /// Whether `address` may be given to somebody: it is in here, and is neither the network's own
    /// nor, for IPv4, the broadcast address.
    pub fn is_host(&self, address: IpAddr) -> bool {
        self.offset(address).is_some_and(|offset| {
            let last = self.size() - 1;
            self.size() <= 2 || (offset != 0 && (offset != last || !self.is_ipv4()))
        })
    }
}

fn mask(width: u32, prefix: u8) -> u128 {
    let ones = u32::from(prefix);
    if ones == 0 { 0 } else { (u128::MAX >> (128 - ones)) << (width - ones) }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::Text(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(malformed)?;
        let address = address.parse().map_err(|_| malformed())?;
        let prefix = prefix.parse().map_err(|_| malformed())?;
        let subnet = Self::around(address, prefix).ok_or_else(malformed)?;
        if subnet.address != address {
            return Err(Malformed::HostBits { given: text.to_owned(), meant: subnet });
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn text_is_read_or_refused() {
        for good in ["172.17.0.0/16", "0.0.0.0/0", "10.1.2.3/32", "fd00::/64", "::/0"] {
            assert_eq!(subnet(good).to_string(), good);
        }
        for bad in ["", "172.17.0.0", "172.17.0.0/33", "172.17.0.0/x", "x/8", "fd00::/129", "/8"] {
            let err = bad.parse::<Subnet>().unwrap_err();
            assert_eq!(err.to_string(), format!("invalid CIDR address: {bad}"));
        }
        let err = "10.0.0.1/24".parse::<Subnet>().unwrap_err();
        assert_eq!(err.to_string(), "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24");
    }

    #[test]
    fn containment_and_overlap() {
        let net = subnet("172.17.0.0/16");
        assert!(net.contains(ip("172.17.255.255")) && !net.contains(ip("172.18.0.0")));
        assert!(!net.contains(ip("::1")) && !subnet("::/0").contains(ip("1.2.3.4")));
        for (other, overlaps) in [
            ("172.16.0.0/12", true),
            ("172.17.5.0/24", true),
            ("172.18.0.0/16", false),
            ("0.0.0.0/0", true),
            ("::/0", false),
        ] {
            assert_eq!(net.overlaps(&subnet(other)), overlaps, "{other}");
            assert_eq!(subnet(other).overlaps(&net), overlaps, "{other}");
        }
    }

    #[test]
    fn addresses_by_number() {
        let net = subnet("10.0.0.0/30");
        assert_eq!(net.nth(3), Some(ip("10.0.0.3")));
        assert_eq!(net.nth(4), None);
        assert_eq!(subnet("255.255.255.252/30").nth(4), None);
        assert_eq!(net.offset(ip("10.0.0.2")), Some(2));
        let hosts: Vec<_> = (0..4).filter(|n| net.is_host(net.nth(*n).unwrap())).collect();
        assert_eq!(hosts, [1, 2]);
        assert!(subnet("10.0.0.0/31").is_host(ip("10.0.0.0")));
        assert!(!subnet("fd00::/64").is_host(ip("fd00::")));
        assert_eq!(subnet("::/0").size(), u128::MAX);
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_is_what_was_meant(bits: u32, prefix in 0_u8..=32) {
            let net = Subnet::around(Ipv4Addr::from_bits(bits).into(), prefix).unwrap();
            proptest::prop_assert_eq!(subnet(&net.to_string()), net);
            proptest::prop_assert!(net.contains(Ipv4Addr::from_bits(bits).into()));
        }
    }
}
