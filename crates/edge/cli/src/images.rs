//! Commands on images.

use docker::IdResponse;
use docker::filters::Filters;
use docker::image::{DeleteResponse, History, Summary};
use docker::progress::Message;
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::{Value, json};

use crate::args::{CommitArgs, ConvertArgs, HistoryArgs, ImagesArgs, ImportArgs, RmiArgs};
use crate::client::{Client, Pieces, empty, encode};
use crate::config;
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};
use crate::{almost, archive, explain, platforms, progress, request};

const COLUMNS: &[Column] = &[
    Column { field: "Repository", header: "REPOSITORY" },
    Column { field: "Tag", header: "TAG" },
    Column { field: "ID", header: "IMAGE ID" },
    Column { field: "CreatedSince", header: "CREATED" },
    Column { field: "Size", header: "SIZE" },
];
const DIGEST: Column = Column { field: "Digest", header: "DIGEST" };
const MORE: &[Column] = &[
    DIGEST,
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "Containers", header: "CONTAINERS" },
    Column { field: "SharedSize", header: "SHARED SIZE" },
    Column { field: "UniqueSize", header: "UNIQUE SIZE" },
    Column { field: "VirtualSize", header: "SIZE" },
];
/// `--format raw`, without the digest and with it.
const RAW: &str = "repository: {{ .Repository }}
tag: {{.Tag}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
";
pub(crate) const RAW_WITH_DIGEST: &str = "repository: {{ .Repository }}
tag: {{.Tag}}
digest: {{.Digest}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
";
const HISTORY: &[Column] = &[
    Column { field: "ID", header: "IMAGE" },
    Column { field: "CreatedSince", header: "CREATED" },
    Column { field: "CreatedBy", header: "CREATED BY" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "Comment", header: "COMMENT" },
];
/// In place of the second, with `--human=false`.
const HISTORY_DATE: Column = Column { field: "CreatedAt", header: "CREATED AT" };
const ID_WIDTH: usize = 12;
const NONE: &str = "<none>";

/// A name with `:latest` where it has neither a tag nor a digest.
pub(crate) fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || last.contains('@') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

/// `images`.
pub(crate) async fn list(client: &Client, args: &ImagesArgs) -> Result<i32> {
    if args.tree {
        return explain::tree(client, args).await;
    }
    let filters = wanted(args)?;
    let path = format!(
        "/images/json?all={}&digests={}&filters={}",
        u8::from(args.all),
        u8::from(args.digests),
        encode(&filters.to_json())
    );
    let mut images: Vec<Summary> = client.get(&path).await?;
    if !args.all && !filters.contains("dangling") {
        images.retain(|image| !is_dangling(image));
    }
    let format = config::format(args.format.as_deref(), &config::get().images_format);
    if args.quiet {
        let before = list::quiet(format, "image_id: ");
        let mut shown = Vec::new();
        for image in &images {
            let id = short(&image.id, args.no_trunc);
            if !shown.contains(&id) {
                println!("{before}{id}");
                shown.push(id);
            }
        }
        return Ok(0);
    }
    let rows: Vec<Value> = images.iter().flat_map(|image| rows(image, args.no_trunc)).collect();
    let mut columns = COLUMNS.to_vec();
    if args.digests {
        columns.insert(2, DIGEST);
    }
    let raw = if args.digests { RAW_WITH_DIGEST } else { RAW };
    list::print(list::or_raw(format, raw), &columns, MORE, &rows)
}

/// Which images are to be listed.
pub(crate) fn wanted(args: &ImagesArgs) -> Result<Filters> {
    let mut filters = request::filters(&args.filter)?;
    if let Some(reference) = &args.reference {
        filters.add("reference", reference.as_str());
    }
    Ok(filters)
}

/// Whether an image has no name at all; older engines have a word for it.
fn is_dangling(image: &Summary) -> bool {
    let is_none = |names: &[String], none: &str| names.iter().all(|name| name == none);
    is_none(&image.repo_tags, "<none>:<none>") && is_none(&image.repo_digests, "<none>@<none>")
}

/// A row for each tag; one for an image without any.
pub(crate) fn rows(image: &Summary, whole: bool) -> Vec<Value> {
    let row = |repository: &str, tag: &str, digest: &str| {
        json!({
            "Repository": repository,
            "Tag": tag,
            "Digest": digest,
            "ID": short(&image.id, whole),
            "CreatedSince": if image.created > 0 { human::ago(image.created) } else { "N/A".to_owned() },
            "CreatedAt": human::date(image.created),
            "Size": human::size(image.size),
            "Containers": if image.containers < 0 { "N/A".to_owned() } else { image.containers.to_string() },
            "SharedSize": if image.shared_size < 0 { "N/A".to_owned() } else { human::total(image.shared_size) },
            "UniqueSize": if image.shared_size < 0 { "N/A".to_owned() } else { human::total(image.size - image.shared_size) },
            "VirtualSize": human::total(image.size),
        })
    };
    let digest_of = |repository: &str| {
        image
            .repo_digests
            .iter()
            .filter_map(|digest| digest.split_once('@'))
            .find(|(name, _)| *name == repository)
            .map_or(NONE, |(_, digest)| digest)
            .to_owned()
    };
    let tags: Vec<Value> = image
        .repo_tags
        .iter()
        .filter_map(|tag| tag.rsplit_once(':'))
        .map(|(repository, tag)| row(repository, tag, &digest_of(repository)))
        .collect();
    if !tags.is_empty() {
        return tags;
    }
    match image.repo_digests.iter().find_map(|digest| digest.split_once('@')) {
        Some((repository, digest)) => vec![row(repository, NONE, digest)],
        None => vec![row(NONE, NONE, NONE)],
    }
}

fn short(id: &str, whole: bool) -> &str {
    if whole {
        return id;
    }
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..ID_WIDTH).unwrap_or(hex)
}

/// `rmi`.
pub(crate) async fn rmi(client: &Client, args: &RmiArgs) -> Result<i32> {
    let mut code = 0;
    for name in &args.images {
        let path = format!(
            "/images/{}?force={}&noprune={}{}",
            path_of(name),
            u8::from(args.force),
            u8::from(args.no_prune),
            platforms::query("platforms", &args.platform)?
        );
        match almost::told(client, client.delete(&path).await).await {
            Ok(body) => {
                let gone: Vec<DeleteResponse> = serde_json::from_slice(&body).unwrap_or_default();
                for one in gone {
                    if one.deleted.is_empty() {
                        println!("Untagged: {}", one.untagged);
                    } else {
                        println!("Deleted: {}", one.deleted);
                    }
                }
            }
            Err(err) => {
                // With --force, what is gone already is as it should be.
                if !(args.force && err.is_not_found()) {
                    code = 1;
                }
                eprintln!("dhow: {err}");
            }
        }
    }
    Ok(code)
}

/// A name in a path: its slashes and colons are the path's own.
pub(crate) fn path_of(name: &str) -> String {
    encode(name).replace("%2F", "/").replace("%3A", ":").replace("%40", "@")
}

/// `tag`.
pub(crate) async fn tag(client: &Client, source: &str, target: &str) -> Result<i32> {
    named(source)?;
    named(target)?;
    let (repository, tag) = split_tag(target);
    let path =
        format!("/images/{}/tag?repo={}&tag={}", path_of(source), encode(repository), encode(tag));
    client.post_empty(&path).await.map(|()| 0)
}

/// Whether a text can name an image. Its name or its id; the engine's own error does not say which of two it is.
fn named(text: &str) -> Result<()> {
    match text.parse::<reference::Reference>() {
        Ok(_) | Err(reference::Error::LooksLikeId(_)) => Ok(()),
        Err(err) => Err(Error::Usage(format!(
            "error parsing reference: {text:?} is not a valid repository/tag: {err}"
        ))),
    }
}

/// `image convert`: prints the image's id.
pub(crate) async fn convert(client: &Client, args: &ConvertArgs) -> Result<i32> {
    let path = format!(
        "/dhow/images/{}/convert?schema={}&to={}{}",
        path_of(&args.source),
        args.to,
        encode(&args.target),
        platforms::query("platform", &args.platform)?
    );
    let response = client.call(Method::POST, &path, empty()).await?;
    let made: IdResponse = client.parse(response).await?;
    println!("{}", made.id);
    Ok(0)
}

/// A reference's name and tag; the tag is empty where there is none.
pub(crate) fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, ""),
    }
}

