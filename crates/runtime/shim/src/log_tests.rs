use super::*;

/// A log in a directory of its own.
struct Fixture {
    dir: PathBuf,
    log: Log,
}

impl Fixture {
    fn new(name: &str, max_bytes: Option<u64>, max_files: u32) -> Self {
        let dir = std::env::temp_dir().join(format!("dhow-log-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let config = LogConfig::JsonFile { max_bytes, max_files };
        let log = Log::open(&config, &dir, "c").unwrap().unwrap();
        Self { dir, log }
    }

    fn file(&self, suffix: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(format!("c-json.log{suffix}"))).ok()
    }

    /// The `log` and `stream` of each object.
    fn objects(&self, suffix: &str) -> Vec<(String, String)> {
        let text = self.file(suffix).unwrap_or_default();
        let object = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let field = |key: &str| value[key].as_str().unwrap().to_owned();
            assert!(field("time").ends_with('Z'));
            (field("log"), field("stream"))
        };
        text.lines().map(object).collect()
    }

    fn pieces(&self) -> Vec<String> {
        self.objects("").into_iter().map(|(log, _)| log).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

#[test]
fn each_stream_has_lines_of_its_own() {
    let mut at = Fixture::new("lines", None, 1);
    at.log.write(Stream::Stdout, b"a\nb").unwrap();
    at.log.write(Stream::Stderr, b"e\n").unwrap();
    at.log.write(Stream::Stdout, b"c\n\nlast").unwrap();
    at.log.finish().unwrap();
    let want = [("a\n", "stdout"), ("e\n", "stderr"), ("bc\n", "stdout"), ("\n", "stdout")];
    let mut want: Vec<_> = want.map(|(l, s)| (l.to_owned(), s.to_owned())).into();
    want.push(("last".into(), "stdout".into()));
    assert_eq!(at.objects(""), want);
}

#[test]
fn an_object_is_as_docker_writes_it() {
    let mut bytes = Vec::new();
    let time = Timestamp::now();
    write_object(&mut bytes, b"<a> \"q\" \\ \t\x1b\xff\xc3\xa4\r\n", Stream::Stderr, time);
    let want = concat!(
        r#"{"log":"\u003ca\u003e \"q\" \\ \u0009\u001b\ufffdä\r\n","#,
        r#""stream":"stderr","time":"TIME"}"#
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), want.replace("TIME", &time.to_string()) + "\n");
}

#[test]
fn a_long_line_comes_in_pieces_of_16_kib_that_share_a_time() {
    let mut at = Fixture::new("pieces", None, 1);
    let long = "x".repeat(40_000) + "\n";
    for part in long.as_bytes().chunks(7_001) {
        at.log.write(Stream::Stdout, part).unwrap();
    }
    at.log.write(Stream::Stdout, b"next\n").unwrap();
    let pieces = at.pieces();
    let lengths: Vec<_> = pieces.iter().map(String::len).collect();
    assert_eq!(lengths, [16_384, 16_384, 40_001 - 2 * 16_384, 5]);
    assert_eq!(pieces[..3].concat(), long);
    let text = at.file("").unwrap();
    let times: Vec<_> = text.lines().map(|line| line.split_once("\"time\"").unwrap().1).collect();
    assert!(times[0] == times[1] && times[1] == times[2]);
}

#[test]
fn a_line_of_exactly_16_kib_is_one_object() {
    let mut at = Fixture::new("exact", None, 1);
    let line = "y".repeat(MAX_PIECE_BYTES - 1) + "\n";
    at.log.write(Stream::Stdout, line.as_bytes()).unwrap();
    assert_eq!(at.pieces(), [line]);
}

#[test]
fn full_files_move_on_and_the_oldest_goes() {
    let mut at = Fixture::new("rotate", Some(200), 3);
    for number in 0..10 {
        at.log.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
    }
    // An object is some 80 bytes, so that each file holds two.
    let numbers = |suffix: &str| -> String {
        at.objects(suffix).iter().map(|(log, _)| log.trim_end()).collect()
    };
    assert_eq!(
        (numbers(".2"), numbers(".1"), numbers("")),
        ("45".into(), "67".into(), "89".into())
    );
    assert_eq!(at.file(".3"), None);
    for suffix in ["", ".1", ".2"] {
        assert!(at.file(suffix).unwrap().len() <= 200);
    }
}

#[test]
fn many_lines_at_once_rotate_just_as_well() {
    let mut at = Fixture::new("burst", Some(200), 2);
    at.log.write(Stream::Stdout, b"0\n1\n2\n3\n4\n").unwrap();
    assert_eq!(at.pieces(), ["4\n"]);
    assert_eq!(at.objects(".1").len(), 2);
}

#[test]
fn one_file_is_emptied_and_a_new_shim_goes_on_where_the_last_ended() {
    let mut at = Fixture::new("single", Some(200), 1);
    at.log.write(Stream::Stdout, b"0\n").unwrap();
    let config = LogConfig::JsonFile { max_bytes: Some(200), max_files: 1 };
    at.log = Log::open(&config, &at.dir, "c").unwrap().unwrap();
    at.log.write(Stream::Stdout, b"1\n2\n").unwrap();
    assert_eq!(at.pieces(), ["2\n"]);
    assert_eq!(at.file(".1"), None);
}
