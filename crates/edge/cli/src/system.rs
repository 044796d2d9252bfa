//! `version`, `info` and `events`.

use docker::event::Message;
use docker::system::{Info, Version};
use serde_json::{Value, json};

use crate::args::{EventsArgs, FormatArg};
use crate::client::{API_VERSION, Client, empty, encode};
use crate::containers::timestamp;
use crate::error::{Error, Result};
use crate::format::human;
use crate::format::template::Template;
use crate::{inspect, plugins, request};

/// `version`: of the client and of the engine.
pub(crate) async fn version(client: &Client, args: &FormatArg) -> Result<i32> {
    let own = env!("CARGO_PKG_VERSION");
    let server: Version = client.get("/version").await?;
    let both = json!({
        "Client": {
            "Platform": {"Name": "dhow"},
            "Version": own,
            "ApiVersion": client.api_version(),
            "DefaultAPIVersion": API_VERSION,
            "Os": std::env::consts::OS,
            "Arch": go_arch(),
            "GitCommit": "",
            "GoVersion": "",
            "BuildTime": "",
            "Context": client.context(),
        },
        "Server": server,
    });
    if let Some(format) = &args.format {
        if format == "json" {
            println!("{both}");
            return Ok(0);
        }
        let template = Template::parse(format).map_err(|err| inspect::no_template(&err))?;
        println!("{}", template.render(&both)?);
        return Ok(0);
    }
    println!("Client: dhow");
    println!(" Version:           {own}");
    println!(" API version:       {}", client.api_version());
    println!(" OS/Arch:           {}/{}", std::env::consts::OS, go_arch());
    println!(
        "\nServer: {}{}",
        server.platform.name,
        if client.is_in_process() { " (in this process)" } else { "" }
    );
    println!(" Engine:");
    println!("  Version:          {}", server.version);
    println!(
        "  API version:      {} (minimum version {})",
        server.api_version, server.min_api_version
    );
    println!("  OS/Arch:          {}/{}", server.os, server.arch);
    println!("  Kernel version:   {}", server.kernel_version);
    for component in &server.components {
        if component.name != "Engine" {
            println!(" {}:\n  Version:          {}", component.name, component.version);
        }
    }
    Ok(0)
}

/// The architecture's name in Docker's world.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `info`.
pub(crate) async fn info(client: &Client, args: &FormatArg) -> Result<i32> {
    if let Some(format) = &args.format {
        let template = if format == "json" { None } else { Some(Template::parse(format)?) };
        let mut info: Value = client.get("/info").await?;
        info["ClientInfo"] = json!({
            "Debug": false,
            "Version": env!("CARGO_PKG_VERSION"),
            "Context": client.context(),
            "Plugins": plugins::values(),
            "Warnings": null,
        });
        match template {
            Some(template) => println!("{}", template.render(&info)?),
            None => println!("{info}"),
        }
        return Ok(0);
    }
    let info: Info = client.get("/info").await?;
    println!("Containers: {}", info.containers);
    println!(" Running: {}", info.containers_running);
    println!(" Paused: {}", info.containers_paused);
    println!(" Stopped: {}", info.containers_stopped);
    println!("Images: {}", info.images);
    println!("Server Version: {}", info.server_version);
    println!("Storage Driver: {}", info.driver);
    for pair in &info.driver_status {
        if let [key, value] = &pair[..] {
            println!(" {key}: {value}");
        }
    }
    println!("Logging Driver: {}", info.logging_driver);
    println!("Cgroup Driver: {}", info.cgroup_driver);
    println!("Cgroup Version: {}", info.cgroup_version);
    println!(
        "Runtimes: {}",
        info.runtimes.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    );
    println!("Default Runtime: {}", info.default_runtime);
    if !info.security_options.is_empty() {
        println!("Security Options:");
        for option in &info.security_options {
            println!(" {}", option.trim_start_matches("name="));
        }
    }
    println!("Kernel Version: {}", info.kernel_version);
    println!("Operating System: {}", info.operating_system);
    println!("OSType: {}", info.os_type);
    println!("Architecture: {}", info.architecture);
    println!("CPUs: {}", info.ncpu);
    println!("Total Memory: {}", human::binary_size(info.mem_total));
    println!("Name: {}", info.name);
    println!("ID: {}", info.id);
    println!("Root Dir: {}", info.docker_root_dir);
    print!("{}", plugins::told());
    for warning in &info.warnings {
        eprintln!("{warning}");
    }
    Ok(0)
}

/// `events`: until it is interrupted, or until `--until`.
pub(crate) async fn events(client: &Client, args: &EventsArgs) -> Result<i32> {
    let filters = request::filters(&args.filter)?;
    let path = format!(
        "/events?since={}&until={}&filters={}",
        encode(&timestamp(args.since.as_deref())?),
        encode(&timestamp(args.until.as_deref())?),
        encode(&filters.to_json())
    );
    let json = matches!(args.format.as_deref(), Some("json" | "{{json .}}"));
    let template = match args.format.as_deref() {
        None => None,
        Some(_) if json => None,
        Some(format) => Some(Template::parse(format)?),
    };
    let mut response = client.call(hyper::Method::GET, &path, empty()).await?;
    let mut pending = Vec::new();
    while let Some(piece) = client.next_piece(&mut response).await? {
        pending.extend_from_slice(&piece);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let value: Value = serde_json::from_slice(&line)
                .map_err(|err| Error::Usage(format!("an event is no JSON: {err}")))?;
            match &template {
                Some(template) => println!("{}", template.render(&whole(value))?),
                None if json => println!("{value}"),
                None => print_event(&serde_json::from_value(value).unwrap_or_default()),
            }
        }
    }
    Ok(0)
}

/// An event with the fields that it had before v1.52 of the API, which templates still ask for: `Status`, `ID`
/// and `From` of containers and images. Others have them, and nothing in them.
fn whole(mut event: Value) -> Value {
    let kind = event["Type"].as_str().unwrap_or_default();
    let (is_container, is_image) = (kind == "container", kind == "image");
    let of = |is_there: bool, value: &Value| {
        if is_there { value.as_str().unwrap_or_default().to_owned() } else { String::new() }
    };
    let usual = [
        ("status", of(is_container || is_image, &event["Action"])),
        ("id", of(is_container || is_image, &event["Actor"]["ID"])),
        ("from", of(is_container, &event["Actor"]["Attributes"]["image"])),
        ("scope", String::new()),
    ];
    if let Some(event) = event.as_object_mut() {
        for (name, value) in usual {
            event.entry(name).or_insert_with(|| value.into());
        }
    }
    event
}

fn print_event(event: &Message) {
    let time = docker::timestamp::Timestamp::from_nanos(event.time_nano);
    let attributes: Vec<String> =
        event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    println!("{time} {} {} {}{attributes}", event.kind, event.action, event.actor.id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_what_it_had_before() {
        let actor = json!({"ID": "1", "Attributes": {"image": "busybox"}});
        let of = |kind: &str| {
            let event =
                whole(json!({"Type": kind, "Action": "die", "Actor": actor, "scope": "local"}));
            let template = Template::parse("{{.ID}}|{{.Status}}|{{.From}}|{{.Scope}}").unwrap();
            template.render(&event).unwrap()
        };
        assert_eq!(of("container"), "1|die|busybox|local");
        assert_eq!(of("image"), "1|die||local");
        assert_eq!(of("network"), "|||local");
        let kept = whole(json!({"Type": "container", "status": "x", "id": "y", "from": "z"}));
        assert_eq!((&kept["status"], &kept["id"]), (&json!("x"), &json!("y")));
    }
}
