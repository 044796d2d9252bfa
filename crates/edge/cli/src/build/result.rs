//! What is left of a build for scripts: the image's id, and its metadata.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::progress::Trace;
use crate::args::BuildArgs;
use crate::error::{Error, Result};

type Response = BTreeMap<String, String>;

const DIGEST: &str = "containerimage.digest";
const CONFIG: &str = "containerimage.config.digest";

/// The id of the image: the digest of its configuration, else of its manifest.
fn id(response: &Response) -> &str {
    response.get(CONFIG).or(response.get(DIGEST)).map(String::as_str).unwrap_or_default()
}

/// Writes the files that were asked for.
pub(super) fn write(
    args: &BuildArgs,
    build: &str,
    response: &Response,
    trace: &Trace,
) -> Result<()> {
    if let Some(path) = &args.iidfile {
        put(path, id(response).as_bytes())?;
    }
    let Some(path) = &args.metadata_file else { return Ok(()) };
    let mut metadata = decoded(response);
    metadata.insert("buildx.build.ref".into(), format!("default/default/{build}").into());
    let wanted = std::env::var("BUILDX_METADATA_WARNINGS");
    if wanted.is_ok_and(|value| value == "1" || value == "true") {
        let texts = trace.warnings.iter().map(|warning| {
            let text = String::from_utf8_lossy(&warning.0.short).into_owned();
            serde_json::json!({ "short": text, "url": warning.0.url })
        });
        metadata.insert("buildx.build.warnings".into(), texts.collect());
    }
    let mut json = serde_json::to_vec_pretty(&metadata)
        .map_err(|err| Error::Usage(format!("{}: {err}", path.display())))?;
    json.push(b'\n');
    put(path, &json)
}

/// Whole or not at all.
fn put(path: &Path, content: &[u8]) -> Result<()> {
    let what = || format!("write {path:?}");
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return std::fs::write(path, content).map_err(Error::io(what()));
    }
    std::fs::write(&beside, content).map_err(Error::io(what()))?;
    std::fs::rename(&beside, path).map_err(Error::io(what()))
}

/// Values that are JSON in base64 become that JSON.
fn decoded(response: &Response) -> Map<String, Value> {
    let value = |text: &String| {
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).ok();
        let json = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        json.filter(Value::is_object).unwrap_or_else(|| text.clone().into())
    };
    response.iter().map(|(key, text)| (key.clone(), value(text))).collect()
}

/// Prints the id, where there is one.
pub(super) fn print_id(response: &Response) {
    if !id(response).is_empty() {
        println!("{}", id(response));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_that_is_json_is_json() {
        let json = data_encoding::BASE64.encode(b"{\"a\":1}");
        let response = BTreeMap::from([
            (DIGEST.to_owned(), "sha256:1".to_owned()),
            ("containerimage.descriptor".to_owned(), json),
            ("image.name".to_owned(), "MTIz".to_owned()),
        ]);
        let decoded = decoded(&response);
        assert_eq!(decoded["containerimage.descriptor"]["a"], 1);
        assert_eq!(decoded["image.name"], "MTIz");
        assert_eq!(id(&response), "sha256:1");
    }
}
