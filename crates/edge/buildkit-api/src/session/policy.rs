//! Which sources a build may use, and what is used in their place: by rules that come with it, and by its client,
//! which is asked over a session (BuildKit's `sourcepolicy/policysession`).

use std::sync::Arc;

use build::{Denied, Describe, Described};
use buildgraph::Source;
use buildkit::gateway::{ResolveSourceMetaRequest, ResolveSourceMetaResponse};
use buildkit::pb::SourceOp;
use buildkit::policysession::policy_verifier_client::PolicyVerifierClient;
use buildkit::policysession::{
    CheckPolicyRequest, DecisionResponse, check_policy_response::Result as Said,
};
use buildkit::sourcepolicy::PolicyAction;
use llb::source_op;
use oci::image::Platform;
use tonic::Request;

use super::Session;
use super::rules::Rules;
use crate::gateway::forms;
use crate::transport::{Channel, MESSAGE};

/// So often another source may be put in the place of one, or more may be asked of it, as in BuildKit.
const MAX_ASKED: usize = 10;
/// No more is told of a source that may not be used.
const MAX_MESSAGES: usize = 100;

/// What decides which sources a build may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// Rules that came with the build.
    pub(crate) rules: Rules,
    /// The session that is asked.
    pub(crate) session: Option<Arc<Session>>,
}

impl Policy {
    /// Whether there is anything to go by.
    pub(super) fn is_some(&self) -> bool {
        self.session.is_some() || !self.rules.is_empty()
    }

    /// What is used in the place of a source; `None`: that one.
    ///
    /// # Errors
    ///
    /// It may not be used.
    pub(super) async fn decide(
        &self,
        source: &Source,
        platform: Option<&Platform>,
        describe: &Describe<'_>,
    ) -> Result<Option<Source>, Denied> {
        let Some(mut op) = source_op(source) else { return Ok(None) };
        let mut is_another = self.rules.apply(&mut op)?;
        let mut known = ResolveSourceMetaResponse::default();
        let mut n_asked = 0;
        while let Some(session) = &self.session {
            n_asked += 1;
            if n_asked > MAX_ASKED {
                return Err(format!("source {:?}: too many policy requests", op.identifier).into());
            }
            match ask(session, &op, known.clone(), platform).await? {
                Decision::Allow => break,
                Decision::Another(update) => {
                    op = update;
                    self.rules.apply(&mut op)?;
                    is_another = true;
                    known = ResolveSourceMetaResponse::default();
                }
                Decision::Describe(asked) => {
                    known = described(&op, *asked, platform, describe).await?;
                }
            }
        }
        if !is_another {
            return Ok(None);
        }
        let other = llb::source(&only_its_own(op));
        other.map(Some).map_err(|error| format!("a source by policy: {error}").into())
    }
}

/// What a policy says.
#[derive(Debug, PartialEq)]
enum Decision {
    Allow,
    /// This is used in its place.
    Another(SourceOp),
    /// It has to know more.
    Describe(Box<ResolveSourceMetaRequest>),
}

/// What a policy has asked about the source that it decides on; about no other.
async fn described(
    op: &SourceOp,
    asked: ResolveSourceMetaRequest,
    platform: Option<&Platform>,
    describe: &Describe<'_>,
) -> Result<ResolveSourceMetaResponse, Denied> {
    let name = &op.identifier;
    let of =
        |why: &dyn std::fmt::Display| Denied::from(format!("source {name:?}: its policy: {why}"));
    if asked.source.as_ref().is_some_and(|other| other.identifier != *name) {
        return Err(of(&"it asks about another source"));
    }
    let extras = forms::extras(&asked).map_err(|status| of(&status.message()))?;
    let source = llb::source(&only_its_own(op.clone())).map_err(|error| of(&error))?;
    let shown = forms::shown(&asked.log_name, op);
    let platform = asked.platform.as_ref().map(forms::platform).or_else(|| platform.cloned());
    let wanted = Described { source, shown, platform, extras };
    let meta = describe(wanted).await.map_err(|error| of(&error))?;
    Ok(forms::described(meta, !asked.image.is_some_and(|image| image.no_config)))
}

