//! Looking whether the store is as it should be.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use docker::check::{Line, Progress};
use hyper::StatusCode;
use images::Checking;

use crate::{
    call::{Call, Reply, reply},
    error::chain,
    http::body::{BodyWriter, pieces},
};

/// The shortest time between two reports of how far a check is.
const REPORT: Duration = Duration::from_millis(100);

/// `POST /dhow/check?quick=BOOL&repair=BOOL`: looks whether the store is as it should be. Lines of
/// JSON: how far it is, what is wrong, and a summary.
pub(crate) async fn check(call: Call) -> Reply {
    let checking = Checking { quick: call.query.bool("quick"), repair: call.query.bool("repair") };
    let engine = call.engine.clone();
    let (sender, body) = pieces();
    tokio::task::spawn_blocking(move || {
        let mut out = BodyWriter::new(sender);
        let mut told: Option<Instant> = None;
        // Fails once the client has gone, and so ends the check.
        let mut tell = |progress: Progress| {
            if told.is_some_and(|told| told.elapsed() < REPORT) {
                return Ok(());
            }
            told = Some(Instant::now());
            send(&mut out, &Line { progress: Some(progress), ..Line::default() })
        };
        let checked = engine.check(checking, &mut tell);
        let lines = match checked {
            Ok(checked) => {
                let finding = |finding| Line { finding: Some(finding), ..Line::default() };
                let last = Line { summary: Some(checked.summary), ..Line::default() };
                checked.findings.into_iter().map(finding).chain([last]).collect()
            }
            Err(err) => vec![Line { error: Some(chain(&err)), ..Line::default() }],
        };
        for line in &lines {
            if send(&mut out, line).is_err() {
                return;
            }
        }
    });
    Ok(reply(StatusCode::OK, "application/json", body))
}

fn send(out: &mut BodyWriter, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
    text.push(b'\n');
    out.write_all(&text)
}