/// Whether what is to be imported is for the engine to fetch.
fn is_address(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme))
}

/// `import`: prints the new image's id.
pub(crate) async fn import(client: &Client, args: &ImportArgs) -> Result<i32> {
    let address = args.file.to_str().filter(|text| is_address(text));
    let source = match address {
        Some(_) => None,
        None => Some(archive::open(&args.file)?),
    };
    let (repository, tag) = split_tag(args.reference.as_deref().unwrap_or_default());
    let mut path = format!(
        "/images/create?fromSrc={}&repo={}&tag={}&message={}&platform={}",
        encode(address.unwrap_or("-")),
        encode(repository),
        encode(tag),
        encode(&args.message),
        encode(&args.platform)
    );
    for change in &args.change {
        path.push_str("&changes=");
        path.push_str(&encode(change));
    }
    let body = match source {
        Some((reader, total)) => {
            let progress = progress::Bytes::new("importing", total);
            Pieces(archive::read_on_a_thread(reader, progress)).boxed()
        }
        None => crate::client::empty(),
    };
    let response = client.call(Method::POST, &path, body).await?;
    let id = follow(client, response, &mut |message: &Message| {
        (!message.status.is_empty()).then(|| message.status.clone())
    })
    .await?;
    println!("{}", id.unwrap_or_default());
    Ok(0)
}

