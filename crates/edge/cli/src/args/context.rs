//! Contexts of Docker's client.

#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use clap::{Args, Subcommand};

/// `dhow context ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum ContextCommand {
    /// List contexts
    #[command(aliases = ["list"])]
    Ls(ContextLsArgs),
    /// Print the name of the context that is followed
    Show,
    /// Create a context
    #[command(
        after_help = "Example:\n  dhow context create far --docker host=ssh://me@example.com; dhow context use far"
    )]
    Create(ContextCreateArgs),
    /// Update a context
    Update(ContextUpdateArgs),
    /// Remove one or more contexts
    #[command(visible_alias = "remove")]
    Rm {
        /// Force the removal of a context in use
        #[arg(short, long)]
        force: bool,
        /// Names
        #[arg(value_name = "CONTEXT", required = true)]
        contexts: Vec<String>,
    },
    /// Follow a context from now on, also in Docker's client; default: what -H or DOCKER_HOST says, else this process
    Use {
        /// Its name
        context: String,
    },
    /// Export a context to a tar archive FILE or a tar stream on STDOUT
    Export {
        /// Its name
        context: String,
        /// The file, or - for standard output [default: CONTEXT.dockercontext]
        file: Option<String>,
    },
    /// Import a context from a tar file
    Import {
        /// What it is to be called
        context: String,
        /// The file, or - for standard input
        file: String,
    },
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

/// `context create`.
#[derive(Args, Debug)]
pub(crate) struct ContextCreateArgs {
    /// Description of the context
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// The engine: host=ADDRESS, ca=FILE, cert=FILE, key=FILE, skip-tls-verify=BOOL, or from=CONTEXT
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) docker: Vec<String>,
    /// Create the context from a named context; without it and --docker, from the one that is followed
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) from: Option<String>,
    /// Its name
    pub(crate) context: String,
}

/// `context update`.
#[derive(Args, Debug)]
pub(crate) struct ContextUpdateArgs {
    /// Description of the context
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// The engine, as for `context create`; its certificates are replaced as well
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) docker: Vec<String>,
    /// Its name
    pub(crate) context: String,
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
