//! Repositories, and those who serve them: git itself, over HTTP, and a web server of files.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use data_encoding::BASE64;

/// Runs a script where repositories are, with an author.
pub(super) fn sh(dir: &Path, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(dir).env_clear().env("HOME", "/nonexistent");
    command.env("PATH", std::env::var("PATH").unwrap()).env("GIT_ALLOW_PROTOCOL", "file");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "me").env(format!("GIT_{who}_EMAIL"), "me@here");
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Repositories, each a folder, and who serves them.
pub(super) struct Server {
    pub(super) dir: PathBuf,
    address: String,
    /// What `Authorization` was sent over HTTP.
    pub(super) seen: Arc<Mutex<Vec<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Server {
    /// Serves with `one`, a connection at a time.
    pub(super) fn new(name: &str, one: fn(&Path, TcpStream, &Mutex<Vec<String>>)) -> Self {
        let dir = std::env::temp_dir().join(format!("dhow-git-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (served, noted) = (dir.clone(), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, noted) = (served.clone(), Arc::clone(&noted));
                std::thread::spawn(move || one(&served, stream, &noted));
            }
        });
        Self { dir, address, seen }
    }

    pub(super) fn repository(&self, name: &str, script: &str) {
        let make = format!("git init -q -b main {name}; cd {name}; {script}");
        sh(&self.dir, &make);
    }

    pub(super) fn url(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}://{}/{name}", self.address)
    }
}

/// `git daemon`, as inetd runs it.
pub(super) fn daemon(dir: &Path, stream: TcpStream, _: &Mutex<Vec<String>>) {
    let base = format!("--base-path={}", dir.display());
    let mut command = Command::new("git");
    command.args(["daemon", "--inetd", "--export-all", &base, "--enable=upload-pack"]).arg(dir);
    let twin = OwnedFd::from(stream.try_clone().unwrap());
    let _ = command.stdin(twin).stdout(OwnedFd::from(stream)).stderr(Stdio::null()).status();
}

/// `git http-backend`, for who says the right word.
pub(super) fn http(dir: &Path, mut stream: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut headers) = (String::new(), Vec::new());
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.trim().split_once(": ").unwrap();
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let header =
        |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let said = header("authorization").unwrap_or_default();
    seen.lock().unwrap().push(said.clone());
    let right = format!("basic {}", BASE64.encode(b"x-access-token:s3cret-word"));
    let also = format!("basic {}", BASE64.encode(b"user:s3cret-word"));
    if said != right && said != also {
        let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"s3cret-word\"\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        return;
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", dir).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    command
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*");
    for (variable, name) in [
        ("CONTENT_TYPE", "content-type"),
        ("CONTENT_LENGTH", "content-length"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        command.env(variable, header(name).unwrap_or_default());
    }
    let len = header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    child.stdin.take().unwrap().write_all(&body).unwrap();
    let answer = child.wait_with_output().unwrap().stdout;
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n").unwrap();
    let _ = stream.write_all(&answer);
}

/// A web server that has files, and knows nothing of git.
pub(super) fn files(dir: &Path, mut stream: TcpStream, _: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first).unwrap();
    while reader.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    let path = first.split([' ', '?']).nth(1).unwrap_or_default();
    let (status, bytes) = match fs::read(dir.join(path.trim_start_matches('/'))) {
        Ok(bytes) => ("200 OK", bytes),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let length = bytes.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(&[head.into_bytes(), bytes].concat());
}
