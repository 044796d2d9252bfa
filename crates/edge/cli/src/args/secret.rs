//! The flags of `secret`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{InspectArgs, ListArgs};

/// `secret`.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Create a secret from a file, STDIN, or a variable of this environment
    #[command(
        after_help = "Example:\n  openssl rand -hex 16 | dhow secret create db-password -\n  dhow run -d --secret db-password IMAGE        # in /run/secrets/db-password"
    )]
    Create(SecretCreateArgs),
    /// List secrets
    #[command(aliases = ["list"])]
    Ls(ListArgs),
    /// Display detailed information on one or more secrets; what they hold is never shown
    Inspect {
        #[command(flatten)]
        args: InspectArgs,
        /// Print the information in a human friendly format
        #[arg(long, conflicts_with = "format")]
        pretty: bool,
    },
    /// Change the labels of a secret
    Update {
        /// Set metadata for the secret
        #[arg(short, long)]
        label: Vec<String>,
        /// Take metadata away
        #[arg(long, value_name = "KEY")]
        label_rm: Vec<String>,
        /// Its name or id
        secret: String,
    },
    /// Remove one or more secrets that no container has
    #[command(visible_alias = "remove")]
    Rm {
        /// Names or ids
        #[arg(required = true)]
        secrets: Vec<String>,
    },
}

/// `secret create`.
#[derive(Args, Debug)]
pub(crate) struct SecretCreateArgs {
    /// Set metadata for a secret
    #[arg(short, long)]
    pub(crate) label: Vec<String>,
    /// Secret driver; of use to an engine that has some, dhow has none
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) driver: String,
    /// Template driver; the same
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) template_driver: String,
    /// Take it from a variable of this environment instead of a file
    #[arg(long, value_name = "VARIABLE", conflicts_with = "file")]
    pub(crate) env: Option<String>,
    /// Its name
    pub(crate) name: String,
    /// The file that holds it; -: STDIN
    pub(crate) file: Option<PathBuf>,
}
