//! `cdi`: the devices that containers can have by name, and the specification of this machine's GPUs.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use docker::dhow::CdiDevices;
use serde_json::{Value, json};

use crate::args::CdiGenerateArgs;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};

const COLUMNS: &[Column] = &[
    Column { field: "Name", header: "NAME" },
    Column { field: "DeviceNodes", header: "DEVICE FILES" },
    Column { field: "File", header: "SPECIFICATION" },
];

/// `cdi list`: a line each; files that cannot be read are told of on standard error.
pub(crate) async fn list(client: &Client, format: Option<&str>) -> Result<i32> {
    let all: CdiDevices = client.get("/dhow/cdi").await?;
    let rows: Vec<Value> = all
        .devices
        .iter()
        .map(|device| {
            json!({
                "Name": device.name,
                "DeviceNodes": human::printable(&device.device_nodes.join(", ")),
                "File": human::printable(&device.file),
            })
        })
        .collect();
    let code = list::print(format, COLUMNS, &[], &rows)?;
    for problem in &all.problems {
        let (file, why) = (human::printable(&problem.file), human::printable(&problem.message));
        eprintln!("dhow: warning: \"{file}\": {why}");
    }
    Ok(code)
}

/// `cdi generate`: looks at this machine, whoever the engine is.
pub(crate) fn generate(args: &CdiGenerateArgs) -> Result<i32> {
    let document = devices::nvidia::specification(&args.driver_root)
        .map_err(|err| Error::Usage(docker::error::chain(&err)))?;
    let text = document.print();
    let Some(path) = &args.output else {
        let printed = io::stdout().write_all(text.as_bytes());
        printed.map_err(Error::io("write the specification".to_owned()))?;
        return Ok(0);
    };
    if path.extension().is_none_or(|end| end != "json") {
        return Err(Error::Usage(format!(
            "--output {}: give a name that ends in .json, or no engine reads it",
            path.display()
        )));
    }
    replace(path, &text).map_err(Error::io(format!("write \"{}\"", path.display())))?;
    let names: Vec<&str> = document.devices.iter().map(|device| device.name.as_str()).collect();
    eprintln!("{}: {} has {}", path.display(), document.kind, names.join(", "));
    Ok(0)
}

/// Writes a file that nobody sees half of.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    // Of a name that is not read as a specification.
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}
