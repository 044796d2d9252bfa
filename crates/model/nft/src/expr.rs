use std::net::{IpAddr, SocketAddr};

use nlmsg::Writer;

/// The register into which a match loads what it compares.
const REG_1: u32 = 1;
/// The second register, for the port of a translation.
const REG_2: u32 = 2;
/// The register that takes verdicts.
const REG_VERDICT: u32 = 0;

/// `NFTA_LIST_ELEM`.
const LIST_ELEM: u16 = 1;
/// `NFTA_EXPR_NAME`.
const EXPR_NAME: u16 = 1;
/// `NFTA_EXPR_DATA`.
const EXPR_DATA: u16 = 2;
/// `NFTA_DATA_VALUE`.
const DATA_VALUE: u16 = 1;
/// `NFTA_DATA_VERDICT`.
const DATA_VERDICT: u16 = 2;

/// The longest name of an interface with its NUL (`IFNAMSIZ`), in bytes.
const INTERFACE_NAME_BYTES: usize = 16;
/// `RTN_LOCAL`: an address of this host.
const ADDRESS_TYPE_LOCAL: u32 = 2;

/// States of a connection, as bits (`ct state`).
pub mod ct_state {
    /// Packets went both ways.
    pub const ESTABLISHED: u32 = 2;
    /// It belongs to another connection, as an ICMP error does.
    pub const RELATED: u32 = 4;
}

/// `IP_CT_DIR_REPLY`: the packet answers whoever began.
const DIRECTION_REPLY: u8 = 1;

/// What was done to a connection, as bits (`ct status`).
pub mod ct_status {
    /// Its destination was translated (`IPS_DST_NAT`).
    pub const DNAT: u32 = 0x20;
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Is,
    /// Not equal.
    IsNot,
}

impl Op {
    fn number(self) -> u32 {
        match self {
            Self::Is => 0,
            Self::IsNot => 1,
        }
    }
}

/// A rule: matches, all of which must hold, and then what is done. Written from left to right, as
/// in nft(8): `Rule::new().oif(Op::Is, "br0").drop()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    exprs: Vec<Expr>,
}

/// One expression of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    /// Loads something about the packet (`NFT_META_*`).
    Meta { key: u32 },
    /// Sets something about the packet to what was loaded.
    SetMeta { key: u32 },
    /// Loads bytes of the packet.
    Payload { base: Header, offset: u32, length: u32 },
    /// Loads something about its connection (`NFT_CT_*`).
    Ct { key: u32 },
    /// Loads the type of its destination address.
    DestinationType,
    /// Masks what was loaded.
    Mask(Vec<u8>),
    /// Goes on only if the comparison holds.
    Compare { op: Op, value: Vec<u8> },
    /// Loads a value.
    Load { register: u32, value: Vec<u8> },
    /// Translates the destination to the address and the port that were loaded.
    Dnat { family: u32 },
    /// Translates the source to the address that was loaded.
    Snat { family: u32 },
    /// Translates the source to an address of the interface by which the packet leaves.
    Masquerade,
    /// Counts packets and bytes.
    Counter,
    /// Decides.
    Verdict { code: i32, chain: Option<String> },
}

/// A header of a packet (`NFT_PAYLOAD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Network,
    Transport,
}

/// `NFT_META_MARK`.
const META_MARK: u32 = 3;
/// `NFT_META_IIFNAME`.
const META_IIFNAME: u32 = 6;
/// `NFT_META_OIFNAME`.
const META_OIFNAME: u32 = 7;
/// `NFT_META_L4PROTO`.
const META_L4PROTO: u32 = 16;
/// `NFT_CT_STATE`.
const CT_STATE: u32 = 0;
/// `NFT_CT_DIRECTION`.
const CT_DIRECTION: u32 = 1;
/// `NFT_CT_STATUS`.
const CT_STATUS: u32 = 2;

impl Rule {
    /// A rule that matches everything and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// `iifname NAME`. A name of more than 15 bytes never matches.
    pub fn iif(self, op: Op, name: &str) -> Self {
        self.with(Expr::Meta { key: META_IIFNAME }).compare(op, interface(name))
    }

    /// `oifname NAME`. A name of more than 15 bytes never matches.
    pub fn oif(self, op: Op, name: &str) -> Self {
        self.with(Expr::Meta { key: META_OIFNAME }).compare(op, interface(name))
    }

    /// `ip saddr ADDRESS/PREFIX`, or `ip6 saddr`; the table must be of the same family.
    pub fn source(self, op: Op, address: IpAddr, prefix: u8) -> Self {
        let offset = if address.is_ipv4() { 12 } else { 8 };
        self.address(op, offset, address, prefix)
    }

