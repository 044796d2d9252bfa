//! A WebSocket (RFC 6455) as a byte stream: what comes in the client's messages is read, what is
//! written goes out in messages.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use data_encoding::BASE64;
use hyper::{
    Response,
    header::{
        HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        UPGRADE,
    },
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    connection::{EndOfInput, Io},
    sha1::sha1,
};

/// Section 1.3.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const LAST: u8 = 0x80;
/// The longest that a control frame's payload may be, section 5.5.
const MAX_CONTROL: usize = 125;
const READ_BYTES: usize = 8 << 10;

/// The head of the answer to a client that asks for a WebSocket; `None` where it asks for none.
pub(crate) fn accept(request: &HeaderMap) -> Option<Response<()>> {
    let upgrade = request.get(UPGRADE)?.to_str().ok()?;
    if !upgrade.split(',').any(|one| one.trim().eq_ignore_ascii_case("websocket")) {
        return None;
    }
    if request.get("sec-websocket-version")? != "13" {
        return None;
    }
    let key = request.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let answer = BASE64.encode(&sha1(format!("{key}{KEY_SUFFIX}").as_bytes()));
    let mut head = Response::new(());
    let headers = head.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&answer).ok()?);
    // The first of those that it offers: to us they are all the same.
    let protocol = request.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    if let Some(first) = protocol.and_then(|all| all.split(',').next())
        && let Ok(value) = HeaderValue::from_str(first.trim())
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    Some(head)
}

/// The frame of a message that is being read.
#[derive(Debug, Default)]
struct Incoming {
    opcode: u8,
    mask: [u8; 4],
    /// How many bytes of it have been read.
    at: u64,
    length: u64,
}

/// One client.
pub(crate) struct WebSocket {
    inner: Box<dyn Io>,
    /// What has come and was not looked at.
    input: BytesMut,
    frame: Option<Incoming>,
    /// What counts as written.
    output: BytesMut,
    opcode: u8,
    /// No more comes from the client.
    ended: bool,
    closed: bool,
}

impl WebSocket {
    /// Output goes in messages of bytes, or of text, as older versions of the API have it.
    pub(crate) fn new(inner: Box<dyn Io>, binary: bool) -> Self {
        Self {
            inner,
            input: BytesMut::new(),
            frame: None,
            output: BytesMut::new(),
            opcode: if binary { BINARY } else { TEXT },
            ended: false,
            closed: false,
        }
    }

    fn put(&mut self, opcode: u8, payload: &[u8]) {
        self.output.extend_from_slice(&[LAST | opcode]);
        match payload.len() {
            length @ 0..=MAX_CONTROL => self.output.extend_from_slice(&[length as u8]),
            length @ 126..=0xffff => {
                self.output.extend_from_slice(&[126]);
                self.output.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                self.output.extend_from_slice(&[127]);
                self.output.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        self.output.extend_from_slice(payload);
    }

    /// Says goodbye, once: with a status of section 7.4.
    fn close(&mut self, status: u16) {
        if !self.closed {
            self.put(CLOSE, &status.to_be_bytes());
            self.closed = true;
        }
        self.ended = true;
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.output))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(n);
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// The head of the next frame, once it is whole.
    fn head(&mut self) -> Option<Incoming> {
        let &[first, second, ..] = &self.input[..] else { return None };
        let (extended, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            length => (0, u64::from(length)),
        };
        let size = 2 + extended + 4;
        if self.input.len() < size {
            return None;
        }
        let long = self.input[2..2 + extended].iter().fold(0, |n, b| n << 8 | u64::from(*b));
        let length = if extended == 0 { short } else { long };
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.input[2 + extended..size]);
        self.input.advance(size);
        let opcode = first & 0x0f;
        // A client masks what it sends, nothing was agreed on that would use the reserved bits, and
        // a control frame is short and whole.
        let control = opcode >= CLOSE;
        let wrong = second & 0x80 == 0
            || first & 0x70 != 0
            || !matches!(opcode, 0..=BINARY | CLOSE..=PONG)
            || control && (length > MAX_CONTROL as u64 || first & LAST == 0);
        if wrong {
            self.close(1002);
            return None;
        }
        Some(Incoming { opcode, mask, at: 0, length })
    }

    /// Takes what has come apart, until there is something for the reader.
    fn advance(&mut self, to: &mut ReadBuf<'_>) {
        while !self.ended && to.remaining() > 0 {
            let Some(mut frame) = self.frame.take().or_else(|| self.head()) else { return };
            if frame.opcode >= CLOSE {
                let length = frame.length as usize;
                if self.input.len() < length {
                    self.frame = Some(frame);
                    return;
                }
                let mut payload = self.input.split_to(length);
                unmask(&mut payload, &mut frame);
                match frame.opcode {
                    PING => self.put(PONG, &payload),
                    CLOSE => self.close(1000),
                    _ => {}
                }
                continue;
            }
            let left = usize::try_from(frame.length - frame.at).unwrap_or(usize::MAX);
            let n = left.min(self.input.len()).min(to.remaining());
            let mut payload = self.input.split_to(n);
            unmask(&mut payload, &mut frame);
            to.put_slice(&payload);
            if frame.at < frame.length {
                self.frame = Some(frame);
                if self.input.is_empty() {
                    return;
                }
            }
        }
    }
}

