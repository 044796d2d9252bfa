//! What a person sees of a build: a tree of steps on a terminal, lines elsewhere, JSON for programs.

mod json;
mod plain;
mod text;
mod trace;
mod tty;

use std::io::{IsTerminal as _, Write as _};

use buildkit::control::StatusResponse;

use crate::error::{Error, Result};

pub(crate) use trace::{Step, Trace, seconds};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Terminal,
    Json,
    Quiet,
}

impl Mode {
    /// By `--progress`, else `BUILDKIT_PROGRESS`, else by what standard error is.
    pub(crate) fn choose(flag: Option<&str>, quiet: bool) -> Result<Self> {
        let variable = std::env::var("BUILDKIT_PROGRESS").ok();
        let given = flag.or(variable.as_deref()).unwrap_or("auto");
        let is_terminal = std::io::stderr().is_terminal();
        match given {
            _ if quiet => Ok(Self::Quiet),
            "auto" | "" | "tty" if is_terminal => Ok(Self::Terminal),
            "auto" | "" | "plain" => Ok(Self::Plain),
            "tty" => {
                Err(Error::Usage("failed to get console: provided file is not a console".into()))
            }
            "rawjson" => Ok(Self::Json),
            "quiet" | "none" => Ok(Self::Quiet),
            other => Err(Error::Usage(format!("invalid progress mode {other:?}"))),
        }
    }
}

/// The display of one build, on standard error.
pub(crate) struct Display {
    mode: Mode,
    pub(crate) trace: Trace,
    plain: plain::Plain,
    terminal: tty::Terminal,
}

impl Display {
    /// Nothing is shown yet. `title` says who builds.
    pub(crate) fn new(mode: Mode, title: &str) -> Self {
        let plain = plain::Plain::default();
        if mode == Mode::Plain && !title.is_empty() {
            _ = std::io::stderr().write_all(plain::Plain::begin(title).as_bytes());
        }
        Self { mode, trace: Trace::default(), plain, terminal: tty::Terminal::new(title) }
    }

    /// Takes what the builder tells.
    pub(crate) fn update(&mut self, response: &StatusResponse) {
        self.trace.update(response);
        if self.mode == Mode::Json {
            _ = std::io::stderr().write_all(json::line(response).as_bytes());
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self) {
        match self.mode {
            Mode::Terminal => self.terminal.draw(&self.trace, false),
            Mode::Plain => {
                let text = self.plain.print(&mut self.trace, false);
                _ = std::io::stderr().write_all(&text);
            }
            Mode::Json | Mode::Quiet => {}
        }
    }

    /// Nothing more comes: shows what is left, with the last output of steps that failed.
    pub(crate) fn finish(&mut self) {
        match self.mode {
            Mode::Terminal => self.terminal.draw(&self.trace, true),
            Mode::Plain => {
                let text = self.plain.print(&mut self.trace, true);
                _ = std::io::stderr().write_all(&text);
            }
            Mode::Json | Mode::Quiet => return,
        }
        _ = std::io::stderr().write_all(text::failures(&self.trace).as_bytes());
    }

    /// Warnings, as many as there are; with all that is known of each where `debug`.
    pub(crate) fn warnings(&self, debug: bool) {
        if matches!(self.mode, Mode::Plain | Mode::Terminal) {
            let colour = self.mode == Mode::Terminal && tty::has_colour();
            _ = std::io::stderr().write_all(text::warnings(&self.trace, debug, colour).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
