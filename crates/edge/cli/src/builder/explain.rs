//! `build --explain`: why each step was, or was not, taken from the cache.
//!
//! What a builder tells of every build is which step needs which, and which was cached. So the first
//! step of a chain that was not is found. Why it was not, a builder may say: as a part of the step whose
//! name begins with [`REASON`].

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::build::{Step, Trace};

/// How a builder begins what it says of the cache: `cache: RUN make: the argument A is 2, was 1`.
pub(crate) const REASON: &str = "cache: ";

/// One line a step, in the order in which they began; or JSON, one object a step: `step`, `cached`, `why` and,
/// where the builder says more, its `reasons`.
pub(crate) fn render(trace: &Trace, as_json: bool) -> String {
    let by_digest: HashMap<&str, &Step> =
        trace.steps.iter().map(|step| (step.digest.as_str(), step)).collect();
    let mut steps: Vec<&Step> = trace.steps.iter().filter(|step| step.started.is_some()).collect();
    steps.sort_by(|a, b| a.started.unwrap_or(0.0).total_cmp(&b.started.unwrap_or(0.0)));
    let mut out = String::new();
    let mut all = Vec::new();
    for step in steps.into_iter().filter(|step| !is_internal(step)) {
        let told = step.parts.iter().filter_map(|part| part.id.strip_prefix(REASON));
        let told: Vec<&str> = told.collect();
        let (word, why) = match (step.cached, told.is_empty()) {
            (true, true) => {
                ("CACHED", "the same step on the same input was made before".to_owned())
            }
            (true, false) => ("CACHED", told.join("; ")),
            (false, false) => ("RAN", told.join("; ")),
            (false, true) => ("RAN", reason(step, &by_digest)),
        };
        out += &format!("{word:<7} {}\n        {why}\n", step.name);
        let parts = step.parts.iter().filter(|part| part.id.starts_with(REASON));
        let known = parts.filter_map(|part| serde_json::from_str::<Value>(&part.name).ok());
        let reasons: Vec<Value> = known
            .filter_map(|mut value| value["reasons"].as_array_mut().map(std::mem::take))
            .flatten()
            .collect();
        all.push(json!({
            "step": step.name,
            "cached": step.cached,
            "why": why,
            "reasons": reasons,
        }));
    }
    if as_json {
        return format!("{:#}\n", Value::Array(all));
    }
    out
}

/// What is no instruction of anybody's.
fn is_internal(step: &Step) -> bool {
    step.name.starts_with("[internal]") || is_result(step)
}

fn is_result(step: &Step) -> bool {
    ["exporting ", "pushing ", "importing cache", "resolving provenance"]
        .iter()
        .any(|start| step.name.starts_with(start))
}

/// A context, or an image: it is looked at in each build.
fn is_source(step: &Step) -> bool {
    step.inputs.is_empty()
}

fn reason(step: &Step, by_digest: &HashMap<&str, &Step>) -> String {
    if is_source(step) {
        return "a source: it is looked at in each build".to_owned();
    }
    let inputs = || step.inputs.iter().filter_map(|digest| by_digest.get(digest.as_str()));
    let ran: Vec<&str> = inputs()
        .filter(|input| !input.cached && !is_source(input))
        .map(|input| input.name.as_str())
        .collect();
    if !ran.is_empty() {
        return format!("it builds on what was not cached: {}", ran.join(", "));
    }
    let context = inputs().find(|input| input.name.contains("load build context"));
    let files = match context {
        Some(_) => ", or files of the context that it takes,",
        None => "",
    };
    format!(
        "the first of its chain that is new: its instruction, an argument or variable{files} changed, or it was never made"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use buildkit::control::{StatusResponse, Vertex, VertexStatus};
    use buildkit::prost_types::Timestamp;
    use expect_test::expect;

    fn vertex(digest: &str, name: &str, inputs: &[&str], cached: bool) -> Vertex {
        Vertex {
            digest: digest.into(),
            name: name.into(),
            inputs: inputs.iter().map(|one| (*one).to_owned()).collect(),
            cached,
            started: Some(Timestamp { seconds: 1, nanos: 0 }),
            completed: Some(Timestamp { seconds: 2, nanos: 0 }),
            ..Vertex::default()
        }
    }

    #[test]
    fn the_first_step_of_a_chain_is_to_blame() {
        let mut trace = Trace::default();
        trace.update(&StatusResponse {
            vertexes: vec![
                vertex("c", "[internal] load build context", &[], false),
                vertex("f", "[1/4] FROM debian", &[], true),
                vertex("a", "[2/4] RUN apt", &["f"], true),
                vertex("b", "[3/4] COPY . .", &["a", "c"], false),
                vertex("d", "[4/4] RUN make", &["b"], false),
                vertex("e", "exporting to image", &["d"], false),
            ],
            statuses: vec![VertexStatus {
                id: "cache: the file x was changed".into(),
                name: "{\"reasons\":[{\"kind\":\"files\"}]}".into(),
                vertex: "b".into(),
                ..VertexStatus::default()
            }],
            ..StatusResponse::default()
        });
        expect![[r"
            CACHED  [1/4] FROM debian
                    the same step on the same input was made before
            CACHED  [2/4] RUN apt
                    the same step on the same input was made before
            RAN     [3/4] COPY . .
                    the file x was changed
            RAN     [4/4] RUN make
                    it builds on what was not cached: [3/4] COPY . .
        "]]
        .assert_eq(&render(&trace, false));
        let json: Value = serde_json::from_str(&render(&trace, true)).unwrap();
        assert_eq!(json[2]["reasons"][0]["kind"], "files");
        assert_eq!(json[3]["cached"], false);
    }
}
