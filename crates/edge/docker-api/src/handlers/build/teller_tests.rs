use ::build::{Log, Source};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::http::body::Piece;

const DOCKERFILE: &str = "\
FROM busybox AS one
ENV A=b
RUN make \\
    all
FROM scratch
COPY --from=one /a /a
LABEL x=y
";

fn step(name: &str, line: u32, is_source: bool) -> Step {
    Step {
        digest: Digest::sha256(name.as_bytes()),
        lines: vec![buildgraph::Range { start: line, end: line }],
        is_source,
        image: is_source.then(|| Digest::sha256(b"image")),
    }
}

/// The steps of the Dockerfile.
fn steps() -> [Step; 3] {
    [step("from", 1, true), step("run", 3, false), step("copy", 6, false)]
}

fn asked() -> Parameters {
    use super::super::parameters::Generation;
    Parameters {
        generation: Generation::Classic,
        build_id: String::new(),
        session: String::new(),
        remote: String::new(),
        request: ::build::Request::default(),
        frontend: ::build::FrontendRequest::default(),
        is_quiet: false,
        tells_removal: true,
        no_cache: false,
        tags: Vec::new(),
        arguments: HashMap::from([("A".to_owned(), None), ("no_proxy".to_owned(), None)])
            .into_iter()
            .collect(),
        labels: HashMap::from([("l".to_owned(), "m".to_owned())]).into_iter().collect(),
    }
}

fn recipe() -> Recipe {
    let source = Source { filename: "Dockerfile".into(), data: DOCKERFILE.into() };
    Recipe { source, stages: vec![0, 1] }
}

#[test]
fn scratch_alone_is_nothing() {
    let is_of_nothing = |data: &str| {
        let source = Source { filename: "Dockerfile".into(), data: data.into() };
        let asked = Parameters { labels: std::collections::BTreeMap::new(), ..asked() };
        Teller::new(&asked, &Recipe { source, stages: vec![0] }).is_of_nothing()
    };
    assert!(is_of_nothing("FROM scratch\n"));
    assert!(!is_of_nothing("FROM scratch\nLABEL a=b\n"));
    assert!(!is_of_nothing("FROM busybox\n"));
}

/// A teller, and what it tells.
struct Fixture {
    teller: Teller,
    out: Out,
    told: mpsc::Receiver<Piece>,
}

impl Fixture {
    fn new(asked: &Parameters) -> Self {
        let (sender, told) = mpsc::channel(1000);
        Self { teller: Teller::new(asked, &recipe()), out: Out(sender), told }
    }

    async fn take(&mut self, event: Event) {
        self.teller.take(event, &layer, &self.out).await.unwrap();
    }

    async fn vertex(&mut self, step: &Step, done: bool, cached: bool) {
        let (started, completed) = (Some(1), done.then_some(2));
        let digest = Some(step.digest.clone());
        let state = VertexState { digest, started, completed, cached, ..VertexState::default() };
        self.take(Event::Vertex(state)).await;
    }

    async fn log(&mut self, step: &Step, stream: u8, text: &str) {
        let (vertex, data) = (step.digest.clone(), Bytes::copy_from_slice(text.as_bytes()));
        self.take(Event::Log(Log { vertex, stream, data, time: 0 })).await;
    }

    fn told(&mut self) -> String {
        let mut text = String::new();
        while let Ok(Ok(piece)) = self.told.try_recv() {
            let message: serde_json::Value = serde_json::from_slice(&piece).unwrap();
            text += message["stream"].as_str().unwrap();
        }
        text
    }
}

fn layer(step: &Digest) -> Option<String> {
    let is_image = *step == Digest::sha256(b"from");
    (!is_image).then(|| format!("sha256:{}", &step.hex()[..16]))
}

fn id(step: &Step) -> String {
    step.digest.hex()[..12].to_owned()
}

#[tokio::test]
async fn an_image_that_was_asked_for_is_told_of_as_by_a_pull() {
    let mut it = Fixture::new(&asked());
    let (vertex, digest) = (Digest::sha256(b"metadata"), Digest::sha256(b"image"));
    let name = "[internal] load metadata for example.com/me/app:1".to_owned();
    let state = VertexState { digest: Some(vertex.clone()), name, ..VertexState::default() };
    it.take(Event::Vertex(state)).await;
    assert_eq!(it.told(), "Step 1/7 : FROM busybox AS one\n");
    let name = "example.com/me/app:1".to_owned();
    let pulled = ::build::Pulled { vertex, digest: digest.clone(), name, is_same: true };
    it.take(Event::Pulled(pulled.clone())).await;
    // Of a vertex that is another thing nothing is told.
    it.take(Event::Pulled(::build::Pulled { vertex: digest.clone(), ..pulled })).await;
    let mut said = Vec::new();
    while let Ok(Ok(piece)) = it.told.try_recv() {
        let message: serde_json::Value = serde_json::from_slice(&piece).unwrap();
        said.push(message["status"].as_str().unwrap().to_owned());
    }
    let digest = format!("Digest: {digest}");
    let status = "Status: Image is up to date for example.com/me/app:1";
    assert_eq!(said, ["Pulling from me/app", &digest, status]);
}

