//! `system dial-stdio`: standard input and output are a connection to the engine. Docker's client runs it on the
//! other machine for `ssh://`, once for each connection.
//!
//! Where no daemon is up there, the first of these commands has the engine, and those that come while it lives meet
//! there: who is attached by one connection, and starts the container by another, is to find one engine. The one
//! that has it stays until all have gone who came.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::{Client, Io};
use crate::error::{Error, Result};
use crate::{Global, Host, Serve, stream};

/// The most that is relayed at once.
const RELAY_BYTES: usize = 32 * 1024;
/// Before the next connection is taken, where one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// Connects to an engine that is elsewhere.
pub(crate) async fn stdio(client: &Client) -> Result<i32> {
    relay(client.connect().await?).await
}

/// Connects to the engine of this machine: a daemon that is up, or what such commands share.
pub(crate) async fn meet(global: &Global, host: &impl Host) -> Result<i32> {
    let daemon = host.socket(global);
    if let Some(stream) = reach(&daemon).await? {
        return relay(stream).await;
    }
    let place = Place::beside(&daemon)?;
    match place.find().await? {
        Found::Engine(stream) => relay(stream).await,
        Found::Nobody(listener) => {
            let led = lead(&place, &listener, global, host).await;
            // Who came in the last moment is not left alone.
            let late = place.leave(&listener)?;
            if let Ok((serve, _)) = &led {
                let mut served = JoinSet::new();
                for stream in late {
                    answer(&mut served, serve, stream);
                }
                while served.join_next().await.is_some() {}
            }
            led.and_then(|(_, code)| code)
        }
    }
}

/// What comes of a connection.
enum Seen {
    Engine(UnixStream),
    /// Somebody is there, and takes nobody at the moment.
    Busy,
    Nobody,
}

/// Connects to who listens there, if somebody does. Who has so many waiting that no more are taken is waited for.
async fn reach(socket: &Path) -> Result<Option<UnixStream>> {
    loop {
        match connect(socket).await? {
            Seen::Engine(stream) => return Ok(Some(stream)),
            Seen::Busy => tokio::time::sleep(PAUSE).await,
            Seen::Nobody => return Ok(None),
        }
    }
}

async fn connect(socket: &Path) -> Result<Seen> {
    match UnixStream::connect(socket).await {
        Ok(stream) => Ok(Seen::Engine(stream)),
        Err(err) => match err.kind() {
            io::ErrorKind::WouldBlock => Ok(Seen::Busy),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(Seen::Nobody),
            _ => Err(failed(socket, err)),
        },
    }
}

fn failed(socket: &Path, err: io::Error) -> Error {
    Error::io(format!("connect to {}", socket.display()))(err)
}

/// Has the engine, and serves all who come until the last has gone. How our own connection went, and what serves.
async fn lead(
    place: &Place,
    listener: &UnixListener,
    global: &Global,
    host: &impl Host,
) -> Result<(Serve, Result<i32>)> {
    let serve = host.serve(global).map_err(Error::Usage)?;
    let mut own = pin!(async { relay(place.enter().await?).await });
    let (mut served, mut code) = (JoinSet::new(), None);
    while code.is_none() || !served.is_empty() {
        tokio::select! {
            // Who comes is before who goes.
            biased;
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => answer(&mut served, &serve, stream),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            ended = &mut own, if code.is_none() => code = Some(ended),
            Some(_) = served.join_next() => {}
        }
    }
    Ok((serve, code.unwrap_or(Ok(0))))
}

/// Has one who came served.
fn answer(served: &mut JoinSet<()>, serve: &Serve, stream: UnixStream) {
    let serving = serve(stream);
    served.spawn(async move {
        // What goes wrong on a connection is its client's business.
        let _ = serving.await;
    });
}

