//! A registry of our own.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

const EXAMPLES: &str = "Example, on the machine that has the images:
  dhow registry serve --listen :5000 --tls-cert cert.pem --tls-key key.pem
and on another one:
  dhow pull HOST:5000/docker.io/library/debian:12

What is pushed to the repository me/app becomes the image NAME/me/app here, where NAME is the
registry's name (see --name). All other images can be pulled under their names in full,
docker.io/library/debian.";

/// `dhow registry ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum RegistryCommand {
    /// Serve this machine's images to others, as a registry
    #[command(after_help = EXAMPLES)]
    Serve(RegistryServeArgs),
}

/// `registry serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryServeArgs {
    /// Where to listen: ADDRESS:PORT, localhost:PORT, or :PORT for all addresses
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "localhost:5000")]
    pub listen: String,
    /// What the registry is called, HOST or HOST:PORT: the first part of the names of images that
    /// are pushed to it [default: localhost:PORT]
    #[arg(long)]
    pub name: Option<String>,
    /// Let clients push and delete (the default where it listens on loopback)
    #[arg(long, action = ArgAction::SetTrue, conflicts_with = "read_only")]
    pub writable: bool,
    /// Let clients only pull (the default where it listens on other addresses)
    #[arg(long, action = ArgAction::SetTrue)]
    pub read_only: bool,
    /// The certificate, with those that vouch for it, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Let in only whom this file names, with their passwords, as `htpasswd -B` writes it; it is
    /// read again when it changes
    #[arg(long, value_name = "FILE")]
    pub htpasswd: Option<PathBuf>,
}
