//! Log drivers and their options: Docker's names, defaults and refusals.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use docker::ContainerConfig;
use docker::container::LogConfig;
use regex_lite::Regex;
use shim_protocol::{
    LogConfig as Driver, LogMode, Rotation, SyslogAddress, SyslogFormat, SyslogTls,
};

use crate::Error;
use crate::record::Container;
use crate::settings::Settings;

/// What Docker's `local` keeps without being told otherwise.
const LOCAL_BYTES: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;
/// What json-file keeps where nothing is said of it: no container fills the disk with its output.
/// Docker keeps all of it.
const JSON_BYTES: u64 = 256 << 20;
const JSON_FILES: u32 = 4;
/// What may wait in the mode `non-blocking`, bytes.
const BUFFER_BYTES: u64 = 1_000_000;
/// Options of every driver.
const OF_ALL: [&str; 2] = ["mode", "max-buffer-size"];
/// Options of every driver that keeps more than the line.
const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where a machine's own syslog server listens.
const SYSLOG: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// By number: RFC 5424, 6.2.1.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];
const DAEMON: u8 = 3;

/// Fills in what the administrator has set.
pub(crate) fn fill(log: &mut LogConfig, settings: &Settings) {
    let default = match settings.log_driver.as_str() {
        "" => "json-file",
        named => named,
    };
    if log.driver.is_empty() {
        default.clone_into(&mut log.driver);
    }
    if log.driver == default {
        for (name, value) in &settings.log_opts {
            log.config.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// Refuses what makes no sense.
pub(crate) fn check(config: &ContainerConfig, log: &LogConfig) -> Result<(), Error> {
    read(log, &Subject { id: &"0".repeat(64), name: "", image_id: "", words: "", config }).map(drop)
}

/// The log driver of a container.
pub(crate) fn of(container: &Container) -> Result<Driver, Error> {
    let record = &container.record;
    let mut driver = read(
        &record.host.log_config,
        &Subject {
            id: &container.id,
            name: &container.name,
            image_id: &record.image_id,
            words: &container.command().join(" "),
            config: &record.config,
        },
    )?;
    // Not before somebody is to go there.
    if let Driver::Syslog { address: SyslogAddress::Tls(server), .. } = &mut driver
        && server.address.is_none()
    {
        let found = crate::lookup::address(&server.host).map_err(|err| {
            Error::Invalid(format!("look up the syslog server {}: {err}", server.host))
        });
        server.address = Some(found?);
    }
    Ok(driver)
}

/// What a line may be marked with.
struct Subject<'a> {
    id: &'a str,
    name: &'a str,
    image_id: &'a str,
    words: &'a str,
    config: &'a ContainerConfig,
}

fn read(log: &LogConfig, of: &Subject<'_>) -> Result<Driver, Error> {
    let own: &[&str] = match log.driver.as_str() {
        "" | "json-file" | "local" => &["max-size", "max-file", "compress"],
        "journald" => &[],
        "syslog" => &[
            "syslog-address",
            "syslog-facility",
            "syslog-format",
            "syslog-tls-ca-cert",
            "syslog-tls-cert",
            "syslog-tls-key",
            "syslog-tls-skip-verify",
        ],
        "none" => return Ok(Driver::None),
        "gelf" | "fluentd" | "awslogs" | "splunk" | "etwlogs" | "gcplogs" => {
            return Err(Error::NotYet(format!(
                "failed to initialize logging driver: the log driver \"{}\"",
                log.driver
            )));
        }
        other => {
            return Err(Error::Invalid(format!(
                "error looking up logging plugin {other}: plugin \"{other}\" not found"
            )));
        }
    };
    let driver = if log.driver.is_empty() { "json-file" } else { &log.driver };
    for name in log.config.keys() {
        if ![own, &OF_ALL, &ATTRIBUTES].iter().any(|names| names.contains(&name.as_str())) {
            let whose = match driver {
                "local" => "log driver local".to_owned(),
                other => format!("{other} log driver"),
            };
            return Err(Error::Invalid(format!("unknown log opt '{name}' for {whose}")));
        }
    }
    let option = |name: &str| log.config.get(name).map(String::as_str);
    let mode = mode(option("mode"), option("max-buffer-size"))?;
    let mut attrs = attributes(log, of)?;
    let tag = |default: &str| match option("tag") {
        None | Some("") => tag(default, of),
        Some(template) => tag(template, of),
    };
    match driver {
        "local" => {
            let most = (Some(LOCAL_BYTES), LOCAL_FILES, true);
            tag("")?;
            Ok(Driver::Local { rotation: rotation(log, most)?, mode })
        }
        "journald" => {
            let tag = tag("{{.ID}}")?;
            let upper = |(name, value): (String, String)| (journal_name(&name), value);
            let mut fields: BTreeMap<String, String> = attrs.into_iter().map(upper).collect();
            for (name, value) in [
                ("CONTAINER_ID", of.id[..12].to_owned()),
                ("CONTAINER_ID_FULL", of.id.to_owned()),
                ("CONTAINER_NAME", of.name.to_owned()),
                ("CONTAINER_TAG", tag.clone()),
                ("SYSLOG_IDENTIFIER", tag),
                ("IMAGE_NAME", of.config.image.clone()),
            ] {
                fields.insert(name.into(), value);
            }
            Ok(Driver::Journald { socket: JOURNAL.into(), fields, mode })
        }
        "syslog" => Ok(Driver::Syslog {
            address: syslog_address(option("syslog-address").unwrap_or_default(), &option)?,
            format: syslog_format(option("syslog-format").unwrap_or_default())?,
            facility: facility(option("syslog-facility").unwrap_or_default())?,
            tag: tag("{{.ID}}")?,
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            mode,
        }),
        _ => {
            if option("tag").is_some_and(|text| !text.is_empty()) {
                attrs.insert("tag".into(), tag("")?);
            }
            // Whoever says something of it means what Docker makes of it.
            let said = own.iter().any(|name| log.config.contains_key(*name));
            let most = if said { (None, 1, false) } else { (Some(JSON_BYTES), JSON_FILES, true) };
            Ok(Driver::JsonFile { rotation: rotation(log, most)?, attrs, mode })
        }
    }
}

fn mode(mode: Option<&str>, buffer: Option<&str>) -> Result<LogMode, Error> {
    let invalid = |text: String| Err(Error::Invalid(text));
    match mode.unwrap_or_default() {
        "" | "blocking" if buffer.is_some() => invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'".into(),
        ),
        "" | "blocking" => Ok(LogMode::Blocking),
        "non-blocking" => {
            let size = buffer.map_or(Ok(BUFFER_BYTES), |text| bytes("max-buffer-size", text))?;
            Ok(LogMode::NonBlocking { max_buffer: size })
        }
        other => invalid(format!("logger: logging mode not supported: {other}")),
    }
}

fn bytes(name: &str, text: &str) -> Result<u64, Error> {
    let bytes = docker::units::ram_in_bytes(text).ok().and_then(|n| u64::try_from(n).ok());
    bytes
        .filter(|n| *n > 0)
        .ok_or_else(|| Error::Invalid(format!("invalid value of log-opt {name}: {text}")))
}

/// `most`: without being told otherwise.
fn rotation(log: &LogConfig, most: (Option<u64>, u32, bool)) -> Result<Rotation, Error> {
    let (mut max_bytes, mut max_files, mut compress) = most;
    if let Some(text) = log.config.get("max-size") {
        max_bytes = if text == "-1" { None } else { Some(bytes("max-size", text)?) };
    }
    if let Some(text) = log.config.get("max-file") {
        max_files = text
            .parse()
            .map_err(|_| Error::Invalid(format!("invalid value of log-opt max-file: {text}")))?;
        if max_files == 0 {
            return Err(Error::Invalid("max-file cannot be less than 1".into()));
        }
    }
    if let Some(text) = log.config.get("compress") {
        compress = match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => {
                return Err(Error::Invalid(format!("invalid value of log-opt compress: {text}")));
            }
        };
        if compress && (max_files == 1 || max_bytes.is_none()) {
            return Err(Error::Invalid(
                "compress cannot be true when max-file is less than 2 or max-size is not set"
                    .into(),
            ));
        }
    }
    Ok(Rotation { max_bytes, max_files, compress: compress && max_files > 1 })
}

