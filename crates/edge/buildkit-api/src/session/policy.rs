//! A client's policy: whether a source may be used, asked over a session (BuildKit's `sourcepolicy/policysession`).

use std::collections::BTreeMap;

use buildgraph::Source;
use buildkit::gateway::ResolveSourceMetaResponse;
use buildkit::pb;
use buildkit::policysession::policy_verifier_client::PolicyVerifierClient;
use buildkit::policysession::{
    CheckPolicyRequest, DecisionResponse, check_policy_response::Result as Said,
};
use buildkit::sourcepolicy::PolicyAction;
use oci::image::Platform;
use tonic::Request;

use super::Session;
use crate::transport::{Channel, MESSAGE};

/// Asks the client of a session. Only what is allowed by name is.
pub(super) async fn ask(
    session: &Session,
    source: &Source,
    platform: Option<&Platform>,
) -> Result<(), String> {
    let Some(op) = named(source) else { return Ok(()) };
    let name = op.identifier.clone();
    let about = ResolveSourceMetaResponse { source: Some(op), ..Default::default() };
    let platform = platform.map(|one| pb::Platform {
        architecture: one.architecture.clone(),
        os: one.os.clone(),
        variant: one.variant.clone().unwrap_or_default(),
        ..pb::Platform::default()
    });
    let request = CheckPolicyRequest { platform, source: Some(about), ..Default::default() };
    let mut client = PolicyVerifierClient::with_origin(session.channel(), Channel::origin())
        .max_decoding_message_size(MESSAGE);
    let answer = client.check_policy(Request::new(request)).await;
    let answer = answer.map_err(|status| format!("the policy for {name}: {}", status.message()))?;
    match answer.into_inner().result {
        Some(Said::Decision(decision)) => decided(&name, &decision),
        Some(Said::Request(_)) => Err(format!(
            "source {name:?}: its policy asks for more than its name, which is not supported yet"
        )),
        None => Err(format!("source {name:?}: no decision in policy response")),
    }
}

fn decided(name: &str, decision: &DecisionResponse) -> Result<(), String> {
    match PolicyAction::try_from(decision.action) {
        Ok(PolicyAction::Allow) => Ok(()),
        Ok(PolicyAction::Convert) => Err(format!(
            "source {name:?}: a policy that puts another one in its place is not supported yet"
        )),
        Ok(PolicyAction::Deny) | Err(_) => {
            let why = decision.deny_messages.iter().map(|one| one.message.as_str());
            let why = why.collect::<Vec<_>>().join("; ");
            let why = if why.is_empty() { why } else { format!(": {why}") };
            Err(format!("source {name:?} not allowed by policy: action DENY{why}"))
        }
    }
}

/// A source as a definition names it. What is of this build itself is nobody's to allow.
fn named(source: &Source) -> Option<pb::SourceOp> {
    let mut attrs = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        if !value.is_empty() {
            attrs.insert(key.to_owned(), value.to_owned());
        }
    };
    let identifier = match source {
        Source::Image(image) => format!("docker-image://{}", image.reference),
        Source::Local(local) => format!("local://{}", local.name),
        Source::Http(http) => {
            set("http.filename", &http.name);
            set("http.checksum", http.checksum.as_ref().map_or("", |sum| &sum.0));
            http.url.clone()
        }
        Source::Git(git) => {
            set("git.fullurl", &git.remote);
            set("git.keepgitdir", if git.keep_git_dir { "true" } else { "" });
            set("git.checksum", git.checksum.as_ref().map_or("", |sum| &sum.0));
            let bare = git.remote.split_once("://").map_or(git.remote.as_str(), |(_, rest)| rest);
            let part =
                if git.subdir.is_empty() { String::new() } else { format!(":{}", git.subdir) };
            match (git.reference.as_str(), part.as_str()) {
                ("", "") => format!("git://{bare}"),
                (reference, part) => format!("git://{bare}#{reference}{part}"),
            }
        }
        Source::Layout(layout) => format!("oci-layout://{}@{}", layout.store, layout.digest),
        Source::Result(_) => return None,
    };
    Some(pb::SourceOp { identifier, attrs })
}

#[cfg(test)]
mod tests {
    use buildgraph::{Git, Http};
    use buildkit::policysession::DenyMessage;

    use super::*;

    #[test]
    fn only_what_is_allowed_is() {
        let said = |action: i32| {
            let deny_messages = vec![DenyMessage { message: "not from there".into() }];
            decided("https://a/b", &DecisionResponse { action, deny_messages, update: None })
        };
        assert_eq!(said(PolicyAction::Allow.into()), Ok(()));
        let denied = said(PolicyAction::Deny.into()).unwrap_err();
        assert!(denied.contains("action DENY: not from there"), "{denied}");
        assert!(said(PolicyAction::Convert.into()).is_err() && said(9).is_err());
    }

    #[test]
    fn sources_are_called_as_in_definitions() {
        let git = Git {
            remote: "https://h/x.git".into(),
            reference: "main".into(),
            subdir: "a".into(),
            ..Git::default()
        };
        let op = named(&Source::Git(git)).unwrap();
        assert_eq!(op.identifier, "git://h/x.git#main:a");
        assert_eq!(op.attrs["git.fullurl"], "https://h/x.git");
        let http = Http { url: "https://h/f".into(), ..Http::default() };
        assert_eq!(named(&Source::Http(http)).unwrap().identifier, "https://h/f");
        assert!(named(&Source::Result("x".into())).is_none());
    }
}
