//! The tags of a repository, page by page.

use hyper::Method;
use hyper::header::LINK;
use reference::Reference;
use serde::Deserialize;

use crate::client::Target;
use crate::error::Error;
use crate::repository::{Repository, header};
use crate::url::Url;

/// A page is not longer.
const MAX_PAGE: usize = 4 << 20;
/// No repository that somebody would pull as a whole has more.
const MAX_TAGS: usize = 100_000;

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl Repository<'_> {
    /// All tags, as the registry orders them.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let scopes = [self.scope(false)];
        let path = format!("/v2/{}/tags/list", self.path);
        let mut next: Option<Url> = None;
        let mut tags = Vec::new();
        loop {
            let target = next.as_ref().map_or(Target::Path(&path), Target::Url);
            let call = self.call_for(Method::GET, target, &scopes);
            let answer =
                self.registry.call(&call).await.map_err(|error| error.pulling(reference))?;
            let url = answer.url.clone();
            let following = header(&answer, LINK.as_str()).and_then(|link| following(&url, &link));
            let bytes = self.bytes(answer, MAX_PAGE).await?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|error| Error::Protocol {
                url: url.to_string(),
                why: format!("no list of tags: {error}"),
            })?;
            let page = page.tags.unwrap_or_default();
            let is_empty = page.is_empty();
            tags.extend(page);
            if tags.len() > MAX_TAGS {
                let why = format!("more than {MAX_TAGS} tags");
                return Err(Error::Protocol { url: url.to_string(), why });
            }
            match following {
                // A page without tags that leads to itself would lead nowhere.
                Some(following) if !is_empty => next = Some(following),
                _ => return Ok(tags),
            }
        }
    }
}

/// The next page: `</v2/NAME/tags/list?last=TAG&n=100>; rel="next"` (RFC 8288). On the same host
/// only.
pub(crate) fn following(url: &Url, link: &str) -> Option<Url> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.replace(['"', ' '], "").split(';').any(|one| one == "rel=next");
    let following = url.join(target).ok().filter(|next| next.origin == url.origin);
    following.filter(|_| is_next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let url = Url::parse("https://r.test/v2/a/tags/list").unwrap();
        let next = |link| following(&url, link).map(|url| url.path);
        let want = Some("/v2/a/tags/list?last=x&n=2".to_owned());
        assert_eq!(next(r#"</v2/a/tags/list?last=x&n=2>; rel="next""#), want);
        assert_eq!(next("<?last=x&n=2>;rel=next"), want);
        assert_eq!(next("<https://evil.test/x>; rel=\"next\""), None);
        assert_eq!(next("</x>; rel=prev"), None);
        assert_eq!(next("x"), None);
    }
}
