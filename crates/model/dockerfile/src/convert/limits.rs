//! What programs of a build may use of the machine: options of BuildKit's front end (`frontend/dockerui/attr.go`), since
//! Dockerfile 1.25.

use std::collections::BTreeMap;

use buildgraph::Limits;

use crate::problem::Problem;

/// No machine has a processor, or a memory node, of a higher number (BuildKit's limit).
const MAX_PLACE: u32 = 8192;

/// Reads them.
pub(crate) fn limits(given: &BTreeMap<String, String>) -> Result<Limits, Problem> {
    let text = |key: &str| given.get(key).map(String::as_str).filter(|text| !text.is_empty());
    let number = |key: &str, is_any: bool| {
        let Some(text) = text(key) else { return Ok(0) };
        let must = if is_any { "must be -1 (unlimited) or > 0" } else { "must be > 0" };
        let number = text.parse::<i64>().map_err(|_| wrong(key, text, "it is no number"))?;
        let is_good = number > 0 || is_any && number == -1;
        if is_good { Ok(number) } else { Err(wrong(key, text, must)) }
    };
    let places = |key: &str| -> Result<String, Problem> {
        let Some(text) = text(key) else { return Ok(String::new()) };
        // Parts of which nothing is are nothing to BuildKit either.
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let parts: Option<Vec<String>> = parts.map(range).collect();
        let parts = parts.ok_or_else(|| wrong(key, text, "it is no list of numbers"))?;
        Ok(parts.join(","))
    };
    Ok(Limits {
        memory: number("memory", false)?,
        memory_swap: number("memswap", true)?,
        cpu_shares: number("cpushares", false)?,
        cpu_period: number("cpuperiod", false)?,
        cpu_quota: number("cpuquota", false)?,
        cpuset_cpus: places("cpusetcpus")?,
        cpuset_mems: places("cpusetmems")?,
    })
}

fn wrong(key: &str, text: &str, why: &str) -> Problem {
    Problem::Option(format!("failed to parse resource limits: invalid {key} value: {text}: {why}"))
}

/// `3`, `0-3`, without spaces; `None` where it is neither.
fn range(part: &str) -> Option<String> {
    let place = |text: &str| text.trim().parse::<u32>().ok().filter(|place| *place <= MAX_PLACE);
    let Some((first, last)) = part.split_once('-') else {
        return place(part).map(|place| place.to_string());
    };
    let (first, last) = (place(first)?, place(last)?);
    (first <= last).then(|| format!("{first}-{last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[(&str, &str)]) -> Result<Limits, String> {
        let given = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        limits(&given.collect()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn options_are_limits() {
        let given = [
            ("memory", "67108864"),
            ("memswap", "-1"),
            ("cpuquota", "5"),
            ("cpusetcpus", "0 - 1, 3,"),
        ];
        let want = Limits {
            memory: 64 << 20,
            memory_swap: -1,
            cpu_quota: 5,
            cpuset_cpus: "0-1,3".into(),
            ..Limits::default()
        };
        assert_eq!(of(&given), Ok(want));
        assert_eq!(of(&[("memory", "")]), Ok(Limits::default()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let memory = of(&[("memory", "0")]).unwrap_err();
        assert_eq!(memory, "failed to parse resource limits: invalid memory value: 0: must be > 0");
        for (key, value) in [
            ("memory", "1g"),
            ("memory", "-1"),
            ("memswap", "-2"),
            ("cpushares", "0"),
            ("cpusetcpus", "3-1"),
            ("cpusetcpus", "x"),
            ("cpusetcpus", "1 2"),
            ("cpusetmems", "8193"),
            ("cpusetmems", "0-999999999"),
        ] {
            assert!(of(&[(key, value)]).is_err(), "{key}={value}");
        }
    }
}
