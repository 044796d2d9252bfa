//! The daemon's listeners.

use std::{
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Gid, Mode},
    net::{AddressFamily, sockopt::socket_domain},
    process::umask,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

use crate::{Api, Bounds, scope::Scope};

mod tcp;

pub use tcp::Protection;

/// Why an address is not listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not an address.
    #[error("invalid address `{0}`: give unix:///PATH, or tcp://ADDRESS:PORT")]
    Address(String),
    /// Not an address of TCP.
    #[error("invalid address `{0}`: give tcp://ADDRESS:PORT, an address in numbers or localhost")]
    TcpAddress(String),
    /// What a socket allows makes no sense.
    #[error("--socket {socket}: {why}")]
    Scope {
        /// As it was given.
        socket: String,
        /// What is wrong.
        why: String,
    },
    /// A port without client certificates gives root to whoever reaches it.
    #[error(
        "{0}: whoever reaches this address would be root here: have clients verified by --tlsverify (with \
         --tlscacert, --tlscert and --tlskey), or say --tls=false or --tlsverify=false if that is meant"
    )]
    Open(SocketAddr),
    /// A port cannot be listened on.
    #[error("listen on {address}")]
    Port {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// systemd passed no socket.
    #[error("`fd://`: systemd has passed no socket: it is for a service with a socket unit")]
    NoneInherited,
    /// What systemd passed cannot be listened on.
    #[error("`fd://`: descriptor {number} is no unix socket, and no port, that listens")]
    Inherited {
        /// The descriptor's number.
        number: i32,
        /// Why it failed.
        source: io::Error,
    },
    /// A daemon answers there.
    #[error("`{0}`: another process answers there")]
    Taken(PathBuf),
    /// Something that is not a socket is there.
    #[error("`{0}`: exists and is no socket")]
    NotASocket(PathBuf),
    /// A system call failed.
    #[error("{doing} `{path}`")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// A socket that is listened on; its file, if it has one, is removed in the end.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    scope: Option<Arc<Scope>>,
}

#[derive(Debug)]
enum Socket {
    Unix {
        listener: UnixListener,
        path: PathBuf,
        /// Its file is another's.
        is_inherited: bool,
    },
    Tcp(tcp::Port),
}

/// A client that has come.
enum Client {
    Unix(UnixStream),
    Tcp(tcp::Client),
}

/// What an address means.
enum Place<'a> {
    File(PathBuf),
    Port(&'a str),
}

fn place(address: &str) -> Result<Place<'_>, ListenError> {
    let path = match address.split_once("://") {
        Some(("unix", path)) => path,
        Some(("tcp", port)) => return Ok(Place::Port(port)),
        Some(_) => return Err(ListenError::Address(address.to_owned())),
        None if address.contains(':') && !address.contains('/') => return Ok(Place::Port(address)),
        None => address,
    };
    // A relative path is a mistake, and an abstract name (`@NAME`) can be reached from every container that
    // shares the host's network (CVE-2020-15257).
    if !path.starts_with('/') {
        return Err(ListenError::Address(address.to_owned()));
    }
    Ok(Place::File(path.into()))
}

impl Listener {
    /// Listens on `unix:///PATH` (or a plain absolute path), or on `tcp://ADDRESS:PORT` (or that alone). The socket
    /// is `root:docker`, or `root:root` where there is no such group, with mode 0660; a socket that nobody answers on
    /// is replaced. A port is as `protection` says, and is refused where others than this machine would reach it
    /// unprotected. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is not one that can be served, is in use, or the socket cannot be made.
    pub fn bind(address: &str, protection: &Protection) -> Result<Self, ListenError> {
        let path = match place(address)? {
            Place::File(path) => path,
            Place::Port(port) => return Self::bind_port(address, port, protection),
        };
        make_room(&path)?;
        let failed = |doing, source| ListenError::Io { doing, path: path.clone(), source };

        // The socket is nobody else's from its first moment on (CVE-2014-3499). The umask is the
        // process's: files that other threads make in between are merely less open.
        let before = umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(&path);
        umask(before);
        let listener = bound.map_err(|err| failed("bind", err))?;
        if let Some(group) = docker_group() {
            rustix::fs::chown(&path, None, Some(group))
                .map_err(|err| failed("chown", err.into()))?;
        }
        fs::set_permissions(&path, Permissions::from_mode(0o660))
            .map_err(|err| failed("chmod", err))?;
        let socket = Socket::Unix { listener, path, is_inherited: false };
        Ok(Self { socket, scope: None })
    }

    /// Whether an address can be listened on, as far as it tells itself: nothing is opened.
    ///
    /// # Errors
    ///
    /// The address is not one that can be served.
    pub fn check(address: &str, protection: &Protection) -> Result<(), ListenError> {
        match place(address)? {
            Place::File(_) => Ok(()),
            Place::Port(port) => tcp::Port::address(address, port, protection).map(drop),
        }
    }

