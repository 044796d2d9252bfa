//! Comparing what is asked for with what a class has.

/// One line: `L3:0=7f0;1=1f`.
fn parse(line: &str) -> Option<(&str, Vec<(u32, u64)>)> {
    let (resource, domains) = line.trim().split_once(':')?;
    let radix = if resource.starts_with("MB") || resource.starts_with("SMBA") { 10 } else { 16 };
    let domains = domains
        .split(';')
        .map(str::trim)
        .filter(|one| !one.is_empty())
        .map(|one| {
            let (domain, value) = one.split_once('=')?;
            let value = u64::from_str_radix(value.trim(), radix).ok()?;
            Some((domain.trim().parse().ok()?, value))
        })
        .collect::<Option<_>>()?;
    Some((resource.trim(), domains))
}

/// Whether `schemata`, the lines of a class, give what `schema`, one line, asks for. What it does
/// not speak of does not matter; a number is the same however it is written.
pub fn agrees(schema: &str, schemata: &str) -> bool {
    let Some((resource, wanted)) = parse(schema) else { return false };
    schemata
        .lines()
        .filter_map(parse)
        .filter(|(name, _)| *name == resource)
        .any(|(_, have)| wanted.iter().all(|domain| have.contains(domain)))
}

#[cfg(test)]
mod tests {
    use super::agrees;

    #[test]
    fn numbers_are_compared_and_not_texts() {
        let have = "    MB:0= 20;1=100\n    L3:0=007f0;1=0001f\n";
        for (schema, agree) in [
            ("L3:0=7f0;1=1f", true),
            ("L3:1=1f", true),
            ("L3:0=7F0", true),
            ("L3:0=7f1", false),
            ("L3:2=1f", false),
            ("MB:0=20;1=100", true),
            ("MB:0=14", false),
            ("L2:0=f", false),
            ("nonsense", false),
        ] {
            assert_eq!(agrees(schema, have), agree, "{schema}");
        }
    }
}
