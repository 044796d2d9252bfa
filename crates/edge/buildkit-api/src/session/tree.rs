//! Directories over a session: fsutil's transfers, whose files are read and written by a thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use build::SentTree;
use buildkit::fsutil::{Packet, packet::PacketType};
use dockerfile::ignore::Patterns;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tonic::Streaming;

use crate::fsutil::told::Receiving;
use crate::fsutil::{Error, Received, Sender, packet};

/// Packets between the connection and the thread: each is a piece of a file at most.
const PACKETS: usize = 32;
/// How often it is told how far a transfer is: as often as a person can read.
const TELL: Duration = Duration::from_millis(100);

/// Receives a tree into `into`, or, with `told_only`, what is told of it, and the files that these patterns name; `tell` is
/// told now and then how many bytes have come.
pub(super) async fn receive(
    into: &Path,
    told_only: Option<&[String]>,
    mut incoming: Streaming<Packet>,
    outgoing: UnboundedSender<Packet>,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<Received, String> {
    let files = told_only.map(Patterns::new).transpose().map_err(|error| error.to_string())?;
    let n_sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&n_sent);
    let (packets, mut come) = mpsc::channel::<Packet>(PACKETS);
    let into = into.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let answer = || -> Result<Received, Error> {
            let mut receiver = Receiving::new(&into, files)?;
            while let Some(packet) = come.blocking_recv() {
                if let Some(answer) = receiver.take(packet)? {
                    // A sender that has gone is noticed when nothing comes any more.
                    _ = outgoing.send(answer);
                }
                counted.store(receiver.n_bytes_sent(), Relaxed);
                if let Some(received) = receiver.received() {
                    return Ok(received);
                }
            }
            Err(Error::Ended)
        };
        let answered = answer();
        if let Err(error) = &answered {
            let data = error.to_string().into_bytes().into();
            _ = outgoing.send(Packet { data, ..packet(PacketType::PacketErr, 0) });
        }
        answered
    });
    let mut told = None;
    let mut last = Instant::now();
    while !packets.is_closed() {
        match incoming.message().await {
            Ok(Some(packet)) if packet.r#type == i32::from(PacketType::PacketFin) => break,
            Ok(Some(packet)) => {
                if packets.send(packet).await.is_err() {
                    break;
                }
                if last.elapsed() > TELL {
                    last = Instant::now();
                    tell(n_sent.load(Relaxed));
                }
            }
            Ok(None) => break,
            Err(status) => {
                told = Some(status.message().to_owned());
                break;
            }
        }
    }
    drop(packets);
    match work.await {
        Ok(Ok(received)) => Ok(received),
        Ok(Err(Error::Ended)) => Err(told.unwrap_or_else(|| Error::Ended.to_string())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Sends trees, as one.
pub(super) fn send(
    trees: &[SentTree],
    time: Option<i64>,
    outgoing: &mpsc::Sender<Packet>,
    mut asked: UnboundedReceiver<Packet>,
) -> Result<(), Error> {
    let mut tell = |packet| outgoing.blocking_send(packet).is_ok();
    let mut answer = || {
        let mut sender = Sender::new(trees)?.dated(time);
        sender.walk(&mut tell)?;
        while let Some(asked) = asked.blocking_recv() {
            match PacketType::try_from(asked.r#type) {
                Ok(PacketType::PacketReq) => sender.send(asked.id, &mut tell)?,
                Ok(PacketType::PacketFin) => {
                    tell(packet(PacketType::PacketFin, 0));
                    return Ok(());
                }
                Ok(PacketType::PacketErr) => {
                    let text = String::from_utf8_lossy(&asked.data);
                    return Err(Error::Told(format!("error from receiver: {text}")));
                }
                _ => return Err(Error::Packet(asked.r#type)),
            }
        }
        Err(Error::Ended)
    };
    let answered = answer();
    if let Err(error) = &answered {
        let data = error.to_string().into_bytes().into();
        tell(Packet { data, ..packet(PacketType::PacketErr, 0) });
    }
    answered
}
