//! `--gpus`, and `--device` with the name of a CDI device.

use docker::List;
use docker::container::DeviceRequest;

use super::csv;
use crate::error::{Error, Result};
use crate::run_args::ContainerArgs;

/// Whether `--device` means a CDI device, and not a path.
pub(super) fn is_cdi(device: &str) -> bool {
    cdi::Name::is_one(device)
}

/// All devices that are asked for by name or by what they can do.
pub(super) fn requests(args: &ContainerArgs) -> Result<List<DeviceRequest>> {
    let mut requests = args.gpus.iter().map(|text| gpus(text)).collect::<Result<Vec<_>>>()?;
    let names: Vec<String> = args.device.iter().filter(|name| is_cdi(name)).cloned().collect();
    if !names.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".to_owned(),
            device_ids: names.into(),
            ..DeviceRequest::default()
        });
    }
    Ok(requests.into())
}

/// `all`, a count, or `KEY=VALUE` pairs separated by commas; a pair with a comma in it is quoted, as
/// in CSV: `"device=0,1",capabilities=utility`.
fn gpus(text: &str) -> Result<DeviceRequest> {
    let wrong = |why: &str| Error::Usage(format!("invalid argument {text:?} for --gpus: {why}"));
    let mut request = DeviceRequest {
        capabilities: vec![vec!["gpu".to_owned()].into()].into(),
        ..DeviceRequest::default()
    };
    let mut counted = false;
    let mut seen = Vec::new();
    for field in csv::fields(text).ok_or_else(|| wrong(csv::BAD_QUOTE))? {
        let (key, value) = field.split_once('=').unwrap_or(("count", &field));
        if seen.iter().any(|earlier| earlier == key) {
            return Err(wrong(&format!("{key} can be specified only once")));
        }
        seen.push(key.to_owned());
        let words = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key {
            "driver" => value.clone_into(&mut request.driver),
            "device" => request.device_ids = words().into(),
            "count" => {
                counted = true;
                request.count = match value {
                    "all" => -1,
                    _ => value.parse().map_err(|_| {
                        wrong("give all, a count, or pairs of device, driver, count, capabilities")
                    })?,
                };
            }
            "capabilities" => {
                let mut set = words();
                set.push("gpu".to_owned());
                request.capabilities = vec![set.into()].into();
            }
            "options" => {
                request.options = super::key_values(&words()).into_iter().collect();
            }
            _ => return Err(wrong(&format!("unexpected key {key:?}"))),
        }
    }
    if !counted && request.device_ids.is_empty() {
        request.count = 1;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_as_docker_reads_them() {
        let show = |text: &str| {
            gpus(text).map(|request| {
                let sets: Vec<_> = request.capabilities.iter().map(|set| set.join(" ")).collect();
                let options: Vec<_> =
                    request.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!(
                    "{}:{}:{}:{}:{}",
                    request.driver,
                    request.count,
                    request.device_ids.join(" "),
                    sets.join("|"),
                    options.join(" ")
                )
            })
        };
        for (text, want) in [
            ("all", ":-1::gpu:"),
            ("2", ":2::gpu:"),
            ("device=0", ":0:0:gpu:"),
            ("\"device=0,GPU-1\"", ":0:0 GPU-1:gpu:"),
            ("driver=nvidia,\"capabilities=utility,compute\"", "nvidia:1::utility compute gpu:"),
            ("count=all,driver=amd", "amd:-1::gpu:"),
            ("device=0,1", ":1:0:gpu:"),
            ("all,\"options=a=b,c=d\"", ":-1::gpu:a=b c=d"),
        ] {
            assert_eq!(show(text).unwrap(), want, "{text}");
        }
        for text in ["some", "colour=red", "count=1,count=2", "1,2", "\"device=0", "a\"b", ""] {
            assert!(show(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_is_a_path_or_a_name() {
        for (text, cdi) in
            [("/dev/fuse", false), ("/dev/a:/dev/b:rw", false), ("vendor.com/gpu=0", true)]
        {
            assert_eq!(is_cdi(text), cdi, "{text}");
        }
    }
}
