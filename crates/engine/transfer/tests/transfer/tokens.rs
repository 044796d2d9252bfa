//! Token servers that do not do as they should.

use std::sync::Arc;

use transfer::Class::{Denied, Invalid, NotFound, Unavailable};

use crate::server::{Reply, Request, Server, error};
use crate::shelf::Shelf;
use crate::{Home, image, tar, told};

#[tokio::test]
async fn a_token_server_that_lies_changes_nothing() {
    let good = Reply::new(200, r#"{"token":"T"}"#);
    let home = Home::new("tokens");
    for (nth, (reply, class, want)) in [
        (Reply::new(200, "{\"token\":\"").endless(), Invalid, "a token of more than 1048576 bytes"),
        (Reply::new(200, "<html>"), Invalid, "authorization server did not include a token in the response"),
        (Reply::new(200, "{}"), Invalid, "authorization server did not include a token in the response"),
        (Reply::new(200, r#"{"token":"a\nb"}"#), Invalid, "credentials: they hold characters that no header may"),
        (Reply::new(500, "<html>"), Unavailable, "received unexpected HTTP status: 500 Internal Server Error"),
        (error(429, "TOOMANYREQUESTS", "too many failed login attempts"), Unavailable, "toomanyrequests: too many failed login attempts"),
        (Reply::new(403, r#"{"details":"you are blocked"}"#), NotFound, "pull access denied for HOST/a/b"),
        (Reply::new(401, r#"{"details":"who are you"}"#), Denied, "who are you"),
        (Reply::new(200, r#"{"token":"another"}"#), NotFound, "pull access denied for HOST/a/b, repository does not exist or may require 'docker login': denied: "),
        (Reply { stall: true, ..good.clone().cut_after(3) }, Unavailable, "no answer within 2 s"),
        (good.clone().cut_after(3), Unavailable, "the connection broke"),
        (Reply::new(302, "").with("Location", "file:///etc/passwd"), Invalid, "302 Found"),
    ]
    .into_iter()
    .enumerate()
    {
        let lies = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let tokens = Server::start({
            let (lies, good) = (Arc::clone(&lies), good.clone());
            move |_| if lies.load(std::sync::atomic::Ordering::Relaxed) { reply.clone() } else { good.clone() }
        })
        .await;
        let realm = format!("http://{}/token", tokens.host());
        let shelf = Shelf::default();
        image(&shelf, "1", &[tar("a", &[nth as u8])]);
        let server = Server::start(move |request: &Request| match request.header("authorization") {
            Some("Bearer T") => shelf.answer(request),
            _ => Reply::new(401, "").with("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")),
        })
        .await;
                let host = server.host();
        let name = format!("{host}/a/b:1");
        let result = home.pull(&name).await;
        let found = result.as_ref().map_err(transfer::Error::class).err();
        let said = told(result);
        assert!(said.contains(&want.replace("HOST", &host)), "{want}: {said}");
        assert_eq!(found, Some(class), "{said}");
        home.check(want);
        lies.store(false, std::sync::atomic::Ordering::Relaxed);
        home.pull(&name).await.unwrap();
        home.check(want);
    }
}
