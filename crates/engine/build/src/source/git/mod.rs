//! Repositories of git, by the program `git`.
//!
//! A checkout is kept for each commit, by itself; the commit is what it is known by. What comes from a
//! server is never an argument: names are ours, and of its answers only the numbers of commits count
//! (security rows H01, H02). Nothing of this machine's configuration and none of the repository's is heeded
//! (H03), and no credentials are in an argument, an error, a log or an identity (F12). A bundle in the place of a
//! server is read without git's own way to files, which is closed.

mod agent;
mod bundle;
mod fetch;
mod objects;
mod program;
mod remote;
mod signed;
#[cfg(test)]
mod tests;
mod times;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fsroot::Root;
use oci::Digest;

use crate::Error;
use crate::build::Shared;
use crate::error::At as _;
use crate::output::{Output, Tree};
use crate::store::{Directory, Use};
use crate::tell::Listeners;

use agent::Agent;
use fetch::{fetch, init, shallow};
use program::Program;
use remote::{Remote, Tip, check_name, find, is_commit};

/// The kind of a checkout in the build cache, as BuildKit calls it.
const KIND: &str = "source.git.checkout";

/// A file beside a checkout that is whole: its identity.
const DONE: &str = "done";

/// A folder beside a checkout while its signature is verified.
const ROOM: &str = "signature";

/// What names of repositories mean for a build, by URL and name: whatever happens there meanwhile, all of a
/// build sees one state.
pub(crate) type Tips = Mutex<HashMap<(String, String), Tip>>;

/// A commit that is asked for, and how its repository is reached.
struct Found<'a> {
    remote: Remote,
    tip: Tip,
    program: Program<'a>,
    /// The client's keys, for as long as the program needs them.
    _agent: Option<Agent>,
}

/// Finds out which commit is asked for. Nothing is fetched.
async fn look_up<'a>(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    listeners: &'a Listeners,
) -> Result<Found<'a>, Error> {
    let remote = Remote::new(&git.remote)?;
    if !git.reference.is_empty() {
        check_name(&git.reference)?;
    }
    let mut program = Program::new(listeners);
    for (name, value) in build.builder.settings.proxies.variables() {
        program.set(name, value);
    }
    authorize(build, git, &remote, &mut program).await?;
    let agent = ssh(build, git, &remote, &mut program).await?;
    let tip = if git.bundle.is_some() {
        bundle::tip(git)?
    } else {
        tip(build, git, &remote, &program).await?
    };
    check_sum(git, &tip)?;
    Ok(Found { remote, tip, program, _agent: agent })
}

/// Checks a commit out, and says whether it was here.
pub(crate) async fn bring(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    listeners: &Listeners,
) -> Result<(Output, bool), Error> {
    let part = subdir(&git.subdir)?;
    let found = look_up(build, git, listeners).await?;
    let (url, commit) = (&found.remote.url, &found.tip.commit);
    let identity = identity(git, url, commit);
    let (name, shown) = (identity.clone(), format!("git snapshot for {url}#{commit}"));
    let taken =
        build.blocking(move |build| build.builder.store.take(KIND, &name, &shown, Use::Private));
    let directory = taken.await?.ok_or(Error::Lost("a directory of the builder"))?;
    let done = build.builder.store.beside(&directory, DONE);
    let was_here = fs::read_to_string(&done).is_ok_and(|text| text == identity);
    if was_here {
        check_signed(build, git, &found, &directory).await?;
    } else {
        clear(&directory, &done)?;
        check_out(build, git, &found, &directory).await?;
        fs::write(&done, &identity).at("write", &done)?;
        let id = directory.id.clone();
        let measure = build.blocking(move |build| {
            let size = build.builder.store.size(&id);
            build.builder.store.measured(&id, size)
        });
        measure.await?;
    }
    check_part(&directory.path, &part, &git.subdir)?;
    let identity = Some(format!("{identity} {}", part.display()));
    let time = git.commit_times.then(|| times::of(&directory.path)).transpose()?;
    let directory = Arc::new(directory);
    Ok((Output::Tree(Tree { directory, part, identity, time }), was_here))
}

/// When a commit was made, seconds since 1970, without a checkout.
pub(crate) async fn commit_time(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    listeners: &Listeners,
) -> Result<i64, Error> {
    let found = look_up(build, git, listeners).await?;
    let directory = objects::passing(build, git, &found).await?;
    times::made(&found.remote, &found.tip, &found.program, &directory.path).await
}

