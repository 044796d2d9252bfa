//! `system check`.

use docker::check::{Finding, Line, Summary};
use hyper::Method;
use serde_json::Value;

use crate::args::CheckArgs;
use crate::client::{Client, empty};
use crate::error::{Error, Result};
use crate::format::human;
use crate::format::template::Template;
use crate::progress::Bytes;

/// `system check`: a line for each thing that is wrong. 1 where something still is.
pub(crate) async fn check(client: &Client, args: &CheckArgs) -> Result<i32> {
    let template = match args.format.as_deref() {
        None | Some("json") => None,
        Some(format) => Some(Template::parse(format)?),
    };
    let show = |finding: &Finding| -> Result<()> {
        match (&template, &args.format) {
            (Some(template), _) => println!("{}", template.render(&value(finding)?)?),
            (None, Some(_)) => println!("{}", value(finding)?),
            (None, None) => println!("{}", human::printable(&finding.line())),
        }
        Ok(())
    };
    let path = format!("/dhow/check?quick={}&repair={}", args.quick, args.repair);
    let mut response = client.call(Method::POST, &path, empty()).await?;
    let (mut pending, mut bar, mut n_wrong) = (Vec::new(), None, 0);
    let mut summary: Option<Summary> = None;
    while let Some(piece) = client.next_piece(&mut response).await? {
        pending.extend_from_slice(&piece);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line: Line = serde_json::from_slice(&line)
                .map_err(|err| Error::Usage(format!("a line of the check is no JSON: {err}")))?;
            if let Some(progress) = line.progress.filter(|progress| progress.what == "blobs") {
                let bar = bar.get_or_insert_with(|| Bytes::new("blobs", Some(progress.total)));
                bar.set(progress.current);
            } else {
                bar = None;
            }
            if let Some(finding) = line.finding {
                n_wrong += u64::from(!finding.fixed);
                show(&finding)?;
            }
            if let Some(error) = line.error {
                return Err(Error::Usage(error));
            }
            summary = line.summary.or(summary);
        }
    }
    let Some(summary) = summary else {
        return Err(Error::Usage("the check was cut off before its end".into()));
    };
    for skipped in &summary.skipped {
        eprintln!("{}", human::printable(skipped));
    }
    if args.format.is_none() {
        println!("{}", in_words(&summary));
    }
    Ok(i32::from(n_wrong > 0))
}

fn in_words(summary: &Summary) -> String {
    let Summary { images, blobs, layers, containers, findings, fixed, .. } = *summary;
    let size = human::size(i64::try_from(summary.bytes).unwrap_or(i64::MAX));
    let (images, containers) = (count(images, "image"), count(containers, "container"));
    let looked = if blobs == 0 && layers == 0 {
        format!("{images}, {containers}")
    } else {
        let (blobs, layers) = (count(blobs, "blob"), count(layers, "layer"));
        format!("{images}, {blobs} ({size}), {layers}, {containers}")
    };
    match (findings, fixed) {
        (0, _) => format!("{looked}: all is right"),
        (_, 0) => format!("{looked}: {findings} wrong"),
        _ => format!("{looked}: {findings} wrong, {fixed} repaired"),
    }
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn value(finding: &Finding) -> Result<Value> {
    serde_json::to_value(finding).map_err(|err| Error::Usage(format!("write a finding: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_was_looked_at() {
        let mut summary = Summary { images: 2, containers: 1, ..Summary::default() };
        assert_eq!(in_words(&summary), "2 images, 1 container: all is right");
        (summary.blobs, summary.bytes, summary.layers) = (5, 1_500_000, 3);
        (summary.findings, summary.fixed) = (4, 3);
        let want = "2 images, 5 blobs (1.5MB), 3 layers, 1 container: 4 wrong, 3 repaired";
        assert_eq!(in_words(&summary), want);
    }
}