    fn bind_port(whole: &str, port: &str, protection: &Protection) -> Result<Self, ListenError> {
        let socket = Socket::Tcp(tcp::Port::bind(whole, port, protection)?);
        Ok(Self { socket, scope: None })
    }

    /// Listens on a socket that allows less than all: `ADDRESS,allow=GROUP`, with what [`Scope::parse`]
    /// knows, and for one that is a file `group=NAME` for the group that it belongs to (`root` else), and
    /// `mode=OCTAL` (0660 else). Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`], and where what is said of it makes no sense.
    pub fn bind_limited(socket: &str, protection: &Protection) -> Result<Self, ListenError> {
        let wrong = |why: String| ListenError::Scope { socket: socket.to_owned(), why };
        let mut words = socket.split(',');
        let address = words.next().unwrap_or_default();
        let (mut rest, mut group, mut mode) = (Vec::new(), None, None);
        for word in words {
            match word.split_once('=') {
                Some(("group", name)) => {
                    let found = gid(name).ok_or_else(|| wrong(format!("there is no group {name}")));
                    group = Some(found?);
                }
                Some(("mode", text)) => {
                    let read = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
                    let no_mode = || wrong(format!("mode={text} is no mode, such as 0660"));
                    mode = Some(read.ok_or_else(no_mode)?);
                }
                _ => rest.push(word),
            }
        }
        let scope = Scope::parse(rest).map_err(wrong)?;
        let mut listener = Self::bind(address, protection)?;
        listener.scope = Some(Arc::new(scope));
        let Some(path) = listener.path() else {
            if group.is_some() || mode.is_some() {
                return Err(wrong("group and mode are of sockets that are files".to_owned()));
            }
            return Ok(listener);
        };
        let (group, mode) = (group.unwrap_or(Gid::ROOT), mode.unwrap_or(0o660));
        let failed = |doing, source| ListenError::Io { doing, path: path.to_owned(), source };
        rustix::fs::chown(path, None, Some(group)).map_err(|err| failed("chown", err.into()))?;
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|err| failed("chmod", err))?;
        Ok(listener)
    }

    /// The sockets that systemd listens on for us (`fd://`): `sd_listen_fds(3)`. Ports among them are protected like
    /// others. Must be called within a tokio runtime, and once.
    ///
    /// # Errors
    ///
    /// There are none, or one is neither a unix socket nor a port that listens.
    pub fn inherited(protection: &Protection) -> Result<Vec<Self>, ListenError> {
        const FIRST: i32 = 3;
        let number =
            |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
        let ours = number("LISTEN_PID") == Some(std::process::id().cast_signed());
        let n_sockets = number("LISTEN_FDS").filter(|n| ours && *n > 0);
        let n_sockets = n_sockets.ok_or(ListenError::NoneInherited)?;
        let take_unix = |fd: std::os::fd::OwnedFd| -> io::Result<Socket> {
            let listener = std::os::unix::net::UnixListener::from(fd);
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            let path = address.as_pathname().map(Path::to_path_buf).unwrap_or_default();
            let listener = UnixListener::from_std(listener)?;
            Ok(Socket::Unix { listener, path, is_inherited: true })
        };
        let take = |number: i32| -> Result<Self, ListenError> {
            let failed = |source| ListenError::Inherited { number, source };
            let fd = sys::take_fd(number).map_err(|err| failed(err.errno().into()))?;
            let domain = socket_domain(&fd).map_err(|err| failed(err.into()))?;
            let socket = if matches!(domain, AddressFamily::INET | AddressFamily::INET6) {
                Socket::Tcp(tcp::Port::adopt(fd, protection)?)
            } else {
                take_unix(fd).map_err(failed)?
            };
            Ok(Self { socket, scope: None })
        };
        (FIRST..FIRST.saturating_add(n_sockets)).map(take).collect()
    }

    /// Its file; `None`: it is a port.
    pub fn path(&self) -> Option<&Path> {
        match &self.socket {
            Socket::Unix { path, .. } => Some(path),
            Socket::Tcp(_) => None,
        }
    }

    /// What a person should know of it, if anything: that whoever reaches it has the machine.
    pub fn warning(&self) -> Option<String> {
        match &self.socket {
            Socket::Unix { .. } => None,
            Socket::Tcp(port) => port.warning(),
        }
    }

    async fn accept(&self) -> io::Result<Client> {
        match &self.socket {
            Socket::Unix { listener, .. } => {
                listener.accept().await.map(|(stream, _)| Client::Unix(stream))
            }
            Socket::Tcp(port) => port.accept().await.map(Client::Tcp),
        }
    }
}

