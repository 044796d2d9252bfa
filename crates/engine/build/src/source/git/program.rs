//! Running git: with nothing of this machine's configuration, no hooks, few protocols.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use crate::Error;
use crate::source::group::Group;
use crate::tell::Listeners;

/// The most that is read of an answer.
const MAX_ANSWER: u64 = 8 << 20;
/// How much of what git complains about is in an error.
const MAX_COMPLAINT: usize = 2 << 10;

/// What is always configured. Hooks and monitors would run programs, helpers would be asked for passwords.
const CONFIG: [(&str, &str); 12] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.symlinks", "true"),
    ("core.protectHFS", "true"),
    ("credential.helper", ""),
    ("fetch.recurseSubmodules", "false"),
    ("transfer.bundleURI", "false"),
    ("http.followRedirects", "initial"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "120"),
    ("gc.auto", "0"),
    ("advice.detachedHead", "false"),
];

/// What of our environment git gets.
const INHERITED: [&str; 11] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "ALL_PROXY",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// git, as it is run for one repository.
pub(super) struct Program<'a> {
    listeners: &'a Listeners,
    config: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    /// What nobody is shown.
    secrets: Vec<String>,
}

impl<'a> Program<'a> {
    pub(super) fn new(listeners: &'a Listeners) -> Self {
        let config = CONFIG.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let inherited =
            INHERITED.iter().filter_map(|name| Some(((*name).into(), std::env::var(name).ok()?)));
        let mut environment: Vec<(String, String)> = inherited.collect();
        let own = [
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", "http:https:git:ssh"),
            ("GIT_PROTOCOL_FROM_USER", "0"),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Self { listeners, config, environment, secrets: Vec::new() }
    }

    /// Sends a header to an origin (`https://HOST`). It is in no argument, which others could see.
    pub(super) fn header(&mut self, origin: &str, header: &str) {
        self.config.push((format!("http.{origin}/.extraheader"), header.into()));
        let value = header.split_once(' ').map_or(header, |(_, value)| value);
        self.secrets.extend(value.split(' ').map(str::to_owned).filter(|word| word.len() > 5));
    }

    /// What nobody is shown.
    pub(super) fn secret(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.push(secret.into());
        }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Runs git in a directory: what it answers, as text. What it complains about is part of the step's output.
    pub(super) async fn run(&self, dir: &Path, arguments: &[&str]) -> Result<String, Error> {
        let answer = self.bytes(dir, arguments).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The same, to the byte.
    pub(super) async fn bytes(&self, dir: &Path, arguments: &[&str]) -> Result<Vec<u8>, Error> {
        let verb = arguments.first().copied().unwrap_or_default();
        // The umask is part of what is checked out, and a thread has none of its own.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 022; exec git \"$@\"", "git"]).args(arguments);
        command.current_dir(dir).env_clear().envs(self.environment.iter().cloned());
        if let Some(parent) = dir.parent() {
            command.env("GIT_CEILING_DIRECTORIES", parent);
        }
        command.env("GIT_CONFIG_COUNT", self.config.len().to_string());
        for (n, (key, value)) in self.config.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{n}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{n}"), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let failed = |why: String| Error::Invalid(format!("git {verb}: {why}"));
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let mut group = Group::of(&child);
        let (Some(answer), Some(complaint)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::Lost("git"));
        };
        let (answer, complaint) = tokio::join!(read(answer), self.listen(complaint));
        let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
        group.has_ended();
        match status.code() {
            Some(0) => answer.map_err(|error| failed(error.to_string())),
            Some(127) => Err(failed("the program git is missing".into())),
            _ => Err(failed(format!("{complaint}: {status}").trim_start_matches(": ").to_owned())),
        }
    }

    /// Passes lines on. The last of them.
    async fn listen(&self, from: impl AsyncRead + Unpin) -> String {
        let mut lines = BufReader::new(from.take(MAX_ANSWER)).split(b'\n');
        let mut kept = String::new();
        while let Ok(Some(line)) = lines.next_segment().await {
            // What a bar of progress has written over does not count.
            let line = line
                .rsplit(|byte| *byte == b'\r')
                .find(|part| !part.is_empty())
                .unwrap_or_default();
            let line = self.hide(&String::from_utf8_lossy(line));
            self.listeners.log(2, format!("{line}\n").as_bytes());
            if !kept.is_empty() {
                kept.push('\n');
            }
            kept.push_str(&line);
            if kept.len() > 2 * MAX_COMPLAINT {
                let from = kept.floor_char_boundary(kept.len() - MAX_COMPLAINT);
                kept.drain(..from);
            }
        }
        kept
    }

    fn hide(&self, line: &str) -> String {
        self.secrets.iter().fold(line.to_owned(), |line, secret| line.replace(secret, "xxxxx"))
    }
}

async fn read(from: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_ANSWER).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
