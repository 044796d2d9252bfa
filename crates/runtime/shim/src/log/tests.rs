use std::fs;
use std::path::PathBuf;

use shim_protocol::{LogMode, Rotation};

use super::form::write_object;
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
        let rotation = Rotation { max_bytes, max_files, compress: false };
        let (attrs, mode) = ([].into(), LogMode::Blocking);
        let config = LogConfig::JsonFile { rotation, attrs, mode };
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
    let text = b"<a> \"q\" \\ \t\x1b\xff\xc3\xa4\r\n";
    write_object(&mut bytes, &Piece { stream: Stream::Stderr, bytes: text, time }, b"");
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
    let rotation = Rotation { max_bytes: Some(200), max_files: 1, compress: false };
    let (attrs, mode) = ([].into(), LogMode::Blocking);
    let config = LogConfig::JsonFile { rotation, attrs, mode };
    at.log = Log::open(&config, &at.dir, "c").unwrap().unwrap();
    at.log.write(Stream::Stdout, b"1\n2\n").unwrap();
    assert_eq!(at.pieces(), ["2\n"]);
    assert_eq!(at.file(".1"), None);
}

#[test]
fn attributes_stand_before_the_time() {
    let attrs = [("a".to_owned(), "\"1\"".to_owned())].into();
    let Form::Json { attrs } = Form::json(&attrs).unwrap() else { panic!() };
    let mut bytes = Vec::new();
    let piece = Piece { stream: Stream::Stdout, bytes: b"x\n", time: Timestamp::of_test(0, 0) };
    write_object(&mut bytes, &piece, &attrs);
    let want =
        r#"{"log":"x\n","stream":"stdout","attrs":{"a":"\"1\""},"time":"1970-01-01T00:00:00Z"}"#;
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{want}\n"));
}

#[test]
fn an_entry_of_local_can_be_read_from_both_ends() {
    let mut bytes = Vec::new();
    let piece = Piece { stream: Stream::Stderr, bytes: b"hi\n", time: Timestamp::of_test(1, 44) };
    Form::Local.write(&mut bytes, &piece);
    // 1,000,000,044 as a varint is ac 94 eb dc 03.
    let payload = b"\x0a\x06stderr\x10\xac\x94\xeb\xdc\x03\x1a\x02hi".as_slice();
    let length = (payload.len() as u32).to_be_bytes();
    assert_eq!(bytes, [&length[..], payload, &length].concat());
}

#[test]
fn what_does_not_wait_keeps_all_that_can_be_written() {
    let dir = std::env::temp_dir().join(format!("dhow-log-nowait-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let rotation = Rotation { max_bytes: Some(200), max_files: 2, compress: false };
    let mode = LogMode::NonBlocking { max_buffer: 1000 };
    let config = LogConfig::JsonFile { rotation, attrs: [].into(), mode };
    let mut log = Log::open(&config, &dir, "c").unwrap().unwrap();
    for number in 0..10 {
        log.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
    }
    log.finish().unwrap();
    let text = fs::read_to_string(dir.join("c-json.log")).unwrap();
    assert!(text.lines().count() == 2 && text.contains(r#""log":"9\n""#), "{text}");
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_compressed_file_takes_the_place_of_the_other() {
    let dir = std::env::temp_dir().join(format!("dhow-log-gz-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("log.1");
    fs::write(&path, "text").unwrap();
    compress(&path).unwrap();
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["log.1.gz"]);
    let mut text = String::new();
    let file = fs::File::open(dir.join("log.1.gz")).unwrap();
    io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
    assert_eq!(text, "text");
    fs::remove_dir_all(&dir).unwrap();
}
