use buildkit::control::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use buildkit::prost_types::Timestamp;
use expect_test::{Expect, expect};

use super::plain::Plain;
use super::trace::Trace;
use super::tty::Look;
use super::{json, text};

fn time(seconds: f64) -> Timestamp {
    Timestamp { seconds: seconds as i64, nanos: (seconds.fract() * 1e9) as i32 }
}

fn vertex(digest: &str, name: &str, from: Option<f64>, to: Option<f64>) -> Vertex {
    Vertex {
        digest: digest.into(),
        name: name.into(),
        started: from.map(time),
        completed: to.map(time),
        ..Vertex::default()
    }
}

fn log(digest: &str, seconds: f64, text: &str) -> VertexLog {
    VertexLog { vertex: digest.into(), timestamp: Some(time(seconds)), stream: 1, msg: text.into() }
}

/// A build in which one step is cached, one goes on beside another that fails.
fn told() -> Vec<StatusResponse> {
    let part = VertexStatus {
        id: "transferring context:".into(),
        vertex: "c".into(),
        current: 1_234_567,
        timestamp: Some(time(10.5)),
        started: Some(time(10.0)),
        completed: Some(time(10.5)),
        ..VertexStatus::default()
    };
    let failed = Vertex {
        error: "process \"/bin/sh -c false\" did not complete successfully: exit code: 1".into(),
        ..vertex("e", "[2/3] RUN false", Some(11.0), Some(12.5))
    };
    let stopped = Vertex {
        error: "context canceled".into(),
        ..vertex("f", "[x] RUN sleep 9", Some(11.0), Some(12.6))
    };
    vec![
        StatusResponse {
            vertexes: vec![
                vertex("c", "[internal] load build context", Some(10.0), Some(10.5)),
                Vertex { cached: true, ..vertex("d", "[1/3] FROM debian", Some(10.6), Some(10.6)) },
                vertex("g", "[3/3] COPY a b", None, None),
            ],
            statuses: vec![part],
            ..StatusResponse::default()
        },
        StatusResponse {
            vertexes: vec![
                vertex("e", "[2/3] RUN false", Some(11.0), None),
                vertex("f", "[x] RUN sleep 9", Some(11.0), None),
            ],
            logs: vec![
                log("e", 11.25, "one\ntw"),
                log("e", 12.0, "o\nthree \x1b[31mred\x1b[0m\x07"),
                log("f", 11.5, "waiting\r\n"),
            ],
            ..StatusResponse::default()
        },
        StatusResponse { vertexes: vec![failed, stopped], ..StatusResponse::default() },
    ]
}

fn warning() -> VertexWarning {
    VertexWarning {
        vertex: "c".into(),
        level: 1,
        short: b"StageNameCasing: Stage name 'A' should be lowercase (line 1)".to_vec(),
        detail: vec![b"Stage names should be lowercase".to_vec()],
        url: "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/".into(),
        ..VertexWarning::default()
    }
}

fn screen(trace: &Trace, rows: usize, now: f64, is_last: bool, want: &Expect) {
    let look = Look { rows, columns: 60, now, began: 10.0, is_last, has_colour: false };
    let lines: Vec<String> =
        look.lines(trace, "dhow").iter().map(|line| format!("{line}\n")).collect();
    want.assert_eq(&lines.concat());
}

