//! Connections, driven with bytes.

use std::sync::Arc;

use bytes::Bytes;
use expect_test::{Expect, expect};
use hyper::{Request, Response, body::Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    body::ReplyBody,
    connection::{Answer, Service, serve},
};

/// Echoes what comes after `POST /echo`; says `hello` otherwise.
struct Echo;

impl Service for Echo {
    async fn call(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() != "/echo" {
            return Answer::Reply(Response::new(ReplyBody::Whole(Bytes::from("hello"))));
        }
        let head = Response::builder().header("Content-Type", "raw").body(()).unwrap();
        Answer::TakeOver(
            head,
            Box::new(|io| {
                Box::pin(async move {
                    let (mut from, mut to) = tokio::io::split(io);
                    let mut all = Vec::new();
                    from.read_to_end(&mut all).await.unwrap();
                    to.write_all(&all).await.unwrap();
                    to.shutdown().await.unwrap();
                })
            }),
        )
    }
}

/// Sends the pieces, closes the writing side, and shows what comes back.
async fn check(pieces: &[&str], want: Expect) {
    // One byte: every write is partial.
    for buffer in [1, 4096] {
        let (client, server) = tokio::io::duplex(buffer);
        let served = tokio::spawn(serve(Arc::new(Echo), server, None));
        let (mut from, mut to) = tokio::io::split(client);
        let pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        let sent = tokio::spawn(async move {
            for piece in pieces {
                to.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            to.shutdown().await.unwrap();
        });
        let mut got = String::new();
        from.read_to_string(&mut got).await.unwrap();
        sent.await.unwrap();
        served.await.unwrap().unwrap();
        let shown: String =
            got.lines().filter(|line| !line.starts_with("Date:")).collect::<Vec<_>>().join("\n");
        want.assert_eq(&shown);
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    check(
        &["GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "GET /b HTTP/1.1\r\nHost: x\r\n\r\n"],
        expect![[r"
            HTTP/1.1 200 OK
            Content-Length: 5

            helloHTTP/1.1 200 OK
            Content-Length: 5

            hello"]],
    )
    .await;
}

#[tokio::test]
async fn an_upgrade_is_answered_as_dockerd_does() {
    check(
        &[
            "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
            "to be echoed",
        ],
        expect![[r"
            HTTP/1.1 101 UPGRADED
            Content-Type: raw
            Connection: Upgrade
            Upgrade: tcp

            to be echoed"]],
    )
    .await;
}

#[tokio::test]
async fn a_client_that_asks_for_no_upgrade_gets_a_raw_stream() {
    check(
        &["POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "to be echoed"],
        expect![[r"
            HTTP/1.1 200 OK
            Content-Type: raw

            to be echoed"]],
    )
    .await;
}

#[tokio::test]
async fn input_may_end_before_the_answer() {
    check(
        &["POST /echo HTTP/1.1\r\nHost: x\r\n\r\n"],
        expect![[r"
            HTTP/1.1 200 OK
            Content-Type: raw
        "]],
    )
    .await;
}