/// What a commit is called, and which it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// In full; of a commit that was named itself, that.
    pub(crate) name: String,
    /// The commit, or the tag that is an object of its own.
    pub(crate) checksum: String,
    /// The commit, where that is another.
    pub(crate) commit: String,
    /// The commit and the tag as objects; empty where they were not asked for, or there is none.
    pub(crate) objects: (Vec<u8>, Vec<u8>),
}

/// What a repository has under a name. Nothing is fetched, but where the objects are asked for.
pub(crate) async fn about(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    with_objects: bool,
    listeners: &Listeners,
) -> Result<About, Error> {
    let found = look_up(build, git, listeners).await?;
    let tip = &found.tip;
    let name = if tip.name.is_empty() { tip.commit.clone() } else { tip.name.clone() };
    let (checksum, commit) = match &tip.tag {
        Some(tag) => (tag.clone(), tip.commit.clone()),
        None => (tip.commit.clone(), String::new()),
    };
    let about = About { name, checksum, commit, ..About::default() };
    if !with_objects && git.signed.is_none() {
        return Ok(about);
    }
    let directory = objects::passing(build, git, &found).await?;
    let found = objects::read(&found, &directory.path).await?;
    if let Some(by) = &git.signed {
        signed::check(&found, by, &build.builder.store.beside(&directory, ROOM)).await?;
    }
    let objects::Objects { commit, tag } = found;
    let (tag_name, tag) = tag.unwrap_or_default();
    // What was asked for by its number is known for a tag only now.
    let name = if tag_name.is_empty() { String::new() } else { commit.0 };
    let objects = if with_objects { (commit.1, tag) } else { (Vec::new(), Vec::new()) };
    Ok(About { commit: name, objects, ..about })
}

/// Refuses a checkout that is here, but not signed as the build wants it.
async fn check_signed(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    found: &Found<'_>,
    directory: &Directory,
) -> Result<(), Error> {
    let Some(by) = &git.signed else { return Ok(()) };
    let objects = if let Some(objects) = objects::kept(build, directory, found) {
        objects
    } else {
        let passing = objects::passing(build, git, found).await?;
        let objects = objects::read(found, &passing.path).await?;
        objects::keep(build, directory, found, &objects)?;
        objects
    };
    signed::check(&objects, by, &build.builder.store.beside(directory, ROOM)).await
}

/// What a checkout is. With `.git` or submodules, where it comes from is part of it.
fn identity(git: &buildgraph::Git, url: &str, commit: &str) -> String {
    let (keep, modules) = (git.keep_git_dir, !git.skip_submodules);
    let times = if git.commit_times { " with its times" } else { "" };
    let bundle = match (&git.bundle, git.as_bundle) {
        (_, true) => format!(" as a bundle of {}", git.reference),
        (Some(_), false) if keep => " of a bundle".to_owned(),
        _ => String::new(),
    };
    format!("git {commit} {keep} {modules} {url}{times}{bundle}")
}

/// The directory that is wanted, as a path below the checkout.
fn subdir(text: &str) -> Result<PathBuf, Error> {
    let path = Path::new(text.trim_matches('/'));
    let refused = || Error::Invalid(format!("invalid git subdirectory {text:?}: it leads out"));
    let is_name = |part| matches!(part, std::path::Component::Normal(_));
    let parts = path.components().filter(|part| *part != std::path::Component::CurDir);
    let clean: PathBuf = parts.clone().collect();
    if parts.clone().all(is_name) && clean.components().all(|part| part.as_os_str() != ".git") {
        Ok(clean)
    } else {
        Err(refused())
    }
}

/// The subdirectory has to be one, and no link may lead to it (security row H04).
fn check_part(checkout: &Path, part: &Path, given: &str) -> Result<(), Error> {
    if part.as_os_str().is_empty() {
        return Ok(());
    }
    let opened = Root::open(checkout)?.open_plain_directory(part);
    let why = |_| {
        Error::NotFound(format!("git subdirectory {given:?} is no directory of the repository"))
    };
    opened.map(drop).map_err(why)
}

