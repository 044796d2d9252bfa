//! EXPOSE: `PORT[-PORT][/PROTOCOL]`, and what was never meant to be written there.

use std::net::IpAddr;

use crate::problem::Problem;
use crate::quote::Quoted;

/// Ports of one word, each as `PORT/PROTOCOL`.
pub(crate) struct Exposed {
    pub(crate) ports: Vec<String>,
    /// The protocol has capitals.
    pub(crate) odd_case: bool,
    /// It names an address or a port of the host.
    pub(crate) has_host: bool,
}

pub(crate) fn parse(text: &str) -> Result<Exposed, Problem> {
    let parts: Vec<&str> = text.split(':').collect();
    let (address, host, container) = match parts.as_slice() {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [address @ .., host, container] => (address.join(":"), *host, *container),
        [] => (String::new(), "", ""),
    };
    let invalid = |why: String| Problem::Port(format!("invalid port: {}: {why}", Quoted(text)));
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    if range.is_empty() {
        return Err(invalid("no port specified".into()));
    }
    let lower = match protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => return Err(invalid(format!("invalid proto: {protocol}"))),
    };
    let bare =
        address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&address);
    if !address.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(Problem::Port(format!("invalid IP address: {bare}")));
    }
    let (first, last) =
        numbers(range).ok_or_else(|| Problem::Port(format!("invalid containerPort: {range}")))?;
    if !host.is_empty() {
        let (low, high) =
            numbers(host).ok_or_else(|| Problem::Port(format!("invalid hostPort: {host}")))?;
        if last - first != high - low && first != last {
            let text = "invalid ranges specified for container and host Ports";
            return Err(Problem::Port(format!("{text}: {range} and {host}")));
        }
    }
    Ok(Exposed {
        ports: (first..=last).map(|port| format!("{port}/{lower}")).collect(),
        odd_case: protocol != protocol.to_lowercase(),
        has_host: !address.is_empty() || !host.is_empty(),
    })
}

fn numbers(range: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten()
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let ports =
            |text| parse(text).map(|found| found.ports).map_err(|problem| problem.to_string());
        assert_eq!(ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports("8000-8002/UDP").unwrap(), ["8000/udp", "8001/udp", "8002/udp"]);
        assert_eq!(ports("127.0.0.1:1:2").unwrap(), ["2/tcp"]);
        assert_eq!(ports("[::1]:1:2").unwrap(), ["2/tcp"]);
        assert!(parse("1:2").unwrap().has_host && parse("1/TCP").unwrap().odd_case);
        for (text, want) in [
            ("", "invalid port: \"\": no port specified"),
            ("1/x", "invalid port: \"1/x\": invalid proto: x"),
            ("a", "invalid containerPort: a"),
            ("70000", "invalid containerPort: 70000"),
            ("5-3", "invalid containerPort: 5-3"),
            ("x:1", "invalid hostPort: x"),
            ("y:1:2", "invalid IP address: y"),
            ("1-2:3-5", "invalid ranges specified for container and host Ports: 3-5 and 1-2"),
        ] {
            assert_eq!(ports(text).unwrap_err(), want);
        }
    }
}