/// What comes in goes to the engine, and what it answers comes out, until the engine has said all.
async fn relay(connection: impl Io + 'static) -> Result<i32> {
    let (mut from, mut to) = tokio::io::split(connection);
    let mut input = stream::read_stdin();
    let feeding = tokio::spawn(async move {
        while let Some(bytes) = input.recv().await {
            // What goes wrong here ends the connection, which is seen below.
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    });
    // Written on a thread of its own: a client that does not read keeps nobody else waiting.
    let (output, mut pieces) = mpsc::channel::<Vec<u8>>(1);
    let writing = tokio::task::spawn_blocking(move || {
        let mut stdout = io::stdout().lock();
        while let Some(bytes) = pieces.blocking_recv() {
            stdout.write_all(&bytes).and_then(|()| stdout.flush())?;
        }
        Ok::<_, io::Error>(())
    });
    let mut buffer = vec![0; RELAY_BYTES];
    loop {
        let read = from.read(&mut buffer).await.map_err(Error::io("read from the engine"))?;
        // Why nothing can be written is told below.
        if read == 0 || output.send(buffer[..read].to_vec()).await.is_err() {
            break;
        }
    }
    drop(output);
    // Whatever is still typed is for nobody: with this, our end is closed.
    feeding.abort();
    let written = writing.await.unwrap_or_else(|err| Err(io::Error::other(err)));
    written.map(|()| 0).map_err(Error::io("write to standard output"))
}

/// Where these commands meet.
struct Place {
    socket: PathBuf,
    /// Who changes what is there has it locked.
    lock: PathBuf,
}

/// Who is there.
enum Found {
    /// A command that has the engine.
    Engine(UnixStream),
    /// Nobody: it is for us to have it.
    Nobody(UnixListener),
}

impl Place {
    /// Beside the socket that a daemon would have, in a directory that nobody else can enter.
    fn beside(daemon: &Path) -> Result<Self> {
        let directory = daemon.with_file_name("dhow-dial");
        let failed = || Error::io(format!("create {}", directory.display()));
        // Of the mode that the engine gives its own directory, of which this may be the first word.
        let mut state = DirBuilder::new();
        state.recursive(true).mode(0o711);
        state.create(daemon.parent().unwrap_or(daemon)).map_err(failed())?;
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(failed())?,
        }
        let found = directory.symlink_metadata();
        let found = found.map_err(Error::io(format!("stat {}", directory.display())))?;
        let own = rustix::process::geteuid().as_raw();
        if !found.is_dir() || found.uid() != own || found.mode() & 0o077 != 0 {
            let why = "is not a directory of this user's alone";
            return Err(Error::Usage(format!("{} {why}", directory.display())));
        }
        Ok(Self { socket: directory.join("engine.sock"), lock: directory.join("lock") })
    }

    /// Who is there; we are, where nobody was. Who has the engine and cannot take us yet, as so many have come, is
    /// waited for, and not with the lock, which that one may want.
    async fn find(&self) -> Result<Found> {
        loop {
            if let Some(found) = self.look().await? {
                return Ok(found);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The same, but for the wait: `None`.
    async fn look(&self) -> Result<Option<Found>> {
        match connect(&self.socket).await? {
            Seen::Engine(stream) => return Ok(Some(Found::Engine(stream))),
            Seen::Busy => return Ok(None),
            Seen::Nobody => {}
        }
        let _lock = self.locked()?;
        // Another may have been faster.
        match connect(&self.socket).await? {
            Seen::Engine(stream) => return Ok(Some(Found::Engine(stream))),
            Seen::Busy => return Ok(None),
            // One that was killed leaves its own.
            Seen::Nobody => self.remove()?,
        }
        let listening = UnixListener::bind(&self.socket);
        let failed = format!("listen on {}", self.socket.display());
        listening.map(|listener| Some(Found::Nobody(listener))).map_err(Error::io(failed))
    }

    /// Comes to the engine that is ours.
    async fn enter(&self) -> Result<UnixStream> {
        let gone = || failed(&self.socket, io::ErrorKind::NotFound.into());
        reach(&self.socket).await?.ok_or_else(gone)
    }

    /// Has nobody come any more: those who came before that, and were not taken yet.
    fn leave(&self, listener: &UnixListener) -> Result<Vec<UnixStream>> {
        let _lock = self.locked()?;
        self.remove()?;
        let failed = || Error::io(format!("accept on {}", self.socket.display()));
        // Asked of the kernel itself, which knows more than was told so far.
        let late = listener.as_fd().try_clone_to_owned().map_err(failed())?;
        let late = std::os::unix::net::UnixListener::from(late);
        let mut come = Vec::new();
        while let Ok((stream, _)) = late.accept() {
            stream.set_nonblocking(true).map_err(failed())?;
            come.push(UnixStream::from_std(stream).map_err(failed())?);
        }
        Ok(come)
    }

    fn remove(&self) -> Result<()> {
        match std::fs::remove_file(&self.socket) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(Error::io(format!("remove {}", self.socket.display()))),
        }
    }

    /// The lock, until it is dropped.
    fn locked(&self) -> Result<File> {
        let failed = || Error::io(format!("lock {}", self.lock.display()));
        let mut options = File::options();
        let opened = options.write(true).create(true).truncate(false).open(&self.lock);
        let file = opened.map_err(failed())?;
        let locked =
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive));
        locked.map_err(io::Error::from).map_err(failed())?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn the_first_has_the_engine_and_the_others_meet_there() {
        let base = std::env::temp_dir().join(format!("dhow-dial-{}", std::process::id()));
        let daemon = base.join("state/dhow.sock");
        let place = Place::beside(&daemon).unwrap();
        let mode = std::fs::metadata(base.join("state/dhow-dial")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // One that was killed has left its socket.
        drop(std::os::unix::net::UnixListener::bind(&place.socket).unwrap());
        let Found::Nobody(listener) = place.find().await.unwrap() else { panic!("who is there?") };
        for _ in 0..2 {
            let again = Place::beside(&daemon).unwrap();
            assert!(matches!(again.find().await.unwrap(), Found::Engine(_)));
        }
        // Both came, and were not taken. Who comes now finds nobody.
        assert_eq!(place.leave(&listener).unwrap().len(), 2);
        assert!(place.leave(&listener).unwrap().is_empty());
        assert!(matches!(place.find().await.unwrap(), Found::Nobody(_)));
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[tokio::test]
    async fn nobody_takes_the_place_of_one_who_is_busy() {
        let base = std::env::temp_dir().join(format!("dhow-dial-busy-{}", std::process::id()));
        let place = Place::beside(&base.join("dhow.sock")).unwrap();
        let Found::Nobody(listener) = place.find().await.unwrap() else { panic!("who is there?") };
        // So many that no more are taken until some were.
        rustix::net::listen(&listener, 0).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            match UnixStream::connect(&place.socket).await {
                Ok(stream) => waiting.push(stream),
                Err(err) => break err,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let mut found = pin!(place.find());
        let early = tokio::time::timeout(PAUSE, &mut found).await;
        assert!(early.is_err(), "the place was taken");
        // Nor is a daemon that is as busy taken for none.
        assert!(tokio::time::timeout(PAUSE, reach(&place.socket)).await.is_err());
        for _ in &waiting {
            listener.accept().await.unwrap();
        }
        assert!(matches!(found.await.unwrap(), Found::Engine(_)));
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn a_place_that_others_can_enter_is_none() {
        let base = std::env::temp_dir().join(format!("dhow-dial-open-{}", std::process::id()));
        let daemon = base.join("dhow.sock");
        Place::beside(&daemon).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&base) & 0o066, 0, "nobody else looks around in the engine's directory");
        let directory = base.join("dhow-dial");
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let why = Place::beside(&daemon).err().unwrap().to_string();
        assert!(why.ends_with("is not a directory of this user's alone"), "{why}");
        std::fs::remove_dir(&directory).unwrap();
        std::os::unix::fs::symlink("/", &directory).unwrap();
        assert!(Place::beside(&daemon).is_err());
        std::fs::remove_dir_all(&base).unwrap();
    }
}
