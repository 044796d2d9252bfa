//! From a Dockerfile to a graph: any text, with any options and any answers to what is asked, is refused
//! or makes a graph whose steps work on steps before them; the same text makes the same graph.
#![no_main]

use std::collections::BTreeMap;

use buildgraph::{Graph, Op};
use dockerfile::call::Lint;
use dockerfile::convert::{Answer, Ask, Conversion, Next, Options, Round};
use dockerfile::snippet;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use oci::image::ImageConfig;

/// Images name images in their triggers; a few rounds are enough.
const ROUNDS: usize = 6;
/// A Dockerfile of this many bytes says all that there is to say.
const SOURCE: usize = 4096;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    source: &'a [u8],
    options: Vec<(u8, &'a str)>,
    arguments: Vec<(&'a str, &'a str)>,
    triggers: Vec<&'a str>,
    env: Vec<&'a str>,
    fails: u8,
}

/// Options of the front end, as they are called (a name is added to those that end in a colon).
const KEYS: [&str; 16] = [
    "target",
    "no-cache",
    "platform",
    "add-hosts",
    "ulimit",
    "shm-size",
    "force-network-mode",
    "image-resolve-mode",
    "cgroup-parent",
    "hostname",
    "context:base",
    "context:scratch",
    "label:x",
    "build-arg:BUILDKIT_DOCKERFILE_CHECK",
    "build-arg:SOURCE_DATE_EPOCH",
    "build-arg:BUILDKIT_CACHE_MOUNT_NS",
];

fn answer(input: &Input, ask: &Ask) -> Answer {
    match ask {
        Ask::Image { .. } | Ask::Layout { .. } if input.fails & 1 != 0 => {
            Answer::Failed("no such image".into())
        }
        Ask::Image { .. } | Ask::Layout { .. } => {
            let text = serde_json::json!({
                "architecture": "amd64", "os": "linux",
                "config": { "Env": input.env, "OnBuild": input.triggers },
                "rootfs": { "type": "layers", "diff_ids": [] },
            });
            match ImageConfig::parse(text.to_string().as_bytes()) {
                Ok(config) => Answer::Image { config: Box::new(config), digest: None, id: None },
                Err(error) => Answer::Failed(error.to_string()),
            }
        }
        Ask::Ignore { .. } => Answer::Ignore(vec!["*.o".into()]),
        Ask::Input { name } => Answer::Input { result: name.clone(), config: None },
        Ask::Time { .. } => Answer::Time((input.fails & 2 != 0).then_some(1_700_000_000)),
    }
}

fn run(input: &Input, source: &[u8], options: &Options) -> Option<Round> {
    let mut conversion = Conversion::new(source, options.clone());
    for _ in 0..ROUNDS {
        let round = conversion.round();
        let Ok(Next::Ask(asks)) = &round.next else { return Some(round) };
        assert!(!asks.is_empty());
        for ask in asks {
            conversion.give(ask.clone(), answer(input, ask));
        }
    }
    None
}

fn check(graph: &Graph) {
    for (at, vertex) in graph.vertices() {
        assert!(vertex.inputs.iter().all(|input| *input < at), "{vertex:?}");
        let used = match &vertex.op {
            Op::Exec(exec) => exec.inputs().max(),
            Op::File(file) => file.inputs().max(),
            _ => None,
        };
        assert!(used.is_none_or(|used| used < vertex.inputs.len()), "{vertex:?}");
    }
}

fuzz_target!(|input: Input| {
    let source = &input.source[..input.source.len().min(SOURCE)];
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in input.options.iter().take(8) {
        given.insert(KEYS[usize::from(*key) % KEYS.len()].to_owned(), (*value).to_owned());
    }
    for (key, value) in input.arguments.iter().take(8) {
        given.insert(format!("build-arg:{key}"), (*value).to_owned());
    }
    let Ok((mut options, _)) = Options::of_frontend(&given) else { return };
    options.all_stages = input.fails & 4 != 0;
    let Some(round) = run(&input, source, &options) else { return };
    let text = String::from_utf8_lossy(source);
    let error = round.next.as_ref().err();
    Lint::new("Dockerfile", source, &round.warnings, error).text();
    if let Some(error) = error {
        snippet("Dockerfile", &text, &error.lines);
    }
    let Ok(Next::Done(built)) = round.next else { return };
    check(&built.graph);
    assert!(built.result.is_none_or(|result| result.0 < built.graph.len()));
    assert!(built.scanned.iter().all(|(_, at)| at.is_none_or(|at| at.0 < built.graph.len())));
    built.outline.text();
    let again = run(&input, source, &options).map(|round| round.next);
    let Some(Ok(Next::Done(again))) = again else { panic!("the second time it is {again:?}") };
    let digests = |graph: &Graph| -> Vec<String> {
        graph.vertices().map(|(_, vertex)| vertex.digest.to_string()).collect()
    };
    assert_eq!(digests(&built.graph), digests(&again.graph));
    assert_eq!(built.image, again.image);
});