/// The labels and variables that are to be noted with each line.
fn attributes(log: &LogConfig, of: &Subject<'_>) -> Result<BTreeMap<String, String>, Error> {
    let config = of.config;
    let env = || config.env.iter().filter_map(|entry| entry.split_once('='));
    let labels = || config.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let option = |name: &str| log.config.get(name).filter(|text| !text.is_empty());
    let regex = |name: &str| -> Result<Option<Regex>, Error> {
        let compiled = option(name).map(|text| Regex::new(text)).transpose();
        compiled.map_err(|err| Error::Invalid(format!("invalid value of log-opt {name}: {err}")))
    };
    let listed = |name: &str| -> Vec<&str> {
        option(name).map(|text| text.split(',').collect()).unwrap_or_default()
    };
    let (label_names, env_names) = (listed("labels"), listed("env"));
    let (label_regex, env_regex) = (regex("labels-regex")?, regex("env-regex")?);
    let wanted = |name: &str, names: &[&str], regex: &Option<Regex>| {
        names.contains(&name) || regex.as_ref().is_some_and(|regex| regex.is_match(name))
    };
    let labels = labels().filter(|(name, _)| wanted(name, &label_names, &label_regex));
    let env = env().filter(|(name, _)| wanted(name, &env_names, &env_regex));
    Ok(labels.chain(env).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// A tag: text with `{{.Field}}` in it.
fn tag(template: &str, of: &Subject<'_>) -> Result<String, Error> {
    let invalid = |what: &str| {
        Error::Invalid(format!(
            "invalid log-opt tag: {what} (there are {{{{.ID}}}}, {{{{.FullID}}}}, {{{{.Name}}}}, \
             {{{{.ImageID}}}}, {{{{.ImageFullID}}}}, {{{{.ImageName}}}}, {{{{.Command}}}}, {{{{.DaemonName}}}})"
        ))
    };
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (field, after) = after.split_once("}}").ok_or_else(|| invalid(template))?;
        text.push_str(before);
        let image = of.image_id.trim_start_matches("sha256:");
        text.push_str(match field.trim() {
            ".ID" => &of.id[..12],
            ".FullID" => of.id,
            ".Name" => of.name,
            ".ImageID" => image.get(..12).unwrap_or(image),
            ".ImageFullID" => of.image_id,
            ".ImageName" => &of.config.image,
            ".Command" => of.words,
            ".DaemonName" => "dhow",
            _ => return Err(invalid(&format!("{{{{{field}}}}}"))),
        });
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// A field's name: capital letters, digits and underscores, none of them first.
fn journal_name(name: &str) -> String {
    let upper = name.chars().map(|char| match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' => char.to_ascii_uppercase(),
        _ => '_',
    });
    upper.collect::<String>().trim_start_matches('_').to_owned()
}

fn syslog_address<'a>(
    text: &str,
    option: &impl Fn(&str) -> Option<&'a str>,
) -> Result<SyslogAddress, Error> {
    if text.is_empty() {
        return Ok(SyslogAddress::Unix(SYSLOG.map(PathBuf::from).into()));
    }
    let invalid = |why: &str| Error::Invalid(format!("invalid syslog-address {text}: {why}"));
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| invalid("give unix://PATH, udp://, tcp:// or tcp+tls://HOST:PORT"))?;
    match scheme {
        "unix" | "unixgram" => {
            let path = PathBuf::from(rest);
            if !path.exists() {
                return Err(invalid("there is no such socket"));
            }
            Ok(SyslogAddress::Unix(vec![path]))
        }
        "udp" => Ok(SyslogAddress::Udp(host_port(rest).ok_or_else(|| invalid(NUMBERS))?)),
        "tcp" => Ok(SyslogAddress::Tcp(host_port(rest).ok_or_else(|| invalid(NUMBERS))?)),
        "tcp+tls" => {
            let (host, port) = name_port(rest).ok_or_else(|| invalid("give HOST:PORT"))?;
            let file = |name: &str| option(name).filter(|path| !path.is_empty()).map(PathBuf::from);
            let server = SyslogTls {
                address: host.parse().ok(),
                host,
                port,
                ca: file("syslog-tls-ca-cert"),
                cert: file("syslog-tls-cert"),
                key: file("syslog-tls-key"),
                // As in Docker: whatever it says.
                skip_verify: option("syslog-tls-skip-verify").is_some(),
            };
            Ok(SyslogAddress::Tls(Box::new(server)))
        }
        _ => Err(invalid("there are unix, unixgram, udp, tcp and tcp+tls")),
    }
}

