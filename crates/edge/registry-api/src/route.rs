//! What a path means: `/v2/NAME/...` (distribution-spec, "Endpoints").

/// An endpoint, with what its path names. Nothing of it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/NAME/manifests/TAG-OR-DIGEST`
    Manifest(&'p str, &'p str),
    /// `/v2/NAME/blobs/DIGEST`
    Blob(&'p str, &'p str),
    /// `/v2/NAME/blobs/uploads/`
    Uploads(&'p str),
    /// `/v2/NAME/blobs/uploads/ID`
    Upload(&'p str, &'p str),
    /// `/v2/NAME/tags/list`
    Tags(&'p str),
    /// `/v2/NAME/referrers/DIGEST`
    Referrers(&'p str, &'p str),
}

impl<'p> Route<'p> {
    /// Takes a decoded path apart, from its end: a name may have parts that are called `blobs`.
    pub(crate) fn find(path: &'p str) -> Option<Self> {
        if path == "/v2" {
            return Some(Self::Base);
        }
        let rest = path.strip_prefix("/v2/")?;
        if rest.is_empty() || rest == "_catalog" {
            return Some(if rest.is_empty() { Self::Base } else { Self::Catalog });
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Some(Self::Tags(name));
        }
        if let Some(name) =
            rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Some(Self::Uploads(name));
        }
        let (before, last) = rest.rsplit_once('/')?;
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            return Some(Self::Upload(name, last));
        }
        let (name, kind) = before.rsplit_once('/')?;
        match kind {
            "manifests" => Some(Self::Manifest(name, last)),
            "blobs" => Some(Self::Blob(name, last)),
            "referrers" => Some(Self::Referrers(name, last)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_look_like_the_rest() {
        for (path, want) in [
            ("/v2/", Some(Route::Base)),
            ("/v2", Some(Route::Base)),
            ("/v2/_catalog", Some(Route::Catalog)),
            ("/v2/a/b/manifests/latest", Some(Route::Manifest("a/b", "latest"))),
            ("/v2/blobs/blobs/sha256:x", Some(Route::Blob("blobs", "sha256:x"))),
            ("/v2/a/blobs/uploads/", Some(Route::Uploads("a"))),
            ("/v2/a/blobs/uploads", Some(Route::Uploads("a"))),
            ("/v2/a/blobs/uploads/1", Some(Route::Upload("a", "1"))),
            ("/v2/a/blobs/uploads/blobs/uploads/1", Some(Route::Upload("a/blobs/uploads", "1"))),
            ("/v2/a/tags/list", Some(Route::Tags("a"))),
            ("/v2/tags/list/tags/list", Some(Route::Tags("tags/list"))),
            ("/v2/a/referrers/sha256:x", Some(Route::Referrers("a", "sha256:x"))),
            ("/v2/a/b", None),
            ("/v2/manifests/x", None),
            ("/v1/", None),
            ("/", None),
            ("", None),
            ("/v2/a/manifests/x/y", None),
        ] {
            assert_eq!(Route::find(path), want, "{path}");
        }
    }
}