/// Tells git who we are, where the client says so.
async fn authorize(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    remote: &Remote,
    program: &mut Program<'_>,
) -> Result<(), Error> {
    let Some(origin) = &remote.origin else { return Ok(()) };
    let secret = async |id: &str| -> Result<Option<String>, Error> {
        if id.is_empty() {
            return Ok(None);
        }
        let value = build.client.secret(id).await.map_err(Error::Client)?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).trim().to_owned()))
    };
    // As in BuildKit: those for the host come first.
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let of_host = |id: &str| if id.is_empty() { String::new() } else { format!("{id}.{host}") };
    let (header, token) = (&git.header_secret, &git.token_secret);
    let names = [
        (of_host(header), false),
        (of_host(token), true),
        (header.clone(), false),
        (token.clone(), true),
    ];
    let mut header = None;
    for (name, is_token) in names {
        let Some(value) = secret(&name).await? else { continue };
        header = Some(if is_token {
            program.secret(&value);
            remote::token(&value)
        } else {
            format!("Authorization: {value}")
        });
        break;
    }
    let header = header.or_else(|| remote.authorization.clone());
    let Some(header) = header else { return Ok(()) };
    if header.contains(['\n', '\r', '\0']) {
        return Err(Error::Invalid("the secret for a git repository is no header".into()));
    }
    program.header(origin, &header);
    Ok(())
}

/// Has ssh ask the client's agent. A host is taken for what it says the first time, and has to say the same
/// ever after; a terminal that it could ask at is not there.
async fn ssh(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    remote: &Remote,
    program: &mut Program<'_>,
) -> Result<Option<Agent>, Error> {
    if !remote.is_ssh {
        return Ok(None);
    }
    // Where the build says what the host is, nothing else will do.
    let (known, check) = match git.known_hosts.as_str() {
        "" => (build.builder.store.file("known_hosts"), "accept-new"),
        hosts => (known_hosts(build, hosts)?, "yes"),
    };
    let known = known.display().to_string();
    let known = known.replace('\\', "\\\\").replace('\'', "'\\''");
    let options = format!(
        "-F /dev/null -o BatchMode=yes -o StrictHostKeyChecking={check} -o UpdateHostKeys=no"
    );
    let files = match git.known_hosts.as_str() {
        "" => "-o GlobalKnownHostsFile=/etc/ssh/ssh_known_hosts",
        _ => "-o GlobalKnownHostsFile=/dev/null",
    };
    program.set(
        "GIT_SSH_COMMAND",
        &format!("ssh {options} {files} -o 'UserKnownHostsFile=\"{known}\"'"),
    );
    program.set("GIT_SSH_VARIANT", "ssh");
    if git.ssh.is_empty() || !build.client.has_agent(&git.ssh).await.map_err(Error::Client)? {
        return Ok(None);
    }
    let agent = agent::listen(build, &git.ssh)?;
    program.set("SSH_AUTH_SOCK", &agent.path);
    Ok(Some(agent))
}

/// A file of what the build says of hosts, called by what is in it.
fn known_hosts(build: &Arc<Shared>, hosts: &str) -> Result<PathBuf, Error> {
    let name = format!("known_hosts-{}", Digest::sha256(hosts.as_bytes()).hex());
    let path = build.builder.store.file(&name);
    fs::write(&path, format!("{}\n", hosts.trim_end())).at("write", &path)?;
    Ok(path)
}

/// The commit that is meant. A full one is asked nobody about.
async fn tip(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    remote: &Remote,
    program: &Program<'_>,
) -> Result<Tip, Error> {
    if is_commit(&git.reference) {
        let commit = git.reference.to_ascii_lowercase();
        return Ok(Tip { name: String::new(), commit, tag: None });
    }
    if git.by_commit {
        return by_commit(git);
    }
    let names = remote::candidates(&git.reference);
    let peeled: Vec<String> = names.iter().map(|name| format!("{name}^{{}}")).collect();
    let asked = (remote.url.clone(), git.reference.clone());
    if let Some(known) = build.tips.lock().unwrap_or_else(PoisonError::into_inner).get(&asked) {
        return Ok(known.clone());
    }
    let mut arguments = vec!["ls-remote", "--symref", "--", remote.url.as_str()];
    arguments.extend(names.iter().chain(&peeled).map(String::as_str));
    let listed = program.run(&build.builder.store.empty()?, &arguments).await;
    let listed = listed.map_err(|error| of_remote(&error, remote))?;
    let missing = || {
        let name = if git.reference.is_empty() { "HEAD" } else { &git.reference };
        Error::NotFound(format!("repository does not contain ref {name}: {}", remote.url))
    };
    let found = find(&listed, &git.reference).ok_or_else(missing)?;
    let mut tips = build.tips.lock().unwrap_or_else(PoisonError::into_inner);
    // Of two that asked at once the first is right for both.
    Ok(tips.entry(asked).or_insert(found).clone())
}

