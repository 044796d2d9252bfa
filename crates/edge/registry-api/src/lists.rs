//! Lists: tags, repositories, referrers (distribution-spec, "Content Discovery").

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, LINK};
use images::Referrers;
use oci::image::{Index, media_type};
use serde_json::json as object;

use crate::body::ReplyBody;
use crate::error::{Code, Error};
use crate::query::{Query, encode};
use crate::server::{Call, Reply, digest, json, reply};

/// The longest list that is sent at once.
const MAX: usize = 10_000;
/// The longest list of referrers, each of which brings its annotations.
const MAX_REFERRERS: usize = 100;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Call<'_> {
    /// end-8.
    pub(crate) async fn tags(&self, name: &str) -> Reply {
        let place = self.place(name)?;
        let tags = self.images(move |images| images.tags_of_repository(&place.repository)).await?;
        let tags = tags.ok_or_else(Error::name_unknown)?;
        let (tags, more) = page(tags, self.query)?;
        let body = object!({ "name": name, "tags": tags });
        Ok(linked(body.to_string(), more.map(|more| format!("/v2/{name}/tags/list?{more}"))))
    }

    /// Docker's `_catalog`.
    pub(crate) async fn catalog(&self) -> Reply {
        let names = self.images(images::Images::repositories).await?;
        let own = &self.server.names;
        let mut names: Vec<_> = names.iter().filter_map(|name| own.shown(name)).collect();
        names.sort_unstable();
        let (names, more) = page(names, self.query)?;
        let body = object!({ "repositories": names });
        Ok(linked(body.to_string(), more.map(|more| format!("/v2/_catalog?{more}"))))
    }

    /// end-12.
    pub(crate) async fn referrers(&self, name: &str, subject: &str) -> Reply {
        let place = self.place(name)?;
        let subject = digest(subject)?;
        let artifact = self.query.get("artifactType").map(str::to_owned);
        let after = self.query.get("last").map(digest).transpose()?;
        let wanted = Referrers { artifact: artifact.clone(), after, limit: MAX_REFERRERS };
        let link = format!("/v2/{name}/referrers/{subject}");
        let (found, more) = self
            .images(move |images| images.referrers_of(&place.repository, &subject, &wanted))
            .await?;
        let last = found.last().map(|last| last.digest.to_string()).filter(|_| more);
        let body = serde_json::to_vec(&Index::new(found)).map_err(|err| Error::internal(&err))?;
        let mut headers = vec![(CONTENT_TYPE, media_type::INDEX)];
        if artifact.is_some() {
            headers.push((FILTERS_APPLIED, "artifactType"));
        }
        let link = last.map(|last| {
            let filter = artifact.map(|kind| format!("&artifactType={}", encode(&kind)));
            format!("<{link}?last={}{}>; rel=\"next\"", encode(&last), filter.unwrap_or_default())
        });
        if let Some(link) = &link {
            headers.push((LINK, link));
        }
        Ok(reply(StatusCode::OK, &headers, ReplyBody::Whole(body.into())))
    }
}

fn linked(body: String, next: Option<String>) -> hyper::Response<ReplyBody> {
    let mut response = json(body);
    if let Some(link) = next.and_then(|next| format!("<{next}>; rel=\"next\"").parse().ok()) {
        response.headers_mut().insert(LINK, link);
    }
    response
}

/// The part of a sorted list that is wanted, and the query for the part after it.
fn page(mut all: Vec<String>, query: &Query) -> Result<(Vec<String>, Option<String>), Error> {
    let limit = match query.get("n") {
        None => MAX,
        Some(text) => {
            let n = text.parse::<usize>().ok().filter(|_| !text.starts_with('+'));
            let wrong = || Error::new(Code::PaginationNumberInvalid, "`n` is no number");
            n.ok_or_else(wrong)?.min(MAX)
        }
    };
    if let Some(last) = query.get("last") {
        let start = all.partition_point(|item| item.as_str() <= last);
        all.drain(..start);
    }
    let has_more = all.len() > limit;
    all.truncate(limit);
    let more = all.last().filter(|_| has_more);
    let more = more.map(|last| format!("n={limit}&last={}", encode(last)));
    Ok((all, more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let all = || ["A", "a", "b", "c"].map(str::to_owned).to_vec();
        let page = |query: &str| page(all(), &Query::parse(query));
        let whole = |items: &[&str]| (items.iter().map(|one| (*one).to_owned()).collect(), None);
        let (items, more): (Vec<String>, _) = page("n=2").unwrap();
        assert_eq!((items, more.as_deref()), (vec!["A".into(), "a".into()], Some("n=2&last=a")));
        assert_eq!(page("n=2&last=a").unwrap(), whole(&["b", "c"]));
        assert_eq!(page("last=aa").unwrap(), whole(&["b", "c"]));
        assert_eq!(page("").unwrap(), whole(&["A", "a", "b", "c"]));
        assert_eq!(page("n=0").unwrap(), whole(&[]));
        assert_eq!(page("n=4").unwrap(), whole(&["A", "a", "b", "c"]));
        assert_eq!(page("n=9&last=z").unwrap(), whole(&[]));
        for wrong in ["n=x", "n=-1", "n=+1", "n=99999999999999999999999"] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
    }
}
