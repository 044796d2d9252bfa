//! `--call`: what the front end can say of a Dockerfile without building it. Its answer comes over the
//! gateway service, on which we are what a front end would be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use buildkit::control::SolveRequest;
use buildkit::gateway::llb_bridge_client::LlbBridgeClient;
use buildkit::gateway::{self, ReturnRequest};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Status};

use super::picture::{self, Format};
use super::progress::Display;
use super::solve::{Control, Ended, Solving};
use super::wire::{Channel, MESSAGE};
use super::{FRONTEND, context, failed};
use crate::args::BuildArgs;
use crate::error::{Error, Result};
use crate::format::human;

/// What says which build a call of the gateway is of.
const BUILD: &str = "buildkit-controlapi-buildid";
/// A front end that does not know what is asked refuses, and does not build.
const NEEDED: &str = "moby.buildkit.frontend.subrequests";

/// What is asked instead of a build, and how the answer is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A method, by its name, as text or JSON.
    Method(String, bool),
    /// The graph.
    Graph(Format),
}

impl Asked {
    /// By the flags; `None`: a build.
    pub(super) fn parse(args: &BuildArgs) -> Result<Option<Self>> {
        if context::is_graph(args) {
            return Ok(Some(Self::Graph(Format::parse(args.format.as_deref())?)));
        }
        let as_json = match args.format.as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => {
                return Err(Error::Usage(format!("--format {other}: give text or json")));
            }
        };
        let method = if args.check { "check" } else { args.call.as_str() };
        if method == "build" {
            if args.format.is_some() && !args.explain {
                let why = "--format is for --explain, --call, --check and `build graph`";
                return Err(Error::Usage(why.into()));
            }
            return Ok(None);
        }
        let (method, is_json) = parse(method)?;
        Ok(Some(Self::Method(method, as_json || is_json)))
    }

    fn name(&self) -> &str {
        match self {
            Self::Method(name, _) => name,
            Self::Graph(_) => "dhow.graph",
        }
    }
}

/// Asks, and prints the answer.
pub(super) async fn call(
    (control, channel): (Control, Channel),
    mut request: SolveRequest,
    asked: &Asked,
    mut display: Display,
) -> Result<i32> {
    let mut attrs = std::mem::take(&mut request.frontend_attrs);
    attrs.insert("requestid".into(), asked.name().to_owned());
    attrs.insert("frontend.caps".into(), NEEDED.into());
    request.frontend.clear();
    let id = request.r#ref.clone();
    let answered: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
    let kept = Arc::clone(&answered);
    let mut solver = control.clone();
    let build = id.clone();
    let both = async move {
        let asked = ask(channel, &build, attrs);
        let (solved, asked) = tokio::join!(solver.solve(request), asked);
        // What the front end says is more than that the build was given up.
        let metadata = asked?;
        let response = solved?.into_inner().exporter_response;
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = metadata;
        Ok(response)
    };
    let ended = Solving::with(control, id, both).run(&mut display).await;
    display.finish();
    if !matches!(ended, Ended::Done(_)) {
        return failed(ended);
    }
    let metadata = answered.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match asked {
        Asked::Method(method, as_json) => print(&metadata, method, *as_json),
        Asked::Graph(format) => {
            let json = metadata.get("result.json").map(Vec::as_slice).unwrap_or_default();
            print!("{}", picture::render(json, *format)?);
            Ok(0)
        }
    }
}

/// `METHOD[,format=json]`.
fn parse(text: &str) -> Result<(String, bool)> {
    let mut parts = text.split(',');
    let method = match parts.next().unwrap_or_default() {
        "check" => "frontend.lint".to_owned(),
        "outline" => "frontend.outline".to_owned(),
        "targets" => "frontend.targets".to_owned(),
        "subrequests.describe" => "frontend.subrequests.describe".to_owned(),
        other if other.contains('.') => other.to_owned(),
        other => return Err(Error::Usage(format!("--call {other}: there is no such method"))),
    };
    let mut as_json = false;
    for part in parts {
        match part {
            "format=json" => as_json = true,
            "format=text" => {}
            other => return Err(Error::Usage(format!("--call: unexpected {other:?}"))),
        }
    }
    Ok((method, as_json))
}