    /// `ip daddr ADDRESS/PREFIX`, or `ip6 daddr`; the table must be of the same family.
    pub fn destination(self, op: Op, address: IpAddr, prefix: u8) -> Self {
        let offset = if address.is_ipv4() { 16 } else { 24 };
        self.address(op, offset, address, prefix)
    }

    /// `fib daddr type local`: the destination is an address of this host.
    pub fn to_this_host(self) -> Self {
        self.with(Expr::DestinationType).compare(Op::Is, ADDRESS_TYPE_LOCAL.to_ne_bytes().to_vec())
    }

    /// `tcp dport PORT`.
    pub fn tcp_port(self, port: u16) -> Self {
        self.port(6, port)
    }

    /// `udp dport PORT`.
    pub fn udp_port(self, port: u16) -> Self {
        self.port(17, port)
    }

    /// `sctp dport PORT`.
    pub fn sctp_port(self, port: u16) -> Self {
        self.port(132, port)
    }

    /// `meta l4proto icmp`, or `ipv6-icmp`.
    pub fn icmp(self, ipv4: bool) -> Self {
        self.with(Expr::Meta { key: META_L4PROTO }).compare(Op::Is, vec![if ipv4 { 1 } else { 58 }])
    }

    /// `meta mark MARK`.
    pub fn mark(self, mark: u32) -> Self {
        self.with(Expr::Meta { key: META_MARK }).compare(Op::Is, mark.to_ne_bytes().to_vec())
    }

    /// `meta mark set MARK`.
    pub fn set_mark(self, mark: u32) -> Self {
        self.with(Expr::Load { register: REG_1, value: mark.to_ne_bytes().to_vec() })
            .with(Expr::SetMeta { key: META_MARK })
    }

    /// `ct direction reply`.
    pub fn ct_reply(self) -> Self {
        self.with(Expr::Ct { key: CT_DIRECTION }).compare(Op::Is, vec![DIRECTION_REPLY])
    }

    /// `ct state`: any of `states`.
    pub fn ct_state(self, states: u32) -> Self {
        self.with(Expr::Ct { key: CT_STATE }).any_bit(states)
    }

    /// `ct status`: any of `bits`.
    pub fn ct_status(self, bits: u32) -> Self {
        self.with(Expr::Ct { key: CT_STATUS }).any_bit(bits)
    }

    /// `counter`.
    pub fn counter(self) -> Self {
        self.with(Expr::Counter)
    }

    /// `dnat to ADDRESS:PORT`.
    pub fn dnat(self, to: SocketAddr) -> Self {
        let (family, address) = octets(to.ip());
        self.with(Expr::Load { register: REG_1, value: address })
            .with(Expr::Load { register: REG_2, value: to.port().to_be_bytes().to_vec() })
            .with(Expr::Dnat { family: u32::from(family.number()) })
    }

    /// `snat to ADDRESS`.
    pub fn snat(self, to: IpAddr) -> Self {
        let (family, address) = octets(to);
        self.with(Expr::Load { register: REG_1, value: address })
            .with(Expr::Snat { family: u32::from(family.number()) })
    }

    /// `masquerade`.
    pub fn masquerade(self) -> Self {
        self.with(Expr::Masquerade)
    }

    /// `accept`: this table lets it through; others may still drop it.
    pub fn accept(self) -> Self {
        self.verdict(1, None)
    }

    /// `drop`.
    pub fn drop(self) -> Self {
        self.verdict(0, None)
    }

    /// `jump CHAIN`.
    pub fn jump(self, chain: &str) -> Self {
        self.verdict(-3, Some(chain.to_owned()))
    }

    /// `return`: back to where the packet came from.
    pub fn return_(self) -> Self {
        self.verdict(-5, None)
    }

    fn with(mut self, expr: Expr) -> Self {
        self.exprs.push(expr);
        self
    }

    fn compare(self, op: Op, value: Vec<u8>) -> Self {
        self.with(Expr::Compare { op, value })
    }

    fn verdict(self, code: i32, chain: Option<String>) -> Self {
        self.with(Expr::Verdict { code, chain })
    }

    fn any_bit(self, bits: u32) -> Self {
        self.with(Expr::Mask(bits.to_ne_bytes().to_vec())).compare(Op::IsNot, vec![0; 4])
    }

    fn port(self, protocol: u8, port: u16) -> Self {
        self.with(Expr::Meta { key: META_L4PROTO })
            .compare(Op::Is, vec![protocol])
            .with(Expr::Payload { base: Header::Transport, offset: 2, length: 2 })
            .compare(Op::Is, port.to_be_bytes().to_vec())
    }

