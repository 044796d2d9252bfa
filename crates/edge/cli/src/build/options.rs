//! What flags of a build mean to BuildKit: attributes of its Dockerfile front end, caches,
//! entitlements (`frontend/dockerfile/builder/build.go`, and `buildx build`'s reference).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use docker::units;
use reference::Reference;

use crate::args::BuildArgs;
use crate::build::csv;
use crate::build::session::Secret;
use crate::error::{Error, Result};
use crate::request;

/// Of the environment, since a build that says when it is made should be made so.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

type Attrs = BTreeMap<String, String>;

/// The front end's attributes, without those of the context.
pub(crate) fn attributes(args: &BuildArgs) -> Result<Attrs> {
    if let Some(flag) = args.refused.given() {
        return Err(Error::Usage(format!("{flag}: BuildKit's API has no such option")));
    }
    if args.builder.as_deref().is_some_and(|name| name != "default") {
        let why = "--builder: there is one builder, default (the engine, or that behind -H)";
        return Err(Error::Usage(why.into()));
    }
    for tag in &args.tag {
        let checked: std::result::Result<Reference, _> = tag.parse();
        checked.map_err(|err| Error::Usage(format!("invalid tag {tag:?}: {err}")))?;
    }
    let mut attrs = Attrs::new();
    build_args(args, &mut attrs);
    for (key, value) in request::key_values(&args.label) {
        attrs.insert(format!("label:{key}"), value);
    }
    let texts = [
        ("target", args.target.clone()),
        ("cgroup-parent", args.cgroup_parent.clone()),
        ("platform", some(platforms(&args.platform)?)),
        ("force-network-mode", network(args)?),
        ("shm-size", args.shm_size.as_deref().map(|text| bytes("shm-size", text)).transpose()?),
        ("add-hosts", some(hosts(&args.add_host)?)),
        ("ulimit", some(ulimits(&args.ulimit)?)),
        ("no-cache", (!args.no_cache_filter.is_empty()).then(|| args.no_cache_filter.join(","))),
        ("image-resolve-mode", args.pull.then(|| "pull".to_owned())),
    ];
    for (key, value) in texts {
        attrs.extend(value.map(|value| (key.to_owned(), value)));
    }
    if args.no_cache {
        if !args.no_cache_filter.is_empty() {
            let why = "--no-cache and --no-cache-filter cannot currently be used together";
            return Err(Error::Usage(why.into()));
        }
        attrs.insert("no-cache".into(), String::new());
    }
    resources(&args.resource, &mut attrs)?;
    attestations(args, &mut attrs)?;
    Ok(attrs)
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn build_args(args: &BuildArgs, attrs: &mut Attrs) {
    let mut set = |key: &str, value: String| attrs.insert(format!("build-arg:{key}"), value);
    for (key, value) in crate::config::get().proxy_variables("default") {
        set(&key, value);
    }
    if let Ok(epoch) = std::env::var(EPOCH) {
        set(EPOCH, epoch);
    }
    for text in &args.build_arg {
        match text.split_once('=') {
            Some((key, value)) => _ = set(key, value.to_owned()),
            // Only a name: what it is here. Not at all where it is nothing here.
            None => _ = std::env::var(text).ok().and_then(|value| set(text, value)),
        }
    }
}

fn platforms(all: &[String]) -> Result<String> {
    if all.is_empty() {
        return Ok(crate::config::platform(None));
    }
    let ours =
        || format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    let mut names = Vec::new();
    for text in all.iter().filter(|text| !text.is_empty()) {
        if text == "local" {
            names.push(ours());
        } else {
            names.push(crate::platforms::parse(text)?.to_string());
        }
    }
    Ok(names.join(","))
}

fn network(args: &BuildArgs) -> Result<Option<String>> {
    match args.network.as_deref() {
        None | Some("" | "default") => Ok(None),
        Some(mode @ ("none" | "host")) => Ok(Some(mode.to_owned())),
        Some(other) => Err(Error::Usage(format!(
            "network mode {other:?} not supported by buildkit: give default, none or host"
        ))),
    }
}

fn bytes(flag: &str, text: &str) -> Result<String> {
    let parsed = units::ram_in_bytes(text);
    let parsed = parsed.map_err(|err| Error::Usage(format!("--{flag} {text}: {err}")))?;
    Ok(parsed.to_string())
}

/// `HOST:IP`, `HOST=IP`, `HOST=[IP6]`, to `HOST=IP,...`.
fn hosts(all: &[String]) -> Result<String> {
    let mut hosts = Vec::new();
    for text in all {
        let wrong = || Error::Usage(format!("bad format for add-host: {text:?}: give HOST:IP"));
        let (host, address) =
            text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
        let address =
            address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let is_address = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
        if host.is_empty() || !is_address {
            return Err(Error::Usage(format!("invalid IP address in add-host: {address:?}")));
        }
        hosts.push(format!("{host}={address}"));
    }
    Ok(hosts.join(","))
}

fn ulimits(all: &[String]) -> Result<String> {
    let mut limits = Vec::new();
    for text in all {
        let limit = request::ulimit(text)?;
        limits.push(format!("{}={}:{}", limit.name, limit.soft, limit.hard));
    }
    Ok(limits.join(","))
}

/// `--resource KEY=VALUE`, with the names that `run` has for them. What is 0 is not said, as in Buildx.
fn resources(all: &[String], attrs: &mut Attrs) -> Result<()> {
    let wrong =
        |text: &str, why: &dyn std::fmt::Display| Error::Usage(format!("--resource {text}: {why}"));
    for text in all {
        let Some((key, value)) = text.split_once('=') else {
            return Err(wrong(text, &"give KEY=VALUE"));
        };
        let (key, value) = (key.trim(), value.trim());
        let name = key.replace('-', "").replace("memoryswap", "memswap");
        let value = match key {
            "memory-swap" if value == "-1" => value.to_owned(),
            "memory" | "memory-swap" => {
                let bytes = units::ram_in_bytes(value).map_err(|err| wrong(text, &err))?;
                bytes.to_string()
            }
            "cpu-shares" | "cpu-period" | "cpu-quota" => {
                value.parse::<i64>().map_err(|err| wrong(text, &err))?.to_string()
            }
            "cpuset-cpus" | "cpuset-mems" => value.to_owned(),
            other => return Err(wrong(text, &format!("unknown resource {other:?}"))),
        };
        // A processor's number is 0, too.
        let is_said = value != "0" || key.starts_with("cpuset");
        if is_said && !value.is_empty() {
            attrs.insert(name, value);
        }
    }
    Ok(())
}

/// What is asked for unasked, as Buildx does: provenance without a word of people's own, of what is pushed.
const UNASKED: &str = "mode=min,inline-only=true";

/// `--attest`, and its shorthands: `attest:TYPE` to fields. What is disabled is left out.
fn attestations(args: &BuildArgs, attrs: &mut Attrs) -> Result<()> {
    const PROVENANCE: &str = "attest:provenance";
    if std::env::var("BUILDX_NO_DEFAULT_ATTESTATIONS").map_or(true, |value| !is_true(&value)) {
        attrs.insert(PROVENANCE.into(), UNASKED.into());
    }
    let short = |kind: &str, value: &Option<String>| {
        value.as_ref().map(|value| match value.as_str() {
            "true" | "1" => format!("type={kind}"),
            "false" | "0" => format!("type={kind},disabled=true"),
            fields => format!("type={kind},{fields}"),
        })
    };
    let shorts = [short("provenance", &args.provenance), short("sbom", &args.sbom)];
    for text in args.attest.iter().cloned().chain(shorts.into_iter().flatten()) {
        let fields = csv::pairs("attest", &text)?;
        let Some(kind) = fields.get("type") else {
            return Err(Error::Usage(format!("--attest {text}: type is required")));
        };
        let key = format!("attest:{kind}");
        if fields.get("disabled").is_some_and(|value| value == "true" || value == "1") {
            attrs.remove(&key);
            continue;
        }
        // As they are written: some are names of variables.
        let written = csv::fields("attest", &text)?;
        let is_own = |field: &String| {
            let name = field.split('=').next().unwrap_or_default().trim().to_lowercase();
            matches!(name.as_str(), "type" | "disabled")
        };
        let quoted = |field: String| {
            if field.contains([',', '"']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field
            }
        };
        let rest = written.into_iter().filter(|field| !is_own(field)).map(quoted);
        let rest: Vec<String> = rest.collect();
        attrs.insert(key, rest.join(","));
    }
    Ok(())
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// `--secret`, by id.
pub(crate) fn secrets(all: &[String]) -> Result<HashMap<String, Secret>> {
    let mut secrets = HashMap::new();
    for text in all {
        let mut fields = csv::pairs("secret", text)?;
        let usage = |why: &str| Error::Usage(format!("--secret {text}: {why}"));
        let kind = fields.remove("type");
        let source = fields.remove("src").or(fields.remove("source"));
        let variable = fields.remove("env");
        let id = fields.remove("id").filter(|id| !id.is_empty());
        if let Some((key, _)) = fields.first_key_value() {
            return Err(usage(&format!("unexpected key {key:?}")));
        }
        let id = id.ok_or_else(|| usage("id is required"))?;
        let is_variable = match kind.as_deref() {
            Some("env") => true,
            Some("file") => false,
            Some(other) => return Err(usage(&format!("unsupported secret type {other:?}"))),
            None => variable.is_some() || source.is_none() && std::env::var_os(&id).is_some(),
        };
        let name = variable.or(source).unwrap_or_else(|| id.clone());
        let secret = if is_variable {
            Secret::Variable(name)
        } else {
            let found = Path::new(&name).metadata();
            found.map_err(|err| usage(&format!("{name}: {err}")))?;
            Secret::File(name.into())
        };
        secrets.insert(id, secret);
    }
    Ok(secrets)
}

/// What the build may do beyond the usual: what was allowed, for what the engine has to know.
pub(crate) fn entitlements(args: &BuildArgs) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for text in &args.allow {
        match text.split('=').next().unwrap_or_default() {
            "network.host" | "security.insecure" | "device" => all.push(text.clone()),
            "buildx.local.delete" => {}
            _ => return Err(Error::Usage(format!("--allow {text}: unknown entitlement"))),
        }
    }
    // As Docker has it: who asks for the host's network by a flag has allowed it.
    if args.network.as_deref() == Some("host") && !all.iter().any(|one| one == "network.host") {
        all.push("network.host".into());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(change: impl Fn(&mut BuildArgs)) -> Result<Attrs> {
        let mut args = BuildArgs::default();
        change(&mut args);
        attributes(&args)
    }

    #[test]
    fn flags_become_attributes() {
        let attrs = attrs(|args| {
            args.build_arg = vec!["A=1=2".into(), "DHOW_NOT_SET_ANYWHERE".into()];
            args.label = vec!["l=v".into()];
            args.add_host = vec!["a:1.2.3.4".into(), "b=[::1]".into(), "c:host-gateway".into()];
            args.ulimit = vec!["nofile=1:2".into()];
            args.shm_size = Some("1m".into());
            let resources = ["memory=64m", "memory-swap=-1", "cpu-quota = 5", "cpu-period=0"];
            args.resource = resources.map(str::to_owned).to_vec();
            args.no_cache_filter = vec!["x".into(), "y".into()];
            args.pull = true;
            args.network = Some("none".into());
            args.platform = vec!["linux/arm64".into(), "linux/amd64".into()];
            args.provenance = Some("mode=max".into());
            args.sbom = Some("true".into());
            args.attest = vec!["type=sbom,generator=x".into()];
        })
        .unwrap();
        for (key, value) in [
            ("build-arg:A", "1=2"),
            ("label:l", "v"),
            ("add-hosts", "a=1.2.3.4,b=::1,c=host-gateway"),
            ("ulimit", "nofile=1:2"),
            ("shm-size", "1048576"),
            ("memory", "67108864"),
            ("memswap", "-1"),
            ("cpuquota", "5"),
            ("no-cache", "x,y"),
            ("image-resolve-mode", "pull"),
            ("force-network-mode", "none"),
            ("platform", "linux/arm64,linux/amd64"),
            ("attest:provenance", "mode=max"),
            ("attest:sbom", ""),
        ] {
            assert_eq!(attrs.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert!(!attrs.contains_key("build-arg:DHOW_NOT_SET_ANYWHERE"));
        assert!(!attrs.contains_key("cpuperiod"));
    }

    #[test]
    fn fields_of_attestations_stay_as_they_are_written() {
        let attrs = attrs(|args| {
            args.attest = vec!["type=sbom,generator=x,\"LEVEL=a,\"\"b\",disabled=false".into()];
        })
        .unwrap();
        assert_eq!(attrs["attest:sbom"], "generator=x,\"LEVEL=a,\"\"b\"");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |change: fn(&mut BuildArgs)| attrs(change).unwrap_err().to_string();
        assert!(refused(|args| args.refused.memory = Some("1g".into())).contains("--memory"));
        assert!(refused(|args| args.refused.compress = true).contains("--compress"));
        assert!(refused(|args| args.network = Some("web".into())).contains("web"));
        assert!(refused(|args| args.resource = vec!["gpus=1".into()]).contains("gpus"));
        assert!(refused(|args| args.resource = vec!["memory=much".into()]).contains("much"));
        assert!(refused(|args| args.add_host = vec!["a:x".into()]).contains("add-host"));
        assert!(refused(|args| args.tag = vec!["a b".into()]).contains("a b"));
        assert!(refused(|args| args.builder = Some("other".into())).contains("--builder"));
    }

    #[test]
    fn secrets_come_from_files_and_the_environment() {
        let list = |text: &str| secrets(&[text.to_owned()]);
        assert_eq!(list("id=a,env=PATH").unwrap()["a"], Secret::Variable("PATH".into()));
        assert_eq!(list("id=PATH").unwrap()["PATH"], Secret::Variable("PATH".into()));
        assert_eq!(list("type=env,id=a,src=X").unwrap()["a"], Secret::Variable("X".into()));
        let file = list("id=a,src=/proc/self/status").unwrap();
        assert_eq!(file["a"], Secret::File("/proc/self/status".into()));
        for wrong in ["src=/x", "id=a,src=/not/there", "id=a,colour=red", "id=a,type=x"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
    }
}
