//! The API in memory, with an engine of its own that has no containers: routes, versions, headers,
//! and the words of errors (from a real `dockerd` 28.5 unless they say "not there yet").

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::{path::PathBuf, sync::Arc};

use containers::{Engine, EngineConfig};
use expect_test::{Expect, expect};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;

/// An engine in a folder of its own, which goes with it.
struct Api {
    engine: Arc<Engine>,
    folder: PathBuf,
}

impl Api {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("dhow-api-{name}-{}", std::process::id()));
        let engine = Engine::open(EngineConfig {
            root: folder.join("root"),
            state: folder.join("state"),
            exe: PathBuf::from("/proc/self/exe"),
            embedded: &[],
            driver: None,
            settings: containers::Settings::default(),
            starts: false,
        })
        .unwrap();
        Self { engine: Arc::new(engine), folder }
    }

    /// `METHOD PATH`, and JSON if there is a body.
    async fn call(&self, request: &str, body: &str) -> Response<Bytes> {
        let (client, server) = tokio::io::duplex(1 << 16);
        let builds = docker_api::Builds::default();
        let engine = Arc::clone(&self.engine);
        let warnings = Arc::default();
        let api = docker_api::Api { engine, upgrades: None, builds, warnings, alone: false };
        tokio::spawn(docker_api::serve(api, server));
        let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        let (method, path) = request.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path).header("Host", "dhow");
        if !body.is_empty() {
            request = request.header("Content-Type", "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    async fn show(&self, request: &str, body: &str) -> String {
        let response = self.call(request, body).await;
        let text = String::from_utf8_lossy(response.body()).trim_end().to_owned();
        format!("{} {text}", response.status().as_u16())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn every_answer_is_signed() {
    let api = Api::new("signed");
    let response = api.call("GET /_ping", "").await;
    let mut headers: Vec<String> = response
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    expect![[r"
        api-version: 1.55
        cache-control: no-cache, no-store, must-revalidate
        content-length: 2
        content-type: text/plain; charset=utf-8
        docker-experimental: false
        ostype: linux
        pragma: no-cache
        server: dhow/0.1.0 (linux)
        swarm: inactive"]]
    .assert_eq(&headers.join("\n"));
    for request in ["GET /nope", "GET /v1.99/info", "GET /containers/nope/json"] {
        let response = api.call(request, "").await;
        assert_eq!(response.headers()["api-version"], "1.55", "{request}");
        assert_eq!(response.headers()["content-type"], "application/json", "{request}");
    }
    let head = api.call("HEAD /_ping", "").await;
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
}

async fn check(api: &Api, cases: &[(&str, &str)], want: Expect) {
    let mut shown = String::new();
    for (request, body) in cases {
        shown.push_str(&format!("{request} {body}\n    {}\n", api.show(request, body).await));
    }
    want.assert_eq(&shown);
}

#[tokio::test]
async fn errors_are_dockerds() {
    let api = Api::new("errors");
    check(
        &api,
        &[
            ("GET /foo", ""),
            ("OPTIONS /containers/json", ""),
            ("GET /v1.99/info", ""),
            ("GET /v1.12/info", ""),
            ("GET /v1.24/containers/nope/json", ""),
            ("GET /containers/nope/json", ""),
            ("POST /containers/nope/start", ""),
            ("POST /containers/nope/stop", ""),
            ("POST /containers/nope/wait", ""),
            ("POST /containers/nope/wait?condition=foo", ""),
            ("POST /containers/nope/resize?h=a&w=1", ""),
            ("GET /containers/nope/logs", ""),
            ("GET /containers/nope/stats?stream=1&one-shot=1", ""),
            ("DELETE /containers/nope", ""),
            ("POST /containers/create", "{}"),
            ("POST /containers/create", r#"{"Image":"nope"}"#),
            ("POST /containers/create", r#"{"Image":"nope""#),
            ("POST /containers/create", r#"{"Image":"nope"}{}"#),
            ("POST /containers/nope/rename", ""),
            ("POST /containers/nope/exec", r#"{"Cmd":["true"]}"#),
            ("GET /exec/nope/json", ""),
            ("GET /containers/json?filters=%7B%22foo%22%3A%5B%22a%22%5D%7D", ""),
            ("GET /containers/json?filters=%7B%22status%22%3A%5B%22a%22%5D%7D", ""),
            ("GET /containers/json?filters=%5B", ""),
            ("GET /images/nope/json", ""),
            ("GET /images/json?filters=%7B%22foo%22%3A%5B%22a%22%5D%7D", ""),
            ("DELETE /images/nope", ""),
            ("POST /images/nope/tag?repo=x", ""),
            ("POST /images/create?fromImage=127.0.0.1:1/nope&tag=1", ""),
            ("GET /networks/nope", ""),
            ("DELETE /networks/bridge", ""),
            ("POST /networks/create", "{}"),
            ("POST /containers/nope/attach?stream=1&stdout=1", ""),
            ("GET /volumes/nope", ""),
            ("DELETE /volumes/nope", ""),
            ("POST /build", ""),
            ("POST /commit", ""),
            ("GET /services", ""),
            ("POST /auth", r#"{"serveraddress":"127.0.0.1:1"}"#),
            ("POST /dhow/rootfs?path=relative", ""),
        ],
        expect![[r#"
            GET /foo 
                404 {"message":"page not found"}
            OPTIONS /containers/json 
                200 
            GET /v1.99/info 
                400 {"message":"client version 1.99 is too new. Maximum supported API version is 1.55"}
            GET /v1.12/info 
                400 client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version
            GET /v1.24/containers/nope/json 
                404 {"message":"No such container: nope"}
            GET /containers/nope/json 
                404 {"message":"No such container: nope"}
            POST /containers/nope/start 
                404 {"message":"No such container: nope"}
            POST /containers/nope/stop 
                404 {"message":"No such container: nope"}
            POST /containers/nope/wait 
                404 {"message":"No such container: nope"}
            POST /containers/nope/wait?condition=foo 
                400 {"message":"invalid condition: \"foo\""}
            POST /containers/nope/resize?h=a&w=1 
                400 {"message":"invalid resize height \"a\": invalid syntax"}
            GET /containers/nope/logs 
                400 {"message":"Bad parameters: you must choose at least one stream"}
            GET /containers/nope/stats?stream=1&one-shot=1 
                400 {"message":"cannot have stream=true and one-shot=true"}
            DELETE /containers/nope 
                404 {"message":"No such container: nope"}
            POST /containers/create {}
                400 {"message":"config cannot be empty in order to create a container"}
            POST /containers/create {"Image":"nope"}
                404 {"message":"No such image: nope:latest"}
            POST /containers/create {"Image":"nope"
                400 {"message":"invalid JSON: unexpected EOF"}
            POST /containers/create {"Image":"nope"}{}
                400 {"message":"unexpected content after JSON"}
            POST /containers/nope/rename 
                400 {"message":"Neither old nor new names may be empty"}
            POST /containers/nope/exec {"Cmd":["true"]}
                404 {"message":"No such container: nope"}
            GET /exec/nope/json 
                404 {"message":"No such exec instance: nope"}
            GET /containers/json?filters=%7B%22foo%22%3A%5B%22a%22%5D%7D 
                400 {"message":"invalid filter 'foo'"}
            GET /containers/json?filters=%7B%22status%22%3A%5B%22a%22%5D%7D 
                400 {"message":"invalid filter 'status=a': invalid value for state (a): must be one of created, running, paused, restarting, removing, exited, dead"}
            GET /containers/json?filters=%5B 
                400 {"message":"invalid filter"}
            GET /images/nope/json 
                404 {"message":"No such image: nope:latest"}
            GET /images/json?filters=%7B%22foo%22%3A%5B%22a%22%5D%7D 
                400 {"message":"invalid filter 'foo'"}
            DELETE /images/nope 
                404 {"message":"No such image: nope:latest"}
            POST /images/nope/tag?repo=x 
                404 {"message":"No such image: nope:latest"}
            POST /images/create?fromImage=127.0.0.1:1/nope&tag=1 
                500 {"message":"Get \"https://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: Connection refused (os error 111)"}
            GET /networks/nope 
                404 {"message":"network nope not found"}
            DELETE /networks/bridge 
                403 {"message":"bridge is a pre-defined network and cannot be removed"}
            POST /networks/create {}
                400 {"message":"invalid name: name is empty"}
            POST /containers/nope/attach?stream=1&stdout=1 
                404 No such container: nope
            GET /volumes/nope 
                404 {"message":"get nope: no such volume"}
            DELETE /volumes/nope 
                404 {"message":"get nope: no such volume"}
            POST /build 
                501 {"message":"not there yet: building images"}
            POST /commit 
                400 {"message":"invalid name or ID supplied: \"\""}
            GET /services 
                503 {"message":"This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."}
            POST /auth {"serveraddress":"127.0.0.1:1"}
                500 {"message":"Get \"https://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: Connection refused (os error 111)"}
            POST /dhow/rootfs?path=relative 
                400 {"message":"`path` must be an absolute path of an archive"}
        "#]],
    )
    .await;
}

/// What was found by asking both the same.
#[tokio::test]
async fn what_makes_no_sense_is_refused_as_dockerd_does() {
    let api = Api::new("senseless");
    let hex = "0".repeat(64);
    check(
        &api,
        &[
            ("GET /v1.99/nope", ""),
            ("GET //containers/./json?all=1", ""),
            ("GET /containers//json", ""),
            ("GET //\\example.com", ""),
            ("GET /containers/json?all=%zz", ""),
            ("GET /containers/json?all=1;limit=1", ""),
            ("GET /_ping?all=%zz;", ""),
            ("GET /containers/json?limit=99999999999999999999", ""),
            ("GET /containers/json?filters=%7B%22is-task%22%3A%5B%22maybe%22%5D%7D", ""),
            ("POST /containers/create", ""),
            ("POST /containers/create", r#"{"HostConfig":{}}"#),
            ("POST /containers/nope/exec", "{}"),
            ("POST /containers/nope/start", "{\"a\": 1}"),
            ("POST /containers/nope/start", "{}"),
            ("POST /containers/nope/start?checkpoint=x", ""),
            ("GET /containers/nope/checkpoints", ""),
            ("POST /containers/prune?filters=%7B%22until%22%3A%5B%221%22%2C%222%22%5D%7D", ""),
            ("POST /containers/prune?filters=%7B%22until%22%3A%5B%22x%22%5D%7D", ""),
            ("GET /images/nope/json?platform=%7B%7D", ""),
            ("GET /images/nope/json?platform=x", ""),
            ("GET /images/search?term=x&limit=y", ""),
            ("POST /images/nope/tag?repo=a%3A1&tag=a%20b", ""),
            (&format!("POST /images/nope/tag?repo=a@sha256:{hex}"), ""),
            (&format!("POST /images/nope/tag?repo={hex}"), ""),
            ("POST /commit?container=nope&repo=a&tag=a%20b", ""),
            ("GET /networks/bridge?verbose=x", ""),
            ("GET /networks?filters=%7B%22dangling%22%3A%5B%22x%22%5D%7D", ""),
            ("GET /networks?filters=%7B%22type%22%3A%5B%22x%22%5D%7D", ""),
            ("POST /networks/create", r#"{"Name":"n","Driver":"nope"}"#),
            ("POST /networks/create", r#"{"Name":"n","IPAM":{"Driver":"nope"}}"#),
            ("POST /networks/create", r#"{"Name":"n","Scope":"swarm"}"#),
            ("POST /networks/create", r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"x"}]}}"#),
            ("PUT /volumes/nope", "{}"),
            ("POST /volumes/create", r#"{"ClusterVolumeSpec":{}}"#),
            ("POST /volumes/create", r#"{"Name":"a"}"#),
            ("GET /volumes?filters=x", ""),
            ("GET /volumes?filters=%7B%22dangling%22%3A%5B%22true%22%2C%22false%22%5D%7D", ""),
            ("GET /plugins?filters=%7B%22enabled%22%3A%5B%22maybe%22%5D%7D", ""),
            ("POST /build/cancel", ""),
            ("POST /secrets/nope/update?version=x", "{}"),
        ],
        expect![[r#"
            GET /v1.99/nope 
                404 {"message":"page not found"}
            GET //containers/./json?all=1 
                301 
            GET /containers//json 
                301 
            GET //\example.com 
                404 {"message":"page not found"}
            GET /containers/json?all=%zz 
                400 {"message":"invalid URL escape \"%zz\""}
            GET /containers/json?all=1;limit=1 
                400 {"message":"invalid semicolon separator in query"}
            GET /_ping?all=%zz; 
                200 OK
            GET /containers/json?limit=99999999999999999999 
                400 {"message":"strconv.Atoi: parsing \"99999999999999999999\": value out of range"}
            GET /containers/json?filters=%7B%22is-task%22%3A%5B%22maybe%22%5D%7D 
                400 {"message":"invalid filter 'is-task=[maybe]'"}
            POST /containers/create 
                400 {"message":"invalid JSON: got EOF while reading request body"}
            POST /containers/create {"HostConfig":{}}
                400 {"message":"config cannot be empty in order to create a container"}
            POST /containers/nope/exec {}
                400 {"message":"No exec command specified"}
            POST /containers/nope/start {"a": 1}
                400 {"message":"starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"}
            POST /containers/nope/start {}
                404 {"message":"No such container: nope"}
            POST /containers/nope/start?checkpoint=x 
                400 {"message":"checkpoint is only supported in experimental mode"}
            GET /containers/nope/checkpoints 
                501 {"message":"This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it."}
            POST /containers/prune?filters=%7B%22until%22%3A%5B%221%22%2C%222%22%5D%7D 
                400 {"message":"more than one until filter specified"}
            POST /containers/prune?filters=%7B%22until%22%3A%5B%22x%22%5D%7D 
                400 {"message":"failed to parse value as time or duration: \"x\""}
            GET /images/nope/json?platform=%7B%7D 
                400 {"message":"both OS and Architecture must be provided"}
            GET /images/nope/json?platform=x 
                400 {"message":"failed to parse platform: invalid character 'x' looking for beginning of value"}
            GET /images/search?term=x&limit=y 
                400 {"message":"invalid limit specified: strconv.Atoi: parsing \"y\": invalid syntax"}
            POST /images/nope/tag?repo=a%3A1&tag=a%20b 
                400 {"message":"invalid tag format"}
            POST /images/nope/tag?repo=a@sha256:0000000000000000000000000000000000000000000000000000000000000000 
                400 {"message":"cannot import digest reference"}
            POST /images/nope/tag?repo=0000000000000000000000000000000000000000000000000000000000000000 
                400 {"message":"invalid repository name (0000000000000000000000000000000000000000000000000000000000000000), cannot specify 64-byte hexadecimal strings"}
            POST /commit?container=nope&repo=a&tag=a%20b 
                400 {"message":"invalid tag format"}
            GET /networks/bridge?verbose=x 
                400 {"message":"invalid value for verbose: x: strconv.ParseBool: parsing \"x\": invalid syntax"}
            GET /networks?filters=%7B%22dangling%22%3A%5B%22x%22%5D%7D 
                400 {"message":"invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")"}
            GET /networks?filters=%7B%22type%22%3A%5B%22x%22%5D%7D 
                400 {"message":"invalid filter: 'type'='x'"}
            POST /networks/create {"Name":"n","Driver":"nope"}
                404 {"message":"plugin \"nope\" not found"}
            POST /networks/create {"Name":"n","IPAM":{"Driver":"nope"}}
                404 {"message":"plugin \"nope\" not found"}
            POST /networks/create {"Name":"n","Scope":"swarm"}
                403 {"message":"cannot create a swarm scoped network when swarm is not active"}
            POST /networks/create {"Name":"n","IPAM":{"Config":[{"Subnet":"x"}]}}
                400 {"message":"invalid network config:\ninvalid subnet x: invalid CIDR block notation"}
            PUT /volumes/nope {}
                503 {"message":"volume update only valid for cluster volumes, but swarm is unavailable"}
            POST /volumes/create {"ClusterVolumeSpec":{}}
                503 {"message":"This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."}
            POST /volumes/create {"Name":"a"}
                400 {"message":"create a: volume name is too short, names should be at least two alphanumeric characters"}
            GET /volumes?filters=x 
                400 {"message":"error reading volume filters: invalid filter"}
            GET /volumes?filters=%7B%22dangling%22%3A%5B%22true%22%2C%22false%22%5D%7D 
                400 {"message":"invalid filter 'dangling=[false true]'"}
            GET /plugins?filters=%7B%22enabled%22%3A%5B%22maybe%22%5D%7D 
                400 {"message":"invalid filter 'enabled=[maybe]'"}
            POST /build/cancel 
                400 {"message":"build ID not provided"}
            POST /secrets/nope/update?version=x {}
                400 {"message":"invalid secret version"}
        "#]],
    )
    .await;
    let moved = api.call("GET /v1.51//images/../containers/json?all=1", "").await;
    assert_eq!(moved.headers()["location"], "/v1.51/containers/json?all=1");
}

#[tokio::test]
async fn empty_lists_are_lists() {
    let api = Api::new("lists");
    check(
        &api,
        &[
            ("GET /containers/json?all=1", ""),
            ("GET /images/json", ""),
            ("GET /volumes", ""),
            ("POST /containers/prune", ""),
            ("POST /images/prune", ""),
            ("POST /networks/prune", ""),
            ("POST /volumes/prune", ""),
            ("GET /plugins", ""),
            ("GET /events?since=0&until=1", ""),
        ],
        expect![[r#"
            GET /containers/json?all=1 
                200 []
            GET /images/json 
                200 []
            GET /volumes 
                200 {"Volumes":[],"Warnings":null}
            POST /containers/prune 
                200 {"ContainersDeleted":null,"SpaceReclaimed":0}
            POST /images/prune 
                200 {"ImagesDeleted":null,"SpaceReclaimed":0}
            POST /networks/prune 
                200 {"NetworksDeleted":null}
            POST /volumes/prune 
                200 {"VolumesDeleted":[],"SpaceReclaimed":0}
            GET /plugins 
                200 []
            GET /events?since=0&until=1 
                200 
        "#]],
    )
    .await;
}

#[tokio::test]
async fn bodies_are_bounded_and_checked() {
    let api = Api::new("bodies");
    let huge = format!(r#"{{"Image":"{}"}}"#, "x".repeat(9 << 20));
    let deep = format!(r#"{{"Labels":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for body in [huge.as_str(), deep.as_str(), r#"{"Image":5}"#, "[]", "\"x\"", "{\"a\"", "nope"] {
        let shown = api.show("POST /containers/create", body).await;
        assert!(shown.starts_with("400 "), "{shown}");
    }
}