#[test]
fn lines_are_of_one_step_after_the_other() {
    let (mut plain, mut trace) = (Plain::default(), Trace::default());
    let mut out = Vec::new();
    let told = told();
    for response in &told {
        trace.update(response);
        out.extend(plain.print(&mut trace, false));
    }
    out.extend(plain.print(&mut trace, true));
    let text = String::from_utf8(out).unwrap() + &text::failures(&trace);
    expect![[r#"
        #1 [internal] load build context
        #1 transferring context: 1.23MB 0.5s done
        #1 DONE 0.5s

        #2 [1/3] FROM debian
        #2 CACHED

        #3 [2/3] RUN false
        #3 0.250 one
        #3 1.000 two
        #3 1.500 three ^[[31mred^[[0m
        #3 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1

        #4 [x] RUN sleep 9
        #4 0.500 waiting
        #4 CANCELED
        ------
         > [2/3] RUN false:
        0.250 one
        1.000 two
        1.500 three red
        ------
    "#]]
    .assert_eq(&text.replace('\x1b', "^["));
}

#[test]
fn a_terminal_shows_a_tree() {
    let mut trace = Trace::default();
    let told = told();
    trace.update(&told[0]);
    trace.update(&told[1]);
    screen(
        &trace,
        24,
        12.0,
        false,
        &expect![[r"
        [+] Building 2.0s (2/5)                                 dhow
         => [internal] load build context                       0.5s
         => => transferring context: 1.23MB                     0.5s
         => CACHED [1/3] FROM debian                            0.0s
         => [2/3] RUN false                                     1.0s
         => => # one
         => => # two
         => [x] RUN sleep 9                                     1.0s
         => => # waiting
    "]],
    );
    // Where there is less room, what is done gives way.
    screen(
        &trace,
        5,
        12.0,
        false,
        &expect![[r"
        [+] Building 2.0s (2/5)                                 dhow
         => [2/3] RUN false                                     1.0s
         => => # one
         => [x] RUN sleep 9                                     1.0s
         => => # waiting
    "]],
    );
    trace.update(&told[2]);
    screen(
        &trace,
        usize::MAX,
        20.0,
        true,
        &expect![[r"
        [+] Building 2.6s (4/5) FINISHED                        dhow
         => [internal] load build context                       0.5s
         => => transferring context: 1.23MB                     0.5s
         => CACHED [1/3] FROM debian                            0.0s
         => ERROR [2/3] RUN false                               1.5s
         => => # one
         => => # two
         => => # three red
         => CANCELED [x] RUN sleep 9                            1.6s
    "]],
    );
}

#[test]
fn warnings_come_at_the_end() {
    let mut trace = Trace::default();
    trace.update(&StatusResponse { warnings: vec![warning()], ..StatusResponse::default() });
    let short = "\n 1 warning found (use dhow build --debug to expand):\n \
                 - StageNameCasing: Stage name 'A' should be lowercase (line 1)\n";
    assert_eq!(text::warnings(&trace, false, false), short);
    expect![[r"

         1 warning found:
         - StageNameCasing: Stage name 'A' should be lowercase (line 1)
        Stage names should be lowercase
        More info: https://docs.docker.com/go/dockerfile/rule/stage-name-casing/

    "]]
    .assert_eq(&text::warnings(&trace, true, false));
    assert_eq!(text::warnings(&Trace::default(), true, false), "");
}

#[test]
fn json_is_buildkits() {
    let told = told();
    expect![[r#"
        {"statuses":[{"completed":"1970-01-01T00:00:10.5Z","current":1234567,"id":"transferring context:","started":"1970-01-01T00:00:10Z","timestamp":"1970-01-01T00:00:10.5Z","vertex":"c"}],"vertexes":[{"completed":"1970-01-01T00:00:10.5Z","digest":"c","name":"[internal] load build context","started":"1970-01-01T00:00:10Z"},{"cached":true,"completed":"1970-01-01T00:00:10.599999999Z","digest":"d","name":"[1/3] FROM debian","started":"1970-01-01T00:00:10.599999999Z"},{"digest":"g","name":"[3/3] COPY a b"}]}
    "#]].assert_eq(&json::line(&told[0]));
    expect![[r#"
        {"logs":[{"data":"b25lCnR3","stream":1,"timestamp":"1970-01-01T00:00:11.25Z","vertex":"e"},{"data":"bwp0aHJlZSAbWzMxbXJlZBtbMG0H","stream":1,"timestamp":"1970-01-01T00:00:12Z","vertex":"e"},{"data":"d2FpdGluZw0K","stream":1,"timestamp":"1970-01-01T00:00:11.5Z","vertex":"f"}],"vertexes":[{"digest":"e","name":"[2/3] RUN false","started":"1970-01-01T00:00:11Z"},{"digest":"f","name":"[x] RUN sleep 9","started":"1970-01-01T00:00:11Z"}]}
    "#]].assert_eq(&json::line(&told[1]));
}

#[test]
fn a_hostile_builder_does_not_fill_our_memory() {
    let mut trace = Trace::default();
    for n in 0..30_000 {
        trace.update(&StatusResponse {
            vertexes: vec![vertex(&n.to_string(), "x", Some(1.0), None)],
            warnings: vec![warning()],
            logs: vec![log("0", 2.0, "no end")],
            ..StatusResponse::default()
        });
    }
    assert_eq!(trace.steps.len(), 20_000);
    assert_eq!(trace.warnings.len(), 1_000);
    assert!(trace.steps[0].tail.iter().all(|(_, line)| line.len() <= 16 << 10));
    trace.update(&StatusResponse {
        vertexes: vec![vertex("t", "x", Some(f64::MAX), Some(f64::MIN))],
        logs: vec![VertexLog {
            timestamp: Some(Timestamp { seconds: i64::MIN, nanos: i32::MIN }),
            ..log("t", 0.0, "x\n")
        }],
        ..StatusResponse::default()
    });
    let look =
        Look { rows: 3, columns: 5, now: 1e300, began: 1e-300, is_last: false, has_colour: true };
    assert_eq!(look.lines(&trace, "a title").len(), 3);
}
