//! The flags of `cdi`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `cdi`.
#[derive(Debug, Subcommand)]
pub(crate) enum CdiCommand {
    /// List the devices that containers can have by name
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  dhow cdi list\n  dhow run --rm --device vendor.com/class=name IMAGE"
    )]
    List {
        /// Format output using a Go template, `table TEMPLATE`, or `json`
        #[arg(long)]
        format: Option<String>,
    },
    /// Write a CDI specification of this machine's NVIDIA GPUs
    ///
    /// Needs the driver alone, nothing of NVIDIA's container toolkit. No hook is in it: libraries are
    /// mounted under all their names, where loaders look without a cache. Write it again after an
    /// update of the driver. MIG slices and 32-bit libraries are left out.
    #[command(
        after_help = "Example:\n  dhow cdi generate --output /etc/cdi/nvidia.json\n  dhow run --rm --gpus all IMAGE nvidia-smi"
    )]
    Generate(CdiGenerateArgs),
}

/// `cdi generate`.
#[derive(Args, Debug)]
pub(crate) struct CdiGenerateArgs {
    /// Write to a file (its name must end in .json) instead of standard output
    #[arg(short, long)]
    pub(crate) output: Option<PathBuf>,
    /// Where the root of the machine with the driver is
    #[arg(long, default_value = "/")]
    pub(crate) driver_root: PathBuf,
}
