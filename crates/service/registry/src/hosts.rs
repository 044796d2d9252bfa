//! The hosts that may be asked for the images of one registry: mirrors, and at last the registry
//! itself. One that fails is passed by; what comes is checked the same, whoever gave it.

use std::pin::Pin;

use oci::Digest;
use oci::image::{Descriptor, Platform};
use reference::Reference;

use crate::blob::{Progress, Sink, download};
use crate::client::Registry;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::hosts_toml::{Can, Host, hosts, read_address};
use crate::repository::{Document, Repository, Resolved};
use crate::search::{SEARCH_DOMAIN, SearchHit};
use crate::settings::Settings;

/// Told of a host that is passed by, and why.
pub type Passed<'a> = &'a (dyn Fn(&Registry, &Error) + Send + Sync);

/// A question that is on its way.
type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Whom to ask for images of one registry, in order.
#[derive(Debug)]
pub struct Hosts {
    domain: String,
    hosts: Vec<Registry>,
}

/// What a reference means, and the host that gave it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it means.
    pub resolved: Resolved,
    /// Which host.
    pub host: usize,
}

impl Hosts {
    /// Whom to ask for images of `domain`: mirrors of `daemon.json` for `docker.io`, then what
    /// `hosts.toml` says, and the registry itself. Only the registry itself gets the credentials.
    ///
    /// Reads a file.
    pub fn of(
        settings: &Settings,
        domain: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Self, Error> {
        let is_hub = domain == reference::DEFAULT_DOMAIN;
        let mirrors = settings.mirrors.iter().filter(|_| is_hub).map(|mirror| {
            let url = read_address(mirror, false)
                .map_err(|why| Error::Config { what: "registry-mirrors".into(), why })?;
            Ok(Host { url: Some(url), can: Can::READ, names_registry: false, ..Host::itself() })
        });
        let mut all: Vec<Host> = mirrors.collect::<Result<_, Error>>()?;
        all.extend(hosts(&settings.certs, domain)?);
        let n_hosts = all.len();
        let hosts = all.into_iter().enumerate().map(|(idx, host)| {
            let registry = Registry::over(settings.clone(), domain, host, credentials.cloned());
            if idx + 1 < n_hosts { registry.with_others() } else { registry }
        });
        Ok(Self { domain: domain.to_owned(), hosts: hosts.collect() })
    }

    /// Whom to search the registry `domain`, or [`SEARCH_DOMAIN`], for what there is: what
    /// `hosts.toml` says, and the registry itself. The mirrors of `daemon.json` are not asked, as
    /// `dockerd` has it.
    ///
    /// Reads a file.
    pub fn for_search(
        settings: &Settings,
        domain: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Self, Error> {
        let of = if domain == SEARCH_DOMAIN { reference::DEFAULT_DOMAIN } else { domain };
        let mut all = hosts(&settings.certs, of)?;
        all.retain(|host| host.can.resolve);
        let n_hosts = all.len();
        let hosts = all.into_iter().enumerate().map(|(idx, host)| {
            let registry = Registry::over(settings.clone(), domain, host, credentials.cloned());
            if idx + 1 < n_hosts { registry.with_others() } else { registry }
        });
        Ok(Self { domain: of.to_owned(), hosts: hosts.collect() })
    }

    /// The repositories that have to do with `term`, by the first host that can be searched; see
    /// [`Registry::search`].
    pub async fn search(
        &self,
        term: &str,
        limit: u32,
        passed: Passed<'_>,
    ) -> Result<Vec<SearchHit>, Error> {
        let hosts = self.which(|can| can.resolve);
        self.try_each(&hosts, passed, |registry, _| {
            Box::pin(async move { registry.search(term, limit).await })
        })
        .await
    }

    /// The manifest or index of this name, whatever is in it, by the first host that knows; see
    /// [`Repository::manifest`].
    pub async fn manifest(
        &self,
        reference: &Reference,
        passed: Passed<'_>,
    ) -> Result<Document, Error> {
        // A digest may come from any.
        let is_digest = reference.digest().is_some();
        let hosts = self.which(|can| if is_digest { can.pull } else { can.resolve });
        self.try_each(&hosts, passed, |registry, _| {
            Box::pin(async move { registry.repository(reference.path()).manifest(reference).await })
        })
        .await
    }

    /// The manifests that are about `subject`, by the first host that knows; see
    /// [`Repository::referrers`].
    pub async fn referrers(
        &self,
        path: &str,
        subject: &Digest,
        artifact: Option<&str>,
        passed: Passed<'_>,
    ) -> Result<Vec<Descriptor>, Error> {
        let hosts = self.which(|can| can.resolve);
        self.try_each(&hosts, passed, |registry, _| {
            Box::pin(async move { registry.repository(path).referrers(subject, artifact).await })
        })
        .await
    }

    /// Whose images they are asked for.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The last that is asked: the registry itself, or what stands for it.
    pub fn last(&self) -> &Registry {
        // There is always one.
        &self.hosts[self.hosts.len() - 1]
    }

    /// The registry itself, which is the one to log in to, if it is one of those that are asked.
    pub fn itself(&self) -> Option<&Registry> {
        self.hosts.iter().find(|host| host.is_itself())
    }

    /// One of them, by its number.
    pub fn host(&self, idx: usize) -> &Registry {
        &self.hosts[idx]
    }

    /// The one that takes images.
    pub fn for_push(&self) -> Result<&Registry, Error> {
        let found = self.hosts.iter().find(|host| host.can.push);
        found.ok_or_else(|| self.none_may("take images"))
    }

    /// The next host that may be asked for content.
    pub fn after(&self, idx: usize) -> Option<usize> {
        (idx + 1..self.hosts.len()).find(|idx| self.hosts[*idx].can.pull)
    }

    fn none_may(&self, what: &str) -> Error {
        Error::Config {
            what: "hosts.toml".into(),
            why: format!("no host may {what} of {}", self.domain),
        }
    }

    fn which(&self, may: impl Fn(Can) -> bool) -> Vec<usize> {
        (0..self.hosts.len()).filter(|idx| may(self.hosts[*idx].can)).collect()
    }

    /// The image that `reference` means on the platform `wanted`, by the first host from `first` on
    /// that knows. What a tag means is asked only of hosts that are trusted with that
    /// (`capabilities`); a digest may come from any.
    pub async fn resolve(
        &self,
        reference: &Reference,
        wanted: &Platform,
        first: usize,
        passed: Passed<'_>,
    ) -> Result<Found, Error> {
        let from = |hosts: Vec<usize>| hosts.into_iter().filter(|idx| *idx >= first).collect();
        let pulls: Vec<usize> = from(self.which(|can| can.pull));
        let Some(first_pull) = pulls.first().copied() else {
            return Err(self.none_may("give content"));
        };
        if let Some(digest) = reference.digest() {
            return self.resolve_at(&pulls, reference, Some(digest), wanted, passed).await;
        }
        // The hosts before the first that may only give content know tags as well: then it is one
        // question.
        let resolves: Vec<usize> = from(self.which(|can| can.resolve));
        if resolves.is_empty() {
            return Err(self.none_may("say what a tag means"));
        }
        if resolves.first() == Some(&first_pull) && pulls.iter().all(|idx| resolves.contains(idx)) {
            return self.resolve_at(&pulls, reference, None, wanted, passed).await;
        }
        let digest = self.digest_at(&resolves, reference, passed).await?;
        self.resolve_at(&pulls, reference, Some(&digest), wanted, passed).await
    }

    async fn resolve_at(
        &self,
        hosts: &[usize],
        reference: &Reference,
        digest: Option<&Digest>,
        wanted: &Platform,
        passed: Passed<'_>,
    ) -> Result<Found, Error> {
        let path = reference.path();
        self.try_each(hosts, passed, |registry, host| {
            Box::pin(async move {
                let repository = registry.repository(path);
                let resolved = repository.resolve_as(reference, digest, wanted).await?;
                Ok(Found { resolved, host })
            })
        })
        .await
    }

    /// What a tag means, by the first host that knows.
    async fn digest_at(
        &self,
        hosts: &[usize],
        reference: &Reference,
        passed: Passed<'_>,
    ) -> Result<Digest, Error> {
        self.try_each(hosts, passed, |registry, _| {
            Box::pin(async move {
                let repository = registry.repository(reference.path());
                match repository.digest_of(reference).await? {
                    Some(digest) => Ok(digest),
                    // One that does not say so has to be asked for all of it.
                    None => Ok(repository.describe(reference).await?.0.digest),
                }
            })
        })
        .await
    }

    /// The digest of what has this name, by the first host that knows; see
    /// [`Repository::digest_of`].
    pub async fn digest_of(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        let hosts = self.which(|can| can.resolve);
        self.try_each(&hosts, &|_, _| (), |registry, _| {
            Box::pin(
                async move { registry.repository(reference.path()).digest_of(reference).await },
            )
        })
        .await
    }

    /// All tags of a repository, by the first host that knows.
    pub async fn tags(
        &self,
        reference: &Reference,
        passed: Passed<'_>,
    ) -> Result<Vec<String>, Error> {
        let hosts = self.which(|can| can.resolve);
        self.try_each(&hosts, passed, |registry, _| {
            Box::pin(async move { registry.repository(reference.path()).tags(reference).await })
        })
        .await
    }

    /// A small blob, from the host `first` or one after it; see [`Repository::small_blob`].
    pub async fn small_blob(
        &self,
        path: &str,
        blob: &Descriptor,
        first: usize,
        passed: Passed<'_>,
    ) -> Result<bytes::Bytes, Error> {
        let hosts = self.pulls_from(first);
        self.try_each(&hosts, passed, |registry, _| {
            Box::pin(async move { registry.repository(path).small_blob(blob).await })
        })
        .await
    }

    /// How many bytes a blob has. See [`Repository::blob_size`].
    pub async fn blob_size(
        &self,
        path: &str,
        digest: &Digest,
        passed: Passed<'_>,
    ) -> Result<Option<u64>, Error> {
        let hosts = self.pulls_from(0);
        self.try_each(&hosts, passed, |registry, _| {
            Box::pin(async move { registry.repository(path).blob_size(digest).await })
        })
        .await
    }

    /// Downloads a blob, from the host `first` or one after it: where one fails, the next goes on
    /// from there. See [`Repository::download`].
    pub async fn download<S: Sink>(
        &self,
        path: &str,
        blob: &Descriptor,
        first: usize,
        sink: S,
        progress: Progress<'_>,
        passed: Passed<'_>,
    ) -> Result<S, Error> {
        let hosts = self.pulls_from(first);
        let repositories: Vec<Repository<'_>> =
            hosts.iter().map(|idx| self.hosts[*idx].repository(path)).collect();
        download(&repositories, blob, sink, progress, passed).await
    }

    fn pulls_from(&self, first: usize) -> Vec<usize> {
        self.which(|can| can.pull).into_iter().filter(|idx| *idx >= first).collect()
    }

    /// What the first of these hosts answers that does not fail; the last one's error where all do.
    async fn try_each<'a, T>(
        &'a self,
        hosts: &[usize],
        passed: Passed<'_>,
        ask: impl Fn(&'a Registry, usize) -> Asking<'a, T>,
    ) -> Result<T, Error> {
        let mut failure = None;
        for &idx in hosts {
            if let Some((registry, error)) = failure.take() {
                passed(registry, &error);
            }
            let registry = &self.hosts[idx];
            match ask(registry, idx).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failure = Some((registry, error)),
            }
        }
        Err(failure.map_or_else(|| self.none_may("be asked"), |(_, error)| error))
    }
}