async fn ask(
    channel: Channel,
    build: &str,
    attrs: BTreeMap<String, String>,
) -> std::result::Result<BTreeMap<String, Vec<u8>>, Status> {
    let mut bridge =
        LlbBridgeClient::with_origin(channel, Channel::origin()).max_decoding_message_size(MESSAGE);
    let of = AsciiMetadataValue::try_from(build);
    let of = of.map_err(|err| Status::internal(err.to_string()))?;
    let request = gateway::SolveRequest {
        frontend: FRONTEND.to_owned(),
        frontend_opt: attrs,
        allow_result_return: true,
        allow_result_array_ref: true,
        ..gateway::SolveRequest::default()
    };
    let mut request = Request::new(request);
    request.metadata_mut().insert(BUILD, of.clone());
    let solved = bridge.solve(request).await;
    let (result, error) = match &solved {
        Ok(response) => (response.get_ref().result.clone(), None),
        Err(status) => {
            let error = buildkit::rpc::Status {
                code: status.code() as i32,
                message: status.message().to_owned(),
                details: Vec::new(),
            };
            (None, Some(error))
        }
    };
    let mut done = Request::new(ReturnRequest { result: result.clone(), error });
    done.metadata_mut().insert(BUILD, of);
    let returned = bridge.r#return(done).await;
    solved?;
    returned?;
    Ok(result.map(|result| result.metadata).unwrap_or_default())
}

/// Prints the answer. Checks that found something end with 1.
fn print(metadata: &BTreeMap<String, Vec<u8>>, method: &str, as_json: bool) -> Result<i32> {
    let text =
        |key: &str| metadata.get(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let shown = if as_json { text("result.json") } else { text("result.txt") };
    let Some(shown) = shown.or_else(|| text("result.json")) else {
        return Err(Error::Usage(format!("the builder has no answer to {method}")));
    };
    let shown: String = shown.split('\n').map(human::printable).collect::<Vec<_>>().join("\n");
    let is_lint = method == "frontend.lint";
    let n_found = text("result.json")
        .and_then(|json| serde_json::from_str::<serde_json::Value>(&json).ok())
        .and_then(|json| json["warnings"].as_array().map(Vec::len))
        .unwrap_or(0);
    if is_lint && !as_json {
        match n_found {
            0 => println!("Check complete, no warnings found."),
            1 => println!("Check complete, 1 warning has been found!"),
            n => println!("Check complete, {n} warnings have been found!"),
        }
    }
    if !(is_lint && n_found == 0 && !as_json) {
        println!("{}", shown.trim_end_matches('\n'));
    }
    let code = text("result.statuscode").and_then(|code| code.trim().parse::<i32>().ok());
    match code.unwrap_or(i32::from(is_lint && n_found > 0)) {
        0 => Ok(0),
        code => Err(Error::Exit(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_short_names() {
        assert_eq!(parse("check").unwrap(), ("frontend.lint".into(), false));
        assert_eq!(parse("targets,format=json").unwrap(), ("frontend.targets".into(), true));
        assert_eq!(parse("frontend.x").unwrap().0, "frontend.x");
        assert!(parse("frob").is_err());
        assert!(parse("check,x=y").is_err());
    }

    #[test]
    fn flags_say_what_is_asked() {
        let asked = |change: &dyn Fn(&mut BuildArgs)| {
            let context = vec![".".to_owned()];
            let mut args = BuildArgs { call: "build".into(), context, ..BuildArgs::default() };
            change(&mut args);
            Asked::parse(&args)
        };
        assert_eq!(asked(&|_| ()).unwrap(), None);
        let lint = |as_json| Some(Asked::Method("frontend.lint".into(), as_json));
        assert_eq!(asked(&|args| args.check = true).unwrap(), lint(false));
        let json = |args: &mut BuildArgs| args.format = Some("json".into());
        let check = |args: &mut BuildArgs| {
            args.call = "check".into();
            json(args);
        };
        assert_eq!(asked(&check).unwrap(), lint(true));
        let graph = |args: &mut BuildArgs| {
            args.context = vec!["graph".into(), ".".into()];
            args.format = Some("svg".into());
        };
        assert_eq!(asked(&graph).unwrap(), Some(Asked::Graph(Format::Svg)));
        assert!(asked(&json).is_err(), "a build alone has no format");
        assert!(asked(&|args| args.format = Some("xml".into())).is_err());
    }
}
