//! Whether a commit, or the tag that names it, is signed by who has to have signed it.

use std::path::Path;

use buildgraph::SignedBy;
use signatures::object::{Kind, Signature, signed};

use super::objects::Objects;
use crate::Error;
use crate::source::verify::{Room, by_pgp, by_ssh, invalid};

/// Refuses what is not signed as it has to be. `place` is where files may be put meanwhile.
pub(super) async fn check(objects: &Objects, by: &SignedBy, place: &Path) -> Result<(), Error> {
    let by_sha256 = objects.commit.0.len() == 64;
    let one = async |object: &[u8], kind: Kind| {
        let signed = signed(object, kind, by_sha256).map_err(|error| invalid(&error))?;
        let room = Room::make(place)?;
        let payload = room.read("payload", &signed.payload)?;
        match &signed.signature {
            Signature::Pgp(signature) => {
                by_pgp(payload, signature, &by.keys, by.reject_expired, &room).await
            }
            Signature::Ssh(signature) => by_ssh(payload, signature, &by.keys, &room).await,
        }
    };
    let of_tag = match &objects.tag {
        Some((_, tag)) if !by.ignore_tag => Some(one(tag, Kind::Tag).await),
        _ => None,
    };
    match of_tag {
        Some(Ok(())) => return Ok(()),
        Some(Err(error)) if by.require_tag => return Err(error),
        None if by.require_tag => {
            let why = "signed tag required but no signed tag found";
            return Err(Error::Invalid(why.into()));
        }
        Some(Err(_)) | None => {}
    }
    one(&objects.commit.1, Kind::Commit).await
}