    fn address(self, op: Op, offset: u32, address: IpAddr, prefix: u8) -> Self {
        let mut value = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let mask = mask(value.len(), prefix);
        for (byte, mask) in value.iter_mut().zip(&mask) {
            *byte &= mask;
        }
        let length = u32::from(if address.is_ipv4() { 4_u8 } else { 16 });
        let loaded = self.with(Expr::Payload { base: Header::Network, offset, length });
        // A whole address needs no mask, and nft(8) makes none.
        let whole = mask.iter().all(|byte| *byte == 0xff);
        let masked = if whole { loaded } else { loaded.with(Expr::Mask(mask)) };
        masked.compare(op, value)
    }

    /// Writes all of it as a list of expressions.
    pub(crate) fn write(&self, w: &mut Writer) {
        for expr in &self.exprs {
            w.nest(LIST_ELEM, |w| {
                w.attr_str(EXPR_NAME, expr.name());
                w.nest(EXPR_DATA, |w| expr.write(w));
            });
        }
    }
}

impl Expr {
    fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Ct { .. } => "ct",
            Self::DestinationType => "fib",
            Self::Mask(_) => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::Load { .. } | Self::Verdict { .. } => "immediate",
            Self::Dnat { .. } | Self::Snat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Counter => "counter",
        }
    }

    /// Its attributes (`NFTA_META_*` and so on), each with the kernel's number.
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Meta { key } | Self::Ct { key } => {
                w.attr_be32(1, REG_1);
                w.attr_be32(2, *key);
            }
            Self::SetMeta { key } => {
                w.attr_be32(2, *key);
                w.attr_be32(3, REG_1);
            }
            Self::Payload { base, offset, length } => {
                w.attr_be32(1, REG_1);
                w.attr_be32(2, if *base == Header::Network { 1 } else { 2 });
                w.attr_be32(3, *offset);
                w.attr_be32(4, *length);
            }
            Self::DestinationType => {
                w.attr_be32(1, REG_1);
                w.attr_be32(2, 3); // NFT_FIB_RESULT_ADDRTYPE
                w.attr_be32(3, 2); // NFTA_FIB_F_DADDR
            }
            Self::Mask(mask) => {
                w.attr_be32(1, REG_1);
                w.attr_be32(2, REG_1);
                w.attr_be32(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                w.nest(4, |w| w.attr(DATA_VALUE, mask));
                w.nest(5, |w| w.attr(DATA_VALUE, &vec![0; mask.len()]));
            }
            Self::Compare { op, value } => {
                w.attr_be32(1, REG_1);
                w.attr_be32(2, op.number());
                w.nest(3, |w| w.attr(DATA_VALUE, value));
            }
            Self::Load { register, value } => {
                w.attr_be32(1, *register);
                w.nest(2, |w| w.attr(DATA_VALUE, value));
            }
            Self::Dnat { family } => {
                w.attr_be32(1, 1); // NFT_NAT_DNAT
                w.attr_be32(2, *family);
                w.attr_be32(3, REG_1);
                w.attr_be32(5, REG_2);
            }
            Self::Snat { family } => {
                w.attr_be32(1, 0); // NFT_NAT_SNAT
                w.attr_be32(2, *family);
                w.attr_be32(3, REG_1);
            }
            Self::Masquerade | Self::Counter => {}
            Self::Verdict { code, chain } => {
                w.attr_be32(1, REG_VERDICT);
                w.nest(2, |w| {
                    w.nest(DATA_VERDICT, |w| {
                        w.attr_be32(1, code.cast_unsigned());
                        if let Some(chain) = chain {
                            w.attr_str(2, chain);
                        }
                    });
                });
            }
        }
    }
}

fn octets(address: IpAddr) -> (crate::Family, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (crate::Family::Ip, v4.octets().to_vec()),
        IpAddr::V6(v6) => (crate::Family::Ip6, v6.octets().to_vec()),
    }
}

/// A name as the kernel compares it: filled up with NULs.
fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    // One byte too many stays one too many, so that the kernel refuses what cannot be a name.
    bytes.resize(bytes.len().max(INTERFACE_NAME_BYTES), 0);
    bytes
}

fn mask(bytes: usize, prefix: u8) -> Vec<u8> {
    let bits = usize::from(prefix);
    (0..bytes)
        .map(|at| match bits.saturating_sub(at * 8) {
            0 => 0,
            ones @ 1..8 => 0xff_u8 << (8 - ones),
            _ => 0xff,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(mask(4, 0), [0, 0, 0, 0]);
        assert_eq!(mask(4, 12), [255, 240, 0, 0]);
        assert_eq!(mask(4, 32), [255; 4]);
        assert_eq!(mask(4, 255), [255; 4]);
        assert_eq!(mask(16, 65)[8], 128);
    }
}
