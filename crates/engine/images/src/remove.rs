//! Removing names, images, and the files that nothing needs any more.

use std::collections::HashSet;

use docker::filters::Filters;
use metadata::{Read, Tag};
use oci::{ChainId, Digest};
use reference::Reference;

use crate::dissolve::Dissolved;
use crate::pull::is_alive;
use crate::resolve::Found;
use crate::{Error, Images, now};

/// What a removal did, one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name, short.
    Untagged(String),
    /// An image, or a layer.
    Deleted(Digest),
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Step by step.
    pub removed: Vec<Removed>,
    /// Bytes that are free again.
    pub reclaimed: u64,
}

/// What is to go of an image.
struct Going {
    /// Names, in full.
    tags: Vec<String>,
    /// What registries call it.
    called: Vec<String>,
    /// What else the names mean.
    targets: Vec<Digest>,
    /// No other name is left.
    is_last: bool,
}

impl Images {
    /// Removes the name `name` (with a digest: all names by which that repository means it), and with the
    /// last name what it means; or, where `name` is an id, the image. `is_running` says whether a
    /// container (by its id) runs.
    ///
    /// An image that containers are made of goes only with `force`, and then only its names do: the
    /// files stay until the containers are gone. One that a container runs on never goes.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        is_running: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Removed>, Error> {
        self.with_room(|| self.remove_once(name, force, is_running))
    }

    pub(crate) fn remove_once(
        &self,
        name: &str,
        force: bool,
        is_running: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Removed>, Error> {
        let _lock = self.content.lock_alone()?;
        let found = self.find(name)?;
        let id = found.id.clone();
        let going = self.going(&found)?;
        let is_last = going.is_last;
        let users = self.users(&id, &going.targets)?;
        let (by_name, n_names) = (found.reference.as_ref(), going.tags.len());
        check_removal(&found, by_name, is_last, n_names, force, &users, is_running)?;
        self.with_note(|| {
            let mut removed = self.untag(&going.tags, &going.called)?;
            let dissolved = self.dissolve(&going.targets)?;
            if is_last && users.is_empty() {
                removed.extend(self.delete(&id)?.removed);
            }
            removed.extend(self.delete_dissolved(&dissolved)?.removed);
            self.write_index()?;
            Ok(removed)
        })
    }

    /// What goes by what was found: by a name or a digest of a repository that alone, by an id all.
    fn going(&self, found: &Found) -> Result<Going, Error> {
        let id = &found.id;
        let (tags, called, targets, row) = self.db.read(|tx| {
            Ok::<_, Error>((
                tx.tags_of(id)?,
                tx.repo_digests_of(id)?,
                tx.targets_meaning(id)?,
                tx.image(id)?,
            ))
        })?;
        let Some(reference) = &found.reference else {
            let targets = targets.into_iter().map(|target| target.digest).collect();
            let tags = tags.into_iter().map(|tag| tag.reference).collect();
            return Ok(Going { tags, called, targets, is_last: true });
        };
        let (going, kept): (Vec<Tag>, Vec<Tag>) = match reference.digest() {
            None => tags.into_iter().partition(|tag| tag.reference == reference.to_string()),
            // All by which the repository means it.
            Some(_) => tags
                .into_iter()
                .partition(|tag| tag.target == found.target && is_of(&tag.reference, reference)),
        };
        // Its target goes, where nothing else means it.
        let is_kept = |target: &Digest| kept.iter().any(|tag| tag.target.as_ref() == Some(target));
        let targets: Vec<Digest> =
            found.target.clone().into_iter().filter(|target| !is_kept(target)).collect();
        let means = |one: &String, digests: &[Digest]| {
            let digest = one.rsplit_once('@').and_then(|(_, digest)| digest.parse().ok());
            is_of(one, reference) && digest.is_some_and(|digest: Digest| digests.contains(&digest))
        };
        let Some(digest) = reference.digest() else {
            let is_last = kept.is_empty();
            let is_last_there = !kept.iter().any(|tag| is_of(&tag.reference, reference));
            // What its registry calls it goes with the last tag of that repository; until then another
            // index there has its own.
            let goes = |one: &String| {
                is_last || is_last_there && is_of(one, reference) || means(one, &targets)
            };
            let called = called.into_iter().filter(goes).collect();
            let tags = vec![reference.to_string()];
            return Ok(Going { tags, called, targets, is_last });
        };
        let manifest = row.map(|row| row.manifest).filter(|_| found.target.is_none());
        let digests: Vec<Digest> = [digest.clone()].into_iter().chain(manifest).collect();
        let (forgotten, known): (Vec<String>, Vec<String>) =
            called.into_iter().partition(|one| means(one, &digests));
        // What is a part of what the repository means (a manifest of an index) is found by its digest as well: to
        // go, it is to be called so.
        if going.is_empty() && forgotten.is_empty() {
            return Err(Error::NoImage(reference.familiar()));
        }
        let is_last = kept.is_empty() && known.is_empty();
        let tags = going.into_iter().map(|tag| tag.reference).collect();
        Ok(Going { tags, called: forgotten, targets, is_last })
    }

    fn untag(&self, tags: &[String], called: &[String]) -> Result<Vec<Removed>, Error> {
        self.db.write(|tx| {
            let mut removed = Vec::new();
            for tag in tags {
                if tx.delete_tag(tag)? {
                    removed.push(Removed::Untagged(familiar(tag)));
                }
            }
            for digest in called {
                if tx.delete_repo_digest(digest)? {
                    removed.push(Removed::Untagged(familiar(digest)));
                }
            }
            Ok(removed)
        })
    }

    /// Removes images that no container is made of: those without a name, or with `dangling=false`
    /// all, and what has come of pulls that were broken off. Filters: `dangling`, `label`, `label!`,
    /// `until`. Others keep those of their names that containers were made by (`asked`, in full), or one.
    pub fn prune(&self, filters: &Filters, asked: &[String]) -> Result<Pruned, Error> {
        let all =
            filters.bool("dangling").map_err(|e| Error::Invalid(e.to_string()))? == Some(false);
        let mut wanted = Filters::default();
        for key in ["label", "label!", "until"] {
            for value in filters.get(key) {
                wanted.add(key, value);
            }
        }
        if !all {
            wanted.add("dangling", "true");
        }
        // All that is unused: also what has come of pulls that ended before they had all.
        let unfinished = all && wanted.is_empty();
        self.with_room(|| self.prune_once(&wanted, unfinished, asked))
    }

    fn prune_once(
        &self,
        wanted: &Filters,
        unfinished: bool,
        asked: &[String],
    ) -> Result<Pruned, Error> {
        let _lock = self.content.lock_alone()?;
        self.with_note(|| {
            let mut pruned = Pruned::default();
            if unfinished {
                pruned.reclaimed += self.content.drop_parts()?;
                self.db.write(|tx| {
                    let holders = tx.holders()?;
                    let of_processes = holders.iter().filter(|holder| {
                        holder.starts_with("pull-") || holder.starts_with("push-")
                    });
                    of_processes
                        .filter(|holder| !is_alive(holder))
                        .try_for_each(|holder| tx.let_go(holder))
                })?;
                self.collect()?;
            }
            for image in self.list(wanted)? {
                let (mut removed, mut deleted) = self.take_away(&image.row.id)?;
                if removed.is_empty() && deleted.removed.is_empty() {
                    (removed, deleted) = self.take_names(&image.row.id, asked)?;
                }
                pruned.removed.extend(removed);
                pruned.removed.extend(deleted.removed);
                pruned.reclaimed += deleted.reclaimed;
            }
            self.write_index()?;
            Ok(pruned)
        })
    }

    /// Takes an image away with all its names, if no container is made of it, and nobody makes one in
    /// this moment. The names, and what went with them. Only with the lock held alone, and a note.
    pub(crate) fn take_away(&self, id: &Digest) -> Result<(Vec<Removed>, Pruned), Error> {
        let (tags, called, targets) = self.db.read(|tx| {
            let tags: Vec<String> = tx.tags_of(id)?.into_iter().map(|tag| tag.reference).collect();
            let targets = tx.targets_meaning(id)?.into_iter().map(|target| target.digest);
            Ok::<_, Error>((tags, tx.repo_digests_of(id)?, targets.collect::<Vec<Digest>>()))
        })?;
        if !self.users(id, &targets)?.is_empty() {
            return Ok((Vec::new(), Pruned::default()));
        }
        let mut dissolved = Dissolved::default();
        for target in &targets {
            let images = self.db.read(|tx| tx.target_images(target))?;
            dissolved.images.extend(images.into_iter().map(|one| one.image));
        }
        let mut deleted = self.delete(id)?;
        if deleted.removed.is_empty() {
            return Ok((Vec::new(), deleted));
        }
        let more = self.delete_dissolved(&dissolved)?;
        deleted.removed.extend(more.removed);
        deleted.reclaimed += more.reclaimed;
        let names = tags.iter().chain(&called);
        Ok((names.map(|name| Removed::Untagged(familiar(name))).collect(), deleted))
    }

    /// Takes the names of an image away by which nobody has asked for it; one stays. Only with the lock held
    /// alone, and a note.
    fn take_names(&self, id: &Digest, asked: &[String]) -> Result<(Vec<Removed>, Pruned), Error> {
        let (mut tags, called) =
            self.db.read(|tx| Ok::<_, Error>((tx.tags_of(id)?, tx.repo_digests_of(id)?)))?;
        tags.sort_by(|a, b| a.reference.cmp(&b.reference));
        let (mut kept, mut going): (Vec<Tag>, Vec<Tag>) =
            tags.into_iter().partition(|tag| asked.contains(&tag.reference));
        if kept.is_empty() {
            kept.extend(going.pop());
        }
        let has = |tags: &[Tag], name: &str| {
            let mut all = tags.iter().filter_map(|tag| tag.reference.parse::<Reference>().ok());
            all.any(|tag| is_of(name, &tag))
        };
        let forgotten: Vec<String> =
            called.into_iter().filter(|one| has(&going, one) && !has(&kept, one)).collect();
        let is_kept = |target: &Digest| kept.iter().any(|tag| tag.target.as_ref() == Some(target));
        let targets: Vec<Digest> = going
            .iter()
            .filter_map(|tag| tag.target.clone())
            .filter(|target| !is_kept(target))
            .collect();
        let going: Vec<String> = going.into_iter().map(|tag| tag.reference).collect();
        let removed = self.untag(&going, &forgotten)?;
        let dissolved = self.dissolve(&targets)?;
        Ok((removed, self.delete_dissolved(&dissolved)?))
    }

    /// Deletes what processes that died have left: half-written blobs and layers, and, if one died
    /// while files came or went, every file that no record names. How many things.
    pub fn sweep(&self) -> Result<usize, Error> {
        let mut n_swept = self.content.sweep()? + self.snapshots.sweep()?;
        let notes = self.notes()?;
        // Looked for before it is changed: a change waits for others.
        let is_old = self.db.read(|tx| tx.has_old_holds(now()))?;
        if notes.is_empty() && !is_old {
            return Ok(n_swept);
        }
        // While somebody works with files the notes may be theirs; then it is for a later sweep.
        let Some(_lock) = self.content.try_lock_alone()? else { return Ok(n_swept) };
        self.db.write(|tx| tx.let_go_of_old(now()))?;
        n_swept += self.collect()?;
        self.write_index()?;
        self.forget(&notes)?;
        Ok(n_swept)
    }

    /// The ids of the containers made of an image, or of another one of these targets that has no
    /// name of its own.
    pub(crate) fn users(&self, id: &Digest, targets: &[Digest]) -> Result<Vec<String>, Error> {
        self.db.read(|tx| {
            let mut images = vec![id.clone()];
            for target in targets {
                for one in tx.target_images(target)? {
                    let is_named = !tx.tags_of(&one.image)?.is_empty();
                    if !is_named && !images.contains(&one.image) {
                        images.push(one.image);
                    }
                }
            }
            let mut users = Vec::new();
            for image in &images {
                users.extend(tx.containers_of_image(image)?.into_iter().map(|one| one.id));
            }
            Ok(users)
        })
    }

    /// Takes an image's record out, with its names, then deletes the files that only it needed; nothing
    /// where a container is made of it. Only with the lock held alone, and a note.
    pub(crate) fn delete(&self, id: &Digest) -> Result<Pruned, Error> {
        let (layers, manifest, parts) = self.db.read(|tx| {
            let manifest = tx.image(id)?.map(|row| row.manifest);
            let mut parts = Vec::new();
            for target in tx.targets_meaning(id)? {
                parts.extend(tx.target_parts(&target.digest)?);
            }
            Ok::<_, Error>((tx.image_layers(id)?, manifest, parts))
        })?;
        let mut pruned = Pruned::default();
        let mut chain = Vec::new();
        let mut blobs: Vec<Digest> = layers.iter().map(|layer| layer.blob.clone()).collect();
        blobs.push(id.clone());
        blobs.extend(manifest.into_iter().chain(parts));
        self.db.write_durable(|tx| {
            if !tx.containers_of_image(id)?.is_empty() {
                blobs.clear();
                return Ok(());
            }
            if tx.delete_image(id)? {
                pruned.removed.push(Removed::Deleted(id.clone()));
            }
            for layer in layers.iter().rev() {
                let size = tx.layer(&layer.chain)?.map_or(0, |row| row.size);
                if tx.delete_unused_layer(&layer.chain)? {
                    pruned.removed.push(Removed::Deleted(layer.chain.0.clone()));
                    pruned.reclaimed += size;
                    chain.push(layer.chain.clone());
                }
            }
            let mut used = Vec::new();
            for blob in &blobs {
                used.push(tx.blob_is_used(blob)?);
            }
            let mut used = used.into_iter();
            blobs.retain(|_| !used.next().unwrap_or(true));
            Ok::<_, Error>(())
        })?;
        let at = |source| Error::Io { call: "delete", path: id.to_string().into(), source };
        failpoint::hit("images.forget").map_err(at)?;
        for layer in &chain {
            self.snapshots.remove_layer(layer)?;
        }
        for blob in &blobs {
            self.content.delete(blob)?;
        }
        let at = |source| Error::Io { call: "delete", path: id.to_string().into(), source };
        failpoint::hit("images.forgotten").map_err(at)?;
        Ok(pruned)
    }

    /// Deletes every blob and layer that no record names. Only with the lock held alone.
    pub(crate) fn collect(&self) -> Result<usize, Error> {
        let mut n_deleted = 0;
        self.db.write(|tx| {
            // Layers that were unpacked for an image that never came; the topmost first.
            loop {
                let mut any = false;
                for layer in tx.layers()? {
                    any |= tx.delete_unused_layer(&layer.chain)?;
                }
                if !any {
                    return Ok::<_, Error>(());
                }
            }
        })?;
        let (layers, used) = self.db.read(|tx: &Read| {
            let layers: HashSet<ChainId> = tx.layers()?.into_iter().map(|row| row.chain).collect();
            Ok::<_, Error>((layers, tx.used_blobs()?))
        })?;
        for layer in self.snapshots.layers()? {
            if !layers.contains(&layer) && self.snapshots.remove_layer(&layer)? {
                n_deleted += 1;
            }
        }
        for (blob, _) in self.content.list()? {
            if !used.contains(&blob) && self.content.delete(&blob)? {
                n_deleted += 1;
            }
        }
        Ok(n_deleted)
    }
}

