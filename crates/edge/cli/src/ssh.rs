//! Engines behind ssh, as Docker's client reaches them: `ssh HOST docker system dial-stdio` is a connection, its
//! standard input and output are the two directions. Whatever `docker` is there, dhow maybe, speaks to the engine.

use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

const SCHEME: &str = "ssh://";
/// The most that is kept of what ssh complains of, in bytes.
const COMPLAINT: usize = 8 << 10;
/// How long a complaint is waited for when ssh has ended: what it has left in the background may have the pipe.
const GRACE: Duration = Duration::from_millis(200);

/// An engine at `ssh://[USER@]HOST[:PORT][/PATH]`, where PATH is that of its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    address: String,
    user: Option<String>,
    host: String,
    port: Option<String>,
    path: String,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl Remote {
    /// Takes an address apart.
    ///
    /// # Errors
    ///
    /// It is none: why, for people. A host or a user that `ssh` or a shell could take for something else is none
    /// either.
    pub(crate) fn parse(address: &str) -> Result<Self, String> {
        let parsed = Self::taken_apart(address);
        parsed.map_err(|why| format!("ssh host connection is not valid: invalid SSH URL: {why}"))
    }

    fn taken_apart(address: &str) -> Result<Self, String> {
        let rest = address.strip_prefix(SCHEME).ok_or("no scheme provided")?;
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        if !fragment.is_empty() {
            return Err(format!("fragments are not allowed: {fragment:?}"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !query.is_empty() {
            return Err(format!("query parameters are not allowed: {query:?}"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => {
                return Err("plain-text password is not supported".to_owned());
            }
            Some((user, place)) => (decoded(user)?, place),
            None => (String::new(), authority),
        };
        let (host, port) = host_and_port(place)?;
        if host.is_empty() {
            return Err("hostname is empty".to_owned());
        }
        if is_odd(host, "\\$") {
            return Err(format!("{host:?} is no name of a host"));
        }
        if is_odd(&user, "") {
            return Err(format!("{user:?} is no name of a user"));
        }
        let path = decoded(path)?;
        if path.contains('\0') {
            return Err(format!("{path:?} is no path"));
        }
        Ok(Self {
            address: address.to_owned(),
            user: Some(user).filter(|user| !user.is_empty()),
            host: host.to_owned(),
            port: port.map(str::to_owned),
            path,
        })
    }

    /// What `ssh` is given.
    fn arguments(&self) -> Vec<String> {
        let mut words: Vec<&str> = vec!["-o", "ConnectTimeout=30", "-T"];
        if let Some(user) = &self.user {
            words.extend(["-l", user.as_str()]);
        }
        if let Some(port) = &self.port {
            words.extend(["-p", port.as_str()]);
        }
        words.extend(["--", self.host.as_str(), "docker"]);
        let socket = quoted(&format!("unix://{}", self.path));
        if !self.path.trim_matches('/').is_empty() {
            words.extend(["--host", socket.as_str()]);
        }
        words.extend(["system", "dial-stdio"]);
        words.into_iter().map(str::to_owned).collect()
    }

    /// Connects to the engine.
    ///
    /// # Errors
    ///
    /// `ssh` cannot be run. That it does not get there is told by the connection.
    pub(crate) fn connect(&self) -> io::Result<Connection> {
        let mut command = Command::new("ssh");
        command.args(self.arguments());
        let words = format!("ssh {}", self.arguments().join(" "));
        Connection::start(command, words)
    }
}

/// A host and its port, if it says one.
fn host_and_port(place: &str) -> Result<(&str, Option<&str>), String> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("missing ']' in host")?;
            if !port.is_empty() && !port.starts_with(':') {
                return Err(format!("invalid port {port:?} after host"));
            }
            (host, port.strip_prefix(':'))
        }
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.filter(|port| !port.is_empty());
    match port {
        Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("invalid port {port:?} after host"))
        }
        _ => Ok((host, port)),
    }
}

/// Whether `ssh` could take a name for an option, or a shell for more than a name. OpenSSH refuses about the same.
fn is_odd(name: &str, more: &str) -> bool {
    let is_odd = |c: char| {
        c.is_whitespace() || c.is_control() || "'`\";&<>|(){},".contains(c) || more.contains(c)
    };
    name.starts_with('-') || name.contains(is_odd)
}

/// A part of an address without its percent signs.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("invalid URL escape in {text:?}");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// A word for the shell on the other machine.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+=@%,".contains(c);
    if word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A program that is a connection.
pub(crate) struct Connection {
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// How the program ended, in words. `None`: that was told.
    ended: Option<JoinHandle<String>>,
    has_read: bool,
}

impl Connection {
    fn start(mut command: Command, words: String) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What a terminal sends is ours to pass on, by this very connection.
        sys::in_own_session(command.as_std_mut());
        let mut child = command.kill_on_drop(true).spawn().map_err(|err| {
            let program = command.as_std().get_program().display();
            io::Error::new(err.kind(), format!("run {program}: {err}"))
        })?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = streams else {
            return Err(io::Error::other(format!("{words}: no pipes")));
        };
        let ended = Some(tokio::spawn(watch(child, errors, words)));
        Ok(Self { input: Some(input), output, ended, has_read: false })
    }
}

