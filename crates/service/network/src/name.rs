//! Names in the kernel: at most 15 bytes for a link, and of one engine alone.
use crate::Driver;

/// How many digits of an id are enough to tell it from others.
pub(crate) const SHORT_ID_DIGITS: usize = 12;

/// The first digits of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..SHORT_ID_DIGITS).unwrap_or(id)
}

/// What the bridges of the engine `prefix` start with: `dhow`, or `dhHASH`.
fn bridge_prefix(prefix: &str) -> String {
    prefix.strip_prefix("dhow-").map_or_else(|| prefix.to_owned(), |hash| format!("dh{hash}"))
}

/// The default network's bridge: `dhow0`, or `dhHASH0`.
pub(crate) fn default_bridge(prefix: &str) -> String {
    format!("{}0", bridge_prefix(prefix))
}

/// Another network's bridge: `dhow-` and 10 digits of its id, or `dhHASH` and 5.
pub(crate) fn bridge(prefix: &str, network_id: &str) -> String {
    let mut name = bridge_prefix(prefix);
    if name == prefix {
        name.push('-');
    }
    name.extend(network_id.chars().take(LINK_NAME_BYTES - name.len()));
    name
}

/// Whether a link's name is one of [`bridge`] or [`default_bridge`] for this engine.
pub(crate) fn is_bridge(prefix: &str, name: &str) -> bool {
    if name == default_bridge(prefix) {
        return true;
    }
    let start = bridge(prefix, "");
    let digits = name.strip_prefix(&start).unwrap_or_default();
    name.len() == LINK_NAME_BYTES && is_hex(digits)
}

/// The link of a `macvlan` or `ipvlan` network that names no parent: Docker's name for it.
pub(crate) fn dummy(driver: Driver, network_id: &str) -> String {
    let prefix = if driver == Driver::Ipvlan { "di-" } else { "dm-" };
    format!("{prefix}{}", short(network_id))
}

/// The host's end of a container's link: 9 digits of the container's id, 4 of the network's.
pub(crate) fn veth(container_id: &str, network_id: &str) -> String {
    let container = container_id.get(..9).unwrap_or(container_id);
    let network = network_id.get(..4).unwrap_or(network_id);
    format!("ve{container}{network}")
}

/// The table of a container's published ports.
pub(crate) fn container_table(prefix: &str, container_id: &str) -> String {
    format!("{prefix}-{}", short(container_id))
}

/// The table of a network.
pub(crate) fn network_table(prefix: &str, network_id: &str) -> String {
    format!("{prefix}-net-{}", short(network_id))
}

/// Whose a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table<'a> {
    /// A container's, by the start of its id.
    Container(&'a str),
    /// A network's, by the start of its id.
    Network(&'a str),
}

/// Reads a table's name; `None` is none of this engine's.
pub(crate) fn parse_table<'a>(prefix: &str, name: &'a str) -> Option<Table<'a>> {
    let rest = name.strip_prefix(prefix)?.strip_prefix('-')?;
    let (id, table) = match rest.strip_prefix("net-") {
        Some(id) => (id, Table::Network(id)),
        None => (rest, Table::Container(rest)),
    };
    (id.len() == SHORT_ID_DIGITS && is_hex(id)).then_some(table)
}

/// `IFNAMSIZ` without the NUL.
pub(crate) const LINK_NAME_BYTES: usize = 15;

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn links_fit_and_are_recognised() {
        for (prefix, default, other) in [
            ("dhow", "dhow0", "dhow-0123456789"),
            ("dhow-1a2b3c4d", "dh1a2b3c4d0", "dh1a2b3c4d01234"),
        ] {
            assert_eq!(default_bridge(prefix), default);
            assert_eq!(bridge(prefix, ID), other);
            assert!(is_bridge(prefix, default) && is_bridge(prefix, other));
            for foreign in ["dhow", "docker0", "dhow-", "dhow-012345678", "dh1a2b3c4e01234", ""] {
                assert!(!is_bridge(prefix, foreign), "{foreign}");
            }
        }
        assert!(!is_bridge("dhow", "dh1a2b3c4d01234") && !is_bridge("dhow-1a2b3c4d", "dhow0"));
        assert_eq!(dummy(Driver::Macvlan, ID), "dm-0123456789ab");
        assert_eq!(dummy(Driver::Ipvlan, ID), "di-0123456789ab");
        assert_eq!(veth(ID, ID), "ve0123456780123");
        assert_eq!(veth(ID, ID).len(), LINK_NAME_BYTES);
    }

    #[test]
    fn tables_are_recognised_as_this_engines_alone() {
        for prefix in ["dhow", "dhow-1a2b3c4d"] {
            let container = container_table(prefix, ID);
            let network = network_table(prefix, ID);
            assert_eq!(parse_table(prefix, &container), Some(Table::Container("0123456789ab")));
            assert_eq!(parse_table(prefix, &network), Some(Table::Network("0123456789ab")));
        }
        let other = container_table("dhow-1a2b3c4d", ID);
        for foreign in [other.as_str(), "nat", "dhow", "dhow-", "dhow-net", "dhow-0123456789AB"] {
            assert_eq!(parse_table("dhow", foreign), None, "{foreign}");
        }
    }
}
