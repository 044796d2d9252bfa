//! Where else results go: the client says so once they are there, and is told what came of it (BuildKit's
//! `session/exporter`).

use std::collections::BTreeMap;

use build::{Export, Solved};
use buildkit::exporter::exporter_client::ExporterClient;
use buildkit::exporter::{FinalizeExportRequest, FindExportersRequest};
use tonic::{Code, Status};

use super::Session;
use crate::transport::{Channel, MESSAGE};

const FIND: &str = "/moby.exporter.v1.Exporter/FindExporters";
const FINALIZE: &str = "/moby.exporter.v1.Exporter/FinalizeExport";
/// No result goes to more places.
const MAX_EXPORTS: usize = 100;

/// Where a result goes beside where the request says. A client that does not know the question wants it nowhere.
pub(super) async fn find(session: &Session, solved: &Solved) -> Result<Vec<Export>, String> {
    if !session.has(FIND) {
        return Ok(Vec::new());
    }
    let refs = solved.refs.iter().filter_map(|(_, reference)| reference.clone()).collect();
    let request = FindExportersRequest { metadata: solved.metadata.clone(), refs };
    let found = match client(session).find_exporters(request).await {
        Ok(found) => found.into_inner().exporters,
        Err(status) if knows_nothing(&status) => return Ok(Vec::new()),
        Err(status) => return Err(status.message().to_owned()),
    };
    if found.len() > MAX_EXPORTS {
        return Err(format!("the client wants a result in more than {MAX_EXPORTS} places"));
    }
    let export = found.into_iter().map(|one| Export { kind: one.r#type, options: one.attrs });
    Ok(export.collect())
}

/// Tells the client what came of all exports. Its error is the build's.
pub(super) async fn finalize(
    session: &Session,
    response: &BTreeMap<String, String>,
) -> Result<(), String> {
    if !session.has(FINALIZE) {
        return Ok(());
    }
    let request = FinalizeExportRequest { exporter_response: response.clone() };
    match client(session).finalize_export(request).await {
        Err(status) if !knows_nothing(&status) => Err(status.message().to_owned()),
        _ => Ok(()),
    }
}

fn client(session: &Session) -> ExporterClient<Channel> {
    ExporterClient::with_origin(session.channel(), Channel::origin())
        .max_decoding_message_size(MESSAGE)
        .max_encoding_message_size(MESSAGE)
}

/// Whether a client has nobody who could answer.
fn knows_nothing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unimplemented)
}