/// Waits for a program's end, and tells of it.
async fn watch(mut child: Child, errors: ChildStderr, words: String) -> String {
    let mut complaint = Vec::new();
    let status = {
        let mut reading = pin!(read(errors, &mut complaint));
        tokio::select! {
            status = child.wait() => {
                let _ = tokio::time::timeout(GRACE, &mut reading).await;
                status
            }
            () = &mut reading => child.wait().await,
        }
    };
    let status = match status {
        Ok(status) => status.to_string(),
        Err(err) => err.to_string(),
    };
    format!(
        "command [{words}] has exited with {status}, make sure the URL is valid, and that docker is installed \
         on the remote host: stderr={}",
        String::from_utf8_lossy(&complaint).trim_end()
    )
}

/// Reads what a program complains of to its end, and keeps the first of it.
async fn read(mut errors: ChildStderr, complaint: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    while let Ok(n_read @ 1..) = errors.read(&mut buffer).await {
        let room = COMPLAINT.saturating_sub(complaint.len());
        complaint.extend_from_slice(&buffer[..n_read.min(room)]);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The program is killed with the task that has it.
        if let Some(ended) = &self.ended {
            ended.abort();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, has_read) = (buffer.filled().len(), self.has_read);
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.output).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.has_read = true;
            return Poll::Ready(Ok(()));
        }
        // One that ends before it has said anything never got there.
        let Some(ended) = self.ended.as_mut().filter(|_| !has_read) else {
            return Poll::Ready(Ok(()));
        };
        let how = ready!(Pin::new(ended).poll(context));
        self.ended = None;
        Poll::Ready(Err(io::Error::other(how.unwrap_or_else(|err| err.to_string()))))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let has_read = self.has_read;
        let Some(input) = &mut self.input else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        match ready!(Pin::new(input).poll_write(context, bytes)) {
            // Why it has ended already is told to who reads.
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe && !has_read => {
                Poll::Ready(Ok(bytes.len()))
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The end of input is the end of the pipe.
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn what_ssh_is_given() {
        for (address, want) in [
            ("ssh://h", "-- h docker system dial-stdio"),
            ("ssh://h/", "-- h docker system dial-stdio"),
            ("ssh://me@h:22", "-l me -p 22 -- h docker system dial-stdio"),
            ("ssh://[::1]:22", "-p 22 -- ::1 docker system dial-stdio"),
            ("ssh://h:", "-- h docker system dial-stdio"),
            ("ssh://a%40b@h", "-l a@b -- h docker system dial-stdio"),
            ("ssh://h/run/x.sock", "-- h docker --host unix:///run/x.sock system dial-stdio"),
            ("ssh://h/a%20b/it's", "-- h docker --host 'unix:///a b/it'\\''s' system dial-stdio"),
        ] {
            let words = Remote::parse(address).unwrap().arguments().join(" ");
            assert_eq!(words, format!("-o ConnectTimeout=30 -T {want}"), "{address}");
        }
    }

    #[test]
    fn odd_addresses_are_refused() {
        for (address, want) in [
            ("ssh://", "hostname is empty"),
            ("ssh://me@", "hostname is empty"),
            ("ssh://:22", "hostname is empty"),
            ("ssh://-oProxyCommand=x", "is no name of a host"),
            ("ssh://h;x", "is no name of a host"),
            ("ssh://$(x)", "is no name of a host"),
            ("ssh://a b", "is no name of a host"),
            ("ssh://[::1", "missing ']'"),
            ("ssh://[::1]x", "invalid port \"x\" after host"),
            ("ssh://-l@h", "is no name of a user"),
            ("ssh://a%20b@h", "is no name of a user"),
            ("ssh://me:pw@h", "plain-text password is not supported"),
            ("ssh://h:x", "invalid port \"x\" after host"),
            ("ssh://h?x=1", "query parameters are not allowed: \"x=1\""),
            ("ssh://h#f", "fragments are not allowed: \"f\""),
            ("ssh://h/%zz", "invalid URL escape"),
            ("ssh://h/%00", "is no path"),
        ] {
            let why = Remote::parse(address).unwrap_err();
            assert!(why.starts_with("ssh host connection is not valid: "), "{address}: {why}");
            assert!(why.contains(want), "{address}: {why}");
        }
    }

    fn connection(script: &str) -> Connection {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Connection::start(command, "ssh h".to_owned()).unwrap()
    }

    #[tokio::test]
    async fn a_program_is_a_connection() {
        let mut cat = connection("cat; exit 3");
        cat.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        cat.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        cat.shutdown().await.unwrap();
        assert_eq!(cat.read(&mut answer).await.unwrap(), 0);
        assert!(cat.write_all(b"more").await.is_err());
    }

    /// Ctrl-C is passed on to a container by the connection that it would end.
    #[tokio::test]
    async fn a_terminal_does_not_interrupt_it() {
        let mut own = connection("read -r _ _ _ _ _ session _ < /proc/$$/stat; echo $session $$");
        let mut said = String::new();
        own.read_to_string(&mut said).await.unwrap();
        let (session, pid) = said.trim_end().split_once(' ').unwrap();
        assert_eq!(session, pid);
    }

    #[tokio::test]
    async fn one_that_does_not_get_there_says_why() {
        for script in [
            "echo no such host >&2; exit 255",
            "exec >&-; sleep 0.1; echo no such host >&2; exit 255",
        ] {
            let mut failed = connection(script);
            // Whether it has ended meanwhile or not.
            failed.write_all(b"GET").await.unwrap();
            let why = failed.read(&mut [0; 5]).await.unwrap_err().to_string();
            let want = "command [ssh h] has exited with exit status: 255, make sure";
            assert!(why.starts_with(want) && why.ends_with("stderr=no such host"), "{why}");
        }
        let missing = Connection::start(Command::new("/no/such/ssh"), String::new()).err().unwrap();
        assert!(missing.to_string().starts_with("run /no/such/ssh: "), "{missing}");
    }
}