/// The commit that the build says, whatever its name means at the server: nobody is asked. In BuildKit's words.
fn by_commit(git: &buildgraph::Git) -> Result<Tip, Error> {
    let invalid = |why: String| Err(Error::Invalid(why));
    let wanted = git.checksum.as_ref().map_or("", |sum| sum.0.as_str());
    if wanted.is_empty() {
        return invalid("fetch-by-commit requires a checksum or a commit SHA ref".into());
    }
    if !is_commit(wanted) {
        let why = format!("fetch-by-commit requires a full commit SHA checksum, got {wanted:?}");
        return invalid(why);
    }
    let name = match git.reference.as_str() {
        "" | "HEAD" => String::new(),
        full if full.starts_with("refs/") => full.to_owned(),
        // Of names that are not in full only branches are meant.
        branch => format!("refs/heads/{branch}"),
    };
    Ok(Tip { name, commit: wanted.to_ascii_lowercase(), tag: None })
}

fn of_remote(error: &Error, remote: &Remote) -> Error {
    Error::Invalid(format!("failed to fetch remote {}: {error}", remote.url))
}

/// The commit, or the tag that names it, has to begin as the build says.
fn check_sum(git: &buildgraph::Git, tip: &Tip) -> Result<(), Error> {
    let Some(sum) = &git.checksum else { return Ok(()) };
    let wanted = sum.0.to_ascii_lowercase();
    let is_hex = wanted.len() >= 7 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return Err(Error::Invalid(format!(
            "invalid checksum {:?} for Git source, expected hex commit hash",
            sum.0
        )));
    }
    if tip.commit.starts_with(&wanted)
        || tip.tag.as_ref().is_some_and(|tag| tag.starts_with(&wanted))
    {
        return Ok(());
    }
    Err(Error::Invalid(format!("expected checksum to match {}, got {}", sum.0, tip.commit)))
}

/// Empties a checkout that is not whole.
fn clear(directory: &Directory, done: &Path) -> Result<(), Error> {
    if let Err(error) = fs::remove_file(done)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).at("unlink", done);
    }
    directory.clear()
}

/// Fetches a commit, and no more than is needed, into an empty directory.
async fn check_out(
    build: &Arc<Shared>,
    git: &buildgraph::Git,
    found: &Found<'_>,
    directory: &Directory,
) -> Result<(), Error> {
    let Found { remote, tip, program, .. } = found;
    let dir = &directory.path;
    init(found, dir).await?;
    fetch(build, git, found, dir).await?;
    // Before any file of it is written.
    if let Some(by) = &git.signed {
        let objects = objects::read(found, dir).await?;
        signed::check(&objects, by, &build.builder.store.beside(directory, ROOM)).await?;
        objects::keep(build, directory, found, &objects)?;
    }
    if git.as_bundle {
        bundle::pack(found, dir).await?;
    } else {
        let commit = tip.commit.as_str();
        program.run(dir, &["checkout", "--quiet", "--detach", "--force", commit, "--"]).await?;
        if !git.skip_submodules && dir.join(".gitmodules").is_file() {
            let update = ["submodule", "update", "--init", "--recursive", "--checkout"];
            let updated = shallow(program, dir, &update, &[]).await;
            updated.map_err(|error| of_remote(&error, remote))?;
        }
    }
    for rest in ["FETCH_HEAD", "ORIG_HEAD"] {
        let _ = fs::remove_file(dir.join(".git").join(rest));
    }
    let made =
        if git.commit_times { Some(times::made(remote, tip, program, dir).await?) } else { None };
    if !git.keep_git_dir {
        without_git(dir)?;
    }
    made.map_or(Ok(()), |made| times::set(dir, made))
}

/// Removes `.git`, also those of submodules. No file of a repository has such a name.
fn without_git(dir: &Path) -> Result<(), Error> {
    let mut rest = vec![dir.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in fs::read_dir(&dir).at("readdir", &dir)? {
            let entry = entry.at("readdir", &dir)?;
            if entry.file_name() == ".git" {
                Root::open(&dir)?.remove_all(".git")?;
            } else if entry.file_type().at("stat", &dir)?.is_dir() {
                rest.push(entry.path());
            }
        }
    }
    Ok(())
}
