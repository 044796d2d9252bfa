//! Contexts of Docker's client.

#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use clap::{Args, Subcommand};

/// `dhow context ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum ContextCommand {
    /// List contexts
    #[command(aliases = ["list"])]
    Ls(ContextLsArgs),
    /// Print the name of the context that is followed: --context or DOCKER_CONTEXT, else default
    Show,
    /// Display detailed information on one or more contexts
    Inspect {
        /// Format output using a Go template, or `json`
        #[arg(short, long)]
        format: Option<String>,
        /// Names; the one that is followed where there is none
        #[arg(value_name = "CONTEXT")]
        contexts: Vec<String>,
    },
}

/// `context ls`.
#[derive(Args, Debug)]
pub(crate) struct ContextLsArgs {
    /// Format output using a Go template, `table TEMPLATE`, or `json`
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Only show context names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
