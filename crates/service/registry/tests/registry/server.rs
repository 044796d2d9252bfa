//! A scripted HTTP server on loopback: it keeps to the protocol exactly as far as a test wants.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// An answer, as truthful as the test wants.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What `Content-Length` says, where that is not the body's length.
    pub(crate) length: Option<usize>,
    /// Ends the connection after the body.
    pub(crate) cut: bool,
    /// Sends the head and the body, and then nothing for ever.
    pub(crate) stall: bool,
    /// Says nothing of a length, and ends with the connection.
    pub(crate) has_no_length: bool,
    /// Sends the body over and over.
    pub(crate) is_endless: bool,
    /// Sends the body byte by byte, with a pause after each.
    pub(crate) trickles: bool,
    /// Sends this in place of a head.
    pub(crate) head: Option<Vec<u8>>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: Vec::new(),
            body,
            length: None,
            cut: false,
            stall: false,
            has_no_length: false,
            is_endless: false,
            trickles: false,
            head: None,
        }
    }

    pub(crate) fn with<V: Into<Value>>(mut self, name: &str, value: V) -> Self {
        self.headers.push((name.into(), value.into().0));
        self
    }

    /// Sends the body without a word of its length.
    pub(crate) fn without_length(self) -> Self {
        Self { has_no_length: true, cut: true, ..self }
    }

    /// Sends the body over and over, as long as somebody takes it.
    pub(crate) fn endless(self) -> Self {
        Self { has_no_length: true, is_endless: true, cut: true, ..self }
    }

    /// Sends these bytes, and ends the connection.
    pub(crate) fn raw(bytes: &[u8]) -> Self {
        Self { head: Some(bytes.to_vec()), cut: true, ..Self::new(0, "") }
    }

    /// Announces the whole body, and sends `n` bytes of it.
    pub(crate) fn cut_after(mut self, n: usize) -> Self {
        self.length = Some(self.body.len());
        self.body.truncate(n);
        self.cut = true;
        self
    }
}

/// A header's value.
pub(crate) struct Value(String);

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self(text.clone())
    }
}

/// What a registry says when it says no.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::new(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
}

/// A running server, which ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    cut: Arc<Mutex<Option<Cut>>>,
    task: JoinHandle<()>,
}

/// The next request of this method is read as far as so many bytes of its body. The connection ends
/// then.
#[derive(Clone, Debug)]
struct Cut {
    method: String,
    n_bytes: usize,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    pub(crate) async fn start_at(
        address: &str,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(address, None, answer).await
    }

    /// With TLS, if there is something to do it with.
    pub(crate) async fn start_with(
        address: &str,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let cut = Arc::new(Mutex::new(None));
        let answer = Arc::new(answer);
        let task = tokio::spawn({
            let (log, cut) = (Arc::clone(&log), Arc::clone(&cut));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                    let cut = Arc::clone(&cut);
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        // A client that breaks off is part of most tests.
                        _ = match tls {
                            None => serve(stream, &log, &cut, &*answer).await,
                            Some(tls) => match tls.accept(stream).await {
                                Ok(stream) => serve(stream, &log, &cut, &*answer).await,
                                Err(error) => Err(error),
                            },
                        };
                    });
                }
            }
        });
        Self { address, log, cut, task }
    }

    /// Breaks off the next request of this method after so many bytes of its body.
    pub(crate) fn cut_next(&self, method: &str, n_bytes: usize) {
        *self.cut.lock().unwrap() = Some(Cut { method: method.into(), n_bytes });
    }

    /// `HOST:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Their first lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<Request>>,
    cut: &Mutex<Option<Cut>>,
    answer: &(dyn Fn(&Request) -> Reply + Send + Sync),
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let Some((request, is_cut)) = read(&mut stream, cut).await? else {
            // As servers answer what is no request.
            return stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await;
        };
        log.lock().unwrap().push(request.clone());
        let reply = answer(&request);
        if is_cut {
            return Ok(());
        }
        if let Some(head) = &reply.head {
            stream.write_all(head).await?;
            if reply.stall {
                std::future::pending::<()>().await;
            }
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Whatever\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = reply.length.unwrap_or(reply.body.len());
        if reply.has_no_length {
            head.push_str("Connection: close\r\n");
        } else if reply.status != 204 {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await?;
        if request.method != "HEAD" {
            if reply.trickles {
                for byte in &reply.body {
                    stream.write_all(&[*byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } else {
                stream.write_all(&reply.body).await?;
            }
            if reply.is_endless {
                // Until nobody takes it.
                loop {
                    stream.write_all(&reply.body).await?;
                }
            }
        }
        stream.flush().await?;
        if reply.stall {
            std::future::pending::<()>().await;
        }
        if reply.cut {
            return Ok(());
        }
    }
}

/// The next request; `None` where the client has no more, or speaks something else.
async fn read(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    cut: &Mutex<Option<Cut>>,
) -> io::Result<Option<(Request, bool)>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    let Ok(line) = String::from_utf8(line) else { return Ok(None) };
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    if version != "HTTP/1.1" {
        return Ok(None);
    }
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |text: &String| text.parse().unwrap());
    let is_meant = |cut: &mut Cut| cut.method == method && cut.n_bytes < length;
    let cut = cut.lock().unwrap().take_if(is_meant);
    let mut body = vec![0; cut.as_ref().map_or(length, |cut| cut.n_bytes)];
    stream.read_exact(&mut body).await?;
    Ok(Some((Request { method, target, headers, body }, cut.is_some())))
}