/// A source without attributes of others, which mean nothing to it.
pub(crate) fn only_its_own(mut op: SourceOp) -> SourceOp {
    let scheme = op.identifier.split("://").next().unwrap_or_default();
    let own = format!("{scheme}.");
    let prefixes = match scheme {
        "docker-image" => vec!["image."],
        "https" | "docker-image+blob" => vec!["http."],
        "git" => vec!["git.", "oci."],
        "oci-layout" => vec!["oci."],
        "oci-layout+blob" => vec!["http.", "oci."],
        _ => vec![own.as_str()],
    };
    op.attrs.retain(|key, _| prefixes.iter().any(|prefix| key.starts_with(prefix)));
    op
}

/// Asks the client of a session about a source, of which so much is known. Only what is allowed by name is.
async fn ask(
    session: &Session,
    op: &SourceOp,
    known: ResolveSourceMetaResponse,
    platform: Option<&Platform>,
) -> Result<Decision, Denied> {
    let name = &op.identifier;
    let about = ResolveSourceMetaResponse { source: Some(op.clone()), ..known };
    let platform = platform.cloned().unwrap_or_else(|| Platform::native().normalized());
    let (platform, source) = (Some(llb::platform(&platform)), Some(about));
    let request = CheckPolicyRequest { platform, source, ..Default::default() };
    let mut client = PolicyVerifierClient::with_origin(session.channel(), Channel::origin())
        .max_decoding_message_size(MESSAGE)
        .max_encoding_message_size(MESSAGE);
    let answer = client.check_policy(Request::new(request)).await;
    let answer = answer.map_err(|status| format!("the policy for {name}: {}", status.message()))?;
    match answer.into_inner().result {
        Some(Said::Decision(decision)) => decided(name, decision),
        Some(Said::Request(asked)) => Ok(Decision::Describe(Box::new(asked))),
        None => Err(format!("source {name:?}: no decision in policy response").into()),
    }
}

fn decided(name: &str, decision: DecisionResponse) -> Result<Decision, Denied> {
    match PolicyAction::try_from(decision.action) {
        Ok(PolicyAction::Allow) => Ok(Decision::Allow),
        Ok(PolicyAction::Convert) => match decision.update {
            Some(update) => Ok(Decision::Another(update)),
            None => Err(format!("source {name:?}: convert action requires updated source").into()),
        },
        Ok(PolicyAction::Deny) | Err(_) => {
            let messages = decision.deny_messages.into_iter().map(|one| one.message);
            let messages: Vec<String> = messages.take(MAX_MESSAGES).collect();
            let why = messages.join("; ");
            let why = if why.is_empty() { why } else { format!(": {why}") };
            let why = format!("source {name:?} not allowed by policy: action DENY{why}");
            Err(Denied { why, messages })
        }
    }
}

#[cfg(test)]
mod tests {
    use buildgraph::{Detached, Http, Image, Resolve};
    use buildkit::policysession::DenyMessage;

    use super::*;

    #[test]
    fn only_what_is_allowed_is() {
        let said = |action: i32| {
            let deny_messages = vec![DenyMessage { message: "not from there".into() }];
            decided("https://a/b", DecisionResponse { action, deny_messages, update: None })
        };
        assert_eq!(said(PolicyAction::Allow.into()), Ok(Decision::Allow));
        let denied = said(PolicyAction::Deny.into()).unwrap_err();
        assert!(denied.why.contains("action DENY: not from there"), "{denied:?}");
        assert_eq!(denied.messages, ["not from there"]);
        assert!(said(PolicyAction::Convert.into()).is_err() && said(9).is_err());
    }

    /// Security row H10: what a policy does not mean to change stays.
    #[test]
    fn a_source_that_has_changed_keeps_the_rest() {
        let http = Http {
            url: "https://h/f".into(),
            name: "f".into(),
            mode: Some(0o755),
            uid: 7,
            auth_secret: "token".into(),
            headers: vec![("accept".into(), "text/plain".into())],
            signed: Some(Box::new(Detached { keys: "k".into(), signature: "s".into() })),
            ..Http::default()
        };
        let mut op = source_op(&Source::Http(http.clone())).unwrap();
        op.identifier = "https://other/f".into();
        let other = llb::source(&only_its_own(op.clone())).unwrap();
        assert_eq!(other, Source::Http(Http { url: "https://other/f".into(), ..http }));
        // One of another kind has nothing of it.
        op.identifier = "docker-image://docker.io/library/a:b".into();
        let reference = "docker.io/library/a:b".to_owned();
        let image = Image::named(reference, Resolve::Default);
        assert_eq!(llb::source(&only_its_own(op)).unwrap(), Source::Image(image));
    }
}
