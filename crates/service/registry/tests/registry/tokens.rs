use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use registry::{Class, Credentials, Registry};

use crate::server::{Reply, Request, Server, error};
use crate::shelf::Shelf;
use crate::{download, noise, quick, resolve, told, user};

/// `user:secret` as Basic has it.
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

/// A token server that gives every asker `TOKEN`.
async fn token_server() -> Server {
    Server::start(|_| Reply::new(200, r#"{"token":"TOKEN","expires_in":300}"#)).await
}

fn challenge(realm: &str) -> Reply {
    let value = format!(r#"Bearer realm="{realm}",service="test",scope="repository:a/b:pull""#);
    error(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", value)
}

/// A registry that wants `TOKEN` from `realm`.
async fn registry_with(shelf: Arc<Shelf>, realm: String) -> Server {
    Server::start(move |request| match request.header("authorization") {
        Some("Bearer TOKEN") => shelf.answer(request),
        _ => challenge(&realm),
    })
    .await
}

fn shelf() -> Arc<Shelf> {
    let shelf = Shelf::default();
    shelf.image("1", "amd64", &[b"layer"]);
    Arc::new(shelf)
}

#[tokio::test]
async fn a_token_is_fetched_once_for_a_repository() {
    let tokens = token_server().await;
    let server = registry_with(shelf(), format!("http://{}/token", tokens.host())).await;
    let registry = Registry::new(quick(), &server.host(), None);
    let resolved = resolve(&registry, "1").await.unwrap();
    let layer = &resolved.manifest.layers[0];
    let (one, two) = tokio::join!(download(&registry, layer), download(&registry, layer));
    assert_eq!((one.unwrap(), two.unwrap()), (b"layer".to_vec(), b"layer".to_vec()));
    assert_eq!(tokens.lines(), ["GET /token?service=test&scope=repository%3Aa%2Fb%3Apull"],);
    assert!(tokens.requests()[0].header("authorization").is_none());
    assert_eq!(server.requests()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_password_goes_to_the_token_server_and_nowhere_else() {
    let tokens = token_server().await;
    let server = registry_with(shelf(), format!("http://{}/token", tokens.host())).await;
    let registry = Registry::new(quick(), &server.host(), Some(user()));
    resolve(&registry, "1").await.unwrap();
    assert_eq!(tokens.requests()[0].header("authorization"), Some(BASIC));
    let seen: Vec<_> = server.requests();
    assert!(seen.iter().all(|one| one.header("authorization") != Some(BASIC)));
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let tokens = token_server().await;
    let server = registry_with(shelf(), format!("http://{}/token", tokens.host())).await;
    let credentials = Credentials { identity_token: Some("id=1".into()), ..Credentials::default() };
    let registry = Registry::new(quick(), &server.host(), Some(credentials));
    resolve(&registry, "1").await.unwrap();
    let asked = &tokens.requests()[0];
    assert_eq!(asked.line(), "POST /token");
    assert_eq!(
        String::from_utf8_lossy(&asked.body),
        "grant_type=refresh_token&service=test&client_id=dhow&\
         scope=repository%3Aa%2Fb%3Apull&refresh_token=id%3D1"
    );
}

#[tokio::test]
async fn a_registry_token_is_used_as_it_is() {
    let server = registry_with(shelf(), "http://127.0.0.1:1/".into()).await;
    let credentials =
        Credentials { registry_token: Some("TOKEN".into()), ..Credentials::default() };
    resolve(&Registry::new(quick(), &server.host(), Some(credentials)), "1").await.unwrap();
    let credentials = Credentials { registry_token: Some("OLD".into()), ..Credentials::default() };
    let registry = Registry::new(quick(), &server.host(), Some(credentials));
    assert_eq!(resolve(&registry, "1").await.unwrap_err().class(), Class::NotFound);
}

#[tokio::test]
async fn a_token_that_has_expired_is_fetched_again() {
    let n_tokens = Arc::new(AtomicUsize::new(0));
    let tokens = Server::start({
        let n_tokens = Arc::clone(&n_tokens);
        move |_| {
            let n = n_tokens.fetch_add(1, Ordering::Relaxed);
            Reply::new(200, format!(r#"{{"access_token":"T{n}"}}"#))
        }
    })
    .await;
    let realm = format!("http://{}/token", tokens.host());
    let (shelf, n_answered) = (shelf(), AtomicUsize::new(0));
    // The first token is good for one request.
    let server = Server::start(move |request: &Request| match request.header("authorization") {
        Some("Bearer T0") if n_answered.fetch_add(1, Ordering::Relaxed) == 0 => {
            shelf.answer(request)
        }
        Some("Bearer T1") => shelf.answer(request),
        _ => challenge(&realm),
    })
    .await;
    let registry = Registry::new(quick(), &server.host(), None);
    let resolved = resolve(&registry, "1").await.unwrap();
    assert_eq!(download(&registry, &resolved.manifest.layers[0]).await.unwrap(), b"layer");
    assert_eq!(n_tokens.load(Ordering::Relaxed), 2);
}

/// Every token is good for three requests: in the midst of a push it is fetched again.
#[tokio::test]
async fn a_token_may_expire_in_the_midst_of_a_push() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let server_of_tokens = Server::start({
        let tokens = Arc::clone(&tokens);
        move |_| {
            let n = tokens.fetch_add(1, Ordering::Relaxed);
            Reply::new(200, format!(r#"{{"token":"T{n}","expires_in":3600}}"#))
        }
    })
    .await;
    let realm = format!("http://{}/token", server_of_tokens.host());
    let shelf = Arc::new(Shelf::default());
    let used = std::sync::Mutex::new(std::collections::HashMap::<String, usize>::new());
    let server = Server::start({
        let shelf = Arc::clone(&shelf);
        move |request: &Request| {
            let Some(token) = request.header("authorization") else { return challenge(&realm) };
            let mut used = used.lock().unwrap();
            let n_used = used.entry(token.to_owned()).or_default();
            *n_used += 1;
            if *n_used > 3 { challenge(&realm) } else { shelf.answer(request) }
        }
    })
    .await;
    let bytes = noise(100_000);
    let blob = oci::image::Descriptor::of(oci::image::media_type::LAYER_GZIP, &bytes);
    let source: Arc<dyn registry::Source> = Arc::new(crate::push::Bytes(bytes.clone()));
    let registry = Registry::new(quick(), &server.host(), Some(user()));
    let repository = registry.repository("a/b");
    repository.upload(&blob, &source, &[], Some(10_000), &|_| ()).await.unwrap();
    repository.put_manifest("1", "application/x", bytes::Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(shelf.has_blob(&blob.digest).unwrap(), bytes);
    assert!(tokens.load(Ordering::Relaxed) >= 4);
    let scopes: Vec<_> = server_of_tokens.lines();
    assert!(
        scopes.iter().all(|line| line
            .ends_with("scope=repository%3Aa%2Fb%3Apull%2Cpush&client_id=dhow&account=user")),
        "{scopes:?}"
    );
}

#[tokio::test]
async fn a_mount_asks_for_both_repositories() {
    let tokens = token_server().await;
    let (shelf, bytes) = (shelf(), noise(100));
    let blob = shelf.blob(oci::image::media_type::LAYER_GZIP, &bytes);
    let realm = format!("http://{}/token", tokens.host());
    let server = Server::start(move |request: &Request| match request.header("authorization") {
        Some("Bearer TOKEN") if request.method == "HEAD" => Reply::new(404, ""),
        Some("Bearer TOKEN") => shelf.answer(request),
        _ => challenge(&realm),
    })
    .await;
    let source: Arc<dyn registry::Source> = Arc::new(crate::push::Bytes(bytes));
    let registry = Registry::new(quick(), &server.host(), None);
    let from = ["c/d".to_owned()];
    registry.repository("a/b").upload(&blob, &source, &from, None, &|_| ()).await.unwrap();
    assert_eq!(
        tokens.lines(),
        [
            "GET /token?service=test&scope=repository%3Aa%2Fb%3Apull%2Cpush",
            "GET /token?service=test&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%2Fd%3Apull",
        ]
    );
}

/// Whoever logs in gets an identity token to keep, where there are any.
#[tokio::test]
async fn a_password_may_be_exchanged_for_an_identity_token() {
    let tokens =
        Server::start(|_| Reply::new(200, r#"{"token":"TOKEN","refresh_token":"keep me"}"#)).await;
    let server = registry_with(shelf(), format!("http://{}/token", tokens.host())).await;
    let registry = Registry::new(quick(), &server.host(), Some(user()));
    assert_eq!(registry.log_in().await.unwrap().as_deref(), Some("keep me"));
    assert_eq!(
        tokens.lines(),
        ["GET /token?service=test&client_id=dhow&account=user&offline_token=true"]
    );
    // Nobody else asks for one.
    let registry = Registry::new(quick(), &server.host(), Some(user()));
    resolve(&registry, "1").await.unwrap();
    assert!(!tokens.lines()[1].contains("offline_token"));
}

#[tokio::test]
async fn basic_is_for_those_who_have_a_password() {
    let shelf = shelf();
    let server = Server::start(move |request: &Request| match request.header("authorization") {
        Some(BASIC) => shelf.answer(request),
        _ => Reply::new(401, "").with("WWW-Authenticate", r#"Basic realm="r""#),
    })
    .await;
    let registry = Registry::new(quick(), &server.host(), Some(user()));
    registry.log_in().await.unwrap();
    resolve(&registry, "1").await.unwrap();
    let error = resolve(&Registry::new(quick(), &server.host(), None), "1").await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    assert!(error.to_string().contains("use 'docker login"), "{error}");
    let wrong = Credentials { username: "x".into(), ..Credentials::default() };
    let registry = Registry::new(quick(), &server.host(), Some(wrong));
    let said = told(registry.log_in().await);
    let host = server.host();
    let want = format!("login attempt to http://{host}/v2/ failed with status: 401 Unauthorized");
    assert_eq!(said, want);
}

#[tokio::test]
async fn a_wrong_password_is_called_so() {
    let tokens =
        Server::start(|_| Reply::new(401, r#"{"details":"incorrect username or password"}"#)).await;
    let server = registry_with(shelf(), format!("http://{}/token", tokens.host())).await;
    let said = told(resolve(&Registry::new(quick(), &server.host(), Some(user())), "1").await);
    assert_eq!(said, "unauthorized: incorrect username or password");
}

#[tokio::test]
async fn a_repository_that_one_may_not_see_may_not_be_there() {
    let tokens = token_server().await;
    let realm = format!("http://{}/token", tokens.host());
    let server = Server::start(move |_| {
        let value = format!(r#"Bearer realm="{realm}",error="insufficient_scope""#);
        error(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", value)
    })
    .await;
    let host = server.host();
    let result = resolve(&Registry::new(quick(), &host, None), "1").await;
    assert_eq!(
        told(result),
        format!(
            "pull access denied for {host}/a/b, repository does not exist or may require 'docker \
             login': denied: requested access to the resource is denied"
        )
    );
    assert_eq!((server.requests().len(), tokens.requests().len()), (2, 1));
}

#[tokio::test]
async fn many_layers_fetch_one_token() {
    let tokens = token_server().await;
    let shelf = shelf();
    let blobs: Vec<_> =
        (0..8).map(|n| shelf.blob(oci::image::media_type::LAYER_GZIP, &noise(1000 + n))).collect();
    let server = registry_with(shelf, format!("http://{}/token", tokens.host())).await;
    let registry = Arc::new(Registry::new(quick(), &server.host(), None));
    let mut downloads = tokio::task::JoinSet::new();
    for blob in blobs {
        let registry = Arc::clone(&registry);
        downloads.spawn(async move { download(&registry, &blob).await.unwrap() });
    }
    assert_eq!(downloads.join_all().await.len(), 8);
    assert_eq!(tokens.requests().len(), 1);
}
