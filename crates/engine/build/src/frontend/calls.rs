//! What the front end says of a Dockerfile without a build of it (`--call`): its targets, what a build takes,
//! what checks find, and how its steps hang together.
//!
//! Names and forms are those of BuildKit's `frontend/subrequests`; `dhow.graph` is ours. Only for checks and
//! definitions are images asked for elsewhere.

use std::collections::BTreeMap;

use dockerfile::call::{Lint, Targets, VERSION};
use dockerfile::convert::{Conversion, Next, Options};
use oci::image::Platform;
use serde::Serialize;
use serde_json::json;

use super::answers::Where;
use super::{invalid, picture};
use crate::event::Source;
use crate::export::Solved;
use crate::request::FrontendRequest;
use crate::{Build, Error};

/// The option that says what is asked.
pub(super) const OPTION: &str = "requestid";
/// What a Dockerfile is written in, as definitions call it.
const LANGUAGE: &str = "Dockerfile";

/// Something that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Describe,
    Outline,
    Targets,
    Lint,
    Definition,
    Graph,
}

impl Call {
    const ALL: [(Self, &str, &str); 6] = [
        (Self::Outline, "frontend.outline", "List all parameters current build target supports"),
        (Self::Targets, "frontend.targets", "List all targets current build supports"),
        (Self::Lint, "frontend.lint", "Lint a Dockerfile"),
        (Self::Definition, "frontend.convertllb", "Convert Dockerfile to LLB"),
        (Self::Graph, "dhow.graph", "Show the steps of a build and how they hang together"),
        (Self::Describe, "frontend.subrequests.describe", "List available subrequest types"),
    ];

    /// What the options ask; `None`: a build.
    pub(super) fn of(options: &BTreeMap<String, String>) -> Result<Option<Self>, Error> {
        let Some(asked) = options.get(OPTION).filter(|asked| !asked.is_empty()) else {
            return Ok(None);
        };
        let found = Self::ALL.iter().find(|(_, name, _)| name == asked);
        let unknown = || Error::NoSubrequest(asked.clone());
        found.map(|(call, ..)| Some(*call)).ok_or_else(unknown)
    }

    /// The version of what it answers.
    fn version(self) -> &'static str {
        match self {
            Self::Definition => "0.1.0",
            _ => VERSION,
        }
    }

    /// What its answer has.
    fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Definition | Self::Graph => &["result.json"],
            Self::Lint => &["result.json", "result.txt", "result.statuscode"],
            Self::Describe | Self::Outline | Self::Targets => &["result.json", "result.txt"],
        }
    }
}

/// What is asked, as it is described.
fn description() -> serde_json::Value {
    let all = Call::ALL.iter().map(|(call, name, description)| {
        let parts = call.parts().iter();
        let metadata: Vec<_> = parts.map(|name| json!({ "Name": name })).collect();
        json!({
            "Name": name,
            "Version": call.version(),
            "Type": "rpc",
            "Description": description,
            "Opts": null,
            "Inputs": null,
            "Metadata": metadata,
            "Refs": null,
        })
    });
    all.collect()
}

fn described() -> String {
    let mut out = String::from("NAME                          VERSION DESCRIPTION\n");
    for (call, name, description) in Call::ALL {
        out += &format!("{name:29} {:7} {description}\n", call.version());
    }
    out
}

impl Build {
    pub(super) async fn call(
        &self,
        call: Call,
        request: &FrontendRequest,
        mut options: Options,
        platform: Option<&Platform>,
        source: Source,
    ) -> Result<Solved, Error> {
        options.target_platform = platform.cloned();
        match call {
            Call::Describe => answer(call, &description(), described(), None),
            Call::Targets => {
                let parsed = dockerfile::parse(&source.data);
                let parsed = parsed.map_err(|error| Error::dockerfile(&error, &source))?;
                let targets = Targets::of(&parsed, &source.data);
                let text = targets.text();
                answer(call, &targets, text, None)
            }
            Call::Outline => {
                let built = self.converted(request, &source, options, Where::Here).await?;
                answer(call, &built.outline, built.outline.text(), None)
            }
            Call::Lint => {
                options.all_stages = options.target.as_deref().unwrap_or_default().is_empty();
                let conversion = Conversion::new(&source.data, options);
                let round = self.rounds(conversion, request, Where::Anywhere).await?;
                let error = round.next.as_ref().err();
                let lint = Lint::new(&source.filename, &source.data, &round.warnings, error);
                answer(call, &lint, lint.text(), Some(lint.status()))
            }
            Call::Definition => {
                let built = self.converted(request, &source, options, Where::Anywhere).await?;
                let origin = llb::Origin {
                    filename: &source.filename,
                    data: &source.data,
                    language: LANGUAGE,
                };
                let definition = llb::define(&built.graph, built.result, origin);
                answer(call, &llb::json(&definition), String::new(), None)
            }
            Call::Graph => {
                let target = options.target.clone();
                let built = self.converted(request, &source, options, Where::Here).await?;
                let parsed = dockerfile::parse(&source.data);
                let parsed = parsed.map_err(|error| Error::dockerfile(&error, &source))?;
                let project = self.shared.client.shared_key();
                let known = self.shared.blocking(|build| Ok(build.builder.made.all())).await?;
                let known: Vec<_> =
                    known.into_iter().filter(|one| one.project == project).collect();
                let picture =
                    picture::draw(&source.filename, &parsed, &built, target.as_deref(), &known);
                answer(call, &picture, String::new(), None)
            }
        }
    }

    async fn converted(
        &self,
        request: &FrontendRequest,
        source: &Source,
        options: Options,
        place: Where,
    ) -> Result<dockerfile::convert::Built, Error> {
        let conversion = Conversion::new(&source.data, options);
        match self.rounds(conversion, request, place).await?.next {
            Ok(Next::Done(built)) => Ok(*built),
            Ok(Next::Ask(_)) => Err(Error::Lost("the front end")),
            Err(error) => Err(Error::dockerfile(&error, source)),
        }
    }
}

fn answer<T: Serialize>(
    call: Call,
    value: &T,
    text: String,
    status: Option<i32>,
) -> Result<Solved, Error> {
    let mut solved = Solved::default();
    let json = serde_json::to_vec_pretty(value).map_err(|error| invalid(&error))?;
    solved.metadata.insert("result.json".into(), json);
    if !text.is_empty() {
        solved.metadata.insert("result.txt".into(), text.into_bytes());
    }
    solved.metadata.insert("version".into(), call.version().into());
    if let Some(status) = status {
        solved.metadata.insert("result.statuscode".into(), status.to_string().into_bytes());
    }
    Ok(solved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let call = |name: &str| Call::of(&[(OPTION.to_owned(), name.to_owned())].into());
        assert_eq!(call("frontend.lint").unwrap(), Some(Call::Lint));
        assert_eq!(call("").unwrap(), None);
        assert!(call("frontend.x").unwrap_err().to_string().contains("frontend.x"));
        let described = description();
        assert_eq!(described.as_array().unwrap().len(), Call::ALL.len());
        assert_eq!(described[2]["Metadata"][2]["Name"], "result.statuscode");
        assert_eq!(
            (&described[3]["Version"], &described[2]["Version"]),
            (&json!("0.1.0"), &json!("1.0.0"))
        );
        assert_eq!(described[3]["Metadata"], json!([{ "Name": "result.json" }]));
    }
}
