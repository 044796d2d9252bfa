//! `inspect`, of one type or of whatever bears the name.

use serde_json::Value;

use crate::almost;
use crate::args::{ImageInspectArgs, InspectArgs};
use crate::client::{Client, encode};
use crate::error::{Error, Result};
use crate::format::template::Template;
use crate::images::path_of;
use crate::platforms;

/// A type of object, in the order in which a name is looked up.
const TYPES: [&str; 5] = ["container", "image", "network", "volume", "secret"];

/// The exit code where a template is none.
const NO_TEMPLATE: i32 = 64;

/// `image inspect`.
pub(crate) async fn image(client: &Client, args: &ImageInspectArgs) -> Result<i32> {
    let platform = platforms::query("platform", &args.platform)?;
    let args = InspectArgs {
        format: args.format.clone(),
        size: false,
        verbose: false,
        r#type: None,
        objects: args.images.clone(),
    };
    objects(client, &args, Some("image"), &platform).await
}

/// `inspect`.
pub(crate) async fn inspect(
    client: &Client,
    args: &InspectArgs,
    only: Option<&str>,
) -> Result<i32> {
    objects(client, args, only, "").await
}

/// Prints the objects as a JSON array, or each through a template.
async fn objects(
    client: &Client,
    args: &InspectArgs,
    only: Option<&str>,
    platform: &str,
) -> Result<i32> {
    let only = only.or(args.r#type.as_deref());
    if let Some(other) = only.filter(|kind| !TYPES.contains(kind)) {
        return Err(Error::Usage(format!(
            "{other:?} is not a type of object: use one of {}",
            TYPES.join(", ")
        )));
    }
    let template = match args.format.as_deref() {
        None | Some("" | "json") => None,
        Some(format) => Some(Template::parse(format).map_err(|err| no_template(&err))?),
    };
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.objects {
        let object = find(client, name, only, args, platform).await;
        match almost::told(client, object).await {
            Ok(object) => match template.as_ref().map(|template| template.render(&object)) {
                Some(Ok(text)) => println!("{text}"),
                Some(Err(err)) => {
                    eprintln!("dhow: {err}");
                    code = 1;
                }
                None => found.push(object),
            },
            Err(err) => {
                eprintln!("dhow: {err}");
                code = 1;
            }
        }
    }
    if template.is_none() {
        if args.format.as_deref() == Some("json") {
            println!("{}", Value::Array(found));
        } else {
            println!("{}", indented(&Value::Array(found)));
        }
    }
    Ok(code)
}

async fn find(
    client: &Client,
    name: &str,
    only: Option<&str>,
    args: &InspectArgs,
    platform: &str,
) -> Result<Value> {
    for kind in TYPES.iter().filter(|kind| only.is_none_or(|only| only == **kind)) {
        let path = match *kind {
            "container" => {
                format!("/containers/{}/json?size={}", encode(name), u8::from(args.size))
            }
            "image" => {
                let path = format!("/images/{}/json{platform}", path_of(name));
                path.replacen("/json&", "/json?", 1)
            }
            "network" => {
                format!("/networks/{}?verbose={}", encode(name), u8::from(args.verbose))
            }
            "secret" => format!("/secrets/{}", encode(name)),
            _ => format!("/volumes/{}", encode(name)),
        };
        match client.get::<Value>(&path).await {
            Err(err) if err.is_not_found() && only.is_none() => {}
            // A name that cannot be an image's is none; it may be something else's.
            Err(Error::Api { status: 400, .. }) if only.is_none() => {}
            result => return result,
        }
    }
    Err(Error::Api { status: 404, message: format!("No such object: {name}") })
}

/// What `inspect` and `version` say where a template is none.
pub(crate) fn no_template(err: &crate::format::template::Error) -> Error {
    eprintln!("dhow: {err}");
    Error::Exit(NO_TEMPLATE)
}

/// JSON with four spaces, as Docker prints it.
pub(crate) fn indented(value: &Value) -> String {
    use serde::Serialize as _;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // A value that came as JSON can be written as JSON.
    let _ = value.serialize(&mut serializer);
    String::from_utf8_lossy(&out).into_owned()
}
