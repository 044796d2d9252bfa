use expect_test::expect;

use super::*;

const JSON: &str = r#"{
    "dockerfile": "Dockerfile",
    "sources": [
        {"id": 0, "name": "docker.io/library/debian:12", "after": []},
        {"id": 4, "name": "build context", "after": []}
    ],
    "stages": [
        {"name": "build", "base": "debian:12", "needed": true, "target": false, "steps": [
            {"id": 1, "name": "COPY . .", "after": [0, 4], "took": 0.25, "size": 1500},
            {"id": 2, "name": "RUN make <all> && \"x\"", "after": [1], "took": 75.0, "size": 2000000}
        ]},
        {"name": "test", "base": "build", "needed": false, "target": false, "steps": [
            {"id": 7, "name": "RUN make check", "after": [2]}
        ]},
        {"name": "stage-2", "base": "scratch", "needed": true, "target": true, "steps": [
            {"id": 3, "name": "COPY --from=build /out /", "after": [2, 4, 99]}
        ]}
    ]
}"#;

fn shown(format: Format) -> String {
    render(JSON.as_bytes(), format).unwrap()
}

#[test]
fn text_is_a_table() {
    expect![[r#"
        #         STEP                             TIME      SIZE      AFTER
        1         docker.io/library/debian:12
        2         build context
                  build: FROM debian:12
        3           COPY . .                       0.2s      1.5kB     1 2
        4           RUN make <all> && "x"          1m15s     2MB       3
                  test: FROM build (not needed)
        5           RUN make check                                     4
                  stage-2: FROM scratch (target)
        6           COPY --from=build /out /                           4 2
    "#]]
    .assert_eq(&shown(Format::Text));
}

#[test]
fn dot_has_a_cluster_for_each_stage() {
    let dot = shown(Format::Dot);
    assert_eq!(dot.matches("subgraph cluster_").count(), 3);
    assert_eq!(dot.matches(" -> ").count(), 6);
    assert!(dot.contains("label=\"RUN make <all> && \\\"x\\\"\\n1m15s  2MB\""), "{dot}");
    assert!(dot.contains("n3 -> n4;"));
}

/// Numbers of an attribute.
fn numbers(svg: &str, start: &str, key: &str) -> Vec<usize> {
    let value = |rest: &str| {
        let rest = &rest[rest.find(&format!(" {key}=\"")).unwrap() + key.len() + 3..];
        rest[..rest.find('"').unwrap()].parse().unwrap()
    };
    svg.match_indices(start).map(|(at, _)| value(&svg[at..])).collect()
}

#[test]
fn a_picture_has_boxes_that_do_not_overlap_and_lines_that_end_at_them() {
    let svg = shown(Format::Svg);
    assert_eq!(svg.matches("<g class=\"stage").count(), 3);
    assert_eq!(svg.matches("<g class=\"stage unneeded\">").count(), 1);
    assert_eq!(svg.matches("<g class=\"step\">").count(), 4);
    assert_eq!(svg.matches("<g class=\"edge").count(), 5, "those inside a stage are not drawn");
    assert_eq!(svg.matches("<g class=\"edge unneeded\">").count(), 1);
    assert_eq!(svg.matches("class=\"box target\"").count(), 1);
    assert!(svg.contains("prefers-color-scheme: dark"));
    assert!(svg.contains("RUN make &lt;all&gt; &amp;&amp; &quot;x&quot;"));
    assert!(svg.contains("Dockerfile, target stage-2, last built in 1m15s (2MB)"), "{svg}");
    let all = |key| {
        let mut all = numbers(&svg, "<rect class=\"source\"", key);
        all.extend(numbers(&svg, "<rect class=\"box", key));
        all
    };
    let (x, y, width, height) = (all("x"), all("y"), all("width"), all("height"));
    let (whole_width, whole_height) =
        (numbers(&svg, "<svg", "width")[0], numbers(&svg, "<svg", "height")[0]);
    for a in 0..x.len() {
        assert!(x[a] + width[a] < whole_width && y[a] + height[a] < whole_height);
        for b in 0..a {
            let beside = x[a] + width[a] < x[b] || x[b] + width[b] < x[a];
            let above = y[a] + height[a] < y[b] || y[b] + height[b] < y[a];
            assert!(beside || above, "{a} and {b} overlap");
        }
    }
    // No line goes through a box: those of the context to the last column go above all of them.
    for path in svg.split("<path class=\"line\"").skip(1) {
        let d = &path[path.find(" d=\"").unwrap() + 4..];
        let d = &d[..d.find('"').unwrap()];
        let points: Vec<(usize, usize)> = d
            .split(' ')
            .map(|word| {
                let (x, y) = word.trim_start_matches(['M', 'L', 'Q']).split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            })
            .collect();
        for (x1, y1) in points {
            let inside =
                |a: usize| x[a] < x1 && x1 < x[a] + width[a] && y[a] < y1 && y1 < y[a] + height[a];
            assert!(!(0..x.len()).any(inside), "{d}");
        }
    }
}

#[test]
fn what_a_builder_should_not_say_does_no_harm() {
    for json in ["{\"stages\": 1}", "{", "null", "7"] {
        assert!(render(json.as_bytes(), Format::Svg).is_err(), "{json}");
    }
    let empty = render(b"{}", Format::Svg).unwrap();
    assert!(empty.ends_with("</svg>\n"));
    // Circles, names that are not there, and what would drive a terminal.
    let circle = "{\"stages\": [{\"name\": \"\\u001b[2J\", \"steps\": [
        {\"id\": 1, \"name\": \"a\\u001b[2J\", \"after\": [2, 1]}, {\"id\": 2, \"after\": [1]}]},
        {\"steps\": [{\"id\": 3, \"after\": [1, 4]}]}, {\"steps\": [{\"id\": 4, \"after\": [3]}]}]}";
    for format in [Format::Svg, Format::Text, Format::Dot] {
        let shown = render(circle.as_bytes(), format).unwrap();
        assert!(!shown.contains('\x1b'), "{shown}");
    }
    let many = format!("{{\"sources\": [{}]}}", vec!["{}"; 6000].join(","));
    assert!(render(many.as_bytes(), Format::Svg).is_err());
}