impl Client {
    async fn serve(self, api: Api, scope: Option<Arc<Scope>>) {
        match self {
            Self::Unix(stream) => {
                let bounds = Bounds { scope, ..Bounds::default() };
                crate::serve_within(api, bounds, stream).await;
            }
            Self::Tcp(client) => client.serve(api, scope).await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix { path, is_inherited: false, .. } = &self.socket {
            // It may be gone already, and there is nobody to tell.
            _ = fs::remove_file(path);
        }
    }
}

/// Serves every connection of all listeners until `shutdown` turns true; those that are open then
/// are cut: whatever runs in a container goes on.
///
/// # Errors
///
/// A listener broke.
pub async fn listen(
    api: Api,
    listeners: Vec<Listener>,
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (api, mut shutdown) = (api.clone(), shutdown.clone());
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                // The other side may be gone without a word: that, too, is the end.
                let stop = async { _ = shutdown.wait_for(|stop| *stop).await.is_ok() };
                tokio::select! {
                    () = stop => return Ok(()),
                    Some(_) = connections.join_next(), if !connections.is_empty() => {}
                    accepted = listener.accept() => match accepted {
                        Ok(client) => {
                            connections.spawn(client.serve(api.clone(), listener.scope.clone()));
                        }
                        Err(err) if passes(&err) => {
                            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        }
                        Err(err) => return Err(err),
                    },
                }
            }
        });
    }
    while let Some(ended) = accepting.join_next().await {
        ended.unwrap_or_else(|err| Err(io::Error::other(err)))?;
    }
    Ok(())
}

/// Whether accepting may succeed again later: the client left, the network has trouble, or descriptors ran out
/// (accept(2)).
fn passes(err: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(err),
        Some(
            Errno::CONNABORTED
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
                | Errno::NOBUFS
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
        )
    )
}

/// Makes the directory, and takes a socket away that nobody answers on.
fn make_room(path: &Path) -> Result<(), ListenError> {
    let failed = |doing, source| ListenError::Io { doing, path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|err| failed("create the directory of", err))?;
    }
    match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(failed("stat", err)),
        Ok(found) if !found.file_type().is_socket() => {
            Err(ListenError::NotASocket(path.to_owned()))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|err| failed("remove", err))
            }
            _ => Err(ListenError::Taken(path.to_owned())),
        },
    }
}

fn docker_group() -> Option<Gid> {
    gid("docker")
}

/// A group by its name, or its number.
fn gid(name: &str) -> Option<Gid> {
    if let Ok(number) = name.parse::<u32>() {
        // The last one means none.
        return (number != u32::MAX).then(|| Gid::from_raw(number));
    }
    let groups = fs::read_to_string("/etc/group").ok()?;
    let is = |line: &&str| line.split(':').next() == Some(name);
    groups.lines().find(is)?.split(':').nth(2)?.parse().ok().map(Gid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(address: &str) -> Result<Listener, ListenError> {
        Listener::bind(address, &Protection::default())
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("dhow-listen-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn address(&self, name: &str) -> String {
            format!("unix://{}", self.0.join(name).display())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_and_its_groups_only() {
        let folder = Folder::new("mode");
        let listener = bind(&folder.address("new/d.sock")).unwrap();
        let path = listener.path().unwrap().to_owned();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_answers_on_is_replaced() {
        let folder = Folder::new("stale");
        let address = folder.address("d.sock");
        let first = bind(&address).unwrap();
        assert!(matches!(bind(&address), Err(ListenError::Taken(_))));
        drop(first);
        // As if its process had been killed: the file stays, nobody listens.
        drop(std::os::unix::net::UnixListener::bind(folder.0.join("d.sock")).unwrap());
        assert!(folder.0.join("d.sock").exists());
        bind(&address).unwrap();
        fs::write(folder.0.join("file"), "").unwrap();
        let found = bind(&folder.address("file"));
        assert!(matches!(found, Err(ListenError::NotASocket(_))));
    }

    #[tokio::test]
    async fn what_is_not_safe_is_refused() {
        for address in [
            "tcp://0.0.0.0:0",
            "0.0.0.0:0",
            "tcp://[::]:0",
            "tcp://example.com:0",
            "fd://",
            "unix://@name",
            "unix://rel",
            "",
            "http://x",
        ] {
            assert!(bind(address).is_err(), "{address}");
        }
        let limited = "tcp://127.0.0.1:0,allow=read,mode=0666";
        assert!(Listener::bind_limited(limited, &Protection::default()).is_err());
    }

    #[tokio::test]
    async fn a_port_says_who_gets_in() {
        let listener = bind("tcp://127.0.0.1:0").unwrap();
        assert!(listener.path().is_none());
        assert!(listener.warning().unwrap().contains("without encryption"));
        let waived = Protection { tls: None, is_waived: true };
        Listener::bind("tcp://0.0.0.0:0", &waived).unwrap();
    }
}
