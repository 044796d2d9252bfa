//! Deleting from the registry of our own.

use std::collections::BTreeSet;

use oci::Digest;

use super::Refused;
use crate::{Error, Images};

impl Images {
    /// Takes a tag away from a repository, and leaves what it stood for. Whether there was one.
    pub fn drop_tag(&self, repository: &str, tag: &str) -> Result<bool, Error> {
        let _lock = self.content.lock_shared()?;
        let was_there = self.db.write_durable(|tx| {
            // In this order: what was pushed stays, under its digest.
            let pushed = tx.delete_served_tag(repository, tag)?;
            let own = tx.delete_tag(&format!("{repository}:{tag}"))?;
            Ok::<_, Error>(pushed || own)
        })?;
        if was_there {
            self.write_index()?;
        }
        Ok(was_there)
    }

    /// Takes a manifest out of a repository, with the tags that stand for it; and what only it
    /// needed. The engine's image goes with its last name, unless a container is made of it. Whether
    /// there was one.
    pub fn drop_manifest(&self, repository: &str, digest: &Digest) -> Result<bool, Error> {
        let _lock = self.content.lock_alone()?;
        let (served, own) = self.db.read(|tx| {
            let own = tx.image_in(repository, digest)?;
            Ok::<_, Error>((tx.served(repository, digest)?, own))
        })?;
        if served.is_none() && own.is_none() {
            return Ok(false);
        }
        let images: BTreeSet<Digest> =
            served.and_then(|row| row.image).into_iter().chain(own.map(|image| image.id)).collect();
        self.with_note(|| {
            let mut blobs = vec![digest.clone()];
            let mut gone = Vec::new();
            let at = |source| Error::Io { call: "delete", path: digest.to_string().into(), source };
            failpoint::hit("images.unserve").map_err(at)?;
            self.db.write_durable(|tx| {
                for (tag, image) in tx.tags_in(repository)? {
                    let stands_for = match tx.served_tag(repository, &tag)? {
                        Some(row) => row.manifest,
                        None => match tx.tagged(&format!("{repository}:{tag}"))? {
                            Some((_, Some(target))) => target,
                            _ => image.manifest,
                        },
                    };
                    if stands_for == *digest {
                        tx.delete_served_tag(repository, &tag)?;
                        tx.delete_tag(&format!("{repository}:{tag}"))?;
                    }
                }
                blobs.extend(tx.served_parts(repository, digest)?);
                tx.delete_served(repository, digest)?;
                tx.delete_repo_digest(&format!("{repository}@{digest}"))?;
                for id in &images {
                    let in_tags = format!("{repository}:");
                    let tags = tx.tags_of(id)?;
                    if !tags.iter().any(|tag| tag.reference.starts_with(&in_tags)) {
                        let in_digests = format!("{repository}@");
                        let called = tx.repo_digests_of(id)?;
                        for name in called.iter().filter(|name| name.starts_with(&in_digests)) {
                            tx.delete_repo_digest(name)?;
                        }
                    }
                    let has_names = !tags.is_empty() || !tx.repo_digests_of(id)?.is_empty();
                    if !has_names && tx.containers_of_image(id)?.is_empty() {
                        gone.push(id.clone());
                    }
                }
                Ok::<_, Error>(())
            })?;
            failpoint::hit("images.unserved").map_err(at)?;
            for id in &gone {
                self.take_away(id)?;
            }
            for blob in &blobs {
                if !self.db.read(|tx| tx.blob_is_used(blob))? {
                    self.content.delete(blob)?;
                }
            }
            self.write_index()
        })?;
        Ok(true)
    }

    /// Takes a blob out of a repository that no manifest of it names. Whether it had it.
    pub fn drop_blob(&self, repository: &str, digest: &Digest) -> Result<bool, Refused> {
        let _lock = self.content.lock_alone()?;
        if self.db.read(|tx| tx.blob_is_part(repository, digest))? {
            return Err(Refused::InUse(digest.clone()));
        }
        let was_there = self.with_note(|| {
            let was_held = self.db.write(|tx| tx.let_go_of(repository, digest))?;
            if was_held && !self.db.read(|tx| tx.blob_is_used(digest))? {
                self.content.delete(digest)?;
            }
            Ok(was_held)
        })?;
        Ok(was_there)
    }
}
