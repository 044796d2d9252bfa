//! `dhow builder`: the builder, its cache, and the builds that were made.

pub(crate) mod explain;
pub(crate) mod graph;
mod history;
mod mounts;
mod nodes;
mod usage;

pub(crate) use mounts::{import as import_mount, path as mount_path};

use crate::args::BuilderCommand;
use crate::build;
use crate::client::Client;
use crate::error::Result;

/// `builder ...`.
pub(crate) async fn run(client: &Client, command: BuilderCommand) -> Result<i32> {
    match command {
        BuilderCommand::Build(args) => build::build(client, &args).await,
        BuilderCommand::Prune(args) => usage::prune(client, &args).await,
        BuilderCommand::Du(args) => usage::du(client, &args).await,
        BuilderCommand::Ls(args) => nodes::list(client, &args).await,
        BuilderCommand::Inspect { bootstrap: _, builder, name } => {
            nodes::inspect(client, &name.or(builder).unwrap_or_default()).await
        }
        BuilderCommand::Use { name } => nodes::known(client, &name).map(|()| 0),
        BuilderCommand::Version => {
            println!("dhow {}", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
        BuilderCommand::CacheMount(command) => mounts::run(client, command).await,
        BuilderCommand::History(command) => history::history(client, command).await,
        BuilderCommand::Graph { output, build } => {
            let trace = history::trace(client, build.as_deref()).await?;
            graph::write(&trace, output.as_deref().unwrap_or(std::path::Path::new("-")))?;
            Ok(0)
        }
    }
}