/// `commit`: prints the new image's id.
pub(crate) async fn commit(client: &Client, args: &CommitArgs) -> Result<i32> {
    let (repository, tag) = split_tag(args.reference.as_deref().unwrap_or_default());
    let mut path = format!(
        "/commit?container={}&repo={}&tag={}&author={}&comment={}&pause={}",
        encode(&args.container),
        encode(repository),
        encode(tag),
        encode(&args.author),
        encode(&args.message),
        u8::from(args.pause.unwrap_or(!args.no_pause))
    );
    for change in &args.change {
        path.push_str("&changes=");
        path.push_str(&encode(change));
    }
    let made: docker::IdResponse = client.post(&path, &json!({})).await?;
    println!("{}", made.id);
    Ok(0)
}

/// Reads lines of JSON to their end. What `take` keeps of the last one is the result; a line that
/// reports an error ends with it.
pub(crate) async fn follow(
    client: &Client,
    mut response: hyper::Response<hyper::body::Incoming>,
    take: &mut (dyn FnMut(&Message) -> Option<String> + Send),
) -> Result<Option<String>> {
    let mut pending = Vec::new();
    let mut kept = None;
    while let Some(piece) = client.next_piece(&mut response).await? {
        pending.extend_from_slice(&piece);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let Ok(message) = serde_json::from_slice::<Message>(&line) else { continue };
            if !message.error.is_empty() {
                return Err(Error::Api { status: 500, message: message.error });
            }
            if let Some(value) = take(&message) {
                kept = Some(value);
            }
        }
    }
    Ok(kept)
}

/// `history`.
pub(crate) async fn history(client: &Client, args: &HistoryArgs) -> Result<i32> {
    let platform = platforms::query("platform", &args.platform)?.replacen('&', "?", 1);
    let history: Vec<History> =
        client.get(&format!("/images/{}/history{platform}", path_of(&args.image))).await?;
    if args.quiet {
        for entry in &history {
            println!("{}", short(&entry.id, args.no_trunc));
        }
        return Ok(0);
    }
    let human = args.human.unwrap_or(true);
    let rows: Vec<Value> = history
        .iter()
        .map(|entry| {
            let by = human::printable(&entry.created_by);
            json!({
                "ID": short(&entry.id, args.no_trunc),
                "CreatedSince": human::ago(entry.created),
                "CreatedAt": human::rfc3339(entry.created),
                "CreatedBy": if args.no_trunc { by } else { human::ellipsis(&by, 45) },
                "Size": if human { human::size(entry.size) } else { entry.size.to_string() },
                "Comment": entry.comment,
                "Tags": entry.tags.join(","),
            })
        })
        .collect();
    let mut columns = HISTORY.to_vec();
    if !human {
        columns[1] = HISTORY_DATE;
    }
    list::print(args.format.as_deref(), &columns, &[HISTORY[1], HISTORY_DATE], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_which_name_is_wrong() {
        let id = "0".repeat(64);
        for name in ["debian:base", "localhost:5000/x", "0123456789ab", &id] {
            assert!(named(name).is_ok(), "{name}");
        }
        for name in ["", "Upper", "a b", "x:"] {
            let said = named(name).unwrap_err().to_string();
            assert!(said.contains(&format!("{name:?} is not a valid repository/tag")), "{said}");
        }
    }

    #[test]
    fn a_tag_is_not_a_port() {
        for (given, want) in [
            ("debian", ("debian", "")),
            ("debian:base", ("debian", "base")),
            ("localhost:5000/x", ("localhost:5000/x", "")),
            ("localhost:5000/x:y", ("localhost:5000/x", "y")),
        ] {
            assert_eq!(split_tag(given), want, "{given}");
        }
        assert_eq!(with_tag("localhost:5000/x"), "localhost:5000/x:latest");
        assert_eq!(with_tag("x@sha256:00"), "x@sha256:00");
    }
}
