//! Putting right what a check has found, without taking anything from anybody.
//!
//! What nothing names is deleted; what can be made again from what is there is made again; a damaged
//! blob is taken away, since while it is there nobody fetches a good one. What a container may be
//! using is left alone, and so is all that is not dhow's.

use std::collections::HashMap;

use docker::check::{Finding, Kind};
use metadata::ImageLayer;
use oci::{ChainId, Digest};

use crate::check::View;
use crate::pull::is_alive;
use crate::{Error, Images};

const BUSY: &str = "left alone: images are being added or removed; try again";

impl Images {
    pub(crate) fn repair(
        &self,
        view: &View,
        damaged: &HashMap<Digest, u64>,
        findings: &mut [Finding],
    ) -> Result<(), Error> {
        // Lowest first: what is unpacked may have files of the layer below.
        findings.sort_by_cached_key(|finding| {
            let chain = finding.subject.parse::<ChainId>().ok();
            chain.and_then(|chain| place(view, &chain)).map(|(_, layer_idx)| layer_idx)
        });
        for finding in &mut *findings {
            match finding.kind {
                Kind::Layout => {
                    self.content.write_layout()?;
                    done(finding, "written anew");
                }
                Kind::MissingBlob => fetch_again(finding, ""),
                Kind::DamagedBlob => self.drop_damaged(damaged, finding)?,
                Kind::MissingLayer => self.unpack_again(view, finding, false)?,
                Kind::ChangedLayer => self.unpack_again(view, finding, true)?,
                Kind::StrayFile => leave(finding, "left alone: it is not dhow's"),
                Kind::Image | Kind::Database => fetch_again(finding, "left alone: "),
                _ => {}
            }
        }
        findings.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
        self.collect_found(findings)
    }

    /// Deletes what nothing needs, and writes the index.
    fn collect_found(&self, findings: &mut [Finding]) -> Result<(), Error> {
        let kinds = [Kind::OrphanBlob, Kind::OrphanLayer, Kind::LeftOver, Kind::Index];
        let mut ours: Vec<_> =
            findings.iter_mut().filter(|finding| kinds.contains(&finding.kind)).collect();
        if ours.is_empty() {
            return Ok(());
        }
        self.content.sweep()?;
        self.snapshots.sweep()?;
        let lock = self.lock_alone_soon()?;
        if lock.is_some() {
            self.with_note(|| {
                self.collect()?;
                self.write_index()
            })?;
        }
        for finding in &mut ours {
            match finding.kind {
                Kind::LeftOver => done(finding, "removed"),
                _ if lock.is_none() => leave(finding, BUSY),
                Kind::Index => done(finding, "written anew"),
                _ => done(finding, "removed"),
            }
        }
        Ok(())
    }

    fn drop_damaged(
        &self,
        damaged: &HashMap<Digest, u64>,
        finding: &mut Finding,
    ) -> Result<(), Error> {
        let Ok(blob) = finding.subject.parse::<Digest>() else { return Ok(()) };
        // Which file it is, one that was not hashed does not know.
        let Some(inode) = damaged.get(&blob) else {
            leave(finding, "left alone: hash all blobs first (without --quick)");
            return Ok(());
        };
        let Some(_lock) = self.lock_alone_soon()? else {
            leave(finding, BUSY);
            return Ok(());
        };
        let holders = self.db.read(|tx| tx.holders_of(&blob))?;
        if holders.iter().any(|holder| is_alive(holder)) {
            leave(finding, "left alone: a pull or a push counts on it; try again when it is done");
            return Ok(());
        }
        if !self.content.drop_damaged(&blob, *inode)? || finding.images.is_empty() {
            done(finding, "removed");
            return Ok(());
        }
        fetch_again(finding, "removed: ");
        // It may have been a manifest, which the index must not name any more.
        self.write_index()
    }

    /// Unpacks a layer from its archive. One that is there is replaced, if no container has it.
    fn unpack_again(
        &self,
        view: &View,
        finding: &mut Finding,
        is_there: bool,
    ) -> Result<(), Error> {
        let Ok(chain) = finding.subject.parse::<ChainId>() else { return Ok(()) };
        let Some((layers, layer_idx)) = place(view, &chain) else { return Ok(()) };
        let below: Vec<ChainId> = layers.iter().map(|layer| layer.chain.clone()).collect();
        let layer = &layers[layer_idx];
        if is_there && !finding.containers.is_empty() {
            leave(finding, "left alone: a container uses it; remove it, and repair again");
            return Ok(());
        }
        let diffs: Vec<_> = layers.iter().map(|layer| layer.diff.clone()).collect();
        if !is_there {
            let _lock = self.content.lock_shared()?;
            let open = || self.archive_of(&layer.blob);
            match self.ensure_layer(&below, &diffs, layer_idx, open) {
                Ok(_) => done(finding, "unpacked again"),
                Err(error) => fetch_again(finding, &format!("{}: ", docker::error::chain(&error))),
            }
            return Ok(());
        }
        let open = || self.archive_of(&layer.blob);
        let unpacking = match self.unpack_layer(&below, &layer.diff, layer_idx, open) {
            Ok((unpacking, _)) => unpacking,
            Err(error) => {
                fetch_again(finding, &format!("{}: ", docker::error::chain(&error)));
                return Ok(());
            }
        };
        let Some(_lock) = self.lock_alone_soon()? else {
            leave(finding, BUSY);
            return Ok(());
        };
        // Asked again, now that no image can come or go.
        let users = self.db.read(|tx| {
            let images = view.images_with_layer(&chain);
            let users = images.iter().map(|image| tx.containers_of_image(image));
            users.collect::<Result<Vec<_>, _>>()
        })?;
        if users.iter().any(|containers| !containers.is_empty()) {
            leave(finding, "left alone: a container uses it; remove it, and repair again");
            return Ok(());
        }
        self.snapshots.remove_layer(&chain)?;
        self.snapshots.commit(unpacking, &chain)?;
        done(finding, "unpacked again");
        Ok(())
    }
}

/// An image's layers, up to and with this one, and where it is among them.
fn place<'a>(view: &'a View, chain: &ChainId) -> Option<(&'a [ImageLayer], usize)> {
    view.images.iter().find_map(|(_, layers)| {
        let layer_idx = layers.iter().position(|layer| layer.chain == *chain)?;
        Some((&layers[..=layer_idx], layer_idx))
    })
}

fn done(finding: &mut Finding, what: &str) {
    what.clone_into(&mut finding.repair);
    finding.fixed = true;
}

fn leave(finding: &mut Finding, why: &str) {
    why.clone_into(&mut finding.repair);
}

/// Says which images have to be brought again.
fn fetch_again(finding: &mut Finding, before: &str) {
    let names = match finding.images.as_slice() {
        [] => "the image",
        [one] => one.as_str(),
        _ => "each of them",
    };
    finding.repair = format!("{before}pull, load or push {names} again, or remove it");
}