/// A name or an address, without brackets, and a port.
fn name_port(text: &str) -> Option<(String, u16)> {
    const PORT: u16 = 514;
    let text = text.trim_end_matches('/');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (text, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

const NUMBERS: &str = "give the server's address in numbers, such as 192.0.2.1:514";

/// Docker's default port is 514.
fn host_port(text: &str) -> Option<SocketAddr> {
    const PORT: u16 = 514;
    let text = text.trim_end_matches('/');
    let local = |host: &str| {
        if host == "localhost" { Some(IpAddr::from([127, 0, 0, 1])) } else { host.parse().ok() }
    };
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(address) = local(text.trim_matches(['[', ']'])) {
        return Some((address, PORT).into());
    }
    let (host, port) = text.rsplit_once(':')?;
    Some((local(host)?, port.parse().ok()?).into())
}

fn syslog_format(text: &str) -> Result<SyslogFormat, Error> {
    match text {
        "" => Ok(SyslogFormat::Unix),
        "rfc3164" => Ok(SyslogFormat::Rfc3164),
        "rfc5424" => Ok(SyslogFormat::Rfc5424),
        "rfc5424micro" => Ok(SyslogFormat::Rfc5424Micro),
        _ => Err(Error::Invalid("Invalid syslog format".into())),
    }
}

fn facility(text: &str) -> Result<u8, Error> {
    if text.is_empty() {
        return Ok(DAEMON);
    }
    let named =
        FACILITIES.iter().position(|name| *name == text).and_then(|at| u8::try_from(at).ok());
    let numbered = || text.parse().ok().filter(|number| usize::from(*number) < FACILITIES.len());
    named.or_else(numbered).ok_or_else(|| Error::Invalid("invalid syslog facility".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(json: &str) -> Result<Driver, String> {
        let config: ContainerConfig = serde_json::from_str(
            r#"{"Image":"img:1","Env":["A=1","B=2"],"Labels":{"com.x":"y","other":"z"}}"#,
        )
        .unwrap();
        let id = "0123456789abcdef".repeat(4);
        let of = Subject {
            id: &id,
            name: "web",
            image_id: "sha256:feed",
            words: "a b",
            config: &config,
        };
        read(&serde_json::from_str(json).unwrap(), &of).map_err(|err| err.to_string())
    }

    fn json_file(options: &str) -> Result<Driver, String> {
        driver(&format!(r#"{{"Type":"json-file","Config":{options}}}"#))
    }

    #[test]
    fn lines_are_marked_with_what_was_asked_for() {
        let attrs = |options: &str| match json_file(options) {
            Ok(Driver::JsonFile { attrs, .. }) => {
                attrs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
            }
            other => format!("{other:?}"),
        };
        assert_eq!(attrs("{}"), "");
        assert_eq!(attrs(r#"{"labels":"other,none","env":"B"}"#), "B=2 other=z");
        assert_eq!(attrs(r#"{"labels-regex":"^com","env-regex":"A|C"}"#), "A=1 com.x=y");
        assert_eq!(
            attrs(r#"{"tag":"{{.Name}}/{{ .ID }}-{{.ImageName}}"}"#),
            "tag=web/0123456789ab-img:1"
        );
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (options, want) in [
            (r#"{"compress":"true"}"#, "compress cannot be true when max-file is less than 2"),
            (r#"{"max-file":"0"}"#, "max-file cannot be less than 1"),
            (r#"{"mode":"maybe"}"#, "logger: logging mode not supported: maybe"),
            (r#"{"max-buffer-size":"1m"}"#, "only supported with 'mode=non-blocking'"),
            (r#"{"tag":"{{.Nope}}"}"#, "invalid log-opt tag: {{.Nope}}"),
            (r#"{"labels-regex":"("}"#, "invalid value of log-opt labels-regex"),
            (
                r#"{"syslog-address":"x"}"#,
                "unknown log opt 'syslog-address' for json-file log driver",
            ),
        ] {
            let err = json_file(options).unwrap_err();
            assert!(err.contains(want), "{options}: {err}");
        }
        let tls = driver(r#"{"Type":"syslog","Config":{"syslog-address":"tls://1.2.3.4:5"}}"#);
        assert!(tls.unwrap_err().contains("there are unix, unixgram, udp, tcp and tcp+tls"));
        assert!(
            driver(r#"{"Type":"nope"}"#)
                .unwrap_err()
                .contains("error looking up logging plugin nope")
        );
    }

    #[test]
    fn a_json_file_is_bounded_unless_something_is_said_of_it() {
        let most = |options: &str| match json_file(options) {
            Ok(Driver::JsonFile { rotation, .. }) => {
                (rotation.max_bytes, rotation.max_files, rotation.compress)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(most("{}"), (Some(256 << 20), 4, true));
        assert_eq!(most(r#"{"mode":"non-blocking"}"#), (Some(256 << 20), 4, true));
        assert_eq!(most(r#"{"max-size":"-1"}"#), (None, 1, false));
        assert_eq!(most(r#"{"max-file":"3"}"#), (None, 3, false));
        assert_eq!(most(r#"{"max-size":"1m"}"#), (Some(1 << 20), 1, false));
    }

    #[test]
    fn the_defaults_are_dockers() {
        let Ok(Driver::Local { rotation, mode }) = driver(r#"{"Type":"local"}"#) else { panic!() };
        assert_eq!(
            (rotation.max_bytes, rotation.max_files, rotation.compress),
            (Some(LOCAL_BYTES), 5, true)
        );
        assert_eq!(mode, LogMode::Blocking);
        let syslog = r#"{"Type":"syslog","Config":{"syslog-address":"udp://127.0.0.1","syslog-facility":"local7","syslog-format":"rfc5424"}}"#;
        let Ok(Driver::Syslog { address, facility, format, tag, .. }) = driver(syslog) else {
            panic!()
        };
        assert_eq!(address, SyslogAddress::Udp("127.0.0.1:514".parse().unwrap()));
        assert_eq!((facility, format, tag.as_str()), (23, SyslogFormat::Rfc5424, "0123456789ab"));
        let tls = r#"{"Type":"syslog","Config":{"syslog-address":"tcp+tls://192.0.2.1:6514","syslog-tls-ca-cert":"/ca.pem"}}"#;
        let Ok(Driver::Syslog { address: SyslogAddress::Tls(server), .. }) = driver(tls) else {
            panic!()
        };
        assert_eq!((server.host.as_str(), server.port), ("192.0.2.1", 6514));
        assert_eq!(server.address, "192.0.2.1".parse().ok());
        assert_eq!(server.ca.as_deref(), Some(std::path::Path::new("/ca.pem")));
        assert!(!server.skip_verify && server.cert.is_none());
        assert_eq!(name_port("logs.example"), Some(("logs.example".to_owned(), 514)));
        assert_eq!(name_port("[::1]:7"), Some(("::1".to_owned(), 7)));
        assert_eq!(name_port(":7"), None);
        let Ok(Driver::Journald { fields, .. }) =
            driver(r#"{"Type":"journald","Config":{"labels":"com.x"}}"#)
        else {
            panic!()
        };
        assert_eq!((fields["COM_X"].as_str(), fields["CONTAINER_NAME"].as_str()), ("y", "web"));
        let buffer = json_file(r#"{"mode":"non-blocking","max-buffer-size":"4m"}"#);
        let Ok(Driver::JsonFile { mode, .. }) = buffer else { panic!() };
        assert_eq!(mode, LogMode::NonBlocking { max_buffer: 4 << 20 });
    }
}
