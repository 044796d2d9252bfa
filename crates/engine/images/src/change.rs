//! `--change`: instructions of a Dockerfile that change a configuration and no file.

use std::collections::HashMap;

use oci::image::{Config, Healthcheck};

use crate::{Error, words};

/// Instructions that make no sense in `ONBUILD`.
const NO_TRIGGER: &[&str] = &["ONBUILD", "FROM", "MAINTAINER"];

/// Applies instructions, in their order.
pub(crate) fn apply_all(config: &mut Config, texts: &[String]) -> Result<(), Error> {
    let mut sets_command = false;
    for text in texts {
        let name = text.trim().split(char::is_whitespace).next().unwrap_or_default();
        let command = config.cmd.clone();
        apply(config, text)?;
        sets_command |= name.eq_ignore_ascii_case("CMD");
        if sets_command && name.eq_ignore_ascii_case("ENTRYPOINT") {
            // One that is set beside it is meant for it.
            config.cmd = command;
        }
    }
    Ok(())
}

/// Applies one instruction.
fn apply(config: &mut Config, text: &str) -> Result<(), Error> {
    let text = text.trim();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let name = name.to_ascii_uppercase();
    if rest.is_empty() {
        return Err(Error::Invalid(format!("{name} requires at least one argument")));
    }
    match name.as_str() {
        "CMD" => config.cmd = Some(command(config, rest)),
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(config, rest));
            // It belonged to the entry point before.
            config.cmd = None;
        }
        "ENV" => {
            for (key, value) in pairs(config, "ENV", rest)? {
                let prefix = format!("{key}=");
                let entry = format!("{prefix}{value}");
                // One that is there keeps its place.
                match config.env.iter_mut().find(|known| known.starts_with(&prefix)) {
                    Some(known) => *known = entry,
                    None => config.env.push(entry),
                }
            }
        }
        "LABEL" => {
            let labels = pairs(config, "LABEL", rest)?;
            config.labels.extend(labels);
        }
        "EXPOSE" => {
            for word in split(config, rest)? {
                let ports = docker::nat::parse_exposed(&word);
                let ports = ports.map_err(|error| Error::Invalid(error.to_string()))?;
                config.exposed_ports.extend(ports.iter().map(ToString::to_string));
            }
        }
        "VOLUME" => {
            let paths = match json(rest) {
                Some(paths) => paths,
                None => split(config, rest)?,
            };
            if paths.iter().any(|path| path.trim().is_empty()) {
                return Err(Error::Invalid("VOLUME specified can not be an empty string".into()));
            }
            config.volumes.extend(paths);
        }
        "USER" => config.user = single(config, "USER", rest)?,
        "WORKDIR" => {
            let path = single(config, "WORKDIR", rest)?;
            config.working_dir = join(&config.working_dir, &path);
        }
        "STOPSIGNAL" => {
            let signal = single(config, "STOPSIGNAL", rest)?;
            oci::signal::parse(&signal).map_err(|error| Error::Invalid(error.to_string()))?;
            config.stop_signal = Some(signal);
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        "SHELL" => {
            let shell = json(rest).filter(|shell| !shell.is_empty());
            let why = "SHELL requires the arguments to be in JSON form";
            config.shell = Some(shell.ok_or_else(|| Error::Invalid(why.into()))?);
        }
        "ONBUILD" => {
            let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if NO_TRIGGER.contains(&trigger.as_str()) {
                return Err(Error::Invalid(format!(
                    "{trigger} isn't allowed as an ONBUILD trigger"
                )));
            }
            config.on_build.push(rest.into());
        }
        _ => return Err(Error::Invalid(format!("{name} is not a valid change command"))),
    }
    Ok(())
}

/// The exec form, a JSON array, or the shell form.
fn command(config: &Config, text: &str) -> Vec<String> {
    if let Some(words) = json(text) {
        return words;
    }
    let shell = || vec!["/bin/sh".into(), "-c".into()];
    let mut command = config.shell.clone().unwrap_or_else(shell);
    command.push(text.into());
    command
}

fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

fn split(config: &Config, text: &str) -> Result<Vec<String>, Error> {
    let variables: HashMap<&str, &str> =
        config.env.iter().filter_map(|entry| entry.split_once('=')).collect();
    words::split(text, &variables).map_err(Error::Invalid)
}

/// Text that is one word, whatever white space is in it.
fn single(config: &Config, name: &str, text: &str) -> Result<String, Error> {
    match <[String; 1]>::try_from(split(config, text)?) {
        Ok([word]) if !word.is_empty() => Ok(word),
        _ => Err(Error::Invalid(format!("{name} requires exactly one argument"))),
    }
}

/// `KEY=VALUE ...`, or the old form `KEY VALUE`, where the value is the whole rest.
fn pairs(config: &Config, name: &str, text: &str) -> Result<Vec<(String, String)>, Error> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if value.is_empty() {
            return Err(Error::Invalid(format!("{name} must have two arguments")));
        }
        let value = split(config, value)?.join(" ");
        return Ok(vec![(key.into(), value)]);
    }
    let mut pairs = Vec::new();
    for word in split(config, text)? {
        match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => pairs.push((key.into(), value.into())),
            Some(_) => return Err(Error::Invalid(format!("{name} names can not be blank"))),
            None => {
                let why = format!(
                    "Syntax error - can't find = in \"{word}\". Must be of the form: name=value"
                );
                return Err(Error::Invalid(why));
            }
        }
    }
    Ok(pairs)
}