fn unmask(payload: &mut [u8], frame: &mut Incoming) {
    for byte in payload {
        *byte ^= frame.mask[(frame.at % 4) as usize];
        frame.at += 1;
    }
}

impl Io for WebSocket {
    fn socket(&self) -> Option<OwnedFd> {
        self.inner.socket()
    }

    fn end_of_input(&self) -> EndOfInput {
        self.inner.end_of_input()
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            self.advance(buf);
            // An answer to a ping, or to a goodbye; what does not go now goes with the output.
            if let Poll::Ready(Err(err)) = self.drain(cx) {
                return Poll::Ready(Err(err));
            }
            if buf.filled().len() > before || self.ended || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut piece = [0; READ_BYTES];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                self.ended = true;
            }
            self.input.extend_from_slice(piece.filled());
        }
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.drain(cx))?;
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let opcode = self.opcode;
        self.put(opcode, buf);
        // It counts as written; what does not go now goes before the next.
        if let Poll::Ready(Err(err)) = self.drain(cx) {
            return Poll::Ready(Err(err));
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close(1000);
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex},
        time::timeout,
    };

    use super::*;

    impl Io for BufWriter<DuplexStream> {}

    /// A frame of a client, with a mask.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![first, 0x80 | payload.len() as u8];
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    #[test]
    fn the_answer_to_a_key() {
        let mut request = HeaderMap::new();
        assert!(accept(&request).is_none());
        for (name, value) in [
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            request.insert(name, HeaderValue::from_static(value));
        }
        // Of section 1.3.
        let head = accept(&request).unwrap();
        assert_eq!(head.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        request.insert("sec-websocket-version", HeaderValue::from_static("8"));
        assert!(accept(&request).is_none());
    }

    #[tokio::test]
    async fn messages_are_a_stream_both_ways() {
        // One byte: every read and write is partial.
        for buffer in [1, 4096] {
            let (mut client, server) = duplex(buffer);
            let server = tokio::spawn(async move {
                let mut socket = WebSocket::new(Box::new(server), true);
                let mut read = Vec::new();
                socket.read_to_end(&mut read).await.unwrap();
                socket.shutdown().await.unwrap();
                read
            });
            let sent = [
                frame(TEXT, b"hel"),
                frame(LAST | PING, b"?"),
                frame(LAST, b"lo "),
                frame(LAST | BINARY, b"world"),
                frame(LAST | CLOSE, &1000_u16.to_be_bytes()),
            ];
            client.write_all(&sent.concat()).await.unwrap();
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(server.await.unwrap(), b"hello world");
            assert!(got.starts_with(&[LAST | PONG, 1, b'?']), "{got:?}");
        }
    }

    #[tokio::test]
    async fn output_goes_in_messages_and_ends_with_a_goodbye() {
        let (mut client, server) = duplex(1 << 20);
        let mut socket = WebSocket::new(Box::new(server), false);
        socket.write_all(b"hi").await.unwrap();
        socket.write_all(&[b'x'; 300]).await.unwrap();
        socket.write_all(&vec![b'y'; 70_000]).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert!(got.starts_with(&[LAST | TEXT, 2, b'h', b'i', LAST | TEXT, 126, 1, 44, b'x']));
        assert_eq!(got[308..318], [LAST | TEXT, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
        assert!(got.ends_with(&[b'y', LAST | CLOSE, 2, 3, 0xe8]));
    }

    /// A stream of TLS may hold back what was written to it.
    #[tokio::test]
    async fn what_is_flushed_is_on_its_way() {
        let (mut client, server) = duplex(4096);
        let mut socket = WebSocket::new(Box::new(BufWriter::new(server)), false);
        socket.write_all(b"hi").await.unwrap();
        socket.flush().await.unwrap();
        let mut got = [0; 4];
        timeout(Duration::from_secs(9), client.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(got, [LAST | TEXT, 2, b'h', b'i']);
    }

    #[tokio::test]
    async fn what_is_not_the_protocol_ends_it() {
        let unmasked = vec![LAST | BINARY, 1, b'x', 0, 0, 0, 0];
        for wrong in [unmasked, frame(LAST | 0x40 | BINARY, b"x"), frame(PING, b"x")] {
            let (mut client, server) = duplex(4096);
            client.write_all(&wrong).await.unwrap();
            let mut socket = WebSocket::new(Box::new(server), true);
            let mut read = Vec::new();
            socket.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, b"");
            let mut goodbye = [0; 4];
            client.read_exact(&mut goodbye).await.unwrap();
            assert_eq!(goodbye, [LAST | CLOSE, 2, 3, 0xea]);
        }
    }
}