/// Whether what was found may be removed, in Docker's words.
#[allow(clippy::too_many_arguments, reason = "what Docker's rules are about")]
pub(crate) fn check_removal(
    found: &Found,
    by_name: Option<&Reference>,
    is_last: bool,
    n_names: usize,
    force: bool,
    users: &[String],
    is_running: &dyn Fn(&str) -> bool,
) -> Result<(), Error> {
    let short = found.id.short();
    let conflict = |why: String| Err(Error::Conflict(why));
    let running = users.iter().find(|user| is_running(user));
    if let (Some(reference), true, false, Some(user)) = (by_name, is_last, force, users.first()) {
        return conflict(format!(
            "unable to remove repository reference \"{}\" (must force) - container {} is \
             using its referenced image {short}",
            reference.familiar(),
            start(user),
        ));
    }
    // By force a name goes all the same; what it means stays.
    if let (None, true, Some(user)) = (by_name, is_last, running) {
        return conflict(format!(
            "unable to delete {short} (cannot be forced) - image is being used by running \
             container {}",
            start(user),
        ));
    }
    if by_name.is_none() && !force {
        if n_names > 1 {
            return conflict(format!(
                "unable to delete {short} (must be forced) - image is referenced in multiple \
                 repositories"
            ));
        }
        if let Some(user) = users.first() {
            return conflict(format!(
                "unable to delete {short} (must be forced) - image is being used by stopped \
                 container {}",
                start(user),
            ));
        }
    }
    Ok(())
}

/// Whether a name is of the same repository.
fn is_of(name: &str, reference: &Reference) -> bool {
    name.parse::<Reference>().is_ok_and(|name| name.name() == reference.name())
}

/// A name as people write it.
fn familiar(tag: &str) -> String {
    tag.parse::<Reference>().map_or_else(|_| tag.into(), |name| name.familiar())
}

/// The start of a container's id, as tables show it.
fn start(id: &str) -> &str {
    &id[..id.len().min(12)]
}