/// A directory in another, without `.`, `..` and double slashes; always absolute.
fn join(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `NONE`, or `[--OPTION=VALUE ...] CMD COMMAND`.
fn healthcheck(text: &str) -> Result<Healthcheck, Error> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let field = match key {
            "interval" => &mut check.interval,
            "timeout" => &mut check.timeout,
            "start-period" => &mut check.start_period,
            "start-interval" => &mut check.start_interval,
            "retries" => {
                let retries = value.parse().ok().filter(|retries| *retries >= 1);
                let why = format!("--retries must be at least 1 (not {value})");
                check.retries = retries.ok_or(Error::Invalid(why))?;
                rest = after.trim_start();
                continue;
            }
            _ => return Err(Error::Invalid(format!("Unknown flag: {key}"))),
        };
        *field = duration(value)
            .ok_or_else(|| Error::Invalid(format!("invalid duration \"{value}\" of --{key}")))?;
        rest = after.trim_start();
    }
    let (kind, command_text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command_text = command_text.trim();
    check.test = Some(match (kind.to_ascii_uppercase().as_str(), command_text) {
        ("NONE", "") => vec!["NONE".into()],
        ("CMD", "") => return Err(Error::Invalid("Missing command after HEALTHCHECK CMD".into())),
        ("CMD", text) => match json(text) {
            Some(words) => [vec!["CMD".into()], words].concat(),
            None => vec!["CMD-SHELL".into(), text.into()],
        },
        (kind, _) => {
            return Err(Error::Invalid(format!("Unknown type \"{kind}\" in HEALTHCHECK")));
        }
    });
    Ok(check)
}

/// `1h2m3.5s`, in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += number * factor;
        rest = &rest[unit.len()..];
    }
    (!text.is_empty() && total < i64::MAX as f64).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(texts: &[&str]) -> serde_json::Value {
        let mut config = Config::default();
        for text in texts {
            apply(&mut config, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        serde_json::to_value(&config).unwrap()
    }

    #[test]
    fn every_instruction() {
        for (texts, want) in [
            (&["CMD echo hi"][..], r#"{"Cmd":["/bin/sh","-c","echo hi"]}"#),
            (&["cmd [\"a\", \"b\"]"], r#"{"Cmd":["a","b"]}"#),
            (&["CMD a", "ENTRYPOINT [\"e\"]"], r#"{"Entrypoint":["e"]}"#),
            (&["ENV A=1 B=\"x y\"", "ENV A=$A:2"], r#"{"Env":["A=1:2","B=x y"]}"#),
            (&["ENV KEY some value"], r#"{"Env":["KEY=some value"]}"#),
            (&["LABEL a=b c='d e'"], r#"{"Labels":{"a":"b","c":"d e"}}"#),
            (
                &["EXPOSE 80 443/tcp 53/udp 8000-8001"],
                r#"{"ExposedPorts":{"80/tcp":{},"443/tcp":{},"53/udp":{},"8000/tcp":{},"8001/tcp":{}}}"#,
            ),
            (&["VOLUME /a /b", "VOLUME [\"/c d\"]"], r#"{"Volumes":{"/a":{},"/b":{},"/c d":{}}}"#),
            (&["USER 1:2"], r#"{"User":"1:2"}"#),
            (&["WORKDIR /a", "WORKDIR b/../c"], r#"{"WorkingDir":"/a/c"}"#),
            (&["STOPSIGNAL SIGINT"], r#"{"StopSignal":"SIGINT"}"#),
            (&["ONBUILD RUN x"], r#"{"OnBuild":["RUN x"]}"#),
            (&["HEALTHCHECK NONE"], r#"{"Healthcheck":{"Test":["NONE"]}}"#),
            (
                &["HEALTHCHECK --interval=1m30s --retries=2 CMD curl x"],
                r#"{"Healthcheck":{"Test":["CMD-SHELL","curl x"],"Interval":90000000000,"Retries":2}}"#,
            ),
            (
                &["SHELL [\"/bin/bash\",\"-c\"]", "CMD x"],
                r#"{"Cmd":["/bin/bash","-c","x"],"Shell":["/bin/bash","-c"]}"#,
            ),
        ] {
            let want: serde_json::Value = serde_json::from_str(want).unwrap();
            assert_eq!(changed(texts), want, "{texts:?}");
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for (text, want) in [
            ("RUN x", "RUN is not a valid change command"),
            ("FROM x", "FROM is not a valid change command"),
            ("", " requires at least one argument"),
            ("CMD", "CMD requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "can't find = in \"B\""),
            ("ENV =x", "ENV names can not be blank"),
            ("EXPOSE 99999", "99999"),
            ("STOPSIGNAL SIGNOPE", "SIGNOPE"),
            ("USER a b", "USER requires exactly one argument"),
            ("LABEL a='b", "unexpected end of statement"),
            ("ONBUILD FROM x", "isn't allowed as an ONBUILD trigger"),
            ("HEALTHCHECK CMD", "Missing command"),
            ("HEALTHCHECK --interval=x CMD a", "invalid duration"),
            ("HEALTHCHECK --nope=1 CMD a", "Unknown flag"),
            ("HEALTHCHECK WHAT", "Unknown type"),
            ("SHELL bash", "JSON form"),
        ] {
            let error = apply(&mut Config::default(), text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
