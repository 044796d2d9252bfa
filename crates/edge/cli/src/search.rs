//! `search`.

use docker::image::SearchResult;
use serde_json::{Value, json};

use crate::args::SearchArgs;
use crate::client::{Client, empty, encode};
use crate::error::Result;
use crate::format::human;
use crate::list::{self, Column};
use crate::registry::{AUTH, auth_of};
use crate::request;

const COLUMNS: &[Column] = &[
    Column { field: "Name", header: "NAME" },
    Column { field: "Description", header: "DESCRIPTION" },
    Column { field: "StarCount", header: "STARS" },
    Column { field: "IsOfficial", header: "OFFICIAL" },
];
const MORE: &[Column] = &[Column { field: "IsAutomated", header: "AUTOMATED" }];
/// Characters of a description.
const DESCRIPTION: usize = 45;

/// `search`.
pub(crate) async fn search(client: &Client, args: &SearchArgs) -> Result<i32> {
    let filters = request::filters(&args.filter)?;
    let path = format!(
        "/images/search?term={}&limit={}&filters={}",
        encode(&args.term),
        args.limit,
        encode(&filters.to_json())
    );
    let domain = match args.term.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => reference::DEFAULT_DOMAIN,
    };
    let auth = auth_of(domain)?;
    let response = client.call_with(hyper::Method::GET, &path, &[(AUTH, &auth)], empty()).await?;
    let found: Vec<SearchResult> = client.parse(response).await?;
    let is_json = matches!(args.format.as_deref(), Some("json" | "{{json .}}"));
    let rows: Vec<Value> = found.iter().map(|one| row(one, args.no_trunc, is_json)).collect();
    list::print(args.format.as_deref(), COLUMNS, MORE, &rows)
}

fn row(found: &SearchResult, whole: bool, is_json: bool) -> Value {
    let description = human::printable(&found.description.replace('\r', ""));
    let yes = |is: bool| match (is, is_json) {
        (true, false) => "[OK]",
        (true, true) => "true",
        (false, true) => "false",
        (false, false) => "",
    };
    json!({
        "Name": human::printable(&found.name),
        "Description": if whole { description } else { human::ellipsis(&description, DESCRIPTION) },
        "StarCount": found.star_count.to_string(),
        "IsOfficial": yes(found.is_official),
        "IsAutomated": yes(found.is_automated),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_one_short_line() {
        let found = SearchResult {
            name: "busybox".into(),
            description: format!("one\ntwo {}", "x".repeat(60)),
            star_count: 7,
            is_official: true,
            ..SearchResult::default()
        };
        let short = row(&found, false, false);
        assert_eq!(short["Description"].as_str().unwrap().chars().count(), DESCRIPTION);
        assert!(short["Description"].as_str().unwrap().starts_with("one two "));
        assert_eq!((&short["StarCount"], &short["IsOfficial"]), (&json!("7"), &json!("[OK]")));
        assert_eq!(row(&found, true, true)["IsOfficial"], "true");
    }
}