#[tokio::test]
async fn instructions_are_told_of_in_their_order() {
    let mut it = Fixture::new(&asked());
    let [from, run, copy] = steps();
    it.teller.advance(&layer, &it.out).await.unwrap();
    assert_eq!(it.told(), "Step 1/7 : FROM busybox AS one\n", "it begins before anything is known");
    it.teller.know(&[from.clone(), run.clone(), copy.clone()]);
    it.teller.solved();
    // A later one is done first.
    it.vertex(&copy, true, false).await;
    it.vertex(&from, true, true).await;
    let image = Digest::sha256(b"image").hex()[..12].to_owned();
    assert_eq!(it.told(), format!(" ---> {image}\nStep 2/7 : ENV A=b\n"));
    let container = "c0ffee".repeat(10);
    it.take(Event::Container { vertex: run.digest.clone(), id: container.clone() }).await;
    it.vertex(&run, false, false).await;
    it.log(&run, 1, "out\n").await;
    it.log(&run, 2, "err\n").await;
    let told = it.told();
    let env =
        Digest::sha256(format!("sha256:{} ENV A=b", Digest::sha256(b"image").hex()).as_bytes());
    assert_eq!(
        told,
        format!(
            " ---> {}\nStep 3/7 : RUN make     all\n ---> Running in c0ffeec0ffee\nout\n\
             \u{1b}[91merr\n\u{1b}[0m",
            &env.hex()[..12]
        )
    );
    it.vertex(&run, true, false).await;
    assert_eq!(
        it.told(),
        format!(
            " ---> Removed intermediate container c0ffeec0ffee\n ---> {}\nStep 4/7 : FROM scratch\n \
             ---> \nStep 5/7 : COPY --from=one /a /a\n ---> {}\nStep 6/7 : LABEL x=y\n",
            id(&run),
            id(&copy)
        )
    );
    let done = format!("sha256:{}", "d".repeat(64));
    it.teller.finish(&done, false, &layer, &it.out).await.unwrap();
    let rest = it.told();
    assert!(rest.ends_with("Step 7/7 : LABEL l=m\n ---> dddddddddddd\n"), "{rest}");
    assert!(!rest.contains("Using cache"), "{rest}");
}

#[tokio::test]
async fn what_was_in_the_cache_is_said() {
    let mut it = Fixture::new(&asked());
    let all = steps();
    it.teller.know(&all);
    it.teller.solved();
    for step in &all {
        it.vertex(step, true, true).await;
    }
    it.teller.finish("sha256:1234567890abcdef", true, &layer, &it.out).await.unwrap();
    let told = it.told();
    assert_eq!(told.matches(" ---> Using cache\n").count(), 5, "{told}");
    // The same without a cache: nothing was in it.
    let mut it = Fixture::new(&Parameters { no_cache: true, ..asked() });
    it.teller.know(&all);
    it.teller.solved();
    for step in &all {
        it.vertex(step, true, true).await;
    }
    it.teller.finish("sha256:1234567890abcdef", true, &layer, &it.out).await.unwrap();
    assert!(!it.told().contains("Using cache"));
}

#[tokio::test]
async fn what_failed_is_the_last_that_is_told_of() {
    let mut it = Fixture::new(&asked());
    let all = steps();
    it.teller.know(&all);
    it.teller.solved();
    it.vertex(&all[0], true, true).await;
    it.log(&all[1], 1, "half\n").await;
    let command = "/bin/sh -c make     all".to_owned();
    let exit = Error::Exit { command, code: 2, why: "exit code: 2".into(), ran: true };
    let source = std::sync::Arc::new(exit);
    let (digest, name) = (all[1].digest.clone(), String::new());
    let error = Error::Vertex { digest, name, lines: Vec::new(), file: None, source };
    let instruction = it.teller.fail(&error, &layer, &it.out).await.unwrap();
    let told = it.told();
    assert!(told.ends_with("Step 3/7 : RUN make     all\nhalf\n"), "{told}");
    assert_eq!(
        words(&error, &instruction),
        Failure {
            message: "The command '/bin/sh -c make     all' returned a non-zero code: 2".into(),
            code: 2
        }
    );
    let (command, why) = ("/bin/sh -c x".to_owned(), "exec: \"/bin/sh\": no such file".to_owned());
    let error = Error::Exit { command, code: 127, why: why.clone(), ran: false };
    assert_eq!(words(&error, &instruction), Failure { message: why, code: 0 });
}

#[tokio::test]
async fn nobody_is_told_of_a_quiet_build() {
    let mut it = Fixture::new(&Parameters { is_quiet: true, ..asked() });
    let all = steps();
    it.teller.know(&all);
    it.teller.solved();
    for step in &all {
        it.log(step, 1, "out").await;
        it.vertex(step, true, false).await;
    }
    it.teller.finish("sha256:1234567890abcdef", true, &layer, &it.out).await.unwrap();
    assert_eq!(it.told(), "");
}

#[test]
fn arguments_that_nobody_asks_for() {
    assert_eq!(unused(&asked(), &recipe()), ["A"]);
}
