//! Who asks for results over the gateway service: the client of a build, or a front end that is an image.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use build::{Container, Solved};
use buildkit::pb::Definition;
use tokio::sync::oneshot;
use tonic::Status;

/// No more containers of its own at once.
const MAX_CONTAINERS: usize = 64;
/// No more names of results are held for one: each is some 100 bytes.
const MAX_RESULTS: usize = 100_000;

/// What it has made.
pub(crate) type Returned = Result<Solved, Status>;

/// One of them.
#[derive(Debug)]
pub(crate) struct FrontEnd {
    /// What it is to build on.
    pub(crate) inputs: BTreeMap<String, Definition>,
    /// It is an image's, not the client: results of other builds are none of its business.
    pub(crate) is_guest: bool,
    /// How many others have asked for it, each for the next.
    pub(crate) depth: usize,
    /// Who waits for what it makes.
    result: Mutex<Option<oneshot::Sender<Returned>>>,
    /// The results that it was told of.
    results: Mutex<HashSet<String>>,
    containers: Mutex<HashMap<String, Arc<OwnContainer>>>,
}

/// A container of a front end's.
#[derive(Debug)]
pub(crate) struct OwnContainer {
    pub(crate) container: Container,
    /// Which of its mounts each of those that were asked for is; `None`: its root.
    pub(crate) places: Vec<Option<usize>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FrontEnd {
    /// The client of a build; with what it will make.
    pub(crate) fn of_client(
        inputs: BTreeMap<String, Definition>,
    ) -> (Self, oneshot::Receiver<Returned>) {
        Self::new(inputs, false, 0)
    }

    /// One that is an image's.
    pub(crate) fn guest(
        inputs: BTreeMap<String, Definition>,
        depth: usize,
    ) -> (Self, oneshot::Receiver<Returned>) {
        Self::new(inputs, true, depth)
    }

    fn new(
        inputs: BTreeMap<String, Definition>,
        is_guest: bool,
        depth: usize,
    ) -> (Self, oneshot::Receiver<Returned>) {
        let (sender, returned) = oneshot::channel();
        let result = Mutex::new(Some(sender));
        let (results, containers) = Default::default();
        (Self { inputs, is_guest, depth, result, results, containers }, returned)
    }

    /// Hands over what it has made. Only the first time is one.
    pub(crate) fn give_back(&self, result: Returned) -> bool {
        let sender = lock(&self.result).take();
        sender.is_some_and(|sender| sender.send(result).is_ok())
    }

    /// Notes that it is told of a result.
    pub(crate) fn told_of(&self, name: &str) -> Result<(), Status> {
        let mut results = lock(&self.results);
        if results.len() >= MAX_RESULTS {
            let text = format!("more than {MAX_RESULTS} results of one front end");
            return Err(Status::resource_exhausted(text));
        }
        results.insert(name.to_owned());
        Ok(())
    }

    /// A result that it names; it has to have been told of it.
    pub(crate) fn known<'a>(&self, name: &'a str) -> Result<&'a str, Status> {
        if lock(&self.results).contains(name) {
            return Ok(name);
        }
        Err(Status::not_found(format!("no such ref: {name:.100}")))
    }

    /// Notes a container of its own.
    pub(crate) fn add(&self, id: &str, container: OwnContainer) -> Result<(), Status> {
        let mut containers = lock(&self.containers);
        if containers.contains_key(id) {
            return Err(Status::already_exists(format!("Container {id:.100} already exists")));
        }
        if containers.len() >= MAX_CONTAINERS {
            let text = format!("more than {MAX_CONTAINERS} containers of one front end");
            return Err(Status::resource_exhausted(text));
        }
        containers.insert(id.to_owned(), Arc::new(container));
        Ok(())
    }

    /// A container of its own.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<OwnContainer>, Status> {
        lock(&self.containers).get(id).cloned().ok_or_else(|| no_container(id))
    }

    /// A mount of a container of its own, by its number among those that were asked for.
    pub(crate) fn mount(
        &self,
        id: &str,
        number: i32,
    ) -> Result<(Arc<OwnContainer>, Option<usize>), Status> {
        let own = self.container(id)?;
        let place = usize::try_from(number).ok().and_then(|number| own.places.get(number));
        let place = place.copied();
        let none = || Status::not_found(format!("container {id:.100} has no mount {number}"));
        Ok((own, place.ok_or_else(none)?))
    }

    /// The same, which it has no more.
    pub(crate) fn take_container(&self, id: &str) -> Result<Arc<OwnContainer>, Status> {
        lock(&self.containers).remove(id).ok_or_else(|| no_container(id))
    }

    /// Ends all of them, and waits for that.
    pub(crate) async fn release(&self) {
        let all: Vec<_> = lock(&self.containers).drain().map(|(_, one)| one).collect();
        for one in all {
            // Nobody is left who could be told that something still ran in it.
            _ = one.container.release().await;
        }
    }
}

fn no_container(id: &str) -> Status {
    Status::not_found(format!("container {id:.100} previously released or not created"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_it_was_told_of_can_be_named() {
        let (front_end, _) = FrontEnd::guest(BTreeMap::new(), 1);
        assert!(front_end.known("a").is_err());
        front_end.told_of("a").unwrap();
        assert_eq!(front_end.known("a").unwrap(), "a");
        for other in ["", "b", "a/", "build/a"] {
            assert!(front_end.known(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_result_is_given_back_once() {
        let (front_end, mut returned) = FrontEnd::of_client(BTreeMap::new());
        assert!(front_end.give_back(Ok(Solved::default())));
        assert!(!front_end.give_back(Ok(Solved::default())));
        assert!(returned.try_recv().unwrap().is_ok());
    }
}
