//! How each engine is asked to do each job.

use std::process::Command;

use super::Job;
use super::place::{BASE, FULL, Place};
use crate::bench::disk::remove;
use crate::bench::engine::{Engine, Kind, Sample, finish};

impl Engine {
    pub(super) fn does(&self, job: Job) -> bool {
        !matches!(self.kind, Kind::Floor) || job == Job::Pull
    }

    /// Brings about what a job needs.
    pub(super) fn before(&self, job: Job, place: &Place) -> Result<(), String> {
        let [from, to] = FULL;
        let ask = |args: &[&str]| finish(self.command(args, place.disk()).output());
        match job {
            Job::Pull | Job::Load => self.empty(place),
            Job::FirstRun | Job::Save => Ok(()),
            Job::Push => {
                place.empty_registry()?;
                ask(&["tag", from, to])
            }
            Job::PullTop => {
                self.empty(place)?;
                ask(&["pull", "-q", BASE])
            }
        }
    }

    /// Does it once.
    pub(super) fn run(&self, job: Job, place: &Place) -> Result<Sample, String> {
        let [from, to] = FULL;
        let file = place.path(&format!("{}.tar", self.name()));
        let file = file.to_str().ok_or("a path that is not UTF-8")?;
        if job == Job::Save {
            let _old = std::fs::remove_file(file);
        }
        let command = match job {
            _ if matches!(self.kind, Kind::Floor) => floor(place)?,
            Job::Pull | Job::PullTop => self.command(&["pull", "-q", from], place.disk()),
            Job::FirstRun => {
                self.command(&["run", "--rm", "--network", "none", from, "true"], place.disk())
            }
            Job::Push => self.command(&["push", "-q", to], place.disk()),
            Job::Save => self.command(&["save", "-o", file, from], place.disk()),
            Job::Load => self.command(&["load", "-q", "-i", file], place.disk()),
        };
        self.timed(command)
    }

    /// Leaves nothing in its store.
    pub(super) fn empty(&self, place: &Place) -> Result<(), String> {
        match &self.kind {
            Kind::Floor => remove(&place.path("floor")),
            // A new one is as empty as one can be, and costs the same.
            Kind::Dhow => remove(&place.path("dhow")),
            Kind::Docker(_) | Kind::Podman => {
                for name in FULL.into_iter().chain([BASE]) {
                    // It need not be there.
                    let _output = self.command(&["rmi", name], place.disk()).output();
                }
                let left = self.command(&["images", "-q"], place.disk()).output();
                let left = left.map_err(|error| error.to_string())?.stdout;
                if left.is_empty() {
                    Ok(())
                } else {
                    Err("images are left in its store".to_owned())
                }
            }
        }
    }
}

/// `curl | gzip -d | tar -x` for each layer at once.
fn floor(place: &Place) -> Result<Command, String> {
    let root = place.path("floor");
    std::fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    let script = "set -e; cd \"$0\"; url=http://127.0.0.1:5000/v2/big
        accept='Accept: application/vnd.oci.image.manifest.v1+json'
        n=0; for digest in $(curl -sf -H \"$accept\" $url/manifests/full | grep -o 'sha256:[0-9a-f]*'); do
            n=$((n + 1)); test $n = 1 && continue
            mkdir $n; curl -sfL $url/blobs/$digest | gzip -d | tar -x -C $n & pids=\"$pids $!\"
        done; for pid in $pids; do wait $pid; done";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(root).stdin(std::process::Stdio::null());
    Ok(command)
}
